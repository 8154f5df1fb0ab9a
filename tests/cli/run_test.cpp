// `lockctl run`: exit statuses, what the command finds, and that the lock never stands free while it runs.
#include "support.hpp"

#include <gtest/gtest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

namespace cli_test {
namespace {

using std::string;

TEST(run, has_the_exit_status_of_its_command) {
  const Directory here;
  EXPECT_EQ(lockctl(here, {"run", "x", "--", "true"}).status, 0);
  EXPECT_EQ(lockctl(here, {"run", "x", "--", "sh", "-c", "exit 7"}).status, 7);
  EXPECT_EQ(lockctl(here, {"run", "x", "--", "sh", "-c", "kill -KILL $$"}).status, 128 + SIGKILL);
  EXPECT_EQ(lockctl(here, {"run", "x", "--", "sh", "-c", "kill -TERM $$"}).status, 128 + SIGTERM);
  EXPECT_TRUE(here.names().empty());
}

TEST(run, tells_a_command_that_is_missing_from_one_that_may_not_be_executed) {
  const Directory here;
  std::ofstream(here / "plain") << "not a program";
  const Result missing = lockctl(here, {"run", "x", "--", "no-such-program"});
  EXPECT_EQ(missing.status, 127);
  EXPECT_EQ(missing.errors, "lockctl: cannot run 'no-such-program': no such file or directory\n");
  const Result refused = lockctl(here, {"run", "x", "--", "./plain"});
  EXPECT_EQ(refused.status, 126);
  EXPECT_EQ(refused.errors, "lockctl: cannot run './plain': permission denied\n");
  EXPECT_EQ(here.names(), std::vector<string>{"plain"});
}

TEST(run, refuses_wrong_usage_with_64_and_does_nothing) {
  const Directory here;
  const std::vector<std::vector<string>> wrong{{},
                                               {"run"},
                                               {"run", "x"},
                                               {"run", "x", "--"},
                                               {"run", "x", "touch", "y"},
                                               {"run", "x", "--colour", "--", "touch", "y"},
                                               {"run", "x", "--timeout", "soon", "--", "touch", "y"},
                                               {"run", "x", "--timeout", "-1", "--", "touch", "y"},
                                               {"run", "x", "--timeout", "1s", "--try", "--", "touch", "y"},
                                               {"run", "x", "--scheme", "magic", "--", "touch", "y"},
                                               {"run", "x", "--access", "friends", "--", "touch", "y"},
                                               {"run", "x", "--conflict-exit-code", "256", "--", "touch", "y"},
                                               {"run", "x", "--reason", string(401, 'r'), "--", "touch", "y"},
                                               {"run", "", "--", "touch", "y"},
                                               {"run", "..", "--", "touch", "y"},
                                               {"lock", "x"},
                                               {"break", "x", "--foreign"}};
  for (const auto& arguments : wrong) {
    const Result result = lockctl(here, arguments);
    EXPECT_EQ(result.status, usage) << testing::PrintToString(arguments) << "\n" << result.errors;
    EXPECT_EQ(result.errors.rfind("lockctl: ", 0), 0U) << result.errors;
  }
  EXPECT_TRUE(here.names().empty());
}

TEST(run, cannot_create_a_lock_where_there_is_no_directory) {
  const Directory here;
  const Result result = lockctl(here, {"run", "no/x", "--", "touch", "y"});
  EXPECT_EQ(result.status, cannot_create);
  EXPECT_NE(result.errors.find("x.lock'"), string::npos) << result.errors;
  EXPECT_TRUE(here.names().empty());
}

TEST(run, cannot_create_a_lock_in_a_directory_that_may_only_be_read) {
  const Directory here;
  ASSERT_EQ(::chmod(here.path().c_str(), 0555), 0);
  Start start = lockctl_start(here, {"run", "x", "--", "true"});
  start.as_nobody = true;
  Peer peer(start);
  EXPECT_EQ(peer.wait(), cannot_create) << peer.errors();
  EXPECT_NE(peer.errors().find("ermission denied"), string::npos) << peer.errors();
}

TEST(run, gives_up_at_once_with_try_and_says_who_holds_it) {
  const Directory here;
  HeldLock held(here, "x", {"--reason", "stock taking"});
  const Result result = lockctl(here, {"run", "x", "--try", "--", "touch", "y"});
  EXPECT_EQ(result.status, conflict);
  EXPECT_NE(result.errors.find("held by pid " + std::to_string(held.peer().pid())), string::npos) << result.errors;
  EXPECT_NE(result.errors.find("(sh)"), string::npos) << result.errors;
  EXPECT_NE(result.errors.find("stock taking"), string::npos) << result.errors;
  EXPECT_EQ(lockctl(here, {"run", "x", "--timeout", "0", "--", "touch", "y"}).status, conflict);
  EXPECT_EQ(held.let_go(), 0);
  EXPECT_TRUE(here.names().empty());
}

TEST(run, gives_up_after_its_timeout) {
  const Directory here;
  HeldLock held(here, "x");
  const auto begin = std::chrono::steady_clock::now();
  const Result result = lockctl(here, {"run", "x", "--timeout", "50ms", "--", "touch", "y"});
  EXPECT_EQ(result.status, timed_out);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(50));
  EXPECT_NE(result.errors.find("held by pid"), string::npos) << result.errors;
  EXPECT_EQ(held.let_go(), 0);
  EXPECT_TRUE(here.names().empty());
}

TEST(run, exits_with_the_conflict_exit_code_that_was_asked_for) {
  const Directory here;
  HeldLock held(here, "x");
  EXPECT_EQ(lockctl(here, {"run", "x", "--try", "--conflict-exit-code", "9", "--", "true"}).status, 9);
  EXPECT_EQ(lockctl(here, {"run", "x", "--try", "--conflict-exit-code", "0", "--", "true"}).status, 0);
  EXPECT_EQ(lockctl(here, {"run", "x", "--timeout", "10ms", "--conflict-exit-code", "9", "--", "true"}).status, 9);
}

TEST(run, waits_and_enters_when_the_lock_is_released) {
  const Directory here;
  HeldLock held(here, "x");
  Peer waiter(lockctl_start(here, {"run", "x", "--", "echo", "in"}));
  EXPECT_EQ(lockctl(here, {"run", "x", "--try", "--", "true"}).status, conflict);
  EXPECT_EQ(held.let_go(), 0);
  EXPECT_EQ(waiter.line(), "in");
  EXPECT_EQ(waiter.wait(), 0);
  EXPECT_TRUE(here.names().empty());
}

TEST(run, leaves_standard_input_to_the_command) {
  const Directory here;
  Peer peer(lockctl_start(here, {"run", "x", "--", "cat"}));
  peer.write("to and fro\n");
  EXPECT_EQ(peer.line(), "to and fro");
  peer.close_input();
  EXPECT_EQ(peer.line(), "<end>");
  EXPECT_EQ(peer.wait(), 0);
}

TEST(run, passes_every_argument_behind_the_dashes_on_untouched) {
  const Directory here;
  const Result result = lockctl(here, {"run", "x", "--", "printf", "%s.", "--try", "--", "-h", "", "a b"});
  EXPECT_EQ(result.out, "--try.--.-h..a b.\n");
}

TEST(run, gives_the_command_the_signals_as_it_found_them) {
  const Directory here;
  Start start = lockctl_start(here, {"run", "x", "--", PEER, "show-signals"});
  start.ignored = {SIGHUP, SIGCHLD};
  Peer peer(start);
  EXPECT_EQ(peer.rest(), "ignored SIGHUP\nignored SIGCHLD\ndone\n");
  EXPECT_EQ(peer.wait(), 0);
}

TEST(run, tells_the_command_in_its_environment_what_is_held) {
  const Directory here;
  const string tell = "echo $LOCKCTL_HELD $LOCKCTL_PATH";
  EXPECT_EQ(lockctl(here, {"run", "x", "--", "sh", "-c", tell}).out, "1 " + here / "x" + "\n");
}

TEST(run, replaces_the_values_of_an_outer_lock_by_those_of_an_inner_one) {
  const Directory here;
  const string tell = "echo $LOCKCTL_HELD $LOCKCTL_PATH; env | grep -c ^LOCKCTL_PATH=";
  EXPECT_EQ(lockctl(here, {"run", "x", "--", LOCKCTL, "run", "y", "--", "sh", "-c", tell}).out,
            "1 " + here / "y" + "\n1\n");
}

TEST(run, tells_the_command_a_larger_fence_at_each_run) {
  const Directory here;
  unsigned long long last = 0;
  for (int i = 0; i < 3; ++i) {
    const Result result = lockctl(here, {"run", "x", "--fence", "--", "sh", "-c", "echo $LOCKCTL_FENCE"});
    EXPECT_EQ(result.status, 0) << result.errors;
    const unsigned long long number = std::stoull("0" + result.out);
    EXPECT_GT(number, last);
    EXPECT_EQ(read_all(here / "x.lock.fence"), result.out);
    last = number;
  }
  // An inner run has its own, or none.
  const Result inner =
      lockctl(here, {"run", "x", "--fence", "--", LOCKCTL, "run", "y", "--", "sh", "-c", "echo ${LOCKCTL_FENCE-none}"});
  EXPECT_EQ(inner.out, "none\n");
  EXPECT_EQ(here.names(), std::vector<string>{"x.lock.fence"});
}

TEST(run, does_not_start_the_command_where_the_fence_is_no_number) {
  const Directory here;
  std::ofstream(here / "x.lock.fence") << "seven\n";
  const Result result = lockctl(here, {"run", "x", "--fence", "--", "touch", "y"});
  EXPECT_EQ(result.status, cannot_create);
  EXPECT_NE(result.errors.find("no number in the fence 'x.lock.fence'"), string::npos) << result.errors;
  EXPECT_EQ(here.names(), std::vector<string>{"x.lock.fence"});
}

TEST(run, says_that_the_lock_was_lost_and_keeps_the_exit_status) {
  const Directory here;
  Peer peer(lockctl_start(here, {"run", "x", "--", "sh", "-c", "echo in; read go; exit 7"}));
  ASSERT_EQ(peer.line(), "in");
  ASSERT_EQ(lockctl(here, {"break", "x", "--force"}).status, 0);
  peer.close_input();
  EXPECT_EQ(peer.wait(), 7);
  EXPECT_NE(peer.errors().find("lost 'x.lock'"), string::npos) << peer.errors();
  EXPECT_TRUE(here.names().empty());
}

TEST(run, shares_with_others_that_share) {
  const Directory here;
  HeldLock one(here, "x", {"--shared"});
  HeldLock two(here, "x", {"--shared"});
  EXPECT_EQ(lockctl(here, {"run", "x", "--try", "--", "true"}).status, conflict);
  const string both = lockctl(here, {"status", "x"}).out;
  EXPECT_EQ(std::count(both.begin(), both.end(), '\n'), 2) << both;
  EXPECT_NE(both.find("held shared by pid"), string::npos) << both;
  Peer writer(lockctl_start(here, {"run", "x", "--", "sh", "-c", "echo in"}));
  EXPECT_EQ(one.let_go(), 0);
  EXPECT_EQ(two.let_go(), 0);
  EXPECT_EQ(writer.line(), "in");
  EXPECT_EQ(writer.wait(), 0);
  EXPECT_TRUE(here.names().empty());
  HeldLock holder(here, "x", {});
  EXPECT_EQ(lockctl(here, {"run", "x", "--shared", "--try", "--", "true"}).status, conflict);
}

TEST(run, that_shares_is_broken_with_all_who_share) {
  const Directory here;
  HeldLock one(here, "x", {"--shared"});
  HeldLock two(here, "x", {"--shared"});
  const Result broken = lockctl(here, {"break", "x", "--force"});
  EXPECT_EQ(broken.status, 0) << broken.errors;
  EXPECT_EQ(std::count(broken.out.begin(), broken.out.end(), '\n'), 2) << broken.out;
  EXPECT_EQ(lockctl(here, {"status", "x"}).status, 0);
  EXPECT_EQ(lockctl(here, {"run", "x", "--try", "--", "true"}).status, 0);
}

TEST(run, keeps_the_lock_until_the_command_ends_though_lockctl_is_killed) {
  const Directory here;
  const string command = "echo $$; read go; echo first >> log";
  Peer holder(lockctl_start(here, {"run", "x", "--", "sh", "-c", command}));
  const pid_t pid = std::atoi(holder.line().c_str());
  ASSERT_GT(pid, 0);
  holder.signal(SIGKILL);
  EXPECT_EQ(holder.wait(), -SIGKILL);
  EXPECT_EQ(lockctl(here, {"run", "x", "--try", "--", "true"}).status, conflict);
  EXPECT_EQ(lockctl(here, {"break", "x"}).status, conflict);
  Peer next(lockctl_start(here, {"run", "x", "--", "sh", "-c", "echo second >> log; echo in"}));
  holder.write("go\n");
  EXPECT_EQ(next.line(), "in");
  EXPECT_EQ(next.wait(), 0);
  EXPECT_EQ(read_all(here / "log"), "first\nsecond\n");
  EXPECT_EQ(here.names(), std::vector<string>{"log"});
}

TEST(run, keeps_the_lock_though_the_command_closes_all_descriptors_and_lockctl_is_killed) {
  const Directory here;
  ASSERT_EQ(::mkfifo((here / "say").c_str(), 0600), 0);
  ASSERT_EQ(::mkfifo((here / "ask").c_str(), 0600), 0);
  Peer holder(lockctl_start(here, {"run", "x", "--", PEER, "close-all", "say", "ask"}));
  EXPECT_EQ(read_all(here / "say"), "closed\n");
  holder.signal(SIGKILL);
  EXPECT_EQ(holder.wait(), -SIGKILL);
  EXPECT_EQ(lockctl(here, {"run", "x", "--try", "--", "true"}).status, conflict);
  Peer next(lockctl_start(here, {"run", "x", "--", "echo", "in"}));
  std::ofstream(here / "ask") << "go";
  EXPECT_EQ(next.line(), "in");
  EXPECT_EQ(next.wait(), 0);
}

TEST(run, works_with_every_scheme) {
  const Directory here;
  int count = 0;
  for (const string scheme : {"auto", "link", "mkdir"}) {
    const Result result =
        lockctl(here, {"run", "x", "--scheme", scheme, "--", LOCKCTL, "run", "x", "--try", "--", "true"});
    EXPECT_EQ(result.status, conflict) << scheme;
    EXPECT_EQ(lockctl(here, {"run", "x", "--scheme", scheme, "--access", "group", "--", "true"}).status, 0) << scheme;
    EXPECT_TRUE(here.names().empty()) << scheme;
    ++count;
  }
  EXPECT_EQ(count, 3);
}

}  // namespace
}  // namespace cli_test
