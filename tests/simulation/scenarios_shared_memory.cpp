// Shared memory: the lock word names its holder, and marks in slots are the readers. Deaths, stops and breaks anywhere;
// numbers of processes that come again; files of an earlier boot; what strangers write.
#include "schemes/shared_memory/layout.hpp"
#include "simulation/scenarios.hpp"

namespace lockfile::simulation {
namespace {

using namespace std::chrono_literals;
namespace shm = schemes::shared_memory;

Options in_memory() { return {.scheme = "shm"}; }

std::function<void(Script&)> with(std::function<void(Script&)> script) {
  return [script = std::move(script)](Script& me) {
    me.use(in_memory());
    script(me);
  };
}

void twice(Script& me) {
  me.pair();
  me.pair();
}

void read_twice(Script& me) {
  read(me);
  me.pair();
}

void read_and_write(Script& me) {
  read(me);
  me.in_mode(Mode::exclusive);
  me.pair();
}

// The short ways: as a reader, as a writer after readers, as a writer.
void in_turns(Script& me) {
  read_twice(me);
  me.in_mode(Mode::exclusive);
  twice(me);
}

void acquire_and_end(Script& me) { (void)me.acquire_and_keep(); }

using Stage = std::function<void(Run&, Host&)>;

// The file is there before, so that what is explored is the lock; or it is not, and its making is explored too.
enum class Begins : std::uint8_t { with_a_file, with_nothing };

Scenario story(const std::string& name, std::string says, Begins begins, Stage set) {
  return {.name = "shm_" + name,
          .says = std::move(says),
          .set =
              [begins, set = std::move(set)](Run& run) {
                Host& here = run.host();
                if (begins == Begins::with_a_file) {
                  run.earlier(run.process(here, "maker"), "maker", with(pair), Run::Then::lives_on);
                }
                set(run, here);
              },
          .wakes_by_events = false,
          .leaves = Scenario::Leaves::unknown,
          .last_caller = in_memory()};
}

Stage together(std::vector<std::function<void(Script&)>> scripts) {
  return [scripts = std::move(scripts)](Run& run, Host& here) {
    char name = 'A';
    for (const auto& each : scripts) {
      run.participant(run.process(here, std::string(1, name)), std::string(1, name), with(each));
      ++name;
    }
  };
}

void add_living(std::vector<Scenario>& all) {
  constexpr auto file = Begins::with_a_file;
  all.push_back(story("two_make_it", "two processes try once each, and one of them makes the file",
                      Begins::with_nothing, together({try_once, try_once})));
  all.push_back(story("two_try", "two processes try once each", file, together({try_once, try_once})));
  all.push_back(story("two_wait", "two processes wait for each other", file, together({pair, pair})));
  all.push_back(story("three_wait", "three processes wait for each other", file, together({pair, pair, pair})));
  all.push_back(story("twice", "a process takes the lock twice with a kept slot, while another waits", file,
                      together({twice, pair})));
  all.push_back(story("two_read", "two readers come and go", file, together({read, read})));
  all.push_back(story("reader_and_writer", "a reader and a writer wait for each other", file, together({read, pair})));
  all.push_back(story("two_readers_and_a_writer", "two readers and a writer wait for each other", file,
                      together({read, read, pair})));
  all.push_back(story("reader_and_two_writers", "a reader and two writers wait for each other", file,
                      together({read, pair, pair})));
  all.push_back(story("reader_comes_again", "a reader comes twice, with a kept slot, while a writer waits", file,
                      together({read_twice, pair})));
  all.push_back(story("reader_comes_to_write", "a reader comes to write, with a kept slot, beside a reader", file,
                      together({read_and_write, read})));
  all.push_back(story("modes_in_turns", "a process reads and writes in turns, with a kept slot, beside a reader", file,
                      together({in_turns, read_twice})));
  all.push_back(
      story("reader_and_trying_writer", "a reader, and a writer that only tries", file, together({read, try_once})));
}

// As many lock objects have used the file as it has room for: whoever comes now enlarges it.
Stage in_a_full_file(Stage set) {
  return [set = std::move(set)](Run& run, Host& here) {
    run.earlier(run.process(here, "crowd"), "crowd", with([](Script& me) {
                  for (std::uint64_t i = 1; i < shm::first_slots; ++i) {  // and the maker's
                    me.pair();
                    me.run().keep(me.kept());
                    me.drop_lock();
                  }
                }),
                Run::Then::lives_on);
    set(run, here);
  };
}

void add_growing(std::vector<Scenario>& all) {
  constexpr auto file = Begins::with_a_file;
  const auto look = [](Script& me) { (void)me.look(); };
  all.push_back(story("grows_under_a_look", "a process for which there is no room takes the lock, and another looks",
                      file, in_a_full_file(together({pair, look}))));
  all.push_back(story("grows_and_is_killed", "a process is killed anywhere while it makes room; another comes", file,
                      in_a_full_file([](Run& run, Host& here) {
                        Participant& victim = run.participant(run.process(here, "A"), "A", with(pair));
                        run.participant(run.process(here, "B"), "B", with(pair));
                        run.kill(victim);
                      })));
}

void add_dying(std::vector<Scenario>& all) {
  const auto killed = [&](const char* name, const char* says, Begins begins, std::function<void(Script&)> victims,
                          std::vector<std::function<void(Script&)>> others) {
    all.push_back(story(name, says, begins, [victims, others](Run& run, Host& here) {
      Participant& victim = run.participant(run.process(here, "A"), "A", with(victims));
      char letter = 'B';
      for (const auto& each : others) {
        run.participant(run.process(here, std::string(1, letter)), std::string(1, letter), with(each));
        ++letter;
      }
      run.kill(victim);
    }));
  };
  constexpr auto file = Begins::with_a_file;
  killed("maker_killed", "a process is killed anywhere while it makes the file and holds; another comes",
         Begins::with_nothing, pair, {pair});
  killed("killed", "a process is killed anywhere while another waits for it", file, pair, {pair});
  killed("killed_before_two", "a process is killed anywhere, and two are there to clear it away", file, pair,
         {pair, try_once});
  killed("reader_killed", "one of two readers is killed anywhere, and a writer waits", file, read, {read, pair});
  killed("writer_killed_beside_reader", "a writer is killed anywhere beside a reader, with the door closed too", file,
         pair, {read});
  killed("killed_in_turns", "a process that takes the lock twice is killed anywhere", file, twice, {pair});
  killed("killed_between_modes", "a process that reads and writes in turns is killed anywhere", file, in_turns, {pair});

  all.push_back(
      story("pid_reused", "a holder is killed and its number is another process's", file, [](Run& run, Host& here) {
        Participant& victim = run.participant(run.process(here, "A"), "A", with(acquire_and_end));
        run.participant(run.process(here, "B"), "B", with(pair));
        run.kill_and_reuse_pid(victim);
      }));
  all.push_back(story("holder_of_another_space_killed", "a holder in another pid namespace is killed", file,
                      [](Run& run, Host& here) {
                        SimulatedProcess& there = run.process(here, "A", 2, 7);
                        SimulatedProcess& same_pid = run.process(here, "B", 1, 7);
                        Participant& victim = run.participant(there, "A", with(pair));
                        run.participant(same_pid, "B", with(pair));
                        run.kill(victim);
                      }));
  all.push_back(
      story("stopped", "a process is stopped anywhere; the other keeps to its time", file, [](Run& run, Host& here) {
        Participant& victim = run.participant(run.process(here, "A"), "A", with(pair));
        run.participant(run.process(here, "B"), "B", with([](Script& me) {
                          if (me.acquire_for(10ms)) me.release();
                        }));
        run.stop(victim);
      }));
  all.push_back(story("forked", "a holder forks anywhere without the handlers, its child stays, and it is killed", file,
                      [](Run& run, Host& here) {
                        Participant& victim = run.participant(run.process(here, "A"), "A", with(pair));
                        run.participant(run.process(here, "B"), "B", with(pair));
                        run.fork(victim, true);
                        run.kill(victim);
                      }));
}

void add_breaking(std::vector<Scenario>& all) {
  constexpr auto file = Begins::with_a_file;
  all.push_back(story("broken", "a hold that was looked at is broken, and only that", file,
                      together({twice, [](Script& me) { me.look_and_break(); }})));
  all.push_back(story("broken_beside_a_waiter", "whoever holds is broken while another waits", file,
                      together({pair, pair, [](Script& me) { me.break_whoever(); }})));
  all.push_back(
      story("broken_and_taken", "whoever breaks a hold takes the lock itself", file, together({pair, [](Script& me) {
                                                                                                 me.break_whoever();
                                                                                                 try_once(me);
                                                                                               }})));
  all.push_back(story("reader_broken", "a reader is broken beside another", file,
                      together({read, read, [](Script& me) { me.look_and_break(); }})));
  all.push_back(story("broken_writer_beside_reader", "a writer is broken anywhere beside a reader", file,
                      together({pair, read, [](Script& me) { me.look_and_break(); }})));
  all.push_back(
      story("stale_break", "two break what a dead holder left, while another takes it", file, [](Run& run, Host& here) {
        run.earlier(run.process(here, "dead"), "dead", with(acquire_and_end), Run::Then::dies);
        for (const char* name : {"A", "B"})
          run.participant(run.process(here, name), name, with([](Script& me) { me.break_stale(); }));
        run.participant(run.process(here, "C"), "C", with(pair));
      }));
}

void add_earlier(std::vector<Scenario>& all) {
  all.push_back(story("earlier_boot", "two come to a file whose holder a power cut ended", Begins::with_nothing,
                      [](Run& run, Host& here) {
                        run.earlier(run.process(here, "dead"), "dead", with(acquire_and_end), Run::Then::lives_on);
                        run.power_cut_now(here);
                        for (const char* name : {"A", "B"}) {
                          run.participant(run.process(here, name), name, with(pair));
                        }
                      }));
  all.push_back(story("earlier_boot_killed", "who sets back a file of an earlier boot is killed anywhere",
                      Begins::with_nothing, [](Run& run, Host& here) {
                        run.earlier(run.process(here, "dead"), "dead", with(acquire_and_end), Run::Then::lives_on);
                        run.power_cut_now(here);
                        Participant& victim = run.participant(run.process(here, "A"), "A", with(pair));
                        run.participant(run.process(here, "B"), "B", with(pair));
                        run.kill(victim);
                      }));
}

}  // namespace

void add_shared_memory(std::vector<Scenario>& all) {
  add_living(all);
  add_growing(all);
  add_dying(all);
  add_breaking(all);
  add_earlier(all);
}

}  // namespace lockfile::simulation
