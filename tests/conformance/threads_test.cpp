// Threads of one process: they exclude each other and other processes, whether a hold is passed on among them or not.
#include "conformance/fixture.hpp"

#include <atomic>
#include <optional>

namespace lockfile::testing {
namespace {

class Threads : public Law {
 protected:
  static constexpr int many = 8;
  static constexpr int rounds = 40;

  void in_many_threads(const std::function<void(int)>& what) {
    std::vector<std::thread> all;
    for (int i = 0; i < many; ++i) all.push_back(thread([&what, i] { what(i); }));
    for (std::thread& each : all) each.join();
  }
};
LOCKFILE_FOR_ALL_SCHEMES(Threads);

class LockFileThreads : public Threads {};
LOCKFILE_FOR_ALL_VARIANTS(LockFileThreads);
LOCKFILE_FOR_ENGINES(LockFileThreads);

TEST_P(Threads, of_one_object_hold_one_at_a_time_and_nothing_is_left_held) {
  TestLock lock(path(), options());
  int inside = 0;
  int held = 0;
  std::atomic<int> overlaps = 0;
  in_many_threads([&](int me) {
    for (int i = 0; i < rounds; ++i) {
      const bool mine = (i + me) % 3 == 0   ? lock.try_lock()
                        : (i + me) % 3 == 1 ? lock.try_lock_for(1ms)
                                            : lock.try_lock_for(stuck);
      if (!mine) continue;
      if (++inside != 1) ++overlaps;
      ++held;
      if (!lock.i_am_locking()) ++overlaps;
      --inside;
      lock.unlock();
    }
  });
  EXPECT_EQ(overlaps, 0);
  EXPECT_GE(held, many * rounds / 3 - many);
  EXPECT_FALSE(lock.is_locked());
  Peer peer(peer_arguments());
  EXPECT_EQ(peer.ask("acquire 0"), "held");
}

TEST_P(Threads, that_cannot_be_woken_look_again_and_that_cannot_sleep_say_so) {
  constexpr int few = 3;
  std::atomic<int> waits = 0;
  std::atomic<bool> sleepless = false;
  in_.system().before = [&](os::Call call) {
    if (call == os::Call::wait) ++waits;
    if (call == os::Call::wait && sleepless) return ENOMEM;
    return call == os::Call::event_open ? EMFILE : 0;
  };
  TestLock lock(path(), options());
  for (const bool refused : {false, true}) {
    lock.acquire();
    waits = 0;
    std::atomic<int> answers = 0;
    std::vector<std::thread> all;
    for (int i = 0; i < few; ++i) {
      all.push_back(thread([&] {
        const std::error_code code = code_of([&] { lock.acquire(stuck); });
        if (code == (refused ? std::make_error_code(std::errc::not_enough_memory) : std::error_code())) ++answers;
        if (!code) lock.release();
      }));
    }
    while (waits < 4 * few) std::this_thread::yield();
    sleepless = refused;
    if (!refused) lock.release();
    for (std::thread& each : all) each.join();
    EXPECT_EQ(answers, few) << refused;
  }
  in_.system().before = nullptr;
  lock.release();
}

TEST_P(Threads, exclude_another_process_that_comes_among_them) {
  TestLock lock(path(), options());
  Peer peer(peer_arguments());
  std::atomic<bool> peer_holds = false;
  std::atomic<int> overlaps = 0;
  auto other = thread([&] {
    for (int i = 0; i < 10; ++i) {
      if (peer.ask("acquire") != "held") ++overlaps;
      peer_holds = true;
      peer_holds = false;
      if (peer.ask("release") != "released") ++overlaps;
    }
  });
  in_many_threads([&](int /*me*/) {
    for (int i = 0; i < rounds; ++i) {
      lock.lock();
      if (peer_holds) ++overlaps;
      lock.unlock();
    }
  });
  other.join();
  EXPECT_EQ(overlaps, 0);
}

TEST_P(Threads, that_hold_are_told_of_a_deadlock_by_another_object_and_no_other_thread_is) {
  TestLock lock(path(), options());
  TestLock second(path(), options());
  std::atomic<int> wrong = 0;
  in_many_threads([&](int /*me*/) {
    for (int i = 0; i < rounds / 4; ++i) {
      lock.lock();
      if (code_of([&] { second.acquire(); }) != std::errc::resource_deadlock_would_occur) ++wrong;
      lock.unlock();
      // Not ours any more, whoever acquired what is passed on.
      if (code_of([&] { second.acquire(stuck); })) ++wrong;
      std::error_code code;
      second.release(code);
      if (code) ++wrong;
    }
  });
  EXPECT_EQ(wrong, 0);
}

TEST_P(LockFileThreads, never_pass_on_a_hold_that_was_broken) {
  TestLock lock(path(), options());
  TestLock breaker(path(), options());
  for (int i = 0; i < rounds; ++i) {
    lock.lock();
    auto waiter = thread([&] {
      lock.lock();
      EXPECT_TRUE(lock.i_am_locking());
      lock.unlock();
    });
    const Holder mine = lock.holder().value();
    EXPECT_TRUE(breaker.break_lock(mine));
    std::error_code code;
    lock.release(code);
    EXPECT_TRUE(code == errc::not_locked || code == errc::not_my_lock) << code.message();
    waiter.join();
  }
  EXPECT_FALSE(lock.is_locked());
}

TEST_P(Threads, with_fences_get_a_number_each) {
  Options fenced = options();
  fenced.fence = true;
  TestLock lock(path(), fenced);
  std::error_code can;
  if (!lock.acquire(0s, can)) GTEST_SKIP() << "unavoidable: no fences in this variant";
  std::uint64_t last = lock.fence();
  lock.release();
  std::atomic<int> wrong = 0;
  in_many_threads([&](int /*me*/) {
    for (int i = 0; i < 3; ++i) {
      lock.lock();
      if (lock.fence() <= last) ++wrong;
      last = lock.fence();
      lock.unlock();
    }
  });
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace lockfile::testing
