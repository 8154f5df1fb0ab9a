// A shared-memory lock's file, read and written by a stranger.
#pragma once

#include "schemes/shared_memory/layout.hpp"
#include "support/code_of.hpp"
#include "support/scratch.hpp"

#include <lockfile/lockfile.hpp>

#include <gtest/gtest.h>

#include <fcntl.h>
#include <unistd.h>

#include <string>

namespace lockfile::testing {

using namespace std::chrono_literals;
namespace shm = schemes::shared_memory;

class SharedMemoryFiles : public ::testing::Test {
 protected:
  [[nodiscard]] std::string word() const { return path_ + ".lock"; }
  [[nodiscard]] static std::string message_of(Lock& lock) {
    try {
      lock.acquire(0s);
    } catch (const Error& error) {
      return error.what();
    }
    return "granted";
  }
  /// Makes the file, and nobody has it.
  void make() const {
    SharedMemoryLock lock(path_);
    lock.acquire();
  }
  void set(std::size_t at, std::uint64_t value) const {
    const int file = ::open(word().c_str(), O_WRONLY | O_CLOEXEC);
    ASSERT_EQ(::pwrite(file, &value, sizeof value, static_cast<off_t>(at * sizeof value)), ssize_t{sizeof value});
    ::close(file);
  }
  [[nodiscard]] std::uint64_t get(std::size_t at) const {
    std::uint64_t value = 0;
    const int file = ::open(word().c_str(), O_RDONLY | O_CLOEXEC);
    EXPECT_EQ(::pread(file, &value, sizeof value, static_cast<off_t>(at * sizeof value)), ssize_t{sizeof value});
    ::close(file);
    return value;
  }

  Scratch scratch_;
  const std::string path_ = scratch_ / "a";
};

}  // namespace lockfile::testing
