// What a hold shares with those who are to be told when it can no longer be trusted.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <stop_token>

namespace lockfile::core {

/// Made by the first who wants to be told; a hold that nobody watches has none. Touched without the object's mutex:
/// whoever has that may be inside of a call that a file server does not answer.
struct Trust {
  std::stop_source lost;
  /// In time since boot; `no_lease`: the hold does not end by itself.
  std::atomic<std::chrono::nanoseconds::rep> lease_end{no_lease};
  bool listed = false;  // among those that are to be told; guarded by the object's mutex, as `next` is
  std::shared_ptr<Trust> next = nullptr;

  static constexpr auto no_lease = std::chrono::nanoseconds::max().count();

  void set_lease_end(std::optional<std::chrono::nanoseconds> end) noexcept {
    lease_end = end ? end->count() : no_lease;
  }
};

}  // namespace lockfile::core
