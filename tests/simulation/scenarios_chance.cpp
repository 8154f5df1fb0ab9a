// Long stories with many participants, too large for every order: explored by chance.
#include "simulation/scenarios.hpp"

namespace lockfile::simulation {

using namespace std::chrono_literals;

void add_chance(std::vector<Scenario>& all) {
  const auto three_pairs = [](Script& me) {
    for (int i = 0; i < 3; ++i) me.pair();
  };
  const auto tries = [](Script& me) {
    for (int i = 0; i < 3; ++i) {
      if (me.try_acquire()) me.release();
      if (me.acquire_for(5ms)) me.release();
    }
  };
  for (const Form& form : forms()) {
    all.push_back({.name = "crowd/" + form.name,
                   .says = "five processes come again and again; two of them are killed, one is stopped for a while",
                   .set =
                       [form, three_pairs, tries](Run& run) {
                         Participant& a = run.participant("A", by(form, three_pairs));
                         Participant& b = run.participant("B", by(form, three_pairs));
                         Participant& c = run.participant("C", by(form, tries));
                         run.participant("D", by(form, tries));
                         run.participant("E", by(form, three_pairs));
                         run.kill(a);
                         run.kill_and_reuse_pid(b);
                         run.stop(c);
                       },
                   .kind = form.kind,
                   .early_ticks = 4,
                   .by_chance = true});
    all.push_back({.name = "breakers/" + form.name,
                   .says = "three processes come again and again while three others break by force and by proof",
                   .set =
                       [form, three_pairs](Run& run) {
                         Participant& a = run.participant("A", by(form, three_pairs));
                         run.participant("B", by(form, three_pairs));
                         run.participant("C", by(form, three_pairs));
                         Participant& d = run.participant("D", by(form, [](Script& me) {
                                                            me.look_and_break();
                                                            me.look_and_break();
                                                          }));
                         run.participant("E", by(form, [](Script& me) {
                                           me.break_whoever();
                                           me.break_stale();
                                         }));
                         run.participant("F", by(form, [](Script& me) { me.look_and_break(); }));
                         run.kill(a);
                         run.kill(d);
                       },
                   .kind = form.kind,
                   .early_ticks = 2,
                   .by_chance = true});
  }
  for (const Form& form : main_forms()) {
    FileSystemKind network = form.kind;
    network.network = true;
    all.push_back({.name = "hosts/" + form.name,
                   .says = "three hosts and four processes; replies are lost, the server drops locks, one process dies",
                   .set =
                       [form, tries](Run& run) {
                         Host& one = run.host("one");
                         Host& two = run.host("two");
                         Participant& a = run.participant(run.process(one, "A"), "A", by(form, tries));
                         run.participant(run.process(one, "B"), "B", by(form, tries));
                         Participant& c = run.participant(run.process(two, "C"), "C", by(form, tries));
                         run.participant(run.process(run.host("three"), "D"), "D", by(form, tries));
                         run.lose_reply(a);
                         run.lose_reply(c);
                         run.server_drops_locks(two);
                         run.kill(a);
                       },
                   .kind = network,
                   .wakes_by_events = false,
                   .leaves = Scenario::Leaves::unknown,
                   .early_ticks = 4,
                   .by_chance = true});
  }
}

}  // namespace lockfile::simulation
