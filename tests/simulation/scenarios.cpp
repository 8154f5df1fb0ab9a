// The list of stories, and what they share.
#include "simulation/scenarios.hpp"

#include <algorithm>
#include <array>

namespace lockfile::simulation {

std::span<const Form> forms() {
  static const std::array all = {
      Form{"link", "link", {}},
      Form{"mkdir", "mkdir", {}},
      Form{"link_named", "link", {.unnamed_files = false}},
      Form{"mkdir_marked", "mkdir", {.rename_new = false}},
      Form{"mkdir_unlinked", "mkdir", {.hard_links = false}},
      Form{"mkdir_nested", "mkdir", {.hard_links = false, .rename_new = false}},
  };
  return all;
}

std::span<const Form> main_forms() { return forms().first(2); }

std::function<void(Script&)> by(const Form& form, std::function<void(Script&)> script) {
  return [scheme = form.scheme, script = std::move(script)](Script& me) {
    Options options;
    options.scheme = scheme;
    me.use(options);
    script(me);
  };
}

const std::vector<Scenario>& scenarios() {
  static const std::vector<Scenario> all = [] {
    std::vector<Scenario> made;
    add_exclusive(made);
    add_deaths(made);
    add_breaks(made);
    add_faults(made);
    add_network(made);
    add_readers(made);
    add_fences(made);
    add_chance(made);
    add_findings(made);
    add_leases(made);
    add_kernel(made);
    add_semaphores(made);
    add_shared_memory(made);
    add_upgrades(made);
    add_line(made);
    add_turns(made);
    add_threads(made);
    return made;
  }();
  return all;
}

const Scenario* scenario_named(std::string_view name) {
  const auto& all = scenarios();
  const auto found = std::find_if(all.begin(), all.end(), [&](const Scenario& each) { return each.name == name; });
  return found == all.end() ? nullptr : &*found;
}

}  // namespace lockfile::simulation
