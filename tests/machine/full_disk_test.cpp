// Disks without space, without inodes or without leave to write, and names at their limits: a clear refusal at once,
// and nothing left behind.
#include "apart.hpp"
#include "mounts.hpp"
#include "peer.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

namespace machine {
namespace {

class FullDisk : public ForBothSchemes {};
MACHINE_FOR_BOTH_SCHEMES(FullDisk);

// Writes until nothing fits any more, the last byte included.
void fill_up(const std::string& directory) {
  const std::string path = directory + "/filler";
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (descriptor < 0) throw std::runtime_error("cannot create '" + path + "'");
  static constexpr std::array<char, 65536> zeros{};
  for (std::size_t size = zeros.size(); size > 0; size /= 2) {
    while (::write(descriptor, zeros.data(), size) > 0) {
    }
  }
  ::fsync(descriptor);  // so that what was promised to the filler is taken
  ::close(descriptor);
}

void no_space_then_space(const std::string& scheme, const std::string& directory) {
  fill_up(directory);
  Locker one(scheme, directory + "/a");
  const std::string refused = one.ask("acquire ever");
  EXPECT_TRUE(begins(refused, "LockFailed ENOSPC"));
  EXPECT_TRUE(has(refused, directory));
  EXPECT_EQ(names_in(directory), std::vector<std::string>{"filler"});
  ASSERT_EQ(::unlink((directory + "/filler").c_str()), 0);
  EXPECT_EQ(one.ask("acquire 0"), "held");
  EXPECT_EQ(one.ask("release"), "released");
  EXPECT_EQ(one.ask("close"), "closed");
  EXPECT_EQ(names_in(directory), std::vector<std::string>());
}

TEST_P(FullDisk, no_space_on_tmpfs_is_told_at_once_and_leaves_nothing) {
  apart([](const std::string& ground) {
    const std::string directory = make_directory(ground + "/d");
    mount("small", directory, "tmpfs", 0, "size=64k");
    no_space_then_space(GetParam(), directory);
  });
}

TEST_P(FullDisk, no_space_on_ext4_is_told_at_once_and_leaves_nothing) {
  apart([](const std::string& ground) {
    // Without blocks kept back for root.
    no_space_then_space(GetParam(), mount_image(make_ext4(ground + "/small.img", 8, {"-m", "0"}), ground + "/d"));
  });
}

// tmpfs counts each name of a file: a hold takes two or three of the three that there are beside the root directory.
// Which call meets the end depends on how many are left, and on whether this process has tried the file system out
// before.
TEST_P(FullDisk, no_inode_is_told_at_once_and_leaves_nothing) {
  apart([](const std::string& ground) {
    const std::string directory = make_directory(ground + "/d");
    mount("small", directory, "tmpfs", 0, "nr_inodes=4");
    const std::vector<std::string> all = {"filler-1", "filler-2", "filler-3"};
    Peer one;
    const std::string open = "open " + std::string(GetParam()) + " by_umask " + directory + "/a";
    for (const bool tried_before : {false, true}) {
      for (std::size_t taken = all.size(); taken > 0; --taken) {
        SCOPED_TRACE(std::to_string(taken) + (tried_before ? " taken, tried before" : " taken"));
        const std::vector<std::string> fillers(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(taken));
        for (const std::string& each : fillers) make_directory(directory + "/" + each);
        EXPECT_EQ(one.ask(open), "opened");
        const std::string acquired = one.ask("acquire ever");
        if (taken > 1 || acquired != "held") {
          EXPECT_TRUE(begins(acquired, "LockFailed ENOSPC"));
        }
        // Until then it may keep a claim for the next try.
        EXPECT_EQ(one.ask("close"), "closed");
        EXPECT_EQ(names_in(directory), fillers);
        for (const std::string& each : fillers) EXPECT_EQ(::rmdir((directory + "/" + each).c_str()), 0);
      }
      EXPECT_EQ(one.ask(open), "opened");
      EXPECT_EQ(one.ask("acquire 0"), "held");
      EXPECT_EQ(one.ask("close"), "closed");
      EXPECT_EQ(names_in(directory), std::vector<std::string>());
    }
  });
}

TEST_P(FullDisk, a_kept_claim_acquires_on_a_full_disk) {
  apart([](const std::string& ground) {
    const std::string directory = make_directory(ground + "/d");
    mount("small", directory, "tmpfs", 0, "size=64k");
    Locker one(GetParam(), directory + "/a");
    ASSERT_EQ(one.ask("acquire 0"), "held");
    EXPECT_EQ(one.ask("release"), "released");
    fill_up(directory);
    EXPECT_EQ(one.ask("acquire 0"), "held");
    EXPECT_EQ(one.ask("release"), "released");
  });
}

// An append-only directory (chattr(1)) keeps its names.
void keep_names(const std::string& directory, int flag) {
  const int descriptor = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const int failed = ::ioctl(descriptor, FS_IOC_SETFLAGS, &flag);
  const int error = errno;
  ::close(descriptor);
  if (failed != 0) unavailable("cannot make a directory append-only", error);
}

// Blocks are needed for a claim alone, and who has one needs no more.
TEST_P(FullDisk, whoever_has_a_claim_does_everything_on_a_full_ext4) {
  apart([](const std::string& ground) {
    const std::string directory = mount_image(make_ext4(ground + "/small.img", 8, {"-m", "0"}), ground + "/d");
    const std::string path = directory + "/a";
    Locker one(GetParam(), path);
    Locker two(GetParam(), path);
    Locker mortal(GetParam(), path);
    for (Locker* const each : {&one, &two, &mortal}) {
      ASSERT_EQ(each->ask("acquire 0"), "held");
      ASSERT_EQ(each->ask("release"), "released");
    }
    fill_up(directory);
    EXPECT_EQ(one.ask("acquire 0"), "held");
    EXPECT_TRUE(begins(two.ask("acquire 0"), "AlreadyLocked"));
    // Handed over, and back when the worker has ended.
    const std::string worker = one.ask("hand-over");
    EXPECT_GT(std::stoi(worker), 0);
    ::kill(std::stoi(worker), SIGKILL);
    EXPECT_EQ(one.ask("release"), "released");
    // Broken when its holder is dead. From here on each end costs somebody his claim: the blocks of what goes are free
    // again only when the journal has been written.
    EXPECT_EQ(mortal.ask("acquire 0"), "held");
    mortal.die();
    EXPECT_EQ(two.ask("break-stale"), "broken");
    EXPECT_EQ(two.ask("holder"), "free");
    // Released where nothing can be removed: the record says so, in place. Taken over from there.
    EXPECT_EQ(one.ask("acquire 0"), "held");
    keep_names(directory, FS_APPEND_FL);
    const std::string kept = one.ask("release");
    EXPECT_TRUE(begins(kept, "Error EPERM"));
    EXPECT_TRUE(has(kept, path + ".lock"));
    EXPECT_EQ(two.ask("holder"), "dead: given up by its holder");
    keep_names(directory, 0);
    EXPECT_EQ(two.ask("acquire 0"), "held");
    // Broken by force, and told.
    EXPECT_EQ(one.ask("break"), "broken");
    EXPECT_TRUE(begins(two.ask("release"), "NotLocked"));
    EXPECT_EQ(one.ask("holder"), "free");
    EXPECT_EQ(one.ask("close"), "closed");
    EXPECT_EQ(two.ask("close"), "closed");
  });
}

TEST_P(FullDisk, no_inode_on_ext4_is_told_at_once_and_leaves_nothing) {
  apart([](const std::string& ground) {
    const std::string directory =
        mount_image(make_ext4(ground + "/small.img", 8, {"-m", "0", "-N", "32"}), ground + "/d");
    std::vector<std::string> fillers;
    for (;;) {
      const std::string filler = "filler-" + std::to_string(fillers.size());
      const int descriptor = ::open((directory + "/" + filler).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
      if (descriptor < 0) break;
      ::close(descriptor);
      fillers.push_back(filler);
      ASSERT_LT(fillers.size(), 1000U);
    }
    const std::size_t needed = GetParam() == std::string("link") ? 1 : 2;
    for (std::size_t left = 0; left <= needed; ++left) {
      SCOPED_TRACE(left);
      std::sort(fillers.begin(), fillers.end());
      Locker one(GetParam(), directory + "/a");
      const std::string acquired = one.ask("acquire ever");
      if (left == needed) {
        EXPECT_EQ(acquired, "held");
      } else {
        EXPECT_TRUE(begins(acquired, "LockFailed ENOSPC"));
        EXPECT_TRUE(has(acquired, directory));
      }
      EXPECT_EQ(one.ask("close"), "closed");
      EXPECT_EQ(names_in(directory), fillers);
      ASSERT_EQ(::unlink((directory + "/" + fillers.back()).c_str()), 0);
      fillers.pop_back();
    }
  });
}

TEST_P(FullDisk, a_stale_lock_on_a_full_disk_stays_until_there_is_space) {
  apart([](const std::string& ground) {
    const std::string directory = make_directory(ground + "/d");
    mount("small", directory, "tmpfs", 0, "size=64k");
    Locker one(GetParam(), directory + "/a");
    Locker two(GetParam(), directory + "/a");
    ASSERT_EQ(one.ask("acquire 0"), "held");
    fill_up(directory);
    EXPECT_TRUE(begins(two.ask("acquire ever"), "LockFailed ENOSPC"));
    one.die();
    EXPECT_TRUE(begins(two.ask("acquire ever"), "LockFailed ENOSPC"));
    ASSERT_EQ(::unlink((directory + "/filler").c_str()), 0);
    EXPECT_EQ(two.ask("acquire 0"), "held");
  });
}

TEST_P(FullDisk, a_mount_without_leave_to_write_is_told_at_once) {
  apart([](const std::string& ground) {
    const std::string directory = make_directory(ground + "/d");
    const std::string read_only = make_directory(ground + "/read-only");
    mount(directory, read_only, "none", MS_BIND);
    mount(directory, read_only, "none", MS_BIND | MS_REMOUNT | MS_RDONLY);
    Locker one(GetParam(), read_only + "/a");
    const std::string refused = one.ask("acquire ever");
    EXPECT_TRUE(begins(refused, "LockFailed EROFS"));
    EXPECT_TRUE(has(refused, read_only));
    EXPECT_EQ(one.ask("holder"), "free");
    // To look, one need not write.
    Locker writer(GetParam(), directory + "/a");
    ASSERT_EQ(writer.ask("acquire 0"), "held");
    EXPECT_TRUE(begins(one.ask("holder"), "alive"));
    EXPECT_TRUE(begins(one.ask("acquire ever"), "LockFailed EROFS"));
  });
}

TEST_P(FullDisk, a_missing_directory_is_named) {
  apart([](const std::string& ground) {
    Locker one(GetParam(), ground + "/nowhere/a");
    const std::string refused = one.ask("acquire ever");
    EXPECT_TRUE(begins(refused, "LockFailed ENOENT"));
    EXPECT_TRUE(has(refused, "'" + ground + "/nowhere'"));
    make_directory(ground + "/nowhere");
    EXPECT_EQ(one.ask("acquire 0"), "held");
  });
}

TEST_P(FullDisk, a_directory_that_goes_while_it_is_waited_for_is_told) {
  apart([](const std::string& ground) {
    const std::string directory = make_directory(ground + "/d");
    Locker one(GetParam(), directory + "/a");
    ASSERT_EQ(one.ask("acquire 0"), "held");
    EXPECT_EQ(one.ask("release"), "released");
    EXPECT_EQ(one.ask("close"), "closed");
    ASSERT_EQ(::rmdir(directory.c_str()), 0);
    Locker two(GetParam(), directory + "/a");
    EXPECT_TRUE(begins(two.ask("acquire ever"), "LockFailed ENOENT"));
  });
}

// Only the lock file itself is limited by the file system: `NAME.lock` of 255 bytes.
TEST_P(FullDisk, names_work_up_to_the_limit_of_the_file_system) {
  apart([](const std::string& ground) {
    for (const std::size_t length : {180UL, 194UL, 195UL, 196UL, 225UL, 245UL, 249UL, 250UL}) {
      SCOPED_TRACE(length);
      const std::string directory = make_directory(ground + "/" + std::to_string(length));
      const std::string path = directory + "/" + std::string(length, 'n');
      Locker one(GetParam(), path);
      Locker two(GetParam(), path);
      ASSERT_EQ(one.ask("acquire 0"), "held");
      EXPECT_TRUE(begins(two.ask("acquire 0"), "AlreadyLocked"));
      EXPECT_EQ(one.ask("release"), "released");
      ASSERT_EQ(one.ask("acquire 0"), "held");
      one.die();
      EXPECT_EQ(two.ask("acquire 0"), "held");
      EXPECT_EQ(two.ask("release"), "released");
      EXPECT_EQ(two.ask("close"), "closed");
      EXPECT_EQ(names_in(directory), std::vector<std::string>());
    }
  });
}

TEST_P(FullDisk, a_longer_name_is_told_at_once_and_leaves_nothing) {
  apart([](const std::string& ground) {
    for (const std::size_t length : {251UL, 252UL, 255UL, 256UL, 1000UL}) {
      SCOPED_TRACE(length);
      Locker one(GetParam(), ground + "/" + std::string(length, 'n'));
      EXPECT_TRUE(begins(one.ask("acquire ever"), "LockFailed ENAMETOOLONG"));
      EXPECT_EQ(one.ask("close"), "closed");
      EXPECT_EQ(names_in(ground), std::vector<std::string>());
    }
  });
}

}  // namespace
}  // namespace machine
