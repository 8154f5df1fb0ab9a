// `lockctl doctor ADDRESS`: can locks be relied upon there?
#include "schemes/postgresql/scheme.hpp"

#include "schemes/postgresql/schema.hpp"

#include <string>

namespace lockfile::schemes::postgresql {
namespace {

using What = Finding::Result;

// One column each, as text.
constexpr const char* questions =
    "SELECT current_setting('server_version'), current_setting('fsync'), current_setting('full_page_writes'), "
    "current_setting('synchronous_commit'), current_setting('synchronous_standby_names'), "
    "(SELECT count(*) FROM pg_stat_replication), current_setting('max_connections'), "
    "(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'), "
    "current_setting('tcp_keepalives_idle'), current_setting('tcp_user_timeout'), "
    "current_setting('client_connection_check_interval', true), current_setting('deadlock_timeout'), "
    "date_part('epoch', clock_timestamp()), (SELECT version FROM lockfile.meta), "
    "(SELECT last_value FROM lockfile.fence), (SELECT count(*) FROM lockfile.name)";
enum Answer : int {
  version,
  fsync,
  full_page_writes,
  synchronous_commit,
  synchronous_standbys,
  standbys,
  most_connections,
  connections,
  keepalives,
  user_timeout,
  check_interval,
  deadlock_timeout,
  clock,
  schema,
  fence,
  names,
};

}  // namespace

Examination Scheme::examine(std::error_code& why) {
  why.clear();
  Examination seen;
  os::Process& process = os::Process::current();
  const Time until = process.system().now() + place().patience;
  const auto note = [&](std::string what, What result, std::string detail) {
    seen.findings.push_back({std::move(what), result, std::move(detail)});
  };
  Connection session(process, place(), reason());
  if (const auto trouble = session.ask_by(until, questions)) {
    note("a session", What::fails, trouble->what);
    seen.why = trouble->what;
    return seen;
  }
  const auto answer = [&](Answer which) { return std::string(session.text(0, which)); };
  const auto is_on = [&](Answer which) { return answer(which) == "on"; };
  seen.file_system = "PostgreSQL " + answer(version);
  seen.scheme = "postgresql";
  note("server", What::works, answer(version) + ", timeline " + std::to_string(session.timeline()));
  note("no pooler", What::works, "the session is that of server process " + std::to_string(session.backend()));
  note("no standby", What::works, "it takes writes");
  note("schema 'lockfile'", What::works,
       "version " + answer(schema) + ", " + answer(names) + " names, last number " + answer(fence));
  note("fsync", is_on(fsync) ? What::works : What::fails,
       is_on(fsync) ? "on" : "off: the numbers of holds can go back in a power cut");
  note("full_page_writes", is_on(full_page_writes) ? What::works : What::note, answer(full_page_writes));
  note("standbys", What::note,
       answer(standbys) == "0" ? "none is connected"
                               : answer(standbys) + " connected; " +
                                     (answer(synchronous_standbys).empty()
                                          ? "asynchronous: a promoted one knows nothing of the holds before, whose "
                                            "numbers are smaller than those after"
                                          : "synchronous: " + answer(synchronous_standbys)));
  note("connections", What::note,
       answer(connections) + " of " + answer(most_connections) + "; each lock that is held or waited for needs one");
  note("dead clients", What::note,
       "keepalives after " + answer(keepalives) + " s, tcp_user_timeout " + answer(user_timeout) +
           ", client_connection_check_interval " + answer(check_interval) + " (0 of the first two: a local socket)");
  note("deadlock_timeout", What::note,
       answer(deadlock_timeout) + (answer(deadlock_timeout) == "1min"
                                       ? std::string()
                                       : ": with more than 100 waiters, GRANT SET ON PARAMETER "
                                         "deadlock_timeout TO the locks' users (15 or later)"));
  return seen;
}

}  // namespace lockfile::schemes::postgresql
