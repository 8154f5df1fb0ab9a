// Waiting for a lock to be free, without wanting it.
#pragma once

#include "os/backoff.hpp"
#include "os/process.hpp"

#include <lockfile/scheme.hpp>

#include <algorithm>
#include <chrono>
#include <new>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

namespace lockfile::schemes {

/// An attempt that takes nothing: `Granted` says that the lock was free at the last look.
class FreeWait : public Attempt {
 public:
  Step step() noexcept final {
    try {
      return look();
    } catch (const std::bad_alloc&) {
      return Failed{std::make_error_code(std::errc::not_enough_memory), {}, {}};
    }
  }
  // Nothing is to be withdrawn, and it is never granted to anybody: the next four are not reached.
  std::optional<Blocked> withdraw() noexcept override { return std::nullopt; }
  std::error_code release() noexcept final { return {}; }
  bool still_held(std::error_code& why) noexcept final {
    why.clear();
    return false;
  }
  void abandon() noexcept final {}

 private:
  [[nodiscard]] virtual Step look() = 0;
};

/// Where nothing wakes whoever only looks: it looks after 2 ms, and then less and less often, until `seldom`.
class PollingFreeWait final : public FreeWait {
 public:
  PollingFreeWait(Scheme& scheme, std::chrono::milliseconds seldom)
      : scheme_(scheme), looks_(std::chrono::milliseconds(2), seldom) {}

 private:
  Step look() override {
    std::error_code why;
    auto holders = scheme_.holders(why);
    if (why) return Failed{why, "cannot look at the lock", {}};
    const auto lives =
        std::find_if(holders.begin(), holders.end(), [](const Holder& each) { return each.verdict != Verdict::dead; });
    if (lives == holders.end()) return Granted{};
    Blocked blocked;
    blocked.by = std::move(*lives);
    blocked.look_again = looks_.next(os::Process::current().system());
    return blocked;
  }

  Scheme& scheme_;
  os::Backoff looks_;
};

}  // namespace lockfile::schemes
