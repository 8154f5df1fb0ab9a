// `lockctl list`: the locks that stand in a directory.
#include "commands.hpp"
#include "duration.hpp"
#include "exit_status.hpp"
#include "json.hpp"
#include "text.hpp"

#include <lockfile/lockfile.hpp>

#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <utility>

namespace lockctl {
namespace {

struct ListOptions {
  std::string directory = ".";
  bool json = false;
};

std::string inside(const std::string& directory, const std::string& name) {
  if (directory == ".") {
    return name;
  }
  return directory.ends_with('/') ? directory + name : directory + "/" + name;
}

// What the verbs take for this lock file.
std::string path_of(std::string lock_file) {
  constexpr std::string_view ending = ".lock";
  if (lock_file.ends_with(ending)) {
    lock_file.resize(lock_file.size() - ending.size());
  }
  return lock_file;
}

std::vector<lockfile::Waiter> waiters_of(const std::string& lock_file) {
  std::error_code ignored;  // a line that cannot be read is shown as nobody waiting; the lock itself was looked at
  return lockfile::FileLock(path_of(lock_file)).waiters(ignored);
}

void print_rows(const ListOptions& options, const std::vector<lockfile::Standing>& locks) {
  std::vector<std::vector<std::string>> rows{{"PATH", "STATE", "VERDICT", "FOR", "WAITING", "HOLDER", "REASON"}};
  std::string before;
  std::string waiting;
  for (const auto& [name, holder] : locks) {
    const std::string lock_file = inside(options.directory, name);
    if (name != std::exchange(before, name)) {
      const auto waiters = waiters_of(lock_file);
      waiting = waiters.empty() ? "0"
                                : fmt::format("{} for {}", waiters.size(),
                                              show_duration(std::chrono::steady_clock::now() - waiters.front().since));
    }
    rows.push_back({escape(path_of(lock_file)), std::string(state_of(holder)),
                    std::string(lockfile::to_string(holder.verdict)), age_of(holder), waiting, escape(holder.who()),
                    escape(holder.reason)});
  }
  if (rows.size() > 1) {
    print_table(rows);
  }
}

int list(const ListOptions& options) {
  std::error_code error;
  const auto locks = lockfile::list_locks(options.directory, error);
  if (error) {
    say(fmt::format("cannot list {}: {}", quote(options.directory), cause_of(error)));
    return status(Exit::cannot_look);
  }
  if (!options.json) {
    print_rows(options, locks);
    return status(Exit::ok);
  }
  Json all = Json::array();
  for (std::size_t i = 0; i < locks.size();) {
    const std::string& name = locks[i].name;
    std::vector<lockfile::Holder> holders;
    for (; i < locks.size() && locks[i].name == name; ++i) holders.push_back(locks[i].holder);
    const std::string lock_file = inside(options.directory, name);
    all.push_back(lock_to_json(path_of(lock_file), lock_file, holders, waiters_of(lock_file)));
  }
  print_json(all);
  return status(Exit::ok);
}

}  // namespace

void add_list(CLI::App& app, Action& chosen) {
  auto options = std::make_shared<ListOptions>();
  CLI::App* const list_app = app.add_subcommand("list", "list the locks that stand in a directory");
  list_app->add_option("DIR", options->directory, "the directory; the current one when left out");
  list_app->add_flag("--json", options->json, "print an array of objects");
  list_app->footer(
      R"(Prints nothing when no lock stands there. The paths are what the other commands take: PATH, without '.lock'.
Exit status: 0; 74 the directory cannot be read.

Example:
  lockctl list /var/spool)");
  list_app->callback([options, &chosen] { chosen = [options] { return list(*options); }; });
}

}  // namespace lockctl
