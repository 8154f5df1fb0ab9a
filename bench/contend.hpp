// Many processes that want one lock all the time: what throughput and fairness are measured by.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "driver.hpp"

namespace bench {

inline constexpr std::size_t most_contenders = 128;

struct Contention {
  double per_second = 0;
  double least_to_mean = 0;
  double cpu_us_per_hold = 0;  // besides the hold itself
  double sleeps_per_hold = 0;  // of all processes: how often one went to sleep, and so had to be woken
  double calls_per_hold = 0;   // of the library; only where asked for
};

enum class Count : std::uint8_t { nothing, calls };

/// `processes` of them, each holds for 100 us and asks again at once, for `length`.
[[nodiscard]] Contention contend(const std::string& contestant, std::size_t processes, std::chrono::milliseconds length,
                                 const WorkDirectory& directory, Count count = Count::nothing);

}  // namespace bench
