// Becoming another program: see programs.hpp.
#include "programs.hpp"

#include "exit_status.hpp"
#include "text.hpp"

#include <fmt/format.h>

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

namespace lockctl {

std::optional<int> become_program_for(const std::vector<std::string>& schemes, const Programs& programs, char** argv) {
  const auto wanted = std::find_if(programs.engines.rbegin(), programs.engines.rend(), [&](std::string_view each) {
    return std::find(schemes.begin(), schemes.end(), each) != schemes.end();
  });
  if (wanted == programs.engines.rend()) {
    return std::nullopt;
  }
  const std::string name = fmt::format("lockctl-{}", *wanted);
  // By where this program is, and by nothing that whoever calls it could choose: it may be run by root.
  std::error_code error;
  const auto here = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  if (error) {
    say(fmt::format("cannot tell where {} is: /proc/self/exe: {}", quote(name), cause_of(error)));
    return status(Exit::system);
  }
  // In a build directory they are side by side.
  for (const auto& directory : {here / programs.directory, here}) {
    const std::string path = (directory / name).lexically_normal();
    ::execv(path.c_str(), argv);
    if (errno != ENOENT) {
      say(fmt::format("cannot run {}: {}", quote(path), cause_of({errno, std::system_category()})));
      return status(Exit::system);
    }
  }
  say(
      fmt::format("addresses that begin with '{}:' need the program {}, which is not there: it is installed with "
                  "lockctl where lockfile's component '{}' is built",
                  *wanted, quote((here / programs.directory / name).lexically_normal().string()), *wanted));
  return status(Exit::system);
}

}  // namespace lockctl
