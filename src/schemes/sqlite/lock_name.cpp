// Rows.
#include "schemes/sqlite/lock_name.hpp"

#include <algorithm>
#include <chrono>

namespace lockfile::schemes::sqlite {
namespace {

// As they stand in the tables.
constexpr std::int64_t number_of(Mode mode) noexcept { return mode == Mode::exclusive ? 0 : 1; }
constexpr Mode mode_of(std::int64_t number) noexcept { return number == 0 ? Mode::exclusive : Mode::shared; }

constexpr std::int64_t stored(std::uint64_t value) noexcept { return static_cast<std::int64_t>(value); }
constexpr std::uint64_t loaded(std::int64_t value) noexcept { return static_cast<std::uint64_t>(value); }

Database::Token token_of(const Query& query, int column) noexcept {
  return {loaded(query.number(column)), static_cast<std::uint32_t>(query.number(column + 1))};
}

Waiting waiting_from(const Query& query) {
  Waiting waiting;
  waiting.place = loaded(query.number(0));
  waiting.wanted = {mode_of(query.number(1)), query.number(2), query.number(3)};
  waiting.process = query.number(4);
  waiting.thread = query.number(5);
  waiting.token = token_of(query, 6);
  waiting.since_ns = query.number(8);
  waiting.reason = query.text(9);
  return waiting;
}

}  // namespace

std::vector<std::string> names_in(Database& database, Kind kind) {
  std::vector<std::string> all;
  Query query(database, Sql::names);
  query.with(static_cast<std::int64_t>(kind));
  while (query.next()) all.push_back(query.text(0));
  return all;
}

bool is_idle(Database& database, const LockName& name) {
  Query query(database, Sql::is_idle);
  return query.with(name.name).with(name.kind_number()).next();
}

std::vector<Hold> holds_of(Database& database, const LockName& name) {
  std::vector<Hold> all;
  Query query(database, Sql::holds);
  query.with(name.name).with(name.kind_number());
  while (query.next()) {
    Hold hold;
    hold.number = loaded(query.number(0));
    hold.mode = mode_of(query.number(1));
    hold.units = query.number(2);
    hold.process = query.number(3);
    hold.thread = query.number(4);
    hold.place = loaded(query.number(5));
    hold.token = token_of(query, 6);
    hold.died = query.number(8) != 0;
    hold.since_ms = query.number(9);
    hold.reason = query.text(10);
    all.push_back(std::move(hold));
  }
  return all;
}

std::optional<Waiting> first_in_line(Database& database, const LockName& name) {
  Query query(database, Sql::line);
  query.with(name.name).with(name.kind_number());
  return query.next() ? std::optional<Waiting>(waiting_from(query)) : std::nullopt;
}

std::vector<Waiting> line_of(Database& database, const LockName& name) {
  std::vector<Waiting> all;
  Query query(database, Sql::line);
  query.with(name.name).with(name.kind_number());
  while (query.next()) all.push_back(waiting_from(query));
  return all;
}

std::optional<Hold> granted_to(Database& database, const LockName& name, std::uint64_t place) {
  Query query(database, Sql::granted);
  query.with(name.name).with(name.kind_number()).with(stored(place));
  if (!query.next()) return std::nullopt;
  Hold hold;
  hold.number = loaded(query.number(0));
  hold.died = query.number(1) != 0;
  return hold;
}

bool stands_in_line(Database& database, const LockName& name, std::uint64_t place) {
  Query query(database, Sql::in_line);
  return query.with(name.name).with(name.kind_number()).with(stored(place)).next();
}

bool stands(Database& database, const LockName& name, std::uint64_t number) {
  Query query(database, Sql::one_hold);
  return query.with(name.name).with(name.kind_number()).with(stored(number)).next();
}

bool is_in_the_way(const Hold& hold, const LockName& name, const Wanted& wanted) noexcept {
  return name.kind == Kind::semaphore || excludes(hold.mode, wanted.mode);
}

bool admits(const std::vector<Hold>& holds, const LockName& name, const Wanted& wanted) noexcept {
  if (name.kind == Kind::lock) {
    return std::none_of(holds.begin(), holds.end(), [&](const Hold& each) { return excludes(each.mode, wanted.mode); });
  }
  std::int64_t used = wanted.units;
  for (const Hold& each : holds) used += each.units;
  return used <= wanted.most;
}

Holder holder_from(Database& database, const Hold& hold, const Participant& who, const Database::Seen& seen) {
  Holder holder;
  holder.verdict = seen.judgement.verdict;
  holder.note = seen.judgement.note;
  holder.mode = hold.mode;
  holder.scheme = "sqlite";
  holder.nonce = who.record.nonce;
  holder.number = hold.number;
  holder.host = who.record.host;
  holder.pid = who.record.pid;
  // Let in, and its thread does not know it yet: to itself it would look like another lock object of its own.
  const bool unknown = seen.this_process && hold.place != 0 && database.is_waiting(hold.place);
  holder.thread = unknown ? 0 : hold.thread;
  holder.program = who.record.program;
  holder.reason = hold.reason;
  holder.uid = database.uid();
  holder.since = std::chrono::system_clock::time_point(std::chrono::milliseconds(hold.since_ms));
  holder.this_process = seen.this_process;
  return holder;
}

const std::vector<Hold>& Change::holds() {
  if (!holds_) holds_ = holds_of(database_, name_);
  return *holds_;
}

void Change::remove_dead(const Wanted& wanted) {
  if (admits(holds(), name_, wanted)) return;
  std::vector<Hold> all = holds();
  for (const Hold& each : all) {
    if (!is_in_the_way(each, name_, wanted) || !database_.is_dead(each.process)) continue;
    if (end(each.number) && each.mode == Mode::exclusive) died_ = true;
  }
}

// Each enters by the hand of whoever made room: there is no moment at which the lock is free and somebody waits.
bool Change::let_in() {
  for (;;) {
    const auto first = first_in_line(database_, name_);
    if (!first) return false;
    if (database_.is_dead(first->process)) {
      (void)end_place(first->place);
      continue;
    }
    if (!admits(holds(), name_, first->wanted)) return true;
    (void)end_place(first->place);
    Hold hold;
    hold.mode = first->wanted.mode;
    hold.units = first->wanted.units;
    hold.process = first->process;
    hold.thread = first->thread;
    hold.place = first->place;
    hold.token = first->token;
    hold.reason = first->reason;
    tokens_.push_back(first->token);
    (void)add(std::move(hold));
  }
}

std::uint64_t Change::add(Hold hold) {
  hold.number = database_.next_number();
  hold.died = died_;
  Query query(database_, Sql::add_hold);
  query.with(name_.name).with(name_.kind_number()).with(stored(hold.number)).with(number_of(hold.mode));
  query.with(hold.units).with(hold.process).with(hold.thread).with(stored(hold.place));
  query.with(stored(hold.token.fifo)).with(std::int64_t{hold.token.uid}).with(std::int64_t{hold.died ? 1 : 0});
  query.with(hold.reason).run();
  const std::uint64_t number = hold.number;
  if (holds_) holds_->push_back(std::move(hold));
  return number;
}

bool Change::end(std::uint64_t number) {
  Query query(database_, Sql::end_hold);
  query.with(name_.name).with(name_.kind_number()).with(stored(number));
  if (!query.changes()) return false;
  if (holds_) std::erase_if(*holds_, [&](const Hold& each) { return each.number == number; });
  return true;
}

bool Change::end_place(std::uint64_t place) {
  Query query(database_, Sql::end_place);
  return query.with(name_.name).with(name_.kind_number()).with(stored(place)).changes();
}

void end_orphans(Database& database, const std::vector<Database::Orphan>& orphans,
                 std::vector<Database::Token>& tokens) {
  for (const Database::Orphan& each : orphans) {
    const LockName name{each.name, static_cast<Kind>(each.kind)};
    Change change(database, name, tokens);
    std::uint64_t number = each.number;
    if (each.is_place) {
      database.waits_no_more(each.number);
      const auto granted = granted_to(database, name, each.number);
      (void)change.end_place(each.number);
      number = granted ? granted->number : 0;
    }
    if (number != 0) (void)change.end(number);
    (void)change.let_in();
  }
}

void end_given_to(Database& database, const std::vector<Database::Token>& gone, std::vector<Database::Token>& tokens) {
  for (const Database::Token& each : gone) {
    struct Given {
      LockName name;
      std::uint64_t number = 0;
    };
    std::vector<Given> all;
    Query query(database, Sql::hold_of_fifo);
    for (query.with(stored(each.fifo)); query.next();) {
      all.push_back({{query.text(0), static_cast<Kind>(query.number(1))}, loaded(query.number(2))});
    }
    for (const Given& given : all) {
      Change change(database, given.name, tokens);
      if (change.end(given.number)) change.let_in();
    }
  }
}

}  // namespace lockfile::schemes::sqlite
