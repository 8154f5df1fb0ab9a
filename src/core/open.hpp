// What stands inside of the lock object that a path or an address means.
#pragma once

#include "core/engine.hpp"

#include <lockfile/options.hpp>
#include <lockfile/scheme.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <system_error>

namespace lockfile::core {

/// Throws `LockFailed` for a lock object that cannot be made. `path`: a path or an address, as the caller wrote it.
[[noreturn]] void refuse(std::string_view path, std::errc code, std::string what);

/// Of the lock on a path, by `options.scheme`. Throws as `FileLock`.
[[nodiscard]] std::unique_ptr<Engine> file_engine(std::string_view path, const Options& options);
/// Of a name in a database or cluster, which is what the address means. Throws as `open`.
[[nodiscard]] std::unique_ptr<Engine> named_engine(std::string_view address, const Options& options);

/// The scheme of it, without a lock object. Throws likewise, also for an address that means a path.
[[nodiscard]] std::unique_ptr<Scheme> named_scheme(std::string_view address);

}  // namespace lockfile::core
