// What a lock object can be told when it is made.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace lockfile {

/// Which users may read and break what a lock leaves in its directory.
enum class Access : std::uint8_t {
  by_umask,  ///< what the umask gives (umask(2)); a second user can then not take over a stale lock
  group,     ///< the group of the file may too
  everyone,  ///< every user may too
};

/// In which order those of several processes of one host enter who want a lock.
enum class Order : std::uint8_t {
  fair,        ///< in the order in which they began to wait; a newcomer lines up behind those who wait
  throughput,  ///< a newcomer may take a lock that is free just now; those who wait enter in order
};

struct Options {
  /// True: each thread is an identity of its own. False: all threads of the process are one, for this object.
  bool threaded = true;
  Access access = Access::by_umask;
  /// Shown to whoever asks who holds the lock. At most 400 bytes.
  std::string reason = {};
  /// "auto", "link" or "mkdir": a lock file beside the path. "auto" takes link where a trial of the directory's file
  /// system passes, else mkdir. "kernel" or "flock": a kernel lock on the path itself (kernel_file_lock.hpp). "shm":
  /// shared memory (shared_memory_lock.hpp).
  std::string scheme = "auto";
  /// How this object behaves towards those who wait already. Each object of a lock may choose for itself.
  Order order = Order::fair;
  /// True: every exclusive hold gets a number, larger than that of every earlier one on this path: see `Lock::fence`.
  /// It costs two writes to the disk for each acquire (fsync(2) of a file and of its directory).
  bool fence = false;
  /// Not 0: a hold ends by itself after so long unless it is renewed, so that a holder on another host whose death
  /// nobody can prove does not keep the lock for ever. Who renews is `LeaseKeeper` (lease_keeper.hpp), or you, by
  /// `Lock::renew()`. Exclusive holds of lock files only. Choose it some times longer than a file server may be away: a
  /// hold that could not be renewed in time is lost.
  std::chrono::milliseconds lease{0};
  /// Scheme kernel: remove the file at the last release, if it has a record of ours in it. Refused for flock
  /// (`std::errc::invalid_argument`): flock(1) does not look whether the file that it has locked still is there, and
  /// two would hold. The lock-file schemes remove their files anyway.
  bool remove_on_release = false;
};

/// What `break_lock` may break.
enum class BreakWhat : std::uint8_t {
  ours,     ///< holds of this library only
  foreign,  ///< other programs' locks too. Their program honours nothing of ours: it may still be at work.
};

}  // namespace lockfile
