// Several locks at once, all or none.
#pragma once

#include <lockfile/lock.hpp>

#include <mutex>
#include <span>
#include <system_error>
#include <vector>

namespace lockfile {

/// Acquires all of `locks`, exclusively, or none.
///
///     auto held = lockfile::lock_all(std::array{&from, &to}, 10s);
///
/// They are acquired one after the other in an order that every caller of every process keeps: by the directory's
/// device and inode, then by name, so however the paths are spelt two callers never wait for each other. `wait` is the
/// limit of all together. The result releases them when it goes, in the opposite order.
///
/// Throws what `Lock::acquire` of the lock that could not be had would throw (`LockTimeout` also for one that was free
/// but came too late in the order), and then holds none of them. A lock that is named twice is entered twice; two
/// objects on one lock are `std::errc::resource_deadlock_would_occur`. Blocking, threads and forks: as `Lock::acquire`.
[[nodiscard]] std::vector<std::unique_lock<Lock>> lock_all(std::span<Lock* const> locks, const Wait& wait = for_ever);
/// Empty, with `ec` set, when not all could be had; empty without where there was nothing to lock.
[[nodiscard]] std::vector<std::unique_lock<Lock>> lock_all(std::span<Lock* const> locks, const Wait& wait,
                                                           std::error_code& ec) noexcept;

}  // namespace lockfile
