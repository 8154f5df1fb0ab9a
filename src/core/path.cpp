// Paths.
#include "core/path.hpp"

#include <cerrno>

namespace lockfile::core {
namespace {

std::string_view without_slashes_at_its_end(std::string_view path) noexcept {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  return path;
}

}  // namespace

bool names_a_file(std::string_view path) noexcept {
  const std::string_view name = without_slashes_at_its_end(path);
  const std::string_view last = name.substr(name.rfind('/') + 1);  // npos + 1 is 0
  return !last.empty() && last != "." && last != ".." && path.find('\0') == std::string_view::npos;
}

os::Result<schemes::FilePath> absolute_path(os::Process& process, std::string_view path) {
  if (!names_a_file(path)) return {{}, EINVAL};
  path = without_slashes_at_its_end(path);
  const std::size_t slash = path.rfind('/');
  const std::string_view name = slash == std::string_view::npos ? path : path.substr(slash + 1);
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
