// Several users on one directory: what each may take over, and what it is told when it may not.
#include "apart.hpp"
#include "mounts.hpp"
#include "peer.hpp"

#include <sys/stat.h>
#include <unistd.h>

namespace machine {
namespace {

class Users : public ForBothSchemes {};
MACHINE_FOR_BOTH_SCHEMES(Users);

constexpr gid_t their_group = 2000;

Setting as(uid_t user, mode_t mask = 022) { return {.user = user, .group = user, .mask = mask}; }
Setting in_group(uid_t user) { return {.user = user, .group = their_group}; }

TEST_P(Users, a_live_hold_of_another_user_is_busy_with_and_without_access) {
  apart([](const std::string& ground) {
    for (const char* const access : {"by_umask", "group", "everyone"}) {
      SCOPED_TRACE(access);
      const std::string path = make_directory(ground + "/" + access, 0777) + "/a";
      Locker one(GetParam(), path, as(anna), access);
      Locker two(GetParam(), path, as(bert), access);
      ASSERT_EQ(one.ask("acquire 0"), "held");
      EXPECT_TRUE(begins(two.ask("acquire 0"), "AlreadyLocked"));
      EXPECT_TRUE(begins(two.ask("acquire 50"), "LockTimeout"));
      two.tell("acquire ever");
      EXPECT_TRUE(two.is_silent());
      EXPECT_EQ(one.ask("release"), "released");
      EXPECT_EQ(two.answer(), "held");
      EXPECT_TRUE(begins(one.ask("acquire 0"), "AlreadyLocked"));
    }
  });
}

TEST_P(Users, a_stale_lock_without_access_is_refused_at_once_and_names_its_owner) {
  apart([](const std::string& ground) {
    const std::string path = make_directory(ground + "/d", 0777) + "/a";
    Locker one(GetParam(), path, as(anna));
    Locker two(GetParam(), path, as(bert));
    Locker same(GetParam(), path, as(anna));
    ASSERT_EQ(one.ask("acquire 0"), "held");
    one.die();
    const std::string refused = two.ask("acquire ever");
    EXPECT_TRUE(begins(refused, "LockFailed EACCES"));
    EXPECT_TRUE(has(refused, "owned by uid 1001"));
    EXPECT_EQ(same.ask("acquire 0"), "held");
  });
}

TEST_P(Users, a_waiter_without_access_is_told_when_the_holder_dies) {
  apart([](const std::string& ground) {
    const std::string path = make_directory(ground + "/d", 0777) + "/a";
    Locker one(GetParam(), path, as(anna));
    Locker two(GetParam(), path, as(bert));
    ASSERT_EQ(one.ask("acquire 0"), "held");
    two.tell("acquire ever");
    ASSERT_TRUE(two.is_silent());
    one.die();
    const std::string refused = two.answer();
    EXPECT_TRUE(begins(refused, "LockFailed EACCES"));
    EXPECT_TRUE(has(refused, "owned by uid 1001"));
  });
}

TEST_P(Users, access_for_everyone_lets_another_user_take_over) {
  apart([](const std::string& ground) {
    const std::string path = make_directory(ground + "/d", 0777) + "/a";
    // The umask may not narrow what the options ask for.
    Locker one(GetParam(), path, as(anna, 077), "everyone");
    Locker two(GetParam(), path, as(bert, 077), "everyone");
    ASSERT_EQ(one.ask("acquire 0"), "held");
    one.die();
    EXPECT_EQ(two.ask("acquire 0"), "held");
    EXPECT_EQ(two.ask("release"), "released");
  });
}

TEST_P(Users, another_user_who_takes_over_leaves_nothing_behind) {
  apart([](const std::string& ground) {
    const std::string path = make_directory(ground + "/d", 0777) + "/a";
    Locker one(GetParam(), path, as(anna), "everyone");
    Locker two(GetParam(), path, as(bert), "everyone");
    ASSERT_EQ(one.ask("acquire 0"), "held");
    one.die();
    EXPECT_EQ(two.ask("acquire 0"), "held");
    EXPECT_EQ(two.ask("release"), "released");
    EXPECT_EQ(two.ask("close"), "closed");
    EXPECT_EQ(names_in(ground + "/d"), std::vector<std::string>());
  });
}

TEST_P(Users, access_for_the_group_lets_its_members_take_over_and_nobody_else) {
  apart([](const std::string& ground) {
    const std::string directory = make_directory(ground + "/d");
    ASSERT_EQ(::chown(directory.c_str(), 0, their_group), 0);
    ASSERT_EQ(::chmod(directory.c_str(), 02777), 0);
    Locker one(GetParam(), directory + "/a", in_group(anna), "group");
    Locker member(GetParam(), directory + "/a", in_group(bert), "group");
    Locker stranger(GetParam(), directory + "/a", as(1003), "group");
    ASSERT_EQ(one.ask("acquire 0"), "held");
    EXPECT_TRUE(begins(member.ask("acquire 0"), "AlreadyLocked"));
    one.die();
    // Who may not read the record cannot tell that its holder is dead.
    EXPECT_TRUE(begins(stranger.ask("acquire 0"), "AlreadyLocked"));
    EXPECT_EQ(member.ask("acquire 0"), "held");
  });
}

TEST_P(Users, a_record_that_may_not_be_read_is_busy) {
  apart([](const std::string& ground) {
    const std::string path = make_directory(ground + "/d", 0777) + "/a";
    Locker one(GetParam(), path, as(anna, 077));
    Locker two(GetParam(), path, as(bert));
    ASSERT_EQ(one.ask("acquire 0"), "held");
    EXPECT_TRUE(begins(two.ask("acquire 0"), "AlreadyLocked"));
    EXPECT_TRUE(begins(two.ask("holder"), "unknown"));
    two.tell("acquire ever");
    EXPECT_TRUE(two.is_silent());
    EXPECT_EQ(one.ask("release"), "released");
    EXPECT_EQ(two.answer(), "held");
    EXPECT_EQ(two.ask("release"), "released");

    ASSERT_EQ(one.ask("acquire 0"), "held");
    one.die();
    EXPECT_TRUE(begins(two.ask("acquire 0"), "AlreadyLocked"));
    EXPECT_TRUE(begins(two.ask("acquire 50"), "LockTimeout"));
  });
}

// In a directory like /tmp only the owner of a file, of the directory and root can remove a name: access to the record
// is not enough.
TEST_P(Users, a_stale_lock_in_a_sticky_directory_is_refused_at_once_and_names_its_owner) {
  apart([](const std::string& ground) {
    for (const char* const access : {"by_umask", "everyone"}) {
      SCOPED_TRACE(access);
      const std::string path = make_directory(ground + "/" + access, 01777) + "/a";
      Locker one(GetParam(), path, as(anna), access);
      Locker two(GetParam(), path, as(bert), access);
      Locker same(GetParam(), path, as(anna), access);
      ASSERT_EQ(one.ask("acquire 0"), "held");
      EXPECT_TRUE(begins(two.ask("acquire 0"), "AlreadyLocked"));
      one.die();
      const std::string refused = two.ask("acquire ever");
      EXPECT_TRUE(begins(refused, "LockFailed E"));
      EXPECT_TRUE(has(refused, "owned by uid 1001"));
      // The one who was refused does not keep the others out.
      EXPECT_EQ(same.ask("acquire 0"), "held");
      EXPECT_EQ(same.ask("release"), "released");
      EXPECT_EQ(two.ask("acquire 0"), "held");
    }
  });
}

TEST_P(Users, users_never_hold_at_once) {
  apart([](const std::string& ground) {
    for (const char* const access : {"by_umask", "everyone"}) {
      SCOPED_TRACE(access);
      const std::string path = make_directory(ground + "/" + access, 0777) + "/a";
      Locker one(GetParam(), path, as(anna), access);
      Locker two(GetParam(), path, as(bert), access);
      Locker secretive(GetParam(), path, as(1003, 077), access);
      EXPECT_TRUE(lose_nothing({&one, &two, &secretive}, 100, ground + "/ledger"));
    }
  });
}

TEST_P(Users, root_takes_over_whosever_lock) {
  apart([](const std::string& ground) {
    const std::string path = make_directory(ground + "/d", 01777) + "/a";
    Locker one(GetParam(), path, as(anna, 077));
    Locker root(GetParam(), path);
    ASSERT_EQ(one.ask("acquire 0"), "held");
    EXPECT_TRUE(begins(root.ask("acquire 0"), "AlreadyLocked"));
    one.die();
    EXPECT_EQ(root.ask("acquire 0"), "held");
  });
}

TEST_P(Users, a_directory_that_one_may_not_write_is_refused_at_once) {
  apart([](const std::string& ground) {
    const std::string path = make_directory(ground + "/d", 0755) + "/a";
    Locker one(GetParam(), path, as(anna));
    const std::string refused = one.ask("acquire ever");
    EXPECT_TRUE(begins(refused, "LockFailed EACCES"));
    EXPECT_TRUE(has(refused, ground + "/d"));
    EXPECT_EQ(names_in(ground + "/d"), std::vector<std::string>());
  });
}

}  // namespace
}  // namespace machine
