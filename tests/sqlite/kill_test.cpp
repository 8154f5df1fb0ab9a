// Kills: at every call that the library makes, and at any instant, within SQLite too. Afterwards the database is whole,
// every name is to be had, and no fence has gone back. The long form, of 10,000 kills:
//
//   LOCKFILE_SQLITE_KILLS=10000 build/dev/tests/sqlite/sqlite_tests --gtest_filter='SQLiteKills.*'
#include "conformance/fixture.hpp"
#include "sqlite/connection.hpp"
#include "sqlite/ledger.hpp"
#include "support/sanitizers.hpp"

#include <lockfile/lockfile.hpp>
#include <lockfile/open.hpp>

#include <sys/wait.h>

#include <cstdlib>
#include <iostream>
#include <memory>
#include <random>

namespace lockfile::testing {
namespace {

class SQLiteKills : public ::testing::Test {
 protected:
  [[nodiscard]] std::string database() const { return scratch_ / "locks.db"; }

  // Nobody lives who has it open.
  void expect_whole() {
    Connection other(database());
    EXPECT_EQ(other.ask("PRAGMA integrity_check"), "ok");
  }

  // A hold of every kind is to be had at once, and nothing of the dead is left.
  void expect_recovered(const std::string& name, std::uint64_t& newest) {
    const auto lock = open("sqlite:" + database() + "#" + name);
    std::error_code ec;
    EXPECT_TRUE(lock->acquire(0s, ec)) << name << ": " << ec.message();
    EXPECT_GT(lock->fence(), newest);
    newest = lock->fence();
    EXPECT_TRUE(lock->waiters().empty());
    EXPECT_EQ(lock->holders().size(), 1U);
  }

  Scratch scratch_;
  InVariant in_{variant_named("sqlite")};
};

TEST_F(SQLiteKills, at_every_call_leave_the_lock_to_be_had) {
  std::uint64_t newest = 0;
  const std::vector<std::string> commands = {"acquire", "fence", "release", "share", "release", "units 2 3", "drop"};
  bool died = true;
  long n = 0;
  for (; died; n += one_call_in) {
    ASSERT_LT(n, 2000);
    died = false;
    {
      Peer peer({scratch_ / "a", "sqlite", "kill-at", std::to_string(n)});
      for (const std::string& command : commands) {
        const std::string answer = peer.ask(command);
        if (command == "fence" && !answer.empty()) newest = std::max<std::uint64_t>(newest, std::stoull(answer));
        died = answer.empty();
        if (died) break;
        ASSERT_FALSE(answer.starts_with("error")) << answer;
      }
    }
    expect_recovered("a", newest);
    EXPECT_EQ(open_semaphore("sqlite:" + database() + "#a", 3).acquire(3, 0s).size(), 3U) << n;
    if (HasFailure()) return;
  }
  expect_whole();
  std::cout << "killed at one in " << one_call_in << " of " << n << " calls\n";
}

TEST_F(SQLiteKills, at_any_instant_leave_the_database_whole_and_every_lock_to_be_had) {
  const char* const wanted = std::getenv("LOCKFILE_SQLITE_KILLS");
  const long kills = wanted != nullptr ? std::strtol(wanted, nullptr, 10) : 300 / one_call_in;
  constexpr std::size_t workers = 4;
  std::mt19937 random(7);
  std::vector<std::unique_ptr<Peer>> all(workers);
  const auto start = [&](std::unique_ptr<Peer>& into) {
    into = std::make_unique<Peer>(SQLITE_WORKER,
                                  std::vector<std::string>{database(), scratch_ / "ledger", std::to_string(random())});
    ASSERT_EQ(into->answer(), "ready");
  };
  for (auto& each : all) start(each);
  for (long i = 0; i < kills; ++i) {
    auto& victim = all.at(random() % workers);
    // Somewhere in its first milliseconds: whichever instant that is.
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 3000));
    victim->signal(SIGKILL);
    const int status = victim->wait();
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "it ended by itself: " << status;
    start(victim);
    if (HasFatalFailure()) return;
  }
  for (auto& each : all) {
    each->signal(SIGKILL);
    const int status = each->wait();
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "it ended by itself: " << status;
  }
  expect_whole();
  Ledger ledger(scratch_ / "ledger");
  std::uint64_t rounds = 0;
  for (std::size_t which = 0; which < Ledger::names; ++which) {
    std::uint64_t newest = ledger.at(which).fence;
    expect_recovered(std::to_string(which), newest);
    rounds += ledger.at(which).rounds;
  }
  EXPECT_GT(rounds, 0U);
  std::cout << kills << " kills, " << rounds << " protected writes, none with an older fence\n";
  EXPECT_EQ(Connection(database()).ask("SELECT count(*) FROM hold WHERE name <> ''"), "0");
  EXPECT_EQ(Connection(database()).ask("SELECT count(*) FROM queue"), "0");
}

}  // namespace
}  // namespace lockfile::testing
