// Looking at a lock, breaking a hold, and what is kept of a lock object.
#include "schemes/postgresql/scheme.hpp"

#include "schemes/engines.hpp"
#include "schemes/postgresql/attempt.hpp"
#include "schemes/postgresql/key.hpp"
#include "schemes/postgresql/schema.hpp"
#include "schemes/postgresql/semaphore.hpp"

#include "os/socket.hpp"

#include <lockfile/error.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <new>
#include <utility>

namespace lockfile::schemes::postgresql {
namespace {

using namespace std::chrono_literals;

template <class Number>
Number parse(std::string_view text, int base) noexcept {
  Number number = 0;
  (void)std::from_chars(text.data(), text.data() + text.size(), number, base);
  return number;
}

std::string hex(std::uint64_t number) {
  std::array<char, 16> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number, 16);
  return {digits.data(), end.ptr};
}

// What a session says of itself in its application_name, see schema.cpp: "lockfile SINCE THREAD NUMBER", the first two
// in base 16.
struct Told {
  bool is_ours = false;
  std::int64_t since = 0;  // microseconds since 1970
  std::int64_t thread = 0;
  std::int64_t number = 0;
};
constexpr std::string_view said_first = "lockfile ";

Told told_in(std::string_view text) noexcept {
  Told told;
  if (!text.starts_with(said_first)) return told;
  text.remove_prefix(said_first.size());
  const auto word = [&] {
    const std::string_view first = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(first.size() + 1, text.size()));
    return first;
  };
  told.is_ours = true;
  told.since = parse<std::int64_t>(word(), 16);
  told.thread = parse<std::int64_t>(word(), 16);
  told.number = parse<std::int64_t>(word(), 10);
  return told;
}

enum Column : int {
  granted,
  mode,
  backend,
  backend_start,
  process,
  process_start,
  boot,
  host,
  program,
  reason,
  application,
  user,
  waited,
};

}  // namespace

std::string what_a_session_says(std::int64_t thread) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto since = std::chrono::duration_cast<std::chrono::microseconds>(now).count();
  return std::string(said_first) + hex(static_cast<std::uint64_t>(since)) + ' ' +
         hex(static_cast<std::uint64_t>(thread)) + ' ';
}

std::int64_t thread_in(std::string_view application) noexcept { return told_in(application).thread; }

Seen seen_in(const Connection& answer, const Place& place, std::chrono::steady_clock::time_point now) {
  const os::Identity& self = os::Process::current().identity();
  Seen seen;
  for (std::size_t row = 0; row < answer.rows(); ++row) {
    const Told told = answer.is_null(row, application) ? Told{} : told_in(answer.text(row, application));
    const bool is_granted = answer.number(row, granted) != 0;
    Holder holder;
    holder.scheme = "postgresql";
    holder.mode = answer.text(row, mode) == "ShareLock" ? Mode::shared : Mode::exclusive;
    holder.verdict = Verdict::alive;
    holder.note = "its session stands";
    if (answer.is_null(row, backend_start) || !told.is_ours) {
      holder.foreign = true;
      holder.note = "an advisory lock of another program";
      if (!answer.is_null(row, user)) holder.note += ", of user " + std::string(answer.text(row, user));
      holder.nonce = std::to_string(answer.number(row, backend));
    } else {
      holder.nonce =
          std::to_string(answer.number(row, backend)) + "." + std::to_string(answer.number(row, backend_start));
      holder.number = fence_of(answer.timeline(), told.number);
      holder.host = answer.text(row, host);
      holder.pid = answer.number(row, process);
      holder.thread = told.thread;
      holder.program = answer.text(row, program);
      holder.reason = answer.text(row, reason);
      holder.since = std::chrono::system_clock::time_point(std::chrono::microseconds(told.since));
      holder.this_process = holder.pid == self.pid && holder.host == self.host && answer.text(row, boot) == self.boot &&
                            answer.text(row, process_start) == std::to_string(self.start);
    }
    holder.waits = !is_granted;
    if (holder.this_process && is_granted) {
      const auto thread = os::Process::current().part<Pool>().thread_of_hold(answer.number(row, backend), place);
      holder.waits = !thread;
      holder.thread = thread.value_or(holder.thread);
    }
    if (!holder.waits) {
      seen.holders.push_back(std::move(holder));
      continue;
    }
    const auto since = answer.is_null(row, waited) ? 0 : answer.number(row, waited);
    seen.waiters.push_back({.mode = holder.mode,
                            .host = holder.host,
                            .pid = holder.pid,
                            .thread = holder.thread,
                            .program = holder.program,
                            .since = now - std::chrono::microseconds(since),
                            .this_process = holder.this_process});
    seen.waiting.push_back(std::move(holder));
  }
  return seen;
}

Errand::Errand(const Place& place, const std::string& reason, std::chrono::milliseconds patience)
    : process_(os::Process::current()),
      place_(place),
      reason_(reason),
      until_(process_.system().now() + patience),
      connection_(process_.part<Pool>().take(place, reason)) {}

Errand::~Errand() {
  if (connection_) process_.part<Pool>().give(std::move(connection_));
}

bool Errand::ask(Statement statement, const Arguments& arguments) {
  const bool was_idle = connection_ != nullptr;
  if (ask_once(statement, arguments)) return true;
  // It may have ended long ago, with the server that it belonged to.
  if (!was_idle || connection_->advance() != Connection::Progress::broken) return false;
  connection_.reset();
  return ask_once(statement, arguments);
}

bool Errand::ask_once(Statement statement, const Arguments& arguments) {
  if (!connection_) connection_ = std::make_unique<Connection>(process_, place_, reason_);
  auto trouble = connection_->ask_by(until_, statement, arguments);
  if (!trouble) return true;
  trouble_ = *std::move(trouble);
  return false;
}

SessionScheme::SessionScheme(std::string place, std::string name, std::string reason)
    : place_(place_of(place)), name_(std::move(name)), reason_(std::move(reason)) {}

std::chrono::milliseconds SessionScheme::patience() const noexcept {
  constexpr std::chrono::milliseconds short_one = 100ms;
  return unanswered.load() > 0 ? std::min(short_one, place_.patience) : place_.patience;
}

Seen SessionScheme::look(std::error_code& why) {
  why.clear();
  Errand errand(place_, reason_, patience());
  if (!errand.ask(Statement::locks, Arguments().add(first_held()).add(last_key()))) {
    why = errand.trouble().why;
    return {};
  }
  return seen_in(errand.answer(), place_, os::Process::current().system().now());
}

std::vector<Holder> SessionScheme::holders(std::error_code& why) { return look(why).holders; }

std::vector<Waiter> SessionScheme::waiters(std::error_code& why) {
  why.clear();
  Errand errand(place_, reason_, patience());
  if (!errand.ask(Statement::locks, Arguments().add(first_key()).add(last_key()))) {
    why = errand.trouble().why;
    return {};
  }
  return seen_in(errand.answer(), place_, os::Process::current().system().now()).waiters;
}

std::optional<bool> SessionScheme::is_held_by(std::int64_t thread) noexcept {
  try {
    return os::Process::current().part<Pool>().holds(thread, place_, first_key());
  } catch (const std::bad_alloc&) {
    return false;  // it cannot be made, so it has not been there, and nothing is held
  }
}

std::error_code SessionScheme::break_hold(const Holder& hold, Proof proof) noexcept {
  try {
    // A session that stands is not stale, and another program's is not ours to end.
    if (proof == Proof::stale) return errc::not_locked;
    if (proof == Proof::foreign || hold.foreign) return errc::cannot_break;
    return break_by_force(hold);
  } catch (const std::bad_alloc&) {  // not reached by tests, whose memory is missing in acquires, looks and releases
    return std::make_error_code(std::errc::not_enough_memory);
  }
}

// Judged and ended in one statement: the very session, which still has the very hold. What may slip in between the two
// is the end of that hold and the beginning of another one in the same session, within microseconds: that one is lost
// too, and its holder is told so.
std::error_code SessionScheme::break_by_force(const Holder& hold) {
  const auto dot = hold.nonce.find('.');
  if (dot == std::string::npos) return errc::not_locked;
  const auto backend_pid = parse<std::int64_t>(std::string_view(hold.nonce).substr(0, dot), 10);
  const auto began = parse<std::int64_t>(std::string_view(hold.nonce).substr(dot + 1), 10);
  constexpr std::uint64_t of_the_sequence = (std::uint64_t{1} << 40) - 1;
  const std::string says = std::string(said_first) + "% " + std::to_string(hold.number & of_the_sequence);
  Errand errand(place_, reason_, patience());
  if (!errand.ask(Statement::terminate,
                  Arguments().add(backend_pid).add(began).add(says).add(first_held()).add(last_key()))) {
    return errand.trouble().why;
  }
  if (errand.answer().rows() == 0) return errc::not_locked;
  // It ends at its next wait or step, which is at once, unless its process is stopped. Then there is no breaking it.
  const auto give_up = os::Process::current().system().now() + 2s;
  for (auto wait = 200us; os::Process::current().system().now() < give_up;
       wait = std::min<std::chrono::microseconds>(2 * wait, 20ms)) {
    // Not reached by tests: the server is gone since it was told.
    if (!errand.ask(Statement::exists, Arguments().add(backend_pid).add(began))) return errand.trouble().why;
    if (errand.answer().number(0, 0) == 0) return {};
    (void)os::Process::current().system().wait({}, os::Process::current().system().now() + wait);
  }
  return std::make_error_code(std::errc::timed_out);
}

Scheme::Scheme(const FilePath& place, const Options& options)
    : SessionScheme(place.directory, place.name, options.reason), file_path_(place), key_(key_of(place.name)) {}

std::unique_ptr<lockfile::Attempt> Scheme::attempt(const Request& request) {
  return std::make_unique<LockAttempt>(*this, request);
}

std::unique_ptr<lockfile::Scheme> Scheme::semaphore(std::size_t units, std::size_t wanted) {
  return std::make_unique<Semaphore>(file_path_, reason(), units, wanted);
}

std::error_code Scheme::initialise(std::string& what) {
  os::Process& process = os::Process::current();
  Connection connection(process, place(), reason(), false);
  const auto trouble = connection.ask_by(process.system().now() + place().patience, schema_text());
  if (!trouble) return {};
  what = trouble->what;
  return trouble->why;
}

std::vector<std::string> Scheme::locked_names(std::error_code& why, std::string& what) {
  why.clear();
  os::Process& process = os::Process::current();
  Connection session(process, place(), reason());
  std::vector<std::string> all;
  if (const auto trouble = session.ask_by(process.system().now() + place().patience, named_locks())) {
    why = trouble->why;
    what = trouble->what;
    return all;
  }
  for (std::size_t row = 0; row < session.rows(); ++row) {
    std::string name(session.text(row, 0));
    // Else it is the number of a semaphore.
    if (std::to_string(key_of(name)) == session.text(row, 1)) all.push_back(std::move(name));
  }
  return all;
}

}  // namespace lockfile::schemes::postgresql

lockfile::Scheme* lockfile_make_postgresql(const lockfile::schemes::FilePath& place, const lockfile::Options& options) {
  return new lockfile::schemes::postgresql::Scheme(place, options);
}
