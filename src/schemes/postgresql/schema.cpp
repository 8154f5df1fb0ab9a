// What is said to the server.
//
// Order of evaluation: a lock function stands in a CASE, or in a subquery with a volatile function in its list, which
// is not merged into the query around it; never where WHERE, LIMIT or the order of a list would have to be relied upon.
// So a number is drawn only after the lock is ours, in the statement that has taken it.
#include "schemes/postgresql/schema.hpp"

#include <array>
#include <string_view>

namespace lockfile::schemes::postgresql {
namespace {

// Numbers are drawn without waiting for the disk: a sequence is written to the log once for 32 numbers, and a pair
// would cost four times as much on the average if one in 32 waited for that. So a crash of the server sets the sequence
// back. What no crash sets back is `reserved`: no number above it is told to anybody before a larger one has reached
// the disk. A table that is not logged is empty after a crash, and so is `no_crash_since`. The first session that finds
// it empty sets the sequence to what had been reserved, before it draws a number:
//
//   A: draws 41..44 (reserved up to 100, on disk)      crash: the sequence is at 32, `no_crash_since` is empty
//   B:                                                 reserve: the sequence at 100, up to 200 on disk    draws 101
//
// C comes while B is at it: it finds the table empty too, waits for the row of `reserved`, and then finds it filled.
//
// Who may use the database may use its locks, as with any advisory lock. `session` is lost in a crash of the server, as
// the sessions are. Of functions: `take_units` gives null where somebody else is being admitted, an empty text where
// too few are free (the right to be admitted is kept then), else the numbers of the units.
constexpr std::string_view made = R"(
SELECT pg_advisory_xact_lock(4890909195324358241);
CREATE SCHEMA IF NOT EXISTS lockfile;
CREATE TABLE IF NOT EXISTS lockfile.meta (one boolean PRIMARY KEY DEFAULT true CHECK (one), version integer NOT NULL);
INSERT INTO lockfile.meta (version) VALUES ($version) ON CONFLICT DO NOTHING;
DO $do$ BEGIN
  IF (SELECT version FROM lockfile.meta) <> $version THEN
    RAISE EXCEPTION 'schema lockfile is of version %, and this program needs $version',
      (SELECT version FROM lockfile.meta);
  END IF;
END $do$;
CREATE SEQUENCE IF NOT EXISTS lockfile.fence AS bigint MINVALUE 1 MAXVALUE 1099511627775 NO CYCLE CACHE 1;
CREATE TABLE IF NOT EXISTS lockfile.reserved (one boolean PRIMARY KEY DEFAULT true CHECK (one), upto bigint NOT NULL);
INSERT INTO lockfile.reserved (upto) SELECT last_value FROM lockfile.fence ON CONFLICT DO NOTHING;
CREATE UNLOGGED TABLE IF NOT EXISTS lockfile.no_crash_since (one boolean PRIMARY KEY DEFAULT true CHECK (one));
CREATE OR REPLACE FUNCTION lockfile.reserve(number bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $f$
DECLARE now_upto bigint; drawn bigint; at_a_time CONSTANT bigint := 1048576;
BEGIN
  SELECT upto INTO STRICT now_upto FROM lockfile.reserved FOR UPDATE;
  SELECT last_value INTO STRICT drawn FROM lockfile.fence;
  IF NOT EXISTS (SELECT FROM lockfile.no_crash_since) THEN
    drawn := setval('lockfile.fence', greatest(now_upto, drawn));
    INSERT INTO lockfile.no_crash_since DEFAULT VALUES;
  ELSIF least(number, drawn) <= now_upto THEN
    RETURN now_upto;
  END IF;
  now_upto := drawn + at_a_time;
  UPDATE lockfile.reserved SET upto = now_upto;
  RETURN now_upto;
END $f$;
CREATE TABLE IF NOT EXISTS lockfile.name (key bigint PRIMARY KEY, name text NOT NULL);
CREATE UNLOGGED TABLE IF NOT EXISTS lockfile.session (
  backend integer PRIMARY KEY, backend_start bigint NOT NULL, process bigint NOT NULL, process_start text NOT NULL,
  boot text NOT NULL, host text NOT NULL, program text NOT NULL, reason text NOT NULL);
CREATE OR REPLACE FUNCTION lockfile.collect(gate bigint, units integer, wanted integer) RETURNS integer[]
LANGUAGE plpgsql SET search_path = pg_catalog AS $f$
DECLARE got integer[] := '{}'; i integer;
BEGIN
  FOR i IN 1..units LOOP
    EXIT WHEN cardinality(got) = wanted;
    IF pg_try_advisory_lock(gate + i) THEN got := got || i; END IF;
  END LOOP;
  IF cardinality(got) < wanted THEN
    FOREACH i IN ARRAY got LOOP PERFORM pg_advisory_unlock(gate + i); END LOOP;
    got := '{}';
  END IF;
  RETURN got;
END $f$;
CREATE OR REPLACE FUNCTION lockfile.take_more_units(gate bigint, units integer, wanted integer) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog AS $f$
DECLARE got integer[] := lockfile.collect(gate, units, wanted);
BEGIN
  IF cardinality(got) > 0 THEN PERFORM pg_advisory_unlock(gate); END IF;
  RETURN array_to_string(got, ',');
END $f$;
CREATE OR REPLACE FUNCTION lockfile.take_units(gate bigint, units integer, wanted integer) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog AS $f$
BEGIN
  IF NOT pg_try_advisory_lock(gate) THEN RETURN NULL; END IF;
  RETURN lockfile.take_more_units(gate, units, wanted);
END $f$;
CREATE OR REPLACE FUNCTION lockfile.give_units(gate bigint, taken text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog AS $f$
DECLARE i integer; had_all boolean := true;
BEGIN
  FOREACH i IN ARRAY string_to_array(taken, ',')::integer[] LOOP
    IF NOT pg_advisory_unlock(gate + i) THEN had_all := false; END IF;
  END LOOP;
  IF EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted
             AND (classid::bigint << 32 | objid::bigint) = gate AND pid <> pg_backend_pid()
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) THEN
    PERFORM pg_notify('lockfile_' || gate, '');
  END IF;
  RETURN had_all;
END $f$;
GRANT USAGE ON SCHEMA lockfile TO PUBLIC;
GRANT SELECT ON lockfile.meta, lockfile.reserved, lockfile.no_crash_since TO PUBLIC;
GRANT SELECT, INSERT ON lockfile.name TO PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON lockfile.session TO PUBLIC;
GRANT USAGE ON SEQUENCE lockfile.fence TO PUBLIC;
)";

struct Setting {
  std::string_view name;
  std::string_view value;
  int since = oldest_server;
};
// docs/schemes/postgresql.md has the times that come of these, and of what connection.cpp tells libpq: a client that
// has lost its server knows before the server lets go of the client's locks.
constexpr std::array settings = {
    Setting{"tcp_keepalives_idle", "5"},
    Setting{"tcp_keepalives_interval", "2"},
    Setting{"tcp_keepalives_count", "5"},
    Setting{"tcp_user_timeout", "15000"},
    Setting{"client_connection_check_interval", "1000", 140000},
    Setting{"lock_timeout", "0"},
    Setting{"statement_timeout", "0"},
    Setting{"idle_in_transaction_session_timeout", "0"},
    Setting{"idle_session_timeout", "0", 140000},
    Setting{"transaction_timeout", "0", 170000},
    Setting{"synchronous_commit", "off"},  // what has to be on the disk says so itself: `reserve`
};

// A session that waits for a lock holds no other one, so the server finds no cycle that we make; but each look for one
// stops everybody, and a thousand waiters look a second after they came.
constexpr std::string_view seldom_looks =
    "SELECT CASE WHEN has_parameter_privilege('deadlock_timeout', 'SET') "
    "THEN set_config('deadlock_timeout', '60s', false) END;";

// What `lockfile.session` does not have, for it changes with every hold: when it began, the thread, and its number; of
// a wait, `-`. It stands where everybody may see it, and costs no write. Who tries brings the beginning of the text
// along, for putting it together is a fifth of what a pair costs.
std::string trying(std::string_view name, std::string_view when) {
  return "PREPARE " + std::string(name) + "(bigint, text) AS SELECT f, CASE WHEN f IS NOT NULL THEN " +
         "set_config('application_name', $2 || f::text, false) IS NULL END FROM (SELECT CASE WHEN " +
         std::string(when) + " THEN nextval('lockfile.fence') END AS f) AS q;";
}

constexpr std::string_view begins_now =
    "set_config('application_name', 'lockfile ' || to_hex((date_part('epoch', clock_timestamp()) * 1000000)::bigint) "
    "|| "
    "' ' || split_part($2, ' ', 3) || ' ' || f::text, false) IS NULL";

std::string waiting(std::string_view name, std::string_view when) {
  return "PREPARE " + std::string(name) + "(bigint, text) AS SELECT f, " + std::string(begins_now) +
         " FROM (SELECT CASE WHEN set_config('application_name', $2 || '-', false) IS NOT NULL THEN CASE WHEN " +
         std::string(when) + " THEN nextval('lockfile.fence') END END AS f) AS q;";
}

// Who is admitted and lacks some goes on to wait, and says so.
constexpr std::string_view or_waits_from_now =
    " WHEN taken = '' THEN set_config('application_name', $2 || '-', false) IS NULL";

std::string taking_units(std::string_view name, std::string_view or_else) {
  return "PREPARE lf_" + std::string(name) +
         "(bigint, text, bigint, bigint) AS SELECT taken, CASE WHEN f IS NOT NULL "
         "THEN " +
         std::string(begins_now) + std::string(or_else) +
         " END FROM (SELECT taken, CASE WHEN taken <> '' THEN nextval('lockfile.fence') END AS f FROM "
         "(SELECT lockfile." +
         std::string(name) + "($1, $3::integer, $4::integer) AS taken OFFSET 0) AS p OFFSET 0) AS q;";
}

// Who has, or waits for, the advisory locks from number $1 to $2. What is said to a server before 14, here and below,
// is not reached by tests, for want of one.
std::string looking(int server_version) {
  const std::string waited = server_version >= 140000
                                 ? "(date_part('epoch', clock_timestamp() - l.waitstart) * 1000000)::bigint"
                                 : "NULL::bigint";
  return "PREPARE lf_locks(bigint, bigint) AS SELECT l.granted, l.mode::text, l.pid::bigint, s.backend_start, "
         "s.process, s.process_start, s.boot, s.host, s.program, s.reason, a.application_name, a.usename::text, " +
         waited +
         ", (l.classid::bigint << 32 | l.objid::bigint) "
         "FROM pg_locks AS l LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid LEFT JOIN lockfile.session AS s "
         "ON s.backend = l.pid AND (a.backend_start IS NULL OR "
         "(date_part('epoch', a.backend_start) * 1000000)::bigint = s.backend_start) "
         "WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.database = (SELECT oid FROM pg_database "
         "WHERE datname = current_database()) AND (l.classid::bigint << 32 | l.objid::bigint) BETWEEN $1 AND $2 "
         "ORDER BY NOT l.granted, " +
         std::string(server_version >= 140000 ? "l.waitstart" : "l.pid") + ", l.pid;";
}

// All that sessions of ours have, and wait for, with what tells their threads apart.
std::string claiming(int server_version) {
  const std::string waited = server_version >= 140000
                                 ? "(date_part('epoch', clock_timestamp() - l.waitstart) * 1000000)::bigint"
                                 : "NULL::bigint";
  return "PREPARE lf_claims AS SELECT l.granted, l.mode::text, l.pid::bigint, "
         "(l.classid::bigint << 32 | l.objid::bigint), concat_ws(' ', s.host, s.boot, s.process, s.process_start), "
         "a.application_name, " +
         waited +
         " FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid JOIN lockfile.session AS s "
         "ON s.backend = l.pid WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND "
         "a.application_name LIKE 'lockfile %' AND l.database = (SELECT oid FROM pg_database "
         "WHERE datname = current_database());";
}

// Of the session $1, begun at $2, that says of itself $3.
constexpr std::string_view that_session =
    "FROM pg_stat_activity AS a JOIN lockfile.session AS s ON s.backend = a.pid AND s.backend_start = $2 "
    "WHERE a.pid = $1 AND (a.backend_start IS NULL OR "
    "(date_part('epoch', a.backend_start) * 1000000)::bigint = $2)";

// The commit waits for the disk.
#define LOCKFILE_RESERVE(number) \
  "SELECT CASE WHEN set_config('synchronous_commit', 'on', true) IS NOT NULL THEN lockfile.reserve(" number ") END"

std::string statements(int server_version) {
  const std::string session(that_session);
  return trying("lf_try_exclusive", "pg_try_advisory_lock($1)") +
         trying("lf_try_shared", "pg_try_advisory_lock_shared($1)") +
         waiting("lf_wait_exclusive", "pg_advisory_lock($1) IS NOT NULL") +
         waiting("lf_wait_shared", "pg_advisory_lock_shared($1) IS NOT NULL") + looking(server_version) +
         claiming(server_version) + taking_units("take_units", or_waits_from_now) + taking_units("take_more_units", "") +
         "PREPARE lf_reserve(bigint) AS " LOCKFILE_RESERVE("$1") ";"
         "PREPARE lf_alive AS SELECT pg_backend_pid()::bigint;"
         "PREPARE lf_name(bigint) AS SELECT name FROM lockfile.name WHERE key = $1;"
         "PREPARE lf_add_name(bigint, text) AS INSERT INTO lockfile.name VALUES ($1, $2) ON CONFLICT DO NOTHING;"
         "PREPARE lf_record(text) AS UPDATE lockfile.session SET reason = $1 WHERE backend = pg_backend_pid();"
         "PREPARE lf_unlock(bigint) AS SELECT pg_advisory_unlock($1);"
         "PREPARE lf_unlock_shared(bigint) AS SELECT pg_advisory_unlock_shared($1);"
         "PREPARE lf_unlock_all AS SELECT pg_advisory_unlock_all() IS NULL;"
         "PREPARE lf_wait_gate(bigint, text) AS SELECT CASE WHEN set_config('application_name', $2 || '-', false) "
         "IS NOT NULL THEN pg_advisory_lock($1) IS NULL END;"
         "PREPARE lf_give_units(bigint, text) AS SELECT lockfile.give_units($1, $2);"
         "PREPARE lf_cancel(bigint, bigint) AS SELECT pg_cancel_backend(a.pid) " +
         session +
         ";"
         "PREPARE lf_terminate(bigint, bigint, text, bigint, bigint) AS SELECT pg_terminate_backend(a.pid) " +
         session +
         " AND a.application_name LIKE $3 AND EXISTS (SELECT FROM pg_locks AS l WHERE l.pid = $1 AND l.granted AND "
         "l.locktype = 'advisory' AND l.objsubid = 1 AND "
         "(l.classid::bigint << 32 | l.objid::bigint) BETWEEN $4 AND $5);"
         "PREPARE lf_exists(bigint, bigint) AS SELECT count(*) " +
         session + ";";
}

}  // namespace

const std::string& schema_text() {
  static const std::string text = [] {
    std::string result(made);
    constexpr std::string_view word = "$version";
    const std::string version = std::to_string(schema_version);
    for (auto at = result.find(word); at != std::string::npos; at = result.find(word)) {
      result.replace(at, word.size(), version);
    }
    return result;
  }();
  return text;
}

#define LOCKFILE_GREETING                                                                    \
  "SELECT pg_backend_pid(), pg_is_in_recovery(), CASE WHEN pg_is_in_recovery() THEN 0 ELSE " \
  "('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint END, "      \
  "(date_part('epoch', backend_start) * 1000000)::bigint FROM pg_stat_activity WHERE pid = pg_backend_pid();"
const char* greeting() noexcept {
  return LOCKFILE_GREETING
      "SELECT version, CASE WHEN EXISTS (SELECT FROM lockfile.no_crash_since) THEN "
      "(SELECT upto FROM lockfile.reserved) ELSE 0 END FROM lockfile.meta";
}
const char* greeting_without_schema() noexcept { return LOCKFILE_GREETING; }
#undef LOCKFILE_GREETING

const char* reserving() noexcept { return LOCKFILE_RESERVE("0"); }
#undef LOCKFILE_RESERVE

const char* named_locks() noexcept {
  return "SELECT DISTINCT n.name, n.key FROM pg_locks AS l JOIN lockfile.name AS n "
         "ON n.key = (l.classid::bigint << 32 | l.objid::bigint) WHERE l.locktype = 'advisory' AND l.objsubid = 1 "
         "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";
}

std::string settling(int server_version, const std::string& server_options, const std::string& record) {
  std::string sql;
  for (const Setting& each : settings) {
    // As the address has it, where it says so.
    if (server_version < each.since || server_options.find(each.name) != std::string::npos) continue;
    sql += "SET " + std::string(each.name) + " = '" + std::string(each.value) + "';";
  }
  if (server_version >= 150000 && server_options.find("deadlock_timeout") == std::string::npos) sql += seldom_looks;
  // Of sessions that are no more. Not at each beginning, for it costs a look at all of them.
  sql +=
      "DELETE FROM lockfile.session WHERE pg_backend_pid() % 64 = 0 AND backend IN (SELECT s.backend FROM "
      "lockfile.session AS s WHERE pg_backend_pid() % 64 = 0 AND NOT EXISTS (SELECT FROM pg_stat_activity AS a "
      "WHERE a.pid = s.backend) FOR UPDATE SKIP LOCKED);";
  sql += "INSERT INTO lockfile.session VALUES " + record +
         " ON CONFLICT (backend) DO UPDATE SET backend_start = excluded.backend_start, process = excluded.process, "
         "process_start = excluded.process_start, boot = excluded.boot, host = excluded.host, "
         "program = excluded.program, reason = excluded.reason;";
  return sql + statements(server_version);
}

const char* name_of(Statement statement) noexcept {
  switch (statement) {
    case Statement::alive:
      return "lf_alive";
    case Statement::reserve:
      return "lf_reserve";
    case Statement::record:
      return "lf_record";
    case Statement::name:
      return "lf_name";
    case Statement::add_name:
      return "lf_add_name";
    case Statement::try_exclusive:
      return "lf_try_exclusive";
    case Statement::try_shared:
      return "lf_try_shared";
    case Statement::wait_exclusive:
      return "lf_wait_exclusive";
    case Statement::wait_shared:
      return "lf_wait_shared";
    case Statement::unlock:
      return "lf_unlock";
    case Statement::unlock_shared:
      return "lf_unlock_shared";
    case Statement::unlock_all:
      return "lf_unlock_all";
    case Statement::locks:
      return "lf_locks";
    case Statement::claims:
      return "lf_claims";
    case Statement::cancel:
      return "lf_cancel";
    case Statement::terminate:
      return "lf_terminate";
    case Statement::exists:
      return "lf_exists";
    case Statement::take_units:
      return "lf_take_units";
    case Statement::take_more_units:
      return "lf_take_more_units";
    case Statement::wait_gate:
      return "lf_wait_gate";
    case Statement::give_units:
      return "lf_give_units";
  }
  return "";  // not reached by tests: each has its name
}

}  // namespace lockfile::schemes::postgresql
