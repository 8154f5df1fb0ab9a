// Signals that a person or a program sends to lockctl.
#include "support.hpp"

#include <gtest/gtest.h>

#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>

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

// Sends it this signal, and lets it go on up to the call kill(2) by which it passes it on.
void stop_as_it_passes_on(const Peer& lockctl, int signal) {
  const pid_t pid = lockctl.pid();
  int status = 0;
  ASSERT_EQ(::ptrace(PTRACE_SEIZE, pid, nullptr, PTRACE_O_TRACESYSGOOD), 0);
  ASSERT_EQ(::ptrace(PTRACE_INTERRUPT, pid, nullptr, nullptr), 0);
  ASSERT_EQ(::waitpid(pid, &status, __WALL), pid);
  lockctl.signal(signal);
  __ptrace_syscall_info call{};
  do {
    ASSERT_EQ(::ptrace(PTRACE_SYSCALL, pid, nullptr, nullptr), 0);
    ASSERT_EQ(::waitpid(pid, &status, __WALL), pid);
    ASSERT_TRUE(WIFSTOPPED(status) && WSTOPSIG(status) == (SIGTRAP | 0x80)) << status;
    ASSERT_GT(::ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof call, &call), 0);
  } while (call.op != PTRACE_SYSCALL_INFO_ENTRY || call.entry.nr != SYS_kill ||
           call.entry.args[1] != static_cast<std::uint64_t>(signal));
}

bool stops(pid_t pid) {
  const auto give_up = std::chrono::steady_clock::now() + stuck;
  while (state_of(pid) != 'T' && std::chrono::steady_clock::now() < give_up) {
  }
  return state_of(pid) == 'T';
}

//   lockctl                               command
//   has it stopped? no
//                                         stops
//   passes SIGTERM on
//   has it stopped? yes: SIGCONT too      acts on SIGTERM
TEST(signals, end_a_command_that_stops_as_they_are_passed_on) {
  const Directory here;
  Peer peer(lockctl_start(here, {"run", "x", "--", "sh", "-c", "echo $$; read go; kill -STOP $$; exit 0"}));
  const pid_t command = std::atoi(peer.line().c_str());
  ASSERT_GT(command, 0);
  ASSERT_NO_FATAL_FAILURE(stop_as_it_passes_on(peer, SIGTERM));
  peer.write("go\n");
  EXPECT_TRUE(stops(command));
  ASSERT_EQ(::ptrace(PTRACE_DETACH, peer.pid(), nullptr, nullptr), 0);
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
