// The laws of fences: every exclusive hold that asks for a number gets a larger one than all before it on its path.
#include "claim/fence.hpp"
#include "conformance/fixture.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

namespace lockfile::testing {
namespace {

class Fences : public Law {
 protected:
  [[nodiscard]] Options fenced() const {
    Options made = options();
    made.fence = true;
    return made;
  }
  [[nodiscard]] std::string fence_file() const { return word() + ".fence"; }
  // Of another process of the same variant, which never dies of itself.
  [[nodiscard]] std::vector<std::string> fenced_peer() const {
    return {path(), std::string(GetParam().name), "kill-at", "-1", "fence"};
  }
  // Numbers that are on their way.
  [[nodiscard]] std::vector<std::string> sides() const {
    std::vector<std::string> found;
    for (const std::string& each : scratch_.names()) {
      if (each.ends_with(".fence") && each != "a.lock.fence") found.push_back(each);
    }
    return found;
  }
  static std::uint64_t fence_of(Peer& peer) { return std::stoull(peer.ask("fence")); }
};
LOCKFILE_FOR_ALL_VARIANTS(Fences);
LOCKFILE_FOR_ENGINES(Fences);

// Whose number is in a file beside the lock, for those who ask for one.
class FenceFiles : public Fences {};
LOCKFILE_FOR_ALL_VARIANTS(FenceFiles);

TEST_P(Fences, numbers_grow_across_holds_objects_and_processes) {
  std::uint64_t last = 0;
  const auto expect_larger = [&last](std::uint64_t number) {
    EXPECT_GT(number, last);
    last = number;
  };
  TestLock one(path(), fenced());
  for (int i = 0; i < 3; ++i) {
    one.acquire();
    expect_larger(one.fence());
    one.release();
    TestLock other(path(), fenced());
    other.acquire();
    expect_larger(other.fence());
    other.release();
    Peer peer(fenced_peer());
    ASSERT_EQ(peer.ask("acquire"), "held");
    expect_larger(fence_of(peer));
    ASSERT_EQ(peer.ask("release"), "released");
  }
}

TEST_P(Fences, the_number_is_of_the_hold_and_of_its_identity) {
  TestLock lock(path(), fenced());
  EXPECT_EQ(lock.fence(), 0U) << "not held";
  lock.acquire();
  const std::uint64_t number = lock.fence();
  lock.acquire();
  EXPECT_EQ(lock.fence(), number) << "a re-entry is no other hold";
  in_another_thread([&] { EXPECT_EQ(lock.fence(), 0U) << "another identity"; });
  const pid_t child = fork();
  if (child == 0) ::_exit(lock.fence() == 0 ? 0 : 1);
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0) << "a forked child holds nothing";
  lock.release();
  EXPECT_EQ(lock.fence(), number);
  lock.release();
  EXPECT_EQ(lock.fence(), 0U);
}

TEST_P(FenceFiles, whoever_does_not_ask_has_no_number_and_writes_none) {
  TestLock lock(path(), options());
  lock.acquire();
  EXPECT_EQ(lock.fence(), 0U);
  lock.release();
  EXPECT_FALSE(std::filesystem::exists(fence_file()));
}

TEST_P(FenceFiles, the_number_is_in_the_file_and_nothing_else_stays) {
  std::uint64_t number = 0;
  {
    TestLock lock(path(), fenced());
    lock.acquire();
    number = lock.fence();
    EXPECT_EQ(read_file(fence_file()), std::to_string(number) + "\n");
  }
  EXPECT_EQ(scratch_.names(), std::vector<std::string>{"a.lock.fence"});
}

TEST_P(FenceFiles, the_first_number_is_the_wall_clock_in_microseconds) {
  // The clock of the file system is the kernel's, as it was at its last tick.
  const auto clock = [] {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(now).count());
  };
  constexpr std::uint64_t a_tick = 20'000;
  TestLock lock(path(), fenced());
  const std::uint64_t before = clock();
  lock.acquire();
  EXPECT_GE(lock.fence() + a_tick, before);
  EXPECT_LE(lock.fence(), clock());
}

TEST_P(Fences, a_killed_holders_number_is_not_given_again) {
  std::uint64_t last = 0;
  for (int i = 0; i < 2; ++i) {
    Peer peer(fenced_peer());
    ASSERT_EQ(peer.ask("acquire"), "held");
    EXPECT_GT(fence_of(peer), last);
    last = fence_of(peer);
    peer.kill();
  }
  TestLock lock(path(), fenced());
  lock.acquire(stuck);  // a server takes its time to notice a death
  EXPECT_GT(lock.fence(), last);
}

TEST_P(Fences, a_broken_holder_keeps_its_number_and_the_next_one_has_a_larger) {
  TestLock broken(path(), fenced());
  broken.acquire();
  const std::uint64_t number = broken.fence();
  in_another_thread([&] {
    TestLock next(path(), fenced());
    ASSERT_TRUE(next.break_lock());
    next.acquire(0s);
    EXPECT_GT(next.fence(), number);
    EXPECT_EQ(broken.fence(), 0U);
  });
  EXPECT_EQ(broken.fence(), number) << "whoever writes with it is refused";
  EXPECT_EQ(code_of([&] { broken.release(); }), errc::not_locked);
  EXPECT_EQ(broken.fence(), 0U);
}

TEST_P(FenceFiles, a_hold_that_is_broken_while_it_takes_its_number_is_none) {
  TestLock lock(path(), fenced());
  std::uint64_t last = 0;
  for (const os::Call at : {os::Call::write, os::Call::sync}) {
    bool done = false;
    std::uint64_t in_between = 0;
    in_.system().before = [&](os::Call call) {
      if (call != at || done || sides().empty()) return 0;
      done = true;
      std::thread([&] {
        const InVariant elsewhere(GetParam());
        TestLock breaker(path(), fenced());
        EXPECT_TRUE(breaker.break_lock());
        breaker.acquire(0s);
        in_between = breaker.fence();
        breaker.release();
      }).join();
      return 0;
    };
    lock.acquire();
    in_.system().before = nullptr;
    EXPECT_TRUE(done);
    EXPECT_TRUE(lock.i_am_locking());
    EXPECT_GT(in_between, last);
    EXPECT_GT(lock.fence(), in_between);
    last = lock.fence();
    lock.release();
    EXPECT_EQ(sides(), std::vector<std::string>());
  }
}

TEST_P(FenceFiles, a_file_that_holds_no_number_is_named_and_nothing_is_held) {
  for (const std::string bytes : {"", "\n", "7", "0\n", "07\n", "-7\n", "+7\n", " 7\n", "7 \n", "7\n\n", "0x7\n",
                                  "seven\n", "18446744073709551616\n", "99999999999999999999999999999999\n"}) {
    write_file(fence_file(), bytes);
    TestLock lock(path(), fenced());
    try {
      lock.acquire();
      ADD_FAILURE() << "acquired with '" << bytes << "'";
    } catch (const LockFailed& error) {
      EXPECT_EQ(error.code(), std::errc::bad_message) << bytes;
      EXPECT_NE(std::string(error.what()).find("no number in the fence 'a.lock.fence'"), std::string::npos)
          << error.what();
    }
    EXPECT_FALSE(lock.i_am_locking());
    EXPECT_FALSE(lock.is_locked()) << bytes;
    EXPECT_EQ(read_file(fence_file()), bytes) << "it is not mended by a guess";
    in_another_thread([&] {
      TestLock unfenced(path(), options());
      unfenced.acquire(0s);
    });
  }
  write_file(fence_file(), "18446744073709551615\n");
  TestLock lock(path(), fenced());
  EXPECT_EQ(code_of([&] { lock.acquire(); }), std::errc::value_too_large) << "there is none after the last";
  write_file(fence_file(), "41\n");
  lock.acquire();
  EXPECT_EQ(lock.fence(), 42U);
}

TEST_P(FenceFiles, what_is_planted_at_the_name_is_not_followed) {
  write_file(scratch_ / "elsewhere", "5\n");
  std::filesystem::create_symlink(scratch_ / "elsewhere", fence_file());
  TestLock lock(path(), fenced());
  EXPECT_EQ(code_of([&] { lock.acquire(); }), std::errc::too_many_symbolic_link_levels);
  EXPECT_EQ(read_file(scratch_ / "elsewhere"), "5\n");
  std::filesystem::remove(fence_file());
  std::filesystem::create_directory(fence_file());
  EXPECT_EQ(code_of([&] { lock.acquire(); }), std::errc::is_a_directory);
}

TEST_P(FenceFiles, where_nothing_can_be_written_the_acquire_fails_with_the_cause) {
  TestLock lock(path(), fenced());
  lock.acquire();
  const std::uint64_t number = lock.fence();
  lock.release();
  in_.system().before = [this](os::Call call) { return call == os::Call::sync && !sides().empty() ? ENOSPC : 0; };
  EXPECT_EQ(code_of([&] { lock.acquire(); }), std::errc::no_space_on_device);
  in_.system().before = nullptr;
  EXPECT_FALSE(lock.is_locked());
  EXPECT_EQ(sides(), std::vector<std::string>());
  lock.acquire(0s);
  EXPECT_GT(lock.fence(), number);
}

TEST_P(FenceFiles, every_user_may_number_where_the_access_says_so) {
  Options everyone = fenced();
  everyone.access = Access::everyone;
  TestLock lock(path(), everyone);
  lock.acquire();
  EXPECT_EQ(std::filesystem::status(fence_file()).permissions(), std::filesystem::perms(0666));
}

TEST_P(FenceFiles, a_number_that_was_on_its_way_is_swept_when_its_writer_is_dead) {
  const std::string left = word() + "." + claim::make_nonce("some boot", 1) + ".3.fence";
  write_file(left, "3\n");
  std::error_code ec;
  const auto seen = leftovers(scratch_.path().string(), Clean::remove_dead, ec);
  ASSERT_EQ(seen.size(), 1U);
  EXPECT_TRUE(seen.front().removed) << seen.front().note;
  EXPECT_EQ(scratch_.names(), std::vector<std::string>());
}

TEST(FenceNumbers, are_read_as_they_are_written) {
  for (const std::uint64_t number : {std::uint64_t{1}, std::uint64_t{1'700'000'000'000'000}, UINT64_MAX}) {
    EXPECT_EQ(claim::parse_fence(claim::format_fence(number)), number);
  }
}

}  // namespace
}  // namespace lockfile::testing
