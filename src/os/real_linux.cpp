// The one real system, the names of the calls, and what each error number means for each call.
#include "os/real.hpp"

#include <array>
#include <cerrno>
#include <cstddef>
#include <new>

namespace lockfile::os {

System& real_system() noexcept {
  // Never destroyed: static lock objects may outlive it. Nor allocated: memory that is missing would end the program.
  alignas(RealSystem) static std::array<std::byte, sizeof(RealSystem)> place;
  static auto* const system = new (place.data()) RealSystem;
  return *system;
}

std::string_view to_string(Call call) noexcept {
  static constexpr std::array<std::string_view, 59> names = {"open",
                                                             "close",
                                                             "read",
                                                             "write",
                                                             "sync",
                                                             "stat",
                                                             "stat_at",
                                                             "link",
                                                             "link_temporary",
                                                             "unlink",
                                                             "make_directory",
                                                             "remove_directory",
                                                             "rename",
                                                             "rename_new",
                                                             "make_symlink",
                                                             "set_mode",
                                                             "list",
                                                             "file_system",
                                                             "try_lock",
                                                             "unlock",
                                                             "lock_seen",
                                                             "try_lock_shared",
                                                             "flock",
                                                             "touch",
                                                             "duplicate",
                                                             "make_fifo",
                                                             "fifo_put",
                                                             "fifo_drain",
                                                             "map",
                                                             "unmap",
                                                             "load",
                                                             "store",
                                                             "compare_exchange",
                                                             "process_id",
                                                             "thread_id",
                                                             "open_process",
                                                             "readable",
                                                             "process_exists",
                                                             "process_start",
                                                             "boot_id",
                                                             "host_name",
                                                             "pid_namespace",
                                                             "time_namespace",
                                                             "program_name",
                                                             "current_directory",
                                                             "random",
                                                             "notify_open",
                                                             "notify_add",
                                                             "notify_remove",
                                                             "notify_read",
                                                             "event_open",
                                                             "event_set",
                                                             "event_clear",
                                                             "wait",
                                                             "now",
                                                             "since_boot",
                                                             "local_time",
                                                             "mutex_lock",
                                                             "mutex_unlock"};
  return names[static_cast<std::size_t>(call)];
}

namespace {

bool is_lock(Call call) noexcept {
  return call == Call::try_lock || call == Call::try_lock_shared || call == Call::flock;
}

}  // namespace

Cause cause_of(Call call, int error) noexcept {
  switch (error) {
    case 0:
      return Cause::none;
    case EEXIST:
      return Cause::contention;
    case ENOTEMPTY:  // a directory stands where one was to be renamed to, or still has entries
      return Cause::contention;
    case EAGAIN:
      return is_lock(call) ? Cause::contention : Cause::transient;
    case EACCES:
      return is_lock(call) ? Cause::contention : Cause::other;  // fcntl(2): either number for a held range
    case EINTR:
    case ESTALE:
    case EBUSY:
      return Cause::transient;
    case ENOENT:
      return Cause::missing;
    case ENOTDIR:
    case EISDIR:
      // rename(2) of a directory onto a file, or a file onto a directory: something else stands there.
      // open(2): kernels before 3.11 take O_TMPFILE for an attempt to write a directory.
      return call == Call::rename || call == Call::rename_new ? Cause::contention
             : call == Call::open && error == EISDIR          ? Cause::unsupported
                                                              : Cause::other;
    case ENODEV:  // mmap(2): the file system cannot map
      return call == Call::map ? Cause::unsupported : Cause::other;
    case EMLINK:
    case ENOSYS:
    case ENOTTY:
#if EOPNOTSUPP != ENOTSUP
    case ENOTSUP:
#endif
    case EOPNOTSUPP:
      return Cause::unsupported;
    case ENOLCK:
    case EINVAL:
      // From open: no O_TMPFILE. From rename_new: no such flag. From the locks: no open-file-description locks. From
      // make_fifo and map: a file system without FIFOs, or without shared mappings.
      return call == Call::open || call == Call::rename_new || is_lock(call) || call == Call::lock_seen ||
                     call == Call::make_fifo || call == Call::map
                 ? Cause::unsupported
                 : Cause::other;
    case EPERM:
      // link(2): the file system has no hard links, where the file is our own.
      // mknod(2): no FIFOs there. mmap(2): no shared mapping for writing.
      return call == Call::link || call == Call::link_temporary || call == Call::make_fifo || call == Call::map
                 ? Cause::unsupported
                 : Cause::other;
    default:
      return Cause::other;
  }
}

}  // namespace lockfile::os
