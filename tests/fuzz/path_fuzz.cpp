// Locked paths, as users write them: one path, one lock file, however it is spelled; no component is resolved.
#include "core/path.hpp"
#include "fuzz/law.hpp"
#include "text.hpp"

#include "claim/names.hpp"

#include <cerrno>

namespace {

using lockfile::core::absolute_path;
using lockfile::fuzz::law;

std::vector<std::string> components(std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    const std::size_t slash = std::min(path.find('/'), path.size());
    if (slash > 0) parts.emplace_back(path.substr(0, slash));
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return parts;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view path = lockfile::fuzz::view(data, size);
  lockfile::os::Process& process = lockfile::os::Process::current();
  const auto got = absolute_path(process, path);

  auto parts = components(path);
  const bool names_a_file =
      !parts.empty() && parts.back() != "." && parts.back() != ".." && path.find('\0') == std::string_view::npos;
  law(got.ok() == names_a_file, "a path is refused if and only if it names no file", path);
  law(got.ok() || got.error == EINVAL, "a path that names no file is an invalid argument", path);
  if (!got.ok()) return 0;

  const auto& [directory, name] = got.value;
  law(directory.starts_with('/'), "the directory is absolute", path);
  law(directory == "/" || !directory.ends_with('/'), "the directory has no slash at its end", path);
  law(!name.empty() && name.find('/') == std::string::npos, "the name is one component", path);

  const std::string absolute = lockfile::core::to_string(got.value);
  if (!path.starts_with('/')) {
    auto all = components(process.system().current_directory().value);
    all.insert(all.end(), parts.begin(), parts.end());
    parts = std::move(all);
  }
  law(components(absolute) == parts, "no component is resolved, added or lost", path);
  const auto again = absolute_path(process, absolute);
  law(again.ok() && lockfile::core::to_string(again.value) == absolute, "an absolute path stays as it is", path);
  const auto slash = absolute_path(process, std::string(path) + '/');
  law(slash.ok() && lockfile::core::to_string(slash.value) == absolute, "a slash at the end changes nothing", path);

  // lockctl's name for the lock file, for people, is the name of the lock file.
  const auto shown = absolute_path(process, lockctl::lock_file_of(path));
  law(shown.ok() && shown.value.directory == directory && shown.value.name == lockfile::claim::Names(name).word(),
      "the lock file is called what it is called", path);
  return 0;
}
