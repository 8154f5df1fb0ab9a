// The stories that are explored: each names what it shows.
#include "simulation/scenarios.hpp"

#include <algorithm>
#include <cerrno>

namespace lockfile::simulation {
namespace {

using namespace std::chrono_literals;

std::vector<Scenario> make() {
  std::vector<Scenario> all;
  const auto add = [&](Scenario scenario) { all.push_back(std::move(scenario)); };

  add({.name = "two_try",
       .says = "two processes try once each, and release what they got",
       .set =
           [](Run& run) {
             for (const char* name : {"A", "B"}) {
               run.participant(name, [](Script& me) {
                 if (me.try_acquire()) me.release();
               });
             }
           },
       .leaves = Scenario::Leaves::nothing});
  add({.name = "two_wait",
       .says = "two processes wait for each other",
       .set =
           [](Run& run) {
             for (const char* name : {"A", "B"}) run.participant(name, [](Script& me) { me.pair(); });
           },
       .leaves = Scenario::Leaves::nothing});
  add({.name = "killed", .says = "one of two processes is killed anywhere", .set = [](Run& run) {
         Participant& a = run.participant("A", [](Script& me) { me.pair(); });
         run.participant("B", [](Script& me) { me.pair(); });
         run.kill(a);
       }});
  return all;
}

}  // namespace

const std::vector<Scenario>& scenarios() {
  static const std::vector<Scenario> all = make();
  return all;
}

const Scenario* scenario_named(std::string_view name) {
  const auto& all = scenarios();
  const auto found = std::find_if(all.begin(), all.end(), [&](const Scenario& each) { return each.name == name; });
  return found == all.end() ? nullptr : &*found;
}

}  // namespace lockfile::simulation
