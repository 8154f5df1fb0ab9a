// The law of several locks: all or none, and nobody waits for ever for somebody who waits for him.
#include "conformance/fixture.hpp"

#include <array>
#include <filesystem>

namespace lockfile::testing {
namespace {

class Several : public Law {};
LOCKFILE_FOR_MAIN_VARIANTS(Several);
INSTANTIATE_TEST_SUITE_P(memory, Several, ::testing::Values(variant_named("shm")));

TEST_P(Several, are_held_together_and_released_together) {
  FileLock a(scratch_ / "a", options());
  FileLock b(scratch_ / "b", options());
  {
    const auto held = lock_all(std::array<Lock*, 2>{&b, &a});
    EXPECT_EQ(held.size(), 2U);
    EXPECT_TRUE(a.i_am_locking());
    EXPECT_TRUE(b.i_am_locking());
  }
  EXPECT_FALSE(a.is_locked());
  EXPECT_FALSE(b.is_locked());
}

TEST_P(Several, are_not_held_at_all_where_one_cannot_be_had) {
  FileLock a(scratch_ / "a", options());
  FileLock b(scratch_ / "b", options());
  FileLock c(scratch_ / "c", options());
  Peer peer({scratch_ / "b", std::string(GetParam().name)});
  ASSERT_EQ(peer.ask("acquire"), "held");
  const std::array<Lock*, 3> all = {&c, &a, &b};
  EXPECT_EQ(code_of([&] { (void)lock_all(all, 0s); }), errc::already_locked);
  EXPECT_EQ(code_of([&] { (void)lock_all(all, 1ms); }), errc::timed_out);
  std::error_code code;
  EXPECT_TRUE(lock_all(all, 1ms, code).empty());
  EXPECT_EQ(code, errc::timed_out);
  for (Lock* const each : {&a, &c}) EXPECT_FALSE(each->is_locked());
  ASSERT_EQ(peer.ask("release"), "released");
  EXPECT_EQ(lock_all(all, 0s, code).size(), 3U);
  EXPECT_FALSE(code);
}

// While the first one is acquired the time passes, and the second one's turn comes too late to wait.
TEST_P(Several, are_late_and_not_refused_where_the_time_was_used_up_before) {
  FileLock a(scratch_ / "a", options());
  FileLock b(scratch_ / "b", options());
  Peer peer({scratch_ / "b", std::string(GetParam().name)});
  ASSERT_EQ(peer.ask("acquire"), "held");
  const std::array<Lock*, 2> all = {&a, &b};
  const auto lets_time_pass = [this](os::Call) {
    in_.system().ahead = in_.system().ahead.load() + 1s;
    return 0;
  };
  std::error_code code;
  in_.system().before = lets_time_pass;
  EXPECT_TRUE(lock_all(all, 500ms, code).empty());
  in_.system().before = nullptr;
  EXPECT_EQ(code, errc::timed_out);
  in_.system().before = lets_time_pass;
  EXPECT_EQ(code_of([&] { (void)lock_all(all, 500ms); }), errc::timed_out);
  in_.system().before = nullptr;
  EXPECT_FALSE(a.is_locked());
}

TEST_P(Several, of_one_path_that_is_spelt_in_two_ways_are_found_out) {
  std::filesystem::create_directory(scratch_ / "real");
  std::filesystem::create_directory_symlink(scratch_ / "real", scratch_ / "linked");
  FileLock one(scratch_ / "real/a", options());
  FileLock other(scratch_ / "linked/a", options());
  EXPECT_EQ(code_of([&] {
              (void)lock_all(std::array<Lock*, 2>{&one, &other});
            }),
            std::errc::resource_deadlock_would_occur);
  EXPECT_FALSE(one.is_locked());
  EXPECT_TRUE(lock_all(std::span<Lock* const>{}).empty());
}

TEST_P(Several, never_deadlock_whatever_the_order_and_the_spelling) {
  std::filesystem::create_directory(scratch_ / "z");
  std::filesystem::create_directory_symlink(scratch_ / "z", scratch_ / "b");
  constexpr int rounds = 40;
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.push_back(thread([&, i] {
      FileLock one(scratch_ / (i % 2 == 0 ? "z/x" : "b/x"), options());
      FileLock two(scratch_ / "m", options());
      const std::array<Lock*, 2> forth = {&one, &two};
      const std::array<Lock*, 2> back = {&two, &one};
      for (int round = 0; round < rounds; ++round) {
        EXPECT_EQ(lock_all((round + i) % 2 == 0 ? forth : back).size(), 2U);
      }
    }));
  }
  for (std::thread& each : threads) each.join();
}

}  // namespace
}  // namespace lockfile::testing
