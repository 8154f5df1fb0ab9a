// A semaphore of N units, made of advisory locks: one for each unit, and one, the gate, that is the right to be
// admitted. The server queues those who want the gate; whoever has it takes what is free, all or nothing, in one call
// of a function (schema.cpp); if that is too little it keeps the gate and waits to be told. So there is one collector
// at a time, and who wants many is not passed by those who want few.
//
//   A: gate; takes 1 2; lets the gate go                    gives 1 2 back; somebody has the gate: tells (NOTIFY)
//   B:                     gate; LISTEN; too few: waits     told: takes 1; lets the gate go
//
// A gives back between B's look and B's wait: B listens already when it looks, so it is told. Only who has a gate
// listens, so few are woken, and who gives back tells only if there is one. A holder that dies tells nobody: the one at
// the gate looks each second. The units are locks of a session, so a death frees just what it held.
//
// Each that waits has a session of its own: threads do not line up here.
#pragma once

#include "schemes/postgresql/attempt.hpp"

#include <string>

namespace lockfile::schemes::postgresql {

class Semaphore final : public SessionScheme {
 public:
  Semaphore(const FilePath& place, const std::string& reason, std::size_t units, std::size_t wanted);

  [[nodiscard]] Traits traits() const noexcept override;
  [[nodiscard]] std::unique_ptr<lockfile::Attempt> attempt(const Request& request) override;

  [[nodiscard]] std::int64_t first_key() const noexcept override { return gate_; }
  [[nodiscard]] std::int64_t last_key() const noexcept override { return gate_ + units_; }
  [[nodiscard]] std::int64_t first_held() const noexcept override { return gate_ + 1; }
  [[nodiscard]] std::int64_t units() const noexcept { return units_; }
  [[nodiscard]] std::int64_t wanted() const noexcept { return wanted_; }

 private:
  std::int64_t gate_;
  std::int64_t units_;
  std::int64_t wanted_;
};

class UnitsAttempt final : public SessionAttempt {
 public:
  UnitsAttempt(Semaphore& semaphore, const Request& request) noexcept
      : SessionAttempt(semaphore, request), semaphore_(semaphore) {}

 private:
  void ask_try(Connection& session) override;
  [[nodiscard]] bool tried(Connection& session) override;
  void ask_wait(Connection& session) override;
  std::optional<Step> waited(Connection& session) override;
  std::optional<Step> own_answer(Connection& session) override;
  std::optional<Step> heard(Connection& session) override;
  void ask_release(Connection& session) override;
  [[nodiscard]] bool is_admitted() const noexcept override { return admitted_; }
  void begin_anew() noexcept override;
  void look(Connection& session);

  Semaphore& semaphore_;
  bool admitted_ = false;
  bool leaving_ = false;  // it has its units, and tells the server that it listens no more
  std::string taken_;
  Time look_at_;
};

}  // namespace lockfile::schemes::postgresql
