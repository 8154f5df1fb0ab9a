// Containers: holders and waiters in different pid and time namespaces, on one directory.
#include "apart.hpp"
#include "mounts.hpp"
#include "peer.hpp"

#include <string>

namespace machine {
namespace {

class Namespaces : public ForBothSchemes {};
MACHINE_FOR_BOTH_SCHEMES(Namespaces);

const Setting container = {.own_pids = true};

TEST_P(Namespaces, a_live_hold_is_not_taken_by_the_same_pid_of_another_namespace) {
  apart([](const std::string& ground) {
    const std::string path = make_directory(ground + "/d", 0777) + "/a";
    Locker one(GetParam(), path, container);
    Locker two(GetParam(), path, container);
    ASSERT_EQ(one.ask("pid"), two.ask("pid"));

    ASSERT_EQ(one.ask("acquire 0"), "held");
    EXPECT_TRUE(begins(two.ask("acquire 0"), "AlreadyLocked"));
    EXPECT_EQ(two.ask("holder"), "alive: its guard is held");
    two.tell("acquire ever");
    EXPECT_TRUE(two.is_silent());
    EXPECT_EQ(one.ask("release"), "released");
    EXPECT_EQ(two.answer(), "held");
    // And back: the one that was first has no claim that the other mistakes for a dead one's.
    EXPECT_TRUE(begins(one.ask("acquire 0"), "AlreadyLocked"));
  });
}

TEST_P(Namespaces, a_live_hold_is_not_taken_by_a_namespace_that_has_no_such_pid) {
  apart([](const std::string& ground) {
    const std::string path = make_directory(ground + "/d", 0777) + "/a";
    Locker outside(GetParam(), path);
    Locker inside(GetParam(), path, container);
    ASSERT_EQ(outside.ask("acquire 0"), "held");
    EXPECT_TRUE(begins(inside.ask("acquire 50"), "LockTimeout"));
    EXPECT_EQ(outside.ask("release"), "released");
    ASSERT_EQ(inside.ask("acquire 0"), "held");
    EXPECT_TRUE(begins(outside.ask("acquire 50"), "LockTimeout"));
  });
}

TEST_P(Namespaces, a_holder_killed_in_another_namespace_is_taken_over) {
  apart([](const std::string& ground) {
    const std::string path = make_directory(ground + "/d", 0777) + "/a";
    Locker one(GetParam(), path, container);
    Locker two(GetParam(), path, container);
    ASSERT_EQ(one.ask("acquire 0"), "held");
    one.die();
    EXPECT_EQ(two.ask("holder"), "dead: its guard is free");
    EXPECT_EQ(two.ask("acquire 0"), "held");
    EXPECT_EQ(two.ask("release"), "released");
    EXPECT_EQ(two.ask("close"), "closed");
    EXPECT_EQ(names_in(ground + "/d"), std::vector<std::string>());
  });
}

TEST_P(Namespaces, a_waiter_is_woken_when_the_holder_is_killed_in_another_namespace) {
  apart([](const std::string& ground) {
    const std::string path = make_directory(ground + "/d", 0777) + "/a";
    Locker one(GetParam(), path, container);
    Locker two(GetParam(), path, container);
    ASSERT_EQ(one.ask("acquire 0"), "held");
    two.tell("acquire ever");
    ASSERT_TRUE(two.is_silent());
    one.die();
    EXPECT_EQ(two.answer(), "held");
  });
}

TEST_P(Namespaces, a_waiter_is_woken_when_the_holders_whole_namespace_is_killed) {
  apart([](const std::string& ground) {
    const std::string path = make_directory(ground + "/d", 0777) + "/a";
    Locker one(GetParam(), path, container);
    Locker two(GetParam(), path, container);
    ASSERT_EQ(one.ask("acquire 0"), "held");
    two.tell("acquire ever");
    ASSERT_TRUE(two.is_silent());
    one.kill_namespace();
    EXPECT_EQ(two.answer(), "held");
  });
}

TEST_P(Namespaces, waiters_killed_in_another_namespace_keep_nobody_behind_them_waiting) {
  apart([](const std::string& ground) {
    const std::string path = make_directory(ground + "/d", 0777) + "/a";
    Locker holder(GetParam(), path);
    Locker killed(GetParam(), path, container);
    Locker behind(GetParam(), path);
    Locker later(GetParam(), path, container);
    ASSERT_EQ(holder.ask("acquire 0"), "held");
    killed.tell("acquire ever");
    ASSERT_TRUE(killed.is_silent());
    behind.tell("acquire ever");
    ASSERT_TRUE(behind.is_silent());
    killed.die();
    EXPECT_EQ(holder.ask("release"), "released");
    EXPECT_EQ(behind.answer(), "held");

    Locker last(GetParam(), path, container);
    last.tell("acquire ever");
    ASSERT_TRUE(last.is_silent());
    last.die();
    later.tell("acquire ever");
    ASSERT_TRUE(later.is_silent());
    EXPECT_EQ(behind.ask("release"), "released");
    EXPECT_EQ(later.answer(), "held");
  });
}

// From where the holder's pid means nothing the guard is the only witness, and a copy of it speaks for the holder: the
// price of never taking a live hold. It ends with the copy.
TEST_P(Namespaces, a_copy_of_the_guard_speaks_for_a_holder_of_another_namespace) {
  apart([](const std::string& ground) {
    const std::string path = make_directory(ground + "/d", 0777) + "/a";
    Locker one(GetParam(), path, container);
    Locker two(GetParam(), path, container);
    ASSERT_EQ(one.ask("acquire 0"), "held");
    ASSERT_NE(one.ask("clone"), "-1");
    one.die();
    EXPECT_TRUE(begins(two.ask("acquire 0"), "AlreadyLocked"));
    two.tell("acquire ever");
    EXPECT_TRUE(two.is_silent());
    one.kill_namespace();
    EXPECT_EQ(two.answer(), "held");
  });
}

// The worker has the guard, which `share_guard` gave it for this.
TEST_P(Namespaces, a_hold_that_was_handed_over_is_alive_in_other_namespaces) {
  apart([](const std::string& ground) {
    const std::string path = make_directory(ground + "/d", 0777) + "/a";
    Locker one(GetParam(), path, container);
    Locker two(GetParam(), path, container);
    ASSERT_EQ(one.ask("acquire 0"), "held");
    ASSERT_GT(std::stoi(one.ask("hand-over")), 1);
    one.die();
    EXPECT_EQ(two.ask("holder"), "alive: its guard is held");
    EXPECT_TRUE(begins(two.ask("acquire 50"), "LockTimeout"));
    two.tell("acquire ever");
    EXPECT_TRUE(two.is_silent());
    one.kill_namespace();
    EXPECT_EQ(two.answer(), "held");
  });
}

TEST_P(Namespaces, processes_of_several_namespaces_never_hold_at_once) {
  apart([](const std::string& ground) {
    const std::string path = make_directory(ground + "/d", 0777) + "/a";
    Locker one(GetParam(), path, container);
    Locker two(GetParam(), path, container);
    Locker outside(GetParam(), path);
    Locker other(std::string_view(GetParam()) == "link" ? "mkdir" : "link", path);
    EXPECT_TRUE(lose_nothing({&one, &two, &outside, &other}, 200, ground + "/ledger"));
  });
}

// The kernel shifts start times by the offset of the reader's time namespace: the same process, two start times.
TEST_P(Namespaces, start_times_are_not_compared_across_time_namespaces) {
  apart([](const std::string& ground) {
    const std::string path = make_directory(ground + "/d", 0777) + "/a";
    Locker shifted(GetParam(), path, {.own_time = true});
    Locker plain(GetParam(), path);
    ASSERT_EQ(shifted.ask("acquire 0"), "held");
    EXPECT_TRUE(begins(plain.ask("acquire 0"), "AlreadyLocked"));
    EXPECT_TRUE(begins(plain.ask("holder"), "alive"));
    // Without a guard the processes alone decide.
    EXPECT_EQ(shifted.ask("close-descriptors"), "done");
    EXPECT_EQ(plain.ask("holder"), "alive: its process runs");
    shifted.become_zombie();
    EXPECT_EQ(plain.ask("acquire 0"), "held");
  });
}

}  // namespace
}  // namespace machine
