// Making watches.
#include "os/watch.hpp"

#include <utility>

namespace lockfile {

Watch::Watch(std::shared_ptr<os::WatchSource> source) noexcept : source_(std::move(source)) {}

Watch Watch::readable(int descriptor) {
  using os::WatchSource;
  return Watch(std::make_shared<WatchSource>(WatchSource::Kind::descriptor, os::File(), descriptor, os::Notice::file,
                                             static_cast<std::uint64_t>(descriptor), 0));
}

namespace os {

Watch WatchSource::inode(File judged, const FileInfo& info, Notice notice) {
  return Watch(std::make_shared<WatchSource>(Kind::inode, std::move(judged), -1, notice, info.device, info.inode));
}

Watch WatchSource::process(File process, std::int64_t pid, std::uint64_t start) {
  return Watch(std::make_shared<WatchSource>(Kind::process, std::move(process), -1, Notice::file,
                                             static_cast<std::uint64_t>(pid), start));
}

}  // namespace os
}  // namespace lockfile
