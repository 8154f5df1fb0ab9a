// The one wait loop, for every scheme and every verb that waits.
#pragma once

#include "core/lines.hpp"
#include "os/process.hpp"
#include "os/sleeper.hpp"

#include <lockfile/scheme.hpp>
#include <lockfile/wait.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>

namespace lockfile::core {

/// The limit of one call, read off the process's clock when the call began.
class Limit {
 public:
  Limit(os::System& system, const Wait& wait);

  /// One attempt and no wait.
  [[nodiscard]] bool at_once() const noexcept { return at_once_; }
  [[nodiscard]] const std::optional<std::chrono::steady_clock::time_point>& deadline() const noexcept {
    return deadline_;
  }
  [[nodiscard]] bool is_over(os::System& system) const { return deadline_ && system.now() >= *deadline_; }

 private:
  bool at_once_ = false;
  std::optional<std::chrono::steady_clock::time_point> deadline_;
};

struct Waited {
  enum class How : std::uint8_t { granted, failed, timed_out, stopped } how = How::failed;
  std::optional<Holder> by;  ///< who was in the way at the last look
  Failed failed;
};

/// What a waiter does when it is its turn to try. May be called many times.
using TryStep = std::function<Step()>;

/// Waits in line behind the threads of this process that wait there, then tries, and sleeps
/// while it is blocked, until it is granted, fails, or the limit or the stop request ends it. `blocked`: what a try
/// just now has found in the way. `instance` keeps the process's inotify instance open for later waits. `stand_back`:
/// called when others of this process come first: what the first try has taken among other processes would hold them
/// up.
[[nodiscard]] Waited wait_until_granted(os::Process& process, const LineUp& where, const Limit& limit,
                                        const std::stop_token& stop, std::optional<Blocked> blocked,
                                        const TryStep& try_step, std::shared_ptr<os::Notifier::Instance>& instance,
                                        const std::function<void()>& stand_back = {});

/// Sleeps until that time; for the rare verb that must give somebody else a moment.
void sleep_until(os::Process& process, std::chrono::steady_clock::time_point when);

}  // namespace lockfile::core
