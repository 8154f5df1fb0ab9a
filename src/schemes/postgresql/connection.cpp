// Talking to libpq.
//
// What libpq is told beside the address, which wins (docs/schemes/postgresql.md has the times that come of it):
// keepalives and tcp_user_timeout, both, for a server that is gone is noticed by neither alone. libpq sends with
// MSG_NOSIGNAL and blocks SIGPIPE around TLS, so no signal comes of a server that is gone.
#include "schemes/postgresql/connection.hpp"

#include "os/socket.hpp"
#include "schemes/postgresql/schema.hpp"

#include <libpq-fe.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <new>
#include <utility>

namespace lockfile::schemes::postgresql {
namespace {

constexpr const char* our_options =
    "-c search_path=pg_catalog -c default_transaction_read_only=off -c default_transaction_isolation=read\\ committed";

std::string first_line(const char* text) {
  std::string line(text);
  if (const auto end = line.find('\n'); end != std::string::npos) line.resize(end);
  return line;
}

// What a server says as it refuses a session, `PQERRORS_VERBOSE`: "FATAL:  53300: sorry, too many clients already", the
// first word in whichever language.
constexpr std::string_view too_many_sessions = "53300";
constexpr std::string_view cannot_connect_now = "57P03";
constexpr std::size_t length_of_state = 5;

bool has_state(const std::string& text, std::string_view state) {
  return text.find(":  " + std::string(state) + ": ") != std::string::npos;
}

std::string without_state(std::string line) {
  constexpr std::string_view before = ":  ";
  const auto begin = line.find(before);
  if (begin == std::string::npos) return line;
  const auto state = begin + before.size();
  if (line.compare(std::min(state + length_of_state, line.size()), 2, ": ") != 0) return line;
  return line.erase(state, length_of_state + 2);
}

std::int64_t big_endian(const char* bytes, int length) noexcept {
  std::uint64_t number = 0;
  for (int i = 0; i < length; ++i) number = number << 8 | static_cast<unsigned char>(bytes[i]);
  return static_cast<std::int64_t>(number);
}

std::int64_t written_number(std::string_view text) noexcept {
  std::int64_t number = 0;
  (void)std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

std::error_code code_of_state(std::string_view state) noexcept {
  if (state == "40P01") return std::make_error_code(std::errc::resource_deadlock_would_occur);
  if (state == "42501" || state.starts_with("28")) return std::make_error_code(std::errc::permission_denied);
  if (state == "53200") return std::make_error_code(std::errc::no_lock_available);  // max_locks_per_transaction
  if (state.starts_with("57P") || state.starts_with("08")) return std::make_error_code(std::errc::connection_reset);
  if (state == "2200H") return std::make_error_code(std::errc::result_out_of_range);  // the sequence is at its end
  return std::make_error_code(std::errc::protocol_error);
}

bool is_failure(const PGresult* result) noexcept {
  const ExecStatusType status = PQresultStatus(result);
  return status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK;
}

void say_nothing(void* /*ours*/, const PGresult* /*notice*/) {}

struct FreeOptions {
  void operator()(PQconninfoOption* options) const noexcept { PQconninfoFree(options); }
};

}  // namespace

Place place_of(const std::string& behind_the_slashes) {
  Place place;
  place.uri = "postgresql://" + behind_the_slashes;
  char* wrong = nullptr;
  const std::unique_ptr<PQconninfoOption, FreeOptions> parsed(PQconninfoParse(place.uri.c_str(), &wrong));
  if (!parsed) {
    // libpq's own memory, which no test refuses.
    const std::string why = wrong == nullptr ? "out of memory" : first_line(wrong);
    PQfreemem(wrong);
    throw std::system_error(std::make_error_code(std::errc::invalid_argument), why);
  }
  for (const PQconninfoOption* each = parsed.get(); each->keyword != nullptr; ++each) {
    if (each->val == nullptr) continue;
    const std::string_view keyword = each->keyword;
    const std::string_view value = each->val;
    if (keyword == "password" || keyword == "sslpassword") {
      throw std::system_error(
          std::make_error_code(std::errc::invalid_argument),
          "a password in an address is seen by everybody: put it into ~/.pgpass, or a service file");
    }
    if (keyword == "options") place.server_options = value;
    if ((keyword == "host" || keyword == "hostaddr") && value.find(',') != std::string_view::npos) {
      place.several_hosts = true;
    }
    if (keyword == "connect_timeout") {
      if (const auto seconds = written_number(value); seconds > 0) place.patience = std::chrono::seconds(seconds);
    }
  }
  return place;
}

Arguments& Arguments::add(std::int64_t number) noexcept {
  auto bytes = static_cast<std::uint64_t>(number);
  for (std::size_t i = 8; i > 0; --i, bytes >>= 8) numbers_[count_][i - 1] = static_cast<char>(bytes & 0xFF);
  lengths_[count_] = 8;
  formats_[count_] = 1;
  values_[count_] = nullptr;  // set when it is sent: this may be moved before
  ++count_;
  return *this;
}

Arguments& Arguments::add(const std::string& text) noexcept {
  lengths_[count_] = static_cast<int>(text.size());
  formats_[count_] = 0;
  values_[count_] = text.c_str();
  ++count_;
  return *this;
}

void FreeResult::operator()(pg_result* result) const noexcept { PQclear(result); }

Connection::Connection(os::Process& process, const Place& place, const std::string& reason, bool set_up)
    : process_(process), place_(place), reason_(reason), set_up_(set_up) {
  try {
    connect();
  } catch (...) {
    disconnect();  // there will be no destructor
    throw;
  }
}

void Connection::connect() {
  phase_ = Phase::connecting;
  wants_ = Progress::writes;
  std::string options(our_options);
  if (!place_.server_options.empty()) options.append(" ").append(place_.server_options);
  std::vector<const char*> keywords;
  std::vector<const char*> values;
  const auto add = [&](const char* keyword, const char* value) {
    keywords.push_back(keyword);
    values.push_back(value);
  };
  add("keepalives_idle", "2");
  add("keepalives_interval", "1");
  add("keepalives_count", "3");
  add("tcp_user_timeout", "5000");
  add("fallback_application_name", "lockfile");
  add("client_encoding", "UTF8");
  if (place_.several_hosts) add("target_session_attrs", "read-write");
  add("dbname", place_.uri.c_str());
  add("options", options.c_str());
  add(nullptr, nullptr);
  connection_ = PQconnectStartParams(keywords.data(), values.data(), 1);
  if (connection_ == nullptr) throw std::bad_alloc();  // libpq's own memory, which no test refuses
  PQsetNoticeReceiver(connection_, say_nothing, nullptr);
  (void)PQsetErrorVerbosity(connection_,
                            PQERRORS_VERBOSE);  // a refusal comes as text only, and with its five letters so
  note_descriptor();
  if (PQstatus(connection_) == CONNECTION_BAD) (void)refused();
}

void Connection::disconnect() noexcept {
  descriptor_.forget();
  PQfinish(connection_);
  connection_ = nullptr;
}

Connection::~Connection() {
  if (!process_.is_caller()) {
    try {
      os::Process::current().part<Pool>().keep_parents(connection_);
    } catch (const std::bad_alloc&) {
      // It stays all the same, only that nobody knows of it. Not reached by tests: only in a forked child.
    }
    return;
  }
  disconnect();
}

int Connection::descriptor() const noexcept { return PQsocket(connection_); }

// libpq makes a new socket for each address that it tries.
void Connection::note_descriptor() {
  const int now = PQsocket(connection_);
  if (now == descriptor_.get()) return;
  descriptor_.forget();
  if (now >= 0) descriptor_.open(process_, now);
}

Connection::Progress Connection::end(Trouble why) {
  phase_ = Phase::broken;
  asked_ = false;
  trouble_ = std::move(why);
  return Progress::broken;
}

std::string Connection::what_libpq_says() const { return first_line(PQerrorMessage(connection_)); }

// It lets nobody in now, and may do so in a moment: as many as fit stand before its socket already, all its sessions
// are in use, or it is starting or stopping. Whoever waits for the session has a limit; within it, it is tried again.
Connection::Progress Connection::refused() {
  std::string what = PQerrorMessage(connection_);
  // EAGAIN of connect(2), in whichever language: the C library's words. libpq has the number no more.
  const bool is_full = what.find(": " + std::generic_category().message(EAGAIN)) != std::string::npos;
  const bool heals = is_full || has_state(what, too_many_sessions) || has_state(what, cannot_connect_now);
  Trouble trouble{std::make_error_code(std::errc::not_connected), without_state(first_line(what.c_str()))};
  if (!heals) return end(std::move(trouble));
  refusal_ = std::move(trouble);
  disconnect();
  again_at_ = pauses_.next(process_.system());
  phase_ = Phase::pausing;
  return Progress::pauses;
}

Connection::Progress Connection::advance_pausing() {
  if (process_.system().now() < again_at_) return Progress::pauses;
  connect();
  return advance();
}

Connection::Progress Connection::advance() {
  switch (phase_) {
    case Phase::pausing:
      return advance_pausing();
    case Phase::connecting:
      return advance_connecting();
    case Phase::greeting:
    case Phase::settling:
    case Phase::reserving: {
      const Progress progress = advance_asked();
      return progress == Progress::ready ? settle() : progress;
    }
    case Phase::set_up:
      return asked_ ? advance_asked() : Progress::ready;
    case Phase::broken:
      break;
  }
  return Progress::broken;
}

Connection::Progress Connection::drive(Time until) {
  for (;;) {
    const Progress progress = advance();
    if (progress == Progress::ready || progress == Progress::broken) return progress;
    if (progress == Progress::pauses) {
      if (process_.system().now() >= until) return progress;
      (void)process_.system().wait({}, std::min(until, again_at_));
      continue;
    }
    const os::Ready what = progress == Progress::reads ? os::Ready::to_read : os::Ready::to_write;
    if (!os::wait_for_socket(descriptor(), what, until)) return progress;
  }
}

// A socket that is not ready must not be shown to libpq: it would take one that is still connecting for a connected
// one.
Connection::Progress Connection::advance_connecting() {
  for (;;) {
    const os::Ready what = wants_ == Progress::reads ? os::Ready::to_read : os::Ready::to_write;
    if (!os::socket_is(descriptor(), what)) return wants_;
    const PostgresPollingStatusType status = PQconnectPoll(connection_);
    note_descriptor();
    if (status == PGRES_POLLING_OK) break;
    if (status != PGRES_POLLING_READING && status != PGRES_POLLING_WRITING) return refused();
    wants_ = status == PGRES_POLLING_READING ? Progress::reads : Progress::writes;
  }
  if (PQserverVersion(connection_) < oldest_server) {
    return end({std::make_error_code(std::errc::not_supported), "the server is older than PostgreSQL 12"});
  }
  (void)PQsetnonblocking(connection_, 1);
  (void)PQsetErrorVerbosity(connection_, PQERRORS_DEFAULT);
  phase_ = Phase::greeting;
  answers_.clear();
  sent(PQsendQuery(connection_, set_up_ ? greeting() : greeting_without_schema()) != 0);
  return advance();
}

bool Connection::is_as_wanted() {
  const auto refuse = [&](std::errc code, std::string what) {
    (void)end({std::make_error_code(code), std::move(what)});
    return false;
  };
  const PGresult* const self = answers_.empty() ? nullptr : answers_.front().get();
  if (self == nullptr || PQresultStatus(self) != PGRES_TUPLES_OK || PQntuples(self) != 1) {
    // Not reached by tests: every user of every server may ask for his own session.
    (void)end(trouble());
    return false;
  }
  const auto number_in = [&](const PGresult* result, int column) {
    return written_number(PQgetvalue(result, 0, column));
  };
  backend_ = number_in(self, 0);
  if (backend_ != PQbackendPID(connection_)) {
    return refuse(std::errc::not_supported,
                  "there is a pooler between us and the server, which may give the hold's session to somebody else: "
                  "connect to the server itself");
  }
  if (*PQgetvalue(self, 0, 1) == 't') {
    return refuse(std::errc::not_supported, "the server is a standby, which grants locks of its own");
  }
  timeline_ = static_cast<std::uint64_t>(number_in(self, 2));
  backend_start_ = number_in(self, 3);
  if (!set_up_) return true;
  const PGresult* const version = answers_.back().get();
  const char* const state = PQresultErrorField(version, PG_DIAG_SQLSTATE);
  // The second one is not reached by tests: of a server that looks for the schema first.
  if (state != nullptr && (std::string_view(state) == "42P01" || std::string_view(state) == "3F000")) {
    return refuse(std::errc::no_such_device_or_address,
                  "its database has no schema 'lockfile', which `lockctl init " + place_.uri + "` makes");
  }
  if (PQresultStatus(version) != PGRES_TUPLES_OK || PQntuples(version) != 1) {
    (void)end(trouble());
    return false;
  }
  if (const auto found = number_in(version, 0); found != schema_version) {
    return refuse(std::errc::protocol_not_supported, "the schema 'lockfile' of its database is of version " +
                                                         std::to_string(found) + ", and this program needs " +
                                                         std::to_string(schema_version));
  }
  reserved_ = number_in(version, 1);
  return true;
}

Connection::Progress Connection::settle() {
  if (phase_ == Phase::greeting) {
    if (!is_as_wanted()) return Progress::broken;
    if (set_up_) {
      const os::Identity& self = process_.identity();
      std::string record = "(pg_backend_pid(), " + std::to_string(backend_start_) + ", " + std::to_string(self.pid) +
                           ", '" + std::to_string(self.start) + "'";
      for (const std::string* each : {&self.boot, &self.host, &self.program, &std::as_const(reason_)}) {
        const std::unique_ptr<char, decltype(&PQfreemem)> quoted(
            PQescapeLiteral(connection_, each->data(), each->size()), PQfreemem);
        // Not UTF-8: then it is left out rather than that nothing can be locked.
        record += !quoted ? ", ''" : ", " + std::string(quoted.get());
      }
      phase_ = Phase::settling;
      answers_.clear();
      sent(PQsendQuery(connection_,
                       settling(PQserverVersion(connection_), place_.server_options, record + ")").c_str()) != 0);
      return advance();
    }
  } else if (failed()) {
    return end(trouble());
  } else if (phase_ == Phase::settling && reserved_ == 0) {
    phase_ = Phase::reserving;
    answers_.clear();
    sent(PQsendQuery(connection_, reserving()) != 0);
    return advance();
  } else if (phase_ == Phase::reserving) {
    reserved_ = written_number(PQgetvalue(answers_.back().get(), 0, 0));
  }
  phase_ = Phase::set_up;
  answers_.clear();
  return Progress::ready;
}

void Connection::sent(bool ok) {
  asked_ = true;
  flushed_ = false;
  // Not reached by tests: libpq has found the session ended, and nobody has asked it since.
  if (!ok) (void)end({std::make_error_code(std::errc::connection_reset), what_libpq_says()});
}

void Connection::ask(Statement statement, const Arguments& arguments) {
  auto values = arguments.values_;
  for (std::size_t i = 0; i < arguments.count_; ++i) {
    if (values[i] == nullptr) values[i] = arguments.numbers_[i].data();
  }
  answers_.clear();
  sent(PQsendQueryPrepared(connection_, name_of(statement), static_cast<int>(arguments.count_), values.data(),
                           arguments.lengths_.data(), arguments.formats_.data(), 1) != 0);
}

void Connection::ask(const std::string& sql) {
  answers_.clear();
  sent(PQsendQuery(connection_, sql.c_str()) != 0);
}

Connection::Progress Connection::advance_asked() {
  if (!flushed_) {
    const int left = PQflush(connection_);
    if (left == 0) {
      flushed_ = true;
      return Progress::reads;  // it has hardly answered yet
    }
    // Not reached by tests: more than a socket takes at once.
    if (left > 0 && !os::socket_is(descriptor(), os::Ready::to_read)) return Progress::writes;
  }
  if (PQconsumeInput(connection_) == 0) {
    return end({std::make_error_code(std::errc::connection_reset), what_libpq_says()});
  }
  while (PQisBusy(connection_) == 0) {
    Result result(PQgetResult(connection_));
    if (!result) {
      asked_ = false;
      if (PQstatus(connection_) == CONNECTION_BAD) return end(trouble());
      return Progress::ready;
    }
    answers_.push_back(std::move(result));
  }
  return Progress::reads;
}

bool Connection::failed() const noexcept {
  return std::any_of(answers_.begin(), answers_.end(), [](const Result& each) { return is_failure(each.get()); });
}

std::string_view Connection::sql_state() const noexcept {
  for (const Result& each : answers_) {
    if (!is_failure(each.get())) continue;
    const char* const state = PQresultErrorField(each.get(), PG_DIAG_SQLSTATE);
    return state == nullptr ? "" : state;
  }
  return "";  // not reached by tests: who asks has seen that it failed
}

Trouble Connection::trouble() const {
  if (trouble_) return *trouble_;
  if (phase_ == Phase::pausing) return *refusal_;
  for (const Result& each : answers_) {
    if (!is_failure(each.get())) continue;
    const char* const message = PQresultErrorField(each.get(), PG_DIAG_MESSAGE_PRIMARY);
    const std::string_view state = sql_state();
    return {state.empty() ? std::make_error_code(std::errc::connection_reset) : code_of_state(state),
            message == nullptr ? first_line(PQresultErrorMessage(each.get())) : std::string(message)};
  }
  return {std::make_error_code(std::errc::protocol_error), "an answer that was not expected"};
}

std::optional<Trouble> Connection::trouble_after(Progress progress) const {
  if (progress == Progress::ready && !failed()) return std::nullopt;
  if (progress != Progress::reads && progress != Progress::writes) return trouble();
  return Trouble{std::make_error_code(std::errc::timed_out), "the server does not answer"};
}

bool Connection::has_columns() const noexcept { return !answers_.empty() && PQnfields(answers_.back().get()) > 0; }

std::size_t Connection::rows() const noexcept {
  return answers_.empty() ? 0 : static_cast<std::size_t>(PQntuples(answers_.back().get()));
}

bool Connection::is_null(std::size_t row, int column) const noexcept {
  return PQgetisnull(answers_.back().get(), static_cast<int>(row), column) != 0;
}

std::int64_t Connection::number(std::size_t row, int column) const noexcept {
  const PGresult* const result = answers_.back().get();
  const int at = static_cast<int>(row);
  return big_endian(PQgetvalue(result, at, column), PQgetlength(result, at, column));
}

std::string_view Connection::text(std::size_t row, int column) const noexcept {
  const PGresult* const result = answers_.back().get();
  const int at = static_cast<int>(row);
  return {PQgetvalue(result, at, column), static_cast<std::size_t>(PQgetlength(result, at, column))};
}

bool Connection::take_notification() noexcept {
  bool any = false;
  while (PGnotify* const notification = PQnotifies(connection_)) {
    any = true;
    PQfreemem(notification);
  }
  return any;
}

void Connection::learn(std::int64_t key) {
  constexpr std::size_t most = 100'000;
  if (known_.size() >= most) known_.clear();
  known_.insert(key);
}

std::unique_ptr<Connection> Pool::take(const Place& place, const std::string& reason) {
  const os::MutexGuard guard(system_, mutex_);
  auto found = idle_.end();
  for (auto each = idle_.end(); each != idle_.begin();) {
    --each;
    if ((*each)->uri() != place.uri) continue;
    if (found == idle_.end()) found = each;
    if ((*each)->reason() != reason) continue;
    found = each;
    break;
  }
  if (found == idle_.end()) return nullptr;
  std::unique_ptr<Connection> taken = std::move(*found);
  idle_.erase(found);
  return taken;
}

void Pool::give(std::unique_ptr<Connection> connection) noexcept {
  if (!connection->is_set_up() || connection->is_asked()) return;
  std::unique_ptr<Connection> oldest;
  const os::MutexGuard guard(system_, mutex_);
  if (idle_.size() >= most_idle) {
    oldest = std::move(idle_.front());
    idle_.erase(idle_.begin());
  }
  try {
    idle_.push_back(std::move(connection));
  } catch (const std::bad_alloc&) {
    // The session ends.
  }
}

void Pool::keep_parents(pg_conn* connection) {
  const os::MutexGuard guard(system_, mutex_);
  parents_.push_back(connection);
}

Pool::Holds::iterator Pool::hold_of(std::int64_t backend, const Place& place) noexcept {
  const auto [begin, end] = holds_.equal_range(backend);
  const auto found = std::find_if(begin, end, [&](const auto& each) { return each.second.uri == place.uri; });
  return found == end ? holds_.end() : found;
}

void Pool::begin_hold(std::int64_t backend, const Place& place, std::int64_t key, std::int64_t thread) {
  Hold hold{place.uri, key, thread};
  const os::MutexGuard guard(system_, mutex_);
  holds_.emplace(backend, std::move(hold));
}

void Pool::end_hold(std::int64_t backend, const Place& place) noexcept {
  const os::MutexGuard guard(system_, mutex_);
  if (const auto found = hold_of(backend, place); found != holds_.end()) holds_.erase(found);
}

std::optional<std::int64_t> Pool::thread_of_hold(std::int64_t backend, const Place& place) noexcept {
  const os::MutexGuard guard(system_, mutex_);
  const auto found = hold_of(backend, place);
  return found == holds_.end() ? std::nullopt : std::optional(found->second.thread);
}

bool Pool::holds_any(std::int64_t thread) noexcept {
  const os::MutexGuard guard(system_, mutex_);
  return std::any_of(holds_.begin(), holds_.end(), [&](const auto& each) { return each.second.thread == thread; });
}

bool Pool::holds(std::int64_t thread, const Place& place, std::int64_t key) noexcept {
  const os::MutexGuard guard(system_, mutex_);
  return std::any_of(holds_.begin(), holds_.end(), [&](const auto& each) {
    const Hold& hold = each.second;
    return hold.thread == thread && hold.key == key && hold.uri == place.uri;
  });
}

}  // namespace lockfile::schemes::postgresql
