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

// How often, and for how long, in which the other lines up; how often the same hold on disk may be somebody's.
struct Use {
  int pairs = 1;
  std::chrono::nanoseconds hold{0};
  std::size_t most = 1;
};

void use_and_count(Script& me, const Use& use, Passing& passing) {
  for (int i = 0; i < use.pairs; ++i) {
    if (!me.acquire()) return;
    if (me.self().published > passing.published) passing = {me.self().published, 0};
    if (++passing.holds > use.most) me.run().violated("one hold was passed on again and again, and nobody else let in");
    me.sleep(use.hold);
    me.release();
  }
}

void use_and_count_together(Run& run, const Form& form, const Use& use) {
  const auto passing = std::make_shared<Passing>();
  const auto script = [use, passing](Script& me) { use_and_count(me, use, *passing); };
  threads_of_one_object(run, form, {{"A", script}, {"B", script}});
}

// A takes the lock again and again, B waits for it once.
void overtake(Run& run, const Form& form) {
  constexpr int pairs = 40;
  constexpr int most = 17;  // the one that B finds, and 16 after it
  const auto granted = std::make_shared<int>(0);
  threads_of_one_object(run, form,
                        {{"A",
                          [granted](Script& me) {
                            for (int i = 0; i < pairs; ++i) {
                              if (!me.acquire()) return;
                              ++*granted;
                              if (i == 0) me.sleep(1ms);
                              me.release();
                            }
                          }},
                         {"B", [granted](Script& me) {
                            const int before = *granted;
                            if (!me.acquire()) return;
                            if (*granted - before > most) me.run().violated("B was overtaken by A again and again");
                            me.release();
                          }}});
}

}  // namespace

void add_threads(std::vector<Scenario>& all) {
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
    story("threads_pass_on", "two threads pass a hold on", [=](Run& run) {
      threads_of_one_object(run, form, {{"A", pair}, {"B", pair}});
    });
    story("threads_pass_on_late", "a thread passes on what it has held for long, to one that watches it by now",
          [=](Run& run) {
            threads_of_one_object(run, form,
                                  {{"A",
                                    [](Script& me) {
                                      if (!me.acquire()) return;
                                      me.sleep(10ms);
                                      me.release();
                                    }},
                                   {"B", pair}});
          });
    story("threads_pass_on_without_end", "two threads want the lock all the time, each for very short", [=](Run& run) {
      // Acquired once, passed on 64 times, in less than 2 ms.
      use_and_count_together(run, form, {.pairs = 45, .hold = 10us, .most = 65});
    }).by_chance = true;
    story("threads_pass_on_for_a_moment", "two threads want the lock all the time, each for a millisecond",
          // Acquired once, passed on, and once more in the 2 ms that begin then.
          [=](Run& run) { use_and_count_together(run, form, {.pairs = 5, .hold = 1ms, .most = 3}); });
    story("threads_overtake", "one thread takes the lock again and again, while another waits",
          [=](Run& run) { overtake(run, form); });
    story("threads_and_a_lost_hold", "a thread keeps a hold that a process breaks; another thread waits for it",
          [=](Run& run) {
            threads_of_one_object(run, form, {{"A", [](Script& me) { (void)me.acquire(); }}, {"B", pair}});
            run.participant("P", by(form, [](Script& me) {
                              me.sleep(1ms);
                              me.look_and_break();
                            }));
          });
  }
}

}  // namespace lockfile::simulation
