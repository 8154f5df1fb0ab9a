// Breaks, by proof and by force: they take the hold that they mean, and no other; whoever lost its hold learns it.
#include "simulation/scenarios.hpp"

namespace lockfile::simulation {

using namespace std::chrono_literals;

void add_breaks(std::vector<Scenario>& all) {
  for (const Form& form : forms()) {
    const auto named = [&](const char* name) { return std::string(name) + "/" + form.name; };
    all.push_back({.name = named("forced_break_of_a_hold"),
                   .says = "one process holds twice in a row; another looks, and breaks by force the hold that it saw",
                   .set =
                       [form](Run& run) {
                         run.participant("A", by(form, [](Script& me) {
                                           me.pair();
                                           me.pair();
                                         }));
                         run.participant("B", by(form, [](Script& me) { me.look_and_break(); }));
                       },
                   .kind = form.kind});
    all.push_back({.name = named("forced_break_of_whoever_holds"),
                   .says = "one process holds twice in a row; another breaks by force whoever holds",
                   .set =
                       [form](Run& run) {
                         run.participant("A", by(form, [](Script& me) {
                                           me.pair();
                                           me.pair();
                                         }));
                         run.participant("B", by(form, [](Script& me) { me.break_whoever(); }));
                       },
                   .kind = form.kind});
    all.push_back({.name = named("break_of_the_dead_beside_the_living"),
                   .says = "a holder has died; one process breaks stale locks, two others come",
                   .set =
                       [form](Run& run) {
                         SimulatedProcess& holder = run.process(run.host(), "H");
                         run.earlier(holder, "H", by(form, [](Script& me) { me.acquire_and_keep(); }), Run::Then::dies);
                         run.participant("A", by(form, [](Script& me) { me.break_stale(); }));
                         run.participant("B", by(form, pair));
                       },
                   .kind = form.kind});
  }
  for (const Form& form : main_forms()) {
    const auto named = [&](const char* name) { return std::string(name) + "/" + form.name; };
    all.push_back({.name = named("forced_break_and_a_newcomer"),
                   .says = "a hold is broken by force while its holder releases it and a third process comes",
                   .set =
                       [form](Run& run) {
                         run.participant("A", by(form, pair));
                         run.participant("B", by(form, [](Script& me) { me.look_and_break(); }));
                         run.participant("C", by(form, try_once));
                       },
                   .kind = form.kind});
    all.push_back({.name = named("two_forced_breaks"),
                   .says = "two processes break the same hold by force, and its holder comes back at once",
                   .set =
                       [form](Run& run) {
                         run.participant("A", by(form, [](Script& me) {
                                           me.pair();
                                           if (me.try_acquire()) me.release();
                                         }));
                         run.participant("B", by(form, [](Script& me) { me.look_and_break(); }));
                         run.participant("C", by(form, [](Script& me) { me.look_and_break(); }));
                       },
                   .kind = form.kind});
    all.push_back({.name = named("breaker_killed"),
                   .says = "a process that breaks by force is killed anywhere",
                   .set =
                       [form](Run& run) {
                         run.participant("A", by(form, [](Script& me) {
                                           me.pair();
                                           me.pair();
                                         }));
                         Participant& b = run.participant("B", by(form, [](Script& me) { me.look_and_break(); }));
                         run.kill(b);
                       },
                   .kind = form.kind});
    all.push_back({.name = named("breaker_stopped"),
                   .says =
                       "a process that breaks by force is stopped anywhere, and goes on much later; a release never "
                       "waits for it",
                   .set =
                       [form](Run& run) {
                         run.participant("A", by(form, [](Script& me) {
                                           me.pair();
                                           if (me.acquire_for(50ms)) me.release();
                                         }));
                         Participant& b = run.participant("B", by(form, [](Script& me) { me.look_and_break(); }));
                         run.stop(b);
                       },
                   .kind = form.kind});
    all.push_back({.name = named("broken_hold_released_by_another_thread"),
                   .says = "two threads share a lock object; a hold of theirs is broken by force, and released late",
                   .set =
                       [form](Run& run) {
                         SimulatedProcess& both = run.process(run.host(), "AB");
                         const auto shared = run.shared_lock(both, form.scheme);
                         for (const char* name : {"A", "B"}) {
                           run.participant(both, name, [shared](Script& me) {
                             me.share_lock(shared);
                             if (me.try_acquire()) me.release();
                           });
                         }
                         run.participant("C", by(form, [](Script& me) { me.look_and_break(); }));
                       },
                   .kind = form.kind,
                   .leaves = Scenario::Leaves::unknown});
  }
}

}  // namespace lockfile::simulation
