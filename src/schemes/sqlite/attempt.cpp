// The protocol.
#include "schemes/sqlite/attempt.hpp"

#include <lockfile/error.hpp>

#include <algorithm>
#include <new>
#include <utility>

namespace lockfile::schemes::sqlite {
namespace {

using namespace std::chrono_literals;
using Patience = Database::Write::Patience;

// A transaction takes some microseconds. Who is met in the same one for so long is named.
constexpr auto slow_writer = 250ms;

std::error_code no_memory() noexcept { return std::make_error_code(std::errc::not_enough_memory); }

}  // namespace

// What could not be taken out of the tables by `withdraw` or `release` is left to the next transaction of this process.
// That may be long in coming. Whoever lets a place in meanwhile finds its FIFO gone, and lets the next one in instead.
Attempt::~Attempt() {
  leave_line();
  if (database_) database_->give_back(std::move(fifo_));
}

void Attempt::leave_line() noexcept {
  if (place_ == 0) return;
  try {
    database_->orphan({scheme_.name_.name, scheme_.name_.kind_number(), place_, true});
  } catch (const std::bad_alloc&) {
    // It stays until this process ends. Not reached by tests: a second refusal, after what kept it from leaving.
  }
  place_ = 0;
  if (fifo_) fifo_->drop();
  fifo_.reset();
}

Step Attempt::step() noexcept {
  try {
    try {
      return try_step();
    } catch (const Refused& refused) {
      if (refused.refusal().busy) return busy(refused.refusal());
      return Failed{refused.refusal().why, refused.refusal().what, {}};
    }
  } catch (const std::bad_alloc&) {
    return Failed{no_memory(), {}, {}};
  }
}

Step Attempt::try_step() {
  if (place_ != 0) {
    if (fifo_) fifo_->drain();
    if (auto step = look()) return *std::move(step);
  } else {
    Refusal refusal;
    auto database = scheme_.database(Database::For::taking_part, refusal);
    if (!database) throw Refused(std::move(refusal));
    if (database != database_ && database_) database_->give_back(std::move(fifo_));
    database_ = std::move(database);
  }
  // Who had to wait the last time is spared a transaction for nothing.
  if (waited_ && request_.may_queue && !fifo_ && place_ == 0) fifo_ = database_->take_kept_fifo();
  Step step = change();
  const bool lines_up = std::holds_alternative<Blocked>(step) && place_ == 0 && request_.may_queue;
  if (!lines_up) return step;
  // Nothing is made within a transaction.
  if (!fifo_) fifo_ = database_->take_fifo();
  no_fifo_ = !fifo_;
  return change();
}

Step Attempt::granted(const Hold& hold) {
  waited_ = place_ != 0;
  if (place_ != 0) database_->waits_no_more(place_);
  place_ = 0;
  number_ = hold.number;
  writer_ = 0;
  return Granted{request_.mode == Mode::exclusive ? number_ : 0, hold.died};
}

std::optional<Step> Attempt::look() {
  const Database::Look look(*database_);
  // The hold first, the place second; within one transaction, see scheme.hpp.
  if (const auto hold = granted_to(*database_, scheme_.name_, place_)) return granted(*hold);
  if (!stands_in_line(*database_, scheme_.name_, place_)) {
    database_->waits_no_more(place_);
    place_ = 0;
    return std::nullopt;
  }
  auto blocked = this->blocked();
  return blocked ? std::optional<Step>(*std::move(blocked)) : std::nullopt;
}

Step Attempt::change() {
  std::optional<Step> step;
  const std::uint64_t place_before = place_;
  try {
    write(*database_, request_.may_queue ? Patience::moment : Patience::longer,
          [&](std::vector<Database::Token>& tokens) {
            Change change(*database_, scheme_.name_, tokens);
            bool others_wait = false;
            if (place_ == 0 && is_idle(*database_, scheme_.name_)) {
              change.has_no_holds();
            } else {
              change.remove_dead(wanted());
              others_wait = change.let_in();
            }
            enter_or_line_up(change, others_wait, step);
          });
  } catch (...) {
    // Nothing has happened, so nothing was granted, and whoever waited waits.
    if (place_ != 0 && place_ != place_before) database_->waits_no_more(place_);
    if (place_before != 0) database_->waits(place_before);
    number_ = 0;
    place_ = place_before;
    throw;
  }
  return *std::move(step);
}

void Attempt::enter_or_line_up(Change& change, bool others_wait, std::optional<Step>& step) {
  if (place_ != 0) {
    if (const auto hold = granted_to(*database_, scheme_.name_, place_)) {
      step = granted(*hold);
      return;
    }
    if (!stands_in_line(*database_, scheme_.name_, place_)) {  // since `look`; not reached by tests
      database_->waits_no_more(place_);
      place_ = 0;
    }
  }
  if (place_ == 0) {
    Hold hold;
    hold.mode = request_.mode;
    hold.units = scheme_.units_;
    hold.process = database_->self();
    hold.thread = request_.thread;
    hold.reason = scheme_.options_.reason;
    hold.died = change.died();
    if (fifo_) hold.token = {fifo_->id(), fifo_->uid()};
    const bool passes = scheme_.options_.order == Order::throughput || !others_wait;
    if (passes && admits(change.holds(), scheme_.name_, wanted())) {
      hold.number = change.add(hold);
      step = granted(hold);
      return;
    }
    if (request_.may_queue && (fifo_ || no_fifo_)) {
      place_ = database_->next_number();
      const auto since = system().now().time_since_epoch();
      Query query(*database_, Sql::add_place);
      query.with(scheme_.name_.name).with(scheme_.name_.kind_number()).with(static_cast<std::int64_t>(place_));
      query.with(std::int64_t{hold.mode == Mode::exclusive ? 0 : 1}).with(hold.units).with(scheme_.most_);
      query.with(hold.process).with(hold.thread);
      query.with(static_cast<std::int64_t>(hold.token.fifo)).with(std::int64_t{hold.token.uid});
      query.with(std::chrono::duration_cast<std::chrono::nanoseconds>(since).count()).with(hold.reason).run();
      database_->waits(place_);
    }
  }
  auto blocked = this->blocked();
  step = blocked ? *std::move(blocked) : Blocked{.on = {}, .look_again = system().now(), .by = {}};
}

// Of a semaphore: this thread's own units are in the way only where all the others would not do.
std::optional<Blocked> Attempt::blocked_by(const std::vector<Hold>& holds) {
  std::optional<Blocked> blocked;
  std::optional<Holder> own;
  std::int64_t own_units = 0;
  for (const Hold& each : holds) {
    if (!is_in_the_way(each, scheme_.name_, wanted())) continue;
    const Participant who = database_->participant(each.process);
    const Database::Seen seen = database_->judge(who);
    if (seen.judgement.verdict == Verdict::dead) return std::nullopt;
    Holder holder = holder_from(*database_, each, who, seen);
    if (!blocked) blocked.emplace();
    watch(*blocked, seen);
    if (scheme_.name_.kind == Kind::lock) {
      blocked->by = std::move(holder);
      return blocked;  // the others are looked at when this one has left
    }
    if (holder.this_process && holder.thread == request_.thread) {
      own_units += each.units;
      own = std::move(holder);
    } else if (!blocked->by) {
      blocked->by = std::move(holder);
    }
  }
  if (own && own_units + scheme_.units_ > scheme_.most_) blocked->by = std::move(own);
  return blocked;
}

std::optional<Blocked> Attempt::blocked() {
  const std::vector<Hold> holds = holds_of(*database_, scheme_.name_);
  std::optional<Participant> before;
  if (place_ != 0) {
    Query query(*database_, Sql::before);
    query.with(scheme_.name_.name).with(scheme_.name_.kind_number()).with(static_cast<std::int64_t>(place_));
    if (query.next()) before = database_->participant(query.number(0));
  } else if (admits(holds, scheme_.name_, wanted())) {
    // Kept out by those who wait, and not by those who hold.
    const auto first = first_in_line(*database_, scheme_.name_);
    if (!first) return std::nullopt;  // it was there in this very transaction; not reached by tests
    before = database_->participant(first->process);
  }
  std::optional<Blocked> blocked;
  if (before) {
    // The holders are those ahead's to watch; the first of them is told all the same.
    const Database::Seen seen = database_->judge(*before);
    if (seen.judgement.verdict == Verdict::dead) return std::nullopt;
    blocked.emplace();
    watch(*blocked, seen);
    if (!holds.empty()) {
      const Participant who = database_->participant(holds.front().process);
      blocked->by = holder_from(*database_, holds.front(), who, database_->judge(who));
    }
  } else {
    blocked = blocked_by(holds);
    if (!blocked) return std::nullopt;
  }
  if (place_ != 0 && fifo_) blocked->on.push_back(fifo_->watch());
  return blocked;
}

// Whoever has let us in may have been killed before it could tell, so everybody looks now and then, however it is
// woken.
void Attempt::watch(Blocked& blocked, const Database::Seen& seen) {
  blocked.on.insert(blocked.on.end(), seen.processes.watches.begin(), seen.processes.watches.end());
  const bool woken = fifo_ && seen.processes.all_watched;
  const auto soon = woken ? os::Backoff(1000ms, 1000ms).next(system()) : looks_.next(system());
  blocked.look_again = blocked.look_again ? std::min(*blocked.look_again, soon) : soon;
}

Step Attempt::busy(const Refusal& refusal) {
  os::System& system = os::Process::current().system();
  const auto now = system.now();
  if (refusal.writer == 0 || refusal.writer != writer_ || refusal.writes != writes_) {
    writer_ = refusal.writer;
    writes_ = refusal.writes;
    writer_since_ = now;
  }
  Blocked blocked;
  blocked.look_again = now + 200us + std::chrono::microseconds(system.random() % 600);
  const bool slow = !request_.may_queue || now - writer_since_ >= slow_writer;
  if (slow) {
    Refusal unsure;
    const auto database = scheme_.database(Database::For::looking, unsure);
    if (database) blocked.by = database->writer(writer_);
  }
  if (slow) blocked.look_again = os::Backoff(10ms, 10ms).next(system);
  return blocked;
}

std::optional<Blocked> Attempt::withdraw() noexcept {
  if (place_ != 0) {
    try {
      write(*database_, Patience::leaving, [&](std::vector<Database::Token>& tokens) {
        Change change(*database_, scheme_.name_, tokens);
        if (const auto hold = granted_to(*database_, scheme_.name_, place_)) (void)change.end(hold->number);
        (void)change.end_place(place_);
        (void)change.let_in();
        database_->waits_no_more(place_);
      });
      place_ = 0;
    } catch (const Refused&) {
      leave_line();
    } catch (const std::bad_alloc&) {  // not reached by tests
      leave_line();
    }
  }
  if (database_) database_->give_back(std::move(fifo_));
  writer_ = 0;
  return std::nullopt;
}

std::error_code Attempt::release() noexcept {
  const std::uint64_t number = std::exchange(number_, 0);
  watched_ = false;
  lost_.clear();
  std::error_code error;
  bool ended = false;
  bool somebody = false;
  try {
    try {
      write(*database_, Patience::release, [&](std::vector<Database::Token>& tokens) {
        Change change(*database_, scheme_.name_, tokens);
        ended = change.end(number);
        if (ended) (void)change.let_in();
        if (ended) return;
        const auto& holds = change.holds();
        somebody = std::any_of(holds.begin(), holds.end(),
                               [&](const Hold& each) { return !database_->is_dead(each.process); });
      });
      if (!ended) error = somebody ? errc::not_my_lock : errc::not_locked;
    } catch (const Refused& refused) {
      error = refused.refusal().busy ? std::make_error_code(std::errc::timed_out) : refused.refusal().why;
      database_->orphan({scheme_.name_.name, scheme_.name_.kind_number(), number, false});
    }
  } catch (const std::bad_alloc&) {  // to tell what SQLite refused; not reached by tests: two troubles
    error = no_memory();
  }
  database_->give_back(std::move(fifo_));
  return error;
}

bool Attempt::still_held(std::error_code& why) noexcept {
  why.clear();
  try {
    try {
      if (watched_ && fifo_) fifo_->drain();  // before the look: a token that comes later is for the next one
      const Database::Look look(*database_);
      return stands(*database_, scheme_.name_, number_);
    } catch (const Refused& refused) {
      // Busy only while somebody begins the log anew; not reached by tests.
      why = refused.refusal().busy ? std::make_error_code(std::errc::resource_unavailable_try_again)
                                   : refused.refusal().why;
    }
  } catch (const std::bad_alloc&) {  // not reached by tests, as above
    why = no_memory();
  }
  return false;
}

// Whoever breaks the hold puts a token into the FIFO that its row names.
std::span<const Watch> Attempt::lost() noexcept {
  try {
    if (!watched_) {
      if (!fifo_) fifo_ = database_->take_fifo();
      if (!fifo_) return {};
      write(*database_, Patience::longer, [&](std::vector<Database::Token>& /*tokens*/) {
        Query query(*database_, Sql::wake_hold);
        query.with(scheme_.name_.name).with(scheme_.name_.kind_number()).with(static_cast<std::int64_t>(number_));
        query.with(static_cast<std::int64_t>(fifo_->id())).with(std::int64_t{fifo_->uid()}).run();
      });
      watched_ = true;
    }
    lost_.assign(1, fifo_->watch());
    return lost_;
  } catch (const std::exception&) {
    return {};  // whoever watches asks now and then; not reached by tests
  }
}

void Attempt::abandon() noexcept {
  place_ = 0;
  number_ = 0;
  if (fifo_) fifo_->abandon();
  fifo_.reset();
  if (database_) (void)new std::shared_ptr<Database>(std::move(database_));  // see Scheme::abandon
}

bool Attempt::reuse(const Request& request) noexcept {
  if (place_ != 0 || number_ != 0) return false;
  request_ = request;
  watched_ = false;
  writer_ = 0;
  no_fifo_ = false;
  looks_ = os::Backoff(2ms, 50ms);
  return true;
}

}  // namespace lockfile::schemes::sqlite
