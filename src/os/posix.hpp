// What the platform files share: turning errno into a Result.
#pragma once

#include "os/real.hpp"

#include <cerrno>
#include <istream>
#include <string>
#include <string_view>

namespace lockfile::os {

template <class Number>
[[nodiscard]] inline Result<int> descriptor_result(Number got) noexcept {
  return got < 0 ? Result<int>{-1, errno} : Result<int>{static_cast<int>(got), 0};
}

[[nodiscard]] inline Status status(int got) noexcept { return got < 0 ? errno : 0; }

/// A small file of /proc or /sys at once; what it holds beyond the buffer is left out.
[[nodiscard]] Result<std::size_t> read_small_file(const char* path, std::span<char> into) noexcept;

// What is made of texts of /proc, apart from reading them: strangers name the programs and mounts in them.

/// The start time in the text of a /proc/PID/stat: field 22, proc(5). EINVAL: it is no such text.
[[nodiscard]] Result<std::uint64_t> start_in(std::string_view stat) noexcept;
/// The line of a mount in a mountinfo, proc(5), with a comma behind its last option; empty: there is none.
[[nodiscard]] std::string line_of_mount(std::istream& mountinfo, std::string_view id);
[[nodiscard]] bool is_mount_of(std::string_view line, std::string_view type);
/// Byte-range locks stay on this host: nfs(5), nolock and local_lock=all or posix; mount.cifs(8), nobrl. What cannot be
/// found out counts as staying.
[[nodiscard]] bool locks_stay_here(std::string_view line);
/// Does opening a file ask its server? `nocto` (nfs(5)) says not; an empty line says nothing.
[[nodiscard]] bool looks_are_fresh(std::string_view line);

}  // namespace lockfile::os
