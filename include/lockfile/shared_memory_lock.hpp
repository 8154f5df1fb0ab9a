// Locks in memory that the processes of one host share: `SharedMemoryLock`.
#pragma once

#include <lockfile/lock.hpp>

namespace lockfile {

/// A lock in a mapped file beside the path, `path.lock`, which is made where it is missing, and stays.
///
///     lockfile::SharedMemoryLock lock("/dev/shm/app-journal");
///     std::scoped_lock guard(lock);
///     if (lock.previous_holder_died()) repair_the_journal();
///
/// The fastest of all: a lock object that has acquired once does it again in one compare-exchange, and releases in
/// another, without a system call. Shared, upgradable and exclusive. For the processes of one host, containers too that
/// see the same file: a network file system is refused (`std::errc::operation_not_supported`), and so are a kernel that
/// does not tell its boot id and a file of another scheme or program, with a message that names both. A file that has
/// been truncated or written to is refused where that is seen (`std::errc::bad_message`).
///
/// Waiting: in line, as with every scheme of one host (`Options::order`): the release wakes the first, and a writer is
/// not passed by readers that come later. Where there can be no line (no FIFOs, a directory where one may not write)
/// whoever waits looks again after 1 to 20 milliseconds, in no order; so does an upgrade that waits for readers. No
/// fences and no leases.
///
/// A holder that dies, at any instruction, is replaced by the next caller, who is told: `previous_holder_died()`. What
/// an earlier boot left in the file is set back; its holder counts as dead.
///
/// Duties: never remove, replace or truncate the file while anybody may use it. Whoever has it mapped would go on in
/// the old one; touching what was cut off ends the process (SIGBUS, mmap(2)). Everybody who may write the file can
/// damage the lock for all: `Options::access` says who may.
///
/// The directory is resolved when a lock object first acquires, and again when it finds the lock held; not at every
/// acquire. `Options::remove_on_release` is without effect. One file serves up to 1024 lock objects that hold, wait, or
/// have held: each keeps its place for its next hold.
class SharedMemoryLock : public Lock {
 public:
  explicit SharedMemoryLock(std::string_view path, Options options = {});
};

}  // namespace lockfile
