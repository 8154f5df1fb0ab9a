// Waiting.
//
// Watch, look again, sleep, at every turn: a step says who is in the way and what to watch; an inode that is newly
// watched makes another step necessary, for it may have changed before that; only a step that found none is followed by
// sleep. What can be read from a descriptor, and the end of a process, are not lost so.
//
//   waiter: step: busy, W is I               arm I   step: free            <- would have slept for ever
//   holder:                      unlink W
#include "core/waiting.hpp"

#include "core/lines.hpp"
#include "os/backoff.hpp"

#include <algorithm>

namespace lockfile::core {

Limit::Limit(os::System& system, const Wait& wait) {
  if (wait.limit()) {
    at_once_ = *wait.limit() <= std::chrono::nanoseconds::zero();
    if (!at_once_) deadline_ = system.now() + *wait.limit();
  } else if (wait.deadline()) {
    deadline_ = wait.deadline();
    at_once_ = is_over(system);
  }
}

namespace {

std::optional<std::chrono::steady_clock::time_point> earlier(
    const std::optional<std::chrono::steady_clock::time_point>& one,
    const std::optional<std::chrono::steady_clock::time_point>& other) {
  if (!one || !other) return one ? one : other;
  return std::min(*one, *other);
}

class WaitLoop {
 public:
  WaitLoop(os::Process& process, const Limit& limit, const std::stop_token& stop)
      : system_(process.system()),
        limit_(limit),
        stop_(stop),
        sleeper_(process),
        on_stop_(stop, Waker{sleeper_}),
        // Where something cannot be watched: no inotify instance left, no right to read, no descriptor left.
        unwatched_(std::chrono::milliseconds(1), std::chrono::milliseconds(100)) {}

  [[nodiscard]] os::Sleeper& sleeper() noexcept { return sleeper_; }

  /// True: go on; false: `waited` says why not.
  bool sleep(std::optional<std::chrono::steady_clock::time_point> until, Waited& waited) {
    if (const os::Status error = sleeper_.sleep(earlier(limit_.deadline(), until))) {
      waited.how = Waited::How::failed;
      waited.failed = Failed{os::code_of(error), "cannot wait", {}};
      return false;
    }
    return true;
  }

  bool is_over(Waited& waited) const {
    if (stop_.stop_requested()) {
      waited.how = Waited::How::stopped;
    } else if (limit_.is_over(system_)) {
      waited.how = Waited::How::timed_out;
    } else {
      return false;
    }
    return true;
  }

  bool wait_for_turn(const Place& place, Waited& waited) {
    while (!place.is_first()) {
      if (is_over(waited)) return false;
      const bool can_be_woken = sleeper_.arm({}) != os::Sleeper::Armed::not_all;
      std::optional<std::chrono::steady_clock::time_point> look_again;
      if (!can_be_woken) look_again = unwatched_.next(system_);
      if (!sleep(look_again, waited)) return false;
    }
    return true;
  }

  /// A grant that races with the deadline counts: the last thing before giving up is a step.
  void try_until_granted(std::optional<Blocked> first, const TryStep& try_step, Place* place, Waited& waited) {
    constexpr int arms_in_a_row = 64;  // more: something changes faster than it can be watched
    int armed_in_a_row = 0;
    for (;;) {
      if (place != nullptr) place->looks();
      Step step = first ? Step(*std::move(first)) : try_step();
      first.reset();
      if (std::holds_alternative<Granted>(step)) {
        waited.how = Waited::How::granted;
        return;
      }
      if (auto* const failed = std::get_if<Failed>(&step)) {
        waited.how = Waited::How::failed;
        waited.failed = std::move(*failed);
        return;
      }
      auto& blocked = std::get<Blocked>(step);
      waited.by = std::move(blocked.by);
      if (is_over(waited)) return;
      const os::Sleeper::Armed armed = sleeper_.arm(blocked.on);
      blocked.on.clear();  // no descriptor of what we wait for stays open while we sleep
      if (armed == os::Sleeper::Armed::anew && ++armed_in_a_row < arms_in_a_row) continue;
      const bool all = armed == os::Sleeper::Armed::as_before;
      armed_in_a_row = 0;
      std::optional<std::chrono::steady_clock::time_point> look_again;
      if (!all) look_again = unwatched_.next(system_);
      if (!sleep(earlier(blocked.look_again, look_again), waited)) return;
    }
  }

 private:
  struct Waker {
    os::Sleeper& sleeper;
    void operator()() const noexcept { sleeper.wake(); }
  };

  os::System& system_;
  const Limit& limit_;
  const std::stop_token& stop_;
  os::Sleeper sleeper_;
  std::stop_callback<Waker> on_stop_;  // after the sleeper: it is gone before it
  os::Backoff unwatched_;
};

}  // namespace

Waited wait_until_granted(os::Process& process, const LineUp& where, const Limit& limit, const std::stop_token& stop,
                          std::optional<Blocked> blocked, const TryStep& try_step,
                          std::shared_ptr<os::Notifier::Instance>& instance, const std::function<void()>& stand_back) {
  Waited waited;
  WaitLoop loop(process, limit, stop);
  std::optional<Place> place;
  if (where.line != nullptr) place.emplace(where, loop.sleeper());
  // Behind others: by its turn the first try is an old story, and no descriptor of W stays open meanwhile.
  if (place && !place->is_first()) {
    blocked.reset();
    if (stand_back) stand_back();
  }
  if (place && !loop.wait_for_turn(*place, waited)) return waited;
  loop.try_until_granted(std::move(blocked), try_step, place ? &*place : nullptr, waited);
  if (loop.sleeper().instance()) instance = loop.sleeper().instance();
  return waited;
}

void sleep_until(os::Process& process, std::chrono::steady_clock::time_point when) {
  // An interrupted sleep may be short; the caller comes again if it has to.
  (void)process.system().wait({}, when);
}

}  // namespace lockfile::core
