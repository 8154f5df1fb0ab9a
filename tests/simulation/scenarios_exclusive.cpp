// Nobody dies and nothing fails: who waits is woken, who tries is answered, and never two hold.
#include "simulation/scenarios.hpp"

namespace lockfile::simulation {

using namespace std::chrono_literals;

void add_exclusive(std::vector<Scenario>& all) {
  for (const Form& form : forms()) {
    const auto named = [&](const char* name) { return std::string(name) + "/" + form.name; };
    all.push_back({.name = named("two_try"),
                   .says = "two processes try once each, and release what they got",
                   .set =
                       [form](Run& run) {
                         for (const char* name : {"A", "B"}) {
                           run.participant(name, by(form, try_once));
                         }
                       },
                   .kind = form.kind,
                   .leaves = Scenario::Leaves::nothing});
    all.push_back({.name = named("two_wait"),
                   .says = "two processes wait for each other",
                   .set =
                       [form](Run& run) {
                         for (const char* name : {"A", "B"}) {
                           run.participant(name, by(form, pair));
                         }
                       },
                   .kind = form.kind,
                   .leaves = Scenario::Leaves::nothing});
    all.push_back({.name = named("one_twice_one_waits"),
                   .says = "one process takes the lock twice with a kept claim, while another waits for it",
                   .set =
                       [form](Run& run) {
                         run.participant("A", by(form, [](Script& me) {
                                           me.pair();
                                           me.pair();
                                         }));
                         run.participant("B", by(form, pair));
                       },
                   .kind = form.kind,
                   .leaves = Scenario::Leaves::nothing});
    all.push_back({.name = named("timed"),
                   .says = "one process holds for ever; another gives up in time, another tries",
                   .set =
                       [form](Run& run) {
                         SimulatedProcess& holder = run.process(run.host(), "H");
                         run.earlier(holder, "H", by(form, [](Script& me) { me.acquire_and_keep(); }),
                                     Run::Then::lives_on);
                         run.participant("A", by(form, [](Script& me) { me.acquire_for(10ms); }));
                         run.participant("B", by(form, [](Script& me) { me.try_acquire(); }));
                       },
                   .kind = form.kind,
                   .leaves = Scenario::Leaves::unknown});
    all.push_back({.name = named("timed_race"),
                   .says = "a wait ends, in time or not, while the holder releases",
                   .set =
                       [form](Run& run) {
                         run.participant("A", by(form, pair));
                         run.participant("B", by(form, [](Script& me) {
                                           if (me.acquire_for(10ms)) me.release();
                                         }));
                       },
                   .kind = form.kind,
                   .leaves = Scenario::Leaves::nothing,
                   .early_ticks = 1});
  }
  for (const Form& form : main_forms()) {
    const auto named = [&](const char* name) { return std::string(name) + "/" + form.name; };
    all.push_back({.name = named("three_try"),
                   .says = "three processes try once each",
                   .set =
                       [form](Run& run) {
                         for (const char* name : {"A", "B", "C"}) {
                           run.participant(name, by(form, try_once));
                         }
                       },
                   .kind = form.kind,
                   .leaves = Scenario::Leaves::nothing});
    all.push_back({.name = named("three_wait"),
                   .says = "three processes wait for each other",
                   .set =
                       [form](Run& run) {
                         for (const char* name : {"A", "B", "C"}) {
                           run.participant(name, by(form, pair));
                         }
                       },
                   .kind = form.kind,
                   .leaves = Scenario::Leaves::nothing});
    all.push_back({.name = named("two_threads_of_one_object"),
                   .says = "two threads share a lock object, a third process waits",
                   .set =
                       [form](Run& run) {
                         SimulatedProcess& both = run.process(run.host(), "AB");
                         const auto shared = run.shared_lock(both, form.scheme);
                         for (const char* name : {"A", "B"}) {
                           run.participant(both, name, [shared](Script& me) {
                             me.share_lock(shared);
                             me.pair();
                           });
                         }
                       },
                   .kind = form.kind,
                   .leaves = Scenario::Leaves::unknown});
  }
  all.push_back({.name = "link_against_mkdir",
                 .says = "a link locker and a mkdir locker wait for each other",
                 .set =
                     [](Run& run) {
                       run.participant("A", by(forms()[0], pair));
                       run.participant("B", by(forms()[1], pair));
                     },
                 .leaves = Scenario::Leaves::nothing});
  all.push_back({.name = "without_notices",
                 .says = "two processes wait for each other, and no event can be had",
                 .set =
                     [](Run& run) {
                       for (const char* name : {"A", "B"}) {
                         run.participant(name, by(forms()[0], pair));
                       }
                     },
                 .kind = {.notices = false},
                 .wakes_by_events = false,
                 .leaves = Scenario::Leaves::nothing});
  for (const Form& form : forms()) {
    if (form.scheme != "mkdir") continue;
    all.push_back({.name = "plain_mkdir_locker/" + form.name,
                   .says = "a program that knows only mkdir takes part",
                   .set =
                       [form](Run& run) {
                         run.participant("A", by(form, pair));
                         run.participant("P", [](Script& me) {
                           if (me.plain_mkdir()) me.plain_rmdir();
                         });
                       },
                   .kind = form.kind,
                   .leaves = Scenario::Leaves::nothing});
  }
  all.push_back({.name = "plain_mkdir_locker/link",
                 .says = "a program that knows only mkdir takes part beside a link locker",
                 .set =
                     [](Run& run) {
                       run.participant("A", by(forms()[0], pair));
                       run.participant("P", [](Script& me) {
                         if (me.plain_mkdir()) me.plain_rmdir();
                       });
                     },
                 .leaves = Scenario::Leaves::nothing});
}

}  // namespace lockfile::simulation
