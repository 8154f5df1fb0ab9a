// `lockctl init`: makes what locks need in a database, once.
#include "commands.hpp"
#include "exit_status.hpp"
#include "text.hpp"

#include <lockfile/error.hpp>
#include <lockfile/open.hpp>

#include <fmt/format.h>

#include <memory>

namespace lockctl {
namespace {

int initialise(const std::string& address) {
  try {
    lockfile::initialise(address);
  } catch (const lockfile::Error& error) {
    say(error.what());
    return status(Exit::cannot_look);
  }
  fmt::print("locks can be taken in {}\n", quote(address));
  return status(Exit::ok);
}

}  // namespace

void add_init(CLI::App& app, Action& chosen) {
  auto address = std::make_shared<std::string>();
  CLI::App* const init_app = app.add_subcommand("init", "make what locks need in a database, once");
  init_app->add_option("ADDRESS", *address, "the database or cluster, with or without the name of a lock")->required();
  init_app->footer(
      R"(PostgreSQL keeps the records of holders and the numbers of holds in a schema of its own, which this makes; it may be
repeated. SQLite and etcd need nothing of the kind.
Exit status: 0 locks can be taken there; 74 it could not be done.

Example:
  lockctl init postgresql://app@db.example/app)");
  init_app->callback([address, &chosen] { chosen = [address] { return initialise(*address); }; });
}

}  // namespace lockctl
