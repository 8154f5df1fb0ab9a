// Clocks. std::chrono::steady_clock is CLOCK_MONOTONIC in libstdc++ and libc++.
#include "os/posix.hpp"

#include <time.h>

#include <array>

namespace lockfile::os {

std::chrono::steady_clock::time_point RealSystem::now() noexcept { return std::chrono::steady_clock::now(); }

std::string RealSystem::local_time(std::chrono::system_clock::time_point when) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(when);
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts = {};
  std::tm today = {};
  // The second is not reached by tests: the year now has more than 31 bits.
  if (::localtime_r(&seconds, &parts) == nullptr || ::localtime_r(&now, &today) == nullptr) return "an unknown time";
  const bool is_today = parts.tm_year == today.tm_year && parts.tm_yday == today.tm_yday;
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), is_today ? "%H:%M:%S" : "%Y-%m-%d %H:%M:%S", &parts);
  return text.data();
}

}  // namespace lockfile::os
