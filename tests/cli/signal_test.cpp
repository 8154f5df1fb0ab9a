// Signals that a person or a program sends to lockctl.
#include "support.hpp"

#include <gtest/gtest.h>

#include <csignal>

namespace cli_test {
namespace {

using std::string;

class signal_to_lockctl : public testing::TestWithParam<int> {};

TEST_P(signal_to_lockctl, reaches_the_commands_whole_group_once) {
  const Directory here;
  Peer peer(lockctl_start(here, {"run", "x", "--", PEER, "report-signals"}));
  const string ready = peer.line();
  ASSERT_EQ(ready.rfind("ready ", 0), 0U) << ready;
  peer.signal(GetParam());
  const string name = string("SIG") + ::sigabbrev_np(GetParam());
  const string told = peer.rest();
  EXPECT_NE(told.find("leader got " + name + "\n"), string::npos) << told;
  EXPECT_NE(told.find("mate got " + name + "\n"), string::npos) << told;
  EXPECT_EQ(told.find("twice"), string::npos) << told;
  EXPECT_EQ(peer.wait(), 42);
  EXPECT_TRUE(here.names().empty());
}

TEST_P(signal_to_lockctl, that_ends_the_command_is_the_exit_status) {
  const Directory here;
  Peer peer(lockctl_start(here, {"run", "x", "--", PEER, "wait"}));
  ASSERT_EQ(peer.line(), "in the command.");
  peer.signal(GetParam());
  EXPECT_EQ(peer.wait(), 128 + GetParam());
  EXPECT_TRUE(here.names().empty());
}

TEST_P(signal_to_lockctl, that_is_ignored_by_inheritance_is_ignored_by_both) {
  const Directory here;
  Start start = lockctl_start(here, {"run", "x", "--", "sh", "-c", "echo ready; read go; exit 7"});
  start.ignored = {GetParam()};
  Peer peer(start);
  ASSERT_EQ(peer.line(), "ready");
  peer.signal(GetParam());
  peer.write("go\n");
  EXPECT_EQ(peer.wait(), 7);
}

INSTANTIATE_TEST_SUITE_P(each, signal_to_lockctl, testing::Values(SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2),
                         [](const auto& test) { return string(::sigabbrev_np(test.param)); });

TEST(signals, end_a_stopped_command_too) {
  const Directory here;
  Peer peer(lockctl_start(here, {"run", "x", "--", "sh", "-c", "echo ready; kill -STOP $$; exit 0"}));
  ASSERT_EQ(peer.line(), "ready");
  peer.signal(SIGTERM);
  EXPECT_EQ(peer.wait(), 128 + SIGTERM);
}

TEST(signals, to_the_command_alone_are_its_own_affair) {
  const Directory here;
  HeldLock held(here, "x");
  ::kill(held.command(), SIGTERM);
  EXPECT_EQ(held.peer().wait(), 128 + SIGTERM);
}

// The wait is known to have begun by what is told at the terminal.
class signal_to_a_waiter : public testing::TestWithParam<int> {};

TEST_P(signal_to_a_waiter, ends_the_wait_and_leaves_nothing_behind) {
  for (const string verb : {"run", "wait"}) {
    const Directory here;
    HeldLock held(here, "x");
    const auto before = here.names();
    std::vector<string> arguments{LOCKCTL, verb, "x"};
    if (verb == "run") {
      arguments.insert(arguments.end(), {"--", "touch", "y"});
    }
    Terminal waiter(here, arguments);
    waiter.expect("waiting for 'x.lock'");
    ::kill(waiter.pid(), GetParam());
    EXPECT_EQ(waiter.wait(), 128 + GetParam()) << verb;
    const string shown = waiter.rest();
    EXPECT_NE(shown.find(string("stopped waiting for 'x.lock': SIG") + ::sigabbrev_np(GetParam())), string::npos)
        << shown;
    EXPECT_EQ(here.names(), before) << verb;
    EXPECT_EQ(held.let_go(), 0);
    EXPECT_TRUE(here.names().empty());
  }
}

INSTANTIATE_TEST_SUITE_P(each, signal_to_a_waiter, testing::Values(SIGHUP, SIGINT, SIGQUIT, SIGTERM),
                         [](const auto& test) { return string(::sigabbrev_np(test.param)); });

}  // namespace
}  // namespace cli_test
