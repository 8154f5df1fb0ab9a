// `--scheme kernel` and `--scheme flock`: the lock is the kernel's, on the path itself.
#include "support.hpp"

#include <gtest/gtest.h>

#include <csignal>

namespace cli_test {
namespace {

using std::string;

TEST(kernel, locks_the_path_itself_and_every_command_says_so) {
  for (const string scheme : {"kernel", "flock"}) {
    const Directory here;
    HeldLock held(here, "x", {"--scheme", scheme});
    EXPECT_EQ(here.names(), std::vector<string>{"x"});
    const Result status = lockctl(here, {"status", "x", "--scheme", scheme});
    EXPECT_EQ(status.status, conflict);
    EXPECT_TRUE(status.out.starts_with("x: held by pid ")) << status.out;
    EXPECT_TRUE(has(status.out, "child " + std::to_string(held.command()))) << status.out;
    EXPECT_EQ(lockctl(here, {"wait", "x", "--scheme", scheme, "--timeout", "50ms"}).status, timed_out);
    EXPECT_EQ(lockctl(here, {"run", "x", "--scheme", scheme, "--try", "--", "true"}).status, conflict);
    // The lock file beside it is another lock.
    EXPECT_EQ(lockctl(here, {"status", "x"}).out, "x.lock: free\n");
    EXPECT_EQ(held.let_go(), 0);
    EXPECT_EQ(lockctl(here, {"status", "x", "--scheme", scheme}).out, "x: free\n");
    EXPECT_EQ(lockctl(here, {"wait", "x", "--scheme", scheme}).status, 0);
    EXPECT_EQ(here.names(), std::vector<string>{"x"});
  }
}

TEST(kernel, is_never_broken_and_the_reason_is_given) {
  const Directory here;
  HeldLock held(here, "x", {"--scheme", "flock"});
  const Result stale = lockctl(here, {"break", "x", "--scheme", "flock"});
  EXPECT_EQ(stale.status, conflict);
  EXPECT_TRUE(has(stale.errors, "it ends with the process that holds it")) << stale.errors;
  const Result forced = lockctl(here, {"break", "x", "--scheme", "flock", "--force"});
  EXPECT_EQ(forced.status, unavailable);
  EXPECT_TRUE(has(forced.errors, "it ends with the process that holds it")) << forced.errors;
  EXPECT_EQ(held.let_go(), 0);
}

TEST(kernel, stands_while_the_command_runs_also_when_lockctl_is_killed) {
  const Directory here;
  HeldLock held(here, "x", {"--scheme", "flock"});
  held.peer().signal(SIGKILL);
  EXPECT_EQ(held.peer().wait(), -SIGKILL);
  EXPECT_EQ(lockctl(here, {"run", "x", "--scheme", "flock", "--try", "--", "true"}).status, conflict);
  ::kill(held.command(), SIGKILL);
  EXPECT_TRUE(ends(held.command()));
  EXPECT_EQ(lockctl(here, {"run", "x", "--scheme", "flock", "--", "true"}).status, 0);
}

}  // namespace
}  // namespace cli_test
