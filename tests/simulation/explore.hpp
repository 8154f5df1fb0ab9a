// Exploring: every order of the steps of a scenario that could make a difference, or many orders by chance; and making
// an order that shows a fault as short as it can be.
#pragma once

#include "simulation/run.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace lockfile::simulation {

/// What an exploration has seen.
struct Explored {
  std::uint64_t schedules = 0;  ///< run to their ends
  std::uint64_t pruned = 0;     ///< given up: all that could follow had been seen
  std::uint64_t steps = 0;
  std::size_t longest = 0;
  bool exhausted = false;  ///< nothing is left to see
  std::string violation;   ///< the first one; empty: none
  std::vector<int> choices;
  std::uint64_t seed = 0;  ///< of the schedule that failed, where chance chose it
};

/// Every order that makes a difference: dynamic partial-order reduction (Flanagan and Godefroid, POPL 2005) with sleep
/// sets (Godefroid, LNCS 1032). Ends at the first violation, or after `most` schedules.
[[nodiscard]] Explored explore_all(const Scenario& scenario, std::uint64_t most);

/// By chance, with priorities that change at `depth` places: probabilistic concurrency testing (Burckhardt et al.,
/// ASPLOS 2010). The n-th schedule has the seed `seed` + n.
[[nodiscard]] Explored explore_random(const Scenario& scenario, std::uint64_t schedules, std::uint64_t seed,
                                      unsigned depth);

/// Replays the choices as far as they go and as far as they can be followed.
[[nodiscard]] Outcome replay(const Scenario& scenario, const std::vector<int>& choices, bool tracing);

/// Fewer switches, fewer faults, fewer steps, as long as some violation remains.
[[nodiscard]] std::vector<int> shrink(const Scenario& scenario, std::vector<int> choices);

}  // namespace lockfile::simulation
