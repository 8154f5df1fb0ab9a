// Leases: holds that end by themselves, of holders on other hosts. Whoever believes that its lease lasts is alone,
// whatever happens to whom: stops, slow replies, slow looks, memories of clients, clocks that differ, machines asleep.
#include "simulation/scenarios.hpp"

#include <cerrno>

namespace lockfile::simulation {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::milliseconds ttl = 1000ms;
// Just more than the margin of that ttl, where looks are fresh.
constexpr std::chrono::milliseconds more_than_the_margin = 25ms;

std::function<void(Script&)> leased(const Form& form, std::function<void(Script&)> script,
                                    std::chrono::milliseconds lease = ttl) {
  return [scheme = form.scheme, lease, script = std::move(script)](Script& me) {
    Options options;
    options.scheme = scheme;
    options.lease = lease;
    options.threaded = false;  // whoever asks: the oracle does
    me.use(options);
    script(me);
  };
}

// On a host of its own.
Participant& elsewhere(Run& run, const std::string& name, std::function<void(Script&)> script) {
  return run.participant(run.process(run.host("host of " + name), name), name, std::move(script));
}

// Something else that takes time.
void time_passes(Run& run, std::chrono::milliseconds time) {
  elsewhere(run, "T", [time](Script& me) { me.sleep(time); });
}

void acquire_and_renew(Script& me) {
  if (!me.acquire_and_keep()) return;
  (void)me.renew();
}

// As a poll would: looks, and when the time of what it has seen is over, looks again.
std::function<void(Script&)> look_twice(std::chrono::milliseconds between) {
  return [between](Script& me) {
    if (me.try_acquire()) return me.release();
    me.sleep(between);
    if (me.try_acquire()) me.run().keep(me.kept());
  };
}

}  // namespace

void add_leases(std::vector<Scenario>& all) {
  const auto hold = [](Script& me) { (void)me.acquire_and_keep(); };  // its lease runs out
  for (const Form& form : main_forms()) {
    const auto named = [&](const char* name) { return std::string(name) + "/" + form.name; };
    const auto add = [&](Scenario scenario) {
      scenario.kind.network = true;
      scenario.wakes_by_events = false;
      scenario.leaves = Scenario::Leaves::unknown;
      all.push_back(std::move(scenario));
    };
    add({.name = named("leases_holder_killed"),
         .says = "a holder with a lease is killed anywhere, also while it renews; another host waits",
         .set = [form](Run& run) {
           run.kill(elsewhere(run, "A", leased(form, acquire_and_renew)));
           elsewhere(run, "B", leased(form, pair));
         }});
    add({.name = named("leases_late_confirmation"),
         .says = "a holder is stopped anywhere, also between a renewal and its reply, until another has taken over",
         .set = [form](Run& run) {
           run.stop(elsewhere(run, "A", leased(form, [](Script& me) {
                                if (!me.acquire_and_keep()) return;
                                me.sleep(900ms);
                                (void)me.renew();
                              })));
           elsewhere(run, "B", by(form, pair));
         }});
    add({.name = named("leases_slow_reply"),
         .says = "time passes anywhere, also between a renewal and its reply; another looks twice",
         .set =
             [form](Run& run) {
               elsewhere(run, "A", leased(form, acquire_and_renew));
               elsewhere(run, "B", by(form, look_twice(ttl + more_than_the_margin)));
               time_passes(run, 400ms);
             },
         .early_ticks = 1});
    add({.name = named("leases_renewal_on_its_way"),
         .says = "a renewal that was begun in time is on its way while another takes the lock over",
         .set =
             [form](Run& run) {
               elsewhere(run, "A", leased(form, [](Script& me) {
                           if (!me.acquire_and_keep()) return;
                           me.sleep(900ms);
                           (void)me.renew();
                         }));
               elsewhere(run, "B", by(form, look_twice(ttl + more_than_the_margin)));
             },
         .early_ticks = 1});
    add({.name = named("leases_slow_look"),
         .says = "time passes anywhere, also in the middle of the look that first shows a renewal",
         .set =
             [form](Run& run) {
               elsewhere(run, "A", leased(form, [](Script& me) {
                           if (!me.acquire_and_keep()) return;
                           me.sleep(300ms);
                           (void)me.renew();
                         }));
               elsewhere(run, "B", by(form, pair));
             },
         .early_ticks = 1});
    add({.name = named("leases_stopped_observer"),
         .says = "whoever waits is stopped anywhere, while the holder renews",
         .set = [form](Run& run) {
           elsewhere(run, "A", leased(form, [](Script& me) {
                       if (!me.acquire_and_keep()) return;
                       me.sleep(700ms);
                       if (me.renew()) me.release();
                     }));
           run.stop(elsewhere(run, "B", by(form, pair)));
         }});
    add({.name = named("leases_two_observers"),
         .says = "two hosts see a lease run out; its holder comes back to release it",
         .set = [form](Run& run) {
           elsewhere(run, "A", leased(form, [](Script& me) {
                       if (!me.acquire()) return;
                       me.sleep(ttl + more_than_the_margin);
                       me.release();
                     }));
           elsewhere(run, "B", leased(form, pair));
           elsewhere(run, "C", by(form, pair));
         }});
    add({.name = named("leases_next_hold_of_the_same_claim"),
         .says = "a holder goes on to its next hold at the very time at which the lease of the one before is over",
         .set = [form](Run& run) {
           elsewhere(run, "A", leased(form, [](Script& me) {
                       if (!me.acquire()) return;
                       me.sleep(ttl + more_than_the_margin);
                       me.release();
                       if (me.try_acquire()) me.run().keep(me.kept());
                     }));
           elsewhere(run, "B", by(form, look_twice(ttl + more_than_the_margin)));
         }});
    add({.name = named("leases_broken_by_force"),
         .says = "a hold with a lease is broken by force, and its breaker holds; its holder renews",
         .set = [form](Run& run) {
           elsewhere(run, "A", leased(form, [](Script& me) {
                       if (!me.try_acquire()) return;  // the breaker came first, and never releases
                       me.run().keep(me.kept());
                       (void)me.renew();
                       (void)me.renew();
                     }));
           elsewhere(run, "B", by(form, [](Script& me) {
                       me.look_and_break();
                       if (me.try_acquire()) me.run().keep(me.kept());
                     }));
         }});
    add({.name = named("leases_and_clocks_that_drift"),
         .says = "the holder's clock is slow and the observer's is fast",
         .set = [form, hold](Run& run) {
           Host& slow = run.host("slow host");
           Host& fast = run.host("fast host");
           slow.drift_ppm = -4000;
           fast.drift_ppm = 4000;
           run.participant(run.process(slow, "A"), "A", leased(form, hold, 10s));
           run.participant(run.process(fast, "B"), "B", by(form, pair));
         }});
    add({.name = named("leases_and_a_machine_asleep"),
         .says = "the holder's machine sleeps for a while, anywhere",
         .set = [form](Run& run) {
           Host& here = run.host("here");
           run.participant(run.process(here, "A"), "A", leased(form, acquire_and_renew));
           elsewhere(run, "B", by(form, pair));
           run.suspend(here);
         }});
    add({.name = named("leases_and_a_machine_that_wakes"),
         .says =
             "the holder's machine sleeps until another holds; awake, it knows without a look that its time is over",
         .set = [form, hold](Run& run) {
           Host& here = run.host("here");
           run.participant(
               run.process(here, "A"), "A", leased(form, [](Script& me) {
                 if (!me.try_acquire()) return;  // the other came first, and never releases
                 me.run().keep(me.kept());
                 me.pause();
                 me.pause();
                 const bool believes = me.lock().lease_left() > std::chrono::nanoseconds::zero();
                 if (believes && me.run().oracle().live_hold_against(Mode::exclusive, &me.self()) != nullptr) {
                   me.run().violated("A believes that its lease lasts, and somebody else holds the lock");
                 }
               }));
           elsewhere(run, "B", by(form, hold));
           run.suspend(here);
         }});
    add({.name = named("leases_and_looks_of_some_time_ago"),
         .says = "clients believe for 200 ms what they have read, also under a byte lock",
         .set =
             [form](Run& run) {
               elsewhere(run, "A", leased(form, [](Script& me) {
                           if (!me.acquire_and_keep()) return;
                           me.sleep(900ms);
                           (void)me.renew();
                         }));
               elsewhere(run, "B", by(form, [](Script& me) {
                           if (me.try_acquire()) return me.release();
                           me.sleep(850ms);
                           if (me.try_acquire()) return me.run().keep(me.kept());
                           me.sleep(180ms);
                           if (me.try_acquire()) me.run().keep(me.kept());
                         }));
             },
         .kind = {.stale_for = 200ms}});
    add({.name = named("leases_and_locks_that_stay_at_home"),
         .says = "byte locks do not reach the holder's host: nobody takes its lock over, and whoever waits is told so",
         .set =
             [form](Run& run) {
               Host& here = run.host("here");
               here.locks_stay_here = true;
               Host& there = run.host("there");
               there.locks_stay_here = true;
               run.kill(run.participant(run.process(here, "A"), "A", leased(form, acquire_and_renew)));
               run.participant(run.process(there, "B"), "B", by(form, pair));
             },
         .errors_allowed = true,
         .last_caller_enters = false});
    all.push_back({.name = named("leases_on_one_host"),
                   .says = "a holder with a lease is stopped anywhere; another of its host waits",
                   .set =
                       [form](Run& run) {
                         Participant& a = run.participant("A", leased(form, [](Script& me) {
                                                            if (!me.acquire()) return;
                                                            (void)me.renew();
                                                            me.release();
                                                          }));
                         run.participant("B", by(form, pair));
                         run.stop(a);
                       },
                   .kind = form.kind,
                   .wakes_by_events = false});
  }
}

}  // namespace lockfile::simulation
