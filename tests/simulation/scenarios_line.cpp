// The line of processes: nobody sleeps beside a free lock, those who stand enter in order, and nobody is held up for
// longer than is said by one that is killed or stopped. Every story has the oracle of order (line_oracle.hpp).
#include "schemes/kernel/file.hpp"
#include "simulation/scenarios.hpp"

#include <array>
#include <utility>

namespace lockfile::simulation {
namespace {

using namespace std::chrono_literals;
using Stage = std::function<void(Run&)>;

// Of a kernel lock, whose file stays; whoever was stopped may hold it and not know it yet.
bool has_the_byte(Script& me) {
  const auto opened = me.system().open(os::no_directory, "/d/f", os::Open::look, 0);
  if (!opened.ok()) return false;
  const auto locked = me.system().lock_seen(opened.value, schemes::kernel_lock_byte);
  me.system().close(opened.value);
  return locked.ok() && locked.value;
}

// Nobody is held up by those ahead for long, but by whoever holds the lock, W, for as long as it likes.
void pair_in_time(Script& me) {
  if (me.acquire_for(5s)) {
    me.release();
  } else if (me.run().world().peek("d", Run::word) == nullptr && !has_the_byte(me)) {
    me.run().violated(me.self().name + " was held up by others for too long");
  }
}

Stage together(const Form& form, std::vector<std::function<void(Script&)>> scripts) {
  return [form, scripts = std::move(scripts)](Run& run) {
    std::string name = "A";
    for (const auto& each : scripts) {
      run.participant(name, by(form, each));
      ++name[0];
    }
  };
}

// The lock's own file, or that of a lock file, which goes with its hold.
bool stays(const Form& form) { return form.scheme == "kernel" || form.scheme == "shm"; }

Scenario story(const std::string& name, std::string says, const Form& form, Stage set) {
  Options last;
  last.scheme = form.scheme;
  return {.name = name + "/" + form.name,
          .says = std::move(says),
          .set =
              [with_signs = form.scheme == "shm", set = std::move(set)](Run& run) {
                if (with_signs) run.line_oracle().expect_signs();
                set(run);
              },
          .kind = form.kind,
          // A death closes before it unlocks: whoever is first then looks again after 1, 4 and 16 ms, and those behind
          // it sleep meanwhile.
          .wakes_by_events = form.scheme != "kernel",
          .leaves = stays(form) ? Scenario::Leaves::unknown : Scenario::Leaves::nothing_after_doctor,
          .last_caller = last};
}

void add_living(std::vector<Scenario>& all, const Form& form) {
  const auto leaves = stays(form) ? Scenario::Leaves::unknown : Scenario::Leaves::nothing;
  const auto add = [&](const char* name, std::string says, Stage set) {
    Scenario made = story(name, std::move(says), form, std::move(set));
    made.leaves = leaves;
    all.push_back(std::move(made));
  };
  add("line_of_one", "one holds, another waits", together(form, {pair, pair}));
  add("line_of_two", "one holds, two line up", together(form, {pair, pair, pair}));
  add("line_of_readers", "a writer, and two readers line up", together(form, {pair, read, read}));
  add("line_of_a_writer", "a reader, a writer and another reader line up", together(form, {read, pair, read}));
  const auto read_again = [](Script& me) {
    read(me);
    read(me);
  };
  add("line_readers_come_again", "two read twice each, while another waits to write",
      together(form, {read_again, pair, read_again}));
  add("line_greedy", "one takes the lock three times in a row, while another waits",
      together(form, {[](Script& me) {
                        me.pair();
                        me.pair();
                        me.pair();
                      },
                      pair}));
  add("line_is_left", "the last in line leaves it and its object goes, while another comes",
      together(form, {[](Script& me) {
                        me.pair();
                        me.drop_lock();
                      },
                      [](Script& me) {
                        me.pair();
                        me.drop_lock();
                      }}));
  Scenario race = story("line_given_up", "one in line gives up, in time or not; another stands behind it", form,
                        together(form, {pair,
                                        [](Script& me) {
                                          if (me.acquire_for(10ms)) me.release();
                                        },
                                        pair}));
  race.early_ticks = 1;
  race.leaves = leaves;
  all.push_back(std::move(race));
  add("line_and_throughput", "one does not care for the line, and another waits", [form](Run& run) {
    run.line_oracle().allow_overtaking();
    run.participant("A", [form](Script& me) {
      Options options;
      options.scheme = form.scheme;
      options.order = Order::throughput;
      me.use(std::move(options));
      me.pair();
      me.pair();
    });
    run.participant("B", by(form, pair));
  });
}

void add_dying(std::vector<Scenario>& all, const Form& form) {
  all.push_back(
      story("line_killed", "one in line is killed anywhere; another stands behind it", form, [form](Run& run) {
        run.participant("A", by(form, pair));
        Participant& victim = run.participant("B", by(form, pair));
        run.participant("C", by(form, pair));
        run.kill(victim);
      }));
  all.push_back(story("line_holder_killed", "the holder is killed anywhere; two stand in line", form, [form](Run& run) {
    Participant& victim = run.participant("A", by(form, pair));
    run.participant("B", by(form, pair));
    run.participant("C", by(form, pair));
    run.kill(victim);
  }));
  all.push_back(story("line_reader_killed", "a reader in line is killed anywhere; a writer and a reader are there",
                      form, [form](Run& run) {
                        run.participant("A", by(form, pair));
                        Participant& victim = run.participant("B", by(form, read));
                        run.participant("C", by(form, read));
                        run.kill(victim);
                      }));
  all.push_back(story("line_stopped", "one in line is stopped anywhere; another is held up for a while only", form,
                      [form](Run& run) {
                        Participant& victim = run.participant("A", by(form, pair));
                        run.participant("B", by(form, pair));
                        run.stop(victim);
                      }));
  all.push_back(story("line_first_stopped",
                      "whoever is first in line may be stopped there; who is behind enters in time", form,
                      [form](Run& run) {
                        run.participant("A", by(form, pair));
                        Participant& victim = run.participant("B", by(form, pair));
                        run.participant("C", by(form, pair_in_time));
                        run.stop(victim);
                      }));
}

void add_broken(std::vector<Scenario>& all, const Form& form) {
  all.push_back(story("line_broken", "a holder that may be stopped is broken by force, while another waits", form,
                      [form](Run& run) {
                        Participant& victim = run.participant("A", by(form, pair));
                        run.participant("B", by(form, [](Script& me) {
                                          me.pair();
                                          me.pair();
                                        }));
                        run.participant("C", by(form, [](Script& me) { me.break_whoever(); }));
                        run.stop(victim);
                      }));
  all.push_back(
      story("line_lost", "somebody removes the line by hand, while others stand in it", form, [form](Run& run) {
        run.line_oracle().allow_overtaking();
        run.participant("A", by(form, pair));
        run.participant("B", by(form, pair));
        run.participant("C", [](Script& me) {
          for (const std::string& each : me.run().world().peek_list("d")) {
            if (each.ends_with(".line")) {
              (void)me.system().unlink(os::no_directory, (std::string(Run::directory) + "/" + each).c_str());
            }
          }
        });
      }));
  // Whoever sleeps in a line that is lost finds out at its slow look.
  all.back().wakes_by_events = false;
}

}  // namespace

void add_line(std::vector<Scenario>& all) {
  static const std::array in_line = {
      Form{"link", "link", {.lines = true}},
      Form{"mkdir", "mkdir", {.lines = true}},
      Form{"byte", "kernel", {.lines = true}},
      Form{"shm", "shm", {.lines = true}},
  };
  for (const Form& form : in_line) {
    add_living(all, form);
    add_dying(all, form);
  }
  // Only there a release looks at the lock for a sign that somebody waits: one that was left from before, one that is
  // given meanwhile.
  all.push_back(story("line_of_three", "two wait for each other, then a third comes, and each takes the lock twice",
                      in_line[3], [](Run& run) {
                        const Form& form = in_line[3];
                        for (const char* const name : {"A", "B", "C"}) {
                          run.participant(name, by(form, [](Script& me) {
                                            me.pair();
                                            me.pair();
                                          }));
                        }
                      }));
  const Form named{"link_named", "link", {.unnamed_files = false, .lines = true}};
  add_living(all, named);
  add_broken(all, in_line[0]);
  add_broken(all, in_line[1]);
  add_broken(all, in_line[3]);
}

}  // namespace lockfile::simulation
