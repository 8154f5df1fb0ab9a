// `lockctl break`: removes a lock whose holder is proved dead, or, when told to, whoever's it is.
#include "commands.hpp"
#include "exit_status.hpp"
#include "text.hpp"

#include <lockfile/lockfile.hpp>

#include <fmt/format.h>

#include <memory>

namespace lockctl {
namespace {

struct BreakOptions {
  std::string path;
  bool force = false;
  bool foreign = false;
};

int is_free(const std::string& path) {
  fmt::print("{} is free\n", quote(lock_file_of(path)));
  hint_at_lock_file_name(path);
  return status(Exit::ok);
}

int refuse(const std::string& path, const lockfile::Holder& holder, std::string_view way_out) {
  say(fmt::format("cannot break {}: {}", quote(lock_file_of(path)), holder.describe()));
  say(way_out);
  return status(Exit::conflict);
}

int broken(const std::string& path, const lockfile::Holder& holder) {
  fmt::print("broke {}: it was {}\n", quote(lock_file_of(path)), escape(holder.describe()));
  return status(Exit::ok);
}

int break_stale(lockfile::Lock& lock, const BreakOptions& options) {
  const auto before = lock.holder();
  if (!before) {
    return is_free(options.path);
  }
  if (lock.break_stale()) {
    return broken(options.path, *before);
  }
  const auto now = lock.holder();
  if (!now) {
    return is_free(options.path);
  }
  return refuse(options.path, *now,
                now->foreign ? "its own program must remove it; '--force --foreign' does it all the same"
                             : "it is not proved dead; '--force' breaks it all the same, and does not stop it");
}

int break_by_force(lockfile::Lock& lock, const BreakOptions& options) {
  // Breaks the very hold that was looked at, so that what is said is what was done. Under contention that one may be
  // gone by then, and the next one is meant.
  constexpr int enough_turns = 1000;
  for (int turn = 0; turn < enough_turns; ++turn) {
    const auto holder = lock.holder();
    if (!holder) {
      return is_free(options.path);
    }
    if (holder->foreign && !options.foreign) {
      return refuse(options.path, *holder, "it is another program's: '--force --foreign' removes it");
    }
    if (holder->foreign) {
      say(fmt::format("warning: {} is another program's, which honours nothing of ours and may still be at work",
                      quote(lock_file_of(options.path))));
    }
    if (holder->foreign ? lock.break_lock(lockfile::BreakWhat::foreign) : lock.break_lock(*holder)) {
      return broken(options.path, *holder);
    }
  }
  say(fmt::format("cannot break {}: its holders change too fast", quote(lock_file_of(options.path))));
  return status(Exit::conflict);
}

int break_it(const BreakOptions& options) {
  try {
    lockfile::FileLock lock(options.path);
    return options.force ? break_by_force(lock, options) : break_stale(lock, options);
  } catch (const lockfile::Error& error) {
    say(error.what());
    if (error.code() == lockfile::errc::cannot_break) {
      return status(Exit::unavailable);
    }
    return status(error.code() == std::errc::invalid_argument ? Exit::usage : Exit::cannot_look);
  }
}

}  // namespace

void add_break(CLI::App& app, Action& chosen) {
  auto options = std::make_shared<BreakOptions>();
  CLI::App* const break_app = app.add_subcommand("break", "remove a lock whose holder is proved dead");
  break_app->add_option("PATH", options->path, "what is locked")->required();
  CLI::Option* const force =
      break_app->add_flag("--force", options->force, "break it whoever holds it; the holder is not stopped");
  break_app->add_flag("--foreign", options->foreign, "break other programs' locks too; needs --force")->needs(force);
  break_app->footer(
      R"(Exit status: 0 it is free now; 75 refused: it is held, and by whom; 74 it cannot be removed; 69 this file system gives
no way to break a lock safely.
A stale lock need not be broken by hand: the next 'lockctl run' takes it over. A holder that is broken by force goes on
with its work; it learns of it when it releases.

Example:
  lockctl break /var/spool/app)");
  break_app->callback([options, &chosen] { chosen = [options] { return break_it(*options); }; });
}

}  // namespace lockctl
