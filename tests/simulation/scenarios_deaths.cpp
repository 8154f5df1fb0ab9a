// Deaths: at any step, seen through pids that come again, other pid namespaces, forked copies and power cuts. A dead
// holder's lock is obtained, and never by two.
#include "simulation/scenarios.hpp"

namespace lockfile::simulation {

using namespace std::chrono_literals;

void add_deaths(std::vector<Scenario>& all) {
  for (const Form& form : forms()) {
    const auto named = [&](const char* name) { return std::string(name) + "/" + form.name; };
    all.push_back({.name = named("killed"),
                   .says = "one of two processes is killed anywhere",
                   .set =
                       [form](Run& run) {
                         Participant& a = run.participant("A", by(form, pair));
                         run.participant("B", by(form, pair));
                         run.kill(a);
                       },
                   .kind = form.kind});
    all.push_back({.name = named("dead_holder_two_come"),
                   .says = "a holder has died; two processes come at once",
                   .set =
                       [form](Run& run) {
                         SimulatedProcess& holder = run.process(run.host(), "H");
                         run.earlier(holder, "H", by(form, [](Script& me) { me.acquire_and_keep(); }), Run::Then::dies);
                         run.participant("A", by(form, pair));
                         run.participant("B", by(form, pair));
                       },
                   .kind = form.kind});
    all.push_back({.name = named("dead_holder_breaker_killed"),
                   .says = "a holder has died; the process that removes it is killed anywhere, and another comes",
                   .set =
                       [form](Run& run) {
                         SimulatedProcess& holder = run.process(run.host(), "H");
                         run.earlier(holder, "H", by(form, [](Script& me) { me.acquire_and_keep(); }), Run::Then::dies);
                         Participant& a = run.participant("A", by(form, [](Script& me) { me.break_stale(); }));
                         run.participant("B", by(form, pair));
                         run.kill(a);
                       },
                   .kind = form.kind});
    all.push_back({.name = named("power_cut"),
                   .says = "the power fails anywhere while one process works, and keeps names and loses bytes",
                   .set =
                       [form](Run& run) {
                         Host& here = run.host();
                         run.participant(run.process(here, "A"), "A", by(form, [](Script& me) {
                                           me.pair();
                                           me.pair();
                                         }));
                         run.power_cut(here);
                       },
                   .kind = form.kind,
                   .leaves = Scenario::Leaves::unknown});
  }
  for (const Form& form : main_forms()) {
    const auto named = [&](const char* name) { return std::string(name) + "/" + form.name; };
    all.push_back({.name = named("killed_and_pid_reused"),
                   .says = "one of two processes is killed anywhere, and its pid given to another that lives on",
                   .set =
                       [form](Run& run) {
                         Participant& a = run.participant("A", by(form, pair));
                         run.participant("B", by(form, pair));
                         run.kill_and_reuse_pid(a);
                       },
                   .kind = form.kind});
    all.push_back({.name = named("killed_in_another_pid_namespace"),
                   .says = "two processes with one pid in two pid namespaces; one is killed anywhere",
                   .set =
                       [form](Run& run) {
                         Host& here = run.host();
                         Participant& a = run.participant(run.process(here, "A", 1, 7), "A", by(form, pair));
                         run.participant(run.process(here, "B", 2, 7), "B", by(form, pair));
                         run.kill(a);
                       },
                   .kind = form.kind});
    all.push_back({.name = named("killed_after_a_fork"),
                   .says = "a process forks anywhere, by a bare clone, and is killed anywhere; the child lives on",
                   .set =
                       [form](Run& run) {
                         SimulatedProcess& holder = run.process(run.host(), "A");
                         Participant& a = run.participant(holder, "A", by(form, pair));
                         run.participant("B", by(form, try_once));
                         run.fork(a, true);
                         run.kill(a);
                       },
                   .kind = form.kind});
    all.push_back({.name = named("dead_holder_three_come"),
                   .says = "a holder has died; three processes try at once",
                   .set =
                       [form](Run& run) {
                         SimulatedProcess& holder = run.process(run.host(), "H");
                         run.earlier(holder, "H", by(form, [](Script& me) { me.acquire_and_keep(); }), Run::Then::dies);
                         for (const char* name : {"A", "B", "C"}) {
                           run.participant(name, by(form, try_once));
                         }
                       },
                   .kind = form.kind});
    all.push_back({.name = named("dead_holder_of_an_earlier_boot"),
                   .says = "the power failed while a process held; two processes of the next boot come",
                   .set =
                       [form](Run& run) {
                         Host& here = run.host();
                         run.earlier(run.process(here, "H"), "H", by(form, [](Script& me) { me.acquire_and_keep(); }),
                                     Run::Then::lives_on);
                         run.power_cut_now(here);
                         run.participant(run.process(here, "A"), "A", by(form, pair));
                         run.participant(run.process(here, "B"), "B", by(form, pair));
                       },
                   .kind = form.kind,
                   .leaves = Scenario::Leaves::unknown});
    all.push_back({.name = named("handed_over"),
                   .says = "a holder hands its hold to a child, and is killed anywhere after; the child dies later",
                   .set =
                       [form](Run& run) {
                         Host& here = run.host();
                         SimulatedProcess& child = run.process(here, "child");
                         SimulatedProcess& holder = run.process(here, "A");
                         Participant& a = run.participant(holder, "A", by(form, [&child](Script& me) {
                                                            if (!me.acquire_and_keep()) return;
                                                            me.hand_over(child);
                                                            me.pause();
                                                          }));
                         run.participant("B", by(form, pair));
                         run.kill(a);
                         run.kill_process(child);
                       },
                   .kind = form.kind});
  }
  all.push_back({.name = "holder_and_newcomer_killed/link",
                 .says = "two processes wait for each other, both are killed anywhere, a third comes",
                 .set =
                     [](Run& run) {
                       Participant& a = run.participant("A", by(forms()[0], pair));
                       Participant& b = run.participant("B", by(forms()[0], pair));
                       run.kill(a);
                       run.kill(b);
                     },
                 .kind = {}});
}

}  // namespace lockfile::simulation
