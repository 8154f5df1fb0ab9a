// What the user calls the lock: a path, with or without `--scheme`, or an address.
#pragma once

#include <lockfile/lock.hpp>
#include <lockfile/options.hpp>

#include <memory>
#include <string>
#include <string_view>

namespace lockctl {

/// Takes an address apart into `path` and `scheme`, as `--scheme` would have given them. Where a name inside of
/// something is locked (a database), `path` stays the whole address. Throws CLI::ValidationError: what is wrong where.
void settle(std::string& path, std::string& scheme);

/// Does it name a database or a cluster, with or without a lock's name? Throws CLI::ValidationError for what begins so
/// and is wrong: no directory is meant by it.
[[nodiscard]] bool is_engine_address(const std::string& text);

/// Of such an address: throws CLI::ValidationError if it has a lock's name.
void refuse_name(const std::string& text);

/// The lock that `settle` left there. Throws lockfile::LockFailed.
[[nodiscard]] std::unique_ptr<lockfile::Lock> open_lock(const std::string& path, const lockfile::Options& options);

}  // namespace lockctl
