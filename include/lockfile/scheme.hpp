// The base on which locking schemes are built (the founding document's `_FileLock`).
//
// A scheme knows one way to hold a lock. It makes *attempts*: an attempt is a would-be hold and then the hold, and
// whatever must outlive one try (a claim, a place in a queue, a connection) lives in it. A scheme never sleeps and has
// no thread: `Lock` has the one wait loop, the deadlines, the identity of threads, re-entry and the messages.
//
// To add a scheme of your own, derive from `SimpleScheme` and write `try_once` and `release`
// (examples/symlink_scheme.cpp does it in under 100 lines). Derive from `Scheme` when waiting should be by events.
#pragma once

#include <lockfile/holder.hpp>
#include <lockfile/inspect.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <variant>
#include <vector>

namespace lockfile {

namespace os {
class WatchSource;
}

/// What an attempt asks for.
struct Request {
  Mode mode = Mode::exclusive;
  std::int64_t thread = 0;  ///< the kernel's id of the thread that asks
  bool may_queue = true;    ///< false: it only tries, and takes no place among those who wait
};

/// Something whose change is worth another try: an inode, a process, a readable descriptor; never a name.
/// Copies refer to the same source.
class Watch {
 public:
  explicit Watch(std::shared_ptr<os::WatchSource> source) noexcept;
  /// Fires when `descriptor` polls readable, or hung up (poll(2)). The descriptor stays the caller's and must stay
  /// open until the attempt has ended.
  [[nodiscard]] static Watch readable(int descriptor);

  [[nodiscard]] os::WatchSource& source() const noexcept { return *source_; }

 private:
  std::shared_ptr<os::WatchSource> source_;
};

/// Somebody else is in the way. Sleep until one of `on` fires or `look_again` has come, then try again.
struct Blocked {
  std::vector<Watch> on;
  std::optional<std::chrono::steady_clock::time_point> look_again;
  std::optional<Holder> by;
};

/// Ours.
struct Granted {
  std::uint64_t fence = 0;  ///< the number of this hold, where fences are asked for (`Options::fence`)
  /// Its exclusive predecessor was proved dead and did not end its hold: see `Lock::previous_holder_died`.
  bool previous_holder_died = false;
};

/// It cannot be had, and waiting would not help.
struct Failed {
  std::error_code why;
  std::string what;          ///< the call that failed and its subject: `cannot link 'a.lock'`
  std::optional<Holder> by;  ///< who is in the way, where somebody is
};

using Step = std::variant<Granted, Blocked, Failed>;

/// A would-be hold, then the hold. The verbs are called one at a time, under the lock object's mutex.
class Attempt {
 public:
  Attempt() = default;
  Attempt(const Attempt&) = delete;
  Attempt& operator=(const Attempt&) = delete;
  /// No input or output: the lock object has called `release`, `withdraw` or `abandon` before.
  virtual ~Attempt() = default;

  /// One bounded try. Called again after the watches have been armed, and after every wake-up.
  virtual Step step() noexcept = 0;
  /// Gives the wait up. Nothing: gone. Otherwise not yet: wait for this and call again.
  virtual std::optional<Blocked> withdraw() noexcept = 0;
  /// Ends the hold. `errc::not_locked` or `errc::not_my_lock`: it had been lost before.
  virtual std::error_code release() noexcept = 0;
  /// One bounded try to change how the hold is held: from upgradable to exclusive (`Blocked` while readers are in),
  /// from exclusive to upgradable or shared, from upgradable to shared. Nobody gets it exclusively in between, and what
  /// is not granted leaves the hold as it was; it may keep newcomers out until `end_conversion`. `Failed` with
  /// `errc::not_my_lock`: the hold had been lost. Schemes without `Traits::upgradable` need not have it.
  virtual Step convert(Mode to) noexcept;
  /// No further `convert` follows for now: newcomers may come in again.
  virtual void end_conversion() noexcept {}
  /// A fresh look: is it still held? False with `why` set: it cannot be told now, which is no loss.
  virtual bool still_held(std::error_code& why) noexcept = 0;
  /// When one of these fires the hold may have been lost. Empty: no event tells; ask `still_held`. Made anew at each
  /// call and good until the next; asked for only by those who watch over a hold (`LeaseKeeper`).
  [[nodiscard]] virtual std::span<const Watch> lost() noexcept { return {}; }
  /// Makes the lease of the hold last anew, from the beginning of this call. `errc::not_locked` or `errc::not_my_lock`:
  /// the hold is lost. Any other error: it was not renewed, and may be tried again. May wait for the disk or the
  /// server.
  virtual std::error_code renew() noexcept;
  /// When the lease ends, in time since boot (CLOCK_BOOTTIME). Nothing: the hold has none.
  [[nodiscard]] virtual std::optional<std::chrono::nanoseconds> lease_end() const noexcept { return std::nullopt; }
  /// Close descriptors and touch no file: in a forked child the hold is the parent's; and a hold that was handed over
  /// goes on without us.
  virtual void abandon() noexcept = 0;
  /// Serves for another hold, after `release` or `withdraw`, as a new attempt would: so that a hold costs no memory.
  /// Touches no file. False: it cannot, make another one. What a scheme keeps between holds for the sake of the next
  /// one is the scheme's: an attempt that was released has nothing to be abandoned.
  virtual bool reuse(const Request& request) noexcept;
  /// For schemes with `Traits::short_way`: `reuse` and `step` in one, for the lock that nobody holds or waits for,
  /// where that takes a few steps in memory. True: held, as after a `Granted` with no fence and no dead predecessor.
  /// False: nothing has changed, and `reuse` and `step` will tell.
  virtual bool enter(const Request& request) noexcept;
  /// `release` likewise. False: nothing has changed, and `release` will tell.
  virtual bool leave() noexcept;
  /// The hold goes on in another thread of this process (0: in none for the moment) and stays one and the same to
  /// everybody else: its number, its record. True only after a fresh look has shown that it still is held. False: it
  /// is lost, cannot be told, or is not to be passed on; then it is released. Looks by this process name the thread.
  virtual bool pass_to(std::int64_t thread) noexcept;

  /// Makes the hold last until the process `child` has ended too. Schemes without `Traits::handed_over` refuse.
  virtual std::error_code hand_over(std::int64_t child) noexcept;
  /// A new descriptor, closed on exec, that a child may keep so that the hold is seen alive; or nothing.
  virtual std::optional<int> share_guard(std::error_code& why) noexcept;
  /// Is the hold handed to a process that has not ended?
  virtual bool outlives_us() noexcept { return false; }
};

/// What a scheme promises. The lock object goes by these; `lockctl doctor` and docs/choosing.md show them.
struct Traits {
  bool shared = false;          ///< readers together
  bool upgradable = false;      ///< one hold beside the readers can become the writer
  bool fair = false;            ///< waiters of several processes of one host enter in the order in which they came
  bool fence = false;           ///< numbers its acquisitions
  bool lease = false;           ///< an exclusive hold may end by itself, unless it is renewed
  bool crash_recovery = false;  ///< a holder that was killed is replaced by the next caller
  bool forced_break = false;    ///< a hold can be broken by force, and no later one with it
  bool across_hosts = false;    ///< excludes processes of several hosts
  bool event_wait = false;      ///< waiters are woken, they do not poll
  bool handed_over = false;     ///< a hold can be handed to a child
  bool queues = false;          ///< orders the threads of this process itself: no promise, but for the lock object
  bool short_way = false;       ///< its attempts have `enter` and `leave`: likewise
};

/// One promise, as people and programs are told of it.
struct Promise {
  std::string_view name;  ///< "crash recovery"
  std::string_view what;  ///< what it means
  bool Traits::*is;
};
/// All of them, one for each member of `Traits` but `queues` and `short_way`.
[[nodiscard]] std::span<const Promise> promises() noexcept;

/// A scheme that `Options::scheme` can name.
struct SchemeDescription {
  std::string_view name;
  std::string_view what;    ///< "a lock file, made by a hard link"
  std::string_view locks;   ///< the file that is the lock: "PATH.lock" beside the path, or "PATH", the very file
  Traits promises;          ///< where everything that it rests on is there; a lock object's scheme knows its directory
  std::string_view except;  ///< where they do not reach
};
/// All schemes, in the order in which they are shown. Touches no file and makes no lock.
[[nodiscard]] std::span<const SchemeDescription> describe_schemes() noexcept;
/// As `describe_schemes`, of those that lock a name in a database or a cluster and are named by an address (open.hpp),
/// whether they are built in or not.
[[nodiscard]] std::span<const SchemeDescription> describe_engines() noexcept;

/// What a break must know before it removes a hold.
enum class Proof : std::uint8_t {
  stale,    ///< only when its holder is proved dead
  forced,   ///< whoever holds with this nonce and number
  foreign,  ///< another program's lock, whichever stands there now
  expired,  ///< only when its lease is over, by what this scheme object has seen of it
};

class Scheme {
 public:
  Scheme() = default;
  Scheme(const Scheme&) = delete;
  Scheme& operator=(const Scheme&) = delete;
  virtual ~Scheme() = default;

  [[nodiscard]] virtual std::string_view name() const noexcept = 0;
  [[nodiscard]] virtual Traits traits() const noexcept = 0;
  [[nodiscard]] virtual std::unique_ptr<Attempt> attempt(const Request& request) = 0;
  /// Who holds now; empty: free. A failed look sets `why`.
  [[nodiscard]] virtual std::vector<Holder> holders(std::error_code& why) = 0;
  /// Who waits for it in line on this host, in order; empty where the scheme keeps no line.
  [[nodiscard]] virtual std::vector<Waiter> waiters(std::error_code& why) {
    why.clear();
    return {};
  }
  /// Removes that hold if `proof` allows. No error: it is gone by our hand. `errc::not_locked`: it was gone before, or
  /// is not stale. `std::errc::resource_unavailable_try_again`: somebody else is removing it just now.
  virtual std::error_code break_hold(const Holder& hold, Proof proof) noexcept = 0;
  /// In a forked child: close what is kept between acquisitions and touch no file.
  virtual void abandon() noexcept {}
  /// `units` of which an attempt wants `wanted` together: the semaphore of that name, beside this lock and not the
  /// same. Null: the scheme has none of its own.
  [[nodiscard]] virtual std::unique_ptr<Scheme> semaphore(std::size_t units, std::size_t wanted);
  /// Makes what it needs at its place, where that is missing: tables of a server. Most need nothing.
  virtual std::error_code initialise(std::string& what);
  /// Looks its place over, for people: `examine` of an address. Default: nothing is said.
  [[nodiscard]] virtual Examination examine(std::error_code& why);
  /// The names at its place of the locks (not the semaphores) that somebody holds or waits for: each once, in any
  /// order. A failed look sets `why`, and `what` where there is more to say. Default:
  /// `std::errc::operation_not_supported`.
  [[nodiscard]] virtual std::vector<std::string> locked_names(std::error_code& why, std::string& what);
  /// A first try may have to open a session with a server. So of the threads of this process that come at the same
  /// moment one tries, and the others line up.
  [[nodiscard]] virtual bool opens_sessions() const noexcept { return false; }
  /// Does that thread of this process hold it, by what the process remembers? Nothing: ask `holders`.
  [[nodiscard]] virtual std::optional<bool> is_held_by(std::int64_t /*thread*/) noexcept { return std::nullopt; }
};

/// The smallest scheme: one try and one release; waiting is by polling.
class SimpleScheme : public Scheme {
 public:
  /// One try, without waiting: `Granted`, `Blocked` (its `by` says who holds, if known) or `Failed`.
  virtual Step try_once() noexcept = 0;
  /// Ends the hold.
  virtual std::error_code release() noexcept = 0;
  /// A fresh look: is it still held? Schemes that cannot be broken keep the default.
  virtual bool still_held() noexcept { return true; }

  [[nodiscard]] Traits traits() const noexcept override { return {}; }
  [[nodiscard]] std::unique_ptr<Attempt> attempt(const Request& request) final;
  [[nodiscard]] std::vector<Holder> holders(std::error_code& why) override;
  std::error_code break_hold(const Holder& hold, Proof proof) noexcept override;
};

}  // namespace lockfile
