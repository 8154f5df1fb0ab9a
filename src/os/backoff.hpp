// When to look again where no event will tell. Delays grow and are jittered, so that waiters do not march in step.
#pragma once

#include "os/system.hpp"

#include <algorithm>
#include <chrono>

namespace lockfile::os {

class Backoff {
 public:
  constexpr Backoff(std::chrono::milliseconds first, std::chrono::milliseconds most) noexcept
      : next_(first), most_(most) {}

  /// Between three and five quarters of the delay from now.
  [[nodiscard]] std::chrono::steady_clock::time_point next(System& system) noexcept {
    const auto delay = next_;
    next_ = std::min(next_ * 2, most_);
    const auto jitter = static_cast<std::int64_t>(system.random() % 1024) * delay.count() / 2048;
    return system.now() + delay * 3 / 4 + std::chrono::steady_clock::duration(jitter);
  }

 private:
  std::chrono::steady_clock::duration next_;
  std::chrono::steady_clock::duration most_;
};

}  // namespace lockfile::os
