// `lockctl status`: who holds these locks. Looks only, so it works in a directory that may only be read.
#include "address.hpp"
#include "commands.hpp"
#include "duration.hpp"
#include "exit_status.hpp"
#include "json.hpp"
#include "options.hpp"
#include "text.hpp"

#include <lockfile/lockfile.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <vector>

namespace lockctl {
namespace {

using namespace std::chrono_literals;

struct StatusOptions {
  std::vector<std::string> paths;
  std::vector<std::pair<std::string, std::string>> locks;  // path and scheme of each
  bool json = false;
  std::string scheme = "auto";
};

void print_text(std::string_view path, std::string_view scheme, const std::vector<lockfile::Holder>& holders,
                const std::vector<lockfile::Waiter>& waiters) {
  const std::string name = escape(lock_file_of(path, scheme));
  if (holders.empty()) {
    fmt::print("{}: free\n", name);
    if (is_beside(scheme)) {
      hint_at_lock_file_name(path);
    }
  }
  for (const lockfile::Holder& each : holders) {
    const bool stale = each.verdict == lockfile::Verdict::dead;
    const std::string left = each.lease_left && !stale ? fmt::format(", at most {} left unless it is renewed",
                                                                     show_duration(std::max(*each.lease_left, 0ns)))
                                                       : "";
    fmt::print("{}: {}{}{}\n", name, stale ? "stale: " : "", escape(each.describe()), left);
  }
  for (std::size_t i = 0; i < waiters.size(); ++i) {
    fmt::print("{}: {}. in line: {}\n", name, i + 1, escape(describe(waiters[i])));
  }
}

int status_of_all(const StatusOptions& options) {
  Json all = Json::array();
  bool held = false;
  bool failed = false;
  for (const auto& [path, scheme] : options.locks) {
    try {
      const auto lock = open_lock(path, {.scheme = scheme});
      const auto holders = lock->holders();
      const auto waiters = lock->waiters();
      held = held || std::any_of(holders.begin(), holders.end(),
                                 [](const auto& each) { return each.verdict != lockfile::Verdict::dead; });
      if (options.json) {
        all.push_back(lock_to_json(lock->path(), lock_file_of(lock->path(), scheme), holders, waiters));
      } else {
        print_text(path, scheme, holders, waiters);
      }
    } catch (const lockfile::Error& error) {
      failed = true;
      say(error.what());
      all.push_back(
          {{"path", path}, {"lock_file", lock_file_of(path, scheme)}, {"state", "unknown"}, {"error", error.what()}});
    }
  }
  if (options.json) {
    print_json(all);
  }
  return status(failed ? Exit::cannot_look : held ? Exit::conflict : Exit::ok);
}

}  // namespace

void add_status(CLI::App& app, Action& chosen) {
  auto options = std::make_shared<StatusOptions>();
  CLI::App* const status_app = app.add_subcommand("status", "say who holds a lock, and who waits for it");
  status_app->add_option("PATH", options->paths, "what is locked")->required();
  status_app->add_flag("--json", options->json, "print an array of objects");
  add_scheme(*status_app, options->scheme);
  status_app->footer(
      R"(Exit status: 0 all are free, or stale (the next run takes them over); 75 one at least is held; 74 one cannot be looked at.
Takes nothing, and works in a directory that may only be read.

Example:
  lockctl status ledger queue --json | jq -r '.[] | select(.state == "held") | .path')");
  status_app->callback([options, &chosen] {
    for (const std::string& path : options->paths) {
      auto& [settled, scheme] = options->locks.emplace_back(path, options->scheme);
      settle(settled, scheme);
    }
    chosen = [options] { return status_of_all(*options); };
  });
}

}  // namespace lockctl
