// A session with the server: opened, set up and asked without ever waiting longer than the caller says.
//
// A hold is a property of its session: the server ends it with the session, and the session grants itself whatever it
// holds already. So a lock that is held or waited for has a session of its own, and a session of which anything is in
// doubt is closed, never used again.
#pragma once

#include "os/backoff.hpp"
#include "os/process.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_map>
#include <unordered_set>
#include <vector>

struct pg_conn;
struct pg_result;

namespace lockfile::schemes::postgresql {

using Time = std::chrono::steady_clock::time_point;

/// A server and a database, as libpq is told of them.
struct Place {
  std::string uri;
  std::string server_options;  ///< `options` of the address: settings that win over ours
  bool several_hosts = false;
  std::chrono::milliseconds patience{10'000};  ///< for an answer, and for a connection: `connect_timeout`
};
/// Throws `std::system_error` for what libpq does not understand, and for a password: who is logged on sees it.
[[nodiscard]] Place place_of(const std::string& behind_the_slashes);

/// What a session can be asked once it is set up; schema.cpp has the text of each.
enum class Statement : std::uint8_t {
  alive,
  reserve,
  record,
  name,
  add_name,
  try_exclusive,
  try_shared,
  wait_exclusive,
  wait_shared,
  unlock,
  unlock_shared,
  unlock_all,
  locks,
  claims,
  cancel,
  terminate,
  exists,
  take_units,
  take_more_units,
  wait_gate,
  give_units,
};

class Arguments {
 public:
  Arguments& add(std::int64_t number) noexcept;
  /// `text` outlives the sending.
  Arguments& add(const std::string& text) noexcept;

 private:
  friend class Connection;
  static constexpr std::size_t most = 6;
  std::array<std::array<char, 8>, most> numbers_{};
  std::array<const char*, most> values_{};
  std::array<int, most> lengths_{};
  std::array<int, most> formats_{};
  std::size_t count_ = 0;
};

struct FreeResult {
  void operator()(pg_result* result) const noexcept;
};
using Result = std::unique_ptr<pg_result, FreeResult>;

/// Why something failed.
struct Trouble {
  std::error_code why;
  std::string what;
};

class Connection {
 public:
  /// Begins to connect. Resolving a host's name blocks for as long as the resolver does (libpq has no other way):
  /// `hostaddr` avoids it. `set_up`: false: only connects, for a database that has no schema of ours yet.
  Connection(os::Process& process, const Place& place, const std::string& reason, bool set_up = true);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  /// Ends the session. In a forked child it only lets go: a word to the server would end its parent's.
  ~Connection();

  enum class Progress : std::uint8_t {
    ready,   ///< set up, and what was asked is answered
    reads,   ///< waits for the server
    writes,  ///< waits until it can send
    pauses,  ///< the server lets nobody in for the moment: until `again_at()`, then it connects anew
    broken,  ///< there is no session any more; `trouble()` says why
  };
  [[nodiscard]] Time again_at() const noexcept { return again_at_; }
  /// What can be done without waiting.
  Progress advance();
  /// As it, waiting until that time.
  Progress drive(Time until);

  // Once it is ready.
  void ask(Statement statement, const Arguments& arguments = {});
  void ask(const std::string& sql);
  /// Connects, asks and waits for the answer, until that time. Nothing: it was answered, and did not fail.
  template <class... Question>
  [[nodiscard]] std::optional<Trouble> ask_by(Time until, const Question&... question) {
    Progress progress = drive(until);
    if (progress == Progress::ready) {
      ask(question...);
      progress = drive(until);
    }
    return trouble_after(progress);
  }

  // The answer to what was asked.
  [[nodiscard]] bool failed() const noexcept;
  /// Five characters; empty: it did not fail, or not by the server's word.
  [[nodiscard]] std::string_view sql_state() const noexcept;
  [[nodiscard]] bool has_answer() const noexcept { return !answers_.empty(); }
  [[nodiscard]] bool has_columns() const noexcept;
  [[nodiscard]] std::size_t rows() const noexcept;
  [[nodiscard]] bool is_null(std::size_t row, int column) const noexcept;
  /// Of a statement: int8 or bool.
  [[nodiscard]] std::int64_t number(std::size_t row, int column) const noexcept;
  [[nodiscard]] std::string_view text(std::size_t row, int column) const noexcept;
  /// Of the failed answer, of the end of the session, or of a refusal.
  [[nodiscard]] Trouble trouble() const;
  /// Of a question that was driven as far as that. Nothing: it was answered, and did not fail.
  [[nodiscard]] std::optional<Trouble> trouble_after(Progress progress) const;

  /// Did a notification come since the last call?
  [[nodiscard]] bool take_notification() noexcept;
  /// Is it so far that something can be asked, or has been?
  [[nodiscard]] bool is_set_up() const noexcept { return phase_ == Phase::set_up; }
  [[nodiscard]] bool is_asked() const noexcept { return asked_; }
  [[nodiscard]] int descriptor() const noexcept;
  [[nodiscard]] const std::string& uri() const noexcept { return place_.uri; }

  /// The session, among all of the server's: the pid of its process, and when that began, in microseconds since 1970.
  [[nodiscard]] std::int64_t backend() const noexcept { return backend_; }
  [[nodiscard]] std::int64_t backend_start() const noexcept { return backend_start_; }
  [[nodiscard]] std::uint64_t timeline() const noexcept { return timeline_; }
  /// Numbers up to this one may be told of: no crash of the server makes it give them again.
  [[nodiscard]] std::int64_t reserved() const noexcept { return reserved_; }
  void set_reserved(std::int64_t number) noexcept { reserved_ = number; }

  /// The reason that the session's record has.
  [[nodiscard]] const std::string& reason() const noexcept { return reason_; }
  void set_reason(const std::string& reason) { reason_ = reason; }
  /// Keys whose names have been looked up.
  [[nodiscard]] bool knows(std::int64_t key) const { return known_.count(key) != 0; }
  void learn(std::int64_t key);

 private:
  enum class Phase : std::uint8_t { pausing, connecting, greeting, settling, reserving, set_up, broken };
  void connect();
  void disconnect() noexcept;
  Progress advance_pausing();
  Progress advance_connecting();
  Progress refused();
  Progress advance_asked();
  Progress settle();
  [[nodiscard]] bool is_as_wanted();
  Progress end(Trouble why);
  [[nodiscard]] std::string what_libpq_says() const;
  void note_descriptor();
  void sent(bool ok);

  os::Process& process_;
  Place place_;
  std::string reason_;
  bool set_up_;
  pg_conn* connection_ = nullptr;
  os::Unshared descriptor_;  // closed in a forked child
  Phase phase_ = Phase::connecting;
  Progress wants_ = Progress::writes;  // while connecting
  os::Backoff pauses_{std::chrono::milliseconds(5), std::chrono::milliseconds(250)};
  Time again_at_;
  std::optional<Trouble> refusal_;  // why it pauses, or did last
  bool asked_ = false;
  bool flushed_ = true;
  std::vector<Result> answers_;
  std::optional<Trouble> trouble_;
  std::int64_t backend_ = 0;
  std::int64_t backend_start_ = 0;
  std::uint64_t timeline_ = 0;
  std::int64_t reserved_ = 0;
  std::unordered_set<std::int64_t> known_;
};

/// The sessions of this process that are not in use; a `Process::part`.
class Pool {
 public:
  explicit Pool(os::Process& process) : system_(process.system()) {}

  /// Null: none is idle. It may have ended meanwhile: then its next answer says so. One that has that reason in its
  /// record is preferred.
  [[nodiscard]] std::unique_ptr<Connection> take(const Place& place, const std::string& reason);
  void give(std::unique_ptr<Connection> connection) noexcept;
  /// In a forked child: libpq's part of a session of its parent. To free it would be to end the session, in the
  /// server's eyes; so it is kept, unused.
  void keep_parents(pg_conn* connection);

  /// What a session has is a hold of ours from the moment when it has been told so, and until it gives it back. Who
  /// looks at the server sees it earlier, and with the thread of the session's hold before.
  void begin_hold(std::int64_t backend, const Place& place, std::int64_t key, std::int64_t thread);
  void end_hold(std::int64_t backend, const Place& place) noexcept;
  /// The thread; nothing: it is no hold.
  [[nodiscard]] std::optional<std::int64_t> thread_of_hold(std::int64_t backend, const Place& place) noexcept;
  [[nodiscard]] bool holds_any(std::int64_t thread) noexcept;
  [[nodiscard]] bool holds(std::int64_t thread, const Place& place, std::int64_t key) noexcept;

 private:
  static constexpr std::size_t most_idle = 8;  // of all places together
  os::System& system_;
  os::Mutex mutex_;
  std::vector<std::unique_ptr<Connection>> idle_;
  std::vector<pg_conn*> parents_;
  struct Hold {
    std::string uri;
    std::int64_t key = 0;
    std::int64_t thread = 0;
  };
  using Holds = std::unordered_multimap<std::int64_t, Hold>;
  [[nodiscard]] Holds::iterator hold_of(std::int64_t backend, const Place& place) noexcept;
  Holds holds_;  // by sessions, of which two servers may have one of the same number
};

}  // namespace lockfile::schemes::postgresql
