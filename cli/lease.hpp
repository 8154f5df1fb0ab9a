// A command that runs under a lease, or under a hold that ends with lockctl: who renews it, who watches over it, and
// what becomes of the command when it is lost.
#pragma once

#include "child.hpp"

#include <lockfile/lease_keeper.hpp>

#include <chrono>
#include <optional>
#include <stop_token>
#include <string>

namespace lockctl {

/// What `lockctl run --on-lost` says.
enum class OnLost : char { kill, term, warn };

/// Keeps the lease of a hold while the command runs. A third of the ttl before the lease runs out, or when the hold was
/// broken, the command's group gets SIGTERM; a quarter of the ttl later SIGKILL. So nobody of the group runs any more
/// when others may enter, unless somebody broke the hold, or lockctl itself stood still. A hold without a lease, in a
/// database or a cluster, is only watched: as soon as it is lost the group gets SIGTERM, and SIGKILL a second later.
/// The engines tell of a server that is gone longer than that before it can let somebody else in.
class LeaseWatch {
 public:
  /// `ttl` 0: there is no lease. `lock_file` is for messages. Throws as `lockfile::LeaseKeeper`; std::system_error.
  LeaseWatch(lockfile::Lock& lock, std::chrono::milliseconds ttl, OnLost on_lost, std::string lock_file);
  LeaseWatch(const LeaseWatch&) = delete;
  LeaseWatch& operator=(const LeaseWatch&) = delete;
  ~LeaseWatch();

  /// Polls readable when there is something to do; -1: nothing will come.
  [[nodiscard]] int descriptor() const { return told_ ? -1 : event_; }
  /// For so long nothing is to be done, as poll(2) wants it; -1: until the descriptor is readable.
  [[nodiscard]] int quiet_ms() const;
  /// Does what is due.
  void act(const Child& child);
  /// Is it too late already to begin?
  [[nodiscard]] bool is_lost() const { return keeper_->lost().stop_requested(); }
  [[nodiscard]] lockfile::Loss loss() const { return keeper_->loss(); }
  /// Nobody renews from then on.
  void end();

 private:
  struct Tell {
    int event;
    void operator()() const noexcept;
  };
  using Clock = std::chrono::steady_clock;

  const std::chrono::milliseconds ttl_;
  const OnLost on_lost_;
  const std::string lock_file_;
  int event_ = -1;
  std::optional<lockfile::LeaseKeeper> keeper_;
  std::optional<std::stop_callback<Tell>> on_told_;
  bool told_ = false;
  bool killed_ = false;
  Clock::time_point kill_at_;
};

}  // namespace lockctl
