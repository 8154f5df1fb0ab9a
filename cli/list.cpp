// `lockctl list`: the locks that stand in a directory, or are held or waited for in a database or a cluster.
#include "address.hpp"
#include "commands.hpp"
#include "duration.hpp"
#include "exit_status.hpp"
#include "json.hpp"
#include "text.hpp"

#include <lockfile/lockfile.hpp>
#include <lockfile/open.hpp>

#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <utility>

namespace lockctl {
namespace {

struct ListOptions {
  std::string directory = ".";
  bool is_address = false;  // of a database or a cluster, and no directory
  bool json = false;
};

struct Listed {
  std::string path;  // what the verbs take
  std::string lock_file;
  std::vector<lockfile::Holder> holders;
  std::vector<lockfile::Waiter> waiters;
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

std::vector<Listed> in_directory(const std::string& directory, std::error_code& error) {
  std::vector<Listed> all;
  for (auto& [name, holder] : lockfile::list_locks(directory, error)) {
    std::string lock_file = inside(directory, name);
    if (all.empty() || all.back().lock_file != lock_file) {
      std::string path = path_of(lock_file);
      auto waiters = waiters_of(lock_file);
      all.push_back({std::move(path), std::move(lock_file), {}, std::move(waiters)});
    }
    all.back().holders.push_back(std::move(holder));
  }
  return all;
}

std::vector<Listed> at_address(const std::string& address) {
  std::vector<Listed> all;
  for (lockfile::NamedLock& each : lockfile::list_place(address)) {
    all.push_back({each.address, each.address, std::move(each.holders), std::move(each.waiters)});
  }
  return all;
}

void print_rows(const std::vector<Listed>& locks) {
  std::vector<std::vector<std::string>> rows{{"PATH", "STATE", "VERDICT", "FOR", "WAITING", "HOLDER", "REASON"}};
  for (const auto& [path, lock_file, holders, waiters] : locks) {
    const std::string waiting =
        waiters.empty() ? "0"
                        : fmt::format("{} for {}", waiters.size(),
                                      show_duration(std::chrono::steady_clock::now() - waiters.front().since));
    if (holders.empty()) {
      rows.push_back({escape(path), "free", "", "", waiting, "", ""});
    }
    for (const lockfile::Holder& holder : holders) {
      rows.push_back({escape(path), std::string(state_of(holder)), std::string(lockfile::to_string(holder.verdict)),
                      age_of(holder), waiting, escape(holder.who()), escape(holder.reason)});
    }
  }
  if (rows.size() > 1) {
    print_table(rows);
  }
}

int list(const ListOptions& options) {
  std::error_code error;
  const auto locks = options.is_address ? at_address(options.directory) : in_directory(options.directory, error);
  if (error) {
    say(fmt::format("cannot list {}: {}", quote(options.directory), cause_of(error)));
    return status(Exit::cannot_look);
  }
  if (!options.json) {
    print_rows(locks);
    return status(Exit::ok);
  }
  Json all = Json::array();
  for (const Listed& each : locks) {
    all.push_back(lock_to_json(each.path, each.lock_file, each.holders, each.waiters));
  }
  print_json(all);
  return status(Exit::ok);
}

int list_or_say_why_not(const ListOptions& options) {
  try {
    return list(options);
  } catch (const lockfile::Error& error) {
    say(error.what());
    return status(error.code() == std::errc::invalid_argument ? Exit::usage : Exit::cannot_look);
  }
}

}  // namespace

void add_list(CLI::App& app, Action& chosen) {
  auto options = std::make_shared<ListOptions>();
  CLI::App* const list_app =
      app.add_subcommand("list", "list the locks that stand in a directory, a database or a cluster");
  list_app->add_option("DIR", options->directory,
                       "the directory, or the address of a database or cluster; the current directory when left out");
  list_app->add_flag("--json", options->json, "print an array of objects");
  list_app->footer(
      R"(Prints nothing when no lock stands there. The paths are what the other commands take: PATH, without '.lock', or an
address. An address is given without the name of a lock: sqlite:FILE, postgresql://USER@HOST/DATABASE, and of a cluster
up to the '/' in front of the names, etcd://HOST/PREFIX/; what lies deeper is not listed, and no semaphore is.
Exit status: 0; 74 the directory, the database or the cluster cannot be read.

Examples:
  lockctl list /var/spool
  lockctl list sqlite:/var/lib/app/locks.db)");
  list_app->callback([options, &chosen] {
    options->is_address = is_engine_address(options->directory);
    if (options->is_address) {
      refuse_name(options->directory);
    }
    chosen = [options] { return list_or_say_why_not(*options); };
  });
}

}  // namespace lockctl
