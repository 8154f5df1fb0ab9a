// What the platform files share: turning errno into a Result.
#pragma once

#include "os/real.hpp"

#include <cerrno>

namespace lockfile::os {

template <class Number>
[[nodiscard]] inline Result<int> descriptor_result(Number got) noexcept {
  return got < 0 ? Result<int>{-1, errno} : Result<int>{static_cast<int>(got), 0};
}

[[nodiscard]] inline Status status(int got) noexcept { return got < 0 ? errno : 0; }

/// A small file of /proc or /sys at once; what it holds beyond the buffer is left out.
[[nodiscard]] Result<std::size_t> read_small_file(const char* path, std::span<char> into) noexcept;

}  // namespace lockfile::os
