// Sleeping on events.
#include "os/sleeper.hpp"

#include <algorithm>
#include <utility>

namespace lockfile::os {

std::shared_ptr<Notifier::Instance> Notifier::instance(Process& process) {
  const MutexGuard guard(system_, mutex_);
  std::shared_ptr<Instance> open = instance_.lock();
  if (open && open->descriptor.get() >= 0) return open;
  open = std::make_shared<Instance>();
  const auto descriptor = system_.notify_open();
  if (!descriptor.ok()) return nullptr;  // EMFILE: a reason to poll, not to fail
  open->descriptor.open(process, descriptor.value);
  instance_ = open;
  return open;
}

int Notifier::subscribe(const Instance& instance, int descriptor, Notice notice, Sleeper& sleeper) {
  const MutexGuard guard(system_, mutex_);
  subscriptions_.reserve(subscriptions_.size() + 1);
  const auto watch = system_.notify_add(instance.descriptor.get(), descriptor, notice);
  if (!watch.ok()) return -1;
  subscriptions_.push_back({watch.value, &sleeper});
  return watch.value;
}

void Notifier::unsubscribe(const Instance& instance, int watch, Sleeper& sleeper) noexcept {
  const MutexGuard guard(system_, mutex_);
  const auto ours = std::find_if(subscriptions_.begin(), subscriptions_.end(), [&](const Subscription& each) {
    return each.watch == watch && each.sleeper == &sleeper;
  });
  if (ours != subscriptions_.end()) subscriptions_.erase(ours);
  const bool others = std::any_of(subscriptions_.begin(), subscriptions_.end(),
                                  [&](const Subscription& each) { return each.watch == watch; });
  if (!others) system_.notify_remove(instance.descriptor.get(), watch);
}

bool Notifier::dispatch(const Instance& instance, Sleeper& reader) {
  const MutexGuard guard(system_, mutex_);
  const auto notifications = system_.notify_read(instance.descriptor.get());
  const bool everything = !notifications.ok();
  const auto concerns = [&](int watch) {
    return everything || std::any_of(notifications.value.begin(), notifications.value.end(),
                                     [&](const Notification& each) { return each.everything || each.watch == watch; });
  };
  bool for_reader = everything;
  for (const Subscription& each : subscriptions_) {
    if (!concerns(each.watch)) continue;
    if (each.sleeper == &reader) for_reader = true;
    for (Sleeper::Entry& entry : each.sleeper->entries_) {
      if (entry.number == each.watch) entry.fired = true;
    }
    if (each.sleeper != &reader) each.sleeper->wake();
  }
  return for_reader;
}

Sleeper::Sleeper(Process& process) : process_(process), system_(process.system()) {
  // Without an event (EMFILE) nobody can wake us: `arm` then says `not_all`, and the caller looks now and then.
  if (const auto event = system_.event_open(); event.ok()) event_ = File(system_, event.value);
}

Sleeper::~Sleeper() {
  for (const Entry& entry : entries_) disarm(entry);
}

void Sleeper::disarm(const Entry& entry) noexcept {
  if (entry.number >= 0) process_.notifier().unsubscribe(*instance_, entry.number, *this);
}

bool Sleeper::arm_one(const Watch& watch) {
  WatchSource& source = watch.source();
  {
    // Another sleeper may be looking through our entries just now.
    const MutexGuard guard(system_, process_.notifier().mutex_);
    entries_.reserve(entries_.size() + 1);  // nothing may throw between subscribing and remembering it
  }
  int number = -1;
  if (source.kind() == WatchSource::Kind::inode) {
    if (!instance_) instance_ = process_.notifier().instance(process_);
    if (instance_) number = process_.notifier().subscribe(*instance_, source.descriptor(), source.notice(), *this);
    source.close();
    if (number < 0) return false;
  }
  const MutexGuard guard(system_, process_.notifier().mutex_);
  entries_.push_back({watch, number, false});
  return true;
}

Sleeper::Armed Sleeper::arm(std::span<const Watch> on) {
  const auto wanted = [&](const Entry& entry) {
    return !entry.fired && std::any_of(on.begin(), on.end(), [&](const Watch& watch) {
      return watch.source().same_as(entry.watch.source());
    });
  };
  std::vector<Entry> dropped;
  {
    const MutexGuard guard(system_, process_.notifier().mutex_);
    const auto first_dropped = std::stable_partition(entries_.begin(), entries_.end(), wanted);
    dropped.assign(first_dropped, entries_.end());
    entries_.erase(first_dropped, entries_.end());
  }
  for (const Entry& entry : dropped) disarm(entry);

  bool all = event_.is_open();
  bool anew = false;
  for (const Watch& watch : on) {
    const bool armed = std::any_of(entries_.begin(), entries_.end(),
                                   [&](const Entry& entry) { return watch.source().same_as(entry.watch.source()); });
    if (armed) {
      if (watch.source().kind() == WatchSource::Kind::inode) watch.source().close();
    } else if (arm_one(watch)) {
      // What a descriptor has to read, and a process that has ended, are still there when it comes to sleep.
      anew = anew || watch.source().kind() == WatchSource::Kind::inode;
    } else {
      all = false;
    }
  }
  return !all ? Armed::not_all : anew ? Armed::anew : Armed::as_before;
}

Status Sleeper::sleep(std::optional<std::chrono::steady_clock::time_point> deadline) {
  // Awake for others' events only, or for the echo of a watch that was removed (IN_IGNORED): asleep again. Each turn
  // has read what woke it, and a wake-up that has no cause at all (a signal, the deadline) ends the sleep.
  for (;;) {
    bool ours = true;
    if (const Status failed = sleep_once(deadline, ours)) return failed;
    if (ours) return 0;
  }
}

Status Sleeper::sleep_once(std::optional<std::chrono::steady_clock::time_point> deadline, bool& ours) {
  std::vector<System::Waitable> on;
  on.reserve(entries_.size() + 2);
  const bool inodes =
      std::any_of(entries_.begin(), entries_.end(), [](const Entry& entry) { return entry.number >= 0; });
  if (event_.is_open()) on.push_back({event_.get()});
  if (inodes) on.push_back({instance_->descriptor.get()});
  const std::size_t fixed = on.size();
  for (const Entry& entry : entries_) {
    if (entry.number < 0) on.push_back({entry.watch.source().descriptor()});
  }
  if (const Status failed = system_.wait(on, deadline)) return failed;

  const bool noticed = inodes && on[fixed - 1].fired;
  const bool anything_else = std::any_of(on.begin(), on.end(), [&](const System::Waitable& each) {
    return each.fired && !(inodes && &each == &on[fixed - 1]);
  });
  if (event_.is_open() && on[0].fired) system_.event_clear(event_.get());
  const bool noticed_for_us = noticed && process_.notifier().dispatch(*instance_, *this);
  std::size_t at = fixed;
  for (Entry& entry : entries_) {
    // Dropped at the next arm: a pidfd stays readable for ever.
    if (entry.number < 0 && on[at++].fired) entry.fired = true;
  }
  ours = !noticed || noticed_for_us || anything_else;
  return 0;
}

void Sleeper::wake() noexcept {
  if (event_.is_open()) system_.event_set(event_.get());
}

}  // namespace lockfile::os
