// `lockctl wait`: returns when a lock is free, and takes nothing.
#include "address.hpp"
#include "commands.hpp"
#include "exit_status.hpp"
#include "options.hpp"
#include "text.hpp"
#include "waiting.hpp"

#include <lockfile/lockfile.hpp>

#include <fmt/format.h>

#include <memory>

namespace lockctl {
namespace {

struct WaitOptions {
  std::string path;
  std::optional<Seconds> timeout;
  std::string scheme = "auto";
};

int wait_until_free(const WaitOptions& options) {
  const BlockedSignals signals(ending_signals);
  const std::string name = quote(lock_file_of(options.path, options.scheme));
  const auto looker = open_lock(options.path, {.scheme = options.scheme});
  Companion companion(signals, lock_file_of(options.path, options.scheme), [&looker] {
    std::error_code no_look;  // the wait goes on, and reports what is wrong by itself
    return looker->holder(no_look);
  });
  std::error_code error;
  if (options.timeout) {
    lockfile::wait_until_free(options.path, {*options.timeout, companion.stop_token()}, error, options.scheme);
  } else {
    lockfile::wait_until_free(options.path, {lockfile::for_ever, companion.stop_token()}, error, options.scheme);
  }
  companion.finish();
  if (companion.signal() != 0) {
    say(fmt::format("stopped waiting for {}: {}", name, signal_name(companion.signal())));
    return status_of_signal(companion.signal());
  }
  if (!error) {
    return status(Exit::ok);
  }
  std::error_code no_look;  // then the message goes without it
  const auto holder = looker->holder(no_look);
  const std::string who = holder ? ", " + holder->describe() : "";
  if (error == lockfile::errc::timed_out || error == lockfile::errc::already_locked) {
    say(fmt::format("cannot wait any longer for {}: timed out{}", name, who));
    return status(Exit::timed_out);
  }
  say(fmt::format("cannot wait for {}: {}", name, cause_of(error)));
  return status(Exit::cannot_look);
}

int wait_or_say_why_not(const WaitOptions& options) {
  try {
    return wait_until_free(options);
  } catch (const lockfile::LockFailed& error) {
    say(error.what());  // of the constructor: a path that names no file
    return status(Exit::usage);
  }
}

}  // namespace

void add_wait(CLI::App& app, Action& chosen) {
  auto options = std::make_shared<WaitOptions>();
  CLI::App* const wait_app = app.add_subcommand("wait", "wait until a lock is free, and take nothing");
  wait_app->add_option("PATH", options->path, "what is locked")->required();
  add_timeout(*wait_app, options->timeout);
  add_scheme(*wait_app, options->scheme);
  wait_app->footer(R"(Exit status: 0 it is free, or stale; 124 timed out; 74 it cannot be looked at.
Somebody else may lock it a moment later: to do something while it is yours, use 'lockctl run'.
Works in a directory that may only be read.

Example:
  lockctl wait /var/spool/app --timeout 10m && echo 'the queue is idle')");
  wait_app->callback([options, &chosen] {
    settle(options->path, options->scheme);
    chosen = [options] { return wait_or_say_why_not(*options); };
  });
}

}  // namespace lockctl
