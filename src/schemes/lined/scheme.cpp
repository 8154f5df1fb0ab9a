// Lining up, and telling the first.
#include "schemes/lined/scheme.hpp"

#include <lockfile/error.hpp>

#include <algorithm>
#include <new>
#include <utility>

namespace lockfile::schemes {
namespace {

// One for the next wait, and one more where threads take turns.
constexpr std::size_t most_seats = 2;

}  // namespace

class LinedAttempt final : public Attempt {
 public:
  LinedAttempt(LinedScheme& scheme, const Request& request)
      : scheme_(scheme), request_(request), inner_(scheme.inner_->file_attempt(request)) {}

  Step step() noexcept override {
    try {
      if (turn_) return step_in_line();
      if (auto waits = behind_others()) return *std::move(waits);
      if (!request_.may_queue) return told(inner_->step());
      Step step = told(inner_->step_before_line());
      auto* const blocked = std::get_if<Blocked>(&step);
      if (blocked == nullptr) return step;
      claim::Queue* const lined_up = line_up();
      if (lined_up == nullptr) {
        // A second step at once would be taken for an event, and begin the looks after one anew, for ever.
        const bool can_sleep = !blocked->on.empty() || blocked->look_again;
        return can_sleep ? step : told(inner_->step());
      }
      by_ = std::move(blocked->by);
      return step_in_line(lined_up);
    } catch (const std::bad_alloc&) {
      return Failed{std::make_error_code(std::errc::not_enough_memory), {}, {}};
    }
  }

  std::optional<Blocked> withdraw() noexcept override {
    if (auto more = inner_->withdraw()) return more;  // not reached by tests: none of them needs a second withdrawal
    leave_line(&claim::Turn::give_up);
    return std::nullopt;
  }

  std::error_code release() noexcept override {
    leave_line(&claim::Turn::give_up);  // another thread of this identity may be waiting for its upgrade
    tried_to_upgrade_ = false;
    const std::error_code error = inner_->release();
    scheme_.tell_first(LinedScheme::Sign::needed);
    return error;
  }

  // Who waits may be let in by what is less than it was.
  Step convert(Mode to) noexcept override {
    if (to == Mode::exclusive && scheme_.inner_->has_sign()) return upgrade_in_line();
    Step step = inner_->convert(to);
    if (to != Mode::exclusive && std::holds_alternative<Granted>(step)) {
      scheme_.tell_first(LinedScheme::Sign::needed);
    }
    return step;
  }
  void end_conversion() noexcept override {
    leave_line(&claim::Turn::give_up);
    tried_to_upgrade_ = false;
    inner_->end_conversion();
    scheme_.tell_first(LinedScheme::Sign::needed);
  }

  bool reuse(const Request& request) noexcept override {
    if (turn_ || !inner_->reuse(request)) return false;
    request_ = request;
    by_.reset();
    return true;
  }

  // A lock that has no sign of its own that somebody waits does not know, and has no short way.
  bool enter(const Request& request) noexcept override {
    if (turn_) return false;
    const bool is_in = inner_->enter(request);
    tell_if_it_seemed_to_hold();
    if (!is_in) return false;
    request_ = request;
    by_.reset();
    return true;
  }
  bool leave() noexcept override {
    if (turn_ || !inner_->leave()) return false;
    tried_to_upgrade_ = false;
    scheme_.tell_first(LinedScheme::Sign::needed);
    return true;
  }

  // Whoever stands in line, of whichever process, comes before the threads that are not in it.
  bool pass_to(std::int64_t thread) noexcept override { return !scheme_.anyone_stands() && inner_->pass_to(thread); }

  bool still_held(std::error_code& why) noexcept override { return inner_->still_held(why); }
  std::span<const Watch> lost() noexcept override { return inner_->lost(); }
  std::error_code renew() noexcept override { return inner_->renew(); }
  std::optional<std::chrono::nanoseconds> lease_end() const noexcept override { return inner_->lease_end(); }
  std::error_code hand_over(std::int64_t child) noexcept override { return inner_->hand_over(child); }
  std::optional<int> share_guard(std::error_code& why) noexcept override { return inner_->share_guard(why); }
  bool outlives_us() noexcept override { return inner_->outlives_us(); }

  void abandon() noexcept override {
    if (turn_) turn_->seat().fifo().abandon();
    turn_.reset();
    inner_->abandon();
  }

 private:
  // Who waits for the end of what was no hold is told of it, as of a release.
  void tell_if_it_seemed_to_hold() noexcept {
    if (inner_->seemed_to_hold()) scheme_.tell_first(LinedScheme::Sign::needed);
  }
  Step told(Step step) noexcept {
    tell_if_it_seemed_to_hold();
    return step;
  }

  // A newcomer does not pass those who wait. Nothing: nobody does, or they may be passed.
  std::optional<Step> behind_others() {
    // A look of before would let each of many readers go past a writer, one after the other.
    const bool nobody_waited = std::exchange(scheme_.nobody_waited_, false) && request_.mode == Mode::exclusive;
    if (scheme_.order_ == Order::throughput || nobody_waited) return std::nullopt;
    if (scheme_.inner_->sign_of_waiters() == 0) return std::nullopt;
    if (!scheme_.inner_->directory() && !scheme_.inner_->resolve().ok()) return std::nullopt;  // the step will tell
    claim::Queue* const queue = scheme_.queue();
    if (queue == nullptr || !queue->anyone_stands()) return std::nullopt;
    if (!request_.may_queue) return busy_behind(scheme_.at(*queue, *scheme_.inner_->directory()));
    // Nobody looks who holds: whoever holds something itself does so for all schemes (Engine::who_is_in_the_way).
    claim::Queue* const lined_up = line_up(queue);
    if (lined_up == nullptr) return std::nullopt;
    return step_in_line(lined_up);
  }

  // For who only tries. Whoever is first may have been killed, or be stopped beside a free lock.
  std::optional<Step> busy_behind(const claim::QueueAt& at) {
    const auto first = claim::first_alive(at);
    if (!first) return std::nullopt;
    std::error_code why;
    auto holders = scheme_.inner_->holders(why);
    for (Holder& each : holders) {
      if (each.verdict != Verdict::dead) return Blocked{{}, {}, std::move(each)};
    }
    if (!why && claim::is_idle_before_a_free_lock(at, first->place)) {
      (void)at.queue.pass(first->place);
      return std::nullopt;
    }
    Holder waiter;
    waiter.waits = true;
    waiter.verdict = Verdict::alive;
    waiter.mode = first->place.mode();
    waiter.host = at.directory.process().identity().host;
    waiter.pid = first->owner.pid;
    waiter.thread = first->owner.thread;
    waiter.program = first->owner.program;
    waiter.uid = first->owner.uid;
    return Blocked{{}, {}, std::move(waiter)};
  }

  // A lock that is a word in memory changes without an event. So whoever waits for the readers to leave takes a place
  // that is passed from the beginning: it is before nobody, and is told of every release. The place and the sign before
  // the look, each a full barrier: either the look sees that the reader has left, or the reader sees the sign.
  //
  //   upgrader: looks: R reads    place, sign   looks: R reads                     sleeps on its FIFO
  //   R:                                                        leaves   the sign: tells those who were passed
  Step upgrade_in_line() noexcept {
    try {
      // Each further one needs somebody to have taken the line away. That they come to an end is not reached by tests.
      constexpr int rounds = 8;
      for (int i = 0;; ++i) {
        if (turn_) turn_->seat().fifo().drain();
        Step step = inner_->convert(Mode::exclusive);
        auto* const blocked = std::get_if<Blocked>(&step);
        if (blocked == nullptr) {
          leave_line(&claim::Turn::entered);
          return step;
        }
        // Who only tries asks once, and needs no place. Whoever waits is asked again at once.
        if (!std::exchange(tried_to_upgrade_, true)) {
          blocked->look_again = os::Process::current().system().now();
          return step;
        }
        if (turn_ && stands_in_line()) {
          if (blocked->by) blocked->look_again.reset();
          turn_->sleep_as_first(os::Process::current().system(), *blocked);
          return step;
        }
        if (turn_) drop_turn();
        const bool gives_up = i == rounds || line_up(nullptr, claim::Queue::Born::passed) == nullptr;
        if (gives_up) return step;  // by looks
      }
    } catch (const std::bad_alloc&) {
      return Failed{std::make_error_code(std::errc::not_enough_memory), {}, {}};
    }
  }

  bool stands_in_line() {
    const auto directory = turn_->seat().fifo().shared_directory();
    claim::Queue* const queue = directory == scheme_.inner_->directory() ? scheme_.queue() : nullptr;
    return queue != nullptr && turn_->is_in(*queue) && turn_->seat().fifo().is_usable();
  }

  // The queue in which we stand now; null: there is none to stand in. `found`: it, if it has just been looked for.
  claim::Queue* line_up(claim::Queue* found = nullptr, claim::Queue::Born born = claim::Queue::Born::standing) {
    const auto directory = scheme_.inner_->directory();
    if (!directory) return nullptr;  // not reached by tests: whoever lines up has looked at the lock
    auto seat = scheme_.take_seat(directory);
    if (!seat) return nullptr;
    claim::Queue* const queue =
        found != nullptr && scheme_.line_.stays() ? found : scheme_.line_.find_or_make(directory);
    if (queue != nullptr) {
      turn_.emplace(std::move(seat));
      const Mode mode = born == claim::Queue::Born::passed ? Mode::exclusive : request_.mode;
      if (turn_->line_up(scheme_.at(*queue, *directory), mode, request_.thread, born)) {
        if (scheme_.line_.stays()) {
          scheme_.inner_->give_sign();
          return queue;
        }
        turn_->give_up(scheme_.at(*queue, *directory));
      }
      seat = turn_->take_seat();
      turn_.reset();
    }
    scheme_.drop_seat(std::move(seat));
    return nullptr;
  }

  // Without a line after all, as the inner scheme says; the next step lines up again.
  Step step_without_line() {
    drop_turn();
    return told(inner_->step());
  }

  // `found`: the queue, if our place in it has just been taken.
  Step step_in_line(claim::Queue* found = nullptr) {
    constexpr int rounds = 8;  // each further one needs somebody to have dropped our place
    for (int i = 0; i < rounds; ++i) {
      const auto directory = turn_->seat().fifo().shared_directory();
      claim::Queue* queue = std::exchange(found, nullptr);
      if (queue == nullptr && directory == scheme_.inner_->directory()) queue = scheme_.queue();
      if (queue == nullptr) return step_without_line();
      const claim::QueueAt at = scheme_.at(*queue, *directory);
      Blocked blocked;
      switch (turn_->look(
          at, [this] { return would_enter(); }, blocked)) {
        case claim::Turn::What::lost:
          drop_turn();
          found = line_up();
          if (found == nullptr) return told(inner_->step());
          continue;
        case claim::Turn::What::sleep:
          blocked.by = by_;
          return blocked;
        case claim::Turn::What::try_now:
          return try_as_first(directory->system());
      }
    }
    return step_without_line();  // not reached by tests
  }

  bool would_enter() {
    const auto told = inner_->would_enter();
    return told ? *told : scheme_.would_enter(request_.mode);
  }

  Step try_as_first(os::System& system) {
    // Who could not look into the line may have taken it away.
    if (scheme_.inner_->sign_of_waiters() == 0) scheme_.inner_->give_sign();
    Step step = told(inner_->step());
    if (std::holds_alternative<Granted>(step)) {
      leave_line(&claim::Turn::entered);
    } else if (auto* const blocked = std::get_if<Blocked>(&step)) {
      if (scheme_.inner_->has_sign() && blocked->by) blocked->look_again.reset();
      turn_->sleep_as_first(system, *blocked);
      by_ = blocked->by;
    }
    return step;
  }

  void leave_line(void (claim::Turn::*how)(const claim::QueueAt&) noexcept) noexcept {
    if (!turn_) return;
    const auto directory = turn_->seat().fifo().shared_directory();
    // No name is looked up for it: what is mapped can be left whatever is refused meanwhile.
    claim::Queue* const queue = scheme_.line_.mapped_in(*directory);
    if (queue == nullptr || !turn_->is_in(*queue)) return drop_turn();
    (*turn_.*how)(scheme_.at(*queue, *directory));
    scheme_.keep_seat(turn_->take_seat());
    turn_.reset();
  }

  // With its place, wherever it can be reached. Else whoever is behind drops that: its FIFO is gone.
  void drop_turn() noexcept {
    const auto directory = turn_->seat().fifo().shared_directory();
    claim::Queue* const queue = scheme_.line_.mapped_in(*directory);
    if (queue != nullptr && turn_->is_in(*queue)) turn_->give_up(scheme_.at(*queue, *directory));
    scheme_.drop_seat(turn_->take_seat());
    turn_.reset();
  }

  LinedScheme& scheme_;
  Request request_;
  std::unique_ptr<FileAttempt> inner_;
  std::optional<claim::Turn> turn_;
  std::optional<Holder> by_;  // who was in the way at the last look
  bool tried_to_upgrade_ = false;
};

LinedScheme::LinedScheme(std::unique_ptr<FileScheme> inner, std::string_view name, std::string_view kind,
                         const Options& options)
    : inner_(std::move(inner)),
      access_(options.access),
      order_(options.order),
      line_(claim::Names(name), kind, options.access) {}

LinedScheme::~LinedScheme() {
  for (auto& seat : seats_) drop_seat(std::move(seat));
  line_.leave();
}

std::unique_ptr<Attempt> LinedScheme::attempt(const Request& request) {
  return std::make_unique<LinedAttempt>(*this, request);
}

claim::Queue* LinedScheme::queue() {
  const auto directory = inner_->directory();
  return directory ? line_.find(directory) : nullptr;
}

bool LinedScheme::anyone_stands() noexcept {
  if (inner_->sign_of_waiters() == 0) return false;
  try {
    claim::Queue* const queue = this->queue();
    return queue != nullptr && queue->anyone_stands();
  } catch (const std::bad_alloc&) {
    return true;  // then it is not passed on; not reached by tests
  }
}

void LinedScheme::tell_first(Sign sign) noexcept {
  const std::uint64_t seen = inner_->sign_of_waiters();
  if (seen == 0 && sign == Sign::needed) return;
  nobody_waited_ = true;
  try {
    claim::Queue* const queue = this->queue();
    if (queue != nullptr) nobody_waited_ = !claim::tell_first(at(*queue, *inner_->directory()));
    // Those who were passed are told as well, and need the sign.
    if (nobody_waited_ && (queue == nullptr || queue->look().empty())) inner_->take_sign_away(seen);
  } catch (const std::bad_alloc&) {
    nobody_waited_ = false;  // they look again by themselves; not reached by tests
  }
}

std::unique_ptr<claim::Seat> LinedScheme::take_seat(const std::shared_ptr<claim::Directory>& directory) {
  while (!seats_.empty()) {
    auto seat = std::move(seats_.back());
    seats_.pop_back();
    if (seat->fifo().shared_directory() == directory && seat->fifo().is_usable()) return seat;
    drop_seat(std::move(seat));
  }
  if (!line_.can_be_in(directory) || no_fifo_in_.lock() == directory) return nullptr;
  seats_.reserve(most_seats);  // so that keeping one never needs memory
  auto seat = claim::Seat::make(directory, line_.names(), access_);
  if (!seat) no_fifo_in_ = directory;
  return seat;
}

void LinedScheme::keep_seat(std::unique_ptr<claim::Seat> seat) noexcept {
  if (seats_.size() < most_seats) {
    seats_.push_back(std::move(seat));
  } else {
    drop_seat(std::move(seat));
  }
}

void LinedScheme::drop_seat(std::unique_ptr<claim::Seat> seat) noexcept {
  if (seat->slot() && seat->fifo().shared_directory()->process().is_caller()) {
    if (claim::Queue* const queue = line_.mapped_in(*seat->fifo().shared_directory())) seat->leave(*queue);
  }
  seat->fifo().drop();
}

bool LinedScheme::would_enter(Mode mode) {
  std::error_code why;
  const auto holders = inner_->holders(why);
  return !why && std::none_of(holders.begin(), holders.end(), [&](const Holder& each) {
    return each.verdict != Verdict::dead && excludes(mode, each.mode);
  });
}

std::vector<Waiter> LinedScheme::waiters(std::error_code& why) {
  const auto directory = inner_->resolve();
  why = os::code_of(directory.error);
  if (!directory.ok()) return {};
  return claim::waiters_in(*directory.value, line_.names(), line_.read(*directory.value));
}

std::error_code LinedScheme::break_hold(const Holder& hold, Proof proof) noexcept {
  std::optional<claim::Place> its_place;
  try {
    if (inner_->resolve().ok()) {
      claim::Queue* const queue = this->queue();
      if (queue != nullptr) its_place = claim::place_of(at(*queue, *inner_->directory()), hold.pid, hold.thread);
    }
  } catch (const std::bad_alloc&) {
    its_place.reset();  // its own process drops it, or those behind pass it
  }
  const std::error_code error = inner_->break_hold(hold, proof);
  if (error) return error;
  if (its_place) tell_first(Sign::not_needed);  // who was broken while it waits to upgrade, before its place is dropped
  try {
    claim::Queue* const queue = this->queue();
    if (queue != nullptr && its_place) (void)queue->drop(*its_place);
  } catch (const std::bad_alloc&) {
    its_place.reset();  // whoever comes next drops a broken one's place; not reached by tests
  }
  tell_first(Sign::not_needed);
  return error;
}

void LinedScheme::abandon() noexcept {
  for (auto& seat : seats_) seat->fifo().abandon();
  seats_.clear();
  line_.abandon();
  nobody_waited_ = false;
  inner_->abandon();
}

}  // namespace lockfile::schemes
