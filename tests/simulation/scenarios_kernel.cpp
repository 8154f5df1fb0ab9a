// Kernel locks: on the very file, which stays or is removed at the release; beside lockers that only know flock(2), and
// deaths anywhere.
#include "simulation/scenarios.hpp"

#include <array>

namespace lockfile::simulation {
namespace {

using namespace std::chrono_literals;

Options options_of(const Form& form) {
  Options options;
  options.scheme = form.scheme;
  return options;
}

std::function<void(Script&)> with(const Options& options, std::function<void(Script&)> script) {
  return [options, script = std::move(script)](Script& me) {
    me.use(options);
    script(me);
  };
}

using Stage = std::function<void(Run&)>;

// A waiter then looks once a second only: what it is not told it does not see soon.
constexpr std::chrono::milliseconds long_enough = 200ms;

Scenario story(const std::string& name, std::string says, const Form& form, Stage set) {
  return {.name = "kernel_" + name + "/" + form.name,
          .says = std::move(says),
          .set = std::move(set),
          .kind = form.kind,
          .leaves = Scenario::Leaves::unknown,
          .last_caller = options_of(form)};
}

// Everybody of `scripts` is a process of its own.
Stage together(const Options& options, std::vector<std::function<void(Script&)>> scripts) {
  return [options, scripts = std::move(scripts)](Run& run) {
    char name = 'A';
    for (const auto& each : scripts) run.participant(std::string(1, name++), with(options, each));
  };
}

void add_living(std::vector<Scenario>& all, const Form& form) {
  const Options options = options_of(form);
  all.push_back(story("two_try", "two processes try once each, and one of them makes the file", form,
                      together(options, {try_once, try_once})));
  all.push_back(story("two_wait", "two processes wait for each other", form, together(options, {pair, pair})));
  all.push_back(story("two_read", "two readers come and go, and one of them makes the file", form,
                      together(options, {read, read})));
  all.push_back(
      story("reader_and_writer", "a reader and a writer wait for each other", form, together(options, {read, pair})));
  all.push_back(story("two_readers_and_a_writer", "two readers and a writer wait for each other", form,
                      together(options, {read, read, pair})));
  all.push_back(
      story("three_wait", "three processes wait for each other", form, together(options, {pair, pair, pair})));
  all.push_back(story("held_for_long", "one holds for so long that whoever waits looks now and then only", form,
                      together(options, {[](Script& me) {
                                           // Its end would close the file, which is an event.
                                           if (!me.acquire_and_keep()) return;
                                           me.sleep(long_enough);
                                           me.release();
                                         },
                                         pair})));
  all.push_back(story("twice", "one process takes the lock twice with a kept descriptor, while another waits", form,
                      together(options, {[](Script& me) {
                                           me.pair();
                                           me.pair();
                                         },
                                         pair})));
  Scenario race = story("timed_race", "a wait ends, in time or not, while the holder releases", form,
                        together(options, {pair, [](Script& me) {
                                             if (me.acquire_for(10ms)) me.release();
                                           }}));
  race.early_ticks = 1;
  all.push_back(std::move(race));
}

void add_dying(std::vector<Scenario>& all, const Form& form) {
  const Options options = options_of(form);
  all.push_back(story("killed", "a process is killed anywhere while another waits for it", form, [options](Run& run) {
    Participant& victim = run.participant("A", with(options, pair));
    run.participant("B", with(options, pair));
    run.kill(victim);
  }));
  all.push_back(
      story("reader_killed", "one of two readers is killed anywhere, and a writer waits", form, [options](Run& run) {
        Participant& victim = run.participant("A", with(options, read));
        run.participant("B", with(options, read));
        run.participant("C", with(options, pair));
        run.kill(victim);
      }));
  all.push_back(
      story("stopped", "a process is stopped anywhere, between unlocking and waking too", form, [options](Run& run) {
        Participant& victim = run.participant("A", with(options, pair));
        run.participant("B", with(options, pair));
        run.stop(victim);
      }));
}

void add_removing(std::vector<Scenario>& all, const Form& form) {
  Options options = options_of(form);
  options.remove_on_release = true;
  const auto removing = [&](const std::string& name, std::string says, Stage set, Scenario::Leaves leaves) {
    Scenario made = story(name, std::move(says), form, std::move(set));
    made.last_caller = options;
    made.leaves = leaves;
    all.push_back(std::move(made));
  };
  removing("removed_by_two", "two processes wait for each other, and each removes the file",
           together(options, {pair, pair}), Scenario::Leaves::nothing);
  removing("removed_by_three", "three processes wait for each other, and each removes the file",
           together(options, {pair, pair, pair}), Scenario::Leaves::nothing);
  removing("removed_under_a_trier", "one holds and removes the file, one waits, one tries",
           together(options, {pair, pair, try_once}), Scenario::Leaves::nothing);
  removing(
      "removed_and_stopped",
      "two remove the file, a third one, stopped anywhere, may have locked what is there no more",
      [options](Run& run) {
        run.participant("A", with(options, pair));
        run.participant("B", with(options, pair));
        Participant& victim = run.participant("C", with(options, try_once));
        run.stop(victim);
      },
      Scenario::Leaves::nothing);
  removing("removed_by_readers", "two readers and a writer, and whoever is last removes the file",
           together(options, {read, read, pair}), Scenario::Leaves::unknown);
  removing(
      "removed_and_killed", "a process that removes the file is killed anywhere while another waits",
      [options](Run& run) {
        Participant& victim = run.participant("A", with(options, pair));
        run.participant("B", with(options, pair));
        run.kill(victim);
      },
      Scenario::Leaves::unknown);
}

// What flock(1) does, which looks neither at records nor at inodes.
void plain(Script& me, Script::Leave how, std::chrono::milliseconds held_for = 0ms) {
  if (!me.plain_flock()) return;
  if (held_for != 0ms) me.sleep(held_for);
  me.plain_unflock(how);
}

void add_foreign(std::vector<Scenario>& all, const Form& form) {
  const Options options = options_of(form);
  Scenario closes = story("beside_flock", "a program that knows only flock(2) takes part, and unlocks by its close",
                          form, [options](Run& run) {
                            run.participant("A", with(options, pair));
                            run.participant("P", [](Script& me) { plain(me, Script::Leave::by_close); });
                          });
  closes.kind.every_close_is_seen = true;
  all.push_back(closes);
  // It goes on after its unlocking: nobody is told, and whoever waits finds out at its next look.
  Scenario unlocks = story("beside_flock_that_unlocks", "a program that knows only flock(2) unlocks before it closes",
                           form, [options](Run& run) {
                             run.participant("A", with(options, pair));
                             run.participant("P", [](Script& me) { plain(me, Script::Leave::by_unlock); });
                           });
  unlocks.kind.every_close_is_seen = true;
  unlocks.wakes_by_events = false;
  all.push_back(unlocks);
  Scenario open =
      story("beside_flock_that_stays", "a program that knows only flock(2) unlocks, and never closes what it has open",
            form, [options](Run& run) {
              run.participant("A", with(options, pair));
              run.participant("P", [](Script& me) { plain(me, Script::Leave::by_unlock_alone, long_enough); });
            });
  open.wakes_by_events = false;
  all.push_back(open);
  // Refused beside such programs: one that had opened the file would lock what is not there any more.
  Options removing = options;
  removing.remove_on_release = true;
  Scenario removed = story("removed_beside_flock",
                           "one asks to remove the file at its release, beside a program that knows only flock(2)",
                           form, [options, removing](Run& run) {
                             run.participant("A", [options, removing](Script& me) {
                               me.use(removing);
                               try {
                                 (void)me.lock();
                               } catch (const LockFailed&) {
                                 me.use(options);
                               }
                               me.pair();
                               me.pair();
                             });
                             run.participant("P", [](Script& me) { plain(me, Script::Leave::by_close); });
                           });
  removed.kind.every_close_is_seen = true;
  all.push_back(removed);
  Scenario killed =
      story("beside_flock_killed", "a program that knows only flock(2) is killed anywhere", form, [options](Run& run) {
        run.participant("A", with(options, pair));
        Participant& victim = run.participant("P", [](Script& me) { plain(me, Script::Leave::by_close); });
        run.kill(victim);
      });
  killed.kind.every_close_is_seen = true;
  all.push_back(killed);
}

}  // namespace

void add_kernel(std::vector<Scenario>& all) {
  static const std::array forms = {
      Form{"byte", "kernel", {}},
      Form{"byte_named", "kernel", {.unnamed_files = false}},
      Form{"flock", "flock", {}},
  };
  for (const Form& form : forms) {
    // Where there are no unnamed files only the making of the file is another.
    if (form.kind.unnamed_files) add_living(all, form);
    add_dying(all, form);
  }
  add_removing(all, forms[0]);
  add_foreign(all, forms[2]);
}

}  // namespace lockfile::simulation
