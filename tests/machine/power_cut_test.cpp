// A power cut: the image of a file system is copied while a lock on it is held, and mounted again, in another boot.
#include "apart.hpp"
#include "mounts.hpp"
#include "peer.hpp"

#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace machine {
namespace {

class PowerCut : public ForBothSchemes {};
MACHINE_FOR_BOTH_SCHEMES(PowerCut);

enum class Bytes { kept, lost };

// The machine has not been started again, so this boot's id must look different to those who come after the cut.
Setting after_the_cut(const std::string& ground) {
  return {.prepare = [ground] {
    const std::string id = ground + "/boot_id";
    std::ofstream(id) << "6d4f3f0e-5a52-4c0b-8f51-3c1e1d0a9b77\n";
    mount(id, "/proc/sys/kernel/random/boot_id", "none", MS_BIND);
  }};
}

struct stat info_of(const std::string& path) {
  struct stat info = {};
  if (::stat(path.c_str(), &info) != 0) throw std::runtime_error("cannot stat '" + path + "'");
  return info;
}

// The file with the record.
std::string record_in(const std::string& directory, const std::string& scheme) {
  return directory + (scheme == "link" ? "/a.lock" : "/a.lock/holder");
}

// A copy of the file system at the moment of the cut, mounted: `a` in it is locked by a process that lives on here, but
// not in that world.
std::string cut(const std::string& ground, const std::string& scheme, Bytes bytes) {
  const std::string before = mount_image(make_ext4(ground + "/before.img", 16), ground + "/before");
  Locker holder(scheme, before + "/a");
  EXPECT_EQ(holder.ask("acquire 0"), "held");
  // What is committed with the directory is names, link counts and sizes. The record waits in memory for a place on the
  // disk (delayed allocation), and its size with it.
  if (bytes == Bytes::kept) ::sync();
  sync_names(before);
  std::filesystem::copy_file(ground + "/before.img", ground + "/after.img");
  const std::string after = mount_image(ground + "/after.img", ground + "/after");
  if (bytes == Bytes::lost && info_of(record_in(after, scheme)).st_size != 0) {
    // Something on this machine wrote everything to disk just then. Make what ext4 would have left.
    if (::truncate(record_in(after, scheme).c_str(), 0) != 0) throw std::runtime_error("cannot truncate");
  }
  return after;
}

TEST_P(PowerCut, a_hold_whose_record_was_lost_is_taken_over_after_the_next_boot) {
  apart([](const std::string& ground) {
    const std::string after = cut(ground, GetParam(), Bytes::lost);
    const struct stat record = info_of(record_in(after, GetParam()));
    ASSERT_EQ(record.st_size, 0);
    if (std::string_view(GetParam()) == "link") {
      ASSERT_EQ(record.st_nlink, 2U);
    }
    Locker next(GetParam(), after + "/a", after_the_cut(ground));
    EXPECT_TRUE(begins(next.ask("holder"), "dead"));
    EXPECT_EQ(next.ask("acquire 0"), "held");
    EXPECT_EQ(next.ask("release"), "released");
    EXPECT_EQ(next.ask("close"), "closed");
    EXPECT_EQ(names_in(after), std::vector<std::string>());
  });
}

// In the same boot an empty record is a claim that somebody is writing.
TEST_P(PowerCut, an_empty_record_of_this_boot_is_unknown) {
  apart([](const std::string& ground) {
    const std::string after = cut(ground, GetParam(), Bytes::lost);
    Locker next(GetParam(), after + "/a");
    EXPECT_TRUE(begins(next.ask("holder"), "unknown: its record is empty"));
    EXPECT_TRUE(begins(next.ask("acquire 0"), "AlreadyLocked"));
    EXPECT_TRUE(begins(next.ask("acquire 50"), "LockTimeout"));
  });
}

TEST_P(PowerCut, a_hold_of_an_earlier_boot_is_taken_over) {
  apart([](const std::string& ground) {
    const std::string after = cut(ground, GetParam(), Bytes::kept);
    ASSERT_GT(info_of(record_in(after, GetParam())).st_size, 0);
    Locker next(GetParam(), after + "/a", after_the_cut(ground));
    EXPECT_EQ(next.ask("holder"), "dead: of an earlier boot");
    EXPECT_EQ(next.ask("acquire 0"), "held");
    EXPECT_EQ(next.ask("release"), "released");
    EXPECT_EQ(next.ask("close"), "closed");
    EXPECT_EQ(names_in(after), std::vector<std::string>());
  });
}

// Both schemes clear what the other left.
TEST_P(PowerCut, a_hold_of_an_earlier_boot_is_taken_over_by_the_other_scheme) {
  apart([](const std::string& ground) {
    const std::string after = cut(ground, GetParam(), Bytes::kept);
    const std::string other = std::string_view(GetParam()) == "link" ? "mkdir" : "link";
    Locker next(other, after + "/a", after_the_cut(ground));
    EXPECT_EQ(next.ask("acquire 0"), "held");
    EXPECT_EQ(next.ask("release"), "released");
    EXPECT_EQ(next.ask("close"), "closed");
    EXPECT_EQ(names_in(after), std::vector<std::string>());
  });
}

// On a copy no guard can be seen. That the process of the record runs, in this boot, is enough.
TEST_P(PowerCut, a_copy_of_a_live_hold_in_the_same_boot_is_alive) {
  apart([](const std::string& ground) {
    const std::string before = mount_image(make_ext4(ground + "/before.img", 16), ground + "/before");
    Locker holder(GetParam(), before + "/a");
    ASSERT_EQ(holder.ask("acquire 0"), "held");
    ::sync();
    std::filesystem::copy_file(ground + "/before.img", ground + "/after.img");
    const std::string after = mount_image(ground + "/after.img", ground + "/after");
    Locker next(GetParam(), after + "/a");
    EXPECT_EQ(next.ask("holder"), "alive: its process runs");
    EXPECT_TRUE(begins(next.ask("acquire 0"), "AlreadyLocked"));
    holder.die();
    EXPECT_EQ(next.ask("acquire 0"), "held");
  });
}

// The other boot's id alone does not make a hold dead: its guard speaks first.
TEST_P(PowerCut, a_held_guard_is_alive_whatever_the_boot_id) {
  apart([](const std::string& ground) {
    Locker holder(GetParam(), ground + "/a");
    Locker next(GetParam(), ground + "/a", after_the_cut(ground));
    ASSERT_EQ(holder.ask("acquire 0"), "held");
    EXPECT_EQ(next.ask("holder"), "alive: its guard is held");
    EXPECT_TRUE(begins(next.ask("acquire 50"), "LockTimeout"));
    EXPECT_EQ(holder.ask("release"), "released");
    EXPECT_EQ(next.ask("acquire 0"), "held");
  });
}

}  // namespace
}  // namespace machine
