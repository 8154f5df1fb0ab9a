// Cycles of waits. The server looks for cycles of its sessions, and ours have none: each has one lock, or waits for
// one. The cycle is among threads, each of which has several sessions, so we look for it ourselves:
//
//   thread S: session 1 has a                      thread T: session 3 has b
//             session 2 waits for b                          session 4 waits for a
//
// Only who waits while its thread holds something may be in one, and the cycle is closed by the last wait that begins;
// so only such a waiter looks, a second after it began, and then ever more seldom. Of those in a cycle the one whose
// wait is the youngest gives up.
#pragma once

#include "schemes/postgresql/connection.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace lockfile::schemes::postgresql {

/// A lock that a session has or waits for.
struct Claimed {
  std::string who;  ///< the thread
  std::int64_t backend = 0;
  std::int64_t key = 0;
  bool granted = false;
  bool exclusive = true;
  std::int64_t waited = 0;  ///< in microseconds
};

/// From the answer to `Statement::claims`.
[[nodiscard]] std::vector<Claimed> claims_in(const Connection& answer);

/// Does the wait of that session close a cycle, and is it the one to give up?
[[nodiscard]] bool is_to_give_up(const std::vector<Claimed>& all, std::int64_t backend);

}  // namespace lockfile::schemes::postgresql
