// Two clients of one file server: memories of names that are out of date, replies that are lost, byte locks that stay
// at home.
#include "simulation/scenarios.hpp"

namespace lockfile::simulation {

using namespace std::chrono_literals;

void add_network(std::vector<Scenario>& all) {
  const FileSystemKind network = {.network = true};
  for (const Form& form : main_forms()) {
    const auto named = [&](const char* name) { return std::string(name) + "/" + form.name; };
    const auto add = [&](Scenario scenario) {
      scenario.kind = network;
      scenario.wakes_by_events = false;
      all.push_back(std::move(scenario));
    };
    add({.name = named("two_hosts_try"),
         .says = "two hosts try once each",
         .set =
             [form](Run& run) {
               for (const char* name : {"A", "B"}) {
                 run.participant(run.process(run.host(std::string("host of ") + name), name), name, by(form, try_once));
               }
             },
         .leaves = Scenario::Leaves::nothing});
    add({.name = named("two_hosts_wait"),
         .says = "two hosts wait for each other",
         .set =
             [form](Run& run) {
               for (const char* name : {"A", "B"}) {
                 run.participant(run.process(run.host(std::string("host of ") + name), name), name, by(form, pair));
               }
             },
         .leaves = Scenario::Leaves::nothing});
    add({.name = named("reply_lost"),
         .says = "any one reply to one of two hosts is lost after the server has done the work",
         .set = [form](Run& run) {
           Participant& a = run.participant(run.process(run.host("host of A"), "A"), "A", by(form, [](Script& me) {
                                              me.pair();
                                              me.pair();
                                            }));
           run.participant(run.process(run.host("host of B"), "B"), "B", by(form, try_once));
           run.lose_reply(a);
         }});
    add({.name = named("killed_on_one_host"),
         .says = "a process is killed anywhere; another of its host and one of another host come",
         .set =
             [form](Run& run) {
               Host& here = run.host("here");
               Host& there = run.host("there");
               Participant& a = run.participant(run.process(here, "A"), "A", by(form, try_once));
               run.participant(run.process(here, "B"), "B", by(form, try_once));
               run.participant(run.process(there, "C"), "C", by(form, try_once));
               run.kill(a);
             },
         .leaves = Scenario::Leaves::unknown});
    add({.name = named("same_pid_on_two_hosts"),
         .says = "two hosts whose processes have the same pid; one is killed anywhere",
         .set =
             [form](Run& run) {
               Participant& a = run.participant(run.process(run.host("here"), "A", 1, 7), "A", by(form, try_once));
               run.participant(run.process(run.host("there"), "B", 1, 7), "B", by(form, try_once));
               run.kill(a);
             },
         .leaves = Scenario::Leaves::unknown});
    add({.name = named("locks_stay_at_home"),
         .says = "one of two hosts keeps its byte locks to itself; one process dies on each",
         .set =
             [form](Run& run) {
               Host& here = run.host("here");
               here.locks_stay_here = true;
               Participant& a = run.participant(run.process(here, "A"), "A", by(form, try_once));
               run.participant(run.process(run.host("there"), "B"), "B", by(form, try_once));
               run.kill(a);
             },
         .leaves = Scenario::Leaves::unknown});
    add({.name = named("locks_stay_at_home_and_wait"),
         .says = "one of two hosts keeps its byte locks to itself; they wait for each other",
         .set =
             [form](Run& run) {
               Host& here = run.host("here");
               here.locks_stay_here = true;
               run.participant(run.process(here, "A"), "A", by(form, pair));
               run.participant(run.process(run.host("there"), "B"), "B", by(form, pair));
             },
         .leaves = Scenario::Leaves::unknown});
    add({.name = named("locks_stay_at_home_and_forced_break"),
         .says =
             "the holder's host keeps its byte locks to itself; its next hold is safe from a forced break from another",
         .set =
             [form](Run& run) {
               Host& here = run.host("here");
               here.locks_stay_here = true;
               run.participant(run.process(here, "A"), "A", by(form, [](Script& me) {
                                 me.pair();
                                 me.pair();
                               }));
               run.participant(run.process(run.host("there"), "B"), "B",
                               by(form, [](Script& me) { me.look_and_break(); }));
             },
         .errors_allowed = true,
         .leaves = Scenario::Leaves::unknown});
    add({.name = named("locks_dropped_while_cut_off"),
         .says = "the server drops the locks of a client whose process holds; two of another host come, and one waits",
         .set =
             [form](Run& run) {
               Host& here = run.host("here");
               Host& there = run.host("there");
               run.participant(run.process(here, "A"), "A", by(form, pair));
               run.participant(run.process(there, "B"), "B", by(form, pair));
               run.participant(run.process(there, "C"), "C", by(form, try_once));
               run.server_drops_locks(here);
             },
         .leaves = Scenario::Leaves::unknown});
    add({.name = named("server_drops_locks"),
         .says = "the server gives up on a client for a moment, and its byte locks are gone",
         .set =
             [form](Run& run) {
               Host& here = run.host("here");
               run.participant(run.process(here, "A"), "A", by(form, try_once));
               run.participant(run.process(run.host("there"), "B"), "B", by(form, try_once));
               run.server_drops_locks(here);
             },
         .leaves = Scenario::Leaves::unknown});
    add({.name = named("forced_break_from_another_host"),
         .says = "a hold is broken by force from another host while its holder goes on to the next",
         .set = [form](Run& run) {
           run.participant(run.process(run.host("here"), "A"), "A", by(form, [](Script& me) {
                             me.pair();
                             me.pair();
                           }));
           run.participant(run.process(run.host("there"), "B"), "B", by(form, [](Script& me) { me.look_and_break(); }));
         }});
  }
}

}  // namespace lockfile::simulation
