// Files of one scheme are recognised by every other: the lock-file schemes exclude each other, and any other two refuse
// each other with a message that names both.
#include "conformance/fixture.hpp"

#include <sys/stat.h>

#include <fcntl.h>
#include <sys/wait.h>

#include <cmath>
#include <filesystem>
#include <iterator>
#include <memory>
#include <ostream>

namespace lockfile::testing {
namespace {

struct Pair {
  std::string first;
  std::string second;
};
void PrintTo(const Pair& pair, std::ostream* out) { *out << pair.first << ", " << pair.second; }

bool is_lock_file(const std::string& scheme) { return scheme == "link" || scheme == "mkdir" || scheme == "auto"; }
bool exclude_each_other(const Pair& pair) {
  return pair.first == pair.second || (is_lock_file(pair.first) && is_lock_file(pair.second));
}

std::vector<Pair> pairs() {
  std::vector<Pair> all;
  for (const auto& first : describe_schemes()) {
    for (const auto& second : describe_schemes()) {
      all.push_back({std::string(first.name), std::string(second.name)});
    }
  }
  return all;
}

std::string_view locked_by(const std::string& scheme) {
  for (const auto& each : describe_schemes()) {
    if (each.name == scheme) return each.locks;
  }
  return {};
}

class SchemePairs : public ::testing::TestWithParam<Pair> {
 protected:
  // In another thread: a second lock on one path in one thread would be found out as a deadlock.
  static std::error_code refusal_of(const std::string& path, const std::string& scheme, std::string& message) {
    std::error_code code;
    std::thread([&] {
      try {
        FileLock(path, {.scheme = scheme}).acquire(0s);
      } catch (const Error& error) {
        code = error.code();
        message = error.what();
      }
    }).join();
    return code;
  }

  // `path` is held, or was, by a lock of the first scheme.
  static void expect_both_named(const std::string& path, bool is_held) {
    std::string message;
    const std::error_code code = refusal_of(path, GetParam().second, message);
    if (exclude_each_other(GetParam())) {
      EXPECT_EQ(code, is_held ? make_error_code(errc::already_locked) : std::error_code()) << message;
      return;
    }
    EXPECT_EQ(code, std::errc::operation_not_supported) << message;
    // What "auto" is here is said by its own name.
    const auto named = [](const std::string& scheme) { return "'" + (scheme == "auto" ? "link" : scheme) + "'"; };
    EXPECT_NE(message.find(named(GetParam().first)), std::string::npos) << message;
    const bool second_is_named = message.find(named(GetParam().second)) != std::string::npos ||
                                 (GetParam().second == "auto" && message.find("'auto'") != std::string::npos);
    EXPECT_TRUE(second_is_named) << message;
  }

  Scratch scratch_;
};

INSTANTIATE_TEST_SUITE_P(every, SchemePairs, ::testing::ValuesIn(pairs()),
                         [](const auto& each) { return each.param.first + "_then_" + each.param.second; });

TEST_P(SchemePairs, exclude_each_other_on_one_path_or_name_both) {
  FileLock first(scratch_ / "a", {.scheme = GetParam().first});
  first.acquire();
  expect_both_named(scratch_ / "a", true);
  EXPECT_TRUE(first.i_am_locking());
  first.release();
  // A lock file is gone with its hold; a kernel lock's file stays and is known.
  const bool stays =
      std::filesystem::exists(scratch_ / std::string(locked_by(GetParam().first) == "PATH" ? "a" : "a.lock"));
  if (stays) expect_both_named(scratch_ / "a", false);
}

TEST_P(SchemePairs, exclude_each_other_on_one_file_or_name_both) {
  // One locks `a.lock` because it was told to, the other because it was told `a`.
  const auto path_for = [&](const std::string& scheme) {
    return scratch_ / (locked_by(scheme) == "PATH" ? "a.lock" : "a");
  };
  FileLock first(path_for(GetParam().first), {.scheme = GetParam().first});
  first.acquire();
  const std::string file = scratch_ / "a.lock";
  const std::string bytes = std::filesystem::is_regular_file(file) ? read_file(file) : std::string();
  expect_both_named(path_for(GetParam().second), true);
  if (GetParam().first != GetParam().second) {
    EXPECT_EQ(std::filesystem::is_regular_file(file) ? read_file(file) : std::string(), bytes);
  }
  EXPECT_TRUE(first.i_am_locking());
  first.release();
  if (std::filesystem::exists(file)) expect_both_named(path_for(GetParam().second), false);
}

// One lock file at a time has the records of a few readers.
TEST(Schemes, a_group_of_readers_is_recognised_and_left_alone) {
  const Scratch scratch;
  FileLock one(scratch / "a", {.scheme = "link"});
  FileLock other(scratch / "a", {.scheme = "link"});
  one.lock_shared();
  std::thread([&] { other.lock_shared(); }).join();
  const std::string group = read_file(scratch / "a.lock");
  for (const std::string scheme : {"kernel", "flock"}) {
    for (const std::string name : {"a", "a.lock"}) {
      try {
        FileLock(scratch / name, {.scheme = scheme}).acquire(0s);
        ADD_FAILURE() << scheme << " " << name;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), std::errc::operation_not_supported) << error.what();
        EXPECT_NE(std::string(error.what()).find("scheme 'link', not '" + scheme + "'"), std::string::npos)
            << error.what();
      }
    }
  }
  EXPECT_EQ(read_file(scratch / "a.lock"), group);
  EXPECT_TRUE(one.i_am_locking());
}

// They do not exclude each other, so who cannot look does not hold.
TEST(Schemes, a_kernel_lock_that_cannot_be_looked_at_keeps_lock_files_out) {
  const Scratch scratch;
  KernelFileLock kernel(scratch / "a");
  kernel.acquire();
  for (const std::string scheme : {"link", "mkdir", "shm"}) {
    bool was_reached = true;
    for (int n = 0; was_reached; ++n) {
      InVariant in(variant_named(scheme));
      int calls = 0;
      in.system().before = [&](os::Call call) {
        const bool looks = call == os::Call::stat_at || call == os::Call::open || call == os::Call::read;
        return looks && calls++ == n ? EIO : 0;
      };
      EXPECT_TRUE(code_of([&] { FileLock(scratch / "a", {.scheme = scheme}).acquire(0s); })) << scheme << " " << n;
      in.system().before = nullptr;
      was_reached = calls > n;
    }
  }
  EXPECT_TRUE(kernel.i_am_locking());
}

// A kernel lock's file stays with the record of who held it last. That one may be dead for long while somebody who left
// no record holds: taken for a lock file, it would be broken as stale.
TEST(Schemes, the_file_of_a_kernel_lock_is_never_broken_as_stale) {
  const Scratch scratch;
  const std::string file = scratch / "a.lock";
  {
    Peer peer({file, "kernel"});
    EXPECT_EQ(peer.ask("acquire"), "held");
    peer.kill();
  }
  struct stat before = {};
  ASSERT_EQ(::stat(file.c_str(), &before), 0);
  FileLock lock(scratch / "a", {.scheme = "link"});
  EXPECT_EQ(code_of([&] { lock.acquire(0s); }), std::errc::operation_not_supported);
  EXPECT_FALSE(lock.break_stale());
  EXPECT_EQ(code_of([&] { lock.break_lock(); }), errc::foreign);
  EXPECT_EQ(lock.holder().value().note, "the file of another scheme");
  std::error_code why;
  wait_until_free(scratch / "a", 1s, why);
  EXPECT_EQ(why, std::errc::operation_not_supported);
  struct stat after = {};
  ASSERT_EQ(::stat(file.c_str(), &after), 0);
  EXPECT_EQ(after.st_ino, before.st_ino);
}

// Doctor says what it found, and leaves it.
TEST(Schemes, a_fifo_under_a_name_of_ours_is_told_of_and_stays) {
  const Scratch scratch;
  const std::string fifo = scratch / "a.lock.32f3e2209c0e0ca717eb9b9e";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  std::error_code ec;
  const auto left = leftovers(scratch.path().string(), Clean::remove_dead, ec);
  ASSERT_EQ(left.size(), 1U);
  EXPECT_EQ(left.front().note, "neither a file nor a directory");
  EXPECT_FALSE(left.front().removed);
  EXPECT_TRUE(std::filesystem::exists(fifo));
}

TEST(Schemes, a_file_under_the_name_of_a_waiters_fifo_is_told_of_and_stays) {
  const Scratch scratch;
  const std::string file = scratch / "a.lock.32f3e2209c0e0ca717eb9b9e.wake";
  write_file(file, "");
  std::error_code ec;
  const auto left = leftovers(scratch.path().string(), Clean::remove_dead, ec);
  ASSERT_EQ(left.size(), 1U);
  EXPECT_EQ(left.front().note, "a waiter's");
  EXPECT_EQ(left.front().maker, Verdict::unknown);
  EXPECT_TRUE(std::filesystem::exists(file));
}

// As of a path: whether the scheme's component is there makes no difference.
TEST(Schemes, a_wait_for_an_address_that_cannot_be_says_so_by_code) {
  std::error_code why;
  wait_until_free("locks.db without a name", 1s, why, "sqlite");
  EXPECT_TRUE(why);
  why.clear();
  wait_until_free("locks.db#a", std::chrono::duration<double>(std::nan("")), why, "sqlite");
  EXPECT_EQ(why, std::errc::invalid_argument);
}

TEST(Schemes, a_lock_file_is_no_free_kernel_lock) {
  const Scratch scratch;
  FileLock lock(scratch / "a", {.scheme = "link"});
  lock.acquire();
  KernelFileLock kernel(scratch / "a.lock");
  EXPECT_EQ(code_of([&] { (void)kernel.is_locked(); }), std::errc::operation_not_supported);
  std::error_code why;
  wait_until_free(scratch / "a.lock", 1s, why, "kernel");
  EXPECT_EQ(why, std::errc::operation_not_supported);
}

// Mail programs lock one mailbox by a file beside it and by a kernel lock.
TEST(Schemes, a_strangers_file_may_have_both_kinds_of_lock_and_keeps_its_own) {
  const Scratch scratch;
  const std::string mailbox = scratch / "mbox";
  write_file(mailbox, "From somebody\n");
  const int own = ::open(mailbox.c_str(), O_RDWR | O_CLOEXEC);
  struct flock whole = {};
  whole.l_type = F_WRLCK;
  ASSERT_EQ(::fcntl(own, F_SETLK, &whole), 0);
  FileLock beside(mailbox, {.scheme = "link"});
  beside.acquire();
  // The program's own lock by fcntl(2) would have been dropped by any close of the file.
  const pid_t child = ::fork();
  if (child == 0) {
    const int again = ::open(mailbox.c_str(), O_RDWR | O_CLOEXEC);
    ::_exit(::fcntl(again, F_SETLK, &whole) == 0 ? 1 : 0);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0) << "the lock was dropped";
  ::close(own);
  KernelFileLock on_it(mailbox, {.scheme = "flock"});
  on_it.acquire(0s);
  EXPECT_TRUE(beside.i_am_locking());
}

// Whoever holds many locks has as many descriptors, and one of each directory.
TEST(Schemes, locks_of_one_directory_share_its_descriptor) {
  const auto open_descriptors = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
  };
  for (const std::string scheme : {"link", "kernel"}) {
    const Scratch scratch;
    constexpr int many = 50;
    const auto before = open_descriptors();
    std::vector<std::unique_ptr<FileLock>> locks;
    for (int i = 0; i < many; ++i) {
      locks.push_back(std::make_unique<FileLock>(scratch / std::to_string(i), Options{.scheme = scheme}));
      locks.back()->acquire();
    }
    EXPECT_LE(open_descriptors() - before, many + 1) << scheme;
    // The one that goes closes nothing that others use.
    locks.erase(locks.begin());
    for (const auto& each : locks) EXPECT_TRUE(each->i_am_locking());
  }
}

}  // namespace
}  // namespace lockfile::testing
