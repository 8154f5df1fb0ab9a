// The lock object of a variant.
#pragma once

#include <lockfile/lock.hpp>
#include <lockfile/options.hpp>
#include <lockfile/semaphore.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace lockfile::testing {

/// As `FileLock`; where `options.scheme` is an engine, the lock at `address_of` that path.
class TestLock : public Lock {
 public:
  explicit TestLock(std::string_view path, const Options& options = {});
};

/// As the constructor of `Semaphore`, likewise.
[[nodiscard]] Semaphore test_semaphore(const std::string& path, std::size_t units, const Options& options);

}  // namespace lockfile::testing
