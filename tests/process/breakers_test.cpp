// Ten processes that find one stale lock at the same instant, 2,000 times (an eighth of that with sanitizers): each
// enters, no two at once.
#include "support/peer.hpp"
#include "support/sanitizers.hpp"
#include "support/scratch.hpp"
#include "support/variants.hpp"

#include <lockfile/lockfile.hpp>

#include <gtest/gtest.h>

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <new>

namespace lockfile::testing {
namespace {

constexpr int breakers = 10;
constexpr int rounds = 2000 / one_call_in;

// What the processes share. A round starts for all when the last one has arrived.
struct Shared {
  std::atomic<int> arrived{0};
  std::atomic<int> round{0};
  std::atomic<int> inside{0};
  std::atomic<int> overlaps{0};
  std::atomic<int> entered{0};
  std::atomic<int> stuck{0};
};

template <class Condition>
void spin_until(Condition condition) {
  while (!condition()) ::sched_yield();
}

void leave_a_stale_lock(const std::string& path, const Variant& variant) {
  const pid_t victim = ::fork();
  if (victim == 0) {
    InVariant in(variant);
    FileLock lock(path, {.scheme = std::string(variant.scheme)});
    lock.acquire();
    ::raise(SIGKILL);
  }
  int status = 0;
  ::waitpid(victim, &status, 0);
}

[[noreturn]] void be_a_breaker(Shared& shared, const std::string& path, const Variant& variant) {
  InVariant in(variant);
  FileLock lock(path, {.scheme = std::string(variant.scheme)});
  for (int round = 1; round <= rounds; ++round) {
    ++shared.arrived;
    spin_until([&] { return shared.round >= round; });
    std::error_code ec;
    if (lock.acquire(lockfile::testing::stuck, ec)) {
      if (shared.inside.fetch_add(1) != 0) ++shared.overlaps;
      ++shared.entered;
      shared.inside.fetch_sub(1);
      lock.release(ec);
    }
    if (ec) ++shared.stuck;
  }
  ++shared.arrived;
  ::_exit(0);
}

class Breakers : public ::testing::TestWithParam<std::string_view> {};
INSTANTIATE_TEST_SUITE_P(both, Breakers, ::testing::Values("link", "mkdir", "mkdir_with_mark"),
                         [](const auto& each) { return std::string(each.param); });

TEST_P(Breakers, never_remove_each_others_holds) {
  const Scratch scratch;
  const std::string path = scratch / "a";
  const Variant& variant = variant_named(GetParam());
  void* const memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto& shared = *new (memory) Shared;
  std::vector<pid_t> all;
  for (int i = 0; i < breakers; ++i) {
    all.push_back(::fork());
    if (all.back() == 0) be_a_breaker(shared, path, variant);
  }
  for (int round = 1; round <= rounds; ++round) {
    spin_until([&] { return shared.arrived == breakers; });
    shared.arrived = 0;
    leave_a_stale_lock(path, variant);
    shared.round = round;
  }
  int failed = 0;
  for (const pid_t each : all) {
    int status = 0;
    ::waitpid(each, &status, 0);
    if (status != 0) ++failed;
  }
  EXPECT_EQ(failed, 0);
  EXPECT_EQ(shared.overlaps, 0);
  EXPECT_EQ(shared.stuck, 0);
  EXPECT_EQ(shared.entered, breakers * rounds);
  // Each breaker that was ended without its destructor has left its kept claim; nothing else is there.
  std::error_code ec;
  (void)leftovers(scratch.path().string(), Clean::remove_dead, ec);
  EXPECT_EQ(scratch.names(), std::vector<std::string>());
  ::munmap(memory, sizeof(Shared));
}

}  // namespace
}  // namespace lockfile::testing
