// Scheme postgresql: the lock is an advisory lock of a PostgreSQL server, which queues those who wait for it, wakes
// one, and ends it with the session that has it. Two processes A and B, key K (key.hpp):
//
//   1. A: session a: tries K, and draws number 7 in the same statement: A holds
//   2.                                                B: session b: tries K: busy
//   3.                                                B: session b: waits for K; sleeps on b's socket
//   4. A: session a: unlocks K                        B: b is answered: K, and number 8: B holds
//
// A killed, or its host gone: the server ends a, and with it A's hold, and answers b. A broken: the server ends a; A
// sees the end of a's socket. In each case nobody is granted K before a is ended.
//
// B gives up after 3: it asks the server to cancel what b waits for, and waits for the answer, which may be that b has
// got it meanwhile, whatever it says; so b unlocks everything before it is used again. Where the server does not
// answer, b is closed: the server finds out within a second (client_connection_check_interval), and until then it may
// grant K to nobody's session.
//
// Numbers: one sequence for the whole database, behind the server's timeline. The sequence alone goes back when a
// standby is promoted that had not yet been told of its last numbers; the timeline is larger then. And in a crash, for
// nobody waits until a number is on the disk: schema.cpp has how it is set forward again before the next one is drawn.
//
// What it costs: a session for each lock that is held or waited for, and one waiter of each process and lock object is
// at the server (the others line up in front, core/lines.hpp). Sessions are kept for the next hold, some of them.
// A thread that holds one lock and waits for another does so in two sessions, so the server does not see a cycle:
// deadlock.cpp does.
#pragma once

#include "os/process.hpp"
#include "schemes/engines.hpp"
#include "schemes/file_path.hpp"
#include "schemes/postgresql/connection.hpp"

#include <lockfile/options.hpp>
#include <lockfile/scheme.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lockfile::schemes::postgresql {

/// Of the process that calls.
[[nodiscard]] inline os::System& system() { return os::Process::current().system(); }

/// A number that its timeline makes larger than those of the timelines before.
[[nodiscard]] constexpr std::uint64_t fence_of(std::uint64_t timeline, std::int64_t number) noexcept {
  return timeline << 40 | static_cast<std::uint64_t>(number);
}

/// A question that is asked at once, in a session that is not in use.
class Errand {
 public:
  Errand(const Place& place, const std::string& reason, std::chrono::milliseconds patience);
  Errand(const Errand&) = delete;
  Errand& operator=(const Errand&) = delete;
  ~Errand();

  /// False: it failed, see `trouble()`.
  [[nodiscard]] bool ask(Statement statement, const Arguments& arguments = {});
  [[nodiscard]] Connection& answer() noexcept { return *connection_; }
  [[nodiscard]] const Trouble& trouble() const noexcept { return trouble_; }

 private:
  [[nodiscard]] bool ask_once(Statement statement, const Arguments& arguments);

  os::Process& process_;
  const Place& place_;
  const std::string& reason_;
  Time until_;
  std::unique_ptr<Connection> connection_;
  Trouble trouble_;
};

/// Who has, and who waits for, the locks from the first number to the last.
struct Seen {
  std::vector<Holder> holders;
  std::vector<Waiter> waiters;
  std::vector<Holder> waiting;  ///< the waiters again, as those who are first in line
};
/// From the answer to `Statement::locks`.
[[nodiscard]] Seen seen_in(const Connection& answer, const Place& place, std::chrono::steady_clock::time_point now);

/// What a session says of a hold that begins now, but for its number, which the server puts behind it.
[[nodiscard]] std::string what_a_session_says(std::int64_t thread);
/// The thread that a session's application_name tells of.
[[nodiscard]] std::int64_t thread_in(std::string_view application) noexcept;

/// What a lock and a semaphore of one place have in common.
class SessionScheme : public lockfile::Scheme {
 public:
  SessionScheme(std::string place, std::string name, std::string reason);

  [[nodiscard]] std::string_view name() const noexcept override { return "postgresql"; }
  [[nodiscard]] std::vector<Holder> holders(std::error_code& why) override;
  [[nodiscard]] std::vector<Waiter> waiters(std::error_code& why) override;
  std::error_code break_hold(const Holder& hold, Proof proof) noexcept override;
  [[nodiscard]] bool opens_sessions() const noexcept override { return true; }
  [[nodiscard]] std::optional<bool> is_held_by(std::int64_t thread) noexcept override;

  [[nodiscard]] const Place& place() const noexcept { return place_; }
  [[nodiscard]] const std::string& lock_name() const noexcept { return name_; }
  [[nodiscard]] const std::string& reason() const noexcept { return reason_; }
  /// The numbers that the server locks.
  [[nodiscard]] virtual std::int64_t first_key() const noexcept = 0;
  [[nodiscard]] virtual std::int64_t last_key() const noexcept = 0;
  /// Of those, the first one that stands for a hold.
  [[nodiscard]] virtual std::int64_t first_held() const noexcept { return first_key(); }
  /// While an attempt of ours waits for an answer, no other look waits long for one: the caller has a deadline.
  std::atomic<int> unanswered = 0;

 protected:
  [[nodiscard]] std::chrono::milliseconds patience() const noexcept;

 private:
  [[nodiscard]] Seen look(std::error_code& why);
  [[nodiscard]] std::error_code break_by_force(const Holder& hold);

  Place place_;
  std::string name_;
  std::string reason_;
};

class Scheme final : public SessionScheme {
 public:
  Scheme(const FilePath& place, const Options& options);

  [[nodiscard]] Traits traits() const noexcept override { return postgresql_traits; }
  [[nodiscard]] std::unique_ptr<lockfile::Attempt> attempt(const Request& request) override;
  [[nodiscard]] std::unique_ptr<lockfile::Scheme> semaphore(std::size_t units, std::size_t wanted) override;
  std::error_code initialise(std::string& what) override;
  [[nodiscard]] Examination examine(std::error_code& why) override;
  [[nodiscard]] std::vector<std::string> locked_names(std::error_code& why, std::string& what) override;

  [[nodiscard]] std::int64_t first_key() const noexcept override { return key_; }
  [[nodiscard]] std::int64_t last_key() const noexcept override { return key_; }

 private:
  FilePath file_path_;
  std::int64_t key_;
};

}  // namespace lockfile::schemes::postgresql
