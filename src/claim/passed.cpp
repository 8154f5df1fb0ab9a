// Holds that threads pass on.
#include "claim/passed.hpp"

#include <algorithm>
#include <utility>

namespace lockfile::claim {

void PassedOn::note(const std::string& nonce, std::int64_t thread) {
  const os::MutexGuard guard(system_, mutex_);
  const auto entry =
      std::find_if(entries_.begin(), entries_.end(), [&](const Entry& each) { return each.nonce == nonce; });
  if (entry != entries_.end()) {
    entry->thread = thread;
  } else {
    entries_.push_back({nonce, thread});
  }
}

void PassedOn::forget(const std::string& nonce) noexcept {
  const os::MutexGuard guard(system_, mutex_);
  const auto entry =
      std::find_if(entries_.begin(), entries_.end(), [&](const Entry& each) { return each.nonce == nonce; });
  if (entry == entries_.end()) return;
  std::swap(*entry, entries_.back());
  entries_.pop_back();
}

std::optional<std::int64_t> PassedOn::thread_of(const std::string& nonce) const noexcept {
  const os::MutexGuard guard(system_, mutex_);
  const auto entry =
      std::find_if(entries_.begin(), entries_.end(), [&](const Entry& each) { return each.nonce == nonce; });
  if (entry == entries_.end()) return std::nullopt;
  return entry->thread;
}

}  // namespace lockfile::claim
