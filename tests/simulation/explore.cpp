// The explorers.
#include "simulation/explore.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <optional>
#include <random>

namespace lockfile::simulation {
namespace {

constexpr std::size_t most_actors = 16;
using Clock = std::array<std::uint32_t, most_actors>;

constexpr Actors bit(int actor) noexcept { return Actors{1} << static_cast<unsigned>(actor); }
int lowest(Actors actors) noexcept { return std::countr_zero(actors); }

// Faults and time have the highest numbers, so the lowest is somebody who has something to do.
int go_on(Actors can, int last) noexcept {
  return last >= 0 && (can & bit(last)) != 0 && lowest(can) >= 0 ? last : lowest(can);
}

// --- every order ---

// A state on the way of the present run, before its `taken` went.
struct State {
  Actors can = 0;
  Actors to_try = 0;  // must be tried from here
  Actors tried = 0;
  int taken = -1;
  std::size_t steps_before = 0;
  // Who went first from here on another way, and would now do what has been seen, until somebody disturbs it.
  std::vector<std::pair<int, Footprint>> asleep;
  Footprint footprint;  // of `taken`
};

// A step of the present run, in the order of time. Some had no alternative and no state.
struct Step {
  int actor = -1;
  Footprint footprint;
  Clock clock{};
  std::uint32_t own = 0;  // how many steps of this actor came before, and this one
  int state = -1;
};

class EveryOrder final : public Chooser {
 public:
  /// Before each run. What it has in common with the one before is known already.
  void begin() {
    depth_ = 0;
    steps_.resize(states_.empty() ? 0 : states_.back().steps_before);
    known_ = steps_.size();
    clocks_.fill({});
    asleep_.clear();
    barrier_ = {};
    counts_.fill(0);
    for (const Step& each : steps_) {
      const auto who = static_cast<std::size_t>(each.actor);
      counts_[who] = each.own;
      clocks_[who] = each.clock;
      if (each.state < 0) barrier_ = each.clock;
    }
  }

  int choose(Actors can, int last, int clock) override {
    if (depth_ < states_.size()) {
      State& state = states_[depth_];
      pending_ = static_cast<int>(depth_++);
      asleep_ = state.asleep;
      return state.taken;
    }
    Actors sleeping = 0;
    for (const auto& [actor, footprint] : asleep_) sleeping |= bit(actor);
    const Actors awake = can & ~sleeping;
    if (awake == 0) return -1;
    State& state = states_.emplace_back();
    state.can = can;
    state.taken = go_on(awake, last);
    state.tried = state.to_try = bit(state.taken);
    // Where time may pass early, whoever it wakes races with what is done now. Left to the end it comes after
    // everything.
    state.to_try |= can & bit(clock);
    state.asleep = asleep_;
    state.steps_before = steps_.size();
    pending_ = static_cast<int>(depth_++);
    return state.taken;
  }

  void stepped(int actor, const Footprint& footprint, bool alone) override {
    if (known_ > 0) {
      --known_;
      return;
    }
    Step& step = steps_.emplace_back();
    step.actor = actor;
    step.footprint = footprint;
    step.state = alone ? -1 : pending_;
    const auto who = static_cast<std::size_t>(actor);
    step.own = ++counts_[who];
    if (alone) {
      // It came when nobody else could go on: after everything.
      for (std::size_t each = 0; each < most_actors; ++each) barrier_[each] = counts_[each];
      step.clock = barrier_;
      clocks_[who] = step.clock;
      asleep_.clear();
      return;
    }
    Clock clock = clocks_[who];
    join(clock, barrier_);
    for (std::size_t i = steps_.size() - 1; i-- > 0;) {
      const Step& before = steps_[i];
      if (before.actor == actor || before.own <= clock[static_cast<std::size_t>(before.actor)]) continue;
      if (!disturb(before.footprint, footprint)) continue;
      if (before.state >= 0) race(i, actor, clock);
      join(clock, before.clock);
    }
    clock[who] = step.own;
    step.clock = clock;
    clocks_[who] = clock;
    State& state = states_[static_cast<std::size_t>(pending_)];
    state.footprint = footprint;
    std::erase_if(asleep_, [&](const auto& each) { return each.first == actor || disturb(each.second, footprint); });
  }

  /// Goes back to the last state from which something is left to try; false: nothing is.
  bool next_way() {
    while (!states_.empty()) {
      State& state = states_.back();
      // What went from here sleeps for those who come after it.
      if (std::none_of(state.asleep.begin(), state.asleep.end(),
                       [&](const auto& each) { return each.first == state.taken; })) {
        state.asleep.emplace_back(state.taken, state.footprint);
      }
      Actors sleeping = 0;
      for (const auto& [actor, footprint] : state.asleep) sleeping |= bit(actor);
      const Actors left = state.to_try & ~state.tried & ~sleeping & state.can;
      if (left != 0) {
        state.taken = lowest(left);
        state.tried |= bit(state.taken);
        return true;
      }
      states_.pop_back();
    }
    return false;
  }

 private:
  static void join(Clock& clock, const Clock& other) noexcept {
    for (std::size_t i = 0; i < most_actors; ++i) clock[i] = std::max(clock[i], other[i]);
  }

  // Step `i` and the newest one, of `actor`, disturb each other and nothing in between orders them: the other order is
  // to be tried, by whoever of those that lead to the newest step could have gone in place of step `i`.
  void race(std::size_t i, int actor, const Clock& clock) {
    State& state = states_[static_cast<std::size_t>(steps_[i].state)];
    Actors leads = bit(actor);
    for (std::size_t k = i + 1; k + 1 < steps_.size(); ++k) {
      const Step& between = steps_[k];
      if (between.own <= clock[static_cast<std::size_t>(between.actor)]) leads |= bit(between.actor);
    }
    leads &= state.can;
    if ((leads & state.to_try) != 0) return;
    if ((leads & bit(actor)) != 0) {
      state.to_try |= bit(actor);
    } else if (leads != 0) {
      state.to_try |= bit(lowest(leads));
    } else {
      state.to_try |= state.can;
    }
  }

  std::size_t known_ = 0;
  std::vector<State> states_;
  std::vector<Step> steps_;
  std::size_t depth_ = 0;
  int pending_ = -1;
  std::array<Clock, most_actors> clocks_{};
  std::array<std::uint32_t, most_actors> counts_{};
  Clock barrier_{};
  std::vector<std::pair<int, Footprint>> asleep_;
};

// --- by chance ---

class ByPriority final : public Chooser {
 public:
  ByPriority(std::uint64_t seed, unsigned depth, std::size_t expected_steps) : random_(seed) {
    for (int& each : priorities_) each = static_cast<int>(random_() % 1'000'000) + 1'000;
    std::uniform_int_distribution<std::size_t> when(0, std::max<std::size_t>(expected_steps, 1));
    for (unsigned i = 0; i < depth; ++i) changes_.push_back(when(random_));
    std::sort(changes_.begin(), changes_.end());
  }

  int choose(Actors can, int /*last*/, int /*clock*/) override {
    int best = -1;
    for (int actor = 0; actor < static_cast<int>(most_actors); ++actor) {
      if ((can & bit(actor)) == 0) continue;
      if (best < 0 || priority(actor) > priority(best)) best = actor;
    }
    while (!changes_.empty() && changes_.front() <= step_) {
      changes_.erase(changes_.begin());
      priorities_[static_cast<std::size_t>(best)] = lowest_priority_--;
    }
    ++step_;
    return best;
  }
  void stepped(int, const Footprint&, bool) override {}

 private:
  [[nodiscard]] int priority(int actor) const noexcept { return priorities_[static_cast<std::size_t>(actor)]; }
  std::mt19937_64 random_;
  std::array<int, most_actors> priorities_{};
  int lowest_priority_ = 999;
  std::vector<std::size_t> changes_;
  std::size_t step_ = 0;
};

// --- again ---

class AsBefore final : public Chooser {
 public:
  explicit AsBefore(const std::vector<int>& choices) : choices_(choices) {}
  int choose(Actors can, int last, int /*clock*/) override {
    while (at_ < choices_.size()) {
      const int wanted = choices_[at_++];
      if ((can & bit(wanted)) != 0) return wanted;
    }
    return go_on(can, last);
  }
  void stepped(int, const Footprint&, bool) override {}

 private:
  const std::vector<int>& choices_;
  std::size_t at_ = 0;
};

void count(Explored& seen, const Outcome& outcome) {
  seen.steps += outcome.steps;
  if (outcome.given_up) {
    ++seen.pruned;
    return;
  }
  ++seen.schedules;
  seen.longest = std::max(seen.longest, outcome.steps);
  if (!outcome.violation.empty() && seen.violation.empty()) {
    seen.violation = outcome.violation;
    seen.choices = outcome.choices;
  }
}

}  // namespace

Explored explore_all(const Scenario& scenario, std::uint64_t most) {
  Explored seen;
  EveryOrder order;
  do {
    order.begin();
    Run run(scenario, order, false);
    count(seen, run.execute());
    if (!seen.violation.empty() || seen.schedules + seen.pruned >= most) return seen;
  } while (order.next_way());
  seen.exhausted = true;
  return seen;
}

Explored explore_random(const Scenario& scenario, std::uint64_t schedules, std::uint64_t seed, unsigned depth) {
  Explored seen;
  std::size_t expected = 100;
  for (std::uint64_t i = 0; i < schedules; ++i) {
    ByPriority chance(seed + i, depth, expected);
    Run run(scenario, chance, false);
    const Outcome outcome = run.execute();
    expected = outcome.choices.size();
    count(seen, outcome);
    if (!seen.violation.empty()) {
      seen.seed = seed + i;
      return seen;
    }
  }
  return seen;
}

Outcome replay(const Scenario& scenario, const std::vector<int>& choices, bool tracing) {
  AsBefore chooser(choices);
  Run run(scenario, chooser, tracing);
  return run.execute();
}

std::vector<int> shrink(const Scenario& scenario, std::vector<int> choices) {
  const auto better = [&](const std::vector<int>& attempt, std::size_t& best_steps) {
    const Outcome outcome = replay(scenario, attempt, false);
    if (outcome.violation.empty() || outcome.choices.size() > best_steps) return std::optional<std::vector<int>>();
    return std::optional(outcome.choices);
  };
  const auto switches = [](const std::vector<int>& each) {
    std::size_t found = 0;
    for (std::size_t i = 1; i < each.size(); ++i) found += each[i] != each[i - 1] ? 1U : 0U;
    return found;
  };
  std::size_t best = choices.size();
  constexpr int rounds = 8;
  for (int round = 0; round < rounds; ++round) {
    bool shorter = false;
    for (std::size_t i = 1; i < choices.size(); ++i) {
      if (choices[i] == choices[i - 1]) continue;
      // Go on with the one before for as long as it can; or leave this step out.
      for (const bool leave_out : {true, false}) {
        std::vector<int> attempt = choices;
        if (leave_out) {
          attempt.erase(attempt.begin() + static_cast<std::ptrdiff_t>(i));
        } else {
          const auto from = attempt.begin() + static_cast<std::ptrdiff_t>(i);
          const auto later = std::find(from, attempt.end(), choices[i - 1]);
          if (later == attempt.end()) continue;
          std::rotate(from, later, later + 1);
        }
        std::size_t limit = best;
        const auto found = better(attempt, limit);
        if (!found) continue;
        if (found->size() < choices.size() || switches(*found) < switches(choices)) {
          choices = *found;
          best = choices.size();
          shorter = true;
          break;
        }
      }
    }
    if (!shorter) break;
  }
  return choices;
}

}  // namespace lockfile::simulation
