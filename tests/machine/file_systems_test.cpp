// The same few laws on each file system of this machine.
#include "apart.hpp"
#include "mounts.hpp"
#include "peer.hpp"

#include <tuple>

namespace machine {
namespace {

class FileSystems : public testing::TestWithParam<std::tuple<const char*, const char*>> {
 protected:
  static std::string scheme() { return std::get<0>(GetParam()); }
  /// A new file system of the kind that the test is for, mounted.
  static std::string make(const std::string& ground) {
    const std::string_view kind = std::get<1>(GetParam());
    if (kind == "ext4") return mount_image(make_ext4(ground + "/image", 16), ground + "/d");
    std::string directory = make_directory(ground + "/d");
    if (kind == "tmpfs") {
      mount("d", directory, "tmpfs");
    } else {
      const std::string lower = make_directory(ground + "/lower");
      const std::string upper = make_directory(ground + "/upper");
      const std::string work = make_directory(ground + "/work");
      mount("d", directory, "overlay", 0, "lowerdir=" + lower + ",upperdir=" + upper + ",workdir=" + work);
    }
    return directory;
  }
};
INSTANTIATE_TEST_SUITE_P(machine, FileSystems,
                         testing::Combine(testing::Values("link", "mkdir"),
                                          testing::Values("ext4", "tmpfs", "overlay")),
                         [](const auto& each) {
                           return std::string(std::get<0>(each.param)) + "_on_" + std::get<1>(each.param);
                         });

TEST_P(FileSystems, exclusive_excludes_exclusive) {
  apart([](const std::string& ground) {
    const std::string directory = make(ground);
    Locker one(scheme(), directory + "/a");
    Locker two(scheme(), directory + "/a");
    ASSERT_EQ(one.ask("acquire 0"), "held");
    EXPECT_TRUE(begins(two.ask("acquire 0"), "AlreadyLocked"));
    EXPECT_TRUE(begins(two.ask("acquire 50"), "LockTimeout"));
    EXPECT_EQ(two.ask("holder"), "alive: its guard is held");
    EXPECT_EQ(one.ask("release"), "released");
    EXPECT_EQ(two.ask("acquire 0"), "held");
    EXPECT_TRUE(begins(one.ask("acquire 0"), "AlreadyLocked"));
    EXPECT_EQ(two.ask("close"), "closed");
    EXPECT_EQ(one.ask("close"), "closed");
    EXPECT_EQ(names_in(directory), std::vector<std::string>());
  });
}

TEST_P(FileSystems, the_schemes_exclude_each_other) {
  apart([](const std::string& ground) {
    const std::string directory = make(ground);
    Locker one(scheme(), directory + "/a");
    Locker two(scheme() == "link" ? "mkdir" : "link", directory + "/a");
    ASSERT_EQ(one.ask("acquire 0"), "held");
    EXPECT_TRUE(begins(two.ask("acquire 0"), "AlreadyLocked"));
    two.tell("acquire ever");
    EXPECT_TRUE(two.is_silent());
    EXPECT_EQ(one.ask("release"), "released");
    EXPECT_EQ(two.answer(), "held");
  });
}

TEST_P(FileSystems, a_killed_holder_is_taken_over_and_leaves_nothing) {
  apart([](const std::string& ground) {
    const std::string directory = make(ground);
    Locker one(scheme(), directory + "/a");
    Locker two(scheme(), directory + "/a");
    ASSERT_EQ(one.ask("acquire 0"), "held");
    one.die();
    EXPECT_EQ(two.ask("acquire 0"), "held");
    EXPECT_EQ(two.ask("release"), "released");
    EXPECT_EQ(two.ask("close"), "closed");
    EXPECT_EQ(names_in(directory), std::vector<std::string>());
  });
}

TEST_P(FileSystems, a_waiter_is_woken_by_release_and_by_death) {
  apart([](const std::string& ground) {
    const std::string directory = make(ground);
    Locker one(scheme(), directory + "/a");
    Locker two(scheme(), directory + "/a");
    constexpr int rounds = 20;
    ASSERT_EQ(one.ask("acquire 0"), "held");
    for (int i = 0; i < rounds; ++i) {
      Peer& from = i % 2 == 0 ? one : two;
      Peer& to = i % 2 == 0 ? two : one;
      to.tell("acquire ever");
      if (i < 2) {
        EXPECT_TRUE(to.is_silent());
      }
      ASSERT_EQ(from.ask("release"), "released");
      ASSERT_EQ(to.answer(), "held");
    }
    two.tell("acquire ever");
    EXPECT_TRUE(two.is_silent());
    one.die();
    EXPECT_EQ(two.answer(), "held");
  });
}

}  // namespace
}  // namespace machine
