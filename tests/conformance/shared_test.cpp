// The laws of shared holds: many readers or one writer, among threads, objects and processes.
#include "conformance/fixture.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <utility>

namespace lockfile::testing {
namespace {

class Readers : public Law {
 protected:
  void SetUp() override {
    Law::SetUp();
    if (!GetParam().missing.hard_links || !GetParam().missing.rename_new) return;
    // A file system with neither, where readers cannot be together: the law is that they are told so.
    TestLock lock(path(), options());
    EXPECT_EQ(code_of([&] { lock.acquire(Mode::shared, 0s); }), std::errc::operation_not_supported);
    told_ = true;
  }
  // Then there is nothing more to be shown in this variant.
  bool told_ = false;
};
LOCKFILE_FOR_BREAKABLE_SCHEMES(Readers);
LOCKFILE_FOR_ENGINES(Readers);

// Of those whose dead holders are seen until they are replaced.
class DeadReaders : public Readers {};
LOCKFILE_FOR_BREAKABLE_SCHEMES(DeadReaders);
LOCKFILE_FOR_LOCAL_ENGINES(DeadReaders);

class ReadersFiles : public Readers {};
LOCKFILE_FOR_BREAKABLE_SCHEMES(ReadersFiles);

#define IF_SHARED \
  if (told_) return

// The reply may be wrong as well, and the group stand.
TEST_P(ReadersFiles, do_not_fail_when_the_way_in_is_said_to_be_gone) {
  IF_SHARED;
  for (const int error : {ENOENT, ESTALE}) {
    Peer one(peer_arguments());
    Peer two(peer_arguments());
    ASSERT_EQ(one.ask("share 0"), "held");
    ASSERT_EQ(two.ask("share 0"), "held");
    TestLock lock(path(), options());
    EXPECT_TRUE(lock.try_lock_shared());  // so that what the file system can do has been tried out
    lock.unlock_shared();
    TestLock another(path(), options());
    in_.system().before = [error, refused = false](os::Call call) mutable {
      const bool enters = call == os::Call::link || call == os::Call::rename_new;
      return enters && !std::exchange(refused, true) ? error : 0;
    };
    const std::error_code code = code_of([&] { another.acquire(Mode::shared, 0s); });
    in_.system().before = nullptr;
    EXPECT_TRUE(!code || code == errc::already_locked) << code.message();
    EXPECT_EQ(another.i_am_locking(), !code);
    if (!code) another.release();
    EXPECT_TRUE(another.try_lock_shared());
    another.unlock_shared();
  }
}

TEST_P(Readers, are_together_and_keep_writers_out) {
  IF_SHARED;
  TestLock one(path(), options());
  one.lock_shared();
  in_another_thread([&] {
    TestLock two(path(), options());
    ASSERT_TRUE(two.try_lock_shared());
    EXPECT_TRUE(two.i_am_locking());
    EXPECT_TRUE(one.is_locked());
    in_another_thread([&] {
      TestLock writer(path(), options());
      EXPECT_EQ(code_of([&] { writer.acquire(0s); }), errc::already_locked);
      EXPECT_EQ(writer.holders().size(), 2U);
      for (const Holder& each : writer.holders()) {
        EXPECT_EQ(each.mode, Mode::shared);
        EXPECT_TRUE(each.this_process);
      }
    });
    two.unlock_shared();
  });
  EXPECT_TRUE(one.i_am_locking());
  in_another_thread([&] {
    TestLock writer(path(), options());
    EXPECT_EQ(code_of([&] { writer.acquire(1ms); }), errc::timed_out);
  });
  one.unlock_shared();
  EXPECT_FALSE(one.last_error());
  TestLock writer(path(), options());
  writer.acquire(0s);
}

TEST_P(Readers, are_kept_out_by_a_writer) {
  IF_SHARED;
  TestLock writer(path(), options());
  writer.acquire();
  in_another_thread([&] {
    TestLock reader(path(), options());
    EXPECT_EQ(code_of([&] { reader.acquire(Mode::shared, 0s); }), errc::already_locked);
    EXPECT_FALSE(reader.try_lock_shared_for(1ms));
  });
  writer.release();
  in_another_thread([&] {
    TestLock reader(path(), options());
    EXPECT_TRUE(reader.try_lock_shared());
    reader.unlock_shared();
  });
}

TEST_P(Readers, may_be_threads_of_one_object) {
  IF_SHARED;
  TestLock lock(path(), options());
  std::shared_lock first(lock);
  in_another_thread([&] {
    EXPECT_FALSE(lock.i_am_locking());
    std::shared_lock second(lock);
    EXPECT_TRUE(lock.i_am_locking());
    EXPECT_EQ(lock.holders().size(), 2U);
    in_another_thread([&] { EXPECT_FALSE(lock.try_lock()); });
  });
  EXPECT_TRUE(lock.i_am_locking());
  first.unlock();
  EXPECT_FALSE(lock.is_locked());
  const std::scoped_lock writer(lock);
  EXPECT_TRUE(lock.i_am_locking());
}

TEST_P(Readers, re_enter_in_their_own_mode_only) {
  IF_SHARED;
  TestLock lock(path(), options());
  lock.lock_shared();
  lock.lock_shared();
  EXPECT_EQ(code_of([&] { lock.acquire(); }), std::errc::resource_deadlock_would_occur);
  lock.unlock_shared();
  EXPECT_TRUE(lock.i_am_locking());
  lock.unlock_shared();
  EXPECT_FALSE(lock.i_am_locking());
  lock.acquire(0s);
  EXPECT_EQ(code_of([&] { lock.acquire(Mode::shared); }), std::errc::resource_deadlock_would_occur);
}

TEST_P(Readers, who_want_to_write_by_another_object_are_a_deadlock_at_once) {
  IF_SHARED;
  TestLock lock(path(), options());
  TestLock second(path(), options());
  lock.lock_shared();
  EXPECT_EQ(code_of([&] { second.acquire(); }), std::errc::resource_deadlock_would_occur);
  EXPECT_FALSE(second.try_lock());
  // Also among others that share, whichever of them is met first.
  Peer peer(peer_arguments());
  ASSERT_EQ(peer.ask("share 0"), "held");
  EXPECT_EQ(code_of([&] { second.acquire(); }), std::errc::resource_deadlock_would_occur);
  lock.unlock_shared();
  lock.lock_shared();
  EXPECT_EQ(code_of([&] { second.acquire(); }), std::errc::resource_deadlock_would_occur);
  lock.unlock_shared();
}

TEST_P(Readers, leave_in_any_order_and_the_last_one_lets_the_writer_in) {
  IF_SHARED;
  constexpr std::size_t number = 3;
  std::vector<std::size_t> order = {0, 1, 2};
  do {
    std::vector<std::unique_ptr<Peer>> readers;
    for (std::size_t i = 0; i < number; ++i) {
      readers.push_back(std::make_unique<Peer>(peer_arguments()));
      ASSERT_EQ(readers.back()->ask("share 0"), "held");
    }
    Peer writer(peer_arguments());
    writer.tell("acquire");
    for (const std::size_t next : order) {
      EXPECT_TRUE(writer.is_silent());
      EXPECT_EQ(readers[next]->ask("i_am_locking"), "yes");
      EXPECT_EQ(readers[next]->ask("release"), "released");
    }
    EXPECT_EQ(writer.answer(), "held");
    EXPECT_EQ(writer.ask("release"), "released");
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST_P(Readers, that_wait_enter_together_when_the_writer_leaves) {
  IF_SHARED;
  TestLock writer(path(), options());
  writer.acquire();
  Peer one(peer_arguments());
  Peer two(peer_arguments());
  one.tell("share");
  two.tell("share");
  EXPECT_TRUE(one.is_silent());
  EXPECT_TRUE(two.is_silent());
  writer.release();
  EXPECT_EQ(one.answer(), "held");
  EXPECT_EQ(two.answer(), "held");
  EXPECT_EQ(code_of([&] { writer.acquire(0s); }), errc::already_locked);
}

TEST_P(Readers, that_are_killed_keep_nobody_out) {
  IF_SHARED;
  for (const int killed_first : {0, 1}) {
    Peer one(peer_arguments());
    Peer two(peer_arguments());
    ASSERT_EQ(one.ask("share 0"), "held");
    ASSERT_EQ(two.ask("share 0"), "held");
    Peer writer(peer_arguments());
    writer.tell("acquire");
    EXPECT_TRUE(writer.is_silent());
    (killed_first == 0 ? one : two).kill();
    EXPECT_TRUE(writer.is_silent());
    (killed_first == 0 ? two : one).kill();
    EXPECT_EQ(writer.answer(), "held");
    EXPECT_EQ(writer.ask("release"), "released");
  }
  if (is_engine(GetParam())) return;
  std::error_code code;
  (void)leftovers(scratch_.path().string(), Clean::remove_dead, code);
  EXPECT_EQ(scratch_.names(), what_stays());
}

TEST_P(DeadReaders, that_are_all_dead_are_stale) {
  IF_SHARED;
  Peer one(peer_arguments());
  Peer two(peer_arguments());
  ASSERT_EQ(one.ask("share 0"), "held");
  ASSERT_EQ(two.ask("share 0"), "held");
  TestLock lock(path(), options());
  EXPECT_FALSE(lock.break_stale());
  one.kill();
  EXPECT_FALSE(lock.break_stale());
  EXPECT_TRUE(lock.is_locked());
  EXPECT_EQ(two.ask("i_am_locking"), "yes");
  two.kill();
  EXPECT_FALSE(lock.is_locked());
  EXPECT_TRUE(lock.break_stale());
  EXPECT_FALSE(lock.holder());
  lock.acquire(0s);
}

TEST_P(Readers, that_are_broken_learn_it_and_the_others_stay) {
  IF_SHARED;
  TestLock one(path(), options());
  one.lock_shared();
  Peer two(peer_arguments());
  ASSERT_EQ(two.ask("share 0"), "held");
  const std::vector<Holder> both = one.holders();
  ASSERT_EQ(both.size(), 2U);
  for (const Holder& each : both) {
    if (each.this_process) {
      EXPECT_TRUE(one.break_lock(each));
      EXPECT_FALSE(one.break_lock(each));
    }
  }
  EXPECT_FALSE(one.i_am_locking());
  EXPECT_EQ(two.ask("i_am_locking"), "yes");
  EXPECT_EQ(code_of([&] { one.release(); }), errc::not_my_lock);
  EXPECT_EQ(code_of([&] { one.acquire(0s); }), errc::already_locked);
  // Whoever holds: all of them.
  ASSERT_TRUE(one.try_lock_shared());
  EXPECT_TRUE(one.break_lock());
  EXPECT_FALSE(one.is_locked());
  EXPECT_EQ(two.ask("i_am_locking"), "no");
  EXPECT_FALSE(one.i_am_locking());
  TestLock next(path(), options());
  next.acquire(0s);
  EXPECT_TRUE(two.ask("release").starts_with("error lockfile:"));
  EXPECT_TRUE(next.i_am_locking());
}

TEST_P(ReadersFiles, leave_nothing_behind) {
  IF_SHARED;
  {
    TestLock one(path(), options());
    Peer two(peer_arguments());
    one.lock_shared();
    ASSERT_EQ(two.ask("share 0"), "held");
    one.unlock_shared();
    one.lock_shared();
    ASSERT_EQ(two.ask("release"), "released");
    one.unlock_shared();
    EXPECT_EQ(std::filesystem::exists(word()), is_memory(GetParam()));
    ASSERT_EQ(two.ask("drop"), "dropped");
  }
  EXPECT_EQ(scratch_.names(), what_stays());
}

TEST_P(Readers, in_a_forked_child_hold_nothing) {
  IF_SHARED;
  TestLock lock(path(), options());
  lock.lock_shared();
  Peer other(peer_arguments());
  ASSERT_EQ(other.ask("share 0"), "held");
  const pid_t child = fork();
  if (child == 0) {
    const bool holds = lock.i_am_locking();
    const bool may_write = !code_of([&] { lock.acquire(0s); });
    ::_exit(holds || may_write ? 1 : 0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(lock.i_am_locking());
}

TEST_P(Readers, and_writers_never_overlap) {
  IF_SHARED;
  constexpr int rounds = 60;
  std::atomic<int> readers = 0;
  std::atomic<int> writers = 0;
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.push_back(thread([&, i] {
      TestLock lock(path(), options());
      for (int round = 0; round < rounds; ++round) {
        if ((round + i) % 3 == 0) {
          lock.lock();
          if (++writers != 1 || readers != 0) ++wrong;
          --writers;
          lock.unlock();
        } else {
          lock.lock_shared();
          ++readers;
          if (writers != 0) ++wrong;
          --readers;
          lock.unlock_shared();
        }
        if (lock.last_error()) ++wrong;
      }
    }));
  }
  for (std::thread& each : threads) each.join();
  EXPECT_EQ(wrong, 0);
  if (!is_engine(GetParam())) {
    EXPECT_EQ(scratch_.names(), what_stays());
  }
}

}  // namespace
}  // namespace lockfile::testing
