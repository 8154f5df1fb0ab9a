// Running a scenario.
#include "simulation/run.hpp"
#include "schemes/shared_memory/layout.hpp"

#include "claim/line.hpp"
#include "claim/turn.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <exception>
#include <utility>

namespace lockfile::simulation {
namespace {

// A run that takes more steps than this, or lets time pass more often, will never end.
constexpr std::size_t most_steps = 20'000;
constexpr std::size_t most_ticks = 400;
// A stopped process sleeps through as many of the others' timers; then it goes on.
constexpr std::size_t ticks_while_stopped = 60;
// Who sleeps for longer than this beside a free lock has missed something. The library's own second looks, after events
// that come too early, are nearer than that.
constexpr std::chrono::milliseconds soon(100);

constexpr std::uint64_t section_key = 0x5EC7'1017;
constexpr std::uint64_t mutex_keys = 0x3117'EC00'0000;
constexpr std::uint64_t alive_keys = 0xA11F'E000'0000;

}  // namespace

SimulatedProcess::SimulatedProcess(Run& run, Process& in_world)
    : process(in_world), system(run, *this, in_world), library(std::make_unique<os::Process>(system)) {}

Run::Run(const Scenario& scenario, Chooser& chooser, bool tracing)
    : scenario_(scenario), chooser_(chooser), tracing_(tracing), world_(scenario.kind), began_(world_.peek_now()) {
  Process nobody;
  Host nowhere;
  nobody.host = &nowhere;
  (void)world_.make_directory(nobody, &world_.root(), "d", scenario.kind.others_write ? 0777 : 0755);
  early_ticks_ = scenario.early_ticks;
}

Run::~Run() = default;

Host& Run::host(std::string name) { return world_.add_host(std::move(name)); }

SimulatedProcess& Run::process(Host& host, std::string name, std::uint64_t space, std::int64_t pid) {
  return processes_.emplace_back(*this, world_.add_process(host, std::move(name), space, pid));
}

Participant& Run::add(std::deque<Participant>& list, SimulatedProcess& process, std::string name,
                      std::function<void(Script&)> script) {
  Participant& one = list.emplace_back();
  one.name = std::move(name);
  one.process = &process;
  one.script = std::move(script);
  one.number = static_cast<int>(list.size()) - 1;
  one.fiber = std::make_unique<Fiber>([this, &one] {
    try {
      Script self(*this, one);
      try {
        one.script(self);
      } catch (const Script::Gone&) {
      }
    } catch (const std::exception& error) {
      violated("the script of " + one.name + " failed: " + error.what());
    }
    if (one.state != Participant::State::gone) one.state = Participant::State::ended;
  });
  one.fiber->when_ended = [this]() -> Fiber* {
    if (phase_ != Phase::exploring || over_) {
      current_ = nullptr;
      os::Process::set_current(nullptr);
      return nullptr;
    }
    finish_step();
    Participant* const to = next();
    current_ = to;
    os::Process::set_current(to != nullptr ? to->process->library.get() : nullptr);
    return to != nullptr ? to->fiber.get() : nullptr;
  };
  return one;
}

Participant& Run::participant(SimulatedProcess& process, std::string name, std::function<void(Script&)> script) {
  Participant& one = add(participants_, process, std::move(name), std::move(script));
  ++process.threads;
  return one;
}

Participant& Run::participant(std::string name, std::function<void(Script&)> script) {
  Host& here = processes_.empty() ? host() : *processes_.front().process.host;
  SimulatedProcess& own = process(here, name);
  return participant(own, std::move(name), std::move(script));
}

SimulatedProcess& Run::earlier(SimulatedProcess& process, std::string name, std::function<void(Script&)> script,
                               Then then) {
  Participant& one = add(others_, process, std::move(name), std::move(script));
  switch_to(&one);
  if (then != Then::lives_on) {
    for (int deed = 0; deed < 3; ++deed) die(one, deed);
    if (then == Then::dies_and_pid_is_reused) world_.reuse_pid(process.process);
  }
  return process;
}

void Run::add_fault(std::string name, Participant* victim, std::vector<std::function<void()>> steps) {
  faults_.push_back({std::move(name), victim, std::move(steps), 0, {}});
}

void Run::die(Participant& victim, int deed) {
  Process& process = victim.process->process;
  world_.acts(process.host);
  switch (deed) {
    case 0:
      for (Participant& each : participants_) {
        if (each.process == victim.process) each.state = Participant::State::gone;
      }
      victim.state = Participant::State::gone;
      oracle_.died(process.id);
      world_.touched().push_back({key_of(victim), Touch::How::change});
      world_.touched().push_back({section_key, Touch::How::change});
      world_.die_begins(process);
      break;
    case 1:
      world_.die_closes(process);
      break;
    default:
      world_.die_ends(process);
      break;
  }
}

void Run::kill(Participant& victim) {
  add_fault(
      victim.name + " is killed", &victim,
      {[this, &victim] { die(victim, 0); }, [this, &victim] { die(victim, 1); }, [this, &victim] { die(victim, 2); }});
}

void Run::kill_process(SimulatedProcess& victim) {
  Process& process = victim.process;
  add_fault(process.name + " is killed", nullptr,
            {[this, &process] {
               world_.acts(process.host);
               world_.die_begins(process);
             },
             [this, &process] { world_.die_closes(process); },
             [this, &process] {
               oracle_.died(process.id);
               world_.touched().push_back({section_key, Touch::How::change});
               world_.die_ends(process);
             }});
}

std::shared_ptr<Lock> Run::shared_lock(SimulatedProcess& process, const std::string& scheme) {
  os::Process::set_current(process.library.get());
  Options options;
  options.scheme = scheme;
  auto made = std::make_shared<FileLock>(path, options);
  os::Process::set_current(nullptr);
  keep(made);
  return made;
}

void Run::kill_and_reuse_pid(Participant& victim) {
  add_fault(victim.name + " is killed and its pid given to another", &victim,
            {[this, &victim] { die(victim, 0); }, [this, &victim] { die(victim, 1); },
             [this, &victim] {
               die(victim, 2);
               world_.reuse_pid(victim.process->process);
             }});
}

void Run::stop(Participant& victim) {
  every_step_matters_ = true;
  add_fault(victim.name + " is stopped", &victim, {[this, &victim] {
              victim.stopped = true;
              world_.touched().push_back({key_of(victim), Touch::How::change});
            }});
}

void Run::suspend(Host& host) {
  every_step_matters_ = true;
  add_fault(host.name + " is suspended", nullptr, {[this, &host] {
              for (Participant& each : participants_) {
                if (each.process->process.host != &host) continue;
                world_.touched().push_back({key_of(each), Touch::How::change});
                if (finished(each)) continue;
                each.stopped = true;
                each.suspended_at = world_.peek_now();
              }
            }});
}

// A machine that has slept does not know it by CLOCK_MONOTONIC, so that its timers come later.
void Run::let_all_go_on() {
  std::map<Host*, std::chrono::nanoseconds> slept;
  for (Participant& each : participants_) {
    each.stopped = false;
    if (!each.suspended_at) continue;
    const auto time = world_.peek_now() - *std::exchange(each.suspended_at, std::nullopt);
    slept[each.process->process.host] = time;
    if (each.wakes_at) *each.wakes_at += time;
  }
  for (const auto& [host, time] : slept) host->asleep += time;
}

void Run::fail(Participant& victim, int error) {
  every_step_matters_ = true;
  add_fault("the next call of " + victim.name + " fails", &victim, {[this, &victim, error] {
              victim.process->process.fail_next = error;
              world_.touched().push_back({key_of(victim), Touch::How::change});
            }});
}

void Run::lose_reply(Participant& victim) {
  every_step_matters_ = true;
  add_fault("the next reply to " + victim.name + " is lost", &victim, {[this, &victim] {
              victim.process->process.lose_next_reply = true;
              world_.touched().push_back({key_of(victim), Touch::How::change});
            }});
}

void Run::close_descriptors(Participant& victim) {
  every_step_matters_ = true;
  add_fault("all descriptors of " + victim.name + " are closed", &victim, {[this, &victim] {
              world_.close_all(victim.process->process);
              world_.touched().push_back({key_of(victim), Touch::How::change});
            }});
}

void Run::fork(Participant& victim, bool child_stays) {
  every_step_matters_ = true;
  const auto child = std::make_shared<Process*>(nullptr);
  std::vector<std::function<void()>> steps = {[this, &victim, child] {
    *child = &world_.fork(victim.process->process);
    world_.touched().push_back({key_of(victim), Touch::How::change});
  }};
  if (!child_stays) steps.emplace_back([this, child] { world_.close_all(**child); });
  add_fault(victim.name + " forks", &victim, std::move(steps));
}

void Run::power_cut(Host& host) {
  every_step_matters_ = true;
  add_fault("power cut of " + host.name, nullptr, {[this, &host] {
              for (Participant& each : participants_) {
                if (each.process->process.host != &host) continue;
                each.state = Participant::State::gone;
                oracle_.died(each.process->process.id);
                world_.touched().push_back({key_of(each), Touch::How::change});
              }
              world_.touched().push_back({section_key, Touch::How::change});
              world_.power_cut(host);
            }});
}

void Run::server_drops_locks(Host& host) {
  add_fault("the server drops the locks of " + host.name, nullptr, {[this, &host] { world_.drop_locks_of(host); }});
}

std::uint64_t Run::key_of(const Participant& one) const noexcept { return alive_keys + one.process->process.id; }

bool Run::finished(const Participant& one) const noexcept {
  return one.state == Participant::State::ended || one.state == Participant::State::gone;
}

bool Run::can_go(const Participant& one) {
  if (one.stopped) return false;
  switch (one.state) {
    case Participant::State::ready:
      return true;
    case Participant::State::asleep:
      if (one.wakes_at && *one.wakes_at <= world_.peek_now()) return true;
      return std::any_of(one.waits_for.begin(), one.waits_for.end(),
                         [&](int each) { return world_.would_fire(one.process->process, each); });
    case Participant::State::at_mutex:
      return mutexes_[one.mutex].second == nullptr;
    case Participant::State::ended:
    case Participant::State::gone:
      break;
  }
  return false;
}

std::optional<std::chrono::steady_clock::time_point> Run::next_tick() {
  std::optional<std::chrono::steady_clock::time_point> first;
  for (const Participant& each : participants_) {
    if (each.state != Participant::State::asleep || each.stopped || !each.wakes_at) continue;
    if (!first || *each.wakes_at < *first) first = each.wakes_at;
  }
  return first;
}

Actors Run::who_can() {
  Actors can = 0;
  for (const Participant& each : participants_) {
    if (can_go(each)) can |= Actors{1} << static_cast<unsigned>(each.number);
  }
  const bool somebody = can != 0;
  unsigned number = static_cast<unsigned>(participants_.size());
  for (const Fault& each : faults_) {
    const bool pending = each.done > 0 && each.done < each.steps.size();
    // What strikes one who has ended does so only by killing it.
    const bool worth_it = each.victim == nullptr || each.victim->state != Participant::State::gone;
    const bool its_time = !each.from || *each.from <= world_.peek_now();
    if (pending || (each.done == 0 && worth_it && its_time)) can |= Actors{1} << number;
    ++number;
  }
  const bool may_tick = can == 0 || (early_ticks_ > 0 && somebody);
  if (may_tick && next_tick()) can |= Actors{1} << number;
  return can;
}

void Run::touch_self(Participant& one) {
  Footprint& touched = world_.touched();
  const bool changed =
      std::any_of(touched.begin(), touched.end(), [](const Touch& each) { return each.how != Touch::How::look; });
  if (changed || every_step_matters_) touched.push_back({key_of(one), Touch::How::look});
}

void Run::finish_step() {
  if (actor_ < 0) return;
  if (actor_ < static_cast<int>(participants_.size())) touch_self(participants_[static_cast<std::size_t>(actor_)]);
  chooser_.stepped(actor_, world_.touched(), alone_);
  world_.touched().clear();
  actor_ = -1;
}

void Run::strike(Fault& fault) {
  say("-- " + fault.name + (fault.done > 0 ? " (deed " + std::to_string(fault.done + 1) + ")" : ""));
  fault.steps[fault.done++]();
}

void Run::tick() {
  ++ticks_;
  const auto when = next_tick();
  if (!when) {
    // Nobody else can go on, and there is nothing to wait for: who was stopped goes on.
    for (Participant& each : participants_) {
      if (each.stopped) say("-- " + each.name + " goes on");
    }
    let_all_go_on();
    return;
  }
  say("-- time passes");
  world_.advance_to(*when);
}

// Who goes next; null: nobody, the exploration is over.
Participant* Run::next() {
  for (;;) {
    if (!violation_.empty() || given_up_) return nullptr;
    if (choices_.size() > most_steps) {
      violated("no end in sight after " + std::to_string(most_steps) + " steps");
      return nullptr;
    }
    Actors can = who_can();
    alone_ = false;
    const Actors clock = Actors{1} << static_cast<unsigned>(clock_number());
    const bool only_time = (can & ~clock) == 0;
    if (only_time) {
      check_sleepers();
      const bool stopped = std::any_of(participants_.begin(), participants_.end(), [](const Participant& each) {
        return each.stopped && each.state != Participant::State::gone;
      });
      if (stopped && (can == 0 || ticks_ >= ticks_while_stopped)) {
        say("-- everybody else waits or has ended: who was stopped goes on");
        let_all_go_on();
        ticks_ = 0;
        world_.touched().clear();
        chooser_.stepped(clock_number(), {}, true);
        continue;
      }
      if (can == 0) return nullptr;
      if (ticks_ > most_ticks) {
        violated("no end in sight after " + std::to_string(most_ticks) + " waits");
        return nullptr;
      }
      alone_ = true;
    }
    actor_ = alone_ ? clock_number() : chooser_.choose(can, choices_.empty() ? -1 : choices_.back(), clock_number());
    if (actor_ < 0) {
      given_up_ = true;
      return nullptr;
    }
    if (!alone_) choices_.push_back(actor_);
    world_.touched().clear();
    if (actor_ < static_cast<int>(participants_.size())) {
      Participant& one = participants_[static_cast<std::size_t>(actor_)];
      world_.acts(one.process->process.host);
      return &one;
    }
    if (actor_ == clock_number()) {
      if (!alone_) --early_ticks_;
      tick();
    } else {
      strike(faults_[static_cast<std::size_t>(actor_) - participants_.size()]);
    }
    finish_step();
  }
}

void Run::switch_to(Participant* to) {
  Participant* const from = current_;
  if (from == to) return;
  current_ = to;
  os::Process::set_current(to != nullptr ? to->process->library.get() : nullptr);
  Fiber::switch_to(from != nullptr ? from->fiber.get() : nullptr, to != nullptr ? to->fiber.get() : nullptr);
}

os::Status Run::before_step() {
  if (over_) return EIO;
  ++steps_;
  Participant* const self = current_;
  if (self == nullptr) return 0;
  if (phase_ == Phase::exploring) {
    // Chosen to begin, it comes here for the first time: that choice is for this step.
    const bool begins = actor_ == self->number && world_.touched().empty() && !self->begun;
    self->begun = true;
    if (!begins) {
      finish_step();
      switch_to(next());
      if (over_) return EIO;
    }
  }
  if (phase_ != Phase::exploring && ++alone_steps_ > most_steps) {
    violated("no end in sight of what " + self->name + " does, and nobody else is there");
    return EIO;
  }
  world_.acts(self->process->process.host);
  return std::exchange(self->process->process.fail_next, 0);
}

os::Status Run::wait(SimulatedProcess& process, std::span<os::System::Waitable> on,
                     std::optional<std::chrono::steady_clock::time_point> deadline) {
  if (const os::Status error = before_step()) return error;
  Participant* const self = current_;
  if (self == nullptr) return EIO;
  if (self->deadline && (!deadline || *deadline > *self->deadline)) {
    violated(self->name + " goes to sleep for longer than its caller lets it");
  }
  for (;;) {
    bool fired = deadline && world_.now() >= *deadline;
    for (os::System::Waitable& each : on) {
      const auto ready = world_.readable(process.process, each.descriptor);
      each.fired = !ready.ok() || ready.value;
      fired = fired || each.fired;
    }
    if (fired) {
      say("wakes up");
      return 0;
    }
    say("sleeps");
    if (phase_ != Phase::exploring) {
      if (!deadline) {
        violated(self->name + " sleeps, and nobody else is there");
        return EIO;
      }
      if (++ticks_ > most_ticks) {
        violated(self->name + " waits and waits, and nobody else is there");
        return EIO;
      }
      world_.advance_to(*deadline);
      continue;
    }
    self->waits_for.clear();
    for (const os::System::Waitable& each : on) self->waits_for.push_back(each.descriptor);
    self->wakes_at = deadline;
    self->state = Participant::State::asleep;
    finish_step();
    switch_to(next());
    if (over_) return EIO;
    self->state = Participant::State::ready;
    world_.acts(self->process->process.host);
  }
}

// Between threads of one process only: where there is one, nobody can be in its way.
void Run::lock(SimulatedProcess& process, const os::Mutex& mutex) {
  if (over_ || process.threads < 2 || current_ == nullptr) return;
  (void)before_step();
  if (over_) return;
  Participant* const self = current_;
  auto& [id, owner] = mutexes_[&mutex];
  if (id == 0) id = mutexes_.size();
  world_.touched().push_back({mutex_keys + id, Touch::How::change});
  while (mutexes_[&mutex].second != nullptr) {
    self->mutex = &mutex;
    self->state = Participant::State::at_mutex;
    finish_step();
    switch_to(next());
    if (over_) return;
    self->state = Participant::State::ready;
    world_.touched().push_back({mutex_keys + mutexes_[&mutex].first, Touch::How::change});
  }
  mutexes_[&mutex].second = self;
}

void Run::unlock(SimulatedProcess& process, const os::Mutex& mutex) {
  if (over_ || process.threads < 2 || current_ == nullptr) return;
  (void)before_step();
  if (over_) return;
  world_.touched().push_back({mutex_keys + mutexes_[&mutex].first, Touch::How::change});
  mutexes_[&mutex].second = nullptr;
}

void Run::word_made() {
  if (current_ != nullptr && phase_ == Phase::exploring) violated(line_oracle_.entered(*current_));
}

void Run::mapped_word_changed(const os::SharedWord& changed, std::uint64_t before, std::uint64_t after) {
  if (current_ == nullptr || phase_ != Phase::exploring) return;
  // Who comes into a line that has been removed meanwhile sees that at its next step, and stands nowhere until then.
  if (const auto at = world_.word_of_file(changed, claim::Line::words); at && world_.has_name(changed)) {
    line_oracle_.changed(*current_, *at, before, after, steps_);
  }
  namespace shm = schemes::shared_memory;
  const auto at = world_.word_of_file(changed, shm::words_for(shm::first_slots));
  const auto turn = [](std::uint64_t raw) { return shm::LockWord::decode(raw).turn; };
  if (at == shm::header::word && turn(before) != turn(after)) line_oracle_.gave_sign(*current_, steps_);
  const auto is_held = [](std::uint64_t raw) { return shm::LockWord::decode(raw).is_held(); };
  if (at == shm::header::word && !is_held(before) && is_held(after)) violated(line_oracle_.entered(*current_));
}

// A break of whoever holds is of the hold that stood when it looked, before it first began to remove one.
void Run::looked_at_word() {
  if (current_ != nullptr && current_->breaks && !current_->removes) oracle_.break_saw(*current_->breaks, steps_);
}

void Run::opens_for_removal() {
  if (current_ != nullptr) current_->removes = true;
}

void Run::looked_at_line(std::uint64_t inode) {
  if (current_ != nullptr) current_->line_seen = inode;
}

void Run::removes_line(std::uint64_t inode) {
  if (current_ != nullptr && current_->line_seen != inode) line_oracle_.lost();
}

void Run::power_cut_now(Host& here) {
  for (const SimulatedProcess& each : processes_) {
    if (each.process.host == &here) oracle_.died(each.process.id);
  }
  world_.power_cut(here);
}

void Run::say(std::string what) {
  if (!tracing_ || over_) return;
  std::string who = what.starts_with("--") ? std::string() : current_ != nullptr ? current_->name : std::string("*");
  who.resize(std::max<std::size_t>(who.size() + 1, 12), ' ');
  trace_.push_back(who + std::move(what));
}

void Run::violated(std::string sentence) {
  if (sentence.empty() || !violation_.empty() || over_) return;
  say("** " + sentence);
  violation_ = std::move(sentence);
}

void Run::check_passed_by(const Participant& served) {
  if (!scenario_.right_stands) return;
  for (const Participant& each : participants_) {
    const bool waits = &each != &served && each.verb == served.verb && each.state != Participant::State::gone;
    if (waits && each.admitted > each.asked && each.admitted < served.asked) {
      violated(served.name + " was given its units past " + each.name + ", which had been admitted before it asked");
    }
  }
}

void Run::ended_by(std::string_view message) noexcept {
  violated("the library ended the program: " + std::string(message));
  if (current_ == nullptr) std::abort();
  current_->state = Participant::State::ended;
  current_->abandoned = true;
  switch_to(nullptr);
  std::abort();  // nobody comes back here
}

bool Run::nobody_else_is_busy(const Participant& self) const {
  return !oracle_.is_in_the_way_of(self.mode, &self) &&
         std::none_of(participants_.begin(), participants_.end(), [&](const Participant& each) {
           return &each != &self && (!each.verb.empty() || each.state == Participant::State::gone);
         });
}

// In a line, of threads or of processes, the first looks for all of them: when it has looked it goes in or leaves the
// line, and wakes the next. Who makes its own hold weaker or ends it wakes others when it has come through with it.
bool Run::somebody_looks_soon_for(const Participant& sleeper) const {
  return std::any_of(participants_.begin(), participants_.end(), [&](const Participant& each) {
    const bool lets_go = each.verb == "release" || each.verb == "downgrade";
    return (lets_go || each.process == sleeper.process || line_oracle_.stands_behind(sleeper, each)) &&
           each.state == Participant::State::asleep && !each.stopped && !each.verb.empty() && each.wakes_at &&
           *each.wakes_at <= world_.peek_now() + soon;
  });
}

// Everybody waits or has ended. A lock that nobody holds has nobody asleep beside it who will not look again soon, or
// another one for it.
void Run::check_sleepers() {
  if (!scenario_.wakes_by_events) return;
  const bool somebody_upgrades = std::any_of(participants_.begin(), participants_.end(),
                                             [](const Participant& each) { return each.verb.ends_with("upgrade"); });
  for (const Participant& each : participants_) {
    if (oracle_.live_hold_against(each.mode, &each) != nullptr) continue;
    if (somebody_upgrades && each.mode != Mode::exclusive) continue;  // which keeps newcomers out
    if (each.state != Participant::State::asleep || each.stopped || each.verb.empty()) continue;
    if (somebody_looks_soon_for(each)) continue;
    const bool looks_as_a_first = each.wakes_at && *each.wakes_at <= world_.peek_now() + claim::look_of_the_first;
    if (looks_as_a_first && line_oracle_.has_lost_its_place(each)) continue;
    const bool somebody_stopped =
        std::any_of(participants_.begin(), participants_.end(), [](const Participant& other) { return other.stopped; });
    if (somebody_stopped) continue;
    violated(each.name + " sleeps, and nobody who holds the lock keeps it out");
    return;
  }
}

void Run::explore() {
  phase_ = Phase::exploring;
  if (Participant* const first = next()) switch_to(first);
  phase_ = Phase::closing;
}

// Everybody has had their say. Whoever comes now must be granted the lock, and nothing may be left.
void Run::close_up() {
  for (const Participant& each : participants_) {
    if (finished(each)) continue;
    const Hold* const live = oracle_.live_hold_against(each.mode, &each);
    if (live == nullptr) violated(each.name + " never came back from its " + std::string(each.verb));
    return;  // they wait for one who holds for ever
  }
  if (!violation_.empty() || oracle_.live_hold() != nullptr) return;
  const auto left = [&] {
    std::string names;
    for (const std::string& each : world_.peek_list("d")) {
      const bool stays = scenario_.fenced && each == std::string(word) + ".fence";
      if (!each.starts_with(".nfs") && !stays) names += (names.empty() ? "" : ", ") + each;
    }
    return names;
  };
  if (scenario_.leaves == Scenario::Leaves::nothing && !left().empty()) {
    violated("everybody has left, and something is left behind: " + left());
  }
  std::vector<Host*> hosts;
  for (const SimulatedProcess& each : processes_) {
    if (std::find(hosts.begin(), hosts.end(), each.process.host) == hosts.end()) hosts.push_back(each.process.host);
  }
  bool granted = false;
  for (Host* const host : hosts) {
    if (!violation_.empty()) return;
    ticks_ = 0;
    Participant& last = add(others_, process(*host, "last caller"), "last caller", [&](Script& me) {
      Options options = scenario_.last_caller;
      options.fence = scenario_.fenced;
      me.use(options);
      if (scenario_.units > 0) {
        granted = me.acquire_units(scenario_.units, std::chrono::seconds(30));
        me.give_back();
      } else if (me.acquire_for(std::chrono::seconds(30))) {
        granted = true;
        me.release();
      }
      me.drop_lock();
      me.clean();
    });
    switch_to(&last);
  }
  if (violation_.empty() && scenario_.last_caller_enters && !granted) {
    violated("nobody holds the lock, and the last caller was not granted it");
  }
  if (violation_.empty() && scenario_.leaves != Scenario::Leaves::unknown && !left().empty()) {
    violated("everybody has left and the doctor has been, and something is left behind: " + left());
  }
}

// Nothing keeps them apart any more: whoever is in the middle of what a mutex guards leaves it before others come in.
void Run::unwind() {
  over_ = true;
  const auto inside = [&](const Participant& one) {
    return std::any_of(mutexes_.begin(), mutexes_.end(), [&](const auto& each) { return each.second.second == &one; });
  };
  std::vector<Participant*> order;
  for (Participant& each : participants_) order.push_back(&each);
  for (Participant& each : others_) order.push_back(&each);
  const auto waits = [](const Participant& one) { return one.state == Participant::State::at_mutex; };
  const auto middle = std::stable_partition(order.begin(), order.end(), [&](auto* each) { return inside(*each); });
  std::stable_partition(order.begin(), middle, [&](auto* each) { return !waits(*each); });
  for (Participant* const each : order) {
    if (each->begun && !each->abandoned && !each->fiber->ended()) switch_to(each);
  }
}

Outcome Run::execute() {
  scenario_.set(*this);
  explore();
  if (violation_.empty() && !given_up_) close_up();
  Outcome outcome;
  outcome.violation = violation_;
  outcome.given_up = given_up_;
  outcome.steps = steps_;
  unwind();
  kept_.clear();
  outcome.choices = std::move(choices_);
  outcome.trace = std::move(trace_);
  return outcome;
}

// --- scripts ---

std::shared_ptr<Lock> Script::make_lock() { return std::make_shared<FileLock>(Run::path, options_); }

Lock& Script::lock() {
  if (!lock_) lock_ = make_lock();
  return *lock_;
}

// What the oracles are told happens in a step of its own, whose order among others' counts.
void Script::in_section(const std::function<void()>& note) {
  (void)run_.before_step();
  check_gone();
  run_.world().touched().push_back({section_key, Touch::How::change});
  note();
}

void Script::begin(std::string_view verb) {
  check_gone();
  self_.verb = verb;
  self_.asked = run_.steps();
  undisturbed_ = run_.nobody_else_is_busy(self_);
  verbs_before_ = run_.begin_verb();
}

// `expected`: what a verb may answer when nothing is broken.
void Script::end(const std::error_code& error, bool expected) {
  check_gone();
  if (!error || expected || run_.scenario().errors_allowed) return;
  run_.violated("the " + std::string(self_.verb) + " of " + self_.name + " failed: " + error.message());
}

bool Script::acquire_as(std::string_view verb, const Wait& wait, std::optional<std::chrono::milliseconds> limit) {
  Lock& lock = this->lock();
  begin(verb);
  if (limit) self_.deadline = run_.world().peek_now() + *limit;
  std::error_code error;
  const bool granted = lock.acquire(self_.mode, wait, error);
  run_.say("==> " + std::string(verb) + ": " + (granted ? "granted" : error.message()));
  const bool refused = error == errc::already_locked || error == errc::timed_out;
  end(error, refused);
  self_.deadline.reset();
  if (refused && undisturbed_ && !run_.scenario().errors_allowed && run_.nobody_else_is_busy(self_) &&
      verbs_before_ == run_.verbs()) {
    run_.violated("nobody kept " + self_.name + " out, and it was refused the lock");
  }
  if (granted) {
    if (self_.mode == Mode::shared) run_.violated(run_.line_oracle().reads(self_));
    const std::size_t published = self_.published;
    const std::uint64_t fence = lock.fence();
    in_section([&] {
      std::function<bool()> lasts;
      if (options_.lease.count() != 0) {
        lasts = [held = std::weak_ptr<Lock>(lock_)] {
          const auto still = held.lock();
          return still && still->lease_left() > std::chrono::nanoseconds::zero();
        };
      }
      run_.violated(run_.oracle().granted(self_, self_.mode, self_.process->process.id, self_.process->process.pid,
                                          published, false, std::move(lasts)));
      if (options_.fence && self_.mode == Mode::exclusive) {
        run_.violated(run_.oracle().numbered(self_, published, fence));
      }
    });
  }
  self_.verb = {};
  return granted;
}

bool Script::acquire_and_keep() {
  if (!acquire()) return false;
  run_.keep(lock_);
  return true;
}

void Script::hand_over(SimulatedProcess& child) {
  begin("hand-over");
  std::error_code error;
  lock().hand_over(child.process.pid, error);
  end(error, false);
  in_section([&] {
    const bool lives = child.process.state == Process::State::running;
    run_.oracle().handed_over(self_, lives ? child.process.id : 0);
  });
  self_.verb = {};
}

void Script::release() {
  begin("release");
  in_section([&] { run_.oracle().release_begins(self_); });
  std::error_code error;
  lock().release(error);
  const bool lost = error == errc::not_locked || error == errc::not_my_lock;
  run_.say("==> release: " + (error ? error.message() : std::string("done")));
  end(error, lost);
  run_.violated(run_.oracle().released(self_, lost, error && !lost));
  self_.verb = {};
}

bool Script::renew() {
  begin("renewal");
  const bool had_lost = run_.oracle().has_lost(self_);
  std::error_code error;
  lock().renew(error);
  run_.say("==> renewal: " + (error ? error.message() : std::string("done")));
  end(error, error == errc::not_locked || error == errc::not_my_lock);
  // In the step in which the library has decided it.
  run_.world().touched().push_back({section_key, Touch::How::change});
  if (!error) run_.violated(run_.oracle().renewed(self_, had_lost));
  self_.verb = {};
  return !error;
}

bool Script::upgrade_as(std::string_view verb, const Wait& wait, std::optional<std::chrono::milliseconds> limit) {
  self_.mode = Mode::exclusive;  // which it wants now
  begin(verb);
  const std::size_t begun = run_.steps();  // exclusive from then on, if nobody breaks it
  if (limit) self_.deadline = run_.world().peek_now() + *limit;
  std::error_code error;
  const bool granted = lock().upgrade(wait, error);
  run_.say("==> " + std::string(verb) + ": " + (granted ? "granted" : error.message()));
  const bool refused = error == errc::already_locked || error == errc::timed_out;
  const bool lost = error == errc::not_locked || error == errc::not_my_lock;
  end(error, refused || lost);
  self_.deadline.reset();
  const std::size_t published = self_.published;
  const std::uint64_t fence = lock().fence();
  in_section([&] {
    if (granted) {
      run_.violated(run_.oracle().upgraded(self_, published));
      const Hold* const mine = run_.oracle().hold_of(self_);
      const bool counts = options_.fence && mine != nullptr && !mine->lost;
      if (counts) run_.violated(run_.oracle().numbered(self_, begun, fence));
    } else {
      run_.violated(run_.oracle().not_converted(self_, Mode::upgradable, lost));
      self_.mode = Mode::upgradable;
    }
  });
  self_.verb = {};
  return granted;
}

bool Script::downgrade(Mode to) {
  const Mode before = self_.mode;
  begin("downgrade");
  in_section([&] { run_.oracle().weakens(self_, to); });
  std::error_code error;
  const bool granted = lock().downgrade(to, for_ever, error);
  run_.say(std::string("==> downgrade: ") + (granted ? "done" : error.message()));
  const bool lost = error == errc::not_locked || error == errc::not_my_lock;
  end(error, lost || error == std::errc::operation_not_supported);
  self_.mode = granted ? to : before;
  in_section([&] {
    if (!granted) run_.violated(run_.oracle().not_converted(self_, before, lost));
  });
  self_.verb = {};
  return granted;
}

std::optional<Holder> Script::look() {
  std::error_code error;
  begin("look");
  auto holder = lock().holder(error);
  end(error, false);
  self_.verb = {};
  return holder;
}

void Script::break_this(const Holder& hold, std::size_t seen_at) {
  std::size_t which = 0;
  in_section([&] { which = run_.oracle().break_begins(self_, hold.pid, seen_at); });
  std::error_code error;
  begin("forced break");
  const bool broken = lock().break_lock(hold, error);
  end(error, error == std::errc::resource_unavailable_try_again);
  run_.say(std::string("==> forced break: ") + (broken ? "broken" : error ? error.message() : "nothing broken"));
  in_section([&] { run_.violated(run_.oracle().break_ended(which, broken, !broken && !error)); });
  self_.verb = {};
}

void Script::look_and_break() {
  if (const auto hold = look()) break_this(*hold, run_.steps());
}

void Script::break_whoever() {
  std::size_t which = 0;
  in_section([&] { which = run_.oracle().break_begins(self_, std::nullopt, std::nullopt); });
  std::error_code error;
  begin("forced break");
  self_.breaks = which;
  self_.removes = false;
  const bool broken = lock().break_lock(BreakWhat::ours, error);
  self_.breaks.reset();
  end(error, error == errc::foreign || error == std::errc::resource_unavailable_try_again);
  run_.say(std::string("==> forced break: ") + (broken ? "broken" : error ? error.message() : "nothing broken"));
  in_section([&] { run_.violated(run_.oracle().break_ended(which, broken)); });
  self_.verb = {};
}

void Script::break_stale() {
  std::error_code error;
  begin("stale break");
  const bool broken = lock().break_stale(error);
  end(error, error == std::errc::resource_unavailable_try_again);
  self_.verb = {};
  run_.say(std::string("==> stale break: ") + (broken ? "broken" : error ? error.message() : "nothing broken"));
}

bool Script::i_am_locking() {
  const bool mine = lock().i_am_locking();
  check_gone();
  return mine;
}

void Script::pause() {
  (void)run_.before_step();
  check_gone();
}

void Script::sleep(std::chrono::nanoseconds how_long) {
  (void)run_.wait(*self_.process, {}, run_.world().peek_now() + how_long);
  check_gone();
}

bool Script::plain_mkdir() {
  begin("plain mkdir");  // whoever tries meanwhile is disturbed
  const os::Status made = system().make_directory(os::no_directory, "/d/f.lock", 0777);
  check_gone();
  self_.verb = {};
  if (made != 0) return false;
  const std::size_t published = self_.published;
  in_section([&] {
    run_.violated(run_.oracle().granted(self_, Mode::exclusive, self_.process->process.id, self_.process->process.pid,
                                        published, true));
  });
  return true;
}

void Script::plain_rmdir() {
  begin("plain rmdir");
  in_section([&] { run_.oracle().release_begins(self_); });
  const os::Status removed = system().remove_directory(os::no_directory, "/d/f.lock");
  check_gone();
  self_.verb = {};
  run_.violated(run_.oracle().released(self_, removed != 0, false));
}

bool Script::plain_flock() {
  const std::string path(Run::path);
  auto opened = system().open(os::no_directory, path.c_str(), os::Open::look, 0);
  if (opened.error == ENOENT) opened = system().open(os::no_directory, path.c_str(), os::Open::create, 0666);
  if (opened.error == EEXIST) opened = system().open(os::no_directory, path.c_str(), os::Open::look, 0);
  check_gone();
  if (!opened.ok()) return false;
  plain_ = opened.value;
  const os::Status refused = system().flock(plain_, os::Flock::exclusive);
  check_gone();
  if (refused != 0) {
    system().close(plain_);
    check_gone();
    return false;
  }
  in_section([&] {
    run_.violated(
        run_.oracle().granted(self_, Mode::exclusive, self_.process->process.id, self_.process->process.pid, 0, true));
  });
  return true;
}

void Script::plain_unflock(Leave how) {
  in_section([&] { run_.oracle().release_begins(self_); });
  if (how != Leave::by_close) (void)system().flock(plain_, os::Flock::release);
  if (how != Leave::by_unlock_alone) system().close(plain_);
  check_gone();
}

bool Script::acquire_units(std::size_t wanted, const Wait& wait) {
  Semaphore semaphore(Run::path, run_.scenario().units, options_);
  begin("acquire of units");
  std::error_code error;
  auto units = semaphore.acquire(wanted, wait, error);
  run_.say("==> acquire of units: " + (error ? error.message() : std::string("given")));
  end(error, error == errc::already_locked || error == errc::timed_out);
  const bool given = units.size() == wanted;
  if (given) {
    units_ = std::move(units);
    in_section([&] {
      run_.violated(run_.oracle().given(self_, self_.process->process.id, wanted, run_.scenario().units));
      run_.check_passed_by(self_);
    });
  }
  self_.verb = {};
  return given;
}

void Script::give_back() {
  begin("release of units");
  in_section([&] { run_.oracle().given_back(self_); });
  std::error_code error;
  units_.release(error);
  run_.say("==> release of units: " + (error ? error.message() : std::string("done")));
  end(error, false);
  self_.verb = {};
}

void Script::clean() {
  std::error_code error;
  (void)leftovers(Run::directory, Clean::remove_dead, error);
  check_gone();
}

}  // namespace lockfile::simulation
