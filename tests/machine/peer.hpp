// Processes with a lock object each, to talk to in lines, in whatever namespaces and as whatever user a test wants.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace machine {

/// Two users of no account.
inline constexpr uid_t anna = 1001;
inline constexpr uid_t bert = 1002;

/// Where and as whom a peer runs.
struct Setting {
  bool own_pids = false;  ///< pid 2, as a rule, of a new pid namespace, with a /proc that shows it
  bool own_time = false;  ///< in a new time namespace, in which the machine has been up for longer
  uid_t user = 0;
  gid_t group = 0;
  mode_t mask = 022;
  /// Called in a mount namespace of the peer's own, before it becomes `user`. May throw `Unavailable`.
  std::function<void()> prepare = {};
};

/// A process that does what it is told, a line at a time, and answers each with one line:
///
///     open SCHEME ACCESS PATH   opened            (ACCESS: by_umask, group, everyone)
///     acquire MS | acquire ever held              or "AlreadyLocked ...", "LockTimeout ...", "LockFailed EACCES ..."
///     release                   released          or "NotMyLock ...", "NotLocked ..."
///     break-stale, break        broken            or "nothing", "LockFailed ..."
///     i-am-locking              yes               or "no"
///     holder                    free              or "alive: its guard is held" and the like
///     close                     closed            (destroys the lock object)
///     fork, clone               PID               (of a worker that does nothing; clone: without at-fork handlers)
///     hand-over                 PID               (of a worker that the hold is handed over to, with its guard)
///     count TIMES PATH          counted           (under the lock, adds 1 to the number in that file, so often)
///     close-descriptors         done              (close_range(3, ~0U, 0))
///     exit-main-thread          done              (another thread goes on)
///     pid                       PID               (as itself sees it)
class Peer {
 public:
  /// Throws `Unavailable` when the setting cannot be had.
  explicit Peer(const Setting& setting = {});
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  /// Kills and reaps it.
  ~Peer();

  void tell(std::string_view command);
  /// The next line; "(no answer)" after the stuck limit, "(ended)" when there will be none.
  std::string answer();
  std::string ask(std::string_view command);
  /// Has it said nothing for a moment, and does it sleep, or is it stopped? Then it waits for somebody else.
  bool is_silent();

  /// As the test sees it.
  [[nodiscard]] pid_t pid() const { return pid_; }
  void signal(int number) const;
  /// Stops it, and returns when it has stopped.
  void stop() const;
  /// Kills it, and returns when it has ended and been reaped.
  void die();
  /// Kills it, and returns when it has ended; nobody reaps it.
  void become_zombie() const;
  /// Kills everything in its pid namespace.
  void kill_namespace();

 private:
  void reap();

  Setting setting_;
  pid_t child_ = -1;  // of the test: the peer, or the one that made its namespaces
  pid_t pid_ = -1;
  int socket_ = -1;
  std::string buffer_;
};

/// All at once add to the number in a file, each under its lock, so often. Is the sum right?
testing::AssertionResult lose_nothing(const std::vector<Peer*>& peers, int times, const std::string& ledger);

/// Does `text` begin with `what`, or hold it?
testing::AssertionResult begins(const std::string& text, std::string_view what);
testing::AssertionResult has(const std::string& text, std::string_view what);

/// A peer with a lock object for `path`.
class Locker : public Peer {
 public:
  Locker(const std::string& scheme, const std::string& path, const Setting& setting = {},
         const std::string& access = "by_umask");
};

/// Tests that run for the schemes link and mkdir.
class ForBothSchemes : public testing::TestWithParam<const char*> {};

}  // namespace machine

#define MACHINE_FOR_BOTH_SCHEMES(suite)                                      \
  INSTANTIATE_TEST_SUITE_P(machine, suite, testing::Values("link", "mkdir"), \
                           [](const auto& each) { return std::string(each.param); })
