// What all locks of one process share that are in one cluster: the connections, the lease, its renewal, the watches and
// the one thread that serves them. gRPC is behind this interface and nowhere else: its headers are slow to compile.
//
// A request is begun and answered later: `Pending::done`, and its event is set. Whatever is sent has a time limit, and
// is sent again, to the next endpoint, while that makes sense; so every transaction here is one that may be sent twice
// (docs/decisions/0026-etcd.md).
//
// Memory that is missing is told by this component's own code. No test refuses any: gRPC in between is not made for it.
//
// Fork: gRPC cannot be used in a child (its threads are not there, and its sockets are the parent's). Everything that
// a lock object keeps of a session is plain memory, which a child may drop.
#pragma once

#include "os/process.hpp"

#include <lockfile/inspect.hpp>
#include <lockfile/scheme.hpp>

#include <atomic>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

namespace lockfile::schemes::etcd {

/// Something that a thread can sleep on, and the session's thread can set.
class Event {
 public:
  explicit Event(os::System& system);

  [[nodiscard]] bool is_open() const noexcept { return file_.is_open(); }
  [[nodiscard]] Watch watch() const { return Watch::readable(file_.get()); }
  void set() noexcept {
    if (is_open()) system_.event_set(file_.get());
  }
  void clear() noexcept {
    if (is_open()) system_.event_clear(file_.get());
  }
  /// Sleeps until it is set or the time has come; may return early.
  void wait_until(std::chrono::steady_clock::time_point when) noexcept;

 private:
  os::System& system_;
  os::File file_;
};

struct Key {
  std::string name;
  std::string value;
  std::int64_t created = 0;  ///< the revision in which it was made
};

/// The keys from `from` up to `to`, or `from` alone, by their `created`.
struct Range {
  std::string from = {};
  std::string to = {};
  bool newest_first = false;
  std::int64_t limit = 0;       ///< 0: all
  bool count = false;           ///< not the keys, but how many there are
  bool names = false;           ///< by their names, and without their values
  std::int64_t created_by = 0;  ///< 0: all; else those only that were made in this revision or before
};

struct Operation {
  enum class Kind : std::uint8_t { range, put, erase };
  Kind kind = Kind::range;
  Range range = {};        ///< for `put` and `erase`, its `from` is the key
  std::string value = {};  ///< for `put`
};

/// Each key from `from` up to `to` was made in revision `created`; 0: there is none.
struct Condition {
  std::string from = {};
  std::string to = {};
  std::int64_t created = 0;
};

struct Transaction {
  std::vector<Condition> when;
  std::vector<Operation> then;
  std::vector<Operation> otherwise;
};

struct Answer {
  std::error_code why;  ///< none: it was answered
  std::string what;
  bool lease_gone = false;   ///< refused, for the server knows no such lease
  bool sent_before = false;  ///< an earlier sending was not answered, and may have been done
  bool succeeded = false;
  std::int64_t revision = 0;
  std::vector<std::vector<Key>> ranges;  ///< one for each range of the branch that was taken
  std::int64_t count = -1;               ///< of the last one; none: there is none
};

/// A request on its way. What is in `answer` may be looked at once `done`.
struct Pending {
  std::atomic<bool> done{false};
  Answer answer;
  std::vector<std::shared_ptr<Event>> events;  // the session's, under its mutex
};

/// The lease that all keys of this process hang on, until it is lost; then there is another one.
struct Lease {
  std::int64_t id = 0;
  std::chrono::seconds ttl{0};
  std::atomic<bool> lost{false};
  /// When it ends by our own clock (CLOCK_BOOTTIME), in nanoseconds: earlier than by the servers'.
  std::atomic<std::int64_t> end{0};
  std::atomic<std::int64_t> renewed{0};  ///< when the last renewal that was answered had been sent

  [[nodiscard]] bool stands(os::System& system) const noexcept { return !lost && system.since_boot().count() < end; }
};

/// A watch on a key or some keys. Its event is set when something has happened there, may have happened, or its lease
/// is lost.
struct Watching {
  std::int64_t id = 0;
  std::string from;
  std::string to;
  bool puts = false;           ///< changes too, not only deletions
  std::int64_t looked_at = 0;  ///< the revision of the look that it goes on from; -1: none
  std::int64_t since = 0;      ///< what happened in this revision or before is an old story: of an earlier key, say
  std::shared_ptr<Event> event;
  std::shared_ptr<Lease> lease;
  std::atomic<bool> fired{false};
  std::atomic<bool> look{false};       ///< something may have happened before it began
  std::atomic<std::int64_t> began{0};  ///< the revision that it began after; 0: it has not begun
};

/// A cluster, as a lock's address and the environment name it.
struct Cluster {
  std::vector<std::string> endpoints;  ///< `host:port`
  std::chrono::seconds ttl{0};         ///< of the lease

  [[nodiscard]] auto operator<=>(const Cluster&) const = default;
};

class Session {
 public:
  /// Connects to nothing yet.
  Session(os::Process& process, Cluster cluster);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session();
  /// Gives the lease back, with all its keys, if the servers answer within half a second, and ends the thread. Whatever
  /// is asked for afterwards fails.
  void end() noexcept;

  /// So long at most a request is tried, unless it says otherwise.
  [[nodiscard]] std::chrono::milliseconds patience() const noexcept;
  /// The lease, if there is one that stands.
  [[nodiscard]] std::shared_ptr<Lease> lease();
  /// Asks for one. Done with an error: there is none.
  [[nodiscard]] std::shared_ptr<Pending> ask_for_lease(const std::shared_ptr<Event>& event);
  /// Puts keys with `lease`. With `How::at_once` the caller's own thread sends it and stays for the answer for a moment
  /// (`soon`), unless the servers are slow just now: that saves two changes of threads. No answer by then: it is sent
  /// again by the session's thread.
  enum class How : std::uint8_t { at_once, later };
  [[nodiscard]] std::shared_ptr<Pending> begin(const Transaction& transaction, const std::shared_ptr<Lease>& lease,
                                               const std::shared_ptr<Event>& event, std::chrono::nanoseconds limit,
                                               How how = How::at_once);
  static constexpr std::chrono::milliseconds soon{50};
  /// Removes a key of ours that nobody knows any more, whatever comes of `before`, which may make it. `done` when it is
  /// removed, or gone with its lease.
  [[nodiscard]] std::shared_ptr<Pending> forget(std::string key, std::shared_ptr<Pending> before,
                                                const std::shared_ptr<Lease>& lease,
                                                const std::shared_ptr<Event>& event);
  [[nodiscard]] std::shared_ptr<Watching> watch(std::string from, std::string to, bool puts, std::int64_t looked_at,
                                                const std::shared_ptr<Lease>& lease,
                                                const std::shared_ptr<Event>& event);
  void end_watch(std::shared_ptr<Watching>& watching) noexcept;
  /// Renews the lease now. The event is set once, when a renewal has been answered or the lease is lost.
  void renew(const std::shared_ptr<Event>& event);

  /// Looks at each endpoint, for people. Waits for them.
  void examine(Examination& into);
  /// How many transactions have been begun: for tests.
  [[nodiscard]] std::uint64_t transactions() const noexcept;

  [[nodiscard]] os::Process& process() const noexcept { return process_; }

 private:
  class Client;
  os::Process& process_;
  Cluster cluster_;
  std::unique_ptr<Client> client_;
};

/// The sessions of one process: a `Process::part`.
class Sessions {
 public:
  explicit Sessions(os::Process& process);
  Sessions(const Sessions&) = delete;
  Sessions& operator=(const Sessions&) = delete;
  ~Sessions();

  /// Null, with `why` and `what`: this process cannot have one.
  [[nodiscard]] std::shared_ptr<Session> get(const Cluster& cluster, std::error_code& why, std::string& what);
  /// Names this process to all others.
  [[nodiscard]] const std::string& nonce() const noexcept { return nonce_; }
  [[nodiscard]] std::uint64_t next_number() noexcept { return ++last_number_; }
  /// At the end of the program.
  void end() noexcept;

 private:
  os::Process& process_;
  std::string nonce_;
  std::atomic<std::uint64_t> last_number_{0};
  os::Mutex mutex_;
  std::map<Cluster, std::shared_ptr<Session>> sessions_;
};

}  // namespace lockfile::schemes::etcd
