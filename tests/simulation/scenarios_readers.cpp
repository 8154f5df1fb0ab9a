// Readers: alone, in groups, beside writers; killed, stopped and broken anywhere.
#include "simulation/scenarios.hpp"

namespace lockfile::simulation {
namespace {

using namespace std::chrono_literals;

void try_to_read(Script& me) {
  me.in_mode(Mode::shared);
  if (me.try_acquire()) me.release();
}

// Where readers can be together: without hard links their claims are renamed into the group.
// And in a directory of their own a reader may be alone.
std::vector<Form> forms_of_readers() {
  const auto together = forms().first(5);
  std::vector<Form> all(together.begin(), together.end());
  all.push_back({"link_private", "link", {.others_write = false}});
  return all;
}

}  // namespace

void add_readers(std::vector<Scenario>& all) {
  for (const Form& form : forms_of_readers()) {
    const auto add = [&](const char* name, const char* says, std::function<void(Run&)> set, Scenario::Leaves leaves) {
      all.push_back({.name = std::string(name) + "/" + form.name,
                     .says = says,
                     .set = std::move(set),
                     .kind = form.kind,
                     .leaves = leaves});
    };
    add(
        "readers", "two processes read, each as soon as it may",
        [form](Run& run) {
          run.participant("A", by(form, read));
          run.participant("B", by(form, read));
        },
        Scenario::Leaves::nothing);
    add(
        "readers_try", "two processes try to read: each is granted it",
        [form](Run& run) {
          run.participant("A", by(form, try_to_read));
          run.participant("B", by(form, try_to_read));
        },
        Scenario::Leaves::nothing);
    add(
        "reader_and_writer", "a process reads and one writes, each as soon as it may",
        [form](Run& run) {
          run.participant("A", by(form, read));
          run.participant("W", by(form, pair));
        },
        Scenario::Leaves::nothing);
    add(
        "readers_and_writer", "two processes read and one writes, each as soon as it may",
        [form](Run& run) {
          run.participant("A", by(form, read));
          run.participant("B", by(form, read));
          run.participant("W", by(form, pair));
        },
        Scenario::Leaves::nothing);
    add(
        "reader_comes_again", "a process reads twice by a kept claim, and another reads",
        [form](Run& run) {
          run.participant("A", by(form, [](Script& me) {
                            read(me);
                            read(me);
                          }));
          run.participant("B", by(form, read));
        },
        Scenario::Leaves::nothing);
    add(
        "reader_then_writer", "a process reads and then writes by the same claim; another reads",
        [form](Run& run) {
          run.participant("A", by(form, [](Script& me) {
                            read(me);
                            me.in_mode(Mode::exclusive);
                            me.pair();
                          }));
          run.participant("B", by(form, read));
        },
        Scenario::Leaves::nothing);
    add(
        "group_comes_again", "a process reads twice by a kept claim, another reads and one writes",
        [form](Run& run) {
          run.participant("A", by(form, [](Script& me) {
                            read(me);
                            read(me);
                          }));
          run.participant("B", by(form, read));
          run.participant("W", by(form, pair));
        },
        Scenario::Leaves::nothing);
    add(
        "reader_killed", "a reader is killed anywhere, beside another; a writer comes",
        [form](Run& run) {
          Participant& a = run.participant("A", by(form, read));
          run.participant("B", by(form, read));
          run.participant("W", by(form, pair));
          run.kill(a);
        },
        Scenario::Leaves::nothing_after_doctor);
    add(
        "readers_killed", "both readers are killed anywhere",
        [form](Run& run) {
          Participant& a = run.participant("A", by(form, read));
          Participant& b = run.participant("B", by(form, read));
          run.kill(a);
          run.kill(b);
        },
        Scenario::Leaves::nothing_after_doctor);
    add(
        "reader_stopped", "a reader is stopped anywhere for a long time, beside another; a writer comes",
        [form](Run& run) {
          Participant& a = run.participant("A", by(form, read));
          run.participant("B", by(form, read));
          run.participant("W", by(form, pair));
          run.stop(a);
        },
        Scenario::Leaves::nothing_after_doctor);
    add(
        "readers_power_cut", "two processes read, and the power fails",
        [form](Run& run) {
          Host& here = run.host();
          run.participant(run.process(here, "A"), "A", by(form, read));
          run.participant(run.process(here, "B"), "B", by(form, read));
          run.power_cut(here);
        },
        Scenario::Leaves::nothing_after_doctor);
    add(
        "reader_broken", "one looks and breaks by force the hold that it saw, while two read",
        [form](Run& run) {
          run.participant("A", by(form, read));
          run.participant("B", by(form, read));
          run.participant("K", by(form, [](Script& me) { me.look_and_break(); }));
        },
        Scenario::Leaves::nothing_after_doctor);
    add(
        "reader_broken_and_writer", "one looks and breaks by force the reader that it saw; then it writes",
        [form](Run& run) {
          run.participant("A", by(form, [](Script& me) {
                            read(me);
                            read(me);
                          }));
          run.participant("K", by(form, [](Script& me) {
                            me.look_and_break();
                            me.pair();
                          }));
        },
        Scenario::Leaves::nothing_after_doctor);
    add(
        "stale_reader", "a reader is dead; one reads and one writes",
        [form](Run& run) {
          SimulatedProcess& dead = run.process(run.host(), "dead");
          run.earlier(dead, "dead",
                      by(form,
                         [](Script& me) {
                           me.in_mode(Mode::shared);
                           (void)me.acquire_and_keep();
                         }),
                      Run::Then::dies);
          run.participant("A", by(form, read));
          run.participant("W", by(form, pair));
        },
        Scenario::Leaves::nothing_after_doctor);
    add(
        "stale_breaks_of_readers", "a reader is dead; two break it as stale, one writes",
        [form](Run& run) {
          SimulatedProcess& dead = run.process(run.host(), "dead");
          run.earlier(dead, "dead",
                      by(form,
                         [](Script& me) {
                           me.in_mode(Mode::shared);
                           (void)me.acquire_and_keep();
                         }),
                      Run::Then::dies);
          run.participant("K", by(form, [](Script& me) { me.break_stale(); }));
          run.participant("L", by(form, [](Script& me) { me.break_stale(); }));
          run.participant("W", by(form, pair));
        },
        Scenario::Leaves::nothing_after_doctor);
    all.push_back({.name = "many_readers_and_writers/" + form.name,
                   .says = "readers and writers come and go, and two of them are killed",
                   .set =
                       [form](Run& run) {
                         const auto often = [](auto what) {
                           return [what](Script& me) {
                             for (int i = 0; i < 3; ++i) what(me);
                           };
                         };
                         Participant& a = run.participant("A", by(form, often(read)));
                         run.participant("B", by(form, often(read)));
                         run.participant("C", by(form, often(try_to_read)));
                         Participant& w = run.participant("W", by(form, often(pair)));
                         run.participant("X", by(form, often(pair)));
                         run.kill(a);
                         run.kill(w);
                       },
                   .kind = form.kind,
                   .by_chance = true});
  }
}

}  // namespace lockfile::simulation
