// The scheme: its database, looks, breaks, and how `lockfile::open` finds it.
#include "schemes/sqlite/scheme.hpp"

#include "claim/record.hpp"
#include "schemes/engines.hpp"
#include "schemes/sqlite/attempt.hpp"

#include <lockfile/error.hpp>

#include <sqlite3.h>

#include <algorithm>
#include <new>
#include <system_error>
#include <utility>

namespace lockfile::schemes::sqlite {
namespace {

using Patience = Database::Write::Patience;

constexpr std::size_t longest_name = 1000;

}  // namespace

Scheme::Scheme(FilePath place, const Options& options) : path_(std::move(place.directory)), options_(options) {
  name_.name = std::move(place.name);
  if (name_.name.size() > longest_name) {
    throw std::system_error(std::make_error_code(std::errc::filename_too_long),
                            "the lock's name is longer than " + std::to_string(longest_name) + " bytes");
  }
  if (options.lease.count() != 0) {
    throw std::system_error(std::make_error_code(std::errc::operation_not_supported), "scheme 'sqlite' has no leases");
  }
}

// The threads of one process that want units do not stand behind each other: a place each.
Traits Scheme::traits() const noexcept {
  Traits mine = sqlite_traits;
  mine.queues = name_.kind == Kind::semaphore;
  return mine;
}

std::unique_ptr<lockfile::Attempt> Scheme::attempt(const Request& request) {
  return std::make_unique<Attempt>(*this, request);
}

std::shared_ptr<Database> Scheme::database(Database::For what, Refusal& refusal) {
  os::Process& process = os::Process::current();
  if (!database_ && name_.kind == Kind::semaphore) {
    const os::MutexGuard guard(process.system(), shelf_->mutex);
    database_ = shelf_->database;
  }
  if (database_ && database_->will_do(what) && database_->is_at(path_)) return database_;
  auto opened = Database::open(process, path_, options_.access, what);
  refusal = std::move(opened.refusal);
  if (opened.database) database_ = opened.database;
  if (opened.database && name_.kind == Kind::semaphore) {
    const os::MutexGuard guard(process.system(), shelf_->mutex);
    shelf_->database = opened.database;
  }
  return std::move(opened.database);
}

namespace {

std::error_code code_of(const Refusal& refusal) {
  return refusal.busy ? std::make_error_code(std::errc::resource_unavailable_try_again) : refusal.why;
}

}  // namespace

// Null without a cause: there is no database, so nobody holds.
std::shared_ptr<Database> Scheme::database_to_look_at(std::error_code& why) {
  Refusal refusal;
  auto database = this->database(Database::For::looking, refusal);
  if (refusal.refused()) why = code_of(refusal);
  return database;
}

namespace {

// A look, which fails by a code.
template <class Look>
void look_at(Database& database, std::error_code& why, Look look) {
  try {
    const Database::Look transaction(database);
    look();
  } catch (const Refused& refused) {
    why = code_of(refused.refusal());
  }
}

}  // namespace

std::vector<Holder> Scheme::holders(std::error_code& why) {
  why.clear();
  std::vector<Holder> all;
  const auto database = database_to_look_at(why);
  if (!database) return all;
  look_at(*database, why, [&] {
    for (const Hold& each : holds_of(*database, name_)) {
      const Participant who = database->participant(each.process);
      const Holder holder = holder_from(*database, each, who, database->judge(who));
      for (std::int64_t unit = 0; unit < each.units; ++unit) all.push_back(holder);
    }
  });
  return all;
}

std::vector<Waiter> Scheme::waiters(std::error_code& why) {
  why.clear();
  std::vector<Waiter> all;
  const auto database = database_to_look_at(why);
  if (!database) return all;
  look_at(*database, why, [&] {
    for (const Waiting& each : line_of(*database, name_)) {
      const Participant who = database->participant(each.process);
      const Database::Seen seen = database->judge(who);
      if (seen.judgement.verdict == Verdict::dead) continue;
      Waiter waiter;
      waiter.mode = each.wanted.mode;
      waiter.host = who.record.host;
      waiter.pid = who.record.pid;
      waiter.thread = each.thread;
      waiter.program = who.record.program.substr(0, 16);
      waiter.since = std::chrono::steady_clock::time_point(std::chrono::nanoseconds(each.since_ns));
      waiter.this_process = seen.this_process;
      all.push_back(std::move(waiter));
    }
  });
  return all;
}

std::error_code Scheme::break_hold(const Holder& hold, Proof proof) noexcept {
  try {
    std::error_code why;
    const auto database = database_to_look_at(why);
    if (why) return why;
    if (!database) return errc::not_locked;
    Refusal refusal;
    if (!this->database(Database::For::taking_part, refusal)) throw Refused(std::move(refusal));
    bool broken = false;
    write(*database_, Patience::longer, [&](std::vector<Database::Token>& tokens) {
      Change change(*database_, name_, tokens);
      const std::vector<Hold> holds = change.holds();
      const auto is_dead = [&](const Hold& each) { return database_->is_dead(each.process); };
      // Stale: when nobody of them lives, whichever was asked for.
      if (proof == Proof::stale && !std::all_of(holds.begin(), holds.end(), is_dead)) return;
      for (const Hold& each : holds) {
        if (proof != Proof::stale) {
          if (each.number != hold.number) continue;
          if (database_->participant(each.process).record.nonce != hold.nonce) return;
        }
        if (is_dead(each) && each.mode == Mode::exclusive) change.note_death();
        broken = change.end(each.number) || broken;
        tokens.push_back(each.token);  // it wants to know
      }
      if (broken) (void)change.let_in();
    });
    return broken ? std::error_code() : errc::not_locked;
  } catch (const Refused& refused) {
    return refused.refusal().busy ? std::make_error_code(std::errc::resource_unavailable_try_again)
                                  : refused.refusal().why;
  } catch (const std::bad_alloc&) {
    return std::make_error_code(std::errc::not_enough_memory);
  }
}

// The connection is the parent's, and so are the mutexes around it: they stay where they are.
void Scheme::abandon() noexcept {
  if (database_) (void)new std::shared_ptr<Database>(std::move(database_));
}

std::unique_ptr<lockfile::Scheme> Scheme::semaphore(std::size_t units, std::size_t wanted) {
  auto made = std::make_unique<Scheme>(FilePath{path_, name_.name}, options_);
  made->name_.kind = Kind::semaphore;
  made->units_ = static_cast<std::int64_t>(wanted);
  made->most_ = static_cast<std::int64_t>(units);
  made->shelf_ = shelf_;
  return made;
}

Examination Scheme::examine(std::error_code& why) {
  why.clear();
  Examination seen;
  using Result = Finding::Result;
  // One that was built for one thread only fails; not reached by tests.
  seen.findings.push_back({"SQLite", sqlite3_threadsafe() != 0 ? Result::works : Result::fails, sqlite3_libversion()});
  Refusal refusal;
  const auto database = this->database(Database::For::looking, refusal);
  if (refusal.refused()) {
    seen.findings.push_back({"the database", Result::fails, refusal.what + ": " + refusal.why.message()});
    return seen;
  }
  if (!database) {
    seen.local = true;
    seen.findings.push_back({"the database", Result::note, "it is not there, and will be made by the first lock"});
    return seen;
  }
  try {
    database->examine(seen);
  } catch (const Refused& refused) {  // it was usable a moment ago; not reached by tests
    seen.findings.push_back({"the database", Result::fails, refused.refusal().what});
  }
  return seen;
}

std::vector<std::string> Scheme::locked_names(std::error_code& why, std::string& what) {
  why.clear();
  std::vector<std::string> all;
  Refusal refusal;
  const auto database = this->database(Database::For::looking, refusal);
  if (refusal.refused()) {
    why = code_of(refusal);
    what = std::move(refusal.what);
    return all;
  }
  // A lock that nobody has yet is free; but who asks for all of a file that is not there has taken another one's name.
  if (!database) {
    why = std::make_error_code(std::errc::no_such_file_or_directory);
    return all;
  }
  look_at(*database, why, [&] { all = names_in(*database, Kind::lock); });
  return all;
}

}  // namespace lockfile::schemes::sqlite

lockfile::Scheme* lockfile_make_sqlite(const lockfile::schemes::FilePath& place, const lockfile::Options& options) {
  return new lockfile::schemes::sqlite::Scheme(place, options);
}
