// Locks that the kernel keeps on a file: `KernelFileLock`.
#pragma once

#include <lockfile/lock.hpp>

namespace lockfile {

/// A kernel lock on the very file that `path` names (no `.lock`), which is made where it is missing, and stays.
///
///     lockfile::KernelFileLock lock("/var/lib/app/journal", {.scheme = "flock"});  // flock(1) excludes us, and we it
///     std::shared_lock reading(lock);
///
/// `Options::scheme`: "flock" takes flock(2), which is what flock(1) and Python's filelock take. Anything else takes a
/// byte-range lock of the open file description (F_OFD_SETLK, fcntl(2), Linux 3.15), of one byte far beyond the end of
/// the file; programs that lock the whole file by lockf(3) or fcntl(2) are excluded too. The two kinds do not see each
/// other: a file with the record of one is refused to the other, with a message that names both.
///
/// Shared and exclusive. A new file is made by the umask or `Options::access`; the file is never truncated, and a
/// symbolic link at the last component is never followed (`std::errc::too_many_symbolic_link_levels`). The holder's
/// record stands in the file if the file was made by this class; into any other file nothing is written, and its
/// holders are unknown ones (foreign) to other processes. Of several shared holders one is named.
///
/// Waiting: woken by the release of another process that uses this class. A foreign locker gives at best an event when
/// it closes, *before* the kernel drops its lock: a waiter looks again 1, 4 and 16 milliseconds after each event, and
/// once a second in any case. On a network file system it looks up to every 250 milliseconds.
///
/// A hold ends when it is released, and with its process: nothing is ever stale. It is lost (`NotLocked`,
/// `NotMyLock`) when the program closes its descriptors or somebody removes the file. Nobody can break it:
/// `errc::cannot_break`; end the process instead. A child made by fork(2) holds nothing and prolongs nothing; one made
/// by clone(2) without the at-fork handlers keeps the lock until it ends or executes a program.
///
/// `hand_over` needs `share_guard` first: the hold lasts while the child keeps that descriptor open, and
/// without it the answer is `std::errc::operation_not_supported`.
///
/// Across hosts: where the file system carries byte locks (NFS, SMB; not with `nolock` or `nobrl`).
class KernelFileLock : public Lock {
 public:
  explicit KernelFileLock(std::string_view path, Options options = {});
};

}  // namespace lockfile
