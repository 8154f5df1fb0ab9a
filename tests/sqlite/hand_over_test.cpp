// The hand-over: who is let in by whom, who is woken when, and who hears of a break.
#include "conformance/fixture.hpp"
#include "sqlite/connection.hpp"
#include "support/sanitizers.hpp"

#include <lockfile/lease_keeper.hpp>
#include <lockfile/lockfile.hpp>

#include <atomic>
#include <filesystem>
#include <future>
#include <memory>
#include <utility>

namespace lockfile::testing {
namespace {

class SQLiteHandOver : public ::testing::Test {
 protected:
  [[nodiscard]] std::string database() const { return scratch_ / "locks.db"; }
  [[nodiscard]] std::unique_ptr<Peer> peer() const {
    return std::make_unique<Peer>(std::vector<std::string>{scratch_ / "a", "sqlite"});
  }
  // Until so many wait.
  void expect_waiters(std::size_t number) {
    TestLock lock(scratch_ / "a", {.scheme = "sqlite"});
    const auto give_up = std::chrono::steady_clock::now() + stuck;
    while (lock.waiters().size() != number) {
      ASSERT_LT(std::chrono::steady_clock::now(), give_up);
      std::this_thread::yield();
    }
  }

  // Whoever waits gives up, and cannot take its place back: `other` writes.
  void give_up_while_it_is_written(TestLock& lock, InVariant& process, Connection& other) {
    std::stop_source stop;
    std::thread waiter([&] {
      process.enter();
      EXPECT_EQ(code_of([&] { lock.acquire({for_ever, stop.get_token()}); }), errc::stopped);
    });
    expect_waiters(1);
    other.ask("BEGIN IMMEDIATE");
    stop.request_stop();
    waiter.join();
    other.ask("COMMIT");
  }

  Scratch scratch_;
  InVariant in_{variant_named("sqlite")};
};

TEST_F(SQLiteHandOver, wakes_one_waiter_after_the_commit_and_in_order) {
  TestLock lock(scratch_ / "a", {.scheme = "sqlite"});
  lock.acquire();
  std::vector<std::unique_ptr<Peer>> waiters;
  for (std::size_t i = 0; i < 3; ++i) {
    waiters.push_back(peer());
    waiters.back()->tell("acquire");
    expect_waiters(i + 1);
  }
  int tokens = 0;
  std::string holder_at_the_token;
  Connection other(database());
  in_.system().before = [&](os::Call call) {
    if (call != os::Call::fifo_put) return 0;
    ++tokens;
    holder_at_the_token = other.ask("SELECT process.pid FROM hold JOIN process ON process.id = hold.process");
    return 0;
  };
  lock.release();
  in_.system().before = nullptr;
  EXPECT_EQ(tokens, 1);
  EXPECT_EQ(holder_at_the_token, std::to_string(waiters[0]->pid())) << "committed before it was told";
  for (std::size_t i = 0; i < waiters.size(); ++i) {
    EXPECT_EQ(waiters[i]->answer(), "held");
    for (std::size_t behind = i + 1; behind < waiters.size(); ++behind) EXPECT_TRUE(waiters[behind]->is_silent());
    EXPECT_EQ(waiters[i]->ask("release"), "released");
  }
}

TEST_F(SQLiteHandOver, lets_readers_in_together_and_a_newcomer_behind_those_who_wait) {
  TestLock lock(scratch_ / "a", {.scheme = "sqlite"});
  lock.acquire();
  auto reader = peer();
  auto another = peer();
  auto writer = peer();
  reader->tell("share");
  expect_waiters(1);
  another->tell("share");
  expect_waiters(2);
  writer->tell("acquire");
  expect_waiters(3);
  lock.release();
  EXPECT_EQ(reader->answer(), "held");
  EXPECT_EQ(another->answer(), "held");
  EXPECT_TRUE(writer->is_silent());
  EXPECT_EQ(code_of([&] { lock.acquire(Mode::shared, 0s); }), errc::already_locked) << "behind the writer";
  TestLock hasty(scratch_ / "a", {.scheme = "sqlite", .order = Order::throughput});
  hasty.acquire(Mode::shared, 0s);
  hasty.release();
  EXPECT_EQ(reader->ask("release"), "released");
  EXPECT_EQ(another->ask("release"), "released");
  EXPECT_EQ(writer->answer(), "held");
}

TEST_F(SQLiteHandOver, reaches_a_waiter_also_when_the_releaser_is_killed_at_any_call) {
  bool died = true;
  for (int n = 0; died; n += one_call_in) {
    ASSERT_LT(n, 500);
    Peer holder({scratch_ / "a", "sqlite", "kill-at", std::to_string(n)});
    if (holder.ask("acquire") != "held") continue;  // that death was before
    const auto waiter = peer();
    waiter->tell("acquire");
    expect_waiters(1);
    died = holder.ask("release") != "released";
    ASSERT_EQ(waiter->answer(), "held") << "after a death at call " << n;
    ASSERT_EQ(waiter->ask("release"), "released");
  }
}

TEST_F(SQLiteHandOver, passes_over_a_waiter_that_has_died) {
  TestLock lock(scratch_ / "a", {.scheme = "sqlite"});
  lock.acquire();
  auto dead = peer();
  dead->tell("acquire");
  expect_waiters(1);
  auto next = peer();
  next->tell("acquire");
  expect_waiters(2);
  dead->kill();
  lock.release();
  EXPECT_EQ(next->answer(), "held");
}

TEST_F(SQLiteHandOver, is_no_deadlock_to_the_thread_that_is_let_in) {
  // Readers wait behind a writer, so that they look for themselves among the holders when they are blocked.
  constexpr int rounds = 100;
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      in_.enter();
      for (int round = 0; round < rounds; ++round) {
        TestLock lock(scratch_ / "a", {.scheme = "sqlite"});
        std::error_code ec;
        (void)lock.acquire(i == 0 ? Mode::exclusive : Mode::shared, stuck, ec);
        if (ec) ++wrong;
        std::error_code released;
        lock.release(released);
        if (released && !ec) ++wrong;
      }
    });
  }
  for (std::thread& each : threads) each.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(SQLiteHandOver, that_comes_before_the_look_for_a_deadlock_is_none) {
  const auto reader = peer();
  ASSERT_EQ(reader->ask("share"), "held");
  // Who holds nothing does not look.
  TestLock another(scratch_ / "b", {.scheme = "sqlite"});
  another.acquire();
  TestLock lock(scratch_ / "a", {.scheme = "sqlite"});
  Connection other(database());
  bool released = false;
  // In line, and about to look who is in the way, for readers may be this thread itself.
  in_.system().before = [&](os::Call call) {
    if (call != os::Call::stat_at || released || other.ask("SELECT count(*) FROM queue") == "0") return 0;
    released = true;
    EXPECT_EQ(reader->ask("release"), "released");
    return 0;
  };
  EXPECT_EQ(code_of([&] { lock.acquire(stuck); }), std::error_code());
  in_.system().before = nullptr;
  EXPECT_TRUE(released);
  EXPECT_TRUE(lock.i_am_locking());
}

TEST_F(SQLiteHandOver, to_one_who_could_not_take_its_place_back_goes_on_to_the_next) {
  auto holder = peer();
  ASSERT_EQ(holder->ask("acquire"), "held");
  TestLock lock(scratch_ / "a", {.scheme = "sqlite"});
  Connection other(database());
  give_up_while_it_is_written(lock, in_, other);
  // From here on this process does nothing for a while.
  auto next = peer();
  next->tell("acquire");
  EXPECT_EQ(holder->ask("release"), "released");
  EXPECT_EQ(next->answer(), "held");
}

TEST_F(SQLiteHandOver, to_one_who_could_not_take_its_place_back_is_taken_back_by_its_process) {
  Variant variant = variant_named("sqlite");
  variant.missing.fifos = true;  // so whoever lets it in does not find out
  InVariant mine(variant);
  auto holder = peer();
  ASSERT_EQ(holder->ask("acquire"), "held");
  TestLock lock(scratch_ / "a", {.scheme = "sqlite"});
  Connection other(database());
  give_up_while_it_is_written(lock, mine, other);
  EXPECT_EQ(holder->ask("release"), "released");
  EXPECT_TRUE(lock.is_locked()) << "given to the place";
  // A transaction that comes to nothing leaves it as it is.
  const std::string last = other.ask("SELECT since FROM hold WHERE name = ''");
  other.ask("DELETE FROM hold WHERE name = ''");
  EXPECT_EQ(code_of([&] { lock.acquire(0s); }), std::errc::bad_message);
  other.ask("INSERT INTO hold VALUES('', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, " + last + ", '')");
  EXPECT_TRUE(lock.is_locked());
  lock.acquire(0s);
  EXPECT_TRUE(lock.waiters().empty());
}

TEST_F(SQLiteHandOver, that_nobody_could_be_told_of_is_found_by_who_looks) {
  TestLock lock(scratch_ / "a", {.scheme = "sqlite"});
  lock.acquire();
  const auto waiter = peer();
  waiter->tell("acquire");
  expect_waiters(1);
  for (const auto& each : std::filesystem::directory_iterator(database() + ".d")) {
    if (each.path().extension() == ".wake") std::filesystem::remove(each.path());
  }
  // Nor can it be given to the next one: the database is somebody else's from the COMMIT on.
  Connection other(database());
  bool committed = false;
  in_.system().before = [&](os::Call call) {
    if (call == os::Call::wait) in_.system().ahead = in_.system().ahead.load() + 1s;
    if (call == os::Call::open && !std::exchange(committed, true)) other.ask("BEGIN IMMEDIATE");
    return 0;
  };
  EXPECT_EQ(code_of([&] { lock.release(); }), std::error_code());
  in_.system().before = nullptr;
  EXPECT_TRUE(committed);
  other.ask("COMMIT");
  EXPECT_EQ(waiter->answer(), "held");
}

TEST_F(SQLiteHandOver, does_not_count_those_who_have_died_among_those_who_wait) {
  TestLock lock(scratch_ / "a", {.scheme = "sqlite"});
  lock.acquire();
  const auto dead = peer();
  dead->tell("acquire");
  expect_waiters(1);
  dead->kill();
  EXPECT_TRUE(lock.waiters().empty());
}

TEST_F(SQLiteHandOver, to_one_who_has_just_given_up_goes_on_to_the_next) {
  constexpr int rounds = 200;
  std::vector<std::thread> threads;
  std::atomic<int> held = 0;
  std::atomic<int> wrong = 0;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      const InVariant mine(variant_named("sqlite"));  // a process each, as far as the library can see
      TestLock lock(scratch_ / "a", {.scheme = "sqlite"});
      for (int round = 0; round < rounds; ++round) {
        if (!lock.try_lock_for(std::chrono::microseconds((round * 37 + i * 211) % 400))) continue;
        if (++held != 1) ++wrong;
        --held;
        lock.unlock();
        if (lock.last_error()) ++wrong;
      }
    });
  }
  for (std::thread& each : threads) each.join();
  EXPECT_EQ(wrong, 0);
  TestLock lock(scratch_ / "a", {.scheme = "sqlite"});
  EXPECT_TRUE(lock.waiters().empty());
  EXPECT_FALSE(lock.holder());
  lock.acquire(0s);
}

TEST_F(SQLiteHandOver, reaches_a_waiter_whose_place_somebody_has_taken_away) {
  for (const bool fifos : {true, false}) {
    Variant variant = variant_named("sqlite");
    variant.missing.fifos = !fifos;
    InVariant mine(variant);
    const auto holder = peer();
    ASSERT_EQ(holder->ask("acquire"), "held");
    std::thread waiter([&] {
      mine.enter();
      TestLock lock(scratch_ / "a", {.scheme = "sqlite"});
      EXPECT_EQ(code_of([&] { lock.acquire(stuck); }), std::error_code());
    });
    expect_waiters(1);
    { Connection(database()).ask("DELETE FROM queue"); }
    expect_waiters(1);
    EXPECT_EQ(holder->ask("release"), "released");
    waiter.join();
  }
}

TEST_F(SQLiteHandOver, reaches_a_waiter_also_when_somebody_has_removed_its_fifo_before) {
  const auto holder = peer();
  ASSERT_EQ(holder->ask("acquire"), "held");
  TestLock lock(scratch_ / "a", {.scheme = "sqlite"});
  EXPECT_EQ(code_of([&] { lock.acquire(1ms); }), errc::timed_out);
  int removed = 0;
  for (const auto& each : std::filesystem::directory_iterator(database() + ".d")) {
    if (each.path().extension() == ".wake") removed += std::filesystem::remove(each.path()) ? 1 : 0;
  }
  EXPECT_EQ(removed, 1) << "it is kept for the next wait";
  std::thread waiter([&] {
    in_.enter();
    EXPECT_EQ(code_of([&] { lock.acquire(stuck); }), std::error_code());
  });
  expect_waiters(1);
  EXPECT_EQ(holder->ask("release"), "released");
  waiter.join();
}

TEST_F(SQLiteHandOver, a_break_is_told_to_whoever_watches_over_the_hold) {
  for (const bool fifos : {true, false}) {
    Variant variant = variant_named("sqlite");
    variant.missing.fifos = !fifos;
    InVariant mine(variant);
    TestLock lock(scratch_ / "a", {.scheme = "sqlite"});
    lock.acquire();
    std::promise<void> told;
    const std::stop_callback callback(lock.lost(), [&] { told.set_value(); });
    const LeaseKeeper keeper(lock);
    const auto breaker = peer();
    ASSERT_EQ(breaker->ask("break"), "broken");
    EXPECT_EQ(told.get_future().wait_for(stuck), std::future_status::ready);
    EXPECT_FALSE(lock.i_am_locking());
  }
}

}  // namespace
}  // namespace lockfile::testing
