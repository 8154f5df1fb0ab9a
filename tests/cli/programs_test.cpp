// lockctl becomes another program where an address asks for an engine that it does not have itself.
#include "support.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace cli_test {
namespace {

namespace fs = std::filesystem;
using std::string;

// Those of this build, the one that has most last.
std::vector<string> programs() {
  std::istringstream all(LOCKCTL_PROGRAMS);
  std::vector<string> names;
  for (string name; all >> name;) {
    names.push_back(name);
  }
  return names;
}

// An address of the engine, which it refuses, without looking for a server, in its own words.
string refused_address(const string& engine) { return engine + "://user:secret@host/prefix#a"; }

string script_that_says(const string& what) { return "#!/bin/sh\necho \"" + what + " $$ $*\"\n"; }

void write_program(const fs::path& path, const string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path) << text;
  fs::permissions(path, fs::perms::owner_all);
}

// A lockctl installed somewhere, with programs that only say how they were called.
class Programs : public ::testing::Test {
 protected:
  Programs() {
    fs::create_directories(lockctl_.parent_path());
    fs::copy_file(LOCKCTL, lockctl_);
  }
  [[nodiscard]] fs::path installed(const string& engine) const {
    return (lockctl_.parent_path() / LOCKCTL_PROGRAMS_DIRECTORY / ("lockctl-" + engine)).lexically_normal();
  }
  [[nodiscard]] Start start(std::vector<string> arguments) const {
    arguments.insert(arguments.begin(), lockctl_.string());
    return {.arguments = std::move(arguments), .directory = here_.path()};
  }

  const Directory here_;
  const fs::path lockctl_ = fs::path(here_.path()) / "prefix" / "bin" / "lockctl";
};

TEST_F(Programs, are_found_where_they_are_installed_and_keep_the_process_and_the_arguments) {
  for (const string& engine : programs()) {
    write_program(installed(engine), script_that_says(engine));
    Peer peer(start({"status", "a", engine + "://host/b", "--json"}));
    EXPECT_EQ(peer.line(), engine + " " + std::to_string(peer.pid()) + " status a " + engine + "://host/b --json");
    EXPECT_EQ(peer.wait(), 0);
  }
}

TEST_F(Programs, are_chosen_so_that_one_has_all_that_is_asked_for) {
  std::vector<string> arguments{"status"};
  for (const string& engine : programs()) {
    write_program(installed(engine), script_that_says(engine));
    arguments.insert(arguments.begin() + 1, engine + "://host/b");
  }
  Peer peer(start(arguments));
  EXPECT_TRUE(peer.line().starts_with(programs().back() + " "));
}

TEST_F(Programs, are_asked_for_by_addresses_only) {
  for (const string& engine : programs()) {
    write_program(installed(engine), script_that_says(engine));
  }
  for (const string& each : {string("a"), "./" + programs().front() + "://host/b"}) {
    Peer peer(start({"status", each}));
    EXPECT_EQ(peer.line(), each == "a" ? "a.lock: free" : "<end>");
  }
  Peer peer(start({"run", "a", "--reason", "etcd://host/b", "--", "echo", "etcd://host/b"}));
  EXPECT_EQ(peer.line(), "etcd://host/b") << peer.errors();
}

TEST_F(Programs, that_are_missing_are_named_and_nothing_else_is_run_instead) {
  for (const string& engine : programs()) {
    const string trap = "lockctl-" + engine;
    write_program(fs::path(here_.path()) / trap, script_that_says(engine));
    Start start = this->start({"status", engine + "://host/b"});
    start.environment = {{"PATH", here_.path()}, {"LD_LIBRARY_PATH", here_.path()}};
    Peer peer(start);
    EXPECT_EQ(peer.rest(), "");
    EXPECT_EQ(peer.wait(), no_program);
    EXPECT_EQ(peer.errors(), "lockctl: addresses that begin with '" + engine + ":' need the program '" +
                                 installed(engine).string() +
                                 "', which is not there: it is installed with lockctl where lockfile's component '" +
                                 engine + "' is built\n");
  }
}

TEST_F(Programs, that_cannot_be_run_are_named) {
  const string engine = programs().front();
  write_program(installed(engine), "");
  fs::permissions(installed(engine), fs::perms::owner_read);
  Peer peer(start({"status", engine + "://host/b"}));
  EXPECT_EQ(peer.wait(), no_program);
  EXPECT_EQ(peer.errors(), "lockctl: cannot run '" + installed(engine).string() + "': permission denied\n");
}

TEST(programs, of_this_build_have_their_engines) {
  const Directory here;
  for (const string& engine : programs()) {
    for (const string& verb : {string("status"), string("doctor"), string("wait"), string("break")}) {
      const Result result = lockctl(here, {verb, refused_address(engine)});
      EXPECT_FALSE(has(result.errors, "not built in") || has(result.errors, "lockctl-")) << verb << result.errors;
      EXPECT_TRUE(has(result.errors, engine == "etcd" ? "users are named by ETCDCTL_USER" : "password"))
          << verb << ": " << result.errors;
    }
  }
  EXPECT_EQ(lockctl(here, {"--version"}).errors, "");
}

// What it is for: a lock file needs none of their libraries.
TEST(programs, and_not_lockctl_itself_load_the_clients_of_servers) {
  const Directory here;
  HeldLock held(here, "a");
  const string loaded = read_all("/proc/" + std::to_string(held.peer().pid()) + "/maps");
  EXPECT_TRUE(has(loaded, "libc")) << loaded;
  for (const string& library : {string("libpq"), string("libgrpc"), string("libprotobuf"), string("libssl")}) {
    EXPECT_FALSE(has(loaded, library)) << loaded;
  }
  EXPECT_EQ(held.let_go(), 0);
}

}  // namespace
}  // namespace cli_test
