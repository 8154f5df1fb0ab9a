// Opening, refusing, transactions.
#include "schemes/sqlite/database.hpp"

#include "claim/claim.hpp"
#include "claim/names.hpp"
#include "claim/record_file.hpp"
#include "schemes/sqlite/lock_name.hpp"

#include <lockfile/error.hpp>

#include <sqlite3.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <new>

namespace lockfile::schemes::sqlite {
namespace {

using namespace std::chrono_literals;

// "LkFL": what DATABASE is, by its own header (PRAGMA application_id).
constexpr std::int64_t application_id = 0x4C6B'464C;
constexpr std::int64_t layout_version = 1;

// The number of the last hold or place stands in `since` of a row of `hold` without a name: beside the first holds, so
// that most acquires change one page and not two. It is an epoch, and how many there have been in it. A commit that is
// not synced can be lost only with the machine, and the next boot begins another epoch, which is synced. The first
// epoch is the minute in which the database was made, so that one that was removed and made anew does not begin at the
// same.
constexpr const char* layout = R"(
CREATE TABLE meta(id INTEGER PRIMARY KEY CHECK(id = 1), boot TEXT NOT NULL);
CREATE TABLE process(id INTEGER PRIMARY KEY AUTOINCREMENT, nonce TEXT NOT NULL, boot TEXT NOT NULL, host TEXT NOT NULL,
  pid INTEGER NOT NULL, start INTEGER NOT NULL, pid_namespace INTEGER NOT NULL, time_namespace INTEGER NOT NULL,
  program TEXT NOT NULL);
CREATE TABLE hold(name TEXT NOT NULL, kind INTEGER NOT NULL, number INTEGER NOT NULL, mode INTEGER NOT NULL,
  units INTEGER NOT NULL, process INTEGER NOT NULL, thread INTEGER NOT NULL, place INTEGER NOT NULL,
  fifo INTEGER NOT NULL, uid INTEGER NOT NULL, died INTEGER NOT NULL, since INTEGER NOT NULL, reason TEXT NOT NULL,
  PRIMARY KEY(name, kind, number)) WITHOUT ROWID;
CREATE TABLE queue(name TEXT NOT NULL, kind INTEGER NOT NULL, place INTEGER NOT NULL, mode INTEGER NOT NULL,
  units INTEGER NOT NULL, most INTEGER NOT NULL, process INTEGER NOT NULL, thread INTEGER NOT NULL,
  fifo INTEGER NOT NULL, uid INTEGER NOT NULL, since INTEGER NOT NULL, reason TEXT NOT NULL,
  PRIMARY KEY(name, kind, place)) WITHOUT ROWID;
INSERT INTO meta VALUES(1, '');
INSERT INTO hold VALUES('', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, (CAST(strftime('%s', 'now') AS INTEGER) / 60) << 32, '');
)";

// In the order of `Sql`. Without RETURNING where it counts: SQLite makes a table for it each time. The wall clock, in
// milliseconds, is for people.
constexpr std::array<const char*, static_cast<std::size_t>(Sql::count)> texts = {
    "BEGIN IMMEDIATE",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SELECT since FROM hold WHERE name = '' AND kind = 0 AND number = 0",
    "UPDATE hold SET since = ?1 WHERE name = '' AND kind = 0 AND number = 0",
    "SELECT nonce, boot, host, pid, start, pid_namespace, time_namespace, program FROM process WHERE id = ?1",
    "SELECT id FROM process WHERE pid = ?1 ORDER BY id DESC LIMIT 1",
    "INSERT INTO process(nonce, boot, host, pid, start, pid_namespace, time_namespace, program) "
    "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) RETURNING id",
    "DELETE FROM process WHERE id = ?1 AND id NOT IN (SELECT process FROM hold) AND id NOT IN (SELECT process FROM "
    "queue)",
    "SELECT id FROM process WHERE id NOT IN (SELECT process FROM hold) AND id NOT IN (SELECT process FROM queue) "
    "LIMIT 64",
    "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM hold WHERE name = ?1 AND kind = ?2) "
    "AND NOT EXISTS (SELECT 1 FROM queue WHERE name = ?1 AND kind = ?2)",
    "SELECT number, mode, units, process, thread, place, fifo, uid, died, since, reason FROM hold "
    "WHERE name = ?1 AND kind = ?2 ORDER BY number",
    "SELECT mode, process, fifo, uid FROM hold WHERE name = ?1 AND kind = ?2 AND number = ?3",
    "SELECT number, died FROM hold WHERE name = ?1 AND kind = ?2 AND place = ?3",
    "INSERT INTO hold(name, kind, number, mode, units, process, thread, place, fifo, uid, died, reason, since) "
    "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, "
    "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER))",
    "DELETE FROM hold WHERE name = ?1 AND kind = ?2 AND number = ?3",
    "UPDATE hold SET fifo = ?4, uid = ?5 WHERE name = ?1 AND kind = ?2 AND number = ?3",
    "SELECT place, mode, units, most, process, thread, fifo, uid, since, reason FROM queue "
    "WHERE name = ?1 AND kind = ?2 ORDER BY place",
    "SELECT process FROM queue WHERE name = ?1 AND kind = ?2 AND place < ?3 ORDER BY place DESC LIMIT 1",
    "SELECT 1 FROM queue WHERE name = ?1 AND kind = ?2 AND place = ?3",
    "SELECT name, kind, number FROM hold WHERE fifo = ?1 AND place <> 0",
    "INSERT INTO queue(name, kind, place, mode, units, most, process, thread, fifo, uid, since, reason) "
    "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    "DELETE FROM queue WHERE name = ?1 AND kind = ?2 AND place = ?3",
    "SELECT name FROM hold WHERE kind = ?1 AND name <> '' UNION SELECT name FROM queue WHERE kind = ?1",
};

constexpr std::uint64_t entry_byte = claim::live_byte + 1;
constexpr std::uint64_t live_bytes = 0x4000'0000;
constexpr std::uint64_t live_byte_of(std::int64_t id) noexcept {
  return claim::live_byte + 0x1'0000 + static_cast<std::uint64_t>(id) % live_bytes;
}

// The guard: one page. Its first word says which process has ENTRY, the second how many times it has been entered.
constexpr const char* guard_name = "guard";
constexpr std::size_t guard_size = 4096;
constexpr std::size_t guard_words = 2;
constexpr std::size_t most_fifos = 64;

const claim::Names& fifo_names() {
  static const claim::Names* const names = new claim::Names("waiter");
  return *names;
}

// What SQLite keeps of open databases is the whole program's, so this is, too: who opened, and how many are open.
std::atomic<std::int64_t> opener{0};
std::atomic<int> open_now{0};

std::error_code code_for(sqlite3* connection, int code) {
  switch (code & 0xFF) {
    case SQLITE_NOMEM:
      return std::make_error_code(std::errc::not_enough_memory);
    case SQLITE_FULL:
      return std::make_error_code(std::errc::no_space_on_device);
    case SQLITE_READONLY:
    case SQLITE_PERM:  // and the next: SQLite knows both, and has no cause for them here; not reached by tests
    case SQLITE_AUTH:
      return std::make_error_code(std::errc::permission_denied);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return std::make_error_code(std::errc::bad_message);
    default:
      break;
  }
  const int system = sqlite3_system_errno(connection);
  return system != 0 ? os::code_of(system) : std::make_error_code(std::errc::io_error);
}

Refusal failed(os::Status error, std::string what) { return {os::code_of(error), std::move(what)}; }

}  // namespace

// --- statements ---

Query::Query(Database& database, Sql sql) : database_(database), statement_(database.prepared(sql)) {}

Query::~Query() { sqlite3_reset(statement_); }

Query& Query::with(std::int64_t value) {
  sqlite3_bind_int64(statement_, ++parameters_, value);
  return *this;
}

Query& Query::with(std::string_view text) {
  sqlite3_bind_text64(statement_, ++parameters_, text.data(), text.size(), SQLITE_STATIC, SQLITE_UTF8);
  return *this;
}

bool Query::next() {
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) database_.refuse(code);
  return false;
}

bool Query::changes() {
  run();
  return sqlite3_changes(database_.connection_) > 0;
}

std::int64_t Query::number(int column) const noexcept { return sqlite3_column_int64(statement_, column); }

std::string Query::text(int column) const {
  const auto* const bytes = static_cast<const char*>(sqlite3_column_blob(statement_, column));
  const int size = sqlite3_column_bytes(statement_, column);
  return bytes == nullptr ? std::string() : std::string(bytes, static_cast<std::size_t>(size));
}

sqlite3_stmt* Database::prepared(Sql sql) {
  sqlite3_stmt*& statement = statements_.at(static_cast<std::size_t>(sql));
  if (statement == nullptr) {
    const int code = sqlite3_prepare_v3(connection_, texts.at(static_cast<std::size_t>(sql)), -1,
                                        SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
    if (code != SQLITE_OK) refuse(code);
  }
  return statement;
}

void Database::execute(const char* sql) {
  const int code = sqlite3_exec(connection_, sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) refuse(code);
}

std::string Database::text_of(const char* sql) {
  sqlite3_stmt* statement = nullptr;
  int code = sqlite3_prepare_v2(connection_, sql, -1, &statement, nullptr);
  std::unique_ptr<sqlite3_stmt, int (*)(sqlite3_stmt*)> ends(statement, sqlite3_finalize);
  if (code == SQLITE_OK) code = sqlite3_step(statement);
  std::string text;
  if (code == SQLITE_ROW) {
    const auto* const bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement, 0));
    if (bytes != nullptr) text = bytes;
  }
  ends.reset();
  if (code != SQLITE_ROW && code != SQLITE_DONE) refuse(code);
  return text;
}

std::int64_t Database::value_of(const char* sql) { return std::strtoll(text_of(sql).c_str(), nullptr, 10); }

std::string Database::quoted() const { return "'" + claim::printable(name_) + "'"; }

void Database::refuse(int code) const {
  Refusal refusal;
  const int kind = code & 0xFF;
  // The last two not reached by tests: other connections that share their cache; a log that is begun anew all the time.
  if (kind == SQLITE_BUSY || kind == SQLITE_LOCKED || kind == SQLITE_PROTOCOL) {
    refusal.busy = true;
  } else {
    refusal.why = code_for(connection_, code);
    refusal.what = refusal.why == std::errc::bad_message
                       ? "the database " + quoted() + " is damaged, or no database"
                       : "cannot work with the database " + quoted() + " (" + sqlite3_errstr(code) + ")";
  }
  throw Refused(std::move(refusal));
}

// --- opening ---

namespace {

Refusal of_a_forked_child() {
  return {std::make_error_code(std::errc::operation_not_permitted),
          "this process was forked while an SQLite database was open, and cannot use SQLite before exec"};
}

}  // namespace

Database::Opened Database::open(os::Process& process, const std::string& path, Access access, For what) {
  os::System& system = process.system();
  if (open_now != 0 && opener != system.process_id()) return {nullptr, of_a_forked_child()};
  const std::size_t slash = path.rfind('/');
  const std::string parent = path.substr(0, std::max<std::size_t>(slash, 1));
  const std::string name = path.substr(slash + 1);
  auto directory = claim::Directory::open(process, parent);
  if (!directory.ok()) {
    if (what == For::looking && directory.error == ENOENT) return {};
    return {nullptr, failed(directory.error, "cannot open directory '" + claim::printable(parent) + "'")};
  }
  const std::string shown = "'" + claim::printable(name) + "'";
  if (!directory.value->local()) {
    return {nullptr,
            {std::make_error_code(std::errc::operation_not_supported),
             "the database " + shown + " is on a file system of type '" + directory.value->file_system().name +
                 "': SQLite's locks need a local one"}};
  }
  if (process.identity().boot.empty()) {
    return {nullptr,
            {std::make_error_code(std::errc::operation_not_supported), "this system does not tell its boot id"}};
  }
  const int at = directory.value->descriptor();
  auto& all = process.part<Databases>();
  // From before the file is made: until the descriptor that made it is closed again, no thread may have SQLite open it.
  const os::MutexGuard guard(system, all.mutex_);
  auto info = system.stat_at(at, name.c_str(), os::Links::keep);
  if (info.error == ENOENT && what == For::looking) return {};
  if (info.error == ENOENT) {
    // Made by us for the sake of its mode. It is a new file, so nobody in this process can have locks on it.
    const std::uint32_t wider = claim::mode_for(access, os::FileType::regular);
    const auto made = system.open(at, name.c_str(), os::Open::create, wider != 0 ? wider : 0666);
    if (!made.ok() && made.error != EEXIST) return {nullptr, failed(made.error, "cannot create the database " + shown)};
    if (made.ok()) {
      const os::File file(system, made.value);
      if (wider != 0) (void)system.set_mode(file.get(), wider);
    }
    info = system.stat_at(at, name.c_str(), os::Links::keep);
  }
  if (!info.ok()) return {nullptr, failed(info.error, "cannot look at the database " + shown)};
  if (info.value.type == os::FileType::symlink) {
    return {nullptr, failed(ELOOP, "the database " + shown +
                                       " is a symbolic link, and SQLite's other files are named "
                                       "after it")};
  }
  if (info.value.type != os::FileType::regular) {
    return {nullptr, failed(EINVAL, "the database " + shown + " is no regular file")};
  }
  if (info.value.links > 1) {
    return {nullptr, failed(EMLINK, "the database " + shown +
                                        " has several names (hard links), and SQLite would have "
                                        "other files for each")};
  }

  try {
    auto database = all.find(info.value);
    if (!database) {
      database.reset(new Database(std::move(directory.value), name, info.value, access));
      database->connect(path);
      if (!database->check_whose() && what == For::looking) return {};
      database->open_guard(path, what);
      all.open_.emplace_back(info.value, database);
    }
    if (what == For::taking_part && !database->set_up_) {
      const os::MutexGuard alone(system, database->mutex_);
      database->open_guard(path, what);
      database->set_up();
    }
    return {std::move(database), {}};
  } catch (const Refused& refused) {
    return {nullptr, refused.refusal()};
  }
}

std::shared_ptr<Database> Databases::find(const os::FileInfo& inode) {
  std::erase_if(open_, [](const auto& each) { return each.second.expired(); });
  for (const auto& [its_inode, database] : open_) {
    if (its_inode.same_inode(inode)) return database.lock();
  }
  return nullptr;
}

void Database::connect(const std::string& path) {
  opener = system().process_id();
  ++open_now;
  counted_ = true;
  const int code = sqlite3_open_v2(path.c_str(), &connection_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  if (code != SQLITE_OK) refuse(code);
  sqlite3_extended_result_codes(connection_, 1);
  sqlite3_busy_timeout(connection_, 0);  // it sleeps, and knows no deadline of ours
  sqlite3_db_config(connection_, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(connection_, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  // Until it is known to be ours, nothing that we do may change it.
  sqlite3_db_config(connection_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  execute("PRAGMA temp_store = MEMORY");
  (void)prepared(Sql::rollback);
}

// Reads only. False: there is nothing in it, so it is anybody's.
bool Database::check_whose() {
  const std::int64_t id = value_of("PRAGMA application_id");
  const std::int64_t tables = value_of("SELECT count(*) FROM sqlite_schema");
  if (id == 0 && tables == 0) return false;
  const auto refuse_as = [&](std::error_code why, const std::string& how) {
    throw Refused({why, "the database " + quoted() + how});
  };
  if (id != application_id) refuse_as(make_error_code(errc::foreign), " belongs to another program");
  const std::int64_t version = value_of("PRAGMA user_version");
  if (version > layout_version) {
    refuse_as(
        std::make_error_code(std::errc::operation_not_supported),
        " is of version " + std::to_string(version) + ", and this program knows " + std::to_string(layout_version));
  }
  const std::int64_t ours = value_of(
      "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('meta', 'process', 'hold', 'queue')");
  if (version != layout_version || ours != 4 || value_of("SELECT count(*) FROM meta") != 1 ||
      value_of("SELECT count(*) FROM hold WHERE name = ''") != 1) {
    refuse_as(std::make_error_code(std::errc::bad_message), " is damaged: its tables are not what they should be");
  }
  return true;
}

void Database::open_guard(const std::string& path, For what) {
  const std::string beside = name_ + ".d";
  const std::string beside_name = claim::printable(beside);
  const int at = directory_->descriptor();
  const std::string shown = "'" + claim::printable(beside) + "'";
  if (what == For::taking_part) {
    const std::uint32_t wider = claim::mode_for(access_, os::FileType::directory);
    const os::Status made = system().make_directory(at, beside.c_str(), wider != 0 ? wider : 0777);
    if (made != 0 && made != EEXIST) throw Refused(failed(made, "cannot make directory " + shown));
    if (made == 0 && wider != 0) {
      if (const auto opened = system().open(at, beside.c_str(), os::Open::look, 0); opened.ok()) {
        const os::File file(system(), opened.value);
        (void)system().set_mode(file.get(), wider);
      }
    }
  }
  if (guard_.get() >= 0 && (what == For::looking || !guard_is_for_looks_)) return;
  auto opened = claim::Directory::open(process(), path + ".d");
  if (!opened.ok()) {
    if (what == For::looking && opened.error == ENOENT) return;  // nobody has ever held anything
    throw Refused(failed(opened.error, "cannot open directory " + shown));
  }
  beside_ = std::move(opened.value);
  const int in = beside_->descriptor();
  auto guard = system().open(in, guard_name, os::Open::update, 0);
  if (guard.error == ENOENT && what == For::taking_part) {
    const std::uint32_t wider = claim::mode_for(access_, os::FileType::regular);
    guard = system().open(in, guard_name, os::Open::create, wider != 0 ? wider : 0666);
    if (guard.ok() && wider != 0) (void)system().set_mode(guard.value, wider);
    if (guard.error == EEXIST) guard = system().open(in, guard_name, os::Open::update, 0);
  }
  const bool read_only = what == For::looking && (guard.error == EACCES || guard.error == EROFS);
  if (read_only) guard = system().open(in, guard_name, os::Open::look, 0);
  if (!guard.ok()) {
    if (what == For::looking && guard.error == ENOENT) return;
    throw Refused(failed(guard.error, "cannot open '" + beside_name + "/" + guard_name + "'"));
  }
  guard_.open(process(), guard.value);
  const auto info = system().stat(guard.value);
  if (!info.ok()) throw Refused(failed(info.error, "cannot look at the guard of " + quoted()));
  guard_info_ = info.value;
  guard_is_for_looks_ = read_only;
  if (info.value.size < guard_size) {
    if (what == For::looking) return;
    const std::string zeros(guard_size, '\0');
    const auto put = system().write(guard.value, zeros, 0);
    if (!put.ok()) throw Refused(failed(put.error, "cannot write the guard of " + quoted()));
  }
  // Without it a process that is stopped has no name; nothing else rests on it.
  if (const auto mapped = system().map(guard.value, guard_words); mapped.ok()) words_ = mapped.value;
}

// Under ENTRY: the first process that comes after a boot, or at all, has something to do.
void Database::set_up() {
  enter(2ms);
  try {
    if (value_of("SELECT count(*) FROM sqlite_schema") == 0) {
      // Small pages: a transaction changes one row of one or two, and each is summed up and written as a whole.
      execute("PRAGMA page_size = 1024");
      execute("PRAGMA synchronous = FULL");
      execute("BEGIN IMMEDIATE");
      execute(layout);
      execute(("PRAGMA application_id = " + std::to_string(application_id)).c_str());
      execute(("PRAGMA user_version = " + std::to_string(layout_version)).c_str());
      execute("COMMIT");
      (void)directory_->sync();  // SQLite syncs what is in the file, not its name
    } else {
      (void)check_whose();  // somebody may have made it since
    }
    if (text_of("PRAGMA journal_mode") != "wal" && text_of("PRAGMA journal_mode = WAL") != "wal") {
      // Not reached by tests: SQLite's own ways to the file (VFS) on Linux can, but for those without locks.
      throw Refused({std::make_error_code(std::errc::operation_not_supported),
                     "the database " + quoted() + " cannot be brought into WAL mode"});
    }
    execute("PRAGMA journal_size_limit = 4194304");
    if (text_of("SELECT boot FROM meta") != process().identity().boot) raise_epoch();
    execute("PRAGMA synchronous = NORMAL");
    sqlite3_db_config(connection_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, nullptr);
  } catch (...) {
    roll_back();
    leave();
    throw;
  }
  leave();
  set_up_ = true;
  remove_dead_fifos();
}

// Synced, and before anybody is granted anything in this boot: what the boot before had committed may be lost, for
// those commits were not synced, but none of its numbers is of this epoch.
void Database::raise_epoch() {
  execute("PRAGMA synchronous = FULL");
  execute("BEGIN IMMEDIATE");
  sqlite3_stmt* statement = nullptr;
  int code = sqlite3_prepare_v2(connection_, "UPDATE meta SET boot = ?1", -1, &statement, nullptr);
  if (code == SQLITE_OK) {
    const std::string& boot = process().identity().boot;
    sqlite3_bind_text64(statement, 1, boot.data(), boot.size(), SQLITE_STATIC, SQLITE_UTF8);
    code = sqlite3_step(statement);
  }
  sqlite3_finalize(statement);
  if (code != SQLITE_DONE) refuse(code);
  execute("UPDATE hold SET since = ((since >> 32) + 1) << 32 WHERE name = ''");
  execute("COMMIT");
}

// A waiter that was killed leaves its FIFO: there is no reader.
void Database::remove_dead_fifos() noexcept {
  try {
    const auto opened = system().open(beside_->descriptor(), ".", os::Open::look, 0);
    if (!opened.ok()) return;
    const os::File readable(system(), opened.value);
    const auto names = system().list(readable.get());
    if (!names.ok()) return;
    for (const std::string& each : names.value) {
      const auto side = claim::parse_side_name(each);
      if (!side || side->suffix != claim::suffix::wake) continue;
      const auto fifo = system().open(beside_->descriptor(), each.c_str(), os::Open::wake, 0);
      if (fifo.ok()) system().close(fifo.value);
      if (fifo.error == ENXIO) (void)system().unlink(beside_->descriptor(), each.c_str());
    }
  } catch (const std::bad_alloc&) {
    return;  // they are in nobody's way
  }
}

Database::~Database() { disconnect(); }

// In a forked child the connection is its parent's, and one whose descriptors are another file's by now is not to be
// touched either: it is left as it is. The former not reached by tests: whoever is abandoned there lets go of nothing.
void Database::disconnect() noexcept {
  if (!counted_ || !process().is_caller()) return;
  if (guard_.get() >= 0 && !claim::is_descriptor_of(system(), guard_.get(), guard_info_)) {
    guard_.forget();
    return;
  }
  if (self_ != 0) {
    try {
      // With what attempts had to leave: nobody else can end it while this process lives.
      write(*this, Write::Patience::release,
            [this](std::vector<Token>& /*tokens*/) { Query(*this, Sql::end_process).with(self_).run(); });
    } catch (const std::exception&) {
      // The next one that comes takes it away.
    }
  }
  for (const auto& each : fifos_) each->drop();
  for (sqlite3_stmt* const each : statements_) sqlite3_finalize(each);
  if (words_ != nullptr) system().unmap(words_, guard_words);
  sqlite3_close(connection_);
  --open_now;
}

bool Database::is_at(const std::string& path) const noexcept {
  const auto now = system().stat_at(os::no_directory, path.c_str(), os::Links::keep);
  return now.ok() && now.value.same_inode(info_);
}

// --- transactions ---

void Database::check_usable() const {
  if (!process().is_caller()) throw Refused(of_a_forked_child());
  // SQLite's descriptors are not known to us, but who closes all closes ours too.
  if (guard_.get() >= 0 && !claim::is_descriptor_of(system(), guard_.get(), guard_info_)) {
    throw Refused(
        failed(EBADF, "this program has closed the descriptors by which the database " + quoted() + " was open"));
  }
}

void Database::enter(std::chrono::nanoseconds patience) {
  constexpr int looks_at_once = 32;
  std::optional<std::chrono::steady_clock::time_point> until;
  for (int looks = 1;; ++looks) {
    const os::Status locked = system().try_lock(guard_.get(), entry_byte);
    if (locked == 0) break;
    if (os::cause_of(os::Call::try_lock, locked) != os::Cause::contention) {
      throw Refused(failed(locked, "cannot lock the guard of the database " + quoted()));
    }
    if (looks % looks_at_once != 0) continue;
    const auto now = system().now();
    if (!until) until = now + patience;
    if (now < *until) continue;
    Refusal busy;
    busy.busy = true;
    if (words_ != nullptr) {
      busy.writer = static_cast<std::int64_t>(system().load(words_[0]));
      busy.writes = system().load(words_[1]);
    }
    throw Refused(std::move(busy));
  }
  if (words_ == nullptr) return;
  system().store(words_[0], static_cast<std::uint64_t>(process().identity().pid));
  system().store(words_[1], system().load(words_[1]) + 1);
}

void Database::leave() noexcept {
  if (words_ != nullptr) system().store(words_[0], 0);
  (void)system().unlock(guard_.get(), entry_byte, 1);
}

Database::Write::Write(Database& database, Patience patience) : database_(database) {
  os::System& system = database.system();
  const auto longest = patience == Patience::release ? 10s : patience == Patience::leaving ? 1s : 0s;
  // On a busy machine there is always somebody, and whoever sleeps in between may be unlucky for long. What ends it is
  // that nothing moves.
  std::uint64_t writes = 0;
  auto give_up = system.now() + longest;
  for (;;) {
    system.lock(database.mutex_);
    bool entered = false;
    try {
      database.check_usable();
      database.enter(patience == Patience::longer ? 4ms : 50us);
      entered = true;
      Query(database, Sql::begin).run();
      open_ = true;
      return;
    } catch (const Refused& refused) {
      if (entered) database.leave();
      system.unlock(database.mutex_);
      const Refusal& refusal = refused.refusal();
      if (!refusal.busy || longest == 0s) throw;
      const auto now = system.now();
      if (refusal.writes != 0 && refusal.writes != writes) {
        writes = refusal.writes;
        give_up = now + longest;
      }
      if (now >= give_up) throw;
    } catch (...) {  // no memory, not even to say what SQLite refused: two troubles, not reached by tests
      if (entered) database.leave();
      system.unlock(database.mutex_);
      throw;
    }
    (void)system.wait({}, system.now() + 200us + std::chrono::microseconds(system.random() % 600));
  }
}

Database::Write::~Write() {
  if (!open_) return;
  database_.roll_back();
  database_.written(false);
  database_.leave();
  database_.system().unlock(database_.mutex_);
}

void Database::Write::commit() {
  Query(database_, Sql::commit).run();
  database_.written(true);
  open_ = false;
  database_.leave();
  database_.system().unlock(database_.mutex_);
}

// What was said of this process stands, or does not.
void Database::written(bool committed) noexcept {
  if (!self_is_new_) return;
  self_is_new_ = false;
  if (committed) return;
  (void)system().unlock(guard_.get(), live_byte_of(self_), 1);
  self_ = 0;
}

Database::Look::Look(Database& database) : database_(database) {
  database.system().lock(database.mutex_);
  try {
    database.check_usable();
    Query(database, Sql::begin_look).run();
  } catch (...) {
    database.system().unlock(database.mutex_);
    throw;
  }
}

Database::Look::~Look() {
  database_.roll_back();
  database_.system().unlock(database_.mutex_);
}

void Database::roll_back() noexcept {
  if (sqlite3_get_autocommit(connection_) != 0) return;
  sqlite3_stmt* const statement = statements_.at(static_cast<std::size_t>(Sql::rollback));
  // Prepared when the database was opened, so that it needs no memory.
  (void)sqlite3_step(statement);
  (void)sqlite3_reset(statement);
}

// --- what is in it ---

std::uint64_t Database::next_number() {
  std::int64_t number = 0;
  {
    Query query(*this, Sql::last_number);
    if (!query.next()) refuse(SQLITE_CORRUPT);
    number = query.number(0) + 1;
  }
  Query(*this, Sql::set_number).with(number).run();
  return static_cast<std::uint64_t>(number);
}

// Those that have gone and are named nowhere any more are taken away by whoever comes.
std::int64_t Database::self() {
  if (self_ != 0) return self_;
  std::vector<std::int64_t> idle;
  for (Query query(*this, Sql::idle_processes); query.next();) idle.push_back(query.number(0));
  for (const std::int64_t each : idle) {
    if (is_dead(each)) Query(*this, Sql::end_process).with(each).run();
  }
  constexpr int tries = 64;  // each further one needs somebody who still has a database open that had this name before
  for (int i = 1;; ++i) {
    const std::int64_t id = add_process();
    const os::Status locked = system().try_lock(guard_.get(), live_byte_of(id));
    if (locked == 0) {
      self_ = id;
      self_is_new_ = true;
      return id;
    }
    if (i == tries || os::cause_of(os::Call::try_lock, locked) != os::Cause::contention) {
      throw Refused(failed(locked, "cannot lock a byte of the guard of the database " + quoted()));
    }
    Query(*this, Sql::end_process).with(id).run();  // its number is never given again
  }
}

std::int64_t Database::add_process() {
  const os::Identity& me = process().identity();
  const std::string nonce = claim::make_nonce(me.boot, system().random());
  Query query(*this, Sql::add_process);
  query.with(nonce).with(me.boot).with(me.host).with(me.pid).with(static_cast<std::int64_t>(me.start));
  query.with(static_cast<std::int64_t>(me.pid_namespace)).with(static_cast<std::int64_t>(me.time_namespace));
  query.with(me.program);
  if (!query.next()) refuse(SQLITE_CORRUPT);
  const std::int64_t id = query.number(0);
  query.run();
  return id;
}

Participant Database::participant(std::int64_t id) {
  Participant who;
  who.id = id;
  Query query(*this, Sql::process);
  query.with(id);
  if (!query.next()) return who;  // its record is empty: nothing is proved of it
  claim::Record& record = who.record;
  record.scheme = "sqlite";
  record.guarded = true;
  record.nonce = query.text(0);
  record.boot = query.text(1);
  record.host = query.text(2);
  record.pid = query.number(3);
  record.start = static_cast<std::uint64_t>(query.number(4));
  record.pid_namespace = static_cast<std::uint64_t>(query.number(5));
  record.time_namespace = static_cast<std::uint64_t>(query.number(6));
  record.program = query.text(7);
  who.known = true;
  return who;
}

Database::Seen Database::judge(const Participant& who) const {
  Seen seen;
  if (is_self(who.id)) {
    seen.judgement = {Verdict::alive, "its process runs"};
    seen.this_process = true;
    return seen;
  }
  if (!who.known || !beside_ || guard_.get() < 0) {
    seen.judgement = {Verdict::unknown, "its process is not known"};
    return seen;
  }
  const claim::Evidence evidence = claim::gather_evidence(*beside_, guard_.get(), claim::Reading::record, who.record,
                                                          seen.processes, nullptr, live_byte_of(who.id));
  seen.judgement = claim::judge(evidence);
  seen.this_process = evidence.processes_visible() && claim::is_of_process(who.record, process().identity());
  return seen;
}

bool Database::is_dead(std::int64_t id) {
  if (is_self(id)) return false;
  const Participant who = participant(id);
  const auto live = system().lock_seen(guard_.get(), live_byte_of(id));
  const bool seen_to_run = live.ok() && live.value && who.record.pid_namespace == process().identity().pid_namespace &&
                           system().process_exists(who.record.pid);
  return !seen_to_run && judge(who).judgement.verdict == Verdict::dead;
}

std::optional<Holder> Database::writer(std::int64_t pid) {
  if (pid == 0 || pid == process().identity().pid) return std::nullopt;
  Holder holder;
  try {
    const Look look(*this);
    Query query(*this, Sql::process_by_pid);
    query.with(pid);
    if (query.next()) {
      const Participant who = participant(query.number(0));
      holder.nonce = who.record.nonce;
      holder.host = who.record.host;
      holder.program = who.record.program;
    }
  } catch (const Refused&) {
    // Then it has a number only. Not reached by tests: it was open a moment ago.
  }
  holder.pid = pid;
  holder.scheme = "sqlite";
  holder.note = "it is in the middle of a change of the database, and nobody can change anything meanwhile";
  return holder;
}

void Database::examine(Examination& seen) {
  using Result = Finding::Result;
  seen.file_system = directory_->file_system().name;
  seen.local = directory_->local();
  const os::MutexGuard guard(system(), mutex_);
  check_usable();
  const std::string mode = text_of("PRAGMA journal_mode");
  seen.findings.push_back({"write-ahead log", mode == "wal" ? Result::works : Result::fails, "journal mode " + mode});
  const std::string integrity = text_of("PRAGMA quick_check(1)");
  seen.findings.push_back({"integrity", integrity == "ok" ? Result::works : Result::fails, integrity});
  seen.findings.push_back({"holds", Result::note, text_of("SELECT count(*) FROM hold WHERE name <> ''")});
  seen.findings.push_back({"waiters", Result::note, text_of("SELECT count(*) FROM queue")});
  const bool same_boot = text_of("SELECT boot FROM meta") == process().identity().boot;
  seen.findings.push_back(
      {"fences", Result::note, same_boot ? "of this boot" : "of an earlier boot; the next lock begins a new epoch"});
}

// --- waking ---

std::unique_ptr<claim::WakeFifo> Database::take_kept_fifo() noexcept {
  const os::MutexGuard guard(system(), small_mutex_);
  while (!fifos_.empty()) {
    auto fifo = std::move(fifos_.back());
    fifos_.pop_back();
    if (fifo->is_usable()) return fifo;
    fifo->drop();
  }
  return nullptr;
}

std::unique_ptr<claim::WakeFifo> Database::take_fifo() {
  if (auto kept = take_kept_fifo()) return kept;
  {
    const os::MutexGuard guard(system(), small_mutex_);
    fifos_.reserve(most_fifos);
  }
  return claim::WakeFifo::make(beside_, fifo_names(), access_).fifo;
}

void Database::give_back(std::unique_ptr<claim::WakeFifo> fifo) noexcept {
  if (!fifo) return;
  const os::MutexGuard guard(system(), small_mutex_);
  if (fifos_.size() < fifos_.capacity()) {
    fifos_.push_back(std::move(fifo));
  } else {
    fifo->drop();  // as many as are kept; not reached by tests
  }
}

std::vector<Database::Token> Database::wake(const std::vector<Token>& tokens) {
  std::vector<Token> gone;
  for (const Token& each : tokens) {
    if (each.fifo == 0) continue;
    claim::SlotOwner owner;
    owner.id = each.fifo;
    owner.uid = each.uid;
    if (claim::wake(*beside_, fifo_names(), owner) == claim::Woken::gone) gone.push_back(each);
  }
  return gone;
}

void Database::waits(std::uint64_t place) {
  const os::MutexGuard guard(system(), small_mutex_);
  waiting_.insert(place);
}

void Database::waits_no_more(std::uint64_t place) noexcept {
  const os::MutexGuard guard(system(), small_mutex_);
  waiting_.erase(place);
}

bool Database::is_waiting(std::uint64_t place) noexcept {
  const os::MutexGuard guard(system(), small_mutex_);
  return waiting_.count(place) != 0;
}

void Database::orphan(Orphan orphan) noexcept {
  const os::MutexGuard guard(system(), small_mutex_);
  try {
    orphans_.push_back(std::move(orphan));
  } catch (const std::bad_alloc&) {
    return;  // it stays until this process ends; not reached by tests: a second refusal
  }
}

std::vector<Database::Orphan> Database::take_orphans() noexcept {
  const os::MutexGuard guard(system(), small_mutex_);
  return std::exchange(orphans_, {});
}

}  // namespace lockfile::schemes::sqlite
