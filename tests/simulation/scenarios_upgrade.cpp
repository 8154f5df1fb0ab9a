// Upgradable holds: beside readers and writers, upgraded, given up, made weaker; killed, stopped and broken anywhere.
#include "simulation/scenarios.hpp"

#include <array>

namespace lockfile::simulation {
namespace {

using namespace std::chrono_literals;

using Deed = std::function<void(Script&)>;

void write(Script& me) {
  me.in_mode(Mode::exclusive);
  me.pair();
}

void be_upgradable(Script& me) {
  me.in_mode(Mode::upgradable);
  me.pair();
}

void upgrade(Script& me) {
  me.in_mode(Mode::upgradable);
  if (!me.acquire()) return;
  (void)me.upgrade();
  me.release();
}

void try_to_upgrade(Script& me) {
  me.in_mode(Mode::upgradable);
  if (!me.try_acquire()) return;
  (void)me.try_upgrade();
  me.release();
}

void upgrade_in_time(Script& me) {
  me.in_mode(Mode::upgradable);
  if (!me.acquire()) return;
  (void)me.upgrade_for(5ms);
  me.release();
}

void weaken(Script& me, Mode to) {
  me.in_mode(Mode::exclusive);
  if (!me.acquire()) return;
  (void)me.downgrade(to);
  me.release();
}

void become_upgradable(Script& me) { weaken(me, Mode::upgradable); }
void become_a_reader(Script& me) { weaken(me, Mode::shared); }

void up_and_down_and_up(Script& me) {
  me.in_mode(Mode::upgradable);
  if (!me.acquire()) return;
  if (me.upgrade() && me.downgrade(Mode::upgradable)) (void)me.upgrade();
  me.release();
}

void upgradable_then_reader(Script& me) {
  me.in_mode(Mode::upgradable);
  if (!me.acquire()) return;
  (void)me.downgrade(Mode::shared);
  me.release();
}

void look_and_break(Script& me) { me.look_and_break(); }

void break_and_write(Script& me) {
  me.look_and_break();
  write(me);
}

// By the clock: what was seen before is broken while it is upgraded.
constexpr std::chrono::milliseconds seen = 5ms;
constexpr std::chrono::milliseconds upgraded = 10ms;

void upgrade_later(Script& me) {
  me.in_mode(Mode::upgradable);
  if (!me.acquire()) return;
  me.sleep(upgraded);
  (void)me.upgrade();
  me.release();
}

void read_then(Script& me) {
  me.sleep(upgraded);
  read(me);
}

void look_and_break_then(Script& me) {
  me.sleep(seen);
  const auto hold = me.look();
  const std::size_t seen_at = me.run().steps();
  me.sleep(upgraded - seen);
  if (hold) me.break_this(*hold, seen_at);
}

void break_then_and_write(Script& me) {
  look_and_break_then(me);
  write(me);
}

Deed twice(Deed deed) {
  return [deed = std::move(deed)](Script& me) {
    deed(me);
    deed(me);
  };
}

// Where readers can be together, and upgradable holds with them.
std::vector<Form> forms_of_upgrades() {
  const auto together = forms().first(5);
  std::vector<Form> all(together.begin(), together.end());
  all.push_back({"link_private", "link", {.others_write = false}});
  all.push_back({"mkdir_private", "mkdir", {.others_write = false}});
  all.push_back({"kernel", "kernel", {}});
  all.push_back({"shm", "shm", {.lines = true}});
  return all;
}

// What is done to the first of them.
enum class To : std::uint8_t { nobody, first, second, host };
enum class What : std::uint8_t { kill, stop };

struct Story {
  const char* name;
  const char* says;
  std::vector<Deed> deeds;
  To victim = To::nobody;
  What what = What::kill;
  bool breaks = false;  // by force, which kernel locks do not have
};

std::vector<Story> stories() {
  return {
      {"alone", "a process is upgradable, becomes exclusive, and comes again", {twice(upgrade)}},
      {"and_reader", "one upgrades while another reads", {upgrade, read}},
      {"and_readers", "one upgrades while two read", {upgrade, read, read}},
      {"and_writer", "one upgrades while one reads and one writes", {upgrade, read, write}},
      {"two", "two upgrade, one after the other", {upgrade, upgrade}},
      {"two_and_reader", "two upgrade and one reads", {upgrade, upgrade, read}},
      {"two_upgradable",
       "two are upgradable, each as soon as it may, and one reads",
       {be_upgradable, be_upgradable, read}},
      {"tries", "two try to upgrade once each; one reads", {try_to_upgrade, try_to_upgrade, read}},
      {"given_up", "one upgrades for a short time only; two read", {upgrade_in_time, read, read}},
      {"comes_again", "one upgrades twice by a kept claim, and one reads twice", {twice(upgrade), twice(read)}},
      {"up_and_down",
       "one becomes exclusive, upgradable and exclusive again; one reads, one writes",
       {up_and_down_and_up, read, write}},
      {"downgrade", "a writer becomes upgradable; one reads and one writes", {become_upgradable, read, write}},
      {"downgrade_to_reader", "a writer becomes a reader; one reads and one writes", {become_a_reader, read, write}},
      {"downgrades", "two writers become upgradable; one reads", {become_upgradable, become_upgradable, read}},
      {"becomes_a_reader",
       "an upgradable one becomes a reader, which lets the next one in",
       {upgradable_then_reader, upgrade}},
      {"killed", "one upgrades and is killed anywhere; one reads, one writes", {upgrade, read, write}, To::first},
      {"next_of_killed",
       "one upgrades and is killed anywhere; one reads, and one wants to be the next",
       {upgrade, read, upgrade},
       To::first},
      {"reader_killed", "one upgrades; a reader is killed anywhere", {upgrade, read}, To::second},
      {"down_killed",
       "a writer becomes upgradable and exclusive again, and is killed anywhere; one reads",
       {up_and_down_and_up, read},
       To::first},
      {"stopped",
       "one upgrades and is stopped anywhere for a long time; one reads, one writes",
       {upgrade, read, write},
       To::first,
       What::stop},
      {"reader_stopped",
       "one upgrades; a reader is stopped anywhere for a long time",
       {upgrade, read},
       To::second,
       What::stop},
      {"power_cut",
       "one upgrades and becomes weaker, one reads, and the power fails",
       {up_and_down_and_up, read},
       To::host},
      {"broken",
       "one upgrades, one reads, and one looks and breaks by force what it saw",
       {upgrade, read, look_and_break},
       To::nobody,
       What::kill,
       true},
      {"broken_and_writer",
       "one upgrades, and one looks, breaks by force what it saw and writes",
       {twice(upgrade), break_and_write},
       To::nobody,
       What::kill,
       true},
      {"broken_then",
       "one upgrades and one reads, while another breaks by force what it has seen before",
       {upgrade_later, read_then, look_and_break_then},
       To::nobody,
       What::kill,
       true},
      {"broken_then_and_writer",
       "one upgrades while another breaks it by force, as it has seen it before, and writes",
       {upgrade_later, break_then_and_write},
       To::nobody,
       What::kill,
       true},
      {"reader_broken",
       "one upgrades, and the reader it waits for is broken by force, and writes",
       {upgrade, twice(read), break_and_write},
       To::nobody,
       What::kill,
       true},
      {"down_broken",
       "a writer becomes weaker; one looks, breaks by force what it saw and writes",
       {become_upgradable, break_and_write},
       To::nobody,
       What::kill,
       true},
      {"down_broken_and_reader",
       "a writer becomes a reader and another reads; one looks and breaks by force what it saw",
       {become_a_reader, read, look_and_break},
       To::nobody,
       What::kill,
       true},
  };
}

Deed with_fence(const Form& form, Deed deed) {
  return [scheme = form.scheme, deed = std::move(deed)](Script& me) {
    Options options;
    options.scheme = scheme;
    options.fence = true;
    me.use(options);
    deed(me);
  };
}

void set_stage(Run& run, const Form& form, const Story& story) {
  std::vector<Participant*> all;
  char name = 'A';
  Host& here = run.host();
  if (form.scheme == "shm") run.line_oracle().expect_signs();
  for (const Deed& each : story.deeds) {
    const std::string named(1, name++);
    all.push_back(&run.participant(run.process(here, named), named, by(form, each)));
  }
  if (story.victim == To::host) run.power_cut(here);
  if (story.victim != To::first && story.victim != To::second) return;
  Participant& victim = *all[story.victim == To::first ? 0 : 1];
  if (story.what == What::kill) {
    run.kill(victim);
  } else {
    run.stop(victim);
  }
}

void add_story(std::vector<Scenario>& all, const Form& form, const Story& story) {
  const bool kernel = form.scheme == "kernel";
  const bool shm = form.scheme == "shm";
  if (story.breaks && kernel) return;
  if (story.victim == To::host && shm) return;  // what is in memory is of one boot
  Options last;
  if (kernel || shm) last.scheme = form.scheme;
  const bool disturbed = story.victim != To::nobody || story.breaks;
  all.push_back({.name = std::string("upgrade_") + story.name + "/" + form.name,
                 .says = story.says,
                 .set = [form, story](Run& run) { set_stage(run, form, story); },
                 .kind = form.kind,
                 .leaves = kernel || shm ? Scenario::Leaves::unknown
                           : disturbed   ? Scenario::Leaves::nothing_after_doctor
                                         : Scenario::Leaves::nothing,
                 .last_caller = last});
}

}  // namespace

void add_upgrades(std::vector<Scenario>& all) {
  for (const Form& form : forms_of_upgrades()) {
    for (const Story& story : stories()) add_story(all, form, story);
    if (form.scheme == "kernel" || form.scheme == "shm") continue;  // which have no fences, and other dead
    all.push_back({.name = "upgrade_fenced/" + form.name,
                   .says = "each exclusive hold has a larger number, upgraded ones too",
                   .set =
                       [form](Run& run) {
                         run.participant("A", with_fence(form, up_and_down_and_up));
                         run.participant("B", with_fence(form, write));
                         run.participant("C", with_fence(form, read));
                       },
                   .kind = form.kind,
                   .leaves = Scenario::Leaves::nothing_after_doctor,
                   .fenced = true});
    all.push_back({.name = "upgrade_dead_one/" + form.name,
                   .says = "an upgradable one is dead; the next one upgrades, one reads",
                   .set =
                       [form](Run& run) {
                         SimulatedProcess& dead = run.process(run.host(), "dead");
                         run.earlier(dead, "dead",
                                     by(form,
                                        [](Script& me) {
                                          me.in_mode(Mode::upgradable);
                                          (void)me.acquire_and_keep();
                                        }),
                                     Run::Then::dies);
                         run.participant("A", by(form, upgrade));
                         run.participant("B", by(form, read));
                       },
                   .kind = form.kind});
    all.push_back({.name = "many_upgrades/" + form.name,
                   .says = "many upgrade, become weaker, read and write; two are killed and one breaks",
                   .set =
                       [form](Run& run) {
                         Participant& a = run.participant("A", by(form, twice(twice(upgrade))));
                         run.participant("B", by(form, twice(twice(up_and_down_and_up))));
                         Participant& c = run.participant("C", by(form, twice(twice(read))));
                         run.participant("D", by(form, twice(become_upgradable)));
                         run.participant("E", by(form, twice(upgrade_in_time)));
                         run.participant("W", by(form, twice(write)));
                         run.participant("K", by(form, look_and_break));
                         run.kill(a);
                         run.kill(c);
                       },
                   .kind = form.kind,
                   .by_chance = true});
  }
}

}  // namespace lockfile::simulation
