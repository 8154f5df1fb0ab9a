// A /proc that hides other users' processes, and none at all: what cannot be seen is not dead.
#include "apart.hpp"
#include "mounts.hpp"
#include "peer.hpp"

namespace machine {
namespace {

class Proc : public ForBothSchemes {};
MACHINE_FOR_BOTH_SCHEMES(Proc);

// A mount of its own, never a remount: that would change what everybody else sees.
void hide_processes() { mount("proc", "/proc", "proc", 0, "hidepid=2"); }
void hide_proc() { mount("nothing", "/proc", "tmpfs", 0, "mode=0555"); }

TEST_P(Proc, a_live_holder_that_is_hidden_is_not_dead) {
  apart([](const std::string& ground) {
    const std::string path = make_directory(ground + "/d", 0777) + "/a";
    const Setting hidden = {.user = bert, .group = bert, .prepare = hide_processes};
    Locker one(GetParam(), path, {.user = anna, .group = anna}, "everyone");
    Locker two(GetParam(), path, hidden, "everyone");
    ASSERT_EQ(one.ask("acquire 0"), "held");
    EXPECT_TRUE(begins(two.ask("acquire 0"), "AlreadyLocked"));
    EXPECT_TRUE(begins(two.ask("holder"), "alive"));
    // Without a guard to speak for it, too.
    EXPECT_EQ(one.ask("close-descriptors"), "done");
    EXPECT_EQ(two.ask("holder"), "alive: its process runs");
    EXPECT_TRUE(begins(two.ask("acquire 50"), "LockTimeout"));
  });
}

TEST_P(Proc, a_hidden_holder_that_was_killed_is_taken_over) {
  apart([](const std::string& ground) {
    const std::string path = make_directory(ground + "/d", 0777) + "/a";
    const Setting hidden = {.user = bert, .group = bert, .prepare = hide_processes};
    Locker one(GetParam(), path, {.user = anna, .group = anna}, "everyone");
    Locker two(GetParam(), path, hidden, "everyone");
    ASSERT_EQ(one.ask("acquire 0"), "held");
    two.tell("acquire ever");
    ASSERT_TRUE(two.is_silent());
    one.die();
    EXPECT_EQ(two.answer(), "held");
  });
}

TEST_P(Proc, locks_exclude_without_proc) {
  apart([](const std::string& ground) {
    // Also for a user who could not link a file without a name otherwise.
    for (const uid_t user : {uid_t{0}, anna}) {
      SCOPED_TRACE(user);
      const std::string path = make_directory(ground + "/" + std::to_string(user), 0777) + "/a";
      const Setting blind = {.user = user, .group = user, .prepare = hide_proc};
      Locker one(GetParam(), path, blind);
      Locker two(GetParam(), path, blind);
      ASSERT_EQ(one.ask("acquire 0"), "held");
      EXPECT_TRUE(begins(two.ask("acquire 0"), "AlreadyLocked"));
      EXPECT_EQ(two.ask("holder"), "alive: its guard is held");
      EXPECT_TRUE(begins(two.ask("acquire 50"), "LockTimeout"));
      two.tell("acquire ever");
      EXPECT_TRUE(two.is_silent());
      EXPECT_EQ(one.ask("release"), "released");
      EXPECT_EQ(two.answer(), "held");
      EXPECT_EQ(two.ask("release"), "released");
      EXPECT_EQ(one.ask("close"), "closed");
      EXPECT_EQ(two.ask("close"), "closed");
      EXPECT_EQ(names_in(ground + "/" + std::to_string(user)), std::vector<std::string>());
    }
  });
}

TEST_P(Proc, one_without_proc_and_one_with_it_exclude_each_other) {
  apart([](const std::string& ground) {
    Locker blind(GetParam(), ground + "/a", {.prepare = hide_proc});
    Locker seeing(GetParam(), ground + "/a");
    ASSERT_EQ(blind.ask("acquire 0"), "held");
    EXPECT_TRUE(begins(seeing.ask("acquire 50"), "LockTimeout"));
    EXPECT_TRUE(begins(seeing.ask("holder"), "alive"));
    EXPECT_EQ(blind.ask("release"), "released");
    ASSERT_EQ(seeing.ask("acquire 0"), "held");
    EXPECT_TRUE(begins(blind.ask("acquire 50"), "LockTimeout"));
    EXPECT_TRUE(begins(blind.ask("holder"), "alive"));
    // Nothing proves to the blind one that a holder without a guard is dead, or that it lives.
    EXPECT_EQ(seeing.ask("close-descriptors"), "done");
    EXPECT_TRUE(begins(blind.ask("acquire 0"), "AlreadyLocked"));
  });
}

// Without a boot id a free guard proves nothing: the holder may be of another boot, or may have closed its descriptors.
TEST_P(Proc, without_proc_a_killed_holder_is_unknown_and_never_dead) {
  apart([](const std::string& ground) {
    Locker one(GetParam(), ground + "/a", {.prepare = hide_proc});
    Locker blind(GetParam(), ground + "/a", {.prepare = hide_proc});
    Locker seeing(GetParam(), ground + "/a");
    ASSERT_EQ(one.ask("acquire 0"), "held");
    one.die();
    EXPECT_TRUE(begins(blind.ask("holder"), "unknown"));
    EXPECT_TRUE(begins(blind.ask("acquire 0"), "AlreadyLocked"));
    EXPECT_TRUE(begins(seeing.ask("holder"), "unknown"));
  });
}

}  // namespace
}  // namespace machine
