// Laws of leases: a hold ends by itself unless it is renewed, its holder knows it first, and whoever waits takes it
// over by what it has seen itself.
#include "conformance/fixture.hpp"

#include "claim/lease.hpp"

#include <sys/wait.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <future>
#include <mutex>

namespace lockfile::testing {
namespace {

constexpr std::chrono::milliseconds ttl = 1000ms;

class Leases : public Law {
 protected:
  Leases() {
    in_.system().boot_clock = [this] { return std::chrono::nanoseconds(now_.load()); };
  }
  [[nodiscard]] Options leased() const {
    Options with = options();
    with.lease = ttl;
    return with;
  }
  void pass(std::chrono::nanoseconds time) { now_ += time.count(); }
  // For so long somebody who has looked has to go on seeing the same.
  [[nodiscard]] static std::chrono::nanoseconds patience() {
    return ttl + claim::lease_margin(ttl, {"ext4", true, true});
  }
  // Another thread's, with an object of its own: the same to a lock as another process.
  std::error_code another_tries(FileLock& lock) {
    std::error_code code;
    in_another_thread([&] { lock.acquire(0s, code); });
    return code;
  }

  std::atomic<std::int64_t> now_{std::chrono::nanoseconds(1h).count()};
};
LOCKFILE_FOR_ALL_VARIANTS(Leases);

TEST_P(Leases, a_hold_ends_when_its_lease_does) {
  FileLock lock(path(), leased());
  lock.acquire();
  const std::stop_token lost = lock.lost();
  EXPECT_EQ(lock.lease_left(), ttl);
  pass(ttl - 1ns);
  EXPECT_TRUE(lock.i_am_locking());
  EXPECT_FALSE(lost.stop_requested());
  pass(1ns);
  EXPECT_FALSE(lock.i_am_locking());
  EXPECT_TRUE(lost.stop_requested());
  EXPECT_THROW(lock.release(), NotLocked);
  EXPECT_FALSE(lock.is_locked());
  lock.acquire(0s);
  EXPECT_TRUE(lock.i_am_locking());
  EXPECT_FALSE(lock.lost().stop_requested());
}

TEST_P(Leases, a_hold_with_one_stays_exclusive) {
  FileLock lock(path(), leased());
  lock.acquire();
  EXPECT_EQ(code_of([&] { lock.downgrade(Mode::shared, 0s); }), std::errc::operation_not_supported);
  EXPECT_TRUE(lock.i_am_locking());
  lock.upgrade(0s);  // it is
  pass(ttl);
  EXPECT_EQ(code_of([&] { lock.upgrade(0s); }), errc::not_locked);
  EXPECT_EQ(code_of([&] { lock.release(); }), errc::not_locked);
}

TEST_P(Leases, a_renewal_counts_from_its_beginning) {
  FileLock lock(path(), leased());
  lock.acquire();
  pass(600ms);
  lock.renew();
  EXPECT_EQ(lock.lease_left(), ttl);
  pass(600ms);
  EXPECT_TRUE(lock.i_am_locking());
  // From before it is written, not from the reply.
  in_.system().before = [this](os::Call call) {
    if (call == os::Call::write) pass(100ms);
    return 0;
  };
  lock.renew();
  in_.system().before = nullptr;
  EXPECT_EQ(lock.lease_left(), ttl - 100ms);
  lock.release();
}

TEST_P(Leases, a_renewal_that_is_confirmed_too_late_does_not_count) {
  FileLock lock(path(), leased());
  lock.acquire();
  in_.system().before = [this](os::Call call) {
    if (call == os::Call::sync) pass(ttl);
    return 0;
  };
  EXPECT_THROW(lock.renew(), NotLocked);
  in_.system().before = nullptr;
  EXPECT_FALSE(lock.i_am_locking());
  EXPECT_THROW(lock.renew(), NotLocked);
  EXPECT_THROW(lock.release(), NotLocked);
}

TEST_P(Leases, a_renewal_that_fails_may_be_tried_again) {
  FileLock lock(path(), leased());
  lock.acquire();
  pass(400ms);
  in_.system().before = [](os::Call call) { return call == os::Call::sync ? EIO : 0; };
  std::error_code code;
  lock.renew(code);
  EXPECT_EQ(code, std::errc::io_error);
  EXPECT_THROW(lock.renew(), LockFailed);
  EXPECT_EQ(lock.lease_left(), 600ms);
  EXPECT_TRUE(lock.i_am_locking());
  in_.system().before = nullptr;
  lock.renew();
  EXPECT_EQ(lock.lease_left(), ttl);
  lock.release();
}

TEST_P(Leases, a_hold_that_was_not_granted_within_its_lease_is_none) {
  FileLock lock(path(), leased());
  in_.system().before = [this](os::Call call) {
    if (call == os::Call::link || call == os::Call::rename_new || call == os::Call::rename) pass(ttl);
    return 0;
  };
  std::error_code code;
  lock.acquire(0s, code);
  EXPECT_EQ(code, std::errc::timed_out);
  in_.system().before = nullptr;
  EXPECT_FALSE(lock.is_locked());
  lock.acquire(0s);
}

TEST_P(Leases, whoever_has_seen_it_run_out_takes_it_over) {
  FileLock holder(path(), leased());
  FileLock waiter(path(), leased());
  holder.acquire();
  const std::stop_token lost = holder.lost();
  pass(5 * ttl);  // what was before the first look says nothing
  EXPECT_EQ(another_tries(waiter), errc::already_locked);
  pass(patience() - 1ns);
  EXPECT_EQ(another_tries(waiter), errc::already_locked);
  const Holder seen = waiter.holder().value();
  EXPECT_EQ(seen.lease, ttl);
  EXPECT_EQ(seen.lease_left, 1ns);
  EXPECT_FALSE(seen.expired);
  pass(1ns);
  EXPECT_TRUE(waiter.holder().value().expired);
  EXPECT_FALSE(waiter.is_locked());
  in_another_thread([&] {
    waiter.acquire(0s);
    EXPECT_TRUE(waiter.i_am_locking());
  });
  EXPECT_FALSE(holder.i_am_locking());
  EXPECT_TRUE(lost.stop_requested());
  EXPECT_THROW(holder.release(), NotMyLock);
  EXPECT_TRUE(waiter.is_locked());
}

TEST_P(Leases, whoever_has_seen_it_run_out_may_break_it) {
  FileLock holder(path(), leased());
  FileLock breaker(path(), options());
  holder.acquire();
  pass(5 * ttl);
  EXPECT_FALSE(breaker.break_expired()) << "it has seen nothing before";
  pass(patience() - 1ns);
  EXPECT_FALSE(breaker.break_expired());
  EXPECT_TRUE(breaker.is_locked());
  pass(1ns);
  EXPECT_TRUE(breaker.break_expired());
  EXPECT_FALSE(breaker.is_locked());
  std::error_code ec;
  EXPECT_FALSE(breaker.break_expired(ec));
  EXPECT_FALSE(ec);
  EXPECT_THROW(holder.release(), NotLocked);
}

TEST_P(Leases, a_break_of_the_expired_spares_what_is_renewed_or_acquired_anew) {
  FileLock holder(path(), leased());
  FileLock breaker(path(), options());
  holder.acquire();
  EXPECT_TRUE(breaker.is_locked());
  pass(ttl - 1ms);
  holder.renew();
  pass(ttl - 1ms);
  EXPECT_FALSE(breaker.break_expired());
  EXPECT_TRUE(holder.i_am_locking());
  holder.release();
  holder.acquire();
  pass(ttl - 1ms);
  EXPECT_FALSE(breaker.break_expired());
  EXPECT_TRUE(holder.i_am_locking());
  holder.release();
  FileLock for_ever_held(path(), options());
  for_ever_held.acquire();
  EXPECT_FALSE(breaker.break_expired());
  pass(1000 * ttl);
  EXPECT_FALSE(breaker.break_expired());
  EXPECT_TRUE(for_ever_held.i_am_locking());
}

TEST_P(Leases, who_takes_over_needs_no_lease) {
  FileLock holder(path(), leased());
  FileLock waiter(path(), options());
  holder.acquire();
  EXPECT_EQ(another_tries(waiter), errc::already_locked);
  pass(patience());
  EXPECT_EQ(another_tries(waiter), std::error_code());
}

TEST_P(Leases, each_renewal_is_waited_for_anew) {
  FileLock holder(path(), leased());
  FileLock waiter(path(), options());
  holder.acquire();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(another_tries(waiter), errc::already_locked);
    pass(ttl - 1ms);
    holder.renew();
  }
  pass(patience());
  EXPECT_EQ(another_tries(waiter), errc::already_locked) << "it has not seen the last renewal before";
  pass(patience());
  EXPECT_EQ(another_tries(waiter), std::error_code());
}

TEST_P(Leases, a_hold_that_ended_in_time_leaves_its_time_to_nobody) {
  FileLock holder(path(), leased());
  FileLock waiter(path(), options());
  holder.acquire();
  EXPECT_EQ(another_tries(waiter), errc::already_locked);
  pass(ttl - 1ms);
  holder.release();
  holder.acquire();
  pass(ttl - 1ms);
  EXPECT_EQ(another_tries(waiter), errc::already_locked);
  EXPECT_TRUE(holder.i_am_locking());
  holder.release();
}

TEST_P(Leases, a_waiter_wakes_up_for_it) {
  in_.system().boot_clock = nullptr;
  Options brief = options();
  brief.lease = 20ms;
  FileLock holder(path(), brief);
  FileLock waiter(path(), options());
  holder.acquire();
  in_another_thread([&] { waiter.acquire(10s); });
  EXPECT_FALSE(holder.i_am_locking());
}

TEST_P(Leases, whoever_waits_until_it_is_free_wakes_up_for_it) {
  in_.system().boot_clock = nullptr;
  Options brief = options();
  brief.lease = 20ms;
  FileLock holder(path(), brief);
  holder.acquire();
  std::error_code code;
  wait_until_free(path(), stuck, code, GetParam().scheme);
  EXPECT_FALSE(code) << code.message();
  EXPECT_FALSE(holder.i_am_locking());
}

TEST_P(Leases, a_thread_that_follows_another_has_one_of_its_own) {
  FileLock lock(path(), leased());
  lock.acquire();
  const Holder first = lock.holder().value();
  std::atomic<bool> waits = false;
  in_.system().before = [&](os::Call call) {
    if (call == os::Call::wait) waits = true;
    return 0;
  };
  std::thread next = thread([&] {
    lock.acquire(stuck);
    EXPECT_EQ(lock.lease_left(), ttl);
    const Holder second = lock.holder().value();
    EXPECT_FALSE(second.nonce == first.nonce && second.number == first.number);
    lock.release();
  });
  while (!waits) std::this_thread::yield();
  pass(ttl / 2);
  lock.release();
  next.join();
  in_.system().before = nullptr;
}

TEST_P(Leases, a_renewal_finds_that_the_hold_was_broken) {
  FileLock holder(path(), leased());
  FileLock other(path(), options());
  holder.acquire();
  const std::stop_token lost = holder.lost();
  EXPECT_TRUE(other.break_lock());
  EXPECT_FALSE(lost.stop_requested());
  std::error_code code;
  holder.renew(code);
  EXPECT_EQ(code, errc::not_locked);
  EXPECT_TRUE(lost.stop_requested());
  EXPECT_THROW(holder.release(), NotLocked);
}

TEST_P(Leases, what_is_told_of_a_loss_may_use_the_lock) {
  FileLock holder(path(), leased());
  holder.acquire();
  bool told = false;
  const std::stop_callback callback(holder.lost(), [&] {
    told = true;
    EXPECT_FALSE(holder.i_am_locking());
  });
  pass(ttl);
  EXPECT_FALSE(holder.i_am_locking());
  EXPECT_TRUE(told);
}

TEST_P(Leases, only_exclusive_holds_have_one) {
  FileLock lock(path(), leased());
  std::error_code code;
  EXPECT_FALSE(lock.acquire(Mode::shared, 0s, code));
  EXPECT_EQ(code, std::errc::operation_not_supported);
  lock.acquire();
  EXPECT_EQ(FileLock(path(), options()).holder().value().lease, ttl);
}

TEST_P(Leases, without_one_nothing_is_renewed) {
  FileLock lock(path(), options());
  EXPECT_TRUE(lock.lost().stop_requested());
  EXPECT_THROW(lock.renew(), NotLocked);
  lock.acquire();
  EXPECT_EQ(lock.lease_left(), std::nullopt);
  EXPECT_FALSE(lock.lost().stop_requested());
  std::error_code code;
  lock.renew(code);
  EXPECT_EQ(code, std::errc::operation_not_supported);
}

TEST_P(Leases, times_that_are_none_are_refused) {
  Options with = options();
  for (const auto wrong : {-1ms, claim::longest_lease + 1ms}) {
    with.lease = wrong;
    EXPECT_EQ(code_of([&] { FileLock lock(path(), with); }), std::errc::invalid_argument);
  }
}

class Keepers : public Leases {
 protected:
  // How often the keeper has written a count that the disk has.
  void count_renewals() {
    in_.system().before = [this](os::Call call) {
      if (call == os::Call::sync) {
        const std::lock_guard guard(mutex_);
        ++renewals_;
        changed_.notify_all();
      }
      return refuse_ && call == os::Call::sync ? EIO : 0;
    };
  }
  [[nodiscard]] bool wait_for_renewals(int how_many) {
    std::unique_lock guard(mutex_);
    return changed_.wait_for(guard, stuck, [&] { return renewals_ >= how_many; });
  }
  // Is told within the time after which something is stuck.
  static bool is_told(const std::stop_token& token) {
    std::promise<void> told;
    const std::stop_callback callback(token, [&] { told.set_value(); });
    return told.get_future().wait_for(stuck) == std::future_status::ready;
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  int renewals_ = 0;
  std::atomic<bool> refuse_{false};
};
LOCKFILE_FOR_MAIN_VARIANTS(Keepers);

TEST_P(Keepers, renew_in_time) {
  FileLock lock(path(), leased());
  lock.acquire();
  count_renewals();
  {
    const LeaseKeeper keeper(lock);
    for (int i = 1; i <= 4; ++i) {
      pass(ttl / 3 + 1ms);
      EXPECT_TRUE(wait_for_renewals(i));
    }
    EXPECT_FALSE(keeper.lost().stop_requested());
    EXPECT_GT(keeper.time_left(), 0ns);
    EXPECT_EQ(keeper.loss(), Loss::none);
  }
  EXPECT_TRUE(lock.i_am_locking());
  lock.release();
}

TEST_P(Keepers, tell_when_it_runs_out_and_before_that) {
  FileLock lock(path(), leased());
  lock.acquire();
  refuse_ = true;
  count_renewals();
  const LeaseKeeper keeper(lock, 300ms);
  EXPECT_EQ(keeper.time_left(), ttl);
  pass(ttl - 300ms);
  EXPECT_TRUE(is_told(keeper.lost()));
  EXPECT_FALSE(lock.lost().stop_requested());
  EXPECT_EQ(keeper.loss(), Loss::none);
  EXPECT_TRUE(lock.i_am_locking());
  pass(300ms);
  EXPECT_TRUE(is_told(lock.lost()));
  EXPECT_EQ(keeper.loss(), Loss::expired);
  EXPECT_FALSE(lock.i_am_locking());
  EXPECT_THROW(lock.release(), NotLocked);
}

TEST_P(Keepers, leave_nothing_to_renew_once_the_loss_was_told) {
  FileLock lock(path(), leased());
  lock.acquire();
  {
    refuse_ = true;
    const LeaseKeeper keeper(lock);
    pass(ttl);
    EXPECT_TRUE(is_told(lock.lost()));
    refuse_ = false;
  }
  std::error_code ec;
  lock.renew(ec);
  EXPECT_EQ(ec, errc::not_locked);
  // What stands there yet is removed all the same.
  EXPECT_THROW(lock.release(), NotLocked);
  EXPECT_FALSE(lock.is_locked());
  lock.acquire(0s);
}

// The one that reads the clock is not held up by the one that writes.
TEST_P(Keepers, tell_while_the_server_is_away) {
  FileLock lock(path(), leased());
  lock.acquire();
  const std::stop_token lost = lock.lost();
  std::promise<void> writing;
  std::promise<void> answers;
  std::atomic<bool> first{true};
  in_.system().before = [&](os::Call call) {
    if (call == os::Call::sync && first.exchange(false)) {
      writing.set_value();
      answers.get_future().wait();
    }
    return 0;
  };
  {
    const LeaseKeeper keeper(lock);
    pass(ttl / 2);
    EXPECT_EQ(writing.get_future().wait_for(stuck), std::future_status::ready);
    pass(ttl / 2);
    EXPECT_TRUE(is_told(lost));
    EXPECT_TRUE(keeper.lost().stop_requested());
    EXPECT_EQ(keeper.loss(), Loss::expired);
    answers.set_value();
  }
  EXPECT_FALSE(lock.i_am_locking());
}

TEST_P(Keepers, tell_of_a_break) {
  for (const auto lease : {ttl, 0ms}) {
    Options with = options();
    with.lease = lease;
    FileLock lock(path(), with);
    lock.acquire();
    const LeaseKeeper keeper(lock);
    EXPECT_EQ(keeper.time_left().has_value(), lease != 0ms);
    EXPECT_TRUE(FileLock(path(), options()).break_lock());
    EXPECT_TRUE(is_told(keeper.lost()));
    EXPECT_TRUE(lock.lost().stop_requested());
    EXPECT_EQ(keeper.loss(), Loss::broken);
    EXPECT_THROW(lock.release(), NotLocked);
  }
}

TEST_P(Keepers, learn_of_a_break_by_a_renewal_where_no_event_tells_of_it) {
  in_.system().mounted = os::FileSystem{"nfs", false, true};
  FileLock lock(path(), leased());
  lock.acquire();
  const LeaseKeeper keeper(lock);
  EXPECT_TRUE(FileLock(path(), options()).break_lock());
  pass(ttl / 2);
  EXPECT_TRUE(is_told(keeper.lost()));
  EXPECT_EQ(keeper.loss(), Loss::broken);
  EXPECT_THROW(lock.release(), NotLocked);
}

// Whoever is told by the lock object itself, by whichever thread found it out, may ask the keeper at once.
TEST_P(Keepers, know_why_before_anybody_is_told) {
  for (const bool broken : {true, false}) {
    FileLock lock(path(), leased());
    lock.acquire();
    const LeaseKeeper keeper(lock);
    std::promise<Loss> told;
    const std::stop_callback ask(lock.lost(), [&] { told.set_value(keeper.loss()); });
    if (broken) {
      EXPECT_TRUE(FileLock(path(), options()).break_lock());
    } else {
      pass(ttl);
    }
    std::future<Loss> why = told.get_future();
    ASSERT_EQ(why.wait_for(stuck), std::future_status::ready);
    EXPECT_EQ(why.get(), broken ? Loss::broken : Loss::expired);
  }
}

TEST_P(Keepers, know_when_there_is_nothing_to_keep) {
  FileLock lock(path(), leased());
  EXPECT_EQ(code_of([&] { LeaseKeeper keeper(lock); }), errc::not_locked);
  lock.acquire();
  EXPECT_EQ(code_of([&] { LeaseKeeper keeper(lock, ttl); }), std::errc::invalid_argument);
  const LeaseKeeper keeper(lock);
  lock.release();
  lock.acquire();
  pass(ttl);  // of the other hold, which has no keeper
  EXPECT_FALSE(lock.i_am_locking());
}

TEST_P(Keepers, are_not_there_in_a_forked_child) {
  FileLock lock(path(), leased());
  lock.acquire();
  {
    const LeaseKeeper keeper(lock);
    const std::stop_token parents = keeper.lost();
    const pid_t child = fork();
    if (child == 0) {
      const bool told = keeper.lost().stop_requested() && keeper.time_left() == 0ns;
      keeper.~LeaseKeeper();
      ::_exit(told && lock.lost().stop_requested() && !lock.i_am_locking() ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    EXPECT_FALSE(parents.stop_requested());
  }
  EXPECT_TRUE(lock.i_am_locking());
}

}  // namespace
}  // namespace lockfile::testing
