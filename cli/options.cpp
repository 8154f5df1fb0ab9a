// Options that several subcommands have: see options.hpp.
#include "options.hpp"

#include "text.hpp"

#include <fmt/format.h>

namespace lockctl {

CLI::Option* add_timeout(CLI::App& app, std::optional<Seconds>& timeout) {
  return app
      .add_option_function<std::string>(
          "--timeout",
          [&timeout](const std::string& text) {
            timeout = parse_duration(text);
            if (!timeout) {
              throw CLI::ValidationError(fmt::format(
                  "--timeout: {} is no duration (like 500ms, 5s, 1m30s, 2h, or 90 for seconds)", quote(text)));
            }
          },
          "wait so long at most: 500ms, 5s, 1m30s, 2h, or a plain number of seconds")
      ->type_name("DURATION");
}

CLI::Option* add_scheme(CLI::App& app, std::string& scheme) {
  return app
      .add_option("--scheme", scheme,
                  "auto, link or mkdir: a lock file; kernel or flock: a kernel lock on PATH itself; shm: shared memory")
      ->check(CLI::IsMember({"auto", "link", "mkdir", "kernel", "flock", "shm"}).description(""))
      ->type_name("NAME");
}

}  // namespace lockctl
