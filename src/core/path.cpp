// Paths.
#include "core/path.hpp"

#include <cerrno>

namespace lockfile::core {

os::Result<schemes::FilePath> absolute_path(os::Process& process, std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  const std::size_t slash = path.rfind('/');
  const std::string_view name = slash == std::string_view::npos ? path : path.substr(slash + 1);
  if (name.empty() || name == "." || name == ".." || path.find('\0') != std::string_view::npos) return {{}, EINVAL};
  std::string_view directory = slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
  while (directory.size() > 1 && directory.ends_with('/')) directory.remove_suffix(1);
  if (path.starts_with('/')) {
    return {{directory.empty() ? "/" : std::string(directory), std::string(name)}, 0};
  }
  auto current = process.system().current_directory();
  if (!current.ok()) return {{}, current.error};
  if (!directory.empty()) current.value.append(current.value.ends_with('/') ? "" : "/").append(directory);
  return {{std::move(current.value), std::string(name)}, 0};
}

std::string to_string(const schemes::FilePath& path) {
  return path.directory + (path.directory.ends_with('/') ? "" : "/") + path.name;
}

}  // namespace lockfile::core
