// The commands that look and those that break: status, list, wait, break.
#include "support.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <fstream>

namespace cli_test {
namespace {

using nlohmann::json;
using std::string;

// A lock whose holder is dead: lockctl and its command were killed together.
void leave_stale_lock(const Directory& here) {
  HeldLock held(here, "x");
  held.peer().signal(SIGKILL);
  EXPECT_EQ(held.peer().wait(), -SIGKILL);
  ::kill(held.command(), SIGKILL);
  EXPECT_TRUE(ends(held.command()));
}

TEST(status, says_whether_it_is_free_held_or_stale) {
  const Directory here;
  EXPECT_EQ(lockctl(here, {"status", "x"}).out, "x.lock: free\n");
  EXPECT_EQ(lockctl(here, {"status", "x"}).status, 0);
  leave_stale_lock(here);
  const Result stale = lockctl(here, {"status", "x"});
  EXPECT_EQ(stale.status, 0);
  EXPECT_EQ(stale.out.rfind("x.lock: stale: held by pid ", 0), 0U) << stale.out;
  HeldLock held(here, "x");
  const Result taken = lockctl(here, {"status", "x"});
  EXPECT_EQ(taken.status, conflict);
  EXPECT_EQ(taken.out.rfind("x.lock: held by pid " + std::to_string(held.peer().pid()), 0), 0U) << taken.out;
}

TEST(status, of_several_locks_is_held_when_one_is) {
  const Directory here;
  HeldLock held(here, "y");
  const Result result = lockctl(here, {"status", "x", "y", "z"});
  EXPECT_EQ(result.status, conflict);
  EXPECT_EQ(result.out.rfind("x.lock: free\ny.lock: held by pid ", 0), 0U) << result.out;
  EXPECT_NE(result.out.find("\nz.lock: free\n"), string::npos) << result.out;
}

TEST(status, takes_addresses) {
  const Directory here;
  HeldLock held(here, "link:x");
  const Result result = lockctl(here, {"status", "x", "kernel:y", "./link:z", "--json"});
  EXPECT_EQ(result.status, conflict);
  const json all = json::parse(result.out);
  ASSERT_EQ(all.size(), 3U);
  EXPECT_EQ(all[0]["lock_file"], here / "x.lock");
  EXPECT_EQ(all[0]["state"], "held");
  EXPECT_EQ(all[1]["lock_file"], here / "y");
  EXPECT_EQ(all[2]["lock_file"], here / "./link:z.lock");
}

TEST(status, says_what_is_wrong_with_an_address_and_where) {
  const Directory here;
  const Result unknown = lockctl(here, {"status", "sqlit:a#b"});
  EXPECT_EQ(unknown.status, 64);
  EXPECT_EQ(unknown.errors.rfind("lockctl: 'sqlit:a#b': at position 0: there is no scheme 'sqlit'; "
                                 "a file of that name is './sqlit:a#b'\n",
                                 0),
            0U)
      << unknown.errors;
  const Result two = lockctl(here, {"wait", "link:a", "--scheme", "kernel"});
  EXPECT_EQ(two.status, 64);
  EXPECT_EQ(two.errors.rfind("lockctl: 'link:a': its scheme is link, and '--scheme kernel' says another\n", 0), 0U)
      << two.errors;
  EXPECT_EQ(lockctl(here, {"break", "etcd://host:2379/n"}).status, 74);
}

TEST(status, prints_json) {
  const Directory here;
  HeldLock held(here, "x", {"--reason", "caf\xc3\xa9 \xff \x1b[31m"});
  const Result result = lockctl(here, {"status", "x", "free", "--json"});
  EXPECT_EQ(result.status, conflict);
  EXPECT_EQ(result.out.find('\x1b'), string::npos);
  const json all = json::parse(result.out);
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0]["path"], here / "x");
  EXPECT_EQ(all[0]["lock_file"], here / "x.lock");
  EXPECT_EQ(all[0]["state"], "held");
  const json& holder = all[0]["holder"];
  EXPECT_EQ(holder["pid"], held.peer().pid());
  EXPECT_EQ(holder["handed_to"], held.command());
  EXPECT_EQ(holder["program"], "sh");
  EXPECT_EQ(holder["verdict"], "alive");
  EXPECT_EQ(holder["foreign"], false);
  EXPECT_EQ(holder["reason"].get<string>().rfind("caf\xc3\xa9 ", 0), 0U) << holder["reason"];
  EXPECT_EQ(all[1]["state"], "free");
  EXPECT_TRUE(all[1]["holder"].is_null());
}

TEST(status, cannot_look_into_a_missing_directory) {
  const Directory here;
  EXPECT_EQ(lockctl(here, {"status", "no/x"}).status, cannot_look);
}

TEST(status, never_sends_what_strangers_wrote_to_the_terminal) {
  const Directory here;
  HeldLock held(here, "x", {"--reason", "\x1b]0;owned\x07 \x9b"});
  const string out = lockctl(here, {"status", "x"}).out + lockctl(here, {"list"}).out;
  for (const char c : {'\x1b', '\x07', '\x9b'}) {
    EXPECT_EQ(out.find(c), string::npos) << out;
  }
}

TEST(status, points_out_that_it_was_given_the_name_of_a_lock_file) {
  const Directory here;
  HeldLock held(here, "x");
  const Result result = lockctl(here, {"status", "x.lock"});
  EXPECT_EQ(result.out, "x.lock.lock: free\n");
  EXPECT_NE(result.errors.find("for the lock file 'x.lock' itself, give 'x'"), string::npos) << result.errors;
}

TEST(reading, works_in_a_directory_that_may_only_be_read) {
  const Directory here;
  HeldLock held(here, "x");
  ASSERT_EQ(::chmod(here.path().c_str(), 0555), 0);
  const std::vector<std::pair<std::vector<string>, int>> verbs{
      {{"status", "x"}, conflict}, {{"list", "."}, 0}, {{"wait", "x", "--timeout", "10ms"}, timed_out}};
  for (const auto& [arguments, status] : verbs) {
    Start start = lockctl_start(here, arguments);
    start.as_nobody = true;
    Peer peer(start);
    EXPECT_EQ(peer.wait(), status) << arguments[0] << ": " << peer.errors();
  }
  Start start = lockctl_start(here, {"wait", "x"});
  start.as_nobody = true;
  Peer waiter(start);
  ASSERT_EQ(::chmod(here.path().c_str(), 0755), 0);
  EXPECT_EQ(held.let_go(), 0);
  EXPECT_EQ(waiter.wait(), 0) << waiter.errors();
}

TEST(list, shows_each_lock_under_the_path_that_the_verbs_take) {
  const Directory here;
  EXPECT_EQ(lockctl(here, {"list", "."}).out, "");
  HeldLock one(here, "x", {"--reason", "stock taking"});
  HeldLock other(here, "y", {"--scheme", "mkdir"});
  const Result result = lockctl(here, {"list"});
  EXPECT_EQ(result.status, 0);
  EXPECT_NE(result.out.find("\nx     held   alive "), string::npos) << result.out;
  EXPECT_NE(result.out.find("\ny     held   alive "), string::npos) << result.out;
  EXPECT_NE(result.out.find("stock taking"), string::npos) << result.out;
  const json all = json::parse(lockctl(here, {"list", here.path(), "--json"}).out);
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0]["path"], here / "x");
  EXPECT_EQ(all[0]["holder"]["scheme"], "link");
  EXPECT_EQ(all[1]["lock_file"], here / "y.lock");
  EXPECT_EQ(all[1]["holder"]["scheme"], "mkdir");
}

TEST(list, says_when_its_output_is_lost) {
  const Directory here;
  Peer peer({.arguments = {"sh", "-c", string(LOCKCTL) + " status x > /dev/full"}, .directory = here.path()});
  EXPECT_EQ(peer.wait(), cannot_look);
  EXPECT_EQ(peer.errors(), "lockctl: cannot write to standard output\n");
}

TEST(list, cannot_list_a_missing_directory) {
  const Directory here;
  EXPECT_EQ(lockctl(here, {"list", "no"}).status, cannot_look);
}

TEST(wait, returns_at_once_when_it_is_free) {
  const Directory here;
  EXPECT_EQ(lockctl(here, {"wait", "x"}).status, 0);
  leave_stale_lock(here);
  EXPECT_EQ(lockctl(here, {"wait", "x", "--timeout", "0"}).status, 0);
  EXPECT_EQ(lockctl(here, {"wait", "no/x"}).status, cannot_look);
}

TEST(wait, returns_when_it_becomes_free_and_takes_nothing) {
  const Directory here;
  HeldLock held(here, "x");
  const auto before = here.names();
  Terminal waiter(here, {LOCKCTL, "wait", "x"});
  waiter.expect("waiting for 'x.lock'");
  EXPECT_EQ(here.names(), before);
  EXPECT_EQ(held.let_go(), 0);
  EXPECT_EQ(waiter.wait(), 0);
  EXPECT_TRUE(here.names().empty());
}

TEST(wait, returns_when_the_holder_is_killed) {
  const Directory here;
  HeldLock held(here, "x");
  Terminal waiter(here, {LOCKCTL, "wait", "x"});
  waiter.expect("waiting for 'x.lock'");
  held.peer().signal(SIGKILL);
  ::kill(held.command(), SIGKILL);
  EXPECT_EQ(waiter.wait(), 0);
}

TEST(wait, gives_up_after_its_timeout) {
  const Directory here;
  HeldLock held(here, "x");
  EXPECT_EQ(lockctl(here, {"wait", "x", "--timeout", "20ms"}).status, timed_out);
  EXPECT_EQ(lockctl(here, {"wait", "x", "--timeout", "0"}).status, timed_out);
}

TEST(breaking, spares_who_is_not_proved_dead_and_says_who_it_is) {
  const Directory here;
  HeldLock held(here, "x");
  const Result result = lockctl(here, {"break", "x"});
  EXPECT_EQ(result.status, conflict);
  EXPECT_EQ(result.errors.rfind("lockctl: cannot break 'x.lock': held by pid ", 0), 0U) << result.errors;
  EXPECT_EQ(lockctl(here, {"status", "x"}).status, conflict);
}

TEST(breaking, removes_a_stale_lock) {
  const Directory here;
  leave_stale_lock(here);
  const Result result = lockctl(here, {"break", "x"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.out.rfind("broke 'x.lock': it was held by pid ", 0), 0U) << result.out;
  EXPECT_TRUE(here.names().empty()) << testing::PrintToString(here.names());
}

TEST(breaking, a_free_lock_is_no_error) {
  const Directory here;
  const Result result = lockctl(here, {"break", "x"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.out, "'x.lock' is free\n");
  EXPECT_EQ(lockctl(here, {"break", "x", "--force"}).status, 0);
}

TEST(breaking, by_force_removes_a_live_holders_lock) {
  const Directory here;
  HeldLock held(here, "x");
  EXPECT_EQ(lockctl(here, {"break", "x", "--force"}).status, 0);
  EXPECT_EQ(lockctl(here, {"run", "x", "--try", "--", "true"}).status, 0);
  EXPECT_EQ(held.let_go(), 0);
  EXPECT_TRUE(here.names().empty());
}

TEST(breaking, removes_another_programs_lock_only_when_told_so) {
  for (const bool directory : {false, true}) {
    const Directory here;
    if (directory) {
      std::filesystem::create_directory(here / "x.lock");
    } else {
      std::ofstream(here / "x.lock") << "4711\n";
    }
    EXPECT_EQ(lockctl(here, {"status", "x"}).status, conflict);
    EXPECT_EQ(lockctl(here, {"run", "x", "--try", "--", "true"}).status, conflict);
    EXPECT_EQ(lockctl(here, {"break", "x"}).status, conflict);
    const Result refused = lockctl(here, {"break", "x", "--force"});
    EXPECT_EQ(refused.status, conflict);
    EXPECT_NE(refused.errors.find("--force --foreign"), string::npos) << refused.errors;
    const Result broken = lockctl(here, {"break", "x", "--force", "--foreign"});
    EXPECT_EQ(broken.status, 0) << broken.errors;
    EXPECT_NE(broken.errors.find("honours nothing of ours"), string::npos) << broken.errors;
    EXPECT_TRUE(here.names().empty()) << testing::PrintToString(here.names());
  }
}

}  // namespace
}  // namespace cli_test
