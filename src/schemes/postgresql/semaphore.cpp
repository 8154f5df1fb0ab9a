// Taking units and giving them back.
#include "schemes/postgresql/semaphore.hpp"

#include "os/socket.hpp"
#include "schemes/postgresql/key.hpp"

namespace lockfile::schemes::postgresql {
namespace {

using namespace std::chrono_literals;

constexpr auto looks_for_the_dead = 1s;

}  // namespace

Semaphore::Semaphore(const FilePath& place, const std::string& reason, std::size_t units, std::size_t wanted)
    : SessionScheme(place.directory, place.name, reason),
      gate_(gate_of(place.name)),
      units_(static_cast<std::int64_t>(units)),
      wanted_(static_cast<std::int64_t>(wanted)) {}

Traits Semaphore::traits() const noexcept {
  return {.fair = true,
          .crash_recovery = true,
          .forced_break = true,
          .across_hosts = true,
          .event_wait = true,
          .queues = true};
}

std::unique_ptr<lockfile::Attempt> Semaphore::attempt(const Request& request) {
  return std::make_unique<UnitsAttempt>(*this, request);
}

void UnitsAttempt::begin_anew() noexcept {
  admitted_ = false;
  leaving_ = false;
}

void UnitsAttempt::ask_try(Connection& session) {
  session.ask(Statement::take_units, Arguments()
                                         .add(key())
                                         .add(what_a_session_says(request().thread))
                                         .add(semaphore_.units())
                                         .add(semaphore_.wanted()));
}

bool UnitsAttempt::tried(Connection& session) {
  if (session.is_null(0, 0)) return false;
  taken_ = session.text(0, 0);
  admitted_ = taken_.empty();
  return !admitted_;
}

void UnitsAttempt::ask_wait(Connection& session) {
  session.ask(Statement::wait_gate, Arguments().add(key()).add(what_a_session_says(request().thread)));
}

// The gate is ours. First it listens, then it looks.
std::optional<Step> UnitsAttempt::waited(Connection& session) {
  admitted_ = true;
  channel() = "lockfile_" + std::to_string(key());
  session.ask("LISTEN \"" + channel() + "\"");
  go_to(State::own);
  taken_.clear();
  return std::nullopt;
}

void UnitsAttempt::look(Connection& session) {
  (void)session.take_notification();
  look_at_ = system().now() + looks_for_the_dead;
  session.ask(Statement::take_more_units, Arguments()
                                              .add(key())
                                              .add(what_a_session_says(request().thread))
                                              .add(semaphore_.units())
                                              .add(semaphore_.wanted()));
  go_to(State::own);
}

std::optional<Step> UnitsAttempt::own_answer(Connection& session) {
  if (leaving_) return held(Granted{});
  if (!session.has_columns()) {  // it listens
    look(session);
    return std::nullopt;
  }
  taken_ = session.text(0, 0);
  if (taken_.empty()) {
    go_to(State::listening);
    return std::nullopt;
  }
  leaving_ = true;
  session.ask("UNLISTEN *");
  channel().clear();
  return std::nullopt;
}

std::optional<Step> UnitsAttempt::heard(Connection& session) {
  if (session.take_notification() || system().now() >= look_at_) {
    look(session);
    return std::nullopt;
  }
  if (os::socket_is(session.descriptor(), os::Ready::to_read)) {
    // A notification, or the session's end, which a further question finds.
    look(session);
    return std::nullopt;
  }
  Blocked waits = blocked(session, Connection::Progress::reads);
  waits.look_again = look_at_;
  return Step(std::move(waits));
}

void UnitsAttempt::ask_release(Connection& session) {
  session.ask(Statement::give_units, Arguments().add(key()).add(taken_));
}

}  // namespace lockfile::schemes::postgresql
