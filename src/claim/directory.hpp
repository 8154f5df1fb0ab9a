// The directory in which a lock stands, opened once and kept: a hold is released where it was acquired, also when the
// directory has been renamed meanwhile.
#pragma once

#include "os/process.hpp"

#include <map>
#include <memory>
#include <string>
#include <utility>

namespace lockfile::claim {

class Trials;

/// Is that descriptor, opened for this inode, still its own? A program that closes all its descriptors closes ours too,
/// and the number may be another file's by now. A look that is refused for another reason is no proof of that.
[[nodiscard]] bool is_descriptor_of(os::System& system, int descriptor, const os::FileInfo& inode) noexcept;

class Directory {
 public:
  /// The directory that `path` names now; one that this process has open already is shared, so that many locks in one
  /// directory keep one descriptor of it. On failure `value` is null and `error` says why.
  [[nodiscard]] static os::Result<std::shared_ptr<Directory>> open(os::Process& process, const std::string& path);

  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  /// Closes the descriptor if it still is the directory's: a program that closes all descriptors closes ours too.
  ~Directory();

  [[nodiscard]] bool descriptor_is_ours() const noexcept;
  /// The descriptor was found not to be ours: never look again whether it is. Opened anew, the same directory may get
  /// the same number, and this one would close it.
  void forget_descriptor() noexcept { (void)file_.release(); }

  /// Does `path` still name this directory?
  [[nodiscard]] bool is_at(const std::string& path) const noexcept;

  /// Its names are on the disk then (fsync(2)).
  [[nodiscard]] os::Status sync() const noexcept;

  [[nodiscard]] int descriptor() const noexcept { return file_.get(); }
  [[nodiscard]] std::uint64_t device() const noexcept { return info_.device; }
  /// May only that user (and root) make names here?
  [[nodiscard]] bool is_private_of(std::uint32_t uid) const noexcept {
    constexpr std::uint32_t others_write = 022;
    return info_.uid == uid && (info_.mode & others_write) == 0;
  }
  [[nodiscard]] bool local() const noexcept { return file_system_.local; }
  [[nodiscard]] bool locks_reach() const noexcept { return file_system_.locks_reach; }
  [[nodiscard]] const os::FileSystem& file_system() const noexcept { return file_system_; }
  [[nodiscard]] os::Process& process() const noexcept { return process_; }
  [[nodiscard]] os::System& system() const noexcept { return process_.system(); }
  /// What this process has learned about file systems.
  [[nodiscard]] Trials& trials() const noexcept { return trials_; }

  /// Does `name` in this directory, or in the one that is open as `at`, refer to that inode now? The caller has a
  /// descriptor of the inode open. On a network file system a client's memory of names may be old, but not of what it
  /// opens: there the name is opened.
  [[nodiscard]] os::Result<bool> refers_to(int at, const char* name, const os::FileInfo& inode) const noexcept;
  [[nodiscard]] os::Result<bool> refers_to(const char* name, const os::FileInfo& inode) const noexcept {
    return refers_to(descriptor(), name, inode);
  }
  /// What a call is to be taken for that has given that inode the name and answered `error`: 0 also where it says that
  /// the name is there already, or the old one not any more, and the name refers to the inode. Then the reply to it was
  /// lost, and its retry met its own success.
  [[nodiscard]] os::Status arrived(os::Status error, int at, const char* name,
                                   const os::FileInfo& inode) const noexcept;

 private:
  Directory(os::Process& process, os::File file, const os::FileInfo& info, os::FileSystem file_system);

  os::Process& process_;
  Trials& trials_;
  os::File file_;
  os::FileInfo info_;
  os::FileSystem file_system_;
};

/// Those that a process has open: each once, as long as somebody uses it.
class Directories {
 public:
  explicit Directories(os::Process& process) noexcept : process_(process) {}
  Directories(const Directories&) = delete;
  Directories& operator=(const Directories&) = delete;

  /// One whose descriptor is open on that inode, or null.
  [[nodiscard]] std::shared_ptr<Directory> find(const os::FileInfo& inode);
  void add(const os::FileInfo& inode, const std::shared_ptr<Directory>& directory);

 private:
  using Inode = std::pair<std::uint64_t, std::uint64_t>;
  os::Process& process_;
  os::Mutex mutex_;
  std::map<Inode, std::weak_ptr<Directory>> open_;
  std::size_t look_for_closed_at_ = 16;
};

/// Takes a directory apart that was the lock word or was to be, and is not any more. In a loop, since somebody who
/// opened it while it was may still come in.
os::Status take_apart(const Directory& directory, const char* name) noexcept;

}  // namespace lockfile::claim
