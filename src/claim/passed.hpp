// Which thread of this process has a hold that its threads pass on among themselves. The record, and with it everybody
// else, names the one that acquired: the hold on disk stays one and the same.
#pragma once

#include "os/process.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace lockfile::claim {

/// A `Process::part`.
class PassedOn {
 public:
  explicit PassedOn(os::Process& process) noexcept : system_(process.system()) {}

  /// `thread` 0: none for the moment.
  void note(const std::string& nonce, std::int64_t thread);
  void forget(const std::string& nonce) noexcept;
  /// Nothing: it was not passed on.
  [[nodiscard]] std::optional<std::int64_t> thread_of(const std::string& nonce) const noexcept;

 private:
  struct Entry {
    std::string nonce;
    std::int64_t thread = 0;
  };
  os::System& system_;
  mutable os::Mutex mutex_;
  std::vector<Entry> entries_;  // few: one for each lock that threads contend for just now
};

}  // namespace lockfile::claim
