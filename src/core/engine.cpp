// The verbs.
#include "core/engine.hpp"

#include "os/backoff.hpp"

#include <algorithm>
#include <cctype>
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
    case Verb::renew:
      text += "renew the lease of '" + display + "'";
      break;
    case Verb::initialise:
      text += "initialise '" + display + "'";
      break;
    case Verb::list:
      text += "list '" + display + "'";
      break;
  }
  if (!outcome.what.empty()) text += ": " + outcome.what;
  const bool holder_says_it = outcome.by && outcome.code == errc::already_locked;
  if (!holder_says_it) text += ": " + lower_first(outcome.code.message());
  if (outcome.by) text += (holder_says_it ? ": " : ", ") + outcome.by->describe();
  return text;
}

Failed deadlock(std::optional<Holder> by) {
  return {std::make_error_code(std::errc::resource_deadlock_would_occur),
          "this thread holds it already, by another lock object", std::move(by)};
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
      lease_(options.lease),
      scheme_(std::move(scheme)),
      traits_(scheme_->traits()),
      opens_sessions_(scheme_->opens_sessions()),
      state_(std::make_unique<State>(os::Process::current())) {}

bool any_lives(const std::vector<Holder>& holders) noexcept {
  return std::any_of(holders.begin(), holders.end(),
                     [](const Holder& each) { return each.verdict != Verdict::dead && !each.expired; });
}

Engine::~Engine() {
  if (!state_->process.is_caller()) {
    for (const Hold& hold : state_->holds) hold.attempt->abandon();
    // Here as in `state`: forked between two hands, not reached by tests.
    if (state_->passed) state_->passed->abandon();
    scheme_->abandon();
    return;
  }
  for (const Hold& hold : state_->holds) {
    if (hold.attempt->outlives_us()) {
      hold.attempt->abandon();
    } else {
      (void)hold.attempt->release();  // in silence, as documented
    }
  }
  if (state_->line != nullptr) state_->lines.leave(path_);
}

Engine::State& Engine::state() {
  if (!state_->process.is_caller()) {
    auto mine = std::make_unique<State>(os::Process::current());
    for (const Hold& hold : state_->holds) {
      mine->inherited += hold.count;
      hold.attempt->abandon();
    }
    if (state_->passed) state_->passed->abandon();
    scheme_->abandon();
    mine->parents = std::move(state_);
    state_ = std::move(mine);
  }
  return *state_;
}

Engine::Hold* Engine::hold_of(State& state, std::int64_t identity) noexcept {
  for (Hold& hold : state.holds) {
    if (hold.identity == identity) return &hold;
  }
  return nullptr;
}

Engine::Lost* Engine::lost_of(State& state, std::int64_t identity) noexcept {
  for (Lost& each : state.lost) {
    if (each.identity == identity) return &each;
  }
  return nullptr;
}

Engine::Hold* Engine::my_hold(State& state) const noexcept {
  return hold_of(state, identity_of(state.process.system().thread_id()));
}

Engine::Hold Engine::take(State& state, Hold& hold) noexcept {
  Hold taken = std::move(hold);
  if (&hold != &state.holds.back()) hold = std::move(state.holds.back());
  state.holds.pop_back();
  state.holds_changed();
  return taken;
}

Line* Engine::line_of(State& state) const {
  if (traits_.queues) return nullptr;
  if (state.line == nullptr) state.line = &state.lines.enter(path_);
  return state.line;
}

// The hold was broken, or lost to somebody: its thread will still release as often as it acquired. There is room for
// the note since the hold was granted.
void Engine::note_lost(State& state, Hold& hold) {
  tell_lost(state, hold);
  const Hold old = take(state, hold);
  (void)old.attempt->release();  // finds that it is lost, and touches nothing
  if (Lost* const earlier = lost_of(state, old.identity)) {
    earlier->count += old.count;
  } else {
    state.lost.push_back({old.identity, old.count});
  }
}

// What was granted to `identity` cannot stand beside them, so they had been broken.
void Engine::note_all_lost_to(State& state, Mode granted, std::int64_t identity) {
  for (std::size_t i = state.holds.size(); i > 0; --i) {
    Hold& hold = state.holds[i - 1];
    if (hold.identity != identity && excludes(granted, hold.mode)) note_lost(state, hold);
  }
}

// Nothing: it is not held, or it was lost. A hold that cannot be looked at goes on, but nobody enters it.
std::optional<Step> Engine::re_enter(State& state, const Request& request) {
  Hold* const hold = hold_of(state, identity_of(request.thread));
  if (hold == nullptr) return std::nullopt;
  std::error_code why;
  if (still_held(*hold, why)) {
    if (hold->mode != request.mode) {
      return Failed{
          std::make_error_code(std::errc::resource_deadlock_would_occur),
          "held already, " + std::string(to_string(hold->mode)) + " and not " + std::string(to_string(request.mode)),
          {}};
    }
    ++hold->count;
    return Granted{};
  }
  if (why) return Failed{why, "cannot look at the hold that is to be entered again", {}};
  note_lost(state, *hold);
  return std::nullopt;
}

bool Engine::is_deadlock(const std::optional<Holder>& by, std::int64_t thread) const noexcept {
  // A dead hold of ours was given up while a breaker was at it, who is about to remove it.
  return by && by->this_process && by->thread == thread && by->verdict != Verdict::dead;
}

// A hold that threads passed on has the name of who acquired it in its record, and is this process's to tell until it
// is over. So who is seen once may be an old story, and is looked at again:
//   A: opens W, reads "A", which it has passed on     asks who has it by now: nobody remembers
//   B:                                   unlinks W, forgets
// The same hold once more: it stood when A asked, so A has it.
bool Engine::is_deadlock_still(const std::optional<Holder>& by, std::int64_t thread) {
  if (!is_deadlock(by, thread)) return false;
  std::error_code unsure;
  const auto holders = scheme_->holders(unsure);
  return unsure || std::any_of(holders.begin(), holders.end(), [&](const Holder& each) {
           return each.nonce == by->nonce && each.number == by->number && is_deadlock(each, thread);
         });
}

std::unique_ptr<Attempt> Engine::attempt_for(State& state, const Request& request) {
  for (std::unique_ptr<Attempt>& each : state.kept) {
    if (!each) continue;
    std::unique_ptr<Attempt> kept = std::move(each);
    if (kept->reuse(request)) return kept;
  }
  return scheme_->attempt(request);
}

void Engine::keep(State& state, std::unique_ptr<Attempt> attempt) noexcept {
  for (std::unique_ptr<Attempt>& each : state.kept) {
    if (each) continue;
    each = std::move(attempt);
    return;
  }
}

// One step of an attempt, made anew where there is none, under the object's mutex. What is granted is kept at once: no
// line between the grant and the note of it can fail.
Step Engine::step_and_keep(State& state, Asking& asking) {
  if (!asking.attempt) asking.attempt = attempt_for(state, asking.request);
  // Granted while another thread of this object thinks it holds: then that hold had been broken. Whoever is
  // granted makes room for the note of it first, where memory may still be missing.
  make_room(state.lost, state.holds.size() + 1);
  make_room(state.holds, 1);
  Step step = asking.attempt->step();
  if (const auto* const granted = std::get_if<Granted>(&step)) {
    const std::int64_t identity = identity_of(asking.request.thread);
    if (state.passed) end_passing(state);  // it had been broken since it was let go; a race, not reached by tests
    state.passes = 0;
    state.overtaken = 0;
    note_all_lost_to(state, asking.request.mode, identity);
    state.holds.push_back({.identity = identity,
                           .mode = asking.request.mode,
                           .fence = granted->fence,
                           .previous_holder_died = granted->previous_holder_died,
                           .attempt = std::move(asking.attempt)});
    state.holds_changed();
  }
  return step;
}

// As `first_try` with a kept attempt, where nobody of this process holds by this object, or waits.
bool Engine::enter(Mode mode) noexcept {
  if (!traits_.short_way || !can(mode)) return false;
  State& state = *state_;
  os::System& system = state.process.system();
  const os::System::Caller caller = system.caller();
  if (caller.process != state.process.identity().pid) return false;
  const os::MutexGuard guard(system, state.mutex);
  std::unique_ptr<Attempt>& kept = state.kept.front();
  if (!kept || !state.holds.empty() || state.passed) return false;
  if (state.line == nullptr || state.line->anyone_waits()) return false;
  // Room for the hold, and for the note that it is lost.
  if (state.holds.capacity() == 0 || state.lost.capacity() == state.lost.size()) return false;
  if (!kept->enter({.mode = mode, .thread = caller.thread})) return false;
  state.passes = 0;
  state.overtaken = 0;
  Hold& hold = state.holds.emplace_back();
  hold.identity = identity_of(caller.thread);
  hold.mode = mode;
  hold.attempt = std::move(kept);
  state.holds_changed();
  return true;
}

// As `end_hold`, of the one hold of this object, by whoever has it and entered once.
bool Engine::leave() noexcept {
  if (!traits_.short_way) return false;
  State& state = *state_;
  os::System& system = state.process.system();
  const os::System::Caller caller = system.caller();
  if (caller.process != state.process.identity().pid) return false;
  const os::MutexGuard guard(system, state.mutex);
  if (state.holds.size() != 1 || state.kept.front()) return false;
  Hold& hold = state.holds.front();
  if (hold.identity != identity_of(caller.thread) || hold.count != 1 || hold.trust) return false;
  if (state.line != nullptr && state.line->anyone_waits()) return false;
  if (!hold.attempt->leave()) return false;
  state.kept.front() = std::move(hold.attempt);
  state.holds.pop_back();
  state.holds_changed();
  state.last_error.clear();
  wake_heir(state);  // who has come meanwhile
  return true;
}

// Blocked without a try where others of this process wait already, or another thread of this object holds. Or where one
// tries whose session is being opened: a thousand threads that come before the first of them has lined up would open a
// thousand. The first in line tries at once, so nobody has to be told how the other try has ended.
Step Engine::first_try(State& state, Asking& asking, bool at_once) {
  const Locked guard(state);
  if (!state.holds.empty()) {
    if (auto entered = re_enter(state, asking.request)) return *std::move(entered);
  }
  Line* const line = line_of(state);
  if (state.passed && overtake(state, asking)) return Granted{};
  asking.behind_own = is_passed_on(asking.request.mode) && holds_exclusively(state);
  asking.lines_up = !at_once && line != nullptr && (asking.behind_own || line->anyone_waits());
  std::optional<Line::Trying> trying;
  if (opens_sessions_ && line != nullptr && !asking.lines_up) {
    trying.emplace(*line);
    asking.lines_up = !at_once && !trying->alone();
  }
  return asking.lines_up ? Blocked{} : step_and_keep(state, asking);
}

Step Engine::step_again(State& state, Asking& asking) {
  const Locked guard(state);
  if (!threaded_) {
    // Another thread of ours may have been granted meanwhile.
    if (auto entered = re_enter(state, asking.request)) return *std::move(entered);
  }
  if (take_passed(state, asking)) return Granted{};
  if (is_patient(state, asking)) return Blocked{.on = {}, .look_again = asking.patience, .by = {}};
  Step step = step_and_keep(state, asking);
  // Whoever else was in the way has left: of a semaphore's units, say, this thread has what is missing.
  auto* const blocked = std::get_if<Blocked>(&step);
  if (blocked != nullptr && is_deadlock_still(blocked->by, asking.request.thread)) {
    return deadlock(std::move(blocked->by));
  }
  return step;
}

void Engine::withdraw(State& state, std::unique_ptr<Attempt>& attempt) noexcept {
  constexpr int tries = 64;
  for (int i = 0; attempt && i < tries; ++i) {
    std::optional<Blocked> more;
    {
      const os::MutexGuard guard(state.process.system(), state.mutex);
      more = attempt->withdraw();
      if (!more) keep(state, std::move(attempt));
    }
    if (!more) return;
    const auto a_moment = state.process.system().now() + std::chrono::milliseconds(10);
    try {
      os::Sleeper sleeper(state.process);
      (void)sleeper.arm(more->on);
      (void)sleeper.sleep(more->look_again ? more->look_again : a_moment);
    } catch (const std::bad_alloc&) {  // not reached by tests: the schemes that need it are those with servers
      sleep_until(state.process, a_moment);
    }
  }
}

bool Engine::can(Mode mode) const noexcept {
  switch (mode) {
    case Mode::shared:
      return traits_.shared && lease_.count() == 0;
    case Mode::upgradable:
      return traits_.upgradable && lease_.count() == 0;
    case Mode::exclusive:
      break;
  }
  return (!fence_ || traits_.fence) && (lease_.count() == 0 || traits_.lease);
}

Outcome Engine::refused(Mode mode) {
  State& state = this->state();
  const os::MutexGuard guard(state.process.system(), state.mutex);
  const bool lease = lease_.count() != 0 && (mode != Mode::exclusive || !traits_.lease);
  if (lease && traits_.lease) {
    return {std::make_error_code(std::errc::operation_not_supported), "only exclusive holds have leases", {}};
  }
  const std::string what = lease                     ? "leases"
                           : mode == Mode::exclusive ? "fences"
                                                     : std::string(to_string(mode)) + " mode";
  return {std::make_error_code(std::errc::operation_not_supported),
          "scheme '" + std::string(scheme_->name()) + "' has no " + what,
          {}};
}

Outcome Engine::acquire(Mode mode, const Wait& wait) {
  if (!wait.valid()) return {std::make_error_code(std::errc::invalid_argument), "the time to wait is not a number", {}};
  if (!can(mode)) return refused(mode);
  State& state = this->state();
  os::System& system = state.process.system();
  const Limit limit(system, wait);
  Asking asking;
  asking.request = {.mode = mode, .thread = system.thread_id(), .may_queue = !limit.at_once()};
  const Finally withdrawn([&]() noexcept {
    if (asking.attempt) withdraw(state, asking.attempt);
    if (asking.is_heir) settle_passed(state);
  });
  Step step = first_try(state, asking, limit.at_once());
  if (std::holds_alternative<Granted>(step)) return {};
  if (auto* const failed = std::get_if<Failed>(&step)) return outcome_of(std::move(*failed));
  return wait_for_it(state, asking, std::move(std::get<Blocked>(step)), limit, wait.stop());
}

Outcome Engine::wait_for_it(State& state, Asking& asking, Blocked blocked, const Limit& limit,
                            const std::stop_token& stop) {
  Waited waited;
  waited.by = blocked.by;
  // A hold of this object is no deadlock, for it is another thread's.
  const bool looks = !limit.at_once() && !(asking.lines_up && asking.behind_own);
  if (looks) waited.by = who_is_in_the_way(state, std::move(waited.by), asking.request.thread);
  bool deadlocks = false;
  if (is_deadlock(waited.by, asking.request.thread)) {
    const os::MutexGuard guard(state.process.system(), state.mutex);
    deadlocks = is_deadlock_still(waited.by, asking.request.thread);
  }
  if (deadlocks) return outcome_of(deadlock(std::move(waited.by)));
  if (limit.at_once()) {
    waited.how = Waited::How::timed_out;
  } else {
    // The line first, the file system when it is our turn: a claim of ours would only be in the way meanwhile. A scheme
    // that orders its waiters itself may have let it hold a part already: who is blocked in a line behind it has
    // nothing that they could wait for.
    std::optional<Holder> first_seen = std::move(waited.by);
    std::optional<Blocked> tried;
    if (!asking.lines_up) tried = std::move(blocked);
    asking.is_heir = state.line != nullptr && is_passed_on(asking.request.mode);
    const LineUp where{state.line, asking.is_heir ? &state : nullptr};
    waited = wait_until_granted(
        state.process, where, limit, stop, std::move(tried), [&] { return step_again(state, asking); }, state.instance,
        [&] { withdraw(state, asking.attempt); });
    if (!waited.by) waited.by = std::move(first_seen);
    const bool gave_up = waited.how == Waited::How::timed_out || waited.how == Waited::How::stopped;
    if (gave_up && !waited.by) waited.by = look_for_holder(state);
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

// `met`: by the first try, where there was one. Of several who share, any may be this thread itself.
std::optional<Holder> Engine::who_is_in_the_way(State& state, std::optional<Holder> met, std::int64_t thread) {
  if (met && met->mode == Mode::exclusive) return met;
  // Whoever holds nothing does not wait for itself; a wait that ends in vain looks then who was in the way.
  if (!state.count.all().any()) return met;
  const os::MutexGuard guard(state.process.system(), state.mutex);
  // Asking a server takes a session.
  const std::optional<bool> remembered = scheme_->is_held_by(thread);
  if (!remembered.value_or(true)) return met;
  std::error_code unsure;  // a hint for a message, or for finding a deadlock; the acquire itself will fail if this did
  auto holders = scheme_->holders(unsure);
  for (Holder& each : holders) {
    if (is_deadlock(each, thread)) return std::move(each);
  }
  // The server does not tell, but this thread has not given it back: it would wait for itself, in line for ever.
  if (unsure && remembered) {
    Holder self;
    self.scheme = scheme_->name();
    self.verdict = Verdict::alive;
    self.note = "as this process remembers";
    self.host = state.process.identity().host;
    self.pid = state.process.identity().pid;
    self.thread = thread;
    self.program = state.process.identity().program;
    self.this_process = true;
    return self;
  }
  if (met || holders.empty()) return met;
  return std::move(holders.front());
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
  const Locked guard(state);
  Outcome outcome = release_in(state, had_one);
  if (had_one) state.last_error = outcome.code;
  return outcome;
}

Outcome Engine::release_in(State& state, bool& had_one) {
  const std::int64_t identity = identity_of(state.process.system().thread_id());
  had_one = true;
  if (Hold* const mine = hold_of(state, identity)) {
    if (mine->count == 1) return end_hold(state, *mine);
    std::error_code unsure;  // then the last release tells
    if (still_held(*mine, unsure) || unsure) {
      --mine->count;
      return {};
    }
    note_lost(state, *mine);
  }
  const auto lost =
      std::find_if(state.lost.begin(), state.lost.end(), [&](const Lost& each) { return each.identity == identity; });
  if (lost != state.lost.end()) {
    if (--lost->count == 0) state.lost.erase(lost);
  } else if (state.inherited > 0) {
    --state.inherited;
  } else {
    had_one = false;
  }
  return nothing_to_release();
}

Outcome Engine::end_hold(State& state, Hold& hold) {
  Hold ended = take(state, hold);
  if (is_passed_on(ended.mode) && pass_on(state, ended)) return {};
  std::error_code error = ended.attempt->release();
  if (error == errc::not_locked || error == errc::not_my_lock) tell_lost(state, ended);
  if (!error && ended.trust && ended.trust->lost.stop_requested()) error = errc::not_locked;
  keep(state, std::move(ended.attempt));
  wake_heir(state);
  if (!error) return {};
  Outcome outcome{error, {}, {}};
  if (error == errc::not_my_lock) {
    std::error_code ignored;
    auto holders = scheme_->holders(ignored);
    if (!holders.empty()) outcome.by = std::move(holders.front());
  } else if (error.category() != lockfile_category()) {
    outcome.what = "the hold could not be ended";
  }
  return outcome;
}

// A dead holder's lock is nobody's.
Outcome Engine::nothing_to_release() {
  std::error_code why;
  auto holders = scheme_->holders(why);
  // Of a scheme that cannot tell who holds all that is known is that this thread does not.
  const bool cannot_tell = why == std::errc::operation_not_supported;
  if (cannot_tell || why == std::errc::no_such_file_or_directory) return {errc::not_locked, {}, {}};
  if (why) return {why, {}, {}};
  if (!any_lives(holders)) return {errc::not_locked, {}, {}};
  return {errc::not_my_lock, {}, std::move(holders.front())};
}

bool Engine::i_am_locking() noexcept {
  try {
    State& state = this->state();
    const Locked guard(state);
    std::error_code unsure;  // not to be told is not ours: the caller is to stop, not to go on
    Hold* const mine = my_hold(state);
    if (mine == nullptr) return false;
    const bool held = still_held(*mine, unsure);
    if (!held && !unsure) tell_lost(state, *mine);
    return held;
  } catch (const std::bad_alloc&) {
    return false;  // only in a forked child, which holds nothing; not reached by tests
  }
}

Outcome Engine::holders(std::vector<Holder>& into) {
  State& state = this->state();
  const os::MutexGuard guard(state.process.system(), state.mutex);
  std::error_code why;
  into = scheme_->holders(why);
  return {why, {}, {}};
}

Outcome Engine::waiters(std::vector<Waiter>& into) {
  State& state = this->state();
  const os::MutexGuard guard(state.process.system(), state.mutex);
  std::error_code why;
  into = scheme_->waiters(why);
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
  if (proof == Proof::expired && !traits_.lease) return {};
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

bool Engine::previous_holder_died() noexcept {
  State* const now = state_or_null();
  if (now == nullptr) return false;
  const os::MutexGuard guard(now->process.system(), now->mutex);
  const Hold* const mine = my_hold(*now);
  return mine != nullptr && mine->previous_holder_died;
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
    return nullptr;  // only in a forked child, which begins anew; not reached by tests
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
