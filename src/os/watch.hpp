// What a waiter can sleep on, made by the layers that judge and armed by the `Sleeper`.
#pragma once

#include "os/system.hpp"

#include <lockfile/scheme.hpp>

#include <memory>

namespace lockfile::os {

class WatchSource {
 public:
  enum class Kind : std::uint8_t { inode, process, descriptor };

  /// `judged` is a descriptor of the inode that the caller has looked at. It is closed as soon as the watch is armed,
  /// since the name of a directory that is open cannot be seen to go, and an open descriptor would keep a file alive.
  [[nodiscard]] static Watch inode(File judged, const FileInfo& info, Notice notice);
  /// `process` comes from `open_process`; `start` tells processes with the same pid apart.
  [[nodiscard]] static Watch process(File process, std::int64_t pid, std::uint64_t start);

  WatchSource(Kind kind, File file, int descriptor, Notice notice, std::uint64_t first, std::uint64_t second) noexcept
      : kind_(kind), file_(std::move(file)), descriptor_(descriptor), notice_(notice), first_(first), second_(second) {}

  [[nodiscard]] Kind kind() const noexcept { return kind_; }
  [[nodiscard]] Notice notice() const noexcept { return notice_; }
  [[nodiscard]] int descriptor() const noexcept { return file_.is_open() ? file_.get() : descriptor_; }
  [[nodiscard]] std::uint64_t pid() const noexcept { return first_; }
  [[nodiscard]] std::uint64_t start() const noexcept { return second_; }
  void close() noexcept { file_.close(); }

  /// Do both mean the same thing? Inode numbers may be given out again, but only after the older watch has fired.
  [[nodiscard]] bool same_as(const WatchSource& that) const noexcept {
    return kind_ == that.kind_ && notice_ == that.notice_ && first_ == that.first_ && second_ == that.second_;
  }

 private:
  Kind kind_;
  File file_;
  int descriptor_;  // somebody else's, for Kind::descriptor
  Notice notice_;
  std::uint64_t first_;   // device, pid or descriptor
  std::uint64_t second_;  // inode, start or 0
};

}  // namespace lockfile::os
