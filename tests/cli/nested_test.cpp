// A run inside a run on the same lock would wait for itself: it fails at once and says why.
#include "support.hpp"

#include <gtest/gtest.h>

namespace cli_test {
namespace {

using std::string;

void expect_own_caller(const Result& result) {
  EXPECT_EQ(result.status, conflict) << result.errors;
  EXPECT_NE(result.errors.find("cannot lock 'x.lock': held by your own caller, pid "), string::npos) << result.errors;
}

TEST(nested, fails_at_once_on_the_callers_lock) {
  const Directory here;
  expect_own_caller(lockctl(here, {"run", "x", "--", LOCKCTL, "run", "x", "--", "true"}));
  EXPECT_TRUE(here.names().empty());
}

TEST(nested, fails_at_once_by_another_name_of_the_directory) {
  const Directory here;
  const string other = here.path() + "/../" + here.path().substr(here.path().rfind('/') + 1) + "/x";
  const Result result = lockctl(here, {"run", "x", "--", LOCKCTL, "run", other, "--", "true"});
  EXPECT_EQ(result.status, conflict);
  EXPECT_NE(result.errors.find("held by your own caller"), string::npos) << result.errors;
}

TEST(nested, fails_at_once_with_another_lock_in_between) {
  const Directory here;
  expect_own_caller(lockctl(here, {"run", "x", "--", LOCKCTL, "run", "y", "--", LOCKCTL, "run", "x", "--", "true"}));
}

TEST(nested, fails_at_once_in_a_cleared_environment) {
  const Directory here;
  expect_own_caller(
      lockctl(here, {"run", "x", "--", "sh", "-c", string("env -i ") + LOCKCTL + " run x -- true; exit $?"}));
}

TEST(nested, fails_at_once_in_another_session_that_no_ancestor_shows) {
  const Directory here;
  // The shells in between end at once: the innermost lockctl's parent is whoever adopts orphans.
  const string orphan = string("( (setsid ") + LOCKCTL + " run x -- true; echo $? > status; echo > told) & )";
  Peer peer(lockctl_start(here, {"run", "x", "--", "sh", "-c", "mkfifo told; " + orphan + "; read go < told"}));
  EXPECT_EQ(peer.wait(), 0) << peer.errors();
  EXPECT_EQ(read_all(here / "status"), "75\n");
}

TEST(nested, takes_another_lock) {
  const Directory here;
  EXPECT_EQ(lockctl(here, {"run", "x", "--", LOCKCTL, "run", "y", "--", "true"}).status, 0);
}

TEST(nested, has_the_conflict_exit_code_that_was_asked_for) {
  const Directory here;
  const Result result =
      lockctl(here, {"run", "x", "--", LOCKCTL, "run", "x", "--conflict-exit-code", "9", "--", "true"});
  EXPECT_EQ(result.status, 9);
}

TEST(nested, old_values_in_the_environment_do_no_harm) {
  const Directory here;
  Start start = lockctl_start(here, {"run", "x", "--", "true"});
  start.environment = {{"LOCKCTL_PATH", here / "x"}, {"LOCKCTL_HELD", "1"}, {"LOCKCTL_HOLDS", "0123.1 4567.2"}};
  HeldLock held(here, "x");
  Peer waiter(start);  // held by somebody else: this one waits
  EXPECT_EQ(held.let_go(), 0);
  EXPECT_EQ(waiter.wait(), 0) << waiter.errors();
}

}  // namespace
}  // namespace cli_test
