// Waiting for one's turn.
#include "claim/turn.hpp"

#include "os/watch.hpp"

#include <algorithm>
#include <new>
#include <utility>

namespace lockfile::claim {
namespace {

// Process and time namespaces have numbers of 32 bits (namespaces(7)): one word has both.
std::uint64_t namespaces_of(const os::Identity& self) noexcept {
  return (self.pid_namespace & 0xFFFF'FFFFU) | self.time_namespace << 32U;
}

// What became of whoever has that slot. A process of another pid namespace is judged by whether it can be woken.
ProcessesSeen see_owner(const Directory& directory, const Names& names, const SlotOwner& owner) {
  const os::Identity& self = directory.process().identity();
  ProcessesSeen seen;
  if (self.pid_namespace != 0 && (owner.namespaces & 0xFFFF'FFFFU) == (self.pid_namespace & 0xFFFF'FFFFU)) {
    Record record;
    record.pid = owner.pid;
    record.start = owner.start;
    if (owner.namespaces == namespaces_of(self)) record.time_namespace = self.time_namespace;
    return see_processes(directory.process(), record, nullptr);
  }
  if (can_be_woken(directory, names, owner) == Woken::gone) seen.state = Processes::ended;
  seen.all_watched = false;
  return seen;
}

// Gives a token to whoever stands there. Who cannot be woken any more stands there no longer: false.
bool tell(const QueueAt& at, const Place& place) {
  if (wake(at.directory, at.names, at.queue.owner_of(place.slot)) != Woken::gone) return true;
  (void)at.queue.drop_dead(place);
  return false;
}

bool tell_first_of(const QueueAt& at) {
  std::uint64_t told = 0;
  bool stands = false;
  for (std::size_t i = 0; i < Queue::slots && !stands; ++i) {
    const Place* const first = Queue::behind(at.queue.look(), told);
    if (first == nullptr) break;
    const Place place = *first;
    told = place.number();
    stands = tell(at, place);
  }
  std::vector<Place> passed;
  for (const Place& each : at.queue.look()) {
    if (each.passed()) passed.push_back(each);
  }
  for (const Place& each : passed) (void)tell(at, each);
  return stands;
}

}  // namespace

bool tell_first(const QueueAt& at) noexcept {
  try {
    return tell_first_of(at);
  } catch (const std::bad_alloc&) {
    return true;  // they look again by themselves; not reached by tests
  }
}

std::optional<Queue::Written> first_alive(const QueueAt& at) {
  for (std::size_t i = 0; i < Queue::slots; ++i) {
    const Place* const first = Queue::behind(at.queue.look(), 0);
    if (first == nullptr) return std::nullopt;
    Queue::Written found{*first, at.queue.owner_of(first->slot), at.queue.since(first->slot)};
    if (see_owner(at.directory, at.names, found.owner).state == Processes::running) return found;
    (void)at.queue.drop_dead(found.place);
  }
  return std::nullopt;  // more have died than there are places; not reached by tests
}

std::vector<Waiter> waiters_in(const Directory& directory, const Names& names,
                               const std::vector<Queue::Written>& written) {
  const os::Identity& self = directory.process().identity();
  std::vector<Waiter> waiters;
  for (const Queue::Written& each : written) {
    if (see_owner(directory, names, each.owner).state == Processes::ended) continue;
    Waiter waiter;
    waiter.mode = each.place.mode();
    waiter.host = self.host;
    waiter.pid = each.owner.pid;
    waiter.thread = each.owner.thread;
    waiter.program = each.owner.program;
    waiter.since = std::chrono::steady_clock::time_point(each.since);
    waiter.passed = each.place.passed() && !each.place.was_born_passed();
    waiter.this_process = each.owner.pid == self.pid && each.owner.namespaces == namespaces_of(self);
    waiters.push_back(std::move(waiter));
  }
  return waiters;
}

bool is_idle_before_a_free_lock(const QueueAt& at, const Place& place) noexcept {
  os::System& system = at.directory.system();
  const auto now = system.now().time_since_epoch();
  return at.queue.idle_since(place, now) + grace <= now;
}

std::optional<Place> place_of(const QueueAt& at, std::int64_t pid, std::int64_t thread) {
  for (const Place& each : at.queue.look()) {
    const SlotOwner owner = at.queue.owner_of(each.slot);
    if (owner.pid == pid && owner.thread == thread) return each;
  }
  return std::nullopt;
}

std::unique_ptr<Seat> Seat::make(std::shared_ptr<Directory> directory, const Names& names, Access access) {
  auto made = WakeFifo::make(std::move(directory), names, access);
  if (!made.fifo) return nullptr;
  return std::make_unique<Seat>(std::move(made.fifo));
}

bool Seat::enter(const QueueAt& at, std::int64_t thread) {
  if (slot_ && at.queue.is_owned_by(*slot_, fifo_->id())) {
    at.queue.set_thread(*slot_, thread);
    return true;
  }
  const os::Identity& self = at.directory.process().identity();
  slot_ = at.queue.enter(
      {.id = fifo_->id(),
       .pid = self.pid,
       .start = self.start,
       .namespaces = namespaces_of(self),
       .thread = thread,
       .uid = fifo_->uid(),
       .program = self.program},
      [&](const SlotOwner& other) { return can_be_woken(at.directory, at.names, other) == Woken::gone; });
  return slot_.has_value();
}

void Seat::leave(Queue& queue) noexcept {
  if (slot_) queue.leave(*slot_, fifo_->id());
  slot_.reset();
}

bool Turn::line_up(const QueueAt& at, Mode mode, std::int64_t thread, Queue::Born born) {
  if (!seat_->enter(at, thread)) return false;
  seat_->fifo().drain();
  place_ = at.queue.stand(*seat_->slot(), mode, at.directory.system().now().time_since_epoch(), born);
  before_ = {};
  slow_at_.reset();
  just_lined_up_ = true;
  return place_.has_value();
}

std::optional<bool> Turn::has_ended(const QueueAt& at, const Place& place) {
  os::System& system = at.directory.system();
  if (before_.number == place.number()) {
    if (!before_.process) return false;  // told by the slow look
    const auto over = system.readable(before_.process->source().descriptor());
    return over.ok() && over.value;
  }
  ProcessesSeen seen = see_owner(at.directory, at.names, at.queue.owner_of(place.slot));
  if (!at.queue.look_at(place)) return std::nullopt;  // what was read may be another's
  before_ = {place.number(), {}};
  if (!seen.watches.empty()) before_.process = std::move(seen.watches.front());
  return seen.state == Processes::ended;
}

bool Turn::is_in(Queue& queue) noexcept { return place_ && queue.is_owned_by(place_->slot, seat_->fifo().id()); }

void Turn::pass_those_ahead(const QueueAt& at) noexcept {
  for (const Place& each : at.queue.look()) {
    if (each.number() < place_->number()) (void)at.queue.pass(each);
  }
}

// True: those ahead do not move though they could.
bool Turn::is_slow(const QueueAt& at, std::span<const Place> places, const std::function<bool()>& would_enter) {
  const auto now = at.directory.system().now();
  const std::size_t ahead = Queue::ahead_of(places, place_->number());
  const Place* const first = Queue::behind(places, 0);
  const std::uint64_t lowest = first != nullptr ? first->number() : 0;
  const auto whole = grace * static_cast<std::int64_t>(ahead + 1);
  if (!slow_at_ || lowest != lowest_ahead_ || ahead != ahead_) {
    lowest_ahead_ = lowest;
    ahead_ = ahead;
    was_free_ = false;
    slow_at_ = now + whole;
    return false;
  }
  if (now < *slow_at_) return false;
  if (!would_enter()) {
    was_free_ = false;
    slow_at_ = now + whole;
    return false;
  }
  if (was_free_) return true;
  was_free_ = true;
  slow_at_ = now + grace;
  return false;
}

Turn::What Turn::look(const QueueAt& at, const std::function<bool()>& would_enter, Blocked& blocked) {
  if (!is_in(at.queue)) {  // the line was made anew meanwhile; not reached by tests
    place_.reset();
    return What::lost;
  }
  // The FIFO has just been looked at and emptied when the place was taken.
  if (!std::exchange(just_lined_up_, false)) {
    // Whoever cannot be woken stands in nobody's way, not in its own either.
    if (!seat_->fifo().is_usable()) {
      give_up(at);
      return What::lost;
    }
    seat_->fifo().drain();
  }
  for (std::size_t i = 0; i < Queue::slots; ++i) {
    const auto now = at.queue.look_at(*place_);
    place_ = now;
    if (!now) return What::lost;
    if (now->passed()) return What::try_now;
    const auto places = at.queue.look();
    const Place* const before = Queue::before(places, now->number());
    if (before == nullptr) return What::try_now;
    const Place neighbour = *before;
    const bool slow = is_slow(at, places, would_enter);
    const auto ended = has_ended(at, neighbour);
    if (!ended) continue;
    // One that executed another program lives, and cannot be woken.
    if (*ended || (slow && can_be_woken(at.directory, at.names, at.queue.owner_of(neighbour.slot)) == Woken::gone)) {
      (void)at.queue.drop_dead(neighbour);
      continue;
    }
    if (slow) {
      pass_those_ahead(at);
      return What::try_now;
    }
    blocked.on.push_back(seat_->fifo().watch());
    if (before_.process) blocked.on.push_back(*before_.process);
    blocked.look_again = slow_at_;
    return What::sleep;
  }
  return What::try_now;  // they go faster than they can be looked at; not reached by tests
}

void Turn::sleep_as_first(os::System& system, Blocked& blocked) const {
  const auto is_process = [](const Watch& each) { return each.source().kind() == os::WatchSource::Kind::process; };
  const bool will_tell = blocked.by && !blocked.by->foreign && blocked.by->uid == seat_->fifo().uid() &&
                         !blocked.look_again && std::any_of(blocked.on.begin(), blocked.on.end(), is_process);
  if (will_tell) std::erase_if(blocked.on, [&](const Watch& each) { return !is_process(each); });
  blocked.on.push_back(seat_->fifo().watch());
  const auto slow = system.now() + look_of_the_first;
  blocked.look_again = blocked.look_again ? std::min(*blocked.look_again, slow) : slow;
}

void Turn::entered(const QueueAt& at) noexcept {
  const Place place = *std::exchange(place_, std::nullopt);
  (void)at.queue.drop(place);
  if (place.mode() == Mode::exclusive) return;
  const Place* const behind = Queue::behind(at.queue.look(), place.number());
  if (behind != nullptr && behind->mode() != Mode::exclusive) tell_one(at, *behind);
}

void Turn::give_up(const QueueAt& at) noexcept {
  if (!place_) return;
  const Place place = *std::exchange(place_, std::nullopt);
  (void)at.queue.drop(place);
  if (const Place* const behind = Queue::behind(at.queue.look(), place.number())) tell_one(at, *behind);
}

void Turn::tell_one(const QueueAt& at, Place place) noexcept {
  try {
    for (std::size_t i = 0; i < Queue::slots && !tell(at, place); ++i) {
      const Place* const behind = Queue::behind(at.queue.look(), place.number());
      if (behind == nullptr) return;
      place = *behind;
    }
  } catch (const std::bad_alloc&) {
    return;  // they look again by themselves; not reached by tests
  }
}

}  // namespace lockfile::claim
