// How long a waiting verb may wait. One type, so that every verb takes the same limits in the same words.
#pragma once

#include <chrono>
#include <cmath>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>

namespace lockfile {

/// Says that a verb may wait without a limit of time: `lock.acquire(lockfile::for_ever)`.
struct ForEver {
  explicit ForEver() = default;
};
inline constexpr ForEver for_ever{};

/// The limit of one wait: a duration, a point on the steady clock, or for ever; each with an optional stop request.
///
///     lock.acquire(5s);                        // at most five seconds
///     lock.acquire({lockfile::for_ever, stop}); // until it is ours or `stop` is requested
///
/// Zero or negative: one attempt and no wait. Not a number (a floating-point duration): the verb fails with
/// `std::errc::invalid_argument`. A duration of more than a hundred years is for ever, so that `hours::max()` does
/// not overflow. A duration counts from the call of the verb; time that the machine sleeps does not count
/// (CLOCK_MONOTONIC, clock_gettime(2)).
class Wait {
 public:
  Wait(ForEver = for_ever, std::stop_token stop = {}) noexcept : stop_(std::move(stop)) {}

  Wait(std::stop_token stop) noexcept : stop_(std::move(stop)) {}

  Wait(std::chrono::steady_clock::time_point deadline, std::stop_token stop = {}) noexcept
      : deadline_(deadline), stop_(std::move(stop)) {}

  template <class Rep, class Period>
  Wait(std::chrono::duration<Rep, Period> limit, std::stop_token stop = {}) noexcept : stop_(std::move(stop)) {
    using Seconds = std::chrono::duration<long double>;
    constexpr Seconds a_century{100.0L * 365 * 24 * 3600};
    const Seconds seconds{limit};
    if (std::isnan(seconds.count())) {
      valid_ = false;
    } else if (seconds <= Seconds::zero()) {
      limit_ = std::chrono::nanoseconds::zero();
    } else if (seconds < a_century) {
      // Rounded up: what is positive stays positive.
      limit_ = std::chrono::ceil<std::chrono::nanoseconds>(limit);
    }
  }

  /// False when the limit was not a number.
  [[nodiscard]] bool valid() const noexcept { return valid_; }
  /// The duration, where one was given. At most one of `limit()` and `deadline()` has a value.
  [[nodiscard]] const std::optional<std::chrono::nanoseconds>& limit() const noexcept { return limit_; }
  [[nodiscard]] const std::optional<std::chrono::steady_clock::time_point>& deadline() const noexcept {
    return deadline_;
  }
  [[nodiscard]] const std::stop_token& stop() const noexcept { return stop_; }

 private:
  std::optional<std::chrono::nanoseconds> limit_;
  std::optional<std::chrono::steady_clock::time_point> deadline_;
  std::stop_token stop_;
  bool valid_ = true;
};

}  // namespace lockfile
