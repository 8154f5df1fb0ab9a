// Opening directories and looking at names in them.
#include "claim/directory.hpp"

#include "claim/names.hpp"
#include "claim/trial.hpp"

#include <cerrno>

namespace lockfile::claim {

bool is_descriptor_of(os::System& system, int descriptor, const os::FileInfo& inode) noexcept {
  const auto now = system.stat(descriptor);
  return now.ok() ? now.value.same_inode(inode) : now.error != EBADF;
}

Directory::Directory(os::Process& process, os::File file, const os::FileInfo& info, os::FileSystem file_system)
    : process_(process),
      trials_(process.part<Trials>()),
      file_(std::move(file)),
      info_(info),
      file_system_(std::move(file_system)) {}

os::Result<std::shared_ptr<Directory>> Directory::open(os::Process& process, const std::string& path) {
  os::System& system = process.system();
  const auto descriptor = system.open(os::no_directory, path.c_str(), os::Open::directory, 0);
  if (!descriptor.ok()) return {nullptr, descriptor.error};
  os::File file(system, descriptor.value);
  const auto info = system.stat(file.get());
  if (!info.ok()) return {nullptr, info.error};
  // Compared while `file` is open: the number cannot have been given out again. Whoever closed all our descriptors has
  // closed the one that is shared, too.
  auto& all = process.part<Directories>();
  if (auto shared = all.find(info.value); shared && shared->descriptor_is_ours()) return {std::move(shared), 0};
  auto file_system = system.file_system(file.get());
  if (!file_system.ok()) return {nullptr, file_system.error};
  std::shared_ptr<Directory> opened(new Directory(process, std::move(file), info.value, std::move(file_system.value)));
  all.add(info.value, opened);
  return {std::move(opened), 0};
}

std::shared_ptr<Directory> Directories::find(const os::FileInfo& inode) {
  const os::MutexGuard guard(process_.system(), mutex_);
  const auto found = open_.find({inode.device, inode.inode});
  return found == open_.end() ? nullptr : found->second.lock();
}

void Directories::add(const os::FileInfo& inode, const std::shared_ptr<Directory>& directory) {
  const os::MutexGuard guard(process_.system(), mutex_);
  if (open_.size() >= look_for_closed_at_) {
    std::erase_if(open_, [](const auto& each) { return each.second.expired(); });
    look_for_closed_at_ = 2 * open_.size() + 16;
  }
  open_[{inode.device, inode.inode}] = directory;
}

Directory::~Directory() {
  if (!descriptor_is_ours()) (void)file_.release();
}

bool Directory::descriptor_is_ours() const noexcept { return is_descriptor_of(system(), file_.get(), info_); }

bool Directory::is_at(const std::string& path) const noexcept {
  const auto now = system().stat_at(os::no_directory, path.c_str(), os::Links::follow);
  return now.ok() && now.value.same_inode(info_);
}

// The descriptor that is kept cannot be synced: it was opened without the right to read.
os::Status Directory::sync() const noexcept {
  const auto opened = system().open(descriptor(), ".", os::Open::look, 0);
  if (!opened.ok()) return opened.error;
  const os::File readable(system(), opened.value);
  return system().sync(readable.get());
}

os::Result<bool> Directory::refers_to(int at, const char* name, const os::FileInfo& inode) const noexcept {
  os::Result<os::FileInfo> now;
  if (local()) {
    now = system().stat_at(at, name, os::Links::keep);
  } else {
    const auto opened = system().open(at, name, os::Open::look, 0);
    if (opened.ok()) {
      const os::File file(system(), opened.value);
      now = system().stat(file.get());
    } else if (opened.error == EACCES || opened.error == ELOOP || opened.error == ENXIO) {
      now = system().stat_at(at, name, os::Links::keep);  // not to be opened: a stranger's, or unreadable
    } else {
      now.error = opened.error;
    }
  }
  if (now.error == ENOENT || now.error == ENOTDIR) return {false, 0};
  if (!now.ok()) return {false, now.error};
  return {now.value.same_inode(inode), 0};
}

os::Status Directory::arrived(os::Status error, int at, const char* name, const os::FileInfo& inode) const noexcept {
  if (error != EEXIST && error != ENOENT) return error;
  const auto there = refers_to(at, name, inode);  // else somebody planted something, or removed ours
  return there.ok() && there.value ? 0 : error;
}

os::Status take_apart(const Directory& directory, const char* name) noexcept {
  os::System& system = directory.system();
  const int at = directory.descriptor();
  constexpr int tries = 64;  // each further one needs a late comer, and each of those comes once
  os::Status error = 0;
  for (int i = 0; i < tries; ++i) {
    const auto opened = system.open(at, name, os::Open::look, 0);
    if (!opened.ok()) return opened.error == ENOENT || opened.error == ENOTDIR ? 0 : opened.error;
    const os::File gone(system, opened.value);
    if (const os::Status removed = system.unlink(gone.get(), holder_name); removed != 0 && removed != ENOENT) {
      if (const auto inner = system.open(gone.get(), holder_name, os::Open::look, 0); inner.ok()) {
        const os::File small(system, inner.value);
        (void)system.unlink(small.get(), holder_name);
      }
      (void)system.remove_directory(gone.get(), holder_name);
    }
    error = system.remove_directory(at, name);
    if (error == 0 || error == ENOENT) return 0;
    if (os::cause_of(os::Call::remove_directory, error) != os::Cause::contention) return error;
  }
  return error;
}

}  // namespace lockfile::claim
