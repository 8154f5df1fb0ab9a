// How a thread sleeps: one wait over everything whose change matters, the deadline and an event that others can set.
//
// The inotify instance is one per process (128 are all a user has), made when somebody waits for the first time and
// closed with the last lock object that ever waited: closing one that has had watches costs milliseconds
// (docs/decisions/0006-inotify-instance.md). Every sleeping thread polls it; whoever reads it tells the others.
#pragma once

#include "os/process.hpp"
#include "os/watch.hpp"

#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace lockfile::os {

class Sleeper;

/// The process's inotify instance and who waits for which of its watches.
class Notifier {
 public:
  explicit Notifier(System& system) : system_(system) {}

  /// Open for as long as anybody keeps one. In a forked child it is closed: its parent's events are its parent's.
  struct Instance {
    Unshared descriptor;
  };
  /// Null when the system has none left.
  [[nodiscard]] std::shared_ptr<Instance> instance(Process& process);

  /// -1: refused.
  int subscribe(const Instance& instance, int descriptor, Notice notice, Sleeper& sleeper);
  void unsubscribe(const Instance& instance, int watch, Sleeper& sleeper) noexcept;
  /// Reads what has happened and marks it with those who wait for it. True when the reader is one of them.
  bool dispatch(const Instance& instance, Sleeper& reader);

 private:
  friend class Sleeper;
  struct Subscription {
    int watch;
    Sleeper* sleeper;
  };

  System& system_;
  Mutex mutex_;
  std::weak_ptr<Instance> instance_;
  std::vector<Subscription> subscriptions_;
};

class Sleeper {
 public:
  explicit Sleeper(Process& process);
  Sleeper(const Sleeper&) = delete;
  Sleeper& operator=(const Sleeper&) = delete;
  ~Sleeper();

  enum class Armed : std::uint8_t {
    as_before,  ///< what was looked at before is still true or will fire
    anew,       ///< an inode is watched that was not, and events of before are lost: look again before sleeping
    not_all,    ///< something could not be armed: look again now and then
  };
  /// Watches these and nothing else.
  Armed arm(std::span<const Watch> on);
  /// Sleeps until something fires, somebody calls `wake`, or the deadline comes. May wake without a cause.
  [[nodiscard]] Status sleep(std::optional<std::chrono::steady_clock::time_point> deadline);
  /// From any thread, and before the sleep as well.
  void wake() noexcept;
  /// Keeps the process's inotify instance open for later waits; null when none was used.
  [[nodiscard]] std::shared_ptr<Notifier::Instance> instance() const noexcept { return instance_; }

 private:
  friend class Notifier;
  struct Entry {
    Watch watch;
    int number;  // of the inotify watch; -1: not an inode
    bool fired;
  };
  bool arm_one(const Watch& watch);
  [[nodiscard]] Status sleep_once(std::optional<std::chrono::steady_clock::time_point> deadline, bool& ours);
  void disarm(const Entry& entry) noexcept;

  Process& process_;
  System& system_;
  File event_;
  std::shared_ptr<Notifier::Instance> instance_;
  std::vector<Entry> entries_;  // `fired` of the others' making is guarded by the notifier's mutex
};

}  // namespace lockfile::os
