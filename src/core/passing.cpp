// Passing a hold on among the threads of one lock object, without the file system's steps.
//
// Who releases while another thread of the object is first in line leaves the hold as it is on disk, and notes that it
// is nobody's for the moment (`State::passed`). The first in line is woken, and takes it; a thread of the object that
// comes just then takes it before the other one is awake. To everybody else it is one hold all the while: one number,
// one record, one thing to break.
//
//   thread 1: release: W still is ours: passed   wakes 2
//   thread 3:                                             acquire: W still is ours: takes it   release: passed
//   thread 2:                                                                          awake: W still is ours: takes it
//
// Each hand looks before it takes, and whoever lets go looks as well: a hold that was broken is never passed on, its
// releaser is told as ever, and who would have taken it acquires anew. A break that lands after the last look hits a
// hold that stood when the break began.
//
// Bounded: a hold is passed on so many times and for so long, then it is released on disk, and the first in line
// acquires with everybody else. Whoever is first in line is overtaken by a few.
//
// While the object itself holds, the first in line relies on being woken by a release, for a moment; then it goes and
// watches W, for the hold may be lost without its thread's knowing.
#include "core/engine.hpp"

#include <algorithm>
#include <utility>

namespace lockfile::core {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t most_passes = 64;
constexpr auto longest_passing = 2ms;
constexpr std::size_t most_overtaken = 16;
constexpr auto patience = 5ms;

}  // namespace

// Between identities, which are threads; each with a fence of its own, where there are fences.
bool Engine::is_passed_on(Mode mode) const noexcept { return threaded_ && !fence_ && mode == Mode::exclusive; }

bool Engine::holds_exclusively(const State& state) noexcept {
  return state.passed || std::any_of(state.holds.begin(), state.holds.end(),
                                     [](const Hold& each) { return each.mode == Mode::exclusive; });
}

bool Engine::pass_on(State& state, Hold& ended) {
  if (ended.trust) return false;  // whoever is told of its loss was told of this hold, not of the next one's
  if (state.line == nullptr || !state.line->anyone_waits() || !state.line->has_heir_of(&state)) return false;
  const auto now = state.process.system().now();
  if (state.passes == 0) state.passing_since = now;
  if (state.passes >= most_passes || now - state.passing_since >= longest_passing) return false;
  if (!ended.attempt->pass_to(0)) return false;
  ++state.passes;
  state.passed = std::move(ended.attempt);
  // An heir that has left meanwhile sees to it when it has left: `settle_passed`.
  (void)state.line->wake_heir_of(&state);
  return true;
}

bool Engine::take_passed(State& state, const Asking& asking) {
  if (!state.passed || !is_passed_on(asking.request.mode)) return false;
  make_room(state.lost, state.holds.size() + 1);
  make_room(state.holds, 1);
  if (!state.passed->pass_to(asking.request.thread)) {
    end_passing(state);
    return false;
  }
  state.overtaken = 0;
  state.holds.push_back({.identity = identity_of(asking.request.thread),
                         .mode = asking.request.mode,
                         .attempt = std::move(state.passed)});
  state.holds_changed();
  return true;
}

bool Engine::overtake(State& state, const Asking& asking) {
  const std::size_t before = state.overtaken;
  if (before >= most_overtaken || !take_passed(state, asking)) return false;
  state.overtaken = before + 1;
  return true;
}

bool Engine::is_patient(State& state, Asking& asking) const {
  if (!asking.is_heir || !holds_exclusively(state)) return false;
  const auto now = state.process.system().now();
  if (!asking.patience) asking.patience = now + patience;
  return now < *asking.patience;
}

// Released on disk, or found to be lost.
void Engine::end_passing(State& state) noexcept {
  (void)state.passed->release();
  keep(state, std::move(state.passed));
}

// Released on disk: the first in line may be waiting for nothing but this.
void Engine::wake_heir(State& state) noexcept {
  if (state.line != nullptr && state.line->anyone_waits()) (void)state.line->wake_heir_of(&state);
}

// After a thread has left the line, for whatever reason: what was passed on goes to the next one, or back.
void Engine::settle_passed(State& state) noexcept {
  const os::MutexGuard guard(state.process.system(), state.mutex);
  if (!state.passed || state.line->wake_heir_of(&state)) return;
  end_passing(state);  // a race: whoever was to have it gave up, and was the last; not reached by tests
}

}  // namespace lockfile::core
