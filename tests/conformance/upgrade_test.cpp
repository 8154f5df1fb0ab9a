// The laws of upgradable holds: one beside the readers, that becomes the writer and a reader again without a gap.
#include "conformance/fixture.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <csignal>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <stop_token>
#include <thread>

namespace lockfile::testing {
namespace {

class Upgrades : public Law {
 protected:
  void SetUp() override {
    const bool no_readers = GetParam().missing.hard_links && GetParam().missing.rename_new;
    if (!no_readers && GetParam().scheme != "flock") return;
    // The law is that they are told so.
    FileLock lock(path(), options());
    EXPECT_EQ(code_of([&] { lock.acquire(Mode::upgradable, 0s); }), std::errc::operation_not_supported);
    EXPECT_FALSE(lock.i_am_locking());
    lock.acquire();
    EXPECT_EQ(code_of([&] { lock.downgrade(Mode::upgradable, 0s); }), std::errc::operation_not_supported);
    EXPECT_EQ(code_of([&] { lock.downgrade(Mode::shared, 0s); }), std::errc::operation_not_supported);
    EXPECT_TRUE(lock.i_am_locking());
    told_ = true;
  }

  // Does an exclusive hold become a weaker one here? Where it does not, it stays as it is.
  [[nodiscard]] bool can_downgrade(FileLock& lock) {
    std::error_code ec;
    if (lock.downgrade(Mode::upgradable, 0s, ec)) return true;
    EXPECT_EQ(ec, std::errc::operation_not_supported);
    EXPECT_TRUE(lock.i_am_locking());
    // A directory is not replaced by a file in one step; and without hard links a claim is not in two places.
    EXPECT_TRUE(lock.scheme() == "mkdir" || GetParam().missing.hard_links);
    return false;
  }

  // Then there is nothing more to be shown in this variant.
  bool told_ = false;
};
LOCKFILE_FOR_ALL_FILES(Upgrades);

#define IF_UPGRADABLE \
  if (told_) return

TEST_P(Upgrades, one_upgradable_hold_stands_beside_readers) {
  IF_UPGRADABLE;
  FileLock lock(path(), options());
  lock.lock_upgrade();
  EXPECT_TRUE(lock.i_am_locking());
  Peer reader(peer_arguments());
  EXPECT_EQ(reader.ask("share 0"), "held");
  Peer other(peer_arguments());
  EXPECT_TRUE(other.ask("acquire_upgradable 0").starts_with("error lockfile:1 "));
  EXPECT_TRUE(other.ask("acquire 0").starts_with("error lockfile:1 "));
  EXPECT_EQ(other.ask("share 0"), "held");
  EXPECT_EQ(other.ask("release"), "released");
  EXPECT_EQ(lock.fence(), 0U);
  lock.unlock_upgrade();
  EXPECT_FALSE(lock.last_error());
  EXPECT_EQ(other.ask("acquire_upgradable 0"), "held");
  EXPECT_EQ(reader.ask("i_am_locking"), "yes");
}

TEST_P(Upgrades, whoever_comes_second_may_be_the_upgradable_one) {
  IF_UPGRADABLE;
  Peer reader(peer_arguments());
  ASSERT_EQ(reader.ask("share 0"), "held");
  FileLock lock(path(), options());
  ASSERT_TRUE(lock.try_lock_upgrade());
  in_another_thread([&] {
    FileLock second(path(), options());
    EXPECT_FALSE(second.try_lock_upgrade());
    EXPECT_FALSE(second.try_lock_upgrade_for(1ms));
    EXPECT_EQ(code_of([&] { second.acquire(Mode::upgradable, 0s); }), errc::already_locked);
  });
  EXPECT_EQ(reader.ask("release"), "released");
  EXPECT_TRUE(lock.i_am_locking());
  lock.upgrade(0s);
  EXPECT_TRUE(lock.i_am_locking());
}

// tests/simulation: many_upgrades/mkdir_private, seed 1002866. The one that was broken had the sign of an upgrade, and
// the next one tried to have it at each look, which woke it at once.
TEST_P(Upgrades, an_upgrade_beside_one_that_was_broken_and_stands_still_sleeps) {
  IF_UPGRADABLE;
  if (GetParam().scheme == "kernel") return;  // nobody can break those
  Peer reader(peer_arguments());
  ASSERT_EQ(reader.ask("share 0"), "held");
  Peer broken(peer_arguments());
  ASSERT_EQ(broken.ask("acquire_upgradable 0"), "held");
  broken.tell("upgrade");
  ASSERT_TRUE(broken.is_silent());
  broken.signal(SIGSTOP);
  FileLock lock(path(), options());
  for (const Holder& each : lock.holders()) {
    if (each.pid == broken.pid()) {
      ASSERT_TRUE(lock.break_lock(each));
    }
  }
  lock.acquire(Mode::upgradable, 0s);
  std::atomic<int> waits = 0;
  in_.system().before = [&, missing = in_.system().before](os::Call call) {
    if (call == os::Call::wait) ++waits;
    return missing ? missing(call) : 0;
  };
  std::thread releaser([&] {
    while (waits == 0) std::this_thread::yield();
    // Whoever wakes itself does so many times by then. Nothing waits for this.
    std::this_thread::sleep_for(quiescent);
    EXPECT_EQ(reader.ask("release"), "released");
  });
  lock.upgrade();
  releaser.join();
  constexpr int a_few = 20;
  EXPECT_LT(waits, a_few);
  EXPECT_TRUE(lock.i_am_locking());
}

TEST_P(Upgrades, an_upgrade_waits_for_the_readers_and_keeps_newcomers_out) {
  IF_UPGRADABLE;
  Peer reader(peer_arguments());
  ASSERT_EQ(reader.ask("share 0"), "held");
  Peer upgrader(peer_arguments());
  ASSERT_EQ(upgrader.ask("acquire_upgradable 0"), "held");
  upgrader.tell("upgrade");
  EXPECT_TRUE(upgrader.is_silent());
  Peer newcomer(peer_arguments());
  newcomer.tell("share");
  EXPECT_TRUE(newcomer.is_silent());
  EXPECT_EQ(reader.ask("release"), "released");
  EXPECT_EQ(upgrader.answer(), "exclusive");
  EXPECT_TRUE(newcomer.is_silent());
  FileLock writer(path(), options());
  EXPECT_EQ(code_of([&] { writer.acquire(0s); }), errc::already_locked);
  EXPECT_EQ(upgrader.ask("i_am_locking"), "yes");
  EXPECT_EQ(upgrader.ask("release"), "released");
  EXPECT_EQ(newcomer.answer(), "held");
}

TEST_P(Upgrades, an_upgrade_that_is_given_up_leaves_the_hold_upgradable) {
  IF_UPGRADABLE;
  Peer reader(peer_arguments());
  ASSERT_EQ(reader.ask("share 0"), "held");
  FileLock lock(path(), options());
  lock.lock_upgrade();
  EXPECT_EQ(code_of([&] { lock.upgrade(0s); }), errc::already_locked);
  EXPECT_EQ(code_of([&] { lock.upgrade(1ms); }), errc::timed_out);
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(code_of([&] { lock.upgrade(stop.get_token()); }), errc::stopped);
  EXPECT_FALSE(lock.try_unlock_upgrade_and_lock());
  EXPECT_FALSE(lock.try_unlock_upgrade_and_lock_for(1ms));
  EXPECT_TRUE(lock.i_am_locking());
  Peer newcomer(peer_arguments());
  EXPECT_EQ(newcomer.ask("share 0"), "held");
  EXPECT_TRUE(newcomer.ask("release") == "released");
  EXPECT_TRUE(newcomer.ask("acquire_upgradable 0").starts_with("error lockfile:1 "));
  EXPECT_EQ(reader.ask("release"), "released");
  EXPECT_TRUE(lock.try_unlock_upgrade_and_lock());
}

TEST_P(Upgrades, who_waited_behind_an_upgrade_that_is_given_up_enters) {
  IF_UPGRADABLE;
  std::stop_source stop;
  FileLock lock(path(), Options{.threaded = false, .scheme = options().scheme});
  lock.lock_upgrade();
  Peer reader(peer_arguments());
  ASSERT_EQ(reader.ask("share 0"), "held");
  std::thread upgrades = thread([&] {
    EXPECT_EQ(code_of([&] { lock.upgrade({for_ever, stop.get_token()}); }), errc::stopped);
  });
  Peer behind(peer_arguments());
  // It may come before the upgrade has begun: then it enters, leaves, and comes again.
  while (behind.ask("share 0") == "held") ASSERT_EQ(behind.ask("release"), "released");
  behind.tell("share");
  EXPECT_TRUE(behind.is_silent());
  stop.request_stop();
  upgrades.join();
  EXPECT_EQ(behind.answer(), "held");
  EXPECT_TRUE(lock.i_am_locking());
}

TEST_P(Upgrades, an_upgrade_ends_when_another_thread_of_this_identity_releases_the_hold) {
  IF_UPGRADABLE;
  std::atomic<bool> waits = false;
  FileLock lock(path(), Options{.threaded = false, .scheme = options().scheme});
  lock.lock_upgrade();
  Peer reader(peer_arguments());
  ASSERT_EQ(reader.ask("share 0"), "held");
  in_.system().before = [&](os::Call call) {
    if (call == os::Call::wait) waits = true;
    return 0;
  };
  std::thread upgrades = thread([&] {
    const std::error_code code = code_of([&] { lock.upgrade(stuck); });
    EXPECT_TRUE(code == errc::not_locked || code == errc::not_my_lock)
        << code.message();  // by whether the reader is in
  });
  while (!waits) std::this_thread::yield();
  lock.release();
  // It looks again when the reader has left, at the latest.
  EXPECT_EQ(reader.ask("release"), "released");
  upgrades.join();
  in_.system().before = nullptr;
  EXPECT_TRUE(lock.waiters().empty());
  EXPECT_EQ(reader.ask("acquire 0"), "held");
}

TEST_P(Upgrades, a_place_in_line_for_an_upgrade_is_none_of_a_child_that_is_forked_meanwhile) {
  if (!is_memory(GetParam())) return;  // elsewhere an upgrade waits in no line
  FileLock lock(path(), Options{.threaded = false, .scheme = options().scheme});
  lock.lock_upgrade();
  Peer reader(peer_arguments());
  ASSERT_EQ(reader.ask("share 0"), "held");
  std::thread upgrades = thread([&] { EXPECT_NO_THROW(lock.upgrade(stuck)); });
  while (lock.waiters().empty()) std::this_thread::yield();
  const pid_t child = fork();
  if (child == 0) {
    InVariant anew(GetParam());
    ::_exit(lock.i_am_locking() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(reader.ask("release"), "released");
  upgrades.join();
  EXPECT_TRUE(lock.i_am_locking());
}

TEST_P(Upgrades, an_exclusive_hold_becomes_weaker_without_a_gap) {
  IF_UPGRADABLE;
  FileLock lock(path(), options());
  lock.acquire();
  if (!can_downgrade(lock)) return;
  EXPECT_TRUE(lock.i_am_locking());
  Peer reader(peer_arguments());
  EXPECT_EQ(reader.ask("share 0"), "held");
  Peer writer(peer_arguments());
  writer.tell("acquire");
  EXPECT_TRUE(writer.is_silent());
  EXPECT_EQ(reader.ask("release"), "released");
  EXPECT_TRUE(writer.is_silent());
  lock.upgrade();
  EXPECT_TRUE(lock.i_am_locking());
  lock.downgrade(Mode::shared);
  EXPECT_TRUE(writer.is_silent());
  lock.unlock_shared();
  EXPECT_FALSE(lock.last_error());
  EXPECT_EQ(writer.answer(), "held");
  EXPECT_EQ(writer.ask("release"), "released");
  lock.acquire();
  lock.downgrade(Mode::shared);
  EXPECT_EQ(reader.ask("acquire_upgradable 0"), "held");
}

TEST_P(Upgrades, readers_that_wait_enter_when_the_writer_becomes_a_reader) {
  IF_UPGRADABLE;
  FileLock lock(path(), options());
  lock.acquire();
  Peer one(peer_arguments());
  Peer two(peer_arguments());
  one.tell("share");
  two.tell("acquire_upgradable");
  EXPECT_TRUE(one.is_silent());
  EXPECT_TRUE(two.is_silent());
  std::error_code ec;
  if (!lock.downgrade(Mode::shared, 0s, ec)) {
    EXPECT_EQ(ec, std::errc::operation_not_supported);
    lock.release();
  }
  EXPECT_EQ(one.answer(), "held");
  EXPECT_EQ(two.answer(), "held");
}

TEST_P(Upgrades, an_upgradable_one_that_becomes_a_reader_makes_room_for_the_next) {
  IF_UPGRADABLE;
  FileLock lock(path(), options());
  lock.lock_upgrade();
  Peer next(peer_arguments());
  next.tell("acquire_upgradable");
  EXPECT_TRUE(next.is_silent());
  lock.unlock_upgrade_and_lock_shared();
  EXPECT_FALSE(lock.last_error());
  EXPECT_EQ(next.answer(), "held");
  EXPECT_TRUE(lock.i_am_locking());
  EXPECT_EQ(code_of([&] { lock.upgrade(0s); }), std::errc::resource_deadlock_would_occur);
  next.tell("upgrade");
  EXPECT_TRUE(next.is_silent());
  lock.unlock_shared();
  EXPECT_EQ(next.answer(), "exclusive");
}

TEST_P(Upgrades, re_entries_stay_counted_and_forbid_a_weaker_mode) {
  IF_UPGRADABLE;
  FileLock lock(path(), options());
  lock.lock_upgrade();
  lock.lock_upgrade();
  EXPECT_EQ(code_of([&] { lock.acquire(); }), std::errc::resource_deadlock_would_occur);
  EXPECT_EQ(code_of([&] { lock.lock_shared(); }), std::errc::resource_deadlock_would_occur);
  EXPECT_EQ(code_of([&] { lock.downgrade(Mode::shared); }), std::errc::resource_deadlock_would_occur);
  lock.upgrade();
  lock.upgrade();  // is it already
  EXPECT_EQ(code_of([&] { lock.lock_upgrade(); }), std::errc::resource_deadlock_would_occur);
  EXPECT_EQ(code_of([&] { lock.downgrade(Mode::upgradable); }), std::errc::resource_deadlock_would_occur);
  EXPECT_EQ(code_of([&] { lock.downgrade(Mode::exclusive); }), std::errc::invalid_argument);
  lock.lock();
  lock.unlock();
  lock.unlock();
  EXPECT_TRUE(lock.i_am_locking());
  lock.unlock();
  EXPECT_FALSE(lock.i_am_locking());
  EXPECT_EQ(code_of([&] { lock.upgrade(); }), errc::not_locked);
  EXPECT_EQ(code_of([&] { lock.downgrade(Mode::shared); }), errc::not_locked);
  Peer other(peer_arguments());
  ASSERT_EQ(other.ask("acquire 0"), "held");
  EXPECT_EQ(code_of([&] { lock.upgrade(); }), errc::not_my_lock);
}

TEST_P(Upgrades, a_reader_in_the_same_thread_is_an_error_and_no_hang) {
  IF_UPGRADABLE;
  FileLock reads(path(), options());
  reads.lock_shared();
  FileLock lock(path(), options());
  lock.lock_upgrade();
  EXPECT_EQ(code_of([&] { lock.upgrade(); }), std::errc::resource_deadlock_would_occur);
  FileLock third(path(), options());
  EXPECT_EQ(code_of([&] { third.lock_upgrade(); }), std::errc::resource_deadlock_would_occur);
  reads.unlock_shared();
  lock.upgrade();
}

TEST_P(Upgrades, readers_that_are_killed_do_not_keep_an_upgrade_waiting) {
  IF_UPGRADABLE;
  Peer one(peer_arguments());
  Peer two(peer_arguments());
  ASSERT_EQ(one.ask("share 0"), "held");
  Peer upgrader(peer_arguments());
  ASSERT_EQ(upgrader.ask("acquire_upgradable 0"), "held");
  ASSERT_EQ(two.ask("share 0"), "held");
  upgrader.tell("upgrade");
  EXPECT_TRUE(upgrader.is_silent());
  one.kill();
  EXPECT_TRUE(upgrader.is_silent());
  two.kill();
  EXPECT_EQ(upgrader.answer(), "exclusive");
}

TEST_P(Upgrades, an_upgradable_one_that_is_killed_makes_room_for_the_next) {
  IF_UPGRADABLE;
  Peer reader(peer_arguments());
  ASSERT_EQ(reader.ask("share 0"), "held");
  Peer first(peer_arguments());
  ASSERT_EQ(first.ask("acquire_upgradable 0"), "held");
  Peer next(peer_arguments());
  next.tell("acquire_upgradable");
  EXPECT_TRUE(next.is_silent());
  first.tell("upgrade");
  EXPECT_TRUE(first.is_silent());
  Peer newcomer(peer_arguments());
  newcomer.tell("share");
  EXPECT_TRUE(newcomer.is_silent());
  first.kill();
  EXPECT_EQ(next.answer(), "held");
  EXPECT_EQ(newcomer.answer(), "held");
  EXPECT_EQ(newcomer.ask("release"), "released");
  EXPECT_EQ(reader.ask("release"), "released");
  EXPECT_EQ(next.ask("upgrade 0"), "exclusive");
}

TEST_P(Upgrades, holders_tell_their_modes) {
  IF_UPGRADABLE;
  FileLock lock(path(), options());
  lock.lock_upgrade();
  Peer looker(peer_arguments());
  EXPECT_TRUE(looker.ask("holder").starts_with("held upgradable by pid "));
  lock.upgrade();
  EXPECT_TRUE(looker.ask("holder").starts_with("held by pid "));
  if (!can_downgrade(lock)) return;
  EXPECT_TRUE(looker.ask("holder").starts_with("held upgradable by pid "));
  lock.downgrade(Mode::shared);
  EXPECT_TRUE(looker.ask("holder").starts_with("held shared by pid "));
}

// The hold was broken, and its holder knows: as with unlock, the program goes on.
TEST_P(Upgrades, the_guards_verbs_end_nothing_for_who_lost_the_hold) {
  IF_UPGRADABLE;
  FileLock lock(path(), options());
  lock.acquire();
  std::error_code cannot;
  if (!lock.break_lock(BreakWhat::ours, cannot)) return;
  EXPECT_FALSE(lock.i_am_locking());
  lock.unlock_and_lock_upgrade();
  const std::error_code told = lock.last_error();
  EXPECT_TRUE(told == errc::not_locked || (lock.scheme() == "mkdir" && told == std::errc::operation_not_supported))
      << told.message();
}

TEST_P(Upgrades, limits_of_conversions_are_understood) {
  IF_UPGRADABLE;
  FileLock lock(path(), options());
  const std::chrono::duration<double> no_number(std::nan(""));
  EXPECT_EQ(code_of([&] { lock.upgrade(0s); }), errc::not_locked);
  EXPECT_EQ(code_of([&] { (void)lock.try_unlock_upgrade_and_lock_for(0s); }), errc::not_locked);
  ASSERT_TRUE(lock.try_lock_upgrade());
  EXPECT_EQ(code_of([&] { lock.upgrade(no_number); }), std::errc::invalid_argument);
  EXPECT_EQ(code_of([&] { lock.downgrade(Mode::shared, no_number); }), std::errc::invalid_argument);
  Peer reader(peer_arguments());
  ASSERT_EQ(reader.ask("share"), "held");
  EXPECT_FALSE(lock.try_unlock_upgrade_and_lock_for(1ms));
  EXPECT_FALSE(lock.try_unlock_upgrade_and_lock());
  EXPECT_TRUE(lock.i_am_locking());
  ASSERT_EQ(reader.ask("release"), "released");
}

TEST_P(Upgrades, the_guards_verbs_end_the_program_for_who_holds_nothing) {
  IF_UPGRADABLE;
  FileLock lock(path(), options());
  EXPECT_DEATH(lock.unlock_and_lock_upgrade(), "downgrade of a lock that this thread does not hold");
}

}  // namespace
}  // namespace lockfile::testing
