// Changing how a lock is held: upgrade and downgrade. The scheme makes one bounded try at a time, and the wait is the
// one wait loop's; the hold is the identity's own before, meanwhile and after.
#include "core/engine.hpp"

#include <new>
#include <utility>

namespace lockfile::core {

namespace {

Outcome would_deadlock(std::string what) {
  return {std::make_error_code(std::errc::resource_deadlock_would_occur), std::move(what), {}};
}

bool is_lost(const std::error_code& code) noexcept { return code == errc::not_my_lock || code == errc::not_locked; }

}  // namespace

// Nothing: it may be tried.
std::optional<Outcome> Engine::begin_conversion(State& state, std::int64_t identity, Mode to, bool& had_one) {
  const Locked guard(state);
  Hold* const mine = hold_of(state, identity);
  if (mine == nullptr) {
    had_one = lost_of(state, identity) != nullptr || state.inherited > 0;
    return nothing_to_release();
  }
  const Hold& hold = *mine;
  if (hold.mode == to) {
    std::error_code why;
    if (still_held(hold, why)) return Outcome{};
    if (why) return Outcome{why, "cannot look at the hold", {}};
    note_lost(state, *mine);
    return nothing_to_release();
  }
  if (lease_.count() != 0) {
    return Outcome{std::make_error_code(std::errc::operation_not_supported), "only exclusive holds have leases", {}};
  }
  if (hold.mode == Mode::shared) {
    return would_deadlock("held shared: two that wait for each other to leave would wait for ever");
  }
  if (to != Mode::exclusive && hold.count > 1) {
    return would_deadlock("held " + std::string(to_string(hold.mode)) + ", " + std::to_string(hold.count) +
                          " times: whoever acquired it first counts on that");
  }
  return std::nullopt;
}

Step Engine::convert_step(State& state, std::int64_t identity, Mode to) {
  const Locked guard(state);
  Hold* const mine = hold_of(state, identity);
  // Another thread of this identity has released it meanwhile; not reached by tests.
  if (mine == nullptr) return Failed{errc::not_my_lock, {}, {}};
  Step step = mine->attempt->convert(to);
  if (auto* const failed = std::get_if<Failed>(&step)) {
    if (is_lost(failed->why)) note_lost(state, *mine);
    return step;
  }
  auto* const granted = std::get_if<Granted>(&step);
  if (granted == nullptr) return step;
  mine->mode = to;
  mine->fence = granted->fence;
  // What cannot stand beside it had been broken.
  note_all_lost_to(state, to, identity);
  return step;
}

void Engine::end_conversion(State& state, std::int64_t identity) noexcept {
  const os::MutexGuard guard(state.process.system(), state.mutex);
  if (Hold* const mine = hold_of(state, identity)) mine->attempt->end_conversion();
}

Outcome Engine::convert(Mode to, const Wait& wait, bool& had_one) {
  had_one = true;
  if (!wait.valid()) return {std::make_error_code(std::errc::invalid_argument), "the time to wait is not a number", {}};
  State& state = this->state();
  const std::int64_t thread = state.process.system().thread_id();
  const std::int64_t identity = identity_of(thread);
  if (auto refused = begin_conversion(state, identity, to, had_one)) return *std::move(refused);
  const Limit limit(state.process.system(), wait);
  Waited waited;
  try {
    Step step = convert_step(state, identity, to);
    if (auto* const blocked = std::get_if<Blocked>(&step)) {
      waited.how = Waited::How::timed_out;
      waited.by = blocked->by;
      if (is_deadlock(blocked->by, thread)) {
        waited.how = Waited::How::failed;
        waited.failed = {std::make_error_code(std::errc::resource_deadlock_would_occur),
                         "this thread shares it by another lock object", std::move(blocked->by)};
      } else if (!limit.at_once()) {
        waited = wait_until_granted(
            state.process, LineUp{}, limit, wait.stop(), std::move(*blocked),
            [&] { return convert_step(state, identity, to); }, state.instance);
      }
    } else if (auto* const failed = std::get_if<Failed>(&step)) {
      waited.how = Waited::How::failed;
      waited.failed = std::move(*failed);
    } else {
      waited.how = Waited::How::granted;
    }
  } catch (const std::bad_alloc&) {
    end_conversion(state, identity);
    throw;
  }
  end_conversion(state, identity);
  Outcome outcome = outcome_of(std::move(waited), limit);
  if (!is_lost(outcome.code)) return outcome;
  const os::MutexGuard guard(state.process.system(), state.mutex);
  Outcome now = nothing_to_release();
  // Not to be told who holds now, it is lost all the same.
  if (!is_lost(now.code)) now.code = outcome.code;
  now.what = std::move(outcome.what);
  return now;
}

Outcome Engine::downgrade(Mode to, const Wait& wait, bool& had_one) {
  had_one = true;
  if (to == Mode::exclusive) {
    return {std::make_error_code(std::errc::invalid_argument), "exclusive is no weaker mode", {}};
  }
  return convert(to, wait, had_one);
}

}  // namespace lockfile::core
