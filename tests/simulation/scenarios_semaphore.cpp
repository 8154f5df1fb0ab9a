// Semaphores: units that are collected under the right to be admitted; deaths, and the right broken by force.
#include "simulation/scenarios.hpp"

#include <array>

namespace lockfile::simulation {
namespace {

using namespace std::chrono_literals;

std::function<void(Script&)> units(std::size_t wanted) {
  return [wanted](Script& me) {
    if (me.acquire_units(wanted)) me.give_back();
  };
}

// Nobody keeps them for long. Who has lost its right finds out at its next look, a second later at most.
void both_soon(Script& me) {
  if (me.acquire_units(2, 5s)) {
    me.give_back();
  } else {
    me.run().violated(me.self().name + " waited for units that nobody uses");
  }
}

Scenario story(const std::string& name, std::string says, const Form& form, std::size_t of,
               std::function<void(Run&)> set) {
  return {.name = "semaphore_" + name + "/" + form.name,
          .says = std::move(says),
          .set = std::move(set),
          .kind = form.kind,
          // What a collector waits for is watched; that it has lost its right it finds out at its next look.
          .wakes_by_events = false,
          .units = of};
}

void add_living(std::vector<Scenario>& all, const Form& form) {
  all.push_back(story("two_ask_for_all", "two ask for both of two units", form, 2, [](Run& run) {
    run.participant("A", both_soon);
    run.participant("B", both_soon);
  }));
  all.push_back(story("many_and_few", "one asks for both of two units, two ask for one", form, 2, [](Run& run) {
    run.participant("A", units(1));
    run.participant("B", units(2));
    run.participant("C", units(1));
  }));
  all.push_back(story("gives_up", "one waits for two units, and gives up in time or not", form, 2, [](Run& run) {
    run.participant("A", units(1));
    run.participant("B", [](Script& me) {
      if (me.acquire_units(2, 10ms)) me.give_back();
    });
  }));
  all.back().early_ticks = 1;
}

void add_dying(std::vector<Scenario>& all, const Form& form) {
  all.push_back(
      story("killed", "one is killed anywhere, as it collects and as it gives back too", form, 2, [](Run& run) {
        Participant& victim = run.participant("A", units(2));
        run.participant("B", units(1));
        run.kill(victim);
      }));
  all.push_back(
      story("right_broken", "the right to be admitted is broken by force while two collect", form, 2, [](Run& run) {
        run.participant("A", both_soon);
        run.participant("B", both_soon);
        run.participant("C", [](Script& me) { me.look_and_break(); });
      }));
  all.back().right_stands = false;
}

}  // namespace

void add_semaphores(std::vector<Scenario>& all) {
  static const std::array semaphores = {Form{"link", "link", {}}, Form{"mkdir", "mkdir", {.hard_links = false}}};
  for (const Form& form : semaphores) {
    add_living(all, form);
    add_dying(all, form);
  }
}

}  // namespace lockfile::simulation
