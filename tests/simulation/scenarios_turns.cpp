// The line of processes by the clock: each comes at its time, and time passes only when nobody can go on. So the orders
// that are left to explore are those around the one event that a story is about, and what is asked is exact: whoever
// stands behind enters at once, or by the very moment that src/claim/turn.hpp promises.
#include "claim/turn.hpp"
#include "simulation/scenarios.hpp"

#include <array>
#include <utility>

namespace lockfile::simulation {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

// The first holder releases then; whoever stands in line has come long before, and nobody's slow look is near.
constexpr milliseconds released = 20ms;
constexpr milliseconds killed = 40ms;
constexpr milliseconds broken = 100ms;
// A waiter that nobody tells anything looks again after this.
constexpr milliseconds at_once = broken + 50ms;
static_assert(at_once < claim::grace);
// Of whoever has one before it that is stopped when the lock is free.
constexpr milliseconds in_the_end = released + 3 * claim::grace;

constexpr const char* stood = "somebody stood in line beside a lock that it could have had";

void hold_until(Script& me, milliseconds until) {
  if (!me.acquire()) return;
  me.sleep(until - std::chrono::duration_cast<milliseconds>(me.run().time()));
  me.release();
}

std::function<void(Script&)> from(milliseconds when, std::function<void(Script&)> script) {
  return [when, script = std::move(script)](Script& me) {
    me.sleep(when);
    script(me);
  };
}

// Of somebody who is not stopped or killed.
void enter_by(Script& me, milliseconds when, const std::function<bool()>& was_kept_out = {}) {
  if (!me.acquire()) return;
  if (me.run().time() > when && !(was_kept_out && was_kept_out())) {
    me.run().violated(stood);
  }
  me.release();
}

std::function<void(Script&)> entering_by(milliseconds when) {
  return [when](Script& me) { enter_by(me, when); };
}

void hold(Script& me) { hold_until(me, released); }
void add_killed(std::vector<Scenario>& all, const Form& form, const std::function<Scenario(Scenario)>& made) {
  all.push_back(made({.name = "turns_two_come/" + form.name,
                      .says = "two line up together; when the holder has released, one is killed anywhere",
                      .set = [form](Run& run) {
                        run.participant("H", by(form, hold));
                        run.kill(run.participant("B", by(form, from(5ms, pair))));
                        run.only_after(released);
                        run.participant("C", by(form, from(5ms, entering_by(at_once))));
                      }}));
  all.push_back(
      made({.name = "turns_passed_once/" + form.name,
            .says = "one who does not stand in line comes between a release and its token, and is killed as a "
                    "holder",
            .set = [form](Run& run) {
              run.kill(run.participant("D", by(form, [](Script& me) {
                                         me.pair();  // at its release it sees that nobody waits
                                         me.sleep(released);
                                         hold_until(me, killed);
                                       })));
              run.only_after(killed);
              run.participant("H", by(form, from(1ms, hold)));
              run.participant("B", by(form, from(5ms, entering_by(at_once))));
            }}));
}

void add_stopped(std::vector<Scenario>& all, const Form& form, const std::function<Scenario(Scenario)>& made) {
  all.push_back(made({.name = "turns_next_stopped/" + form.name,
                      .says = "whoever is next is stopped anywhere; the one behind it enters in the end",
                      .set = [form](Run& run) {
                        const auto entered = std::make_shared<bool>(false);
                        Participant& next = run.participant("B", by(form, from(5ms, pair)));
                        run.stop(next);
                        run.only_after(released);
                        run.participant("C", by(form, from(6ms, [entered](Script& me) {
                                                  if (!me.acquire()) return;
                                                  *entered = true;
                                                  me.release();
                                                })));
                        run.participant("H", by(form, [entered, &next](Script& me) {
                                          hold(me);
                                          me.sleep(in_the_end - released);
                                          // Who is stopped goes on much later.
                                          if (!*entered && next.published == 0) me.run().violated(stood);
                                        }));
                      }}));
  all.push_back(made({.name = "turns_reader_stopped/" + form.name,
                      .says = "a reader is stopped anywhere, also when it is in and has not left the line; another "
                              "reader behind it enters in the end",
                      .set = [form](Run& run) {
                        const auto reading = [](std::function<void(Script&)> script) {
                          return [script = std::move(script)](Script& me) {
                            me.in_mode(Mode::shared);
                            script(me);
                          };
                        };
                        run.participant("H", by(form, hold));
                        run.stop(run.participant("B", by(form, from(5ms, reading(pair)))));
                        run.only_after(released);
                        run.participant("C", by(form, from(6ms, reading(entering_by(in_the_end)))));
                      }}));
}

void add_readers_that_come_again(std::vector<Scenario>& all, const Form& form,
                                 const std::function<Scenario(Scenario)>& made) {
  // By the oracle of order.
  all.push_back(made({.name = "turns_reader_again/" + form.name,
                      .says = "a writer lines up behind a reader; another one that has been in comes again",
                      .set = [form](Run& run) {
                        const auto reading = [](std::function<void(Script&)> script) {
                          return [script = std::move(script)](Script& me) {
                            me.in_mode(Mode::shared);
                            script(me);
                          };
                        };
                        run.participant("A", by(form, reading([](Script& me) {
                                                  me.pair();  // at its release it sees that nobody waits
                                                  me.sleep(10ms);
                                                  me.pair();
                                                })));
                        run.participant("B", by(form, reading(hold)));
                        run.participant("W", by(form, from(5ms, pair)));
                      }}));
  all.back().wakes_by_events = false;  // the reader stands behind the writer, which others keep out
}

void add_upgrades_in_time(std::vector<Scenario>& all, const Form& form, const std::function<Scenario(Scenario)>& made) {
  all.push_back(made({.name = "turns_upgrade/" + form.name,
                      .says = "one that is upgradable upgrades when the reader leaves, before it or after it; it is "
                              "exclusive at once",
                      .set = [form](Run& run) {
                        run.participant("R", by(form, [](Script& me) {
                                          me.in_mode(Mode::shared);
                                          hold(me);
                                        }));
                        run.participant("U", by(form, [](Script& me) {
                                          me.in_mode(Mode::upgradable);
                                          if (!me.acquire()) return;
                                          me.sleep(released);
                                          if (!me.upgrade()) return;
                                          if (me.run().time() > at_once) me.run().violated(stood);
                                          me.release();
                                        }));
                      }}));
}

void add_broken(std::vector<Scenario>& all, const Form& form, const std::function<Scenario(Scenario)>& made) {
  all.push_back(made({.name = "turns_broken/" + form.name,
                      .says = "a holder is stopped, perhaps before it has left the line, and broken by force; the one "
                              "behind it enters at once",
                      .set = [form](Run& run) {
                        const auto done = std::make_shared<bool>(false);
                        run.participant("H", by(form, hold));
                        run.stop(run.participant("B", by(form, from(5ms, pair))));
                        run.only_after(released);
                        run.participant("C", by(form, from(6ms, [done](Script& me) {
                                                  enter_by(me, at_once, [done] { return !*done; });
                                                })));
                        run.participant("K", by(form, from(broken, [done](Script& me) {
                                                  const auto seen = me.look();
                                                  if (!seen) return;
                                                  me.break_this(*seen, me.run().steps());
                                                  *done = me.run().world().peek("d", Run::word) == nullptr;
                                                })));
                      }}));
}

}  // namespace

void add_turns(std::vector<Scenario>& all) {
  static const std::array in_line = {
      Form{"link", "link", {.lines = true}},
      Form{"mkdir", "mkdir", {.lines = true}},
      Form{"byte", "kernel", {.lines = true}},
      Form{"shm", "shm", {.lines = true}},
  };
  for (const Form& form : in_line) {
    const bool kernel = form.scheme == "kernel";
    const bool shm = form.scheme == "shm";
    const auto made = [&](Scenario story) {
      story.kind = form.kind;
      story.wakes_by_events = !kernel;
      // Their files stay.
      if (kernel || shm) story.leaves = Scenario::Leaves::unknown;
      story.last_caller.scheme = form.scheme;
      return story;
    };
    add_readers_that_come_again(all, form, made);
    add_upgrades_in_time(all, form, made);
    if (shm) continue;
    add_killed(all, form, made);
    if (kernel) continue;  // whose holds are published by no step on a name
    add_stopped(all, form, made);
    add_broken(all, form, made);
  }
}

}  // namespace lockfile::simulation
