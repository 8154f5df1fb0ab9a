// A process is killed just before its n-th call, for every n, in the middle of everything it does with a lock. Another
// process acquires at once, and nothing stays behind.
#include "support/peer.hpp"
#include "support/sanitizers.hpp"
#include "support/scratch.hpp"
#include "support/variants.hpp"

#include <lockfile/lockfile.hpp>

#include <gtest/gtest.h>

#include <sys/wait.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <iostream>

namespace lockfile::testing {
namespace {

using namespace std::chrono_literals;

class Killed : public ::testing::TestWithParam<Variant> {
 protected:
  // Runs `commands` in a peer that dies at call `n`. False: it got through them all.
  bool dies_at(long n, const std::vector<std::string>& commands) {
    std::vector<std::string> arguments{path_, std::string(GetParam().name), "kill-at", std::to_string(n)};
    if (fenced_) arguments.emplace_back("fence");
    Peer peer(arguments);
    for (const std::string& command : commands) {
      const std::string answer = peer.ask(command);
      if (command == "fence" && !answer.empty()) newest_ = std::max<std::uint64_t>(newest_, std::stoull(answer));
      if (answer.empty()) {
        const int status = peer.wait();
        EXPECT_TRUE(WIFSIGNALED(status)) << "call " << n;
        return true;
      }
    }
    return false;
  }

  // Everything after such a death: the lock is to be had at once, excludes, and leaves nothing.
  void expect_recovered(long n) {
    {
      const InVariant in(GetParam());
      FileLock lock(path_, {.scheme = std::string(GetParam().scheme), .fence = fenced_});
      std::error_code ec;
      lock.acquire(0s, ec);
      if (GetParam().missing.marks && ec == errc::already_locked) {
        // Documented: where mkdir keeps no mark, a death between its two steps needs a forced break.
        EXPECT_TRUE(lock.break_lock(BreakWhat::foreign));
        ++forced_;
        lock.acquire(0s, ec);
      }
      EXPECT_FALSE(ec) << "after a death at call " << n << ": " << ec.message();
      EXPECT_TRUE(lock.i_am_locking()) << n;
      EXPECT_TRUE(lock.is_locked()) << n;
      EXPECT_TRUE(!fenced_ || lock.fence() > newest_) << n;
      newest_ = lock.fence();
    }
    std::error_code ec;
    for (const Leftover& left : leftovers(scratch_.path().string(), Clean::remove_dead, ec)) {
      EXPECT_TRUE(left.removed) << "after a death at call " << n << ": " << left.name << ": " << left.note;
    }
    EXPECT_EQ(scratch_.names(), fenced_ ? std::vector<std::string>{"a.lock.fence"} : std::vector<std::string>())
        << "after a death at call " << n;
    if (begin_anew_) {
      std::filesystem::remove(path_ + ".lock.fence");
      newest_ = 0;
    }
  }

  void expect_recovery_from_every_death(const std::vector<std::string>& commands) {
    constexpr long most = 2000;
    long n = 0;
    while (n < most && dies_at(n, commands)) {
      expect_recovered(n);
      if (HasFatalFailure() || HasNonfatalFailure()) return;
      n += one_call_in;
    }
    EXPECT_GT(n, 10);
    EXPECT_LT(n, most);
    EXPECT_LE(forced_, GetParam().missing.marks ? n : 0);
    std::cout << "killed at one in " << one_call_in << " of " << n << " calls\n";
  }

  Scratch scratch_;
  std::string path_ = scratch_ / "a";
  long forced_ = 0;
  bool fenced_ = false;
  bool begin_anew_ = false;   // each life finds no number
  std::uint64_t newest_ = 0;  // the largest fence that somebody was told
};

INSTANTIATE_TEST_SUITE_P(every, Killed, ::testing::ValuesIn(variants().begin(), variants().end()),
                         [](const auto& each) { return std::string(each.param.name); });

TEST_P(Killed, at_any_call_of_acquire_and_release) {
  expect_recovery_from_every_death({"acquire", "release", "acquire", "release", "drop"});
}

TEST_P(Killed, at_any_call_of_taking_a_fence_and_no_number_comes_again) {
  fenced_ = true;
  expect_recovery_from_every_death({"acquire", "fence", "release", "drop"});
}

TEST_P(Killed, at_any_call_of_taking_the_first_fence) {
  fenced_ = true;
  begin_anew_ = true;
  expect_recovery_from_every_death({"acquire", "fence", "release", "drop"});
}

TEST_P(Killed, at_any_call_of_waiting) {
  // A file of a stranger keeps it waiting until its time is over.
  write_file(path_ + ".lock", "somebody else's");
  constexpr long most = 300;
  long n = 0;
  while (n < most && dies_at(n, {"acquire 2", "drop"})) n += one_call_in;
  EXPECT_GT(n, 10);
  std::error_code ec;
  (void)leftovers(scratch_.path().string(), Clean::remove_dead, ec);
  EXPECT_EQ(scratch_.names(), std::vector<std::string>{"a.lock"});
  EXPECT_EQ(read_file(path_ + ".lock"), "somebody else's");
}

TEST_P(Killed, at_any_call_of_taking_a_stale_lock_over) {
  constexpr long most = 2000;
  long n = 0;
  for (bool died = true; died && n < most; n += one_call_in) {
    {
      Peer first({path_, std::string(GetParam().name)});
      ASSERT_EQ(first.ask("acquire"), "held");
      first.kill();
    }
    died = dies_at(n, {"acquire", "release", "drop"});
    expect_recovered(n);
    if (HasFatalFailure() || HasNonfatalFailure()) return;
  }
  EXPECT_GT(n, 10);
  EXPECT_LT(n, most);
}

// By the number of its hold; 0: of one whose record the breaker could not read, so that what is inside is judged anew.
TEST_P(Killed, after_it_has_renamed_a_dead_holders_directory_away) {
  for (const bool known : {true, false}) {
    std::string away = path_ + ".lock.";
    {
      Peer first({path_, std::string(GetParam().name)});
      ASSERT_EQ(first.ask("acquire"), "held");
      first.kill();
      const InVariant in(GetParam());
      const auto holder = FileLock(path_, {.scheme = std::string(GetParam().scheme)}).holder();
      ASSERT_TRUE(holder);
      away += holder->nonce + "." + std::to_string(known ? holder->number : 0) + ".gone";
    }
    if (!std::filesystem::is_directory(path_ + ".lock")) return;  // a file is removed by one call
    std::filesystem::rename(path_ + ".lock", away);
    std::error_code ec;
    for (const Leftover& left : leftovers(scratch_.path().string(), Clean::remove_dead, ec)) {
      EXPECT_TRUE(left.removed) << left.name << ": " << left.note;
    }
    EXPECT_EQ(scratch_.names(), std::vector<std::string>());
  }
}

TEST_P(Killed, at_any_call_of_a_forced_break) {
  const InVariant in(GetParam());
  long n = 0;
  for (bool died = true; died; n += one_call_in) {
    auto lock = std::make_unique<FileLock>(path_, Options{.scheme = std::string(GetParam().scheme)});
    lock->acquire();
    died = dies_at(n, {"break", "drop"});
    std::error_code ec;
    lock->release(ec);
    EXPECT_TRUE(!ec || ec == errc::not_locked) << n << ": " << ec.message();
    lock->acquire(0s, ec);
    EXPECT_FALSE(ec) << n << ": " << ec.message();
    lock.reset();
    (void)leftovers(scratch_.path().string(), Clean::remove_dead, ec);
    EXPECT_EQ(scratch_.names(), std::vector<std::string>()) << n;
    if (HasFatalFailure() || HasNonfatalFailure()) return;
  }
  EXPECT_GT(n, 5);
}

}  // namespace
}  // namespace lockfile::testing
