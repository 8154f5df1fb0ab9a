// Forked workers that outlive the holder: their copies of its descriptors prolong nothing.
#include "apart.hpp"
#include "mounts.hpp"
#include "peer.hpp"

#include <csignal>
#include <string>

namespace machine {
namespace {

class Workers : public ForBothSchemes {};
MACHINE_FOR_BOTH_SCHEMES(Workers);

// "clone": made without the at-fork handlers, by which the library closes its descriptors in a child, so the worker
// does have a copy of the guard.
TEST_P(Workers, a_worker_that_outlives_a_killed_holder_does_not_hold) {
  apart([](const std::string& ground) {
    for (const char* const way : {"fork", "clone"}) {
      SCOPED_TRACE(way);
      const std::string directory = make_directory(ground + "/" + way);
      Locker holder(GetParam(), directory + "/a");
      Locker other(GetParam(), directory + "/a");
      ASSERT_EQ(holder.ask("acquire 0"), "held");
      ASSERT_NE(holder.ask(way), "-1");
      EXPECT_TRUE(begins(other.ask("acquire 0"), "AlreadyLocked"));
      holder.die();
      EXPECT_EQ(other.ask("acquire 0"), "held");
      EXPECT_EQ(other.ask("release"), "released");
      EXPECT_EQ(other.ask("close"), "closed");
      EXPECT_EQ(names_in(directory), std::vector<std::string>());
    }
  });
}

TEST_P(Workers, a_waiter_is_woken_although_a_worker_keeps_a_copy_of_the_guard) {
  apart([](const std::string& ground) {
    for (const char* const way : {"fork", "clone"}) {
      SCOPED_TRACE(way);
      const std::string path = make_directory(ground + "/" + way) + "/a";
      Locker holder(GetParam(), path);
      Locker other(GetParam(), path);
      ASSERT_EQ(holder.ask("acquire 0"), "held");
      ASSERT_NE(holder.ask(way), "-1");
      other.tell("acquire ever");
      ASSERT_TRUE(other.is_silent());
      holder.die();
      EXPECT_EQ(other.answer(), "held");
    }
  });
}

TEST_P(Workers, a_hold_that_was_handed_over_lasts_until_the_worker_has_ended) {
  apart([](const std::string& ground) {
    Locker holder(GetParam(), ground + "/a");
    Locker other(GetParam(), ground + "/a");
    ASSERT_EQ(holder.ask("acquire 0"), "held");
    const int worker = std::stoi(holder.ask("hand-over"));
    holder.die();
    EXPECT_TRUE(begins(other.ask("holder"), "alive"));
    EXPECT_TRUE(begins(other.ask("acquire 50"), "LockTimeout"));
    other.tell("acquire ever");
    EXPECT_TRUE(other.is_silent());
    ASSERT_EQ(::kill(worker, SIGKILL), 0);
    EXPECT_EQ(other.answer(), "held");
  });
}

TEST_P(Workers, a_release_frees_the_lock_although_a_worker_keeps_a_copy_of_the_guard) {
  apart([](const std::string& ground) {
    for (const char* const way : {"fork", "clone"}) {
      SCOPED_TRACE(way);
      const std::string path = make_directory(ground + "/" + way) + "/a";
      Locker holder(GetParam(), path);
      Locker other(GetParam(), path);
      ASSERT_EQ(holder.ask("acquire 0"), "held");
      ASSERT_NE(holder.ask(way), "-1");
      EXPECT_EQ(holder.ask("release"), "released");
      EXPECT_EQ(other.ask("acquire 0"), "held");
      EXPECT_EQ(other.ask("release"), "released");
    }
  });
}

}  // namespace
}  // namespace machine
