// Stories made for the wrong variants: each is the shortest known one in which one particular mistake shows. The right
// code goes through all of them without a fault.
#include "simulation/scenarios.hpp"

#include "claim/guard.hpp"

#include <utility>

namespace lockfile::simulation {

using namespace std::chrono_literals;

namespace {

// Nobody holds, or soon nobody will: whoever waits this long is granted the lock.
void must_enter(Script& me) {
  if (me.acquire_for(50ms)) {
    me.release();
  } else {
    me.run().violated(me.self().name + " gave up waiting for a lock that nobody held");
  }
}

void use_kept_lock(Script& me) {
  const auto kept = me.make_lock();
  me.share_lock(kept);
  me.run().keep(kept);
}

// A program that creates the lock file for itself, as lockfile(1) and dotlockfile(1) do, and removes it again.
void use_own_file(Script& me, std::string_view bytes) {
  os::System& system = me.system();
  Oracle& oracle = me.run().oracle();
  const auto made = system.open(os::no_directory, "/d/f.lock", os::Open::create, 0644);
  if (!made.ok()) return;
  const Process& own = me.self().process->process;
  me.run().violated(oracle.granted(me.self(), Mode::exclusive, own.id, own.pid, me.run().steps(), true));
  if (!bytes.empty()) (void)system.write(made.value, bytes, 0);
  system.close(made.value);
  me.pause();
  oracle.release_begins(me.self());
  const os::Status removed = system.unlink(os::no_directory, "/d/f.lock");
  me.run().violated(oracle.released(me.self(), removed != 0, false));
}

// Clears what looks left over, as a cleaner of temporary files does.
void clear_side_names(Script& me) {
  os::System& system = me.system();
  const auto directory = system.open(os::no_directory, "/d", os::Open::directory, 0);
  if (!directory.ok()) return;
  for (const std::string& name : system.list(directory.value).value) {
    if (name.starts_with("f.lock.")) (void)system.unlink(directory.value, name.c_str());
  }
  system.close(directory.value);
}

// A bare clone, which runs none of our code: the child has every descriptor.
void fork(Script& me) { (void)me.run().world().fork(me.self().process->process); }

// The first step of the release of a first hold.
void lock_own_remove(Script& me) {
  for (const auto& [number, description] : me.self().process->process.descriptors) {
    if (description->kind != Description::Kind::file || !description->writable) continue;
    (void)me.system().try_lock(number, claim::remove_byte(1));
  }
}

// Is somebody else known to hold?
bool another_holds(Script& me) {
  const Hold* const live = me.run().oracle().live_hold();
  return live != nullptr && live->by != &me.self();
}

void hold_and_ask(Script& me) {
  if (!me.acquire()) return;
  (void)me.look();
  const bool another = another_holds(me);
  if (me.i_am_locking() && another && another_holds(me)) {
    me.run().violated(me.self().name + " was told that it holds a lock that it had lost");
  }
  me.release();
}

void hold_and_enter_again(Script& me) {
  if (!me.acquire()) return;
  (void)me.look();
  const bool another = another_holds(me);
  std::error_code error;
  const bool again = me.lock().acquire(0ms, error);
  if (again && another && another_holds(me)) {
    me.run().violated(me.self().name + " entered a hold again that it had lost");
  }
  if (again) me.lock().release(error);
  me.release();
}

void add_waits(std::vector<Scenario>& all, const Form& form) {
  const auto named = [&](const char* name) { return std::string(name) + "/" + form.name; };
  all.push_back({.name = named("kept_claims_handed_on"),
                 .says = "three processes wait for each other, and keep their claims when they have ended",
                 .set =
                     [form](Run& run) {
                       for (const char* name : {"A", "B", "C"}) {
                         run.participant(name, by(form, [](Script& me) {
                                           use_kept_lock(me);
                                           me.pair();
                                         }));
                       }
                     },
                 .kind = form.kind,
                 .leaves = Scenario::Leaves::unknown});
  all.push_back({.name = named("claim_made_anew"),
                 .says = "one process takes the lock twice, each time with a new claim; another waits",
                 .set =
                     [form](Run& run) {
                       run.participant("A", by(form, [](Script& me) {
                                         me.pair();
                                         me.drop_lock();
                                         me.pair();
                                       }));
                       run.participant("B", by(form, pair));
                     },
                 .kind = form.kind,
                 .leaves = Scenario::Leaves::nothing});
  all.push_back({.name = named("kept_claim_released"),
                 .says = "one process releases and keeps its claim; another waits",
                 .set =
                     [form](Run& run) {
                       run.participant("A", by(form, [](Script& me) {
                                         use_kept_lock(me);
                                         me.pair();
                                       }));
                       run.participant("B", by(form, pair));
                     },
                 .kind = form.kind,
                 .leaves = Scenario::Leaves::unknown});
  const auto two_threads = [&](const char* title, const char* says, const char* other_path,
                               const std::function<void(Run&, SimulatedProcess&)>& ends) {
    all.push_back({.name = named(title),
                   .says = says,
                   .set =
                       [form, other_path, ends](Run& run) {
                         Host& here = run.host();
                         SimulatedProcess& holder = run.process(here, "H");
                         run.earlier(holder, "H", by(form, [](Script& me) { me.acquire_and_keep(); }),
                                     Run::Then::lives_on);
                         SimulatedProcess& both = run.process(here, "AB");
                         for (const auto& [name, path] : {std::pair{"A", "/d/f"}, std::pair{"B", other_path}}) {
                           run.participant(both, name, [form, path = path](Script& me) {
                             Options options;
                             options.scheme = form.scheme;
                             me.share_lock(std::make_shared<FileLock>(path, options));
                             me.pair();
                           });
                         }
                         ends(run, holder);
                       },
                   .kind = form.kind,
                   .leaves = Scenario::Leaves::unknown});
  };
  two_threads("two_threads_in_line", "two threads of a process wait in line for a holder, which is killed anywhere",
              "/d/f", [](Run& run, SimulatedProcess& holder) { run.kill_process(holder); });
  two_threads(
      "two_threads_two_spellings",
      "two threads wait in two lines, for two spellings of a path, and share the events of a forced break", "/d/./f",
      [form](Run& run, SimulatedProcess&) { run.participant("C", by(form, [](Script& me) { me.look_and_break(); })); });
  FileSystemKind without_notices = form.kind;
  without_notices.notices = false;
  all.push_back({.name = named("timed_without_notices"),
                 .says = "one process holds for ever; another gives up in time, and no event can be had",
                 .set =
                     [form](Run& run) {
                       run.earlier(run.process(run.host(), "H"), "H",
                                   by(form, [](Script& me) { me.acquire_and_keep(); }), Run::Then::lives_on);
                       run.participant("A", by(form, [](Script& me) { me.acquire_for(10ms); }));
                     },
                 .kind = without_notices,
                 .wakes_by_events = false,
                 .leaves = Scenario::Leaves::unknown});
}

void add_breaks_and_looks(std::vector<Scenario>& all, const Form& form) {
  const auto named = [&](const char* name) { return std::string(name) + "/" + form.name; };
  all.push_back({.name = named("looker_stopped"),
                 .says = "a process that only asks who holds is stopped anywhere; the holder comes back for the lock",
                 .set =
                     [form](Run& run) {
                       run.participant("A", by(form, [](Script& me) {
                                         me.pair();
                                         must_enter(me);
                                       }));
                       Participant& b = run.participant("B", by(form, [](Script& me) { (void)me.look(); }));
                       run.stop(b);
                     },
                 .kind = form.kind});
  all.push_back({.name = named("breaker_killed_after_a_fork"),
                 .says = "a holder forks, by a bare clone, and releases; one who breaks it by force is killed anywhere",
                 .set =
                     [form](Run& run) {
                       run.participant("A", by(form, [](Script& me) {
                                         if (!me.acquire()) return;
                                         me.pause();
                                         fork(me);
                                         me.release();
                                       }));
                       Participant& b = run.participant("B", by(form, [](Script& me) { me.look_and_break(); }));
                       run.kill(b);
                     },
                 .kind = form.kind,
                 .leaves = Scenario::Leaves::unknown});
  all.push_back({.name = named("forced_break_of_a_second_hold"),
                 .says = "a claim stands for its second hold, which is broken by force",
                 .set =
                     [form](Run& run) {
                       run.earlier(run.process(run.host(), "H"), "H",
                                   by(form,
                                      [](Script& me) {
                                        me.pair();
                                        me.acquire_and_keep();
                                      }),
                                   Run::Then::lives_on);
                       run.participant("A", by(form, [](Script& me) {
                                         me.look_and_break();
                                         must_enter(me);
                                       }));
                     },
                 .kind = form.kind,
                 .leaves = Scenario::Leaves::unknown});
  all.push_back({.name = named("forced_break_of_nothing"),
                 .says = "a hold is broken by force after it was released",
                 .set =
                     [form](Run& run) {
                       run.participant("A", by(form, [](Script& me) {
                                         if (!me.acquire()) return;
                                         const auto hold = me.look();
                                         me.release();
                                         std::error_code error;
                                         if (hold && me.lock().break_lock(*hold, error)) {
                                           me.run().violated("A was told that it broke a lock that nobody held");
                                         }
                                       }));
                     },
                 .kind = form.kind});
  all.push_back({.name = named("forced_break_of_a_claim_made_anew"),
                 .says = "one process holds twice, each time with a new claim; another breaks the hold that it saw",
                 .set =
                     [form](Run& run) {
                       run.participant("A", by(form, [](Script& me) {
                                         me.pair();
                                         me.drop_lock();
                                         me.pair();
                                       }));
                       run.participant("B", by(form, [](Script& me) { me.look_and_break(); }));
                     },
                 .kind = form.kind});
  all.push_back(
      {.name = named("broken_holder_asks"),
       .says = "a holder is broken by force, the breaker acquires, and the holder asks whether it still holds",
       .set =
           [form](Run& run) {
             run.participant("A", by(form, hold_and_ask));
             run.participant("B", by(form, [](Script& me) {
                               me.look_and_break();
                               if (me.try_acquire()) me.release();
                             }));
           },
       .kind = form.kind});
  all.push_back({.name = named("broken_holder_enters_again"),
                 .says = "a holder is broken by force, the breaker acquires, and the holder enters its hold again",
                 .set =
                     [form](Run& run) {
                       run.participant("A", by(form, hold_and_enter_again));
                       run.participant("B", by(form, [](Script& me) {
                                         me.look_and_break();
                                         if (me.try_acquire()) me.release();
                                       }));
                     },
                 .kind = form.kind});
}

void add_strangers(std::vector<Scenario>& all, const Form& form) {
  const auto named = [&](const char* name) { return std::string(name) + "/" + form.name; };
  const auto beside_a_file = [&](const char* name, const char* says, std::string_view bytes) {
    all.push_back({.name = named(name),
                   .says = says,
                   .set =
                       [form, bytes](Run& run) {
                         run.participant("A", by(form, pair));
                         run.participant("P", [bytes](Script& me) { use_own_file(me, bytes); });
                       },
                   .kind = form.kind,
                   .leaves = Scenario::Leaves::nothing});
  };
  beside_a_file("file_of_another_program", "a program that creates the lock file with its pid takes part", "4711\n");
  beside_a_file("empty_file_of_another_program", "a program that creates an empty lock file takes part", "");
  beside_a_file("record_of_a_newer_version", "a program with a later version of the record takes part",
                "lockfile 3\nwho knows\n");
  all.push_back({.name = named("side_names_cleared"),
                 .says = "a process keeps its claim between two holds, and what looks left over is cleared meanwhile",
                 .set =
                     [form](Run& run) {
                       run.participant("A", by(form, [](Script& me) {
                                         me.pair();
                                         clear_side_names(me);
                                         me.pair();
                                       }));
                     },
                 .kind = form.kind});
}

void add_judging(std::vector<Scenario>& all, const Form& form) {
  const auto named = [&](const char* name) { return std::string(name) + "/" + form.name; };
  const auto after_a_death = [&](const char* name, const char* says, Run::Then then,
                                 const std::function<void(Script&)>& before) {
    all.push_back({.name = named(name),
                   .says = says,
                   .set =
                       [form, then, before](Run& run) {
                         run.earlier(run.process(run.host(), "H"), "H",
                                     by(form,
                                        [before](Script& me) {
                                          me.acquire_and_keep();
                                          if (before) before(me);
                                        }),
                                     then);
                         run.participant("A", by(form, try_once));
                       },
                   .kind = form.kind});
  };
  after_a_death("dead_holder", "a holder has died, and its parent has not waited for it", Run::Then::dies, {});
  after_a_death("dead_holder_pid_reused", "a holder has died, and its pid is another's",
                Run::Then::dies_and_pid_is_reused, {});
  after_a_death("dead_holder_forked", "a holder has died; a forked child of it lives on with its descriptors",
                Run::Then::dies, fork);
  all.push_back({.name = named("dead_in_its_release"),
                 .says = "a holder has died when its release had REMOVE, and its forked child keeps that; two try",
                 .set =
                     [form](Run& run) {
                       run.earlier(run.process(run.host(), "H"), "H",
                                   by(form,
                                      [](Script& me) {
                                        me.acquire_and_keep();
                                        lock_own_remove(me);
                                        fork(me);
                                      }),
                                   Run::Then::dies);
                       run.participant("A", by(form, try_once));
                       run.participant("B", by(form, try_once));
                     },
                 .kind = form.kind});
  all.push_back({.name = named("two_pid_namespaces"),
                 .says = "two processes with one pid in two pid namespaces try once each",
                 .set =
                     [form](Run& run) {
                       Host& here = run.host();
                       run.participant(run.process(here, "A", 1, 7), "A", by(form, try_once));
                       run.participant(run.process(here, "B", 2, 7), "B", by(form, try_once));
                     },
                 .kind = form.kind,
                 .leaves = Scenario::Leaves::nothing});
  all.push_back({.name = named("dead_holder_and_a_new_claim"),
                 .says = "a holder has died; one removes it and makes a new claim, while another breaks stale locks",
                 .set =
                     [form](Run& run) {
                       SimulatedProcess& holder = run.process(run.host(), "H");
                       run.earlier(holder, "H", by(form, [](Script& me) { me.acquire_and_keep(); }), Run::Then::dies);
                       run.participant("A", by(form, [](Script& me) { me.break_stale(); }));
                       run.participant("B", by(form, [](Script& me) {
                                         use_kept_lock(me);
                                         me.break_stale();
                                         me.share_lock(me.make_lock());
                                         me.pair();
                                       }));
                     },
                 .kind = form.kind,
                 .leaves = Scenario::Leaves::unknown});
  all.push_back({.name = named("swept_after_a_power_cut"),
                 .says = "the power failed while a process held; the doctor comes first, then a caller",
                 .set =
                     [form](Run& run) {
                       Host& here = run.host();
                       SimulatedProcess& holder = run.process(here, "H");
                       run.earlier(holder, "H", by(form, [](Script& me) { me.acquire_and_keep(); }),
                                   Run::Then::lives_on);
                       run.oracle().died(holder.process.id);
                       run.world().power_cut(here);
                       run.participant("A", by(form, [](Script& me) {
                                         me.clean();
                                         pair(me);
                                       }));
                     },
                 .kind = form.kind,
                 .leaves = Scenario::Leaves::unknown});
}

// A server that has dropped one client's byte locks: what the record says of its host is all that is left.
void add_hosts(std::vector<Scenario>& all, const Form& form) {
  const auto add = [&](const char* name, const char* says, const char* here, const char* there, const char* boot) {
    all.push_back({.name = std::string(name) + "/" + form.name,
                   .says = says,
                   .set =
                       [=](Run& run) {
                         Host& first = run.host(here);
                         Host& second = run.host(there);
                         second.boot = boot;
                         if (first.name != second.name) first.boot = boot;
                         run.participant(run.process(first, "A", 1, 7), "A", by(form, try_once));
                         run.participant(run.process(second, "B", 1, 8), "B", by(form, try_once));
                         run.server_drops_locks(first);
                       },
                   .kind = {.network = true},
                   .wakes_by_events = false,
                   .leaves = Scenario::Leaves::unknown});
  };
  add("hosts_of_one_name", "two hosts of one name; the server drops the byte locks of one", "clone", "clone",
      "another");
  add("hosts_of_one_boot", "two hosts with one boot id, resumed from one snapshot; the server drops the locks of one",
      "here", "there", "one");
  all.push_back(
      {.name = "forced_break_of_a_claim_made_anew/" + form.name + "_network",
       .says = "one host holds twice, with two claims; another breaks the hold that it saw, and tries to acquire",
       .set =
           [form](Run& run) {
             run.participant(run.process(run.host("here"), "A"), "A", by(form, [](Script& me) {
                               me.pair();
                               me.drop_lock();
                               me.pair();
                             }));
             run.participant(run.process(run.host("there"), "B"), "B", by(form, [](Script& me) {
                               me.look_and_break();
                               if (me.try_acquire()) me.release();
                             }));
           },
       .kind = {.network = true},
       .wakes_by_events = false,
       .leaves = Scenario::Leaves::unknown});
}

void add_plain_mkdir(std::vector<Scenario>& all, const Form& form) {
  const auto plain = [](Script& me) {
    if (me.plain_mkdir()) me.plain_rmdir();
  };
  all.push_back({.name = "mkdir_locker_turns_plain/" + form.name,
                 .says = "two processes wait for each other; one of them then goes on as one that knows only mkdir",
                 .set =
                     [form, plain](Run& run) {
                       run.participant("A", by(form, pair));
                       run.participant("P", by(form, [plain](Script& me) {
                                         me.pair();
                                         plain(me);
                                       }));
                     },
                 .kind = form.kind,
                 .leaves = Scenario::Leaves::nothing});
  const auto vacant = [](Run& run, Host& here) {
    Process& long_gone = run.world().add_process(here, "long gone");
    (void)run.world().make_directory(long_gone, run.world().root().entries.find("d")->second, "f.lock",
                                     0777 | os::sticky);
  };
  all.push_back({.name = "maker_turns_plain/" + form.name,
                 .says = "two processes try; one of them then goes on as one that knows only mkdir",
                 .set =
                     [form, plain](Run& run) {
                       run.participant("A", by(form, try_once));
                       run.participant("P", by(form, [plain](Script& me) {
                                         try_once(me);
                                         plain(me);
                                       }));
                     },
                 .kind = form.kind,
                 .leaves = Scenario::Leaves::nothing});
  all.push_back({.name = "mover_broken_twice/" + form.name,
                 .says = "a vacant directory stands; one process moves in, another breaks the hold that it saw twice",
                 .set =
                     [form, vacant](Run& run) {
                       Host& here = run.host();
                       vacant(run, here);
                       run.participant(run.process(here, "A"), "A", by(form, try_once));
                       run.participant(run.process(here, "B"), "B", by(form, [](Script& me) {
                                         const auto seen = me.look();
                                         const std::size_t at = me.run().steps();
                                         if (!seen) return;
                                         me.break_this(*seen, at);
                                         me.break_this(*seen, at);
                                       }));
                     },
                 .kind = form.kind});
  all.push_back({.name = "two_breaks_of_a_mover/" + form.name,
                 .says = "a vacant directory stands; one process moves in, two break by force whoever holds",
                 .set =
                     [form, vacant](Run& run) {
                       Host& here = run.host();
                       vacant(run, here);
                       run.participant(run.process(here, "A"), "A", by(form, pair));
                       for (const char* name : {"B", "C"}) {
                         run.participant(run.process(here, name), name,
                                         by(form, [](Script& me) { me.break_whoever(); }));
                       }
                     },
                 .kind = form.kind});
}

}  // namespace

void add_findings(std::vector<Scenario>& all) {
  for (const Form& form : main_forms()) {
    add_waits(all, form);
    add_breaks_and_looks(all, form);
    add_judging(all, form);
  }
  add_strangers(all, main_forms()[0]);
  add_hosts(all, main_forms()[0]);
  for (const Form& form : forms()) {
    all.push_back({.name = "killed_alone/" + form.name,
                   .says = "a process is killed anywhere while nobody else is there",
                   .set =
                       [form](Run& run) {
                         Participant& a = run.participant("A", by(form, [](Script& me) {
                                                            me.pair();
                                                            me.pair();
                                                          }));
                         run.kill(a);
                       },
                   .kind = form.kind});
    if (form.scheme == "mkdir") add_plain_mkdir(all, form);
  }
}

}  // namespace lockfile::simulation
