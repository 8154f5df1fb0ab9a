// Several locks in one order.
//
//   one:    a         waits for b
//   other:       b                  waits for a      <- for ever, if each had its own order
#include <lockfile/lock_all.hpp>

#include "core/waiting.hpp"
#include "os/process.hpp"

#include <algorithm>
#include <functional>
#include <new>
#include <tuple>
#include <utility>

namespace lockfile {
namespace {

using Held = std::vector<std::unique_lock<Lock>>;
using Key = std::tuple<std::uint64_t, std::uint64_t, std::string>;

// What the same lock has in common by whatever path it is named. A directory that cannot be looked at has its say when
// the lock is acquired.
Key key_of(os::System& system, const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string directory = slash == 0 ? "/" : path.substr(0, slash);
  const auto info = system.stat_at(os::no_directory, directory.c_str(), os::Links::follow);
  return {info.ok() ? info.value.device : 0, info.ok() ? info.value.inode : 0, path.substr(slash + 1)};
}

std::vector<Lock*> in_order(os::System& system, std::span<Lock* const> locks) {
  std::vector<std::pair<Key, Lock*>> keyed;
  for (Lock* const each : locks) keyed.emplace_back(key_of(system, each->path()), each);
  std::stable_sort(keyed.begin(), keyed.end(),
                   [](const auto& one, const auto& other) { return one.first < other.first; });
  std::vector<Lock*> ordered;
  for (const auto& [key, lock] : keyed) ordered.push_back(lock);
  return ordered;
}

// One limit for all.
Wait shared_limit(os::System& system, const Wait& wait) {
  const core::Limit limit(system, wait);
  return limit.deadline() && !limit.at_once() ? Wait(*limit.deadline(), wait.stop()) : wait;
}

// `acquire_one` is false when the lock could not be had; then what is held already goes.
Held acquire_all(std::span<Lock* const> locks, const Wait& wait,
                 const std::function<bool(Lock&, const Wait&)>& acquire_one) {
  os::System& system = os::Process::current().system();
  const std::vector<Lock*> ordered = in_order(system, locks);
  Held held;
  held.reserve(ordered.size());
  const Wait until = shared_limit(system, wait);
  for (Lock* const each : ordered) {
    if (!acquire_one(*each, until)) {
      while (!held.empty()) held.pop_back();
      break;
    }
    held.emplace_back(*each, std::adopt_lock);
  }
  return held;
}

// The limit was used up before this lock's turn came: its one try was no try of a caller who does not wait.
bool is_late(const Wait& wait, const std::error_code& code) {
  return code == errc::already_locked && wait.limit() != std::chrono::nanoseconds::zero();
}

}  // namespace

Held lock_all(std::span<Lock* const> locks, const Wait& wait) {
  return acquire_all(locks, wait, [&](Lock& lock, const Wait& until) {
    try {
      lock.acquire(until);
      return true;
    } catch (const AlreadyLocked& error) {
      if (!is_late(wait, error.code())) throw;
      throw LockTimeout(make_error_code(errc::timed_out), error.what(), error.path(), error.holder());
    }
  });
}

Held lock_all(std::span<Lock* const> locks, const Wait& wait, std::error_code& ec) noexcept {
  ec.clear();
  try {
    return acquire_all(locks, wait, [&](Lock& lock, const Wait& until) {
      const bool acquired = lock.acquire(until, ec);
      if (is_late(wait, ec)) ec = errc::timed_out;
      return acquired;
    });
  } catch (const std::bad_alloc&) {
    ec = std::make_error_code(std::errc::not_enough_memory);
    return {};
  }
}

}  // namespace lockfile
