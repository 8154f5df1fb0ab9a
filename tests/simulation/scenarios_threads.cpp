// Threads of one lock object, which pass a hold on among themselves (src/core/passing.cpp), beside other processes.
#include "simulation/scenarios.hpp"

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <memory>

namespace lockfile::simulation {

using namespace std::chrono_literals;

namespace {

struct ThreadScript {
  const char* name;
  std::function<void(Script&)> script;
};

// Gives the first one.
Participant& threads_of_one_object(Run& run, const Form& form, std::initializer_list<ThreadScript> threads) {
  SimulatedProcess& process = run.process(run.host(), "T");
  const auto shared = run.shared_lock(process, form.scheme);
  Participant* first = nullptr;
  for (const ThreadScript& each : threads) {
    Participant& made = run.participant(process, each.name, [shared, script = each.script](Script& me) {
      me.share_lock(shared);
      script(me);
    });
    if (first == nullptr) first = &made;
  }
  return *first;
}

// How often in a row the same hold on disk was somebody's.
struct Passing {
  std::size_t published = 0;
  std::size_t holds = 0;
};

void use_and_count(Script& me, Passing& passing) {
  constexpr int pairs = 45;
  constexpr std::size_t most = 65;  // acquired once, passed on 64 times
  for (int i = 0; i < pairs; ++i) {
    if (!me.acquire()) return;
    if (me.self().published > passing.published) passing = {me.self().published, 0};
    if (++passing.holds > most) me.run().violated("one hold was passed on again and again, and nobody else let in");
    me.release();
  }
}

}  // namespace

void add_threads(std::vector<Scenario>& all) {
  const auto pair = [](Script& me) { me.pair(); };
  const auto two_pairs = [](Script& me) {
    me.pair();
    me.pair();
  };
  for (const Form& form : main_forms()) {
    const auto story = [&](const char* title, const char* says, std::function<void(Run&)> set) -> Scenario& {
      all.push_back({.name = std::string(title) + "/" + form.name,
                     .says = says,
                     .set = std::move(set),
                     .kind = form.kind,
                     .leaves = Scenario::Leaves::unknown});
      return all.back();
    };
    story("threads_and_a_process", "three threads pass a hold on, and a process waits for it", [=](Run& run) {
      threads_of_one_object(run, form, {{"A", two_pairs}, {"B", pair}, {"C", pair}});
      run.participant("P", by(form, pair));
    });
    story("threads_and_a_break", "two threads pass a hold on, and a process breaks what it sees and takes the lock",
          [=](Run& run) {
            threads_of_one_object(run, form, {{"A", two_pairs}, {"B", pair}});
            run.participant("P", by(form, [](Script& me) {
                              me.look_and_break();
                              me.pair();
                            }));
          });
    story("threads_give_up", "of three threads that pass a hold on, one gives up in time", [=](Run& run) {
      threads_of_one_object(run, form,
                            {{"A", pair},
                             {"B",
                              [](Script& me) {
                                if (me.acquire_for(10ms)) me.release();
                              }},
                             {"C", pair}});
    }).early_ticks = 1;
    story("threads_are_killed", "two threads pass a hold on; their process is killed anywhere, another comes",
          [=](Run& run) {
            run.kill(threads_of_one_object(run, form, {{"A", two_pairs}, {"B", pair}}));
            run.participant("P", by(form, pair));
          });
    story("threads_of_two_modes", "of three threads one reads and two write, and a process reads", [=](Run& run) {
      threads_of_one_object(run, form, {{"A", pair}, {"B", pair}, {"R", [](Script& me) {
                                                                     me.in_mode(Mode::shared);
                                                                     me.pair();
                                                                   }}});
      run.participant("P", by(form, [](Script& me) {
                        me.in_mode(Mode::shared);
                        me.pair();
                      }));
    });
    story("threads_pass_on_without_end", "two threads want the lock all the time", [=](Run& run) {
      const auto passing = std::make_shared<Passing>();
      const auto use = [passing](Script& me) { use_and_count(me, *passing); };
      threads_of_one_object(run, form, {{"A", use}, {"B", use}});
    }).by_chance = true;
  }
}

}  // namespace lockfile::simulation
