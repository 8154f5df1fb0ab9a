// Keeps a lease from running out, and tells its holder when the hold is lost.
#pragma once

#include <lockfile/lock.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>

namespace lockfile {

/// Why a hold is lost.
enum class Loss : std::uint8_t {
  none,     ///< it is not, or not known to be
  expired,  ///< its lease ran out: it could not be renewed in time, or this machine or process stood still
  broken,   ///< somebody removed it
};

/// Renews the lease of a hold, three times within its ttl, for as long as the keeper lives, and looks whether the hold
/// still stands.
///
///     lockfile::FileLock lock("/net/queue", {.lease = 30s});
///     std::scoped_lock guard(lock);
///     lockfile::LeaseKeeper keeper(lock, 5s);
///     while (!keeper.lost().stop_requested()) do_a_little();   // has to end within 5 s
///
/// It is for the hold that the calling thread has when the keeper is made. When that is released the keeper does
/// nothing more; it is to be destroyed before the lock object is. Where the hold has no lease it only watches: by
/// events, or by a look each second where no events come (another host's deeds, a scheme that gives none).
///
/// Threads: the keeper owns two, begun by its constructor and ended by its destructor. One calls the file system, and
/// may be inside of such a call for as long as a file server is away; the other reads the clock and tells `lost()` in
/// time all the same. Everything here may be called from any thread. The destructor waits for a renewal that is under
/// way. Signals: both threads block all. Fork: the threads are not there in a child, which holds nothing: `lost()` is
/// requested there, and the destructor does nothing.
class LeaseKeeper {
 public:
  /// `grace`: `lost()` is requested that much before the lease runs out, for whoever needs time to stop. At most half
  /// the ttl. Throws `NotLocked` or `NotMyLock` when the calling thread holds nothing, `LockFailed` with
  /// `std::errc::invalid_argument` for a grace that is negative or too long, or `std::system_error` when no thread can
  /// be started.
  explicit LeaseKeeper(Lock& lock, std::chrono::milliseconds grace = std::chrono::milliseconds::zero());
  LeaseKeeper(const LeaseKeeper&) = delete;
  LeaseKeeper& operator=(const LeaseKeeper&) = delete;
  ~LeaseKeeper();

  /// A stop is requested on it as soon as the hold can no longer be trusted: its lease is about to run out (by
  /// `grace`), or it was broken. It is told once, and stays so though a renewal may come through afterwards. Callbacks
  /// run on a thread of the keeper, and are to be short. After the machine has slept it is told within a second.
  [[nodiscard]] std::stop_token lost() const;
  /// How long the lease lasts yet; not positive: it is over. Nothing: the hold has none. Never waits.
  [[nodiscard]] std::optional<std::chrono::nanoseconds> time_left() const noexcept;
  /// Why the hold is lost, once it is; `none` while only the grace has begun.
  [[nodiscard]] Loss loss() const noexcept;

 private:
  class Threads;
  std::unique_ptr<Threads> threads_;
};

}  // namespace lockfile
