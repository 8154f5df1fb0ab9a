// The verbs. `Lock` gives every scheme the same ones; `FileLock` (file_lock.hpp) is the one most people want.
#pragma once

#include <lockfile/error.hpp>
#include <lockfile/holder.hpp>
#include <lockfile/options.hpp>
#include <lockfile/scheme.hpp>
#include <lockfile/wait.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace lockfile {

namespace core {
class Engine;
}

/// A lock on a path, by some scheme.
///
///     lockfile::FileLock lock("/var/lib/app/state");
///     std::scoped_lock guard(lock);
///
/// Outcomes of an attempt: held; busy (`AlreadyLocked`, `LockTimeout`, `LockStopped`); failed (`LockFailed`). Held is
/// never reported unless the scheme proved it, and nothing but contention is ever waited for.
///
/// | state       | acquire          | release             | destructor |
/// |-------------|------------------|---------------------|------------|
/// | not held    | held             | NotLocked/NotMyLock | nothing    |
/// | held by us  | held, counted    | counted, then free  | releases   |
/// | held, other | waits            | NotMyLock           | nothing    |
/// | lost        | a new hold       | NotLocked/NotMyLock | nothing    |
///
/// With `Options::lease` a hold also ends by itself: then it is lost, and `i_am_locking()` is false.
///
/// Identity: (lock object, thread); with `Options::threaded == false` the lock object alone. Re-entry by the same
/// identity is counted: release as often as you acquired. A break drops the whole count. A second object on the same
/// lock in the same thread fails at once with `std::errc::resource_deadlock_would_occur`.
///
/// Threads: every verb may be called from several threads at once. A thread that ends without releasing leaves the
/// lock held. Signals: waits go on after a handler has run; use a stop request to end one.
/// Fork: the child holds nothing, whatever the parent holds; the object can be used there to acquire anew. Exec: the
/// hold lasts until the process ends. A program that closes all its descriptors, or becomes a daemon, acquires
/// afterwards or hands over.
///
/// An upgradable hold is held too, beside shared ones; `upgrade` and `downgrade` change how it is held.
///
/// Each verb has a form with `std::error_code&` that does not throw: `ec` is cleared on success, is an `errc` of this
/// library, or the system's cause of what would be `LockFailed`.
class Lock {
 public:
  /// Names the lock; opens nothing. `path` is for messages. Throws `LockFailed` with `std::errc::invalid_argument` for
  /// a path that names no file (empty, `/`, or ending in `.` or `..`) or a reason of over 400 bytes.
  Lock(std::string_view path, std::unique_ptr<Scheme> scheme, const Options& options = {});
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
  /// Releases what is held, in silence, except a hold handed to a child that still runs. In a forked child: only
  /// closes.
  ~Lock();

  // --- the founding document's verbs ---

  /// Waits until the lock is ours, or `wait` is over. Takes over a lock whose holder is proved dead, also without
  /// waiting. Throws `AlreadyLocked` (zero or negative limit), `LockTimeout`, `LockStopped` or `LockFailed`.
  void acquire(const Wait& wait = for_ever);
  /// True when it is ours.
  bool acquire(const Wait& wait, std::error_code& ec) noexcept;
  /// As `acquire`, in another mode than exclusive. A scheme without that mode (`Traits::shared`, `Traits::upgradable`)
  /// fails with `std::errc::operation_not_supported`; so does asking for another mode than the one that this identity
  /// holds, with `std::errc::resource_deadlock_would_occur`.
  void acquire(Mode mode, const Wait& wait = for_ever);
  bool acquire(Mode mode, const Wait& wait, std::error_code& ec) noexcept;

  /// Ends the hold, or counts down a re-entry. Throws `NotLocked` (nobody holds it now) or `NotMyLock` (somebody else
  /// or another thread does), and then removes nothing; or `UnlockError` when the file system refused.
  void release();
  void release(std::error_code& ec) noexcept;

  /// Would another identity be refused now? A dead holder does not count, an unknown or foreign one does. Does not
  /// wait. Throws `LockFailed` when it cannot tell.
  [[nodiscard]] bool is_locked() const;
  [[nodiscard]] bool is_locked(std::error_code& ec) const noexcept;

  /// Do we hold it? A fresh look: false after a break, and in a forked child.
  [[nodiscard]] bool i_am_locking() const noexcept;

  /// Breaks, by force, whoever holds now. True when a hold was broken, false when there was none. The one who is broken
  /// is not stopped: it learns it from `i_am_locking()` or at its release. Throws `LockFailed`, with `errc::foreign`
  /// for another program's lock (see `BreakWhat`). May wait up to a second for another breaker.
  bool break_lock(BreakWhat what = BreakWhat::ours);
  bool break_lock(BreakWhat what, std::error_code& ec) noexcept;
  /// Breaks that hold and no other. False when it no longer stands, or has become another one: in shared memory a hold
  /// that is upgraded or downgraded does, so look again.
  bool break_lock(const Holder& hold);
  bool break_lock(const Holder& hold, std::error_code& ec) noexcept;
  /// Removes the lock only if its holder is proved dead. True when it did.
  bool break_stale();
  bool break_stale(std::error_code& ec) noexcept;
  /// Removes the lock only if its lease is over by what this object has seen of it: an earlier look of it (`holder()`)
  /// has shown the same hold, not renewed since, at least its lease and a margin ago (`Holder::lease_left`). True when
  /// it did. Throws `LockFailed` with `errc::cannot_break` where byte locks do not reach the holder's host.
  bool break_expired();
  bool break_expired(std::error_code& ec) noexcept;

  // --- who holds ---

  /// Who holds it now, by a fresh look; nothing when it is free. Throws `LockFailed` when it cannot tell.
  [[nodiscard]] std::optional<Holder> holder() const;
  [[nodiscard]] std::optional<Holder> holder(std::error_code& ec) const noexcept;
  [[nodiscard]] std::vector<Holder> holders() const;
  /// Who waits for it on this host, in the order in which they will enter; of each process one thread. Not there: who
  /// waits where there can be no line, and who only tries. Reads only. Throws `LockFailed` when it cannot tell.
  [[nodiscard]] std::vector<Waiter> waiters() const;
  [[nodiscard]] std::vector<Waiter> waiters(std::error_code& ec) const noexcept;

  /// Makes the hold last until the process `child` has ended too, also when this process is killed: the record
  /// names it. The destructor then leaves the lock held while the child runs; `release()` still ends it. Call it before
  /// the child may go on (let it wait on a pipe, say). Throws `NotMyLock` when the lock is not ours, or `LockFailed`.
  void hand_over(std::int64_t child);
  void hand_over(std::int64_t child, std::error_code& ec) noexcept;
  /// A new descriptor of the hold's guard, closed on exec, for a child to keep open: then the hold is seen alive from
  /// other pid namespaces too. Make it before fork, clear FD_CLOEXEC in the child, close it in the parent.
  [[nodiscard]] int share_guard();
  [[nodiscard]] int share_guard(std::error_code& ec) noexcept;

  /// The number of the hold of this identity, for `Options::fence`: larger than at any earlier exclusive acquisition of
  /// this path that asked for one, by any process, also after kills, forced breaks and power cuts. Pass it on to
  /// whatever you change, and let that refuse a smaller one than it has seen (`FencedFile` does): so a holder that was
  /// broken and does not know it can do no harm. 0: no number was asked for, the hold is shared, or there is none. Not
  /// a look: a hold that was broken keeps its number until it is released. Touches no file; in a forked child it is 0.
  [[nodiscard]] std::uint64_t fence() const noexcept;

  /// Did the exclusive holder before the hold of this identity die without ending it, so that what the lock protects
  /// may have been left in the middle of a change? As EOWNERDEAD of a robust mutex (pthread_mutex_lock(3)), only that
  /// nothing has to be done for the lock itself. Scheme shm: told to everybody who is granted it, readers too, until an
  /// exclusive holder has released it; a power cut counts as a death. The lock-file schemes: told only to whoever
  /// itself cleared the dead holder's lock file away, so false proves nothing there. Kernel locks: always false. Broken
  /// by force is not dead. Not a look; in a forked child it is false.
  [[nodiscard]] bool previous_holder_died() const noexcept;

  // --- leases (`Options::lease`), and being told of a loss ---

  /// Makes the hold of this thread last for its ttl anew, counted from the beginning of this call. Throws `NotLocked`
  /// or `NotMyLock` when the hold is lost: its lease had run out before the renewal was confirmed, or it was broken.
  /// `LockFailed`: it was not renewed, for another cause, and may be tried again until it runs out. Waits for the disk
  /// or the file server. `LeaseKeeper` (lease_keeper.hpp) calls it in time, on a thread of its own.
  void renew();
  void renew(std::error_code& ec) noexcept;
  /// How long the lease of the hold of this thread lasts yet, by this host's clock (CLOCK_BOOTTIME); not positive: it
  /// is over. Not a look at any file. Nothing: no hold, or none with a lease.
  [[nodiscard]] std::optional<std::chrono::nanoseconds> lease_left() const noexcept;
  /// A stop is requested on it as soon as the hold of this thread is known to be lost: by a verb of this object that
  /// finds it so, or by a `LeaseKeeper`, which looks. Callbacks run on the thread that finds out, with nothing locked.
  /// Where there is no hold, it has been requested already. In a forked child, ask anew. Throws `std::bad_alloc`.
  [[nodiscard]] std::stop_token lost() const;

  // --- the standard's verbs (Lockable and TimedLockable) ---

  void lock() { acquire(for_ever); }
  void lock(std::stop_token stop) { acquire({for_ever, std::move(stop)}); }
  /// False when somebody else holds it; throws `LockFailed` when it could not be tried.
  [[nodiscard]] bool try_lock() { return try_acquire(Mode::exclusive, std::chrono::nanoseconds::zero()); }
  /// False when the time or the stop request came first.
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_for(std::chrono::duration<Rep, Period> limit, std::stop_token stop = {}) {
    return try_acquire(Mode::exclusive, {limit, std::move(stop)});
  }
  /// Any clock. One that is not the steady clock is converted once, at the call: later changes of it do not count.
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_until(std::chrono::time_point<Clock, Duration> deadline, std::stop_token stop = {}) {
    return try_acquire(Mode::exclusive, until(deadline, std::move(stop)));
  }
  /// Releases. A hold that was lost meanwhile is not an error here (guards unlock in destructors); `last_error()` keeps
  /// it. Unlocking what this thread never held is a broken precondition: it ends the program with a message.
  void unlock() noexcept;

  // --- the standard's SharedTimedLockable, for std::shared_lock ---

  void lock_shared() { acquire(Mode::shared, for_ever); }
  void lock_shared(std::stop_token stop) { acquire(Mode::shared, {for_ever, std::move(stop)}); }
  [[nodiscard]] bool try_lock_shared() { return try_acquire(Mode::shared, std::chrono::nanoseconds::zero()); }
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_shared_for(std::chrono::duration<Rep, Period> limit, std::stop_token stop = {}) {
    return try_acquire(Mode::shared, {limit, std::move(stop)});
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_shared_until(std::chrono::time_point<Clock, Duration> deadline,
                                           std::stop_token stop = {}) {
    return try_acquire(Mode::shared, until(deadline, std::move(stop)));
  }
  /// As `unlock()`: each identity has one hold, so either of the two ends it.
  void unlock_shared() noexcept { unlock(); }

  // --- upgradable holds: one of them beside any number of shared ones, and it may become the exclusive one ---

  /// Makes this identity's upgradable hold exclusive: waits until those who share it have left, and nobody else holds
  /// it in between. While it waits, newcomers of ours wait too. Re-entries stay counted; exclusive already: nothing to
  /// do. With `Options::fence` it counts as an acquisition and gets a new number.
  /// Throws `AlreadyLocked` (zero or negative limit), `LockTimeout` or `LockStopped`: then the hold is upgradable as
  /// before. `NotLocked` or `NotMyLock`: there is no hold, or it was lost meanwhile. `LockFailed`, the hold as before:
  /// with `std::errc::resource_deadlock_would_occur` a hold that is only shared (two that wait for each other would
  /// wait for ever; at most one is upgradable, so two upgrades never do), or a reader in this very thread; with
  /// `std::errc::operation_not_supported` where the scheme cannot (`Traits::upgradable`).
  void upgrade(const Wait& wait = for_ever);
  /// True when it is exclusive.
  bool upgrade(const Wait& wait, std::error_code& ec) noexcept;

  /// Makes this identity's hold a weaker one, upgradable or shared, without ever being free: nobody gets it exclusively
  /// in between. `wait`: for somebody who is just removing the hold or joining it, which takes an instant unless that
  /// process was stopped. Throws like `upgrade`, and the hold is then as before. Where a server may have taken the new
  /// mode or not (fsync(2) failed) the hold is the weaker one, and others may wait until it ends. Fails with
  /// `std::errc::resource_deadlock_would_occur` for a hold that was entered more than once, since the outer code counts
  /// on its mode, and for one that is weaker already.
  void downgrade(Mode to, const Wait& wait = for_ever);
  bool downgrade(Mode to, const Wait& wait, std::error_code& ec) noexcept;

  // The names of Boost.Thread's UpgradeLockable concept, so that `boost::upgrade_lock` and
  // `boost::upgrade_to_unique_lock` work.

  void lock_upgrade() { acquire(Mode::upgradable, for_ever); }
  void lock_upgrade(std::stop_token stop) { acquire(Mode::upgradable, {for_ever, std::move(stop)}); }
  [[nodiscard]] bool try_lock_upgrade() { return try_acquire(Mode::upgradable, std::chrono::nanoseconds::zero()); }
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_upgrade_for(std::chrono::duration<Rep, Period> limit, std::stop_token stop = {}) {
    return try_acquire(Mode::upgradable, {limit, std::move(stop)});
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_upgrade_until(std::chrono::time_point<Clock, Duration> deadline,
                                            std::stop_token stop = {}) {
    return try_acquire(Mode::upgradable, until(deadline, std::move(stop)));
  }
  /// As `unlock()`.
  void unlock_upgrade() noexcept { unlock(); }

  /// `upgrade`.
  void unlock_upgrade_and_lock() { upgrade(for_ever); }
  void unlock_upgrade_and_lock(std::stop_token stop) { upgrade({for_ever, std::move(stop)}); }
  /// False, and upgradable as before, when the readers did not leave in time; throws as `upgrade` where it failed.
  [[nodiscard]] bool try_unlock_upgrade_and_lock() { return try_upgrade(std::chrono::nanoseconds::zero()); }
  template <class Rep, class Period>
  [[nodiscard]] bool try_unlock_upgrade_and_lock_for(std::chrono::duration<Rep, Period> limit,
                                                     std::stop_token stop = {}) {
    return try_upgrade({limit, std::move(stop)});
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_unlock_upgrade_and_lock_until(std::chrono::time_point<Clock, Duration> deadline,
                                                       std::stop_token stop = {}) {
    return try_upgrade(until(deadline, std::move(stop)));
  }
  /// `downgrade`, waiting at most a second. As `unlock()`, since guards call these in destructors: a hold that was
  /// lost, or could not be made weaker and so is as it was, is not an error; `last_error()` keeps it. For a thread that
  /// never held it they end the program with a message.
  void unlock_and_lock_upgrade() noexcept { downgrade_quietly(Mode::upgradable); }
  void unlock_and_lock_shared() noexcept { downgrade_quietly(Mode::shared); }
  void unlock_upgrade_and_lock_shared() noexcept { downgrade_quietly(Mode::shared); }

  // --- about the object ---

  /// What the last `unlock()` of any thread, or the like, would have reported; cleared by one that did its work.
  [[nodiscard]] std::error_code last_error() const noexcept;
  [[nodiscard]] const std::string& path() const noexcept;
  /// The scheme's name; "auto" becomes "link" or "mkdir" with the first attempt.
  [[nodiscard]] std::string_view scheme() const noexcept;

 protected:
  explicit Lock(std::unique_ptr<core::Engine> engine) noexcept;

 private:
  template <class Clock, class Duration>
  [[nodiscard]] static Wait until(std::chrono::time_point<Clock, Duration> deadline, std::stop_token stop) {
    if constexpr (std::is_same_v<Clock, std::chrono::steady_clock>) {
      return {std::chrono::time_point_cast<std::chrono::steady_clock::duration>(deadline), std::move(stop)};
    } else {
      return {deadline - Clock::now(), std::move(stop)};
    }
  }
  friend class LeaseKeeper;
  bool try_acquire(Mode mode, const Wait& wait);
  bool try_upgrade(const Wait& wait);
  void downgrade_quietly(Mode to) noexcept;

  std::unique_ptr<core::Engine> engine_;
};

}  // namespace lockfile
