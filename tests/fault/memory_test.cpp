// Every allocation is refused, at each place where one is made: once, and from there on.
#include "fault/memory.hpp"
#include "fault/stage.hpp"
#include "support/sanitizers.hpp"
#include "support/test_lock.hpp"

#include <lockfile/scheme.hpp>

#include <array>
#include <cerrno>
#include <iostream>
#include <memory>
#include <thread>

namespace lockfile::testing {
namespace {

using namespace std::chrono_literals;
using Lasts = MissingMemory::Lasts;

// --- whole lives ---

class NoMemory final : public Trouble {
 public:
  NoMemory() = default;
  NoMemory(long at, Lasts lasts) : memory_(at, lasts), at_(at), lasts_(lasts) {}

  void begin() override {
    begun_ = true;
    if (inside_) memory_.on();
  }
  void end() override {
    begun_ = false;
    memory_.off();
  }
  void enter() override {
    inside_ = true;
    if (begun_) memory_.on();
  }
  void leave() override {
    inside_ = false;
    memory_.off();
  }
  [[nodiscard]] bool hindered_a_removal() const override { return memory_.refused() != 0; }
  [[nodiscard]] bool explains(int error) const override { return error == ENOMEM; }
  [[nodiscard]] std::string describe() const override {
    return "without memory at " + std::to_string(at_) + (lasts_ == Lasts::once ? "" : " and from there on");
  }
  [[nodiscard]] bool was_reached() const noexcept { return memory_.refused() != 0; }

 private:
  MissingMemory memory_;
  long at_ = -1;
  Lasts lasts_ = Lasts::once;
  bool begun_ = false;
  bool inside_ = false;
};

// What allocates in ways of its own. What a kernel or file system lacks otherwise changes no allocation.
std::vector<Setting> settings_that_allocate() {
  std::vector<Setting> chosen;
  for (const std::string_view name : {"link", "link_without_unnamed_files", "mkdir", "mkdir_with_mark",
                                      "mkdir_with_mark_without_hard_links", "kernel", "flock", "shm"}) {
    chosen.push_back({std::string(name), &variant_named(name), {}});
  }
  chosen.push_back({"link_on_a_network", &variant_named("link"), os::FileSystem{"nfs", false, true}});
  return chosen;
}

class Memory : public Lives {};
INSTANTIATE_TEST_SUITE_P(every, Memory, ::testing::ValuesIn(settings_that_allocate()),
                         [](const auto& each) { return each.param.name; });

TEST_P(Memory, that_is_missing_gives_a_clear_error_or_none_and_never_a_hold) {
  constexpr long most = 100'000;
  constexpr long stride = 3;  // of the shortages that last
  long lives = 0;
  for (const Scenario& scenario : scenarios_of(GetParam())) {
    for (long at = 0;; at += one_call_in, ++lives) {
      ASSERT_LT(at, most) << scenario.name << " asks for memory without end";
      NoMemory once(at, Lasts::once);
      live(scenario, once);
      if (!once.was_reached()) break;
      if (at / one_call_in % stride != 0) continue;
      NoMemory lasting(at, Lasts::from_then_on);
      live(scenario, lasting);
    }
  }
  EXPECT_GT(lives, 0);
  std::cout << "lived through " << lives << " refused allocations\n";
}

// --- single verbs, of what stands on no stage ---

class MemoryOf : public ::testing::TestWithParam<Variant> {
 protected:
  [[nodiscard]] Options options() const { return {.scheme = std::string(GetParam().scheme)}; }
  [[nodiscard]] std::string path() const { return scratch_ / "a"; }

  void elsewhere(const std::function<void()>& what) {
    std::thread([&] {
      in_.enter();
      what();
    }).join();
  }
  // Another thread has it, for a moment.
  [[nodiscard]] std::error_code another_tries() {
    std::error_code code;
    elsewhere([&] {
      TestLock lock(path(), options());
      lock.acquire(0s, code);
    });
    return code;
  }

  void break_it() {
    elsewhere([&] { EXPECT_TRUE(TestLock(path(), options()).break_lock()); });
  }
  // Each hold is lost before it is released.
  void release_what_was_lost(const std::function<void()>& lose) {
    TestLock lock(path(), options());
    std::error_code code;
    const auto begin = [&] {
      lock.acquire(0s);
      lose();
    };
    begin();
    with_each_allocation_refused([&] { lock.release(code); },
                                 [&](long at, bool /*refused*/) {
                                   SCOPED_TRACE(at);
                                   EXPECT_EQ(code, errc::not_locked);
                                   begin();
                                 });
    lock.release(code);
  }

  Scratch scratch_;
  InVariant in_{GetParam()};
};

std::vector<Variant> shared_memory_and_engines() {
  std::vector<Variant> chosen = local_engine_variants();
  chosen.push_back(variant_named("shm"));
  return chosen;
}
INSTANTIATE_TEST_SUITE_P(every, MemoryOf, ::testing::ValuesIn(shared_memory_and_engines()),
                         [](const auto& each) { return std::string(each.param.name); });

TEST_P(MemoryOf, an_acquire_that_is_missing_is_told_and_leaves_no_hold) {
  for (const Mode mode : {Mode::exclusive, Mode::shared}) {
    std::unique_ptr<TestLock> lock;
    std::error_code code;
    with_each_allocation_refused(
        [&] {
          try {
            lock = std::make_unique<TestLock>(path(), options());
            lock->acquire(mode, 0s, code);
          } catch (const std::bad_alloc&) {
            code = std::make_error_code(std::errc::not_enough_memory);
          }
        },
        [&](long at, bool refused) {
          SCOPED_TRACE(at);
          EXPECT_TRUE(!code || (refused && code == std::errc::not_enough_memory)) << code.message();
          EXPECT_EQ(lock && lock->i_am_locking(), !code);
          EXPECT_EQ(another_tries(), code ? std::error_code() : make_error_code(errc::already_locked));
          if (!code) {
            lock->release(code);
            EXPECT_FALSE(code) << code.message();
          }
          EXPECT_FALSE(another_tries());
          lock.reset();
        });
  }
}

TEST_P(MemoryOf, a_wait_that_is_missing_is_told_and_leaves_nobody_in_line) {
  TestLock lock(path(), options());
  lock.acquire();
  std::error_code code;
  std::thread([&] {
    in_.enter();
    std::unique_ptr<TestLock> waiter;
    with_each_allocation_refused(
        [&] {
          try {
            waiter = std::make_unique<TestLock>(path(), options());
            waiter->acquire(1ms, code);
          } catch (const std::bad_alloc&) {
            code = std::make_error_code(std::errc::not_enough_memory);
          }
        },
        [&](long at, bool refused) {
          SCOPED_TRACE(at);
          EXPECT_TRUE(code == errc::timed_out || (refused && code == std::errc::not_enough_memory)) << code.message();
          EXPECT_FALSE(waiter && waiter->i_am_locking());
          waiter.reset();
        });
  }).join();
  EXPECT_TRUE(lock.i_am_locking());
  EXPECT_TRUE(lock.waiters().empty());
  lock.release();
  EXPECT_FALSE(another_tries());
}

TEST_P(MemoryOf, a_release_that_is_missing_ends_the_hold) {
  TestLock lock(path(), options());
  std::error_code code;
  lock.acquire(0s);
  with_each_allocation_refused([&] { lock.release(code); },
                               [&](long at, bool refused) {
                                 SCOPED_TRACE(at);
                                 EXPECT_TRUE(!code || (refused && code == std::errc::not_enough_memory))
                                     << code.message();
                                 EXPECT_FALSE(lock.i_am_locking());
                                 EXPECT_FALSE(another_tries()) << "the hold was not ended";
                                 lock.acquire(0s);
                               });
  lock.release();
}

TEST_P(MemoryOf, a_look_or_break_that_is_missing_is_told) {
  TestLock lock(path(), options());
  lock.acquire(0s);
  elsewhere([&] {
    TestLock other(path(), options());
    std::error_code code;
    std::optional<Holder> holder;
    with_each_allocation_refused([&] { holder = other.holder(code); },
                                 [&](long at, bool refused) {
                                   SCOPED_TRACE(at);
                                   EXPECT_EQ(holder.has_value(), !code);
                                   EXPECT_TRUE(!code || (refused && code == std::errc::not_enough_memory));
                                 });
    bool stale = false;
    with_each_allocation_refused([&] { stale = other.break_stale(code); },
                                 [&](long at, bool refused) {
                                   SCOPED_TRACE(at);
                                   EXPECT_FALSE(stale);
                                   EXPECT_TRUE(!code || (refused && code == std::errc::not_enough_memory));
                                 });
    EXPECT_TRUE(lock.is_locked());
    bool broken = false;
    with_each_allocation_refused([&] { broken = other.break_lock(BreakWhat::ours, code) || broken; },
                                 [&](long at, bool refused) {
                                   SCOPED_TRACE(at);
                                   EXPECT_TRUE(broken || code || !other.is_locked());
                                   EXPECT_TRUE(!code || (refused && code == std::errc::not_enough_memory));
                                 });
    EXPECT_FALSE(other.is_locked());
  });
  EXPECT_FALSE(lock.i_am_locking());
  std::error_code told;
  lock.release(told);
  EXPECT_EQ(told, errc::not_locked);
}

TEST_P(MemoryOf, a_release_of_what_was_broken_says_so_without_any) {
  release_what_was_lost([&] { break_it(); });
}

class MemoryOfMany : public MemoryOf {};
INSTANTIATE_TEST_SUITE_P(every, MemoryOfMany,
                         ::testing::Values(variant_named("link"), variant_named("mkdir"), variant_named("kernel")),
                         [](const auto& each) { return std::string(each.param.name); });

TEST_P(MemoryOfMany, units_that_is_missing_gives_all_of_them_or_none) {
  const Semaphore semaphore = test_semaphore(path(), 2, options());
  Semaphore wanted = semaphore;
  Semaphore::Units units;
  std::error_code code;
  with_each_allocation_refused([&] { units = wanted.acquire(2, 0s, code); },
                               [&](long at, bool refused) {
                                 SCOPED_TRACE(at);
                                 EXPECT_TRUE(!code || (refused && code == std::errc::not_enough_memory));
                                 EXPECT_EQ(units.size(), code ? 0U : 2U);
                                 EXPECT_EQ(units.i_am_locking(), !code);
                                 units.release(code);
                                 EXPECT_FALSE(code) << code.message();
                                 EXPECT_EQ(wanted.acquire(2, 0s).size(), 2U) << "a unit was not given back";
                               });
  units = wanted.acquire(2, 0s);
  with_each_allocation_refused([&] { units.release(code); },
                               [&](long at, bool refused) {
                                 SCOPED_TRACE(at);
                                 EXPECT_TRUE(!code || (refused && code == std::errc::not_enough_memory));
                                 units = wanted.acquire(2, 0s);
                                 EXPECT_EQ(units.size(), 2U) << "a unit was not given back";
                               });
}

TEST_P(MemoryOfMany, a_release_of_what_was_lost_says_so_without_any) {
  release_what_was_lost([&] {
    if (is_kernel(GetParam())) {
      std::filesystem::remove(path());
    } else {
      break_it();
    }
  });
}

// A hold that has ended is told as such, whatever it took.
TEST_P(MemoryOfMany, a_release_that_is_missing_is_one_all_the_same) {
  for (const Mode mode : {Mode::exclusive, Mode::shared}) {
    for (const bool in_a_group : {false, true}) {
      if (in_a_group && mode == Mode::exclusive) continue;
      TestLock lock(path(), options());
      Options one_identity = options();
      one_identity.threaded = false;
      TestLock other(path(), one_identity);
      std::error_code code;
      const auto begin = [&] {
        lock.acquire(mode, 0s);
        if (in_a_group) elsewhere([&] { other.acquire(mode, 0s); });
      };
      begin();
      with_each_allocation_refused([&] { lock.release(code); },
                                   [&](long at, bool /*refused*/) {
                                     SCOPED_TRACE(at);
                                     EXPECT_FALSE(code) << code.message();
                                     EXPECT_FALSE(lock.i_am_locking());
                                     if (in_a_group) elsewhere([&] { other.release(); });
                                     EXPECT_FALSE(another_tries()) << "the hold was not ended";
                                     begin();
                                   });
      lock.release();
      if (in_a_group) elsewhere([&] { other.release(); });
    }
  }
}

TEST_P(MemoryOfMany, locks_that_is_missing_gives_all_of_them_or_none) {
  FileLock a(scratch_ / "a", options());
  FileLock b(scratch_ / "b", options());
  const std::array<Lock*, 2> all = {&a, &b};
  std::vector<std::unique_lock<Lock>> held;
  std::error_code code;
  with_each_allocation_refused([&] { held = lock_all(all, 0s, code); },
                               [&](long at, bool refused) {
                                 SCOPED_TRACE(at);
                                 EXPECT_TRUE(!code || (refused && code == std::errc::not_enough_memory));
                                 EXPECT_EQ(held.size(), code ? 0U : 2U);
                                 EXPECT_EQ(a.i_am_locking(), !code);
                                 EXPECT_EQ(b.i_am_locking(), !code);
                                 held.clear();
                                 EXPECT_FALSE(a.is_locked());
                                 EXPECT_FALSE(b.is_locked());
                               });
}

TEST(MemoryOfAFencedFile, that_is_missing_leaves_the_old_bytes_or_the_new) {
  const Scratch scratch;
  FencedFile file(scratch / "ledger");
  file.write(1, "old");
  std::uint64_t fence = 1;
  std::error_code code;
  bool written = false;
  with_each_allocation_refused([&] { written = file.write(fence + 1, "new", 0s, code); },
                               [&](long at, bool refused) {
                                 SCOPED_TRACE(at);
                                 EXPECT_EQ(written, !code);
                                 EXPECT_TRUE(written || (refused && code == std::errc::not_enough_memory));
                                 EXPECT_EQ(read_file(scratch / "ledger"), written ? "new" : "old");
                                 fence += 2;
                                 file.write(fence, "old");
                               });
  std::uint64_t newest = 0;
  with_each_allocation_refused([&] { newest = file.newest(code); },
                               [&](long at, bool refused) {
                                 SCOPED_TRACE(at);
                                 EXPECT_EQ(newest, code ? 0 : fence);
                                 EXPECT_TRUE(!code || (refused && code == std::errc::not_enough_memory));
                               });
}

// What a scheme that a user of the library builds leaves to the library.
class Mine final : public SimpleScheme {
 public:
  [[nodiscard]] std::string_view name() const noexcept override { return "mine"; }
  Step try_once() noexcept override { return Granted{}; }
  std::error_code release() noexcept override { return {}; }
};

TEST(MemoryOfAnOwnScheme, that_is_missing_in_what_it_does_not_have_is_told) {
  Lock lock("/nowhere/x", std::make_unique<Mine>());
  lock.acquire();
  std::error_code code;
  with_each_allocation_refused(
      [&] { lock.downgrade(Mode::shared, 0s, code); },
      [&](long at, bool refused) {
        SCOPED_TRACE(at);
        EXPECT_TRUE(code == std::errc::operation_not_supported || (refused && code == std::errc::not_enough_memory))
            << code.message();
        EXPECT_TRUE(lock.i_am_locking());
      });
}

}  // namespace
}  // namespace lockfile::testing
