// Locks that are files: `FileLock`, and the two founding schemes by their own names.
#pragma once

#include <lockfile/lock.hpp>

namespace lockfile {

/// A lock on the object that `path` names, held by the lock file `path.lock`.
///
///     lockfile::FileLock lock("/var/spool/app/queue", {.reason = "nightly clean-up"});
///     lock.acquire(30s);
///     ...
///     lock.release();
///
/// The object need not exist; its directory must exist and be writable. The path is made absolute here (getcwd(3));
/// its last component is never resolved, so a symbolic link and its target are two locks. Every acquire
/// resolves the directory anew; a hold is released in the directory in which it was acquired.
///
/// Guarantees: one holder at a time, on one file system, among all users of either scheme and all programs that
/// create `path.lock` exclusively; a holder that was killed is replaced without an operator once its death can be
/// proved; a break never removes a later hold. Not guaranteed: order among waiters of several processes; anything
/// against programs that write without asking.
///
/// docs/on-disk-format.md describes the files.
class FileLock : public Lock {
 public:
  explicit FileLock(std::string_view path, const Options& options = {});
};

/// `FileLock` by hard links, always: `link(2)` is the atomic step. For file systems with hard links.
class LinkFileLock : public FileLock {
 public:
  explicit LinkFileLock(std::string_view path, Options options = {});
};

/// `FileLock` by directories, always: publishing a directory is the atomic step. For file systems without hard links.
class MkdirFileLock : public FileLock {
 public:
  explicit MkdirFileLock(std::string_view path, Options options = {});
};

}  // namespace lockfile
