// Processes between life and death: stopped, not yet reaped, without a main thread, without descriptors.
#include "apart.hpp"
#include "mounts.hpp"
#include "peer.hpp"

#include <chrono>
#include <csignal>

namespace machine {
namespace {

class HalfDead : public ForBothSchemes {};
MACHINE_FOR_BOTH_SCHEMES(HalfDead);

TEST_P(HalfDead, a_stopped_holder_is_not_broken_and_deadlines_are_kept) {
  apart([](const std::string& ground) {
    Locker holder(GetParam(), ground + "/a");
    Locker other(GetParam(), ground + "/a");
    ASSERT_EQ(holder.ask("acquire 0"), "held");
    holder.stop();
    EXPECT_TRUE(begins(other.ask("acquire 0"), "AlreadyLocked"));
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_TRUE(begins(other.ask("acquire 50"), "LockTimeout"));
    EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(50));
    EXPECT_TRUE(begins(other.ask("holder"), "alive"));
    other.tell("acquire ever");
    EXPECT_TRUE(other.is_silent());
    holder.signal(SIGCONT);
    EXPECT_EQ(holder.ask("release"), "released");
    EXPECT_EQ(other.answer(), "held");
  });
}

TEST_P(HalfDead, a_stopped_waiter_keeps_nobody_out) {
  apart([](const std::string& ground) {
    Locker holder(GetParam(), ground + "/a");
    Locker stopped(GetParam(), ground + "/a");
    Locker other(GetParam(), ground + "/a");
    ASSERT_EQ(holder.ask("acquire 0"), "held");
    stopped.tell("acquire ever");
    ASSERT_TRUE(stopped.is_silent());
    stopped.stop();
    other.tell("acquire ever");
    ASSERT_TRUE(other.is_silent());
    EXPECT_EQ(holder.ask("release"), "released");
    EXPECT_EQ(other.answer(), "held");
    stopped.signal(SIGCONT);
    EXPECT_TRUE(stopped.is_silent());
    EXPECT_EQ(other.ask("release"), "released");
    EXPECT_EQ(stopped.answer(), "held");
  });
}

TEST_P(HalfDead, a_stopped_holder_that_is_killed_is_taken_over) {
  apart([](const std::string& ground) {
    Locker holder(GetParam(), ground + "/a");
    Locker other(GetParam(), ground + "/a");
    ASSERT_EQ(holder.ask("acquire 0"), "held");
    holder.stop();
    other.tell("acquire ever");
    ASSERT_TRUE(other.is_silent());
    holder.become_zombie();
    EXPECT_EQ(other.answer(), "held");
  });
}

TEST_P(HalfDead, a_zombie_is_dead) {
  apart([](const std::string& ground) {
    Locker holder(GetParam(), ground + "/a");
    Locker other(GetParam(), ground + "/a");
    ASSERT_EQ(holder.ask("acquire 0"), "held");
    holder.become_zombie();
    EXPECT_EQ(other.ask("holder"), "dead: its process has ended");
    EXPECT_EQ(other.ask("acquire 0"), "held");
    EXPECT_EQ(other.ask("release"), "released");
    EXPECT_EQ(other.ask("close"), "closed");
    EXPECT_EQ(names_in(ground), std::vector<std::string>());
  });
}

TEST_P(HalfDead, a_waiter_is_woken_when_the_holder_becomes_a_zombie) {
  apart([](const std::string& ground) {
    Locker holder(GetParam(), ground + "/a");
    Locker other(GetParam(), ground + "/a");
    ASSERT_EQ(holder.ask("acquire 0"), "held");
    other.tell("acquire ever");
    ASSERT_TRUE(other.is_silent());
    holder.become_zombie();
    EXPECT_EQ(other.answer(), "held");
  });
}

// The process then shows the state Z, as a zombie does.
TEST_P(HalfDead, a_process_whose_main_thread_has_exited_is_alive) {
  apart([](const std::string& ground) {
    Locker holder(GetParam(), ground + "/a");
    Locker other(GetParam(), ground + "/a");
    ASSERT_EQ(holder.ask("acquire 0"), "held");
    ASSERT_EQ(holder.ask("exit-main-thread"), "done");
    EXPECT_TRUE(begins(other.ask("acquire 50"), "LockTimeout"));
    EXPECT_TRUE(begins(other.ask("holder"), "alive"));
    // Nor does it depend on the guard.
    EXPECT_EQ(holder.ask("close-descriptors"), "done");
    EXPECT_EQ(other.ask("holder"), "alive: its process runs");
    other.tell("acquire ever");
    EXPECT_TRUE(other.is_silent());
    holder.become_zombie();
    EXPECT_EQ(other.answer(), "held");
  });
}

TEST_P(HalfDead, a_process_without_a_main_thread_acquires_and_waits_like_any_other) {
  apart([](const std::string& ground) {
    Locker holder(GetParam(), ground + "/a");
    Locker other(GetParam(), ground + "/a");
    ASSERT_EQ(holder.ask("exit-main-thread"), "done");
    ASSERT_EQ(holder.ask("acquire 0"), "held");
    EXPECT_TRUE(begins(other.ask("acquire 0"), "AlreadyLocked"));
    EXPECT_EQ(holder.ask("release"), "released");
    ASSERT_EQ(other.ask("acquire 0"), "held");
    holder.tell("acquire ever");
    EXPECT_TRUE(holder.is_silent());
    EXPECT_EQ(other.ask("release"), "released");
    EXPECT_EQ(holder.answer(), "held");
  });
}

TEST_P(HalfDead, a_process_that_closes_all_its_descriptors_still_holds) {
  apart([](const std::string& ground) {
    Locker holder(GetParam(), ground + "/a");
    Locker other(GetParam(), ground + "/a");
    ASSERT_EQ(holder.ask("acquire 0"), "held");
    ASSERT_EQ(holder.ask("close-descriptors"), "done");
    EXPECT_TRUE(begins(other.ask("acquire 0"), "AlreadyLocked"));
    EXPECT_EQ(other.ask("holder"), "alive: its process runs");
    other.tell("acquire ever");
    EXPECT_TRUE(other.is_silent());
    holder.die();
    EXPECT_EQ(other.answer(), "held");
  });
}

}  // namespace
}  // namespace machine
