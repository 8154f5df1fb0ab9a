// Fences: whoever is told a number is told a larger one than everybody who held before, whatever happens to whom and
// wherever: deaths, forced breaks, power cuts that take the names with them.
#include "simulation/scenarios.hpp"

#include <cerrno>

namespace lockfile::simulation {
namespace {

using namespace std::chrono_literals;

std::function<void(Script&)> fenced(const Form& form, std::function<void(Script&)> script) {
  return [scheme = form.scheme, script = std::move(script)](Script& me) {
    Options options;
    options.scheme = scheme;
    options.fence = true;
    me.use(options);
    script(me);
  };
}

// Somebody has been there before, so that there is a last number.
void begin_with_a_number(Run& run, const Form& form) {
  SimulatedProcess& first = run.process(run.host(), "H");
  run.earlier(first, "H",
              fenced(form,
                     [](Script& me) {
                       me.pair();
                       me.drop_lock();
                     }),
              Run::Then::dies);
}

void break_and_hold_twice(Script& me) {
  me.look_and_break();
  me.pair();
  me.pair();
}

FileSystemKind that_forgets_names(FileSystemKind kind) {
  kind.forgets_names = true;
  return kind;
}

}  // namespace

void add_fences(std::vector<Scenario>& all) {
  const auto two_pairs = [](Script& me) {
    me.pair();
    me.pair();
  };
  for (const Form& form : forms()) {
    const auto named = [&](const char* name) { return std::string(name) + "/" + form.name; };
    all.push_back({.name = named("fences_holder_killed"),
                   .says = "a process is killed anywhere, also while it takes its fence; another comes",
                   .set =
                       [form](Run& run) {
                         Participant& a = run.participant("A", fenced(form, pair));
                         run.participant("B", fenced(form, pair));
                         run.kill(a);
                       },
                   .kind = form.kind,
                   .fenced = true});
  }
  for (const Form& form : main_forms()) {
    const auto named = [&](const char* name) { return std::string(name) + "/" + form.name; };
    all.push_back({.name = named("fences_of_two"),
                   .says = "two processes ask for fences; there is no last number yet",
                   .set =
                       [form](Run& run) {
                         run.participant("A", fenced(form, pair));
                         run.participant("B", fenced(form, pair));
                       },
                   .kind = form.kind,
                   .leaves = Scenario::Leaves::nothing,
                   .fenced = true});
    all.push_back({.name = named("fences_holder_broken"),
                   .says = "a hold is broken by force, also while it takes its fence, and its breaker holds twice",
                   .set =
                       [form](Run& run) {
                         begin_with_a_number(run, form);
                         run.participant("A", fenced(form, [](Script& me) { me.acquire_and_keep(); }));
                         run.participant("B", fenced(form, break_and_hold_twice));
                       },
                   .kind = form.kind,
                   .leaves = Scenario::Leaves::unknown,
                   .fenced = true});
    all.push_back({.name = named("fences_power_cut"),
                   .says = "a power cut takes what was done to directories since they were synced",
                   .set =
                       [form, two_pairs](Run& run) {
                         Host& here = run.host();
                         SimulatedProcess& a = run.process(here, "A");
                         run.participant(a, "A", fenced(form, two_pairs));
                         run.participant("B", fenced(form, pair));
                         run.power_cut(here);
                       },
                   .kind = that_forgets_names(form.kind),
                   .fenced = true});
    all.push_back({.name = named("fences_power_cut_and_names_stay"),
                   .says = "a power cut takes bytes that were not synced, and leaves every name",
                   .set =
                       [form](Run& run) {
                         Host& here = run.host();
                         SimulatedProcess& a = run.process(here, "A");
                         run.participant(a, "A", fenced(form, pair));
                         run.participant("B", fenced(form, pair));
                         run.power_cut(here);
                       },
                   .kind = form.kind,
                   .fenced = true});
    all.push_back(
        {.name = named("fences_of_the_first_two_broken"),
         .says = "there is no last number yet, and the first hold is broken by force while it takes its fence",
         .set =
             [form](Run& run) {
               run.participant("A", fenced(form, pair));
               run.participant("B", fenced(form, break_and_hold_twice));
             },
         .kind = form.kind,
         .fenced = true});
    all.push_back({.name = named("fences_breaker_killed"),
                   .says = "a process that breaks by force is killed anywhere, while others take fences",
                   .set =
                       [form, two_pairs](Run& run) {
                         begin_with_a_number(run, form);
                         run.participant("A", fenced(form, two_pairs));
                         Participant& b = run.participant("B", fenced(form, [](Script& me) { me.look_and_break(); }));
                         run.kill(b);
                       },
                   .kind = form.kind,
                   .fenced = true});
    all.push_back({.name = named("fences_breaker_stopped"),
                   .says = "a process that breaks by force is stopped anywhere: nobody waits for it longer than told",
                   .set =
                       [form](Run& run) {
                         begin_with_a_number(run, form);
                         run.participant("A", fenced(form, [](Script& me) {
                                           if (me.acquire_for(50ms)) me.release();
                                           if (me.acquire_for(50ms)) me.release();
                                         }));
                         Participant& b = run.participant("B", fenced(form, [](Script& me) { me.look_and_break(); }));
                         run.stop(b);
                       },
                   .kind = form.kind,
                   .fenced = true});
    all.push_back({.name = named("fences_holder_forks"),
                   .says = "a process is killed anywhere and leaves a child that has copies of its descriptors",
                   .set =
                       [form](Run& run) {
                         begin_with_a_number(run, form);
                         Participant& a = run.participant("A", fenced(form, pair));
                         run.participant("B", fenced(form, pair));
                         run.fork(a, true);
                         run.kill(a);
                       },
                   .kind = form.kind,
                   .leaves = Scenario::Leaves::unknown,
                   .fenced = true});
    all.push_back({.name = named("fences_holder_stopped"),
                   .says = "a process is stopped anywhere, broken by force meanwhile, and goes on much later",
                   .set =
                       [form](Run& run) {
                         begin_with_a_number(run, form);
                         Participant& a = run.participant("A", fenced(form, [](Script& me) { me.acquire_and_keep(); }));
                         run.participant("B", fenced(form, [](Script& me) {
                                           me.look_and_break();
                                           if (me.acquire_for(50ms)) me.release();
                                           if (me.acquire_for(50ms)) me.release();
                                         }));
                         run.stop(a);
                       },
                   .kind = form.kind,
                   .leaves = Scenario::Leaves::unknown,
                   .fenced = true});
    all.push_back({.name = named("fences_call_fails"),
                   .says = "any one call of a process that takes fences fails",
                   .set =
                       [form, two_pairs](Run& run) {
                         Participant& a = run.participant("A", fenced(form, two_pairs));
                         run.participant("B", fenced(form, pair));
                         run.fail(a, EIO);
                       },
                   .kind = form.kind,
                   .wakes_by_events = false,
                   .errors_allowed = true,
                   .last_caller_enters = false,
                   .leaves = Scenario::Leaves::unknown,
                   .fenced = true});
    FileSystemKind network = form.kind;
    network.network = true;
    all.push_back({.name = named("fences_of_two_hosts"),
                   .says = "two hosts with memories of their own ask for fences",
                   .set =
                       [form, two_pairs](Run& run) {
                         SimulatedProcess& a = run.process(run.host("east"), "A");
                         SimulatedProcess& b = run.process(run.host("west"), "B");
                         run.participant(a, "A", fenced(form, two_pairs));
                         run.participant(b, "B", fenced(form, pair));
                       },
                   .kind = network,
                   .wakes_by_events = false,
                   .fenced = true});
  }
}

}  // namespace lockfile::simulation
