// Leases, and telling those who want to know that a hold is lost.
#include "core/trust.hpp"

#include "core/engine.hpp"

#include <utility>

namespace lockfile::core {

Engine::Locked::~Locked() {
  std::shared_ptr<Trust> each = std::move(state_.to_tell);
  state_.process.system().unlock(state_.mutex);
  while (each) {
    each->lost.request_stop();
    each = std::move(each->next);
  }
}

// What was told to be lost stays lost, though its lease may have been renewed in the same instant.
bool Engine::still_held(const Hold& hold, std::error_code& why) noexcept {
  why.clear();
  if (hold.trust && hold.trust->lost.stop_requested()) return false;
  return hold.attempt->still_held(why);
}

void Engine::tell_lost(State& state, Hold& hold) noexcept {
  if (!hold.trust || hold.trust->listed) return;
  hold.trust->listed = true;
  hold.trust->next = std::move(state.to_tell);
  state.to_tell = hold.trust;
}

Trust& Engine::trust_of(Hold& hold) {
  if (!hold.trust) {
    hold.trust = std::make_shared<Trust>();
    hold.trust->set_lease_end(hold.attempt->lease_end());
  }
  return *hold.trust;
}

Outcome Engine::renew_hold(State& state, Hold& hold) {
  if (hold.trust && hold.trust->lost.stop_requested()) return {errc::not_locked, {}, {}};
  const std::error_code error = hold.attempt->renew();
  if (hold.trust) hold.trust->set_lease_end(hold.attempt->lease_end());
  if (error == errc::not_locked || error == errc::not_my_lock) tell_lost(state, hold);
  return {error, {}, {}};
}

Outcome Engine::renew() {
  State& state = this->state();
  const Locked guard(state);
  Hold* const mine = my_hold(state);
  return mine == nullptr ? nothing_to_release() : renew_hold(state, *mine);
}

std::optional<std::chrono::nanoseconds> Engine::lease_left() noexcept {
  State* const now = state_or_null();
  if (now == nullptr) return std::nullopt;
  const os::MutexGuard guard(now->process.system(), now->mutex);
  const Hold* const mine = my_hold(*now);
  if (mine == nullptr) return std::nullopt;
  const auto end = mine->attempt->lease_end();
  if (!end) return std::nullopt;
  return *end - now->process.system().since_boot();
}

std::stop_token Engine::lost() {
  State& state = this->state();
  const os::MutexGuard guard(state.process.system(), state.mutex);
  if (Hold* const mine = my_hold(state)) return trust_of(*mine).lost.get_token();
  std::stop_source nothing_to_lose;
  nothing_to_lose.request_stop();
  return nothing_to_lose.get_token();
}

Outcome Engine::watch_over(Watched& into) {
  State& state = this->state();
  const os::MutexGuard guard(state.process.system(), state.mutex);
  Hold* const mine = my_hold(state);
  if (mine == nullptr) return nothing_to_release();
  (void)trust_of(*mine);
  into = {identity_of(state.process.system().thread_id()), mine->trust, lease_};
  return {};
}

Engine::Kept Engine::look_after(const Watched& watched, bool renew, std::vector<Watch>& on) {
  on.clear();
  State& state = this->state();
  const Locked guard(state);
  Hold* const found = hold_of(state, watched.identity);
  // The thread's next hold has another trust: acquired since the keeper looked last; not reached by tests.
  if (found == nullptr || found->trust != watched.trust) return Kept::ended;
  Hold& hold = *found;
  if (watched.trust->lost.stop_requested()) return Kept::ended;
  std::error_code error;
  if (renew) {
    error = renew_hold(state, hold).code;
    if (error == errc::not_locked || error == errc::not_my_lock) return Kept::lost;
  } else if (!still_held(hold, error) && !error) {
    tell_lost(state, hold);
    return Kept::lost;
  }
  const auto watches = hold.attempt->lost();
  on.assign(watches.begin(), watches.end());
  return error ? Kept::unsure : Kept::yes;
}

}  // namespace lockfile::core
