// Reading the command line: see arguments.hpp.
#include "arguments.hpp"

#include "commands.hpp"
#include "exit_status.hpp"
#include "text.hpp"

#include <lockfile/open.hpp>
#include <lockfile/version.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <memory>
#include <sstream>
#include <string_view>

namespace lockctl {
namespace {

constexpr std::string_view examples = R"(Examples:
  lockctl run /srv/backup -- rsync -a /home/ /srv/backup/
        one backup at a time; others wait
  lockctl run /srv/backup --try --conflict-exit-code 0 -- nightly
        in a crontab: skip this turn if the last one is still at it, and call that a success
  lockctl run ledger --timeout 30s --reason 'month end' -- ./book
        wait for half a minute, and tell others why it is held
  lockctl status ledger && echo free
  lockctl wait ledger --timeout 5m
  lockctl break ledger
        remove it, but only if its holder is proved dead
  lockctl doctor /srv
        does locking work in this directory, and how?
  lockctl run sqlite:/var/lib/app/locks.db#nightly -- ./nightly
        a name in a database instead of a file beside the path

PATH is what is locked, and need not exist; the lock file is PATH.lock, in a directory that must exist. It may be an
address that names the scheme: link:PATH, mkdir:PATH, kernel:PATH, flock:PATH, shm:PATH; or a name in a database or a
cluster: sqlite:FILE#NAME, postgresql://USER@HOST/DATABASE#NAME, etcd://HOST:2379,HOST2:2379/PREFIX/NAME. A file whose
name looks like an address is ./NAME.
The lock goes with its holder: when the holder is killed, the next one takes it over by itself.
)";

class Formatter : public CLI::Formatter {
 public:
  // CLI11 knows nothing of what stands behind the "--".
  std::string make_usage(const CLI::App* app, std::string name) const override {
    return app->get_name() == "run" ? fmt::format("Usage: {} PATH [OPTIONS] -- COMMAND...\n", name)
                                    : CLI::Formatter::make_usage(app, name);
  }
  // What goes with what is said in the descriptions, in words.
  std::string make_option_opts(const CLI::Option* option) const override {
    return option->get_type_name().empty() || option->get_positional() ? "" : " " + option->get_type_name();
  }
};

// CLI11 speaks in sentences; lockctl's messages are in lower case and without a full stop.
std::string problem_of(const CLI::ParseError& error) {
  std::string message = error.what();
  while (!message.empty() && (message.back() == '.' || message.back() == '\n' || message.back() == ' ')) {
    message.pop_back();
  }
  // The name of an argument ("PATH is required") stays as it is.
  if (message.size() > 1 && std::isupper(static_cast<unsigned char>(message[1])) == 0) {
    message[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(message[0])));
  }
  return escape(message);
}

// The command belongs to `run` alone: whatever stands behind the first "--" is no argument of lockctl's.
std::vector<std::string> split_command(std::vector<std::string>& arguments) {
  std::vector<std::string> command;
  if (!arguments.empty() && arguments.front() == "run") {
    const auto dashes = std::find(arguments.begin(), arguments.end(), "--");
    if (dashes != arguments.end()) {
      command.assign(dashes + 1, arguments.end());
      arguments.erase(dashes, arguments.end());
    }
  }
  return command;
}

// What CLI11 calls extra arguments. Without a "--" it is most likely the command of `run`.
std::string message_of_extras(const CLI::App& app, const std::vector<std::string>& command) {
  const auto extras = app.remaining(true);
  std::string message = fmt::format("unexpected argument {}", quote(extras.empty() ? "" : extras.front()));
  if (app.got_subcommand("run") && command.empty()) {
    message += "; the command goes behind '--', as in 'lockctl run PATH -- COMMAND'";
  }
  return message;
}

std::string called_as(const CLI::App& app) {
  const auto called = app.get_subcommands();
  return called.empty() ? "lockctl --help" : fmt::format("lockctl {} --help", called.front()->get_name());
}

// Whatever a command takes without an option in front is a path or an address.
std::vector<std::string> engines_in(const CLI::App& app) {
  std::vector<std::string> engines;
  for (const CLI::App* const command : app.get_subcommands()) {
    for (const CLI::Option* const option : command->get_options()) {
      if (!option->get_positional()) {
        continue;
      }
      for (const std::string& text : option->results()) {
        const auto parsed = lockfile::parse_address(text);
        const auto* const address = std::get_if<lockfile::Address>(&parsed);
        if (address != nullptr && lockfile::locks_a_name(address->scheme)) {
          engines.push_back(address->scheme);
        }
      }
    }
  }
  return engines;
}

Request wrong_usage(const CLI::App& app, std::string message) {
  return {{}, {}, {std::move(message), fmt::format("see '{}'", called_as(app))}};
}

}  // namespace

Request read_arguments(std::vector<std::string> arguments) {
  const std::vector<std::string> command = split_command(arguments);
  CLI::App app("Locks between programs, for shells and for people.", "lockctl");
  app.set_version_flag(
      "--version",
      fmt::format("lockctl {}.{}.{}", LOCKFILE_VERSION_MAJOR, LOCKFILE_VERSION_MINOR, LOCKFILE_VERSION_PATCH),
      "print the version");
  app.set_help_flag("-h,--help", "print this help");
  app.formatter(std::make_shared<Formatter>());
  app.require_subcommand(1);
  app.footer(
      fmt::format("{}\n{}\n'lockctl COMMAND --help' says more about each command.", examples, exit_status_table));
  Request request;
  add_run(app, request.action, command);
  add_status(app, request.action);
  add_wait(app, request.action);
  add_break(app, request.action);
  add_list(app, request.action);
  add_doctor(app, request.action);
  add_init(app, request.action);
  const auto is_first = [&](const CLI::App* each) { return each->get_name() == arguments.front(); };
  if (!arguments.empty() && !arguments.front().starts_with('-') && app.get_subcommands(is_first).empty()) {
    return wrong_usage(app, fmt::format("unknown command {}", quote(arguments.front())));
  }
  try {
    std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
    app.parse(std::move(arguments));
  } catch (const CLI::ExtrasError&) {
    return wrong_usage(app, message_of_extras(app, command));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) {
      return wrong_usage(app, problem_of(error));
    }
    std::ostringstream output;
    app.exit(error, output, output);
    return {{}, output.str(), {}};
  }
  request.engines = engines_in(app);
  return request;
}

}  // namespace lockctl
