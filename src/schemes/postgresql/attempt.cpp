// Trying, waiting, holding, giving up.
#include "schemes/postgresql/attempt.hpp"

#include "schemes/postgresql/deadlock.hpp"

#include <lockfile/error.hpp>

#include <algorithm>
#include <new>
#include <utility>

namespace lockfile::schemes::postgresql {
namespace {

using namespace std::chrono_literals;
using Progress = Connection::Progress;

// A round trip is shorter than going to sleep in the wait loop and being woken. Who may wait is kept for so long at
// most.
constexpr auto a_moment = 50ms;
// To take a wait back, before the session is closed instead.
constexpr auto longest_withdrawal = 1s;
// A look at a hold: then it cannot be told.
constexpr auto longest_look = 2s;
constexpr int most_clearings = 4;
constexpr std::chrono::milliseconds first_look_for_cycle = 1s;
constexpr std::chrono::milliseconds most_seldom_look = 60s;

Step no_memory() { return Failed{std::make_error_code(std::errc::not_enough_memory), {}, {}}; }

}  // namespace

// For schemes that ask nothing of their own. Not reached: who comes to `own` or `listening` has its own.
std::optional<Step> SessionAttempt::own_answer(Connection& /*session*/) { return std::nullopt; }
std::optional<Step> SessionAttempt::heard(Connection& /*session*/) { return std::nullopt; }

Step SessionAttempt::step() noexcept {
  try {
    return try_step();
  } catch (const std::bad_alloc&) {
    return no_memory();
  }
}

void SessionAttempt::await_answer() noexcept {
  answer_by_ = system().now() + scheme_.place().patience;
  if (!awaited_) ++scheme_.unanswered;
  awaited_ = true;
}

void SessionAttempt::answered() noexcept {
  if (awaited_) --scheme_.unanswered;
  awaited_ = false;
}

void SessionAttempt::begin_hold() {
  os::Process::current().part<Pool>().begin_hold(session_->backend(), scheme_.place(), key(), request_.thread);
  holds_as_ = session_->backend();
}

void SessionAttempt::end_hold() noexcept {
  if (holds_as_ == 0) return;
  try {
    os::Process::current().part<Pool>().end_hold(holds_as_, scheme_.place());
  } catch (const std::bad_alloc&) {
    // Only in a forked child, which has no pool yet, and no hold in it. Not reached by tests.
  }
  holds_as_ = 0;
}

SessionAttempt::~SessionAttempt() {
  answered();
  end_hold();
}

Blocked SessionAttempt::blocked(const Connection& session, Progress progress) const {
  Blocked blocked;
  blocked.by = by_;
  if (progress == Progress::pauses) {
    blocked.look_again = session.again_at();
    if (awaited_) blocked.look_again = std::min(*blocked.look_again, answer_by_);
  } else if (progress == Progress::writes) {
    blocked.look_again = system().now() + 2ms;  // only while it connects
  } else {
    blocked.on.push_back(Watch::readable(session.descriptor()));
    if (awaited_) blocked.look_again = answer_by_;
  }
  return blocked;
}

Step SessionAttempt::try_step() {
  const Time began = system().now();
  // Who only tries has no second step.
  const Time patient_until = began + (request_.may_queue ? a_moment : scheme_.place().patience + a_moment);
  if (state_ == State::pausing) {
    if (began < again_at_) return Blocked{{}, again_at_, by_};
    state_ = State::idle;
  }
  for (;;) {
    if (state_ == State::idle) begin();
    if (state_ == State::listening) {
      if (auto step = heard(*session_)) return *std::move(step);
      continue;
    }
    const Progress progress = session_->drive(state_ == State::waiting ? began : patient_until);
    if (progress == Progress::broken) {
      if (auto step = session_lost()) return *std::move(step);
      continue;
    }
    if (progress != Progress::ready) {
      if (awaited_ && system().now() >= answer_by_) {
        if (progress == Progress::pauses) return fail(session_->trouble());
        return fail({std::make_error_code(std::errc::timed_out), "the server does not answer"});
      }
      if (is_in_a_cycle()) {
        return fail({std::make_error_code(std::errc::resource_deadlock_would_occur),
                     "others wait for what this thread holds, and it waits for them"});
      }
      Blocked waits = blocked(*session_, progress);
      if (state_ == State::waiting) waits.look_again = look_for_cycle_at_;
      return waits;
    }
    if (session_->failed()) {
      Trouble trouble = session_->trouble();
      if (session_->sql_state() == "40P01") trouble.what = "the server has found a cycle of waits";
      return fail(std::move(trouble));
    }
    if (auto step = next()) return *std::move(step);
  }
}

void SessionAttempt::begin() {
  os::Process& process = os::Process::current();
  if (!server_back_by_) session_ = process.part<Pool>().take(scheme_.place(), scheme_.reason());
  was_idle_ = session_ != nullptr;
  if (!session_) session_ = std::make_unique<Connection>(process, scheme_.place(), scheme_.reason());
  state_ = State::opening;
  looked_ = false;
  channel_.clear();
  begin_anew();
  await_answer();
}

// An answer came, and no failure.
std::optional<Step> SessionAttempt::next() {
  switch (state_) {
    case State::opening:
      return set_up();
    case State::telling:
      session_->set_reason(scheme_.reason());
      return set_up();
    case State::naming:
      return named();
    case State::adding:
      state_ = State::naming;
      session_->ask(Statement::name, Arguments().add(scheme_.first_key()));
      return std::nullopt;
    case State::trying:
      if (tried(*session_)) return held_with(number(*session_));
      return busy();
    case State::looking:
      return looked();
    case State::waiting:
      return waited(*session_);
    case State::reserving:
      session_->set_reserved(session_->number(0, 0));
      return held_with(number_);
    case State::own:
      return own_answer(*session_);
    default:
      // Not reached by tests: in the other states nothing is asked.
      return fail({std::make_error_code(std::errc::protocol_error), "an answer that was not expected"});
  }
}

std::optional<Step> SessionAttempt::set_up() {
  server_back_by_.reset();
  if (session_->reason() != scheme_.reason()) {
    state_ = State::telling;
    session_->ask(Statement::record, Arguments().add(scheme_.reason()));
  } else if (!session_->knows(scheme_.first_key())) {
    state_ = State::naming;
    session_->ask(Statement::name, Arguments().add(scheme_.first_key()));
  } else {
    ask_for_it();
  }
  return std::nullopt;
}

std::optional<Step> SessionAttempt::named() {
  if (session_->rows() == 0) {
    state_ = State::adding;
    session_->ask(Statement::add_name, Arguments().add(scheme_.first_key()).add(scheme_.lock_name()));
    return std::nullopt;
  }
  if (session_->text(0, 0) != scheme_.lock_name()) {
    return fail({std::make_error_code(std::errc::file_exists),
                 "'" + scheme_.lock_name() + "' and '" + std::string(session_->text(0, 0)) +
                     "' have the same number in this database: rename one of them"});
  }
  session_->learn(scheme_.first_key());
  ask_for_it();
  return std::nullopt;
}

void SessionAttempt::ask_for_it() {
  state_ = State::trying;
  ask_try(*session_);
}

std::optional<Step> SessionAttempt::busy() {
  Pool& pool = os::Process::current().part<Pool>();
  // Who only tries is told who has it. So is a thread that has it itself, and waits for itself.
  const bool looks = !looked_ && (!request_.may_queue || pool.holds(request_.thread, scheme_.place(), key()));
  if (!looks && request_.may_queue) {
    answered();
    if (is_admitted()) return waited(*session_);
    state_ = State::waiting;
    look_for_cycle_at_.reset();
    looks_for_cycle_every_ = first_look_for_cycle;
    if (pool.holds_any(request_.thread)) {
      look_for_cycle_at_ = system().now() + looks_for_cycle_every_;
    }
    ask_wait(*session_);
    return std::nullopt;
  }
  looked_ = true;
  state_ = State::looking;
  session_->ask(Statement::locks, Arguments().add(scheme_.first_key()).add(scheme_.last_key()));
  return std::nullopt;
}

std::optional<Step> SessionAttempt::looked() {
  Seen seen = seen_in(*session_, scheme_.place(), system().now());
  by_.reset();
  if (!seen.holders.empty()) by_ = std::move(seen.holders.front());
  // Our own session is there too, where it has been admitted.
  const std::string own = std::to_string(session_->backend()) + "." + std::to_string(session_->backend_start());
  for (Holder& each : seen.waiting) {
    if (!by_ && each.nonce != own) by_ = std::move(each);
  }
  // Else it has become free meanwhile; not reached by tests.
  if (!request_.may_queue && (by_ || is_admitted())) {
    answered();
    return Step(Blocked{{}, {}, by_});
  }
  if (by_ || is_admitted()) return busy();
  ask_for_it();
  return std::nullopt;
}

// Whoever is told a number may tell others of it, so no crash may make the server give it once more.
std::optional<Step> SessionAttempt::held_with(std::int64_t number) {
  if (number <= session_->reserved()) {
    return held({.fence = number == 0 ? 0 : fence_of(session_->timeline(), number)});
  }
  number_ = number;
  state_ = State::reserving;
  await_answer();
  session_->ask(Statement::reserve, Arguments().add(number));
  return std::nullopt;
}

Step SessionAttempt::held(Granted granted) {
  answered();
  begin_hold();
  state_ = State::held;
  by_.reset();
  return granted;
}

Step SessionAttempt::fail(Trouble trouble) {
  answered();
  state_ = State::failed;
  return Failed{trouble.why, std::move(trouble.what), {}};
}

bool SessionAttempt::is_in_a_cycle() {
  if (state_ != State::waiting || !look_for_cycle_at_ || system().now() < *look_for_cycle_at_) return false;
  looks_for_cycle_every_ = std::min(2 * looks_for_cycle_every_, most_seldom_look);
  constexpr std::chrono::milliseconds patience = 200ms;  // the wait has a deadline, and there are further looks
  Errand errand(scheme_.place(), scheme_.reason(), patience);
  const bool found = errand.ask(Statement::claims) && is_to_give_up(claims_in(errand.answer()), session_->backend());
  look_for_cycle_at_ = system().now() + looks_for_cycle_every_;
  return found;
}

// Whatever it had, it has no more: the server ends what a session holds before it lets another one have it.
std::optional<Step> SessionAttempt::session_lost() {
  const bool is_new = !was_idle_;
  const bool waited = state_ == State::waiting || state_ == State::reserving || state_ == State::own;
  Trouble trouble = session_->trouble();
  drop();
  answered();
  if (!is_new && !waited) return std::nullopt;  // it had ended long ago: anew, with a session that is new
  const Time now = system().now();
  if (waited) server_back_by_ = now + scheme_.place().patience;
  // It waits on, at the end of the queue: a server that is started again refuses for a while.
  if (server_back_by_ && now < *server_back_by_) {
    again_at_ = pauses_.next(system());
    state_ = State::pausing;
    return Step(Blocked{{}, again_at_, by_});
  }
  return fail(std::move(trouble));
}

void SessionAttempt::drop() noexcept {
  end_hold();
  session_.reset();
  canceller_.reset();
  state_ = State::idle;
}

std::optional<Blocked> SessionAttempt::withdraw() noexcept {
  try {
    return withdraw_further();
  } catch (const std::bad_alloc&) {  // not reached by tests, whose memory is missing in acquires, looks and releases
    answered();
    drop();
    return std::nullopt;
  }
}

void SessionAttempt::begin_withdrawal() {
  answered();
  answer_by_ = system().now() + longest_withdrawal;
  clearings_ = 0;
  by_.reset();
  server_back_by_.reset();
  if (!session_ || !session_->is_set_up()) {
    drop();
    return;
  }
  if (!session_->is_asked()) {
    clear();
    return;
  }
  if (state_ != State::waiting) {  // stopped between a question and its answer
    state_ = State::ending;        // the answer is on its way
    return;
  }
  os::Process& process = os::Process::current();
  state_ = State::cancelling;
  canceller_ = process.part<Pool>().take(scheme_.place(), scheme_.reason());
  canceller_was_idle_ = canceller_ != nullptr;
  if (!canceller_) canceller_ = std::make_unique<Connection>(process, scheme_.place(), scheme_.reason());
  if (canceller_->is_set_up()) {
    canceller_->ask(Statement::cancel, Arguments().add(session_->backend()).add(session_->backend_start()));
  }
}

// What a statement answers says nothing of what it has taken: of 109 lock statements that said "cancelled", 25 held
// the lock. So everything is given up, until a statement that does so has succeeded.
void SessionAttempt::clear() {
  state_ = State::clearing;
  ++clearings_;
  if (channel_.empty()) {
    session_->ask(Statement::unlock_all);
  } else {
    session_->ask("UNLISTEN *; SELECT pg_advisory_unlock_all()");
  }
}

std::optional<Blocked> SessionAttempt::withdraw_further() {
  if (!is_withdrawing()) begin_withdrawal();
  const Time patient_until = system().now() + 20ms;
  while (state_ != State::idle) {
    Connection& asked = state_ == State::cancelling ? *canceller_ : *session_;
    const Progress progress = asked.drive(patient_until);
    if (progress != Progress::ready && progress != Progress::broken) {
      if (system().now() < answer_by_) return blocked(asked, progress);
      drop();
    } else if (progress == Progress::broken && state_ == State::cancelling && canceller_was_idle_) {
      canceller_was_idle_ = false;  // the server ended the idle session just before
      canceller_ = std::make_unique<Connection>(os::Process::current(), scheme_.place(), scheme_.reason());
    } else if (progress == Progress::broken || (state_ == State::cancelling && asked.failed())) {
      drop();
    } else if (state_ == State::cancelling) {
      if (asked.rows() == 0 && !asked.has_answer()) {
        asked.ask(Statement::cancel, Arguments().add(session_->backend()).add(session_->backend_start()));
        continue;
      }
      os::Process::current().part<Pool>().give(std::move(canceller_));
      state_ = State::ending;
    } else if (state_ == State::ending) {
      clear();
    } else if (!asked.failed()) {
      os::Process::current().part<Pool>().give(std::move(session_));
      drop();
    } else if (clearings_ < most_clearings) {
      clear();  // the cancellation came late, and met this; not reached by tests, nor is the next
    } else {
      drop();
    }
  }
  channel_.clear();
  return std::nullopt;
}

std::error_code SessionAttempt::release() noexcept {
  try {
    lost_.clear();
    if (!session_) return code_of_lost();
    const Time until = system().now() + scheme_.place().patience;
    Progress progress = session_->drive(until);  // a look may be on its way yet
    if (progress == Progress::ready) {
      end_hold();
      ask_release(*session_);
      progress = session_->drive(until);
    }
    if (progress == Progress::broken) {
      drop();
      return code_of_lost();
    }
    if (progress != Progress::ready) {
      drop();  // the server lets go when it finds the session closed
      return std::make_error_code(std::errc::timed_out);
    }
    if (session_->failed()) {  // not reached by tests: an unlock that the server refuses, of a session that stands
      const std::error_code why = session_->trouble().why;
      drop();
      return why;
    }
    const bool was_ours = session_->number(0, 0) != 0;
    os::Process::current().part<Pool>().give(std::move(session_));
    drop();
    return was_ours ? std::error_code() : code_of_lost();
  } catch (const std::bad_alloc&) {
    drop();
    return std::make_error_code(std::errc::not_enough_memory);
  }
}

std::error_code SessionAttempt::code_of_lost() noexcept {
  try {
    std::error_code unsure;
    return scheme_.holders(unsure).empty() ? errc::not_locked : errc::not_my_lock;
  } catch (const std::bad_alloc&) {
    return errc::not_locked;
  }
}

// The session's own word, by way of the server: then both ends know of each other.
bool SessionAttempt::still_held(std::error_code& why) noexcept {
  why.clear();
  try {
    if (!session_) return false;
    const Time until = system().now() + std::min<std::chrono::milliseconds>(longest_look, scheme_.place().patience);
    Progress progress = session_->drive(until);
    if (progress == Progress::ready) {
      session_->ask(Statement::alive);
      progress = session_->drive(until);
    }
    if (progress != Progress::ready && progress != Progress::broken) {
      why = std::make_error_code(std::errc::timed_out);
      return false;
    }
    // The last two are not reached by tests: a question that needs nothing, and a pooler that came later.
    if (progress == Progress::broken || session_->failed() || session_->number(0, 0) != session_->backend()) {
      drop();
      return false;
    }
    return true;
  } catch (const std::bad_alloc&) {  // what the look needs is kept from the acquire; not reached by tests
    why = std::make_error_code(std::errc::not_enough_memory);
    return false;
  }
}

std::span<const Watch> SessionAttempt::lost() noexcept {
  try {
    lost_.clear();
    if (session_) lost_.push_back(Watch::readable(session_->descriptor()));
    return lost_;
  } catch (const std::bad_alloc&) {  // then by looks; not reached by tests
    return {};
  }
}

void SessionAttempt::abandon() noexcept {
  lost_.clear();
  drop();  // in a forked child a session that ends says nothing
}

bool SessionAttempt::reuse(const Request& request) noexcept {
  request_ = request;
  by_.reset();
  server_back_by_.reset();
  return true;
}

std::int64_t LockAttempt::number(const Connection& session) const noexcept {
  return request().mode == Mode::shared ? 0 : session.number(0, 0);
}

void LockAttempt::ask_try(Connection& session) {
  session.ask(request().mode == Mode::shared ? Statement::try_shared : Statement::try_exclusive,
              Arguments().add(key()).add(what_a_session_says(request().thread)));
}

bool LockAttempt::tried(Connection& session) { return !session.is_null(0, 0); }

void LockAttempt::ask_wait(Connection& session) {
  session.ask(request().mode == Mode::shared ? Statement::wait_shared : Statement::wait_exclusive,
              Arguments().add(key()).add(what_a_session_says(request().thread)));
}

std::optional<Step> LockAttempt::waited(Connection& session) { return held_with(number(session)); }

void LockAttempt::ask_release(Connection& session) {
  session.ask(request().mode == Mode::shared ? Statement::unlock_shared : Statement::unlock, Arguments().add(key()));
}

}  // namespace lockfile::schemes::postgresql
