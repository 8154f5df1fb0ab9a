// The proof of the pudding: several processes lock at once, in the very directory, and overlapping holders are counted.
#pragma once

#include "signals.hpp"

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace lockctl {

struct Contention {
  int processes = 0;
  std::int64_t acquisitions = 0;
  std::int64_t overlaps = 0;  ///< how often somebody was in who should not have been
  std::int64_t failures = 0;
  std::chrono::duration<double> lasted{};
  std::string first_failure;
  std::vector<std::string> left_behind;  ///< files that were still there afterwards, and have been removed
  int interrupted_by = 0;                ///< a signal; 0: none
};

/// Blocks for about `length`. `signals` end it early; nothing is left behind then either. Must be called from a process
/// of one thread. Throws std::system_error.
[[nodiscard]] Contention contend(const std::string& directory, int processes, std::chrono::milliseconds length,
                                 const BlockedSignals& signals);

}  // namespace lockctl
