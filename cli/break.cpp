// `lockctl break`: removes a lock whose holder is proved dead, or, when told to, one whose lease has expired, or
// whoever's it is.
#include "address.hpp"
#include "commands.hpp"
#include "duration.hpp"
#include "exit_status.hpp"
#include "options.hpp"
#include "text.hpp"

#include <lockfile/lockfile.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>

namespace lockctl {
namespace {

struct BreakOptions {
  std::string path;
  bool force = false;
  bool foreign = false;
  bool expired = false;
  std::string scheme = "auto";
};

// Between a look and the next one.
constexpr std::chrono::milliseconds a_moment(10);

constexpr std::string_view ends_with_its_holder =
    "a kernel lock is never stale, and nobody can break it: it ends with the process that holds it";

int is_free(const BreakOptions& options) {
  fmt::print("{} is free\n", quote(lock_file_of(options.path, options.scheme)));
  if (is_beside(options.scheme)) {
    hint_at_lock_file_name(options.path);
  }
  return status(Exit::ok);
}

int refuse(const BreakOptions& options, const lockfile::Holder& holder, std::string_view way_out) {
  say(fmt::format("cannot break {}: {}", quote(lock_file_of(options.path, options.scheme)), holder.describe()));
  say(way_out);
  return status(Exit::conflict);
}

int broken(const BreakOptions& options, const lockfile::Holder& holder) {
  fmt::print("broke {}: it was {}\n", quote(lock_file_of(options.path, options.scheme)), escape(holder.describe()));
  return status(Exit::ok);
}

int break_stale(lockfile::Lock& lock, const BreakOptions& options) {
  const auto before = lock.holder();
  if (!before) {
    return is_free(options);
  }
  if (lock.break_stale()) {
    return broken(options, *before);
  }
  const auto now = lock.holder();
  if (!now) {
    return is_free(options);
  }
  if (is_on_the_file(options.scheme)) {
    return refuse(options, *now, ends_with_its_holder);
  }
  return refuse(options, *now,
                now->foreign ? "its own program must remove it; '--force --foreign' does it all the same"
                             : "it is not proved dead; '--force' breaks it all the same, and does not stop it");
}

// Nobody writes down when a lease ends: it is over when it was seen, not renewed, for so long as it lasts and a margin.
int break_expired(lockfile::Lock& lock, const BreakOptions& options) {
  const auto first = lock.holder();
  if (!first) {
    return is_free(options);
  }
  if (lock.break_stale()) {
    return broken(options, *first);
  }
  if (!first->lease_left) {
    return refuse(options, *first, "it has no lease that could expire; '--force' breaks it all the same");
  }
  say(fmt::format("watching {} for {}, whether its lease is renewed", quote(lock_file_of(options.path, options.scheme)),
                  show_duration(*first->lease_left)));
  const auto end = std::chrono::steady_clock::now() + *first->lease_left;
  for (auto now = lock.holder();; now = lock.holder()) {
    if (!now) {
      return is_free(options);
    }
    if (now->expired && lock.break_expired()) {
      return broken(options, *now);
    }
    const bool renewed = now->lease_left && std::chrono::steady_clock::now() + *now->lease_left > end + a_moment;
    if (now->nonce != first->nonce || now->number != first->number || !now->lease_left || renewed) {
      return refuse(options, *now, "it has not expired: it was renewed, or acquired anew, while it was watched");
    }
    std::this_thread::sleep_for(std::max<std::chrono::nanoseconds>(*now->lease_left, a_moment));
  }
}

int break_by_force(lockfile::Lock& lock, const BreakOptions& options) {
  // Breaks the very hold that was looked at, so that what is said is what was done. Under contention that one may be
  // gone by then, and the next one is meant.
  constexpr int enough_turns = 1000;
  for (int turn = 0; turn < enough_turns; ++turn) {
    const auto holders = lock.holders();
    if (holders.empty()) {
      return is_free(options);
    }
    const lockfile::Holder& holder = holders.front();
    if (holder.foreign && !options.foreign) {
      return refuse(options, holder, "it is another program's: '--force --foreign' removes it");
    }
    if (holder.foreign) {
      say(fmt::format("warning: {} is another program's, which honours nothing of ours and may still be at work",
                      quote(lock_file_of(options.path, options.scheme))));
    }
    if (holder.foreign) {
      if (lock.break_lock(lockfile::BreakWhat::foreign)) {
        return broken(options, holder);
      }
      continue;
    }
    // Of several that share it, each.
    std::optional<int> done;
    for (const lockfile::Holder& each : holders) {
      if (lock.break_lock(each)) {
        done = broken(options, each);
      }
    }
    if (done) {
      return *done;
    }
  }
  say(fmt::format("cannot break {}: its holders change too fast", quote(lock_file_of(options.path, options.scheme))));
  return status(Exit::conflict);
}

int break_it(const BreakOptions& options) {
  try {
    const auto lock = open_lock(options.path, {.scheme = options.scheme});
    if (options.expired) {
      return break_expired(*lock, options);
    }
    return options.force ? break_by_force(*lock, options) : break_stale(*lock, options);
  } catch (const lockfile::Error& error) {
    say(error.what());
    if (error.code() == lockfile::errc::cannot_break) {
      if (is_on_the_file(options.scheme)) {
        say(ends_with_its_holder);
      }
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
  break_app
      ->add_flag("--expired", options->expired,
                 "break it also when its lease is over, which takes as long as the lease to see")
      ->excludes(force);
  add_scheme(*break_app, options->scheme);
  break_app->footer(
      R"(Exit status: 0 it is free now; 75 refused: it is held, and by whom; 74 it cannot be removed; 69 there is no way
to break it safely: on this file system, or because it is a kernel lock.
A stale lock need not be broken by hand: the next 'lockctl run' takes it over, and so does one that waits for as long as
a lease lasts. With '--expired' the lock is watched for that long; one that is renewed meanwhile is refused. A holder
that is broken by force goes on with its work; it learns of it when it releases.

Examples:
  lockctl break /var/spool/app
  lockctl break --expired /mnt/shared/app)");
  break_app->callback([options, &chosen] {
    settle(options->path, options->scheme);
    chosen = [options] { return break_it(*options); };
  });
}

}  // namespace lockctl
