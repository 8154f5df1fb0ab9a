// The stories that are explored.
#pragma once

#include "simulation/run.hpp"

#include <string_view>
#include <vector>

namespace lockfile::simulation {

[[nodiscard]] const std::vector<Scenario>& scenarios();
/// Null: there is none of that name.
[[nodiscard]] const Scenario* scenario_named(std::string_view name);

}  // namespace lockfile::simulation
