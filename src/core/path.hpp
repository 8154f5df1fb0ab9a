// Locked paths: made absolute, and taken apart into directory and name.
#pragma once

#include "os/process.hpp"
#include "schemes/file_path.hpp"

#include <string>
#include <string_view>

namespace lockfile::core {

/// Makes `path` absolute by the current directory and nothing else: no component is resolved. Trailing slashes are
/// dropped. Error EINVAL: it names no file (empty, `/`, a last component `.` or `..`, or a zero byte inside).
[[nodiscard]] os::Result<schemes::FilePath> absolute_path(os::Process& process, std::string_view path);

/// Would `absolute_path` take it?
[[nodiscard]] bool names_a_file(std::string_view path) noexcept;

[[nodiscard]] std::string to_string(const schemes::FilePath& path);

}  // namespace lockfile::core
