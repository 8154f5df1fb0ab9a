// The laws of protocol and contract that speak of who may hold, by threads, objects and processes.
#include "claim/guard.hpp"
#include "conformance/fixture.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <future>

namespace lockfile::testing {
namespace {

class Laws : public Law {};
LOCKFILE_FOR_ALL_SCHEMES(Laws);

// What speaks of paths, and of processes that go on with descriptors which are not theirs any more.
class PathLaws : public Law {};
LOCKFILE_FOR_ALL_FILES(PathLaws);

// What kernel locks promise in another way, or cannot: tests/kernel/file_test.cpp.
class LockFileLaws : public Law {};
LOCKFILE_FOR_ALL_VARIANTS(LockFileLaws);

// Of those that can be broken.
class BreakLaws : public Law {};
LOCKFILE_FOR_BREAKABLE_SCHEMES(BreakLaws);
LOCKFILE_FOR_ENGINES(BreakLaws);

// Of those that can be broken, and that a death leaves standing.
class DeathLaws : public Law {};
LOCKFILE_FOR_BREAKABLE_SCHEMES(DeathLaws);
LOCKFILE_FOR_LOCAL_ENGINES(DeathLaws);

// Of those that can be handed to a child.
class HandOverLaws : public Law {};
LOCKFILE_FOR_BREAKABLE_SCHEMES(HandOverLaws);

TEST(Matrix, has_every_scheme_and_fallback) {
  ASSERT_EQ(variants().size(), 12U);
  ASSERT_EQ(kernel_variants().size(), 6U);
  ASSERT_EQ(memory_variants().size(), 3U);
  std::cout << "laws run for " << all_variants().size() << " variants, those of lock files for " << variants().size()
            << "\n";
}

TEST_P(Laws, exclusive_excludes_exclusive_between_objects_of_two_threads) {
  TestLock lock(path(), options());
  lock.acquire();
  in_another_thread([&] {
    TestLock other(path(), options());
    EXPECT_EQ(code_of([&] { other.acquire(0s); }), errc::already_locked);
    EXPECT_EQ(code_of([&] { other.acquire(1ms); }), errc::timed_out);
    EXPECT_FALSE(other.try_lock());
  });
  lock.release();
  in_another_thread([&] {
    TestLock other(path(), options());
    other.acquire(0s);
    other.release();
  });
}

TEST_P(Laws, exclusive_excludes_exclusive_between_threads_of_one_object) {
  TestLock lock(path(), options());
  lock.acquire();
  in_another_thread([&] {
    EXPECT_EQ(code_of([&] { lock.acquire(0s); }), errc::already_locked);
    EXPECT_FALSE(lock.i_am_locking());
    EXPECT_EQ(code_of([&] { lock.release(); }), errc::not_my_lock);
  });
  EXPECT_TRUE(lock.i_am_locking());
}

TEST_P(Laws, exclusive_excludes_exclusive_between_processes) {
  Peer peer(peer_arguments());
  TestLock lock(path(), options());
  ASSERT_EQ(peer.ask("acquire"), "held");
  EXPECT_EQ(code_of([&] { lock.acquire(0s); }), errc::already_locked);
  EXPECT_TRUE(lock.is_locked());
  ASSERT_EQ(peer.ask("release"), "released");
  EXPECT_FALSE(lock.is_locked());
  lock.acquire(0s);
  EXPECT_TRUE(peer.ask("acquire 0").starts_with("error lockfile:1 "));
}

TEST_P(PathLaws, every_spelling_of_a_path_is_the_same_lock) {
  std::filesystem::create_directory(scratch_ / "real");
  std::filesystem::create_directory_symlink(scratch_ / "real", scratch_ / "linked");
  TestLock lock(scratch_ / "real/x", options());
  lock.acquire();
  for (const std::string spelling : {"real/./x", "linked/x", "real//x", "linked/../real/x", "real/x/"}) {
    in_another_thread([&] {
      TestLock other(scratch_ / spelling, options());
      EXPECT_EQ(code_of([&] { other.acquire(0s); }), errc::already_locked) << spelling;
    });
  }
}

TEST_P(LockFileLaws, link_and_mkdir_lockers_exclude_each_other) {
  MkdirFileLock one(path());
  one.acquire();
  in_another_thread([&] {
    TestLock other(path(), options());
    EXPECT_EQ(code_of([&] { other.acquire(0s); }), errc::already_locked);
  });
  one.release();
  TestLock lock(path(), options());
  lock.acquire();
  in_another_thread([&] {
    MkdirFileLock other(path());
    EXPECT_EQ(code_of([&] { other.acquire(0s); }), errc::already_locked);
  });
}

TEST_P(Laws, a_waiter_enters_when_and_only_when_the_holder_releases) {
  TestLock lock(path(), options());
  lock.acquire();
  Peer peer(peer_arguments());
  peer.tell("acquire");
  EXPECT_TRUE(peer.is_silent());
  EXPECT_TRUE(lock.i_am_locking());
  lock.release();
  EXPECT_EQ(peer.answer(), "held");
}

TEST_P(Laws, a_waiting_thread_enters_when_another_thread_releases) {
  TestLock lock(path(), options());
  lock.acquire();
  std::promise<void> entered;
  auto waiter = thread([&] {
    lock.acquire();
    entered.set_value();
    lock.release();
  });
  auto done = entered.get_future();
  EXPECT_EQ(done.wait_for(quiescent), std::future_status::timeout);
  lock.release();
  EXPECT_EQ(done.wait_for(stuck), std::future_status::ready);
  waiter.join();
}

TEST_P(Laws, many_threads_and_processes_never_overlap) {
  constexpr int threads = 4;
  constexpr int rounds = 25;
  // A counter that loses updates when two are inside.
  const std::string ledger = scratch_ / "ledger";
  write_file(ledger, "0");
  std::atomic<int> inside = 0;
  std::atomic<int> overlaps = 0;
  TestLock shared(path(), options());
  std::vector<std::thread> all;
  for (int i = 0; i < threads; ++i) {
    all.push_back(thread([&, i] {
      TestLock own(path(), options());
      TestLock& lock = i % 2 == 0 ? shared : own;
      for (int round = 0; round < rounds; ++round) {
        lock.acquire(stuck);
        if (inside.fetch_add(1) != 0) ++overlaps;
        write_file(ledger, std::to_string(std::stoi(read_file(ledger)) + 1));
        inside.fetch_sub(1);
        lock.release();
      }
    }));
  }
  for (std::thread& each : all) each.join();
  EXPECT_EQ(overlaps, 0);
  EXPECT_EQ(read_file(ledger), std::to_string(threads * rounds));
}

TEST_P(Laws, without_threaded_all_threads_are_one_identity_of_the_object) {
  Options one = options();
  one.threaded = false;
  TestLock lock(path(), one);
  lock.acquire();
  in_another_thread([&] {
    EXPECT_TRUE(lock.i_am_locking());
    lock.acquire(0s);
    lock.release();
    EXPECT_TRUE(lock.i_am_locking());
    lock.release();
    EXPECT_FALSE(lock.i_am_locking());
    TestLock other(path(), one);
    other.acquire(0s);
    other.release();
  });
}

TEST_P(Laws, re_entry_is_counted) {
  TestLock lock(path(), options());
  lock.acquire();
  lock.acquire(0s);
  EXPECT_TRUE(lock.try_lock());
  lock.release();
  lock.release();
  EXPECT_TRUE(lock.i_am_locking());
  lock.release();
  EXPECT_FALSE(lock.i_am_locking());
  EXPECT_EQ(code_of([&] { lock.release(); }), errc::not_locked);
}

TEST_P(Laws, a_second_object_in_the_same_thread_is_a_deadlock_at_once) {
  TestLock lock(path(), options());
  TestLock second(path(), options());
  lock.acquire();
  EXPECT_EQ(code_of([&] { second.acquire(); }), std::errc::resource_deadlock_would_occur);
  EXPECT_FALSE(second.try_lock());
  // Also when another thread waits in line already.
  auto waiter = thread([&] {
    TestLock third(path(), options());
    third.acquire(stuck);
    third.release();
  });
  EXPECT_EQ(code_of([&] { second.acquire(); }), std::errc::resource_deadlock_would_occur);
  lock.release();
  waiter.join();
}

TEST_P(DeathLaws, a_killed_holder_is_replaced_at_once) {
  Peer peer(peer_arguments());
  ASSERT_EQ(peer.ask("acquire"), "held");
  TestLock lock(path(), options());
  EXPECT_TRUE(lock.is_locked());
  peer.kill();
  EXPECT_FALSE(lock.is_locked());
  EXPECT_EQ(lock.holder().value().verdict, Verdict::dead);
  lock.acquire(0s);
  EXPECT_TRUE(lock.i_am_locking());
}

TEST_P(Laws, a_waiter_enters_when_the_holder_is_killed) {
  Peer holder(peer_arguments());
  Peer waiter(peer_arguments());
  ASSERT_EQ(holder.ask("acquire"), "held");
  waiter.tell("acquire");
  EXPECT_TRUE(waiter.is_silent());
  holder.kill();
  EXPECT_EQ(waiter.answer(), "held");
}

TEST_P(BreakLaws, a_broken_holder_learns_it_and_removes_nothing) {
  TestLock lock(path(), options());
  lock.acquire();
  lock.acquire();
  Peer peer(peer_arguments());
  ASSERT_EQ(peer.ask("break"), "broken");
  EXPECT_FALSE(lock.i_am_locking());
  EXPECT_FALSE(lock.is_locked());
  EXPECT_EQ(code_of([&] { lock.release(); }), errc::not_locked);  // free now
  ASSERT_EQ(peer.ask("acquire 0"), "held");
  EXPECT_EQ(code_of([&] { lock.release(); }), errc::not_my_lock);  // somebody else's now
  EXPECT_EQ(peer.ask("i_am_locking"), "yes");
  EXPECT_EQ(code_of([&] { lock.acquire(0s); }), errc::already_locked);
}

TEST_P(BreakLaws, a_late_release_of_a_broken_hold_spares_the_next_hold_of_the_same_object) {
  TestLock lock(path(), options());
  lock.acquire();
  in_another_thread([&] {
    EXPECT_TRUE(lock.break_lock());
    lock.acquire(0s);
  });
  EXPECT_EQ(code_of([&] { lock.release(); }), errc::not_my_lock);
  EXPECT_TRUE(lock.is_locked());
}

TEST_P(BreakLaws, breaking_one_hold_spares_the_next) {
  TestLock lock(path(), options());
  lock.acquire();
  const Holder first = lock.holder().value();
  EXPECT_EQ(first.pid, ::getpid());
  lock.release();
  lock.acquire();
  EXPECT_FALSE(lock.break_lock(first));
  EXPECT_TRUE(lock.i_am_locking());
  EXPECT_TRUE(lock.break_lock(lock.holder().value()));
  EXPECT_FALSE(lock.i_am_locking());
}

TEST_P(DeathLaws, only_the_provably_dead_are_broken_as_stale) {
  Peer peer(peer_arguments());
  TestLock lock(path(), options());
  EXPECT_FALSE(lock.break_stale());
  ASSERT_EQ(peer.ask("acquire"), "held");
  EXPECT_FALSE(lock.break_stale());
  EXPECT_EQ(peer.ask("i_am_locking"), "yes");
  peer.signal(SIGSTOP);
  EXPECT_FALSE(lock.break_stale());
  peer.kill();
  EXPECT_TRUE(lock.break_stale());
  EXPECT_FALSE(lock.holder());
}

TEST_P(Laws, a_timeout_is_kept_while_the_holder_is_stopped) {
  Peer peer(peer_arguments());
  ASSERT_EQ(peer.ask("acquire"), "held");
  peer.signal(SIGSTOP);
  TestLock lock(path(), options());
  EXPECT_EQ(code_of([&] { lock.acquire(20ms); }), errc::timed_out);
  peer.signal(SIGCONT);
  EXPECT_EQ(peer.ask("i_am_locking"), "yes");
}

TEST_P(Laws, a_stop_request_ends_a_wait) {
  Peer peer(peer_arguments());
  ASSERT_EQ(peer.ask("acquire"), "held");
  std::stop_source stop;
  std::promise<std::error_code> result;
  auto waiter = thread([&] {
    TestLock lock(path(), options());
    result.set_value(code_of([&] { lock.acquire({for_ever, stop.get_token()}); }));
  });
  auto ended = result.get_future();
  EXPECT_EQ(ended.wait_for(quiescent), std::future_status::timeout);
  stop.request_stop();
  ASSERT_EQ(ended.wait_for(stuck), std::future_status::ready);
  EXPECT_EQ(ended.get(), errc::stopped);
  waiter.join();
}

TEST_P(Laws, a_stop_request_ends_a_wait_in_the_line_of_threads) {
  TestLock lock(path(), options());
  lock.acquire();
  std::stop_source stop;
  auto first = thread([&] { lock.acquire(stuck), lock.release(); });
  std::promise<std::error_code> result;
  auto second = thread([&] { result.set_value(code_of([&] { lock.acquire(stop.get_token()); })); });
  stop.request_stop();
  EXPECT_EQ(result.get_future().get(), errc::stopped);
  lock.release();
  first.join();
  second.join();
}

// Runs in a forked child; its complaints are its exit status. Whether it can see the lock is the scheme's: a connection
// is its parent's.
int child_holds_nothing(TestLock& lock, const std::string& path, const Options& options, bool sees_it) {
  if (lock.i_am_locking() || lock.fence() != 0) return 1;
  const std::error_code released = code_of([&] { lock.release(); });
  if (sees_it ? released != errc::not_my_lock : !released) return 2;
  std::error_code unsure;
  if (!lock.is_locked(unsure) && !unsure) return 3;
  const std::error_code acquired = code_of([&] { lock.acquire(0s); });
  if (sees_it ? acquired != errc::already_locked : !acquired) return 4;
  TestLock other(path, options);
  const std::error_code by_another = code_of([&] { other.acquire(0s); });
  if (sees_it ? by_another != errc::already_locked : !by_another) return 5;
  return 0;
}

TEST_P(Laws, a_forked_child_holds_nothing_and_releases_nothing) {
  auto lock = std::make_unique<TestLock>(path(), options());
  lock->acquire();
  const pid_t child = fork();
  if (child == 0) {
    InVariant anew(GetParam());
    const int complaint = child_holds_nothing(*lock, path(), options(), !is_engine(GetParam()));
    lock.reset();
    ::_exit(complaint);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_TRUE(lock->i_am_locking());
  lock->release();
}

TEST_P(DeathLaws, a_worker_that_outlives_its_parent_prolongs_nothing) {
  Peer peer(peer_arguments());
  ASSERT_EQ(peer.ask("acquire"), "held");
  const pid_t worker = std::stoi(peer.ask("fork_worker"));
  peer.kill();
  TestLock lock(path(), options());
  EXPECT_EQ(code_of([&] { lock.acquire(0s); }), std::error_code());
  ::kill(worker, SIGKILL);
}

TEST_P(DeathLaws, a_holder_that_closed_its_descriptors_still_holds) {
  Peer peer(peer_arguments());
  ASSERT_EQ(peer.ask("acquire"), "held");
  ASSERT_EQ(peer.ask("close_all"), "closed");
  TestLock lock(path(), options());
  EXPECT_EQ(lock.holder().value().verdict, Verdict::alive);
  EXPECT_EQ(code_of([&] { lock.acquire(1ms); }), errc::timed_out);
  peer.kill();
  lock.acquire(0s);
}

TEST_P(PathLaws, a_descriptor_that_became_another_files_is_never_written_to_or_closed) {
  const std::string precious = scratch_ / "precious";
  Peer peer(peer_arguments());
  ASSERT_EQ(peer.ask("acquire"), "held");
  ASSERT_EQ(peer.ask("release"), "released");
  ASSERT_EQ(peer.ask("close_all_and_open " + precious), "opened");
  ASSERT_EQ(peer.ask("acquire"), "held");
  ASSERT_EQ(peer.ask("release"), "released");
  ASSERT_EQ(peer.ask("acquire"), "held");
  ASSERT_EQ(peer.ask("close_all_and_open " + precious), "opened");
  // A mapping outlives the descriptor that it was made through.
  if (is_memory(GetParam())) {
    EXPECT_EQ(peer.ask("release"), "released");
  } else {
    EXPECT_TRUE(peer.ask("release").starts_with("error ")) << "its claim is gone";
  }
  ASSERT_EQ(peer.ask("drop"), "dropped");
  EXPECT_EQ(peer.ask("still_open"), "32");
  EXPECT_EQ(read_file(precious), "");
}

TEST_P(Laws, a_zombie_holds_nothing) {
  if (GetParam().missing.pidfds && !is_kernel(GetParam()))
    GTEST_SKIP() << "unavoidable: without pidfds (Linux before 5.3) a zombie cannot be told from a process";
  const pid_t child = fork();
  if (child == 0) {
    InVariant anew(GetParam());
    TestLock* const lock = new TestLock(path(), options());
    lock->acquire();
    ::_exit(0);
  }
  siginfo_t ended = {};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOWAIT), 0);
  TestLock lock(path(), options());
  lock.acquire(0s);
  EXPECT_TRUE(lock.i_am_locking());
  int status = 0;
  ::waitpid(child, &status, 0);
}

TEST_P(LockFileLaws, a_lock_can_still_be_broken_after_more_holds_than_it_has_bytes_for_their_removal) {
  if (GetParam().name != "link") return;  // 65,536 holds take too long to be made for every variant
  TestLock lock(path(), options());
  for (std::uint64_t i = 0; i <= claim::remove_bytes; ++i) {
    lock.acquire(0s);
    lock.release();
  }
  Peer peer(peer_arguments());
  for (int i = 0; i < 3; ++i) {
    lock.acquire(0s);
    EXPECT_GT(lock.holder().value().number, claim::remove_bytes);
    ASSERT_EQ(peer.ask("break"), "broken");
    EXPECT_EQ(code_of([&] { lock.release(); }), errc::not_locked);
  }
}

TEST_P(HandOverLaws, a_hold_that_was_handed_over_lasts_until_the_child_has_ended) {
  Peer child({path(), std::string(GetParam().name)});  // any process will do
  const pid_t parent = fork();
  if (parent == 0) {
    InVariant anew(GetParam());
    TestLock* const lock = new TestLock(path(), options());
    lock->acquire();
    lock->hand_over(child.pid());
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(parent, &status, 0), parent);
  ASSERT_EQ(status, 0);
  TestLock lock(path(), options());
  const Holder holder = lock.holder().value();
  EXPECT_EQ(holder.handed_to, child.pid());
  EXPECT_EQ(holder.verdict, Verdict::alive);
  EXPECT_EQ(code_of([&] { lock.acquire(0s); }), errc::already_locked);
  EXPECT_FALSE(lock.break_stale());
  child.kill();
  lock.acquire(0s);
}

TEST_P(HandOverLaws, a_hold_that_was_handed_over_may_be_released_all_the_same) {
  Peer child(peer_arguments());
  TestLock lock(path(), options());
  lock.acquire();
  EXPECT_EQ(code_of([&] { lock.hand_over(0); }), std::errc::invalid_argument);
  constexpr std::int64_t nobody = std::int64_t{1} << 23;  // above every pid that Linux gives out (proc(5), pid_max)
  EXPECT_EQ(code_of([&] { lock.hand_over(nobody); }), std::errc::no_such_process);
  lock.hand_over(child.pid());
  lock.release();
  EXPECT_FALSE(lock.is_locked());
  lock.acquire(0s);
  EXPECT_EQ(lock.holder().value().handed_to, 0);
}

TEST_P(HandOverLaws, the_destructor_keeps_a_hold_that_was_handed_to_a_child_that_runs) {
  Peer child(peer_arguments());
  {
    TestLock lock(path(), options());
    lock.acquire();
    lock.hand_over(child.pid());
  }
  TestLock lock(path(), options());
  EXPECT_TRUE(lock.is_locked());
  EXPECT_TRUE(lock.break_lock());
}

TEST_P(HandOverLaws, the_destructor_ends_a_hold_that_was_handed_to_a_child_that_has_ended) {
  Peer child(peer_arguments());
  {
    TestLock lock(path(), options());
    lock.acquire();
    lock.hand_over(child.pid());
    child.kill();
  }
  EXPECT_FALSE(TestLock(path(), options()).is_locked());
}

TEST_P(HandOverLaws, a_hold_that_was_broken_is_not_handed_over) {
  TestLock lock(path(), options());
  lock.acquire();
  EXPECT_TRUE(TestLock(path(), options()).break_lock());
  EXPECT_EQ(code_of([&] { lock.hand_over(::getpid()); }), errc::not_my_lock);
}

TEST_P(LockFileLaws, a_vacant_directory_is_nobodys_hold) {
  TestLock lock(path(), options());
  lock.acquire();
  EXPECT_TRUE(TestLock(path(), options()).break_lock());
  // As if somebody had been killed between the two steps of the mkdir scheme.
  std::filesystem::create_directory(word());
  ASSERT_EQ(::chmod(word().c_str(), 01777), 0);
  EXPECT_EQ(code_of([&] { lock.release(); }), errc::not_locked);
  std::error_code code;
  wait_until_free(path(), 0s, code, GetParam().scheme);
  EXPECT_FALSE(code) << code.message();
}

TEST_P(LockFileLaws, a_directory_that_was_renamed_is_released_where_it_is) {
  std::filesystem::create_directory(scratch_ / "before");
  TestLock lock(scratch_ / "before/x", options());
  lock.acquire();
  std::filesystem::rename(scratch_ / "before", scratch_ / "after");
  EXPECT_TRUE(std::filesystem::exists(scratch_ / "after/x.lock"));
  lock.release();
  EXPECT_FALSE(std::filesystem::exists(scratch_ / "after/x.lock"));
  EXPECT_EQ(code_of([&] { lock.acquire(0s); }), std::errc::no_such_file_or_directory);
  std::filesystem::create_directory(scratch_ / "before");
  lock.acquire(0s);
  EXPECT_TRUE(std::filesystem::exists(scratch_ / "before/x.lock"));
}

// Those whose locks have gone are forgotten, and their numbers come again.
TEST_P(PathLaws, directories_may_come_and_go) {
  constexpr int rounds = 50;
  for (int i = 0; i < rounds; ++i) {
    const std::string directory = scratch_ / std::to_string(i);
    std::filesystem::create_directory(directory);
    {
      TestLock lock(directory + "/x", options());
      lock.acquire(0s);
      EXPECT_FALSE(std::filesystem::is_empty(directory));
    }
    if (i % 2 == 0) std::filesystem::remove_all(directory);
  }
}

TEST_P(HandOverLaws, nothing_is_left_behind) {
  {
    TestLock lock(path(), options());
    Peer peer(peer_arguments());
    lock.acquire();
    peer.tell("acquire");
    EXPECT_TRUE(peer.is_silent());
    lock.release();
    ASSERT_EQ(peer.answer(), "held");
    EXPECT_EQ(code_of([&] { lock.acquire(1ms); }), errc::timed_out);
    ASSERT_EQ(peer.ask("release"), "released");
    ASSERT_EQ(peer.ask("drop"), "dropped");
    lock.acquire();
  }
  EXPECT_EQ(scratch_.names(), what_stays());
}

TEST_P(DeathLaws, the_death_of_an_exclusive_holder_is_told_to_the_next) {
  TestLock lock(path(), options());
  EXPECT_FALSE(lock.previous_holder_died());
  Peer peer(peer_arguments());
  ASSERT_EQ(peer.ask("acquire"), "held");
  peer.kill();
  lock.acquire();
  EXPECT_TRUE(lock.previous_holder_died());
  in_another_thread([&] { EXPECT_FALSE(lock.previous_holder_died()); });
  lock.release();
  EXPECT_FALSE(lock.previous_holder_died());
  lock.acquire();
  EXPECT_FALSE(lock.previous_holder_died());
}

TEST_P(Laws, a_wall_clock_that_is_set_back_and_forth_changes_nothing) {
  Peer peer(peer_arguments());
  ASSERT_EQ(peer.ask("acquire"), "held");
  TestLock lock(path(), options());
  constexpr std::int64_t ten_years = 10LL * 365 * 24 * 3600;
  for (const std::int64_t offset : {-ten_years, ten_years}) {
    in_.system().wall_clock_offset_s = offset;
    EXPECT_EQ(code_of([&] { lock.acquire(1ms); }), errc::timed_out);
    EXPECT_FALSE(lock.break_stale());
  }
  peer.kill();
  for (const std::int64_t offset : {ten_years, -ten_years}) {
    in_.system().wall_clock_offset_s = offset;
    lock.acquire(is_engine(GetParam()) ? Wait(stuck) : Wait(0s));  // a server takes its time to notice a death
    lock.release();
  }
}

}  // namespace
}  // namespace lockfile::testing
