// The kernel's limits, reached by the real lockctl: no inotify instance left, no watch left, no descriptor left.
#include "fault/command.hpp"

#include <gtest/gtest.h>

#include <iostream>

namespace lockfile::testing {
namespace {

using cli_test::HeldLock;
using cli_test::Peer;
using cli_test::Result;

// The limits of inotify(7) are a user's, and in a user namespace of one's own they are one's own (ucounts:
// /proc/sys/user, Linux 4.9).
std::vector<std::string> with_limit(const std::string& limit, int number) {
  const std::string set = "echo " + std::to_string(number) + " > /proc/sys/user/" + limit + " && exec \"$@\"";
  return {"unshare", "--user", "--map-root-user", "sh", "-c", set, "sh"};
}

std::vector<std::string> with_descriptors(int number) {
  return {"prlimit", "--nofile=" + std::to_string(number), "--"};
}

class Limits : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(both, Limits, ::testing::Values("link", "mkdir"), [](const auto& each) { return each.param; });

TEST_P(Limits, of_inotify_are_no_reason_to_wait_for_ever) {
  std::vector<std::string> probe = with_limit("max_inotify_watches", 0);
  probe.emplace_back("true");
  const Result possible = Place(GetParam()).run(probe);
  if (possible.status != 0) GTEST_SKIP() << "unavoidable: no user namespace of one's own here: " << possible.errors;
  for (const char* const limit : {"max_inotify_instances", "max_inotify_watches"}) {
    for (const int number : {0, 1}) {
      SCOPED_TRACE(std::string(limit) + " " + std::to_string(number));
      Place place(GetParam());
      const std::vector<std::string> scheme = {"--scheme", GetParam()};
      HeldLock held(place.directory(), "x", scheme);
      NewNames waiters(place.directory());
      Peer waiter({.arguments = place.run_by(with_limit(limit, number), {"--timeout", "10s"}),
                   .directory = place.directory().path()});
      waiters.expect_one();
      EXPECT_EQ(held.let_go(), 0);
      EXPECT_EQ(waiter.wait(), 0) << waiter.errors();
      EXPECT_EQ(waiter.errors(), "");
      place.expect_ran_and_clean();
      // And a deadline is kept.
      HeldLock again(place.directory(), "x", scheme);
      const Result late = place.run(place.run_by(with_limit(limit, number), {"--timeout", "20ms"}));
      EXPECT_EQ(late.status, cli_test::timed_out) << late.errors;
      EXPECT_EQ(again.let_go(), 0);
    }
  }
}

// From the first number with which lockctl runs at all.
TEST_P(Limits, of_descriptors_are_told_and_leave_nothing) {
  constexpr int most = 64;
  int told = 0;
  int well = 0;
  for (int number = 3; number < most && well < 2; ++number) {
    SCOPED_TRACE(std::to_string(number) + " descriptors");
    std::vector<std::string> version = with_descriptors(number);
    version.insert(version.end(), {LOCKCTL, "--version"});
    Place place(GetParam());
    if (place.run(version).status != 0) continue;
    const Result result = place.run(place.run_by(with_descriptors(number)));
    (result.status == 0 && result.errors.empty() ? well : told) += 1;
    place.expect_told_and_clean(result, {"too many open files"});
  }
  EXPECT_GT(told, 0);
  EXPECT_EQ(well, 2);
  std::cout << "told at " << told << " numbers of descriptors\n";
}

}  // namespace
}  // namespace lockfile::testing
