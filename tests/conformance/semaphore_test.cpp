// The laws of a semaphore: never more than N units, whoever dies gives back, many are not passed by few.
#include "conformance/fixture.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <future>

namespace lockfile::testing {
namespace {

std::vector<Variant> both_kernel_locks() { return {variant_named("kernel"), variant_named("flock")}; }

class Semaphores : public Law {};
LOCKFILE_FOR_MAIN_VARIANTS(Semaphores);
LOCKFILE_FOR_EACH_OF(both_kernel_locks(), kernel, Semaphores);
LOCKFILE_FOR_ENGINES(Semaphores);

// What is refused before anything is opened, and units that are files.
class FileSemaphores : public Law {
 protected:
  // Until the lock of that name is that process's.
  void see_held(const std::string& name, std::int64_t pid) {
    FileLock look(name, options());
    const auto give_up = std::chrono::steady_clock::now() + stuck;
    for (;;) {
      const auto holder = look.holder();
      if (holder && holder->pid == pid) return;
      ASSERT_LT(std::chrono::steady_clock::now(), give_up) << name << " is not held by " << pid;
      std::this_thread::yield();
    }
  }
  void see_waiting(const std::string& name, std::size_t count) {
    FileLock look(name, options());
    const auto give_up = std::chrono::steady_clock::now() + stuck;
    while (look.waiters().size() != count) {
      ASSERT_LT(std::chrono::steady_clock::now(), give_up);
      std::this_thread::yield();
    }
  }
};
LOCKFILE_FOR_MAIN_VARIANTS(FileSemaphores);
LOCKFILE_FOR_EACH_OF(both_kernel_locks(), kernel, FileSemaphores);

TEST_P(Semaphores, give_out_no_more_units_than_there_are) {
  Semaphore semaphore = test_semaphore(path(), 3, options());
  auto two = semaphore.acquire(2, 0s);
  EXPECT_EQ(two.size(), 2U);
  EXPECT_TRUE(two.i_am_locking());
  auto one = semaphore.acquire(1, 0s);
  EXPECT_EQ(semaphore.holders().size(), 3U);
  in_another_thread([&] {
    EXPECT_EQ(code_of([&] { (void)semaphore.acquire(1, 0s); }), errc::already_locked);
    EXPECT_EQ(code_of([&] { (void)semaphore.acquire(2, 1ms); }), errc::timed_out);
  });
  Semaphore::Units moved(std::move(one));
  EXPECT_EQ(moved.size(), 1U);
  EXPECT_EQ(semaphore.holders().size(), 3U);
  moved.release();
  EXPECT_EQ(moved.size(), 0U);
  in_another_thread([&] {
    EXPECT_EQ(code_of([&] { (void)semaphore.acquire(2, 1ms); }), errc::timed_out);
    EXPECT_EQ(semaphore.acquire(1, 0s).size(), 1U);
  });
  two = {};
  EXPECT_TRUE(semaphore.holders().empty());
  EXPECT_EQ(semaphore.acquire(3, 0s).size(), 3U);
}

TEST_P(Semaphores, refuse_no_units_and_more_than_there_are) {
  EXPECT_EQ(code_of([&] { (void)test_semaphore(path(), 0, options()); }), std::errc::invalid_argument);
  EXPECT_EQ(code_of([&] { Semaphore nowhere("..", 1); }), std::errc::invalid_argument);
  EXPECT_EQ(code_of([&] { Semaphore how(path(), 1, {.scheme = "by magic"}); }), std::errc::invalid_argument);
  Semaphore semaphore = test_semaphore(path(), 2, options());
  EXPECT_EQ(code_of([&] { (void)semaphore.acquire(0); }), std::errc::invalid_argument);
  EXPECT_EQ(code_of([&] { (void)semaphore.acquire(3); }), std::errc::invalid_argument);
  std::error_code code;
  for (const std::size_t units : {0UL, 3UL}) {
    EXPECT_FALSE(semaphore.acquire(units, 0s, code));
    EXPECT_EQ(code, std::errc::invalid_argument);
  }
  Semaphore::Units none;
  none.release();
  none.release(code);
  EXPECT_FALSE(code);
}

TEST_P(Semaphores, of_one_thread_that_holds_all_are_a_deadlock) {
  Semaphore semaphore = test_semaphore(path(), 2, options());
  const auto all = semaphore.acquire(2);
  EXPECT_EQ(code_of([&] { (void)semaphore.acquire(1); }), std::errc::resource_deadlock_would_occur);
}

TEST_P(Semaphores, that_this_thread_alone_could_give_back_are_a_deadlock_also_later) {
  Semaphore semaphore = test_semaphore(path(), 2, options());
  const auto one = semaphore.acquire(1);
  Peer peer(peer_arguments());
  ASSERT_EQ(peer.ask("units 1 2"), "held");
  auto other = thread([&] { peer.kill(); });
  EXPECT_EQ(code_of([&] { (void)semaphore.acquire(2, stuck); }), std::errc::resource_deadlock_would_occur);
  other.join();
}

TEST_P(Semaphores, are_given_back_by_the_dead) {
  const Wait at_once = is_engine(GetParam()) ? Wait(stuck) : Wait(0s);  // a server takes its time to notice a death
  Semaphore semaphore = test_semaphore(path(), 3, options());
  Peer one(peer_arguments());
  Peer two(peer_arguments());
  ASSERT_EQ(one.ask("units 1 3"), "held");
  ASSERT_EQ(two.ask("units 2 3"), "held");
  EXPECT_EQ(code_of([&] { (void)semaphore.acquire(1, 0s); }), errc::already_locked);
  two.kill();
  EXPECT_EQ(code_of([&] { (void)semaphore.acquire(3, 0s); }), errc::already_locked);
  EXPECT_EQ(semaphore.acquire(2, at_once).size(), 2U);
  one.kill();
  EXPECT_EQ(semaphore.acquire(3, at_once).size(), 3U);
}

TEST_P(Semaphores, wake_who_waits_for_many_when_enough_have_been_given_back) {
  Semaphore semaphore = test_semaphore(path(), 3, options());
  Peer one(peer_arguments());
  Peer other(peer_arguments());
  ASSERT_EQ(one.ask("units 1 3"), "held");
  ASSERT_EQ(other.ask("units 1 3"), "held");
  std::promise<void> begun;
  std::atomic<bool> granted = false;
  std::thread waiter = thread([&] {
    begun.set_value();
    const auto all = semaphore.acquire(3);
    granted = all.size() == 3;
  });
  begun.get_future().wait();
  one.kill();
  EXPECT_FALSE(granted);
  other.kill();
  waiter.join();
  EXPECT_TRUE(granted);
}

TEST_P(FileSemaphores, are_not_kept_from_who_asks_for_many_by_those_who_ask_for_few) {
  Semaphore semaphore = test_semaphore(path(), 3, options());
  Peer one(peer_arguments());
  Peer other(peer_arguments());
  ASSERT_EQ(one.ask("units 1 3"), "held");
  ASSERT_EQ(other.ask("units 1 3"), "held");
  Peer many(peer_arguments());
  many.tell("units 3 3");
  see_held(path(), many.pid());
  Peer few(peer_arguments());
  few.tell("units 1 3");
  see_waiting(path(), 1);
  one.kill();
  EXPECT_TRUE(many.is_silent());
  EXPECT_TRUE(few.is_silent()) << "what was given back is for whoever has the right to be admitted";
  other.kill();
  EXPECT_EQ(many.answer(), "held");
  EXPECT_TRUE(few.is_silent());
  many.kill();
  EXPECT_EQ(few.answer(), "held");
}

// The right is a lock like any other, and may be broken by force while its holder collects.
TEST_P(FileSemaphores, whose_right_is_broken_are_collected_anew) {
  Semaphore semaphore = test_semaphore(path(), 2, options());
  Peer one(peer_arguments());
  ASSERT_EQ(one.ask("units 1 2"), "held");
  Peer both(peer_arguments());
  both.tell("units 2 2");
  see_held(path(), both.pid());
  see_held(path() + ".2", both.pid());
  Peer few(peer_arguments());
  few.tell("units 1 2");
  see_waiting(path(), 1);
  FileLock right(path(), options());
  if (is_kernel(GetParam())) {
    EXPECT_EQ(code_of([&] { right.break_lock(); }), errc::cannot_break);
    EXPECT_TRUE(few.is_silent());
    one.kill();
    EXPECT_EQ(both.answer(), "held");
    return;
  }
  EXPECT_TRUE(right.break_lock());
  // It gives back what it had collected, and whoever is next in line is served.
  EXPECT_EQ(few.answer(), "held");
  EXPECT_TRUE(both.is_silent());
  one.kill();
  EXPECT_TRUE(both.is_silent());
  few.kill();
  EXPECT_EQ(both.answer(), "held");
}

TEST_P(FileSemaphores, that_are_held_stay_when_the_right_is_broken) {
  Semaphore semaphore = test_semaphore(path(), 2, options());
  const auto one = semaphore.acquire(1, 0s);
  FileLock right(path(), options());
  EXPECT_FALSE(right.break_lock()) << "nobody has it who has collected all";
  EXPECT_TRUE(one.i_am_locking());
  Peer other(peer_arguments());
  EXPECT_EQ(other.ask("units 1 2"), "held");
}

TEST_P(FileSemaphores, that_cannot_be_looked_at_are_an_error) {
  std::filesystem::create_directory_symlink("loop", scratch_ / "loop");
  Semaphore semaphore = test_semaphore(scratch_ / "loop/a", 2, options());
  EXPECT_EQ(code_of([&] { (void)semaphore.holders(); }), std::errc::too_many_symbolic_link_levels);
}

TEST_P(FileSemaphores, of_a_parent_are_not_its_childs) {
  Semaphore semaphore = test_semaphore(path(), 2, options());
  auto both = semaphore.acquire(2);
  const pid_t child = fork();
  if (child == 0) {
    InVariant anew(GetParam());
    const bool its_own = both.i_am_locking();
    both = {};
    std::error_code code;
    const bool granted = static_cast<bool>(semaphore.acquire(1, 0s, code));
    ::_exit(its_own || granted || code != errc::already_locked ? 1 : 0);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(both.i_am_locking());
  both.release();
  EXPECT_EQ(semaphore.acquire(2, 0s).size(), 2U);
}

TEST_P(FileSemaphores, tell_who_was_broken) {
  Semaphore semaphore = test_semaphore(path(), 2, options());
  auto one = semaphore.acquire(1);
  const auto holders = semaphore.holders();
  ASSERT_EQ(holders.size(), 1U);
  FileLock unit(path() + ".1", options());
  if (is_kernel(GetParam())) {
    EXPECT_EQ(code_of([&] { unit.break_lock(holders.front()); }), errc::cannot_break);
    return;
  }
  EXPECT_TRUE(unit.break_lock(holders.front()));
  EXPECT_FALSE(one.i_am_locking());
  EXPECT_EQ(code_of([&] { one.release(); }), errc::not_locked);
}

TEST_P(Semaphores, never_are_more_than_there_are) {
  constexpr int rounds = 15;
  std::atomic<int> used = 0;
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.push_back(thread([&, i] {
      Semaphore semaphore = test_semaphore(path(), 3, options());
      for (int round = 0; round < rounds; ++round) {
        const int wanted = 1 + (round + i) % 3;
        auto held = semaphore.acquire(static_cast<std::size_t>(wanted));
        if ((used += wanted) > 3) ++wrong;
        used -= wanted;
        held.release();
      }
    }));
  }
  for (std::thread& each : threads) each.join();
  EXPECT_EQ(wrong, 0);
  // The files of kernel locks stay.
  if (!is_kernel(GetParam()) && !is_engine(GetParam())) {
    EXPECT_EQ(scratch_.names(), std::vector<std::string>());
  }
}

}  // namespace
}  // namespace lockfile::testing
