// The verbs.
#include "core/engine.hpp"

#include "os/backoff.hpp"

#include <algorithm>
#include <cctype>
#include <iterator>
#include <new>
#include <utility>

namespace lockfile::core {
namespace {

// Runs something at the end of a scope, however it is left.
template <class Action>
class Finally {
 public:
  explicit Finally(Action action) : action_(std::move(action)) {}
  Finally(const Finally&) = delete;
  Finally& operator=(const Finally&) = delete;
  ~Finally() { action_(); }

 private:
  Action action_;
};

std::string lower_first(std::string text) {
  if (text.size() > 1 && std::islower(static_cast<unsigned char>(text[1])) != 0) {
    text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  }
  return text;
}

std::string message_for(Verb verb, const std::string& display, const Outcome& outcome) {
  std::string text = "cannot ";
  switch (verb) {
    case Verb::lock:
      text += "lock '" + display + "'";
      break;
    case Verb::release:
      text += "release '" + display + "'";
      break;
    case Verb::upgrade:
      text += "upgrade '" + display + "'";
      break;
    case Verb::downgrade:
      text += "downgrade '" + display + "'";
      break;
    case Verb::tell:
      text += "tell who holds '" + display + "'";
      break;
    case Verb::break_it:
      text += "break '" + display + "'";
      break;
    case Verb::hand_over:
      text += "hand over '" + display + "'";
      break;
  }
  if (!outcome.what.empty()) text += ": " + outcome.what;
  const bool holder_says_it = outcome.by && outcome.code == errc::already_locked;
  if (!holder_says_it) text += ": " + lower_first(outcome.code.message());
  if (outcome.by) text += (holder_says_it ? ": " : ", ") + outcome.by->describe();
  return text;
}

}  // namespace

void raise(Verb verb, const std::string& display, const std::string& path, Outcome outcome) {
  const std::error_code code = outcome.code;
  std::string message = message_for(verb, display, outcome);
  auto throw_it = [&]<class Exception>() { throw Exception(code, message, path, std::move(outcome.by)); };
  if (code == errc::already_locked) throw_it.operator()<AlreadyLocked>();
  if (code == errc::timed_out) throw_it.operator()<LockTimeout>();
  if (code == errc::stopped) throw_it.operator()<LockStopped>();
  if (code == errc::not_locked) throw_it.operator()<NotLocked>();
  if (code == errc::not_my_lock) throw_it.operator()<NotMyLock>();
  if (verb == Verb::release) throw_it.operator()<UnlockError>();
  throw LockFailed(code, message, path, std::move(outcome.by));
}

Engine::Engine(std::string path, std::string display, std::unique_ptr<Scheme> scheme, const Options& options)
    : path_(std::move(path)),
      display_(std::move(display)),
      threaded_(options.threaded),
      fence_(options.fence),
      scheme_(std::move(scheme)),
      state_(std::make_unique<State>(os::Process::current())) {}

bool any_lives(const std::vector<Holder>& holders) noexcept {
  return std::any_of(holders.begin(), holders.end(), [](const Holder& each) { return each.verdict != Verdict::dead; });
}

Engine::~Engine() {
  if (!state_->process.is_caller()) {
    for (auto& [identity, hold] : state_->holds) hold.attempt->abandon();
    scheme_->abandon();
    return;
  }
  for (auto& [identity, hold] : state_->holds) {
    if (hold.attempt->outlives_us()) {
      hold.attempt->abandon();
    } else {
      (void)hold.attempt->release();  // in silence, as documented
    }
  }
}

Engine::State& Engine::state() {
  if (!state_->process.is_caller()) {
    auto mine = std::make_unique<State>(os::Process::current());
    for (auto& [identity, hold] : state_->holds) {
      mine->inherited += hold.count;
      hold.attempt->abandon();
    }
    scheme_->abandon();
    mine->parents = std::move(state_);
    state_ = std::move(mine);
  }
  return *state_;
}

Engine::Hold* Engine::my_hold(State& state) const noexcept {
  const auto mine = state.holds.find(identity_of(state.process.system().thread_id()));
  return mine == state.holds.end() ? nullptr : &mine->second;
}

// The hold was broken, or lost to somebody: its thread will still release as often as it acquired.
void Engine::note_lost(State& state, Holds::iterator hold) {
  const auto old = state.holds.extract(hold);
  state.lost[old.key()] += old.mapped().count;
  (void)old.mapped().attempt->release();  // finds that it is lost, and touches nothing
}

// What was granted cannot stand beside them, so they had been broken.
void Engine::note_all_lost_to(State& state, Mode granted) {
  for (auto each = state.holds.begin(); each != state.holds.end();) {
    const auto next = std::next(each);
    if (excludes(granted, each->second.mode)) note_lost(state, each);
    each = next;
  }
}

// Nothing: it is not held, or it was lost. A hold that cannot be looked at goes on, but nobody enters it.
std::optional<Step> Engine::re_enter(State& state, std::int64_t identity, Mode mode) {
  const auto mine = state.holds.find(identity);
  if (mine == state.holds.end()) return std::nullopt;
  Hold& hold = mine->second;
  std::error_code why;
  if (hold.attempt->still_held(why)) {
    if (hold.mode != mode) {
      return Failed{std::make_error_code(std::errc::resource_deadlock_would_occur),
                    "held already, " + std::string(to_string(hold.mode)) + " and not " + std::string(to_string(mode)),
                    {}};
    }
    ++hold.count;
    return Granted{};
  }
  if (why) return Failed{why, "cannot look at the hold that is to be entered again", {}};
  note_lost(state, mine);
  return std::nullopt;
}

bool Engine::is_deadlock(const std::optional<Holder>& by, std::int64_t thread) const noexcept {
  // A dead hold of ours was given up while a breaker was at it, who is about to remove it.
  return by && by->this_process && by->thread == thread && by->verdict != Verdict::dead;
}

// One step of an attempt, made anew where there is none, under the object's mutex. What is granted is kept at once: no
// line between the grant and the note of it can fail.
Step Engine::step_and_keep(State& state, std::unique_ptr<Attempt>& attempt, const Request& request) {
  const os::MutexGuard guard(state.process.system(), state.mutex);
  const std::int64_t identity = identity_of(request.thread);
  if (!threaded_) {
    // Another thread of ours may have been granted meanwhile.
    if (auto entered = re_enter(state, identity, request.mode)) return *std::move(entered);
  }
  if (!attempt) attempt = scheme_->attempt(request);
  // Granted while another thread of this object thinks it holds: then that hold had been broken. Whoever is
  // granted makes room for the note of it first, where memory may still be missing.
  for (const auto& [other, hold] : state.holds) state.lost.try_emplace(other, 0);
  Holds kept;
  kept.try_emplace(identity);
  Step step = attempt->step();
  if (!std::holds_alternative<Granted>(step)) return step;
  note_all_lost_to(state, request.mode);
  auto node = kept.extract(kept.begin());
  node.mapped() = Hold{std::move(attempt), request.mode, 1, std::get<Granted>(step).fence};
  state.holds.insert(std::move(node));
  return step;
}

void Engine::withdraw(State& state, std::unique_ptr<Attempt>& attempt) {
  constexpr int tries = 64;
  for (int i = 0; attempt && i < tries; ++i) {
    std::optional<Blocked> more;
    {
      const os::MutexGuard guard(state.process.system(), state.mutex);
      more = attempt->withdraw();
    }
    if (!more) return;
    os::Sleeper sleeper(state.process);
    (void)sleeper.arm(more->on);
    const auto a_moment = state.process.system().now() + std::chrono::milliseconds(10);
    (void)sleeper.sleep(more->look_again ? more->look_again : a_moment);
  }
}

Outcome Engine::acquire(Mode mode, const Wait& wait) {
  if (!wait.valid()) return {std::make_error_code(std::errc::invalid_argument), "the time to wait is not a number", {}};
  State& state = this->state();
  os::System& system = state.process.system();
  const std::int64_t thread = system.thread_id();
  const Request request{.mode = mode, .thread = thread};
  bool queues = false;
  {
    const os::MutexGuard guard(system, state.mutex);
    const Traits traits = scheme_->traits();
    queues = traits.queues;
    if ((mode == Mode::shared && !traits.shared) || (mode == Mode::upgradable && !traits.upgradable)) {
      return {std::make_error_code(std::errc::operation_not_supported),
              "scheme '" + std::string(scheme_->name()) + "' has no " + std::string(to_string(mode)) + " mode",
              {}};
    }
    if (fence_ && mode == Mode::exclusive && !traits.fence) {
      return {std::make_error_code(std::errc::operation_not_supported),
              "scheme '" + std::string(scheme_->name()) + "' has no fences",
              {}};
    }
    if (auto entered = re_enter(state, identity_of(thread), mode)) {
      auto* const failed = std::get_if<Failed>(&*entered);
      return failed != nullptr ? outcome_of(std::move(*failed)) : Outcome{};
    }
  }
  const Limit limit(system, wait);
  std::unique_ptr<Attempt> attempt;
  const Finally withdrawn([&]() noexcept { withdraw(state, attempt); });
  Waited waited;
  std::optional<Blocked> blocked;
  // Behind the threads of this process that wait already, unless there is no time to wait. Who is blocked there has
  // nothing that they could wait for; a scheme that orders its waiters itself may have let it hold a part already.
  const std::string no_line;
  const std::string& line = queues ? no_line : path_;
  const bool others_wait = !limit.at_once() && !line.empty() && state.lines.anyone_waits(line);
  if (!others_wait) {
    Step step = step_and_keep(state, attempt, request);
    if (std::holds_alternative<Granted>(step)) return {};
    if (auto* const failed = std::get_if<Failed>(&step)) return outcome_of(std::move(*failed));
    blocked = std::move(std::get<Blocked>(step));
    waited.by = blocked->by;
  } else {
    waited.by = look_for_holder(state);
  }
  if (is_deadlock(waited.by, thread)) {
    return {std::make_error_code(std::errc::resource_deadlock_would_occur),
            "this thread holds it already, by another lock object", std::move(waited.by)};
  }
  if (limit.at_once()) {
    waited.how = Waited::How::timed_out;
  } else {
    // The line first, the file system when it is our turn: a claim of ours would only be in the way meanwhile.
    std::optional<Holder> first_seen = std::move(waited.by);
    waited = wait_until_granted(
        state.process, line, limit, wait.stop(), std::move(blocked),
        [&] { return step_and_keep(state, attempt, request); }, state.instance);
    if (!waited.by) waited.by = std::move(first_seen);
  }
  return outcome_of(std::move(waited), limit);
}

Outcome Engine::outcome_of(Failed failed) { return {failed.why, std::move(failed.what), std::move(failed.by)}; }

Outcome Engine::outcome_of(Waited waited, const Limit& limit) {
  switch (waited.how) {
    case Waited::How::granted:
      return {};
    case Waited::How::failed:
      return outcome_of(std::move(waited.failed));
    case Waited::How::stopped:
      return {errc::stopped, {}, std::move(waited.by)};
    case Waited::How::timed_out:
      break;
  }
  return {limit.at_once() ? errc::already_locked : errc::timed_out, {}, std::move(waited.by)};
}

std::optional<Holder> Engine::look_for_holder(State& state) {
  const os::MutexGuard guard(state.process.system(), state.mutex);
  std::error_code ignored;  // a hint for a message, or for finding a deadlock; the acquire itself will fail if this did
  auto holders = scheme_->holders(ignored);
  if (holders.empty()) return std::nullopt;
  return std::move(holders.front());
}

Outcome Engine::release() {
  bool had_one = false;
  return unlock(had_one);
}

Outcome Engine::unlock(bool& had_one) {
  State& state = this->state();
  const os::MutexGuard guard(state.process.system(), state.mutex);
  return release_in(state, had_one);
}

Outcome Engine::release_in(State& state, bool& had_one) {
  const std::int64_t identity = identity_of(state.process.system().thread_id());
  had_one = true;
  const auto mine = state.holds.find(identity);
  if (mine != state.holds.end()) {
    if (mine->second.count == 1) return end_hold(state, mine);
    std::error_code unsure;  // then the last release tells
    if (mine->second.attempt->still_held(unsure) || unsure) {
      --mine->second.count;
      return {};
    }
    note_lost(state, mine);
  }
  const auto lost = state.lost.find(identity);
  if (lost != state.lost.end() && lost->second > 0) {
    if (--lost->second == 0) state.lost.erase(lost);
  } else if (state.inherited > 0) {
    --state.inherited;
  } else {
    had_one = false;
  }
  return nothing_to_release();
}

Outcome Engine::end_hold(State& state, Holds::iterator hold) {
  const auto ended = state.holds.extract(hold);
  const std::error_code error = ended.mapped().attempt->release();
  if (!error) return {};
  Outcome outcome{error, {}, {}};
  if (error == errc::not_my_lock) {
    std::error_code ignored;
    auto holders = scheme_->holders(ignored);
    if (!holders.empty()) outcome.by = std::move(holders.front());
  } else if (error.category() != lockfile_category()) {
    outcome.what = "cannot remove the lock file";
  }
  return outcome;
}

// A dead holder's lock is nobody's.
Outcome Engine::nothing_to_release() {
  std::error_code why;
  auto holders = scheme_->holders(why);
  if (why) return {why == std::errc::no_such_file_or_directory ? make_error_code(errc::not_locked) : why, {}, {}};
  if (!any_lives(holders)) return {errc::not_locked, {}, {}};
  return {errc::not_my_lock, {}, std::move(holders.front())};
}

bool Engine::i_am_locking() noexcept {
  try {
    State& state = this->state();
    const os::MutexGuard guard(state.process.system(), state.mutex);
    std::error_code unsure;  // not to be told is not ours: the caller is to stop, not to go on
    Hold* const mine = my_hold(state);
    return mine != nullptr && mine->attempt->still_held(unsure);
  } catch (const std::bad_alloc&) {
    return false;  // only in a forked child, which holds nothing
  }
}

Outcome Engine::holders(std::vector<Holder>& into) {
  State& state = this->state();
  const os::MutexGuard guard(state.process.system(), state.mutex);
  std::error_code why;
  into = scheme_->holders(why);
  return {why, {}, {}};
}

// Whoever holds is whoever is seen first: a later one was granted after the break began, and is spared.
//   breaker 1: sees 5, breaks it
//   breaker 2: sees 5              it is gone; looks again: 6    <- would have broken the next one's hold
//   newcomer:                 6
Outcome Engine::break_whoever(BreakWhat what, bool& broken) {
  broken = false;
  std::vector<Holder> now;
  Outcome outcome = holders(now);
  for (Holder& hold : now) {
    if (!outcome.ok()) break;
    if (hold.foreign && what != BreakWhat::foreign) return {errc::foreign, {}, std::move(hold)};
    bool this_one = false;
    outcome = break_hold(hold, hold.foreign ? Proof::foreign : Proof::forced, this_one);
    broken = broken || this_one;
  }
  return outcome;
}

Outcome Engine::break_hold(const Holder& hold, Proof proof, bool& broken) {
  State& state = this->state();
  os::System& system = state.process.system();
  const auto give_up = system.now() + std::chrono::seconds(1);
  os::Backoff moments(std::chrono::milliseconds(1), std::chrono::milliseconds(20));
  broken = false;
  for (;;) {
    std::error_code error;
    {
      const os::MutexGuard guard(system, state.mutex);
      error = scheme_->break_hold(hold, proof);
    }
    if (!error) broken = true;
    if (!error || error == errc::not_locked) return {};
    // Another breaker is at it; it may be stopped.
    if (error == std::errc::resource_unavailable_try_again && system.now() < give_up) {
      sleep_until(state.process, moments.next(system));
      continue;
    }
    return {error, {}, look_for_holder(state)};
  }
}

Outcome Engine::hand_over(std::int64_t child) {
  State& state = this->state();
  const os::MutexGuard guard(state.process.system(), state.mutex);
  Hold* const mine = my_hold(state);
  if (mine == nullptr) return nothing_to_release();
  if (child <= 0) return {std::make_error_code(std::errc::invalid_argument), {}, {}};
  return {mine->attempt->hand_over(child), {}, {}};
}

Outcome Engine::share_guard(int& descriptor) {
  descriptor = -1;
  State& state = this->state();
  const os::MutexGuard guard(state.process.system(), state.mutex);
  Hold* const mine = my_hold(state);
  if (mine == nullptr) return nothing_to_release();
  Outcome outcome;
  descriptor = mine->attempt->share_guard(outcome.code).value_or(-1);
  return outcome;
}

std::uint64_t Engine::fence() noexcept {
  State* const now = state_or_null();
  if (now == nullptr) return 0;
  const os::MutexGuard guard(now->process.system(), now->mutex);
  const Hold* const mine = my_hold(*now);
  return mine == nullptr ? 0 : mine->fence;
}

std::string_view Engine::scheme() noexcept {
  State* const now = state_or_null();
  if (now == nullptr) return {};
  const os::MutexGuard guard(now->process.system(), now->mutex);
  return scheme_->name();
}

Engine::State* Engine::state_or_null() noexcept {
  try {
    return &state();
  } catch (const std::bad_alloc&) {
    return nullptr;  // only in a forked child, which begins anew
  }
}

std::error_code Engine::last_error() noexcept {
  State* const now = state_or_null();
  if (now == nullptr) return {};
  const os::MutexGuard guard(now->process.system(), now->mutex);
  return now->last_error;
}

void Engine::set_last_error(std::error_code error) noexcept {
  State* const now = state_or_null();
  if (now == nullptr) return;
  const os::MutexGuard guard(now->process.system(), now->mutex);
  now->last_error = error;
}

}  // namespace lockfile::core
