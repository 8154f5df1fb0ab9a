// FUSE file systems that pass through to a directory: each name of a file is a lock domain of its own there, so guards
// are blind, and nothing that they seem to say may be believed.
#include "apart.hpp"
#include "mounts.hpp"
#include "peer.hpp"

#include <chrono>
#include <thread>

namespace machine {
namespace {

class PassThrough : public ForBothSchemes {};
MACHINE_FOR_BOTH_SCHEMES(PassThrough);

struct Mirror {
  explicit Mirror(const std::string& ground)
      : real(make_directory(ground + "/real", 0777)), mirrored(make_directory(ground + "/mirrored")) {
    // It becomes a daemon, which ends with the test's pid namespace.
    run({"bindfs", real, mirrored});
  }
  std::string real;
  std::string mirrored;
};

// A file that is unlinked while it is open is hidden under another name there, until the daemon has been told that it
// is closed; and nobody waits for that.
bool becomes_empty(const std::string& directory) {
  const auto give_up = std::chrono::steady_clock::now() + stuck;
  while (!names_in(directory).empty()) {
    if (std::chrono::steady_clock::now() > give_up) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

TEST_P(PassThrough, a_live_hold_is_never_judged_dead_and_never_taken) {
  apart([](const std::string& ground) {
    const Mirror mirror(ground);
    Locker one(GetParam(), mirror.mirrored + "/a");
    Locker two(GetParam(), mirror.mirrored + "/a");
    ASSERT_EQ(one.ask("acquire 0"), "held");
    EXPECT_TRUE(begins(two.ask("holder"), "alive"));
    EXPECT_TRUE(begins(two.ask("acquire 0"), "AlreadyLocked"));
    EXPECT_TRUE(begins(two.ask("holder"), "alive"));
    EXPECT_TRUE(begins(two.ask("acquire 50"), "LockTimeout"));
    two.tell("acquire ever");
    EXPECT_TRUE(two.is_silent());
    EXPECT_EQ(one.ask("release"), "released");
    EXPECT_EQ(two.answer(), "held");
    EXPECT_EQ(two.ask("release"), "released");
    EXPECT_EQ(one.ask("close"), "closed");
    EXPECT_EQ(two.ask("close"), "closed");
    EXPECT_TRUE(becomes_empty(mirror.real));
  });
}

TEST_P(PassThrough, the_lock_of_a_killed_holder_is_refused_at_once_with_the_reason) {
  apart([](const std::string& ground) {
    const Mirror mirror(ground);
    Locker one(GetParam(), mirror.mirrored + "/a");
    Locker two(GetParam(), mirror.mirrored + "/a");
    ASSERT_EQ(one.ask("acquire 0"), "held");
    one.die();
    EXPECT_EQ(two.ask("holder"), "dead: its process has ended");
    for (const char* const acquire : {"acquire 0", "acquire ever"}) {
      const std::string refused = two.ask(acquire);
      EXPECT_TRUE(begins(refused, "LockFailed cannot_break"));
      EXPECT_TRUE(has(refused, "no way to break a lock safely"));
    }
    // Where guards work it goes on.
    Locker beneath(GetParam(), mirror.real + "/a");
    EXPECT_EQ(beneath.ask("acquire 0"), "held");
  });
}

TEST_P(PassThrough, a_waiter_is_told_when_the_holder_dies) {
  apart([](const std::string& ground) {
    const Mirror mirror(ground);
    Locker one(GetParam(), mirror.mirrored + "/a");
    Locker two(GetParam(), mirror.mirrored + "/a");
    ASSERT_EQ(one.ask("acquire 0"), "held");
    two.tell("acquire ever");
    ASSERT_TRUE(two.is_silent());
    one.die();
    EXPECT_TRUE(begins(two.answer(), "LockFailed cannot_break"));
  });
}

TEST_P(PassThrough, a_hold_from_another_pid_namespace_is_never_taken) {
  apart([](const std::string& ground) {
    const Mirror mirror(ground);
    Locker one(GetParam(), mirror.mirrored + "/a", {.own_pids = true});
    Locker two(GetParam(), mirror.mirrored + "/a", {.own_pids = true});
    ASSERT_EQ(one.ask("acquire 0"), "held");
    EXPECT_TRUE(begins(two.ask("holder"), "unknown"));
    EXPECT_TRUE(begins(two.ask("acquire 50"), "LockTimeout"));
    // Nothing can prove its death from there either.
    one.die();
    EXPECT_TRUE(begins(two.ask("acquire 0"), "AlreadyLocked"));
  });
}

TEST_P(PassThrough, those_above_and_those_beneath_exclude_each_other) {
  apart([](const std::string& ground) {
    const Mirror mirror(ground);
    Locker above(GetParam(), mirror.mirrored + "/a");
    Locker beneath(GetParam(), mirror.real + "/a");
    ASSERT_EQ(above.ask("acquire 0"), "held");
    EXPECT_TRUE(begins(beneath.ask("holder"), "alive"));
    EXPECT_TRUE(begins(beneath.ask("acquire 50"), "LockTimeout"));
    beneath.tell("acquire ever");
    EXPECT_TRUE(beneath.is_silent());
    EXPECT_EQ(above.ask("release"), "released");
    EXPECT_EQ(beneath.answer(), "held");
    EXPECT_TRUE(begins(above.ask("holder"), "alive"));
    EXPECT_TRUE(begins(above.ask("acquire 50"), "LockTimeout"));
    above.tell("acquire ever");
    EXPECT_TRUE(above.is_silent());
    EXPECT_EQ(beneath.ask("release"), "released");
    EXPECT_EQ(above.answer(), "held");
  });
}

TEST_P(PassThrough, those_above_and_those_beneath_never_hold_at_once) {
  apart([](const std::string& ground) {
    const Mirror mirror(ground);
    Locker above(GetParam(), mirror.mirrored + "/a");
    Locker beside(GetParam(), mirror.mirrored + "/a");
    Locker beneath(GetParam(), mirror.real + "/a");
    EXPECT_TRUE(lose_nothing({&above, &beside, &beneath}, 60, ground + "/ledger"));
  });
}

// A container, or a virtual machine, that has a directory of the host by FUSE: its guard never reaches the file
// beneath. There it looks free, and the pids mean nothing: a free guard may prove death only where its maker could use
// it.
TEST_P(PassThrough, a_guard_that_its_maker_could_not_use_proves_nothing_to_those_beneath) {
  apart([](const std::string& ground) {
    const Mirror mirror(ground);
    Locker above(GetParam(), mirror.mirrored + "/a", {.own_pids = true});
    Locker beneath(GetParam(), mirror.real + "/a", {.own_pids = true});
    ASSERT_EQ(above.ask("acquire 0"), "held");
    EXPECT_TRUE(begins(beneath.ask("holder"), "unknown"));
    EXPECT_TRUE(begins(beneath.ask("acquire 0"), "AlreadyLocked"));
  });
}

}  // namespace
}  // namespace machine
