// What is known to go wrong with locks of a PostgreSQL server, each against a real one. The laws that hold for every
// scheme are in tests/conformance.
#include "postgresql/support.hpp"
#include "schemes/postgresql/connection.hpp"
#include "schemes/postgresql/key.hpp"

#include <lockfile/lease_keeper.hpp>

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <future>
#include <set>
#include <vector>

namespace lockfile::testing {
namespace {

using schemes::postgresql::key_of;

class Traps : public WithServer {
 protected:
  [[nodiscard]] Peer peer() const { return Peer({scratch_ / "a", "postgresql"}); }
  // Of the sessions that have, or wait for, the lock of that name.
  [[nodiscard]] std::string locks(const std::string& column, const std::string& where,
                                  const std::string& name = "a") const {
    return "SELECT " + column +
           " FROM pg_locks WHERE locktype = 'advisory' AND (classid::bigint << 32 | objid::bigint) = " +
           std::to_string(key_of(name_of(name))) + " AND " + where;
  }
};

TEST_F(Traps, a_wait_that_is_given_up_at_the_moment_of_the_grant_leaves_no_hold) {
  Sql sql(place());
  const auto holder = open(address());
  int granted = 0;
  constexpr int rounds = 150;
  for (int i = 0; i < rounds; ++i) {
    holder->acquire();
    std::stop_source stop;
    auto waiter = std::async(std::launch::async, [&] {
      const auto lock = open(address());
      std::error_code why;
      if (!lock->acquire({for_ever, stop.get_token()}, why)) return why;
      lock->release();
      return std::error_code();
    });
    sql.until(locks("count(*)", "NOT granted"), "1");
    auto releases = std::async(std::launch::async, [&] { stop.request_stop(); });
    holder->release();
    releases.get();
    const std::error_code why = waiter.get();
    ASSERT_TRUE(!why || why == errc::stopped) << why.message();
    granted += why ? 0 : 1;
    ASSERT_EQ(sql(locks("count(*)", "true")), "0") << "round " << i << ", " << (why ? "stopped" : "granted");
  }
  RecordProperty("granted", granted);
}

TEST_F(Traps, one_session_is_never_granted_a_lock_twice) {
  Sql sql(place());
  const auto one = open(address());
  const auto other = open(address("b"));
  one->acquire();
  other->acquire();
  EXPECT_NE(sql(locks("pid", "granted")), sql(locks("pid", "granted", "b")));
  in_another_thread([&] {
    const auto second = open(address());
    EXPECT_EQ(code_of([&] { second->acquire(0s); }), errc::already_locked);
  });
  const std::string session = sql(locks("pid", "granted"));
  one->release();
  EXPECT_EQ(sql(locks("count(*)", "true")), "0");
  EXPECT_EQ(sql("SELECT state FROM pg_stat_activity WHERE pid = " + session), "idle");
}

TEST_F(Traps, a_hold_is_no_open_transaction) {
  Sql sql(place());
  const auto lock = open(address());
  lock->acquire();
  EXPECT_EQ(sql("SELECT state FROM pg_stat_activity WHERE pid = (" + locks("pid", "granted") + ")"), "idle");
}

TEST_F(Traps, a_pooler_is_refused) {
  Proxy pooler(directory(), Proxy::Lies::about_the_session);
  const auto lock = open(pooler.place() + "#a");
  const std::string why = message_of([&] { lock->acquire(0s); });
  EXPECT_NE(why.find("there is a pooler between us and the server"), std::string::npos) << why;
  EXPECT_NE(message_of([&] { initialise(pooler.place()); }).find("pooler"), std::string::npos);
  Proxy honest(directory());
  open(honest.place() + "#" + name_of("a"))->acquire(0s);
}

TEST_F(Traps, a_server_that_is_too_old_is_refused) {
  Proxy old(directory(), Proxy::Lies::about_the_version);  // 11
  const std::string why = message_of([&] { open(old.place() + "#a")->acquire(0s); });
  EXPECT_NE(why.find("the server is older than PostgreSQL 12"), std::string::npos) << why;
}

TEST_F(Traps, two_names_with_one_number_are_told_and_never_merged) {
  Sql sql(place());
  (void)sql("INSERT INTO lockfile.name VALUES (" + std::to_string(key_of(name_of("a"))) + ", 'somebody else')");
  const auto lock = open(address());
  const std::string why = message_of([&] { lock->acquire(0s); });
  EXPECT_NE(why.find("'" + name_of("a") + "' and 'somebody else' have the same number"), std::string::npos) << why;
  EXPECT_EQ(sql(locks("count(*)", "true")), "0");
}

TEST_F(Traps, what_is_wrong_with_an_address_is_said) {
  EXPECT_EQ(code_of([&] { (void)open("postgresql://app:secret@db/app#a"); }), std::errc::invalid_argument);
  EXPECT_EQ(code_of([&] { (void)open("postgresql://app@db/app?sslpassword=x#a"); }), std::errc::invalid_argument);
  EXPECT_NE(message_of([&] { (void)open("postgresql://app@db/app?pasword=x#a"); }).find("\"pasword\""),
            std::string::npos);
  EXPECT_EQ(code_of([&] { open("postgresql://postgres@/postgres?host=/nowhere#a")->acquire(0s); }),
            std::errc::not_connected);
  // What stands behind two spaces is not always one of a server's states.
  const std::string why =
      message_of([&] { open("postgresql://postgres@/postgres?host=/no:%20%20where#a")->acquire(0s); });
  EXPECT_NE(why.find("/no:  where/"), std::string::npos) << why;
  EXPECT_EQ(code_of([&] { open(place() + "&dbname=none#a")->acquire(0s); }), std::errc::not_connected);
}

TEST_F(Traps, of_several_servers_of_an_address_the_first_that_can_be_had_is_taken) {
  const std::string several = "postgresql://postgres@/postgres?host=/nowhere," + directory();
  open(several + "#" + name_of("a"))->acquire(0s);
  using schemes::postgresql::place_of;
  EXPECT_TRUE(place_of("postgres@/postgres?hostaddr=127.0.0.1,127.0.0.2").several_hosts);
  EXPECT_TRUE(place_of("postgres@/postgres?host=a,b&hostaddr=127.0.0.1,127.0.0.2").several_hosts);
  EXPECT_FALSE(place_of("postgres@/postgres?hostaddr=127.0.0.1").several_hosts);
}

TEST_F(Traps, a_patience_of_no_time_is_the_one_without_an_address) {
  using schemes::postgresql::place_of;
  EXPECT_EQ(place_of("postgres@/postgres?connect_timeout=7").patience, 7s);
  EXPECT_EQ(place_of("postgres@/postgres?connect_timeout=0").patience, place_of("postgres@/postgres").patience);
}

TEST_F(Traps, a_database_without_the_schema_names_the_command_that_makes_it) {
  Sql sql(place());
  const std::string database = "without_" + std::to_string(::getpid());
  (void)sql("CREATE DATABASE " + database);
  const std::string bare = place() + "&dbname=" + database;
  const std::string why = message_of([&] { open(bare + "#a")->acquire(0s); });
  EXPECT_NE(why.find("has no schema 'lockfile', which `lockctl init "), std::string::npos) << why;
  const std::string not_listed = message_of([&] { (void)list_place(bare); });
  EXPECT_NE(not_listed.find("has no schema 'lockfile', which `lockctl init "), std::string::npos) << not_listed;
  initialise(bare);
  initialise(bare);  // may be repeated
  EXPECT_TRUE(list_place(bare).empty());
  open(bare + "#a")->acquire(0s);
  {
    Sql there(bare);
    (void)there("UPDATE lockfile.meta SET version = 2");
  }
  // A session that is open has been checked: another address makes a new one.
  EXPECT_EQ(code_of([&] { open(bare + "&connect_timeout=9#a")->acquire(0s); }), std::errc::protocol_not_supported);
  EXPECT_NE(message_of([&] { initialise(bare); }).find("schema lockfile is of version 2"), std::string::npos);
  (void)sql("DROP DATABASE " + database + " WITH (FORCE)");
}

TEST_F(Traps, what_a_user_may_not_do_in_the_schema_is_said) {
  Sql sql(place());
  const std::string name = "poor_" + std::to_string(::getpid());
  (void)sql("CREATE DATABASE " + name);
  (void)sql("CREATE ROLE " + name + " LOGIN");
  const std::string there = place() + "&dbname=" + name;
  const std::string as_somebody = there + "&user=" + name + "#a";
  initialise(there);
  {
    Sql inside(there);
    open(as_somebody)->acquire(0s);
    // Each new address makes a new session.
    const auto refused = [&](int patience) {
      return code_of(
          [&] { open(there + "&user=" + name + "&connect_timeout=" + std::to_string(patience) + "#a")->acquire(0s); });
    };
    (void)inside("REVOKE INSERT ON lockfile.session FROM PUBLIC");
    EXPECT_EQ(refused(21), std::errc::permission_denied);
    (void)inside("REVOKE SELECT ON lockfile.meta FROM PUBLIC");
    EXPECT_EQ(refused(22), std::errc::permission_denied);
    (void)inside("GRANT SELECT ON lockfile.meta TO PUBLIC");
    (void)inside("GRANT INSERT ON lockfile.session TO PUBLIC");
    (void)inside("DELETE FROM lockfile.meta");
    EXPECT_EQ(refused(23), std::errc::protocol_error);
    (void)inside("INSERT INTO lockfile.meta (version) VALUES (1)");
    open(as_somebody)->acquire(0s);
    // Two sessions stand: one waits, and the other one may not take the wait back.
    {
      const auto one = open(there + "&user=" + name + "#b");
      const auto other = open(there + "&user=" + name + "#c");
      one->acquire(0s);
      other->acquire(0s);
    }
    (void)inside("SELECT pg_advisory_lock(" + std::to_string(key_of("a")) + ")");
    std::stop_source stop;
    auto waiter = std::async(std::launch::async, [&] {
      const auto lock = open(as_somebody);
      return code_of([&] { lock->acquire({for_ever, stop.get_token()}); });
    });
    const std::string waiting =
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = " +
        std::to_string(key_of("a") & 0xffffffff);
    inside.until(waiting, "1");
    (void)inside("REVOKE SELECT ON lockfile.session FROM PUBLIC");
    stop.request_stop();
    EXPECT_EQ(waiter.get(), errc::stopped);
    inside.until(waiting, "0");
  }
  (void)sql("DROP DATABASE " + name + " WITH (FORCE)");
  (void)sql("DROP ROLE " + name);
}

TEST_F(Traps, what_a_server_refuses_is_told_by_its_kind) {
  Sql sql(place());
  const std::string name = "refuses_" + std::to_string(::getpid());
  (void)sql("CREATE DATABASE " + name);
  const std::string there = place() + "&dbname=" + name;
  initialise(there);
  {
    Sql inside(there);
    int patience = 20;
    for (const auto& [state, kind] :
         {std::pair{"53200", std::errc::no_lock_available}, std::pair{"28000", std::errc::permission_denied},
          std::pair{"42501", std::errc::permission_denied}, std::pair{"57P05", std::errc::connection_reset},
          std::pair{"08006", std::errc::connection_reset}, std::pair{"40P01", std::errc::resource_deadlock_would_occur},
          std::pair{"22000", std::errc::protocol_error}}) {
      // The first session after a crash asks for it; each new address makes a new session.
      (void)inside(
          "CREATE OR REPLACE FUNCTION lockfile.reserve(number bigint) RETURNS bigint LANGUAGE plpgsql AS "
          "$f$ BEGIN RAISE EXCEPTION 'so it is' USING ERRCODE = '" +
          std::string(state) + "'; END $f$");
      const auto lock = open(there + "&connect_timeout=" + std::to_string(++patience) + "#a");
      EXPECT_EQ(code_of([&] { lock->acquire(0s); }), kind) << state;
      const std::string why = message_of([&] { lock->acquire(0s); });
      EXPECT_NE(why.find("so it is"), std::string::npos) << why;
    }
  }
  (void)sql("DROP DATABASE " + name + " WITH (FORCE)");
}

TEST_F(Traps, what_is_no_message_of_the_protocol_ends_the_session) {
  Proxy proxy(directory());
  const auto lock = open(proxy.place() + "#" + name_of("a"));
  lock->acquire();
  proxy.talk_nonsense();
  EXPECT_FALSE(lock->i_am_locking());
  EXPECT_EQ(code_of([&] { lock->release(); }), errc::not_locked);
  lock->acquire(stuck);
}

TEST_F(Traps, a_wait_that_somebody_cancels_at_the_server_fails_and_leaves_no_hold) {
  Sql sql(place());
  const auto holder = open(address());
  holder->acquire();
  auto waiter = std::async(std::launch::async, [&] { return message_of([&] { open(address())->acquire(); }); });
  sql.until(locks("count(*)", "NOT granted"), "1");
  EXPECT_EQ(sql(locks("pg_cancel_backend(pid)", "NOT granted")), "t");
  const std::string why = waiter.get();
  EXPECT_NE(why.find("canceling statement due to user request"), std::string::npos) << why;
  sql.until(locks("count(*)", "NOT granted"), "0");
  EXPECT_TRUE(holder->i_am_locking());
}

// By another session, which is idle, and may have ended since it was used; or by a new one.
TEST_F(Traps, a_wait_is_taken_back_also_where_the_session_that_could_do_so_has_ended) {
  Sql sql(place());
  const auto holder = open(address());
  holder->acquire();
  const std::string idle =
      " FROM pg_stat_activity WHERE application_name LIKE 'lockfile %' AND state = 'idle' AND "
      "pid NOT IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')";
  {
    const auto one = open(address("b"));
    const auto other = open(address("c"));
    one->acquire();
    other->acquire();
  }
  sql.until("SELECT count(*)" + idle, "2");
  std::stop_source stop;
  auto waiter = std::async(std::launch::async, [&] {
    const auto lock = open(address());
    return code_of([&] { lock->acquire({for_ever, stop.get_token()}); });
  });
  sql.until(locks("count(*)", "NOT granted"), "1");
  EXPECT_EQ(sql("SELECT pg_terminate_backend(pid)" + idle), "t");
  sql.until("SELECT count(*)" + idle, "0");
  stop.request_stop();
  EXPECT_EQ(waiter.get(), errc::stopped);
  sql.until(locks("count(*)", "NOT granted"), "0");
  EXPECT_TRUE(holder->i_am_locking());
}

TEST_F(Traps, a_wait_is_over_also_where_no_other_session_can_be_had_to_take_it_back) {
  Sql sql(place());
  Peer holder = peer();
  ASSERT_EQ(holder.ask("acquire"), "held");
  for (const auto& [state, words] :
       {std::pair{"28000", "role \"nobody\" does not exist"}, std::pair{"53300", "sorry, too many clients already"}}) {
    Proxy proxy(directory());
    std::stop_source stop;
    auto waiter = std::async(std::launch::async, [&] {
      const auto lock = open(proxy.place() + "#" + name_of("a"));
      return code_of([&] { lock->acquire({for_ever, stop.get_token()}); });
    });
    sql.until(locks("count(*)", "NOT granted"), "1");
    constexpr int for_ever_more = 1'000'000;
    proxy.refuse(for_ever_more, state, words);
    stop.request_stop();
    EXPECT_EQ(waiter.get(), errc::stopped);
    sql.until(locks("count(*)", "NOT granted"), "0");
  }
  EXPECT_EQ(holder.ask("i_am_locking"), "yes");
}

TEST_F(Traps, a_wait_whose_session_is_ended_goes_on_in_a_new_one) {
  Sql sql(place());
  Peer holder = peer();
  ASSERT_EQ(holder.ask("acquire"), "held");
  const auto lock = open(address());
  open(address("b"))->acquire(0s);  // its session is kept
  auto waiter = std::async(std::launch::async, [&] {
    lock->acquire(stuck);
    lock->release();
  });
  sql.until(locks("count(*)", "NOT granted"), "1");
  const std::string session = sql(locks("pid", "NOT granted"));
  EXPECT_EQ(sql("SELECT pg_terminate_backend(" + session + ")"), "t");
  sql.until(locks("count(*)", "NOT granted AND pid <> " + session), "1");
  EXPECT_EQ(holder.ask("release"), "released");
  EXPECT_NO_THROW(waiter.get());
}

TEST_F(Traps, a_wait_whose_server_does_not_come_back_fails_with_the_servers_words) {
  Sql sql(place());
  Proxy proxy(directory());
  Peer holder = peer();
  ASSERT_EQ(holder.ask("acquire"), "held");
  auto waiter = std::async(std::launch::async, [&] {
    return message_of([&] { open(proxy.place() + "&connect_timeout=1#" + name_of("a"))->acquire(); });
  });
  sql.until(locks("count(*)", "NOT granted"), "1");
  constexpr int for_ever_more = 1'000'000;
  proxy.refuse(for_ever_more, "28000", "role \"nobody\" does not exist");
  proxy.cut();
  const std::string why = waiter.get();
  EXPECT_NE(why.find("role \"nobody\" does not exist"), std::string::npos) << why;
}

// Whoever waits for what it lacks has the right to be admitted, in a session that may end.
TEST_F(Traps, a_wait_for_units_whose_session_is_ended_goes_on_in_a_new_one) {
  Sql sql(place());
  Peer holder = peer();
  ASSERT_EQ(holder.ask("units 1 1"), "held");
  auto waiter = std::async(std::launch::async, [&] {
    Semaphore semaphore = open_semaphore(address(), 1);
    return semaphore.acquire(1, stuck).size();
  });
  const std::string right =
      " FROM pg_locks WHERE locktype = 'advisory' AND granted AND (classid::bigint << 32 | objid::bigint) = " +
      std::to_string(schemes::postgresql::gate_of(name_of("a")));
  sql.until("SELECT count(*)" + right, "1");
  const auto listed = list_place(place());
  EXPECT_TRUE(std::none_of(listed.begin(), listed.end(), [&](const NamedLock& each) {
    return each.address == address();
  })) << "it is the name of no lock";
  const std::string session = sql("SELECT pid" + right);
  EXPECT_EQ(sql("SELECT pg_terminate_backend(" + session + ")"), "t");
  sql.until("SELECT count(*)" + right + " AND pid <> " + session, "1");
  holder.kill();  // nobody says so: it is looked for
  EXPECT_EQ(waiter.get(), 1U);
}

TEST_F(Traps, a_session_that_has_ended_while_it_was_idle_is_made_anew) {
  Proxy proxy(directory());
  const auto lock = open(proxy.place() + "#" + name_of("a"));
  lock->acquire();
  lock->release();
  proxy.cut();
  lock->acquire(0s);
  in_another_thread([&] {
    const auto other = open(proxy.place() + "#" + name_of("a"));
    EXPECT_TRUE(other->is_locked());
  });
  lock->release();
  proxy.cut();
  EXPECT_FALSE(lock->is_locked()) << "a look";
}

TEST_F(Traps, a_release_that_is_not_answered_says_so_and_the_hold_ends_with_its_session) {
  Sql sql(place());
  Proxy proxy(directory());
  const auto lock = open(proxy.place() + "&connect_timeout=1#" + name_of("a"));
  lock->acquire();
  for (const int looks : {0, 2}) {
    proxy.fall_silent();
    for (int i = 0; i < looks; ++i) EXPECT_FALSE(lock->i_am_locking()) << "the second one is not asked any more";
    EXPECT_EQ(code_of([&] { lock->release(); }), std::errc::timed_out);
    proxy.speak();
    sql.until(locks("count(*)", "true"), "0");
    lock->acquire(stuck);
  }
  proxy.cut();
  EXPECT_EQ(code_of([&] { lock->release(); }), errc::not_locked);
}

TEST_F(Traps, a_session_that_has_learned_very_many_names_forgets_them) {
  os::Process& process = os::Process::current();
  const auto there = schemes::postgresql::place_of(behind_the_slashes());
  schemes::postgresql::Connection session(process, there, "");
  constexpr std::int64_t most = 100'000;
  for (std::int64_t key = 0; key < most; ++key) session.learn(key);
  EXPECT_TRUE(session.knows(0));
  session.learn(most);
  EXPECT_TRUE(session.knows(most));
  EXPECT_FALSE(session.knows(0));
}

TEST_F(Traps, a_session_that_is_ended_tells_its_holder_at_once) {
  Sql sql(place());
  const auto lock = open(address());
  lock->acquire();
  const LeaseKeeper keeper(*lock);
  std::promise<void> told;
  const std::stop_callback on_lost(keeper.lost(), [&] { told.set_value(); });
  EXPECT_TRUE(lock->i_am_locking());
  EXPECT_EQ(sql("SELECT pg_terminate_backend((" + locks("pid", "granted") + "))"), "t");
  ASSERT_EQ(told.get_future().wait_for(stuck), std::future_status::ready);
  wait_for([&] { return keeper.loss() == Loss::broken; });
  EXPECT_FALSE(lock->i_am_locking());
  EXPECT_EQ(code_of([&] { lock->release(); }), errc::not_locked);
  lock->acquire(0s);
}

TEST_F(Traps, breaking_a_hold_spares_the_next_one_of_the_same_session) {
  const auto lock = open(address());
  lock->acquire();
  const Holder first = lock->holder().value();
  lock->release();
  lock->acquire();
  const Holder second = lock->holder().value();
  EXPECT_EQ(first.nonce, second.nonce) << "the session is kept";
  EXPECT_GT(second.number, first.number);
  EXPECT_FALSE(lock->break_lock(first));
  EXPECT_TRUE(lock->i_am_locking());
  EXPECT_TRUE(lock->break_lock(second));
  EXPECT_FALSE(lock->i_am_locking());
}

TEST_F(Traps, the_lock_of_another_program_is_foreign_and_counts) {
  Sql sql(place());
  (void)sql("SET application_name = 'batch'");
  (void)sql("SELECT pg_advisory_lock(" + std::to_string(key_of(name_of("a"))) + ")");
  const auto lock = open(address());
  EXPECT_EQ(code_of([&] { lock->acquire(0s); }), errc::already_locked);
  EXPECT_TRUE(lock->holder().value().foreign);
  EXPECT_EQ(code_of([&] { lock->break_lock(); }), errc::foreign);
  EXPECT_EQ(code_of([&] { lock->break_lock(BreakWhat::foreign); }), errc::cannot_break);
  EXPECT_EQ(code_of([&] { lock->break_lock(lock->holder().value()); }), errc::cannot_break);
}

TEST_F(Traps, a_killed_waiter_leaves_the_queue) {
  Sql sql(place());
  const auto lock = open(address());
  lock->acquire();
  Peer first = peer();
  first.tell("acquire");
  sql.until(locks("count(*)", "NOT granted"), "1");
  first.kill();
  sql.until(locks("count(*)", "NOT granted"), "0");
  Peer second = peer();
  second.tell("acquire");
  sql.until(locks("count(*)", "NOT granted"), "1");
  EXPECT_EQ(lock->waiters().size(), 1U);
  EXPECT_EQ(lock->waiters().front().pid, second.pid());
  lock->release();
  EXPECT_EQ(second.answer(), "held");
}

TEST_F(Traps, threads_that_wait_share_one_session) {
  Sql sql(place());
  const auto holder = open(address());
  holder->acquire();
  constexpr int threads = 50;
  std::atomic<int> held = 0;
  std::vector<std::thread> all;
  for (int i = 0; i < threads; ++i) {
    all.emplace_back([&] {
      const auto lock = open(address());
      lock->acquire(stuck);
      ++held;
      lock->release();
    });
    // Once the first one stands in front, the others line up behind it.
    if (i == 0) sql.until(locks("count(*)", "NOT granted"), "1");
  }
  std::this_thread::sleep_for(quiescent);
  EXPECT_EQ(sql(locks("count(*)", "NOT granted")), "1");
  holder->release();
  for (std::thread& each : all) each.join();
  EXPECT_EQ(held, threads);
}

// Before the first of them has lined up, the others have come.
TEST_F(Traps, threads_that_come_at_once_open_a_handful_of_sessions) {
  Proxy proxy(directory());
  const std::string there = proxy.place() + "#" + name_of("a");
  constexpr int threads = 200;
  std::atomic<int> come = 0;
  std::atomic<int> held = 0;
  std::vector<std::thread> all;
  for (int i = 0; i < threads; ++i) {
    all.emplace_back([&] {
      const auto lock = open(there);
      ++come;
      while (come < threads) std::this_thread::yield();
      lock->acquire(60s);
      ++held;
      lock->release();
    });
  }
  for (std::thread& each : all) each.join();
  EXPECT_EQ(held, threads);
  constexpr int handful = 16;
  EXPECT_LE(proxy.visits(), handful);
}

// By two processes, each of which has what the other wants, in sessions that the server sees no cycle of.
TEST_F(Traps, a_cycle_of_waits_is_found_and_one_gives_up) {
  Peer one({scratch_ / "a", "postgresql"});
  Peer other({scratch_ / "b", "postgresql"});
  ASSERT_EQ(one.ask("acquire"), "held");
  ASSERT_EQ(other.ask("acquire"), "held");
  one.tell("also " + (scratch_ / "b"));
  other.tell("also " + (scratch_ / "a"));
  std::string result;
  wait_for([&] {
    Sql sql(place());
    return sql(locks("count(*)", "NOT granted")) != "1" || sql(locks("count(*)", "NOT granted", "b")) != "1";
  });
  wait_for([&] { return !one.is_silent() || !other.is_silent(); });
  Peer& gave_up = one.is_silent() ? other : one;
  Peer& waits = one.is_silent() ? one : other;
  const std::string why = gave_up.answer().value_or("");
  EXPECT_NE(why.find("others wait for what this thread holds"), std::string::npos) << why;
  EXPECT_TRUE(waits.is_silent());
  EXPECT_EQ(gave_up.ask("release"), "released");
  EXPECT_EQ(waits.answer(), "held");
}

TEST_F(Traps, a_wait_goes_on_also_where_no_session_can_be_had_to_look_for_a_cycle) {
  Sql sql(place());
  Proxy proxy(directory());
  Peer holder = peer();
  ASSERT_EQ(holder.ask("acquire"), "held");
  auto waiter = std::async(std::launch::async, [&] {
    const auto other = open(proxy.place() + "#" + name_of("b"));
    other->acquire(0s);
    open(proxy.place() + "#" + name_of("a"))->acquire(stuck);
  });
  sql.until(locks("count(*)", "NOT granted"), "1");
  constexpr int for_ever_more = 1'000'000;
  proxy.refuse(for_ever_more, "28000", "role \"nobody\" does not exist");
  wait_for([&] { return proxy.visits() > 2; });
  EXPECT_EQ(holder.ask("release"), "released");
  EXPECT_NO_THROW(waiter.get());
}

TEST_F(Traps, a_forked_child_holds_nothing_and_ends_nothing) {
  const auto lock = open(address());
  lock->acquire();
  const pid_t child = ::fork();
  if (child == 0) {
    bool right = !lock->i_am_locking();
    std::error_code why;
    lock->release(why);
    right = right && why == errc::not_my_lock;  // by a session of its own
    why.clear();
    right = right && !lock->acquire(0s, why) && why == errc::already_locked;
    ::exit(right ? 0 : 1);  // not _exit(2): destructors and handlers must not reach the server either
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(lock->i_am_locking());
  lock->release();
}

TEST_F(Traps, a_server_that_falls_silent_keeps_nobody_past_the_deadline) {
  Proxy proxy(directory());
  const std::string address_there = proxy.place() + "&connect_timeout=1#" + name_of("a");
  const auto lock = open(address_there);
  lock->acquire();
  proxy.fall_silent();
  EXPECT_FALSE(lock->i_am_locking()) << "it cannot be told, and whoever asks is to stop";
  const auto second = open(address_there);
  EXPECT_EQ(code_of([&] { second->acquire(); }), std::errc::resource_deadlock_would_occur) << "it waits for itself";
  in_another_thread([&] {
    const auto other = open(address_there);
    EXPECT_EQ(code_of([&] { other->acquire(0s); }), std::errc::timed_out);
    EXPECT_EQ(code_of([&] { other->acquire(100ms); }), errc::timed_out);
    std::stop_source stop;
    stop.request_stop();
    EXPECT_EQ(code_of([&] { other->acquire({for_ever, stop.get_token()}); }), errc::stopped);
  });
  EXPECT_EQ(code_of([&] { initialise(proxy.place() + "&connect_timeout=1"); }), std::errc::timed_out);
  EXPECT_EQ(code_of([&] { (void)list_place(proxy.place() + "&connect_timeout=1"); }), std::errc::timed_out);
  proxy.speak();
  EXPECT_TRUE(lock->i_am_locking());
  lock->release();
}

TEST_F(Traps, a_session_that_did_not_answer_is_not_asked_again) {
  Proxy proxy(directory());
  const auto lock = open(proxy.place() + "&connect_timeout=1#" + name_of("a"));
  lock->acquire();
  lock->release();
  EXPECT_EQ(proxy.visits(), 1) << "it is kept";
  proxy.fall_silent();
  EXPECT_EQ(code_of([&] { (void)lock->holder(); }), std::errc::timed_out);
  proxy.speak();
  EXPECT_FALSE(lock->is_locked());
  EXPECT_EQ(proxy.visits(), 2);
}

TEST_F(Traps, a_host_that_does_not_answer_is_waited_for_within_the_limit) {
  const DeafHost host;
  const std::string there = host.place() + "&connect_timeout=1";
  const auto lock = open(there + "#" + name_of("a"));
  EXPECT_EQ(code_of([&] { lock->acquire(100ms); }), errc::timed_out);
  const std::string why = message_of([&] { lock->acquire(); });
  EXPECT_NE(why.find("the server does not answer"), std::string::npos) << why;
  EXPECT_EQ(code_of([&] { initialise(there); }), std::errc::timed_out);
}

// A thousand that come at once find the backlog of the server's socket full: connect(2) says EAGAIN, for some
// milliseconds.
TEST_F(Traps, a_server_whose_door_is_full_is_tried_again_within_the_limit) {
  Proxy proxy(directory());
  const auto lock = open(proxy.place() + "#" + name_of("a"));
  proxy.fill();
  EXPECT_EQ(code_of([&] { lock->acquire(100ms); }), errc::timed_out);
  std::stop_source stop;
  auto stopped = std::async(std::launch::async, [&] {
    return code_of([&] { lock->acquire({for_ever, stop.get_token()}); });
  });
  EXPECT_EQ(stopped.wait_for(quiescent), std::future_status::timeout);
  stop.request_stop();
  EXPECT_EQ(stopped.get(), errc::stopped);
  auto acquired = std::async(std::launch::async, [&] {
    const auto other = open(proxy.place() + "#" + name_of("a"));
    other->acquire();
    other->release();
  });
  auto tried = std::async(std::launch::async, [&] { open(proxy.place() + "#" + name_of("b"))->acquire(0s); });
  EXPECT_EQ(acquired.wait_for(quiescent), std::future_status::timeout);
  EXPECT_EQ(tried.wait_for(quiescent), std::future_status::timeout);
  proxy.open();
  EXPECT_NO_THROW(acquired.get());
  EXPECT_NO_THROW(tried.get());
}

TEST_F(Traps, a_server_that_refuses_for_a_while_is_tried_again_within_the_limit) {
  for (const auto& [state, words] : {std::pair{"57P03", "the database system is starting up"},
                                     std::pair{"53300", "sorry, too many clients already"}}) {
    Proxy proxy(directory());
    const auto lock = open(proxy.place() + "#" + name_of("a"));
    proxy.refuse(2, state, words);
    lock->acquire();
    lock->release();
    EXPECT_EQ(proxy.visits(), 3);
    // A session that lasts is not asked for again; another address needs a new one.
    constexpr int for_ever_more = 1'000'000;
    proxy.refuse(for_ever_more, state, words);
    const auto other = open(proxy.place() + "&connect_timeout=1#" + name_of("a"));
    EXPECT_EQ(code_of([&] { other->acquire(100ms); }), errc::timed_out);
    const std::string why = message_of([&] { other->acquire(); });
    EXPECT_NE(why.find(words), std::string::npos) << why;
    EXPECT_LT(proxy.visits(), 100) << "it does not spin";
  }
}

TEST_F(Traps, a_refusal_that_lasts_is_told_at_once) {
  Proxy proxy(directory());
  proxy.refuse(1, "28000", "role \"nobody\" does not exist");
  const std::string why = message_of([&] { open(proxy.place() + "#" + name_of("a"))->acquire(); });
  EXPECT_NE(why.find("role \"nobody\" does not exist"), std::string::npos) << why;
  EXPECT_EQ(proxy.visits(), 1);
  proxy.hang_up(1);
  EXPECT_EQ(code_of([&] { open(proxy.place() + "#" + name_of("a"))->acquire(); }), std::errc::not_connected);
  EXPECT_EQ(proxy.visits(), 2);
  const auto holder = open(address());
  holder->acquire();
  const Holder seen = holder->holder().value();
  in_another_thread([&] {
    const auto lock = open(proxy.place() + "#" + name_of("a"));
    const auto refused = [&](const std::function<void()>& verb) {
      proxy.refuse(1, "28000", "role \"nobody\" does not exist");
      EXPECT_EQ(code_of(verb), std::errc::not_connected);
    };
    refused([&] { (void)lock->holder(); });
    refused([&] { (void)lock->waiters(); });
    refused([&] { (void)lock->break_lock(seen); });
    std::error_code why_not;
    proxy.refuse(1, "28000", "role \"nobody\" does not exist");
    const std::string told = examine_place(proxy.place(), why_not).why;
    EXPECT_NE(told.find("role \"nobody\" does not exist"), std::string::npos) << told;
  });
}

// Neither held nor free until the server has ended the session, which a closed socket makes it do.
TEST_F(Traps, an_acquire_whose_answer_is_lost_holds_nothing) {
  Sql sql(place());
  for (int round = 0; round < 10; ++round) {
    Proxy proxy(directory());
    const auto lock = open(proxy.place() + "&connect_timeout=1#" + name_of("a"));
    lock->acquire();
    lock->release();
    auto acquiring = std::async(std::launch::async, [&] {
      std::error_code code;
      if (!lock->acquire(1s, code)) return;
      lock->release(code);  // it may have been lost by the cut
    });
    proxy.fall_silent();
    proxy.cut();
    proxy.speak();
    acquiring.get();
    sql.until(locks("count(*)", "true"), "0");
  }
}

// With the server's own deadlock_timeout a thousand waiters all look for a deadlock in one second, and stop everybody
// for several: what docs/schemes/postgresql.md says of settings is what a session has.
TEST_F(Traps, the_settings_of_a_session_win_over_the_servers_and_not_over_the_address) {
  const auto settings = [](const std::string& where) {
    os::Process& process = os::Process::current();
    schemes::postgresql::Connection session(
        process, schemes::postgresql::place_of(where.substr(std::string("postgresql://").size())), "");
    const auto trouble = session.ask_by(process.system().now() + stuck,
                                        std::string("SELECT concat_ws(' ', current_setting('deadlock_timeout'), "
                                                    "current_setting('client_connection_check_interval', true), "
                                                    "current_setting('lock_timeout'), "
                                                    "current_setting('statement_timeout'), "
                                                    "current_setting('idle_session_timeout', true), "
                                                    "current_setting('synchronous_commit'))"));
    return trouble ? trouble->what : std::string(session.text(0, 0));
  };
  EXPECT_EQ(settings(place()), "1min 1s 0 0 0 off");
  EXPECT_EQ(settings(place() + "&options=-c%20deadlock_timeout%3D5s%20-c%20synchronous_commit%3Dlocal"),
            "5s 1s 0 0 0 local");
}

TEST_F(Traps, a_session_that_is_kept_gets_the_reason_of_its_next_hold) {
  for (const std::string reason : {"one", "another"}) {
    const auto lock = open(address(), {.reason = reason});
    lock->acquire(0s);
    EXPECT_EQ(lock->holder().value().reason, reason);
  }
}

TEST_F(Traps, a_reason_that_is_no_text_is_left_out) {
  const auto lock = open(address(), {.reason = "\xff"});
  lock->acquire(0s);
  EXPECT_EQ(lock->holder().value().reason, "");
}

TEST_F(Traps, doctor_tells_of_the_server) {
  std::error_code why;
  const Examination seen = examine_place(place(), why);
  EXPECT_FALSE(why);
  EXPECT_EQ(seen.scheme, "postgresql");
  EXPECT_TRUE(seen.file_system.starts_with("PostgreSQL ")) << seen.file_system;
  EXPECT_GE(seen.findings.size(), 8U);
}

class OwnServer : public WithServer {};

TEST_F(OwnServer, that_may_lose_numbers_is_told_of_by_doctor) {
  const Server server;
  {
    Sql sql(server.place());
    for (const std::string setting : {"fsync", "full_page_writes"}) {
      (void)sql("ALTER SYSTEM SET " + setting + " = off");
      (void)sql("SELECT pg_reload_conf()");
      sql.until("SHOW " + setting, "off");
    }
  }
  std::error_code why;
  const Examination seen = examine_place(server.place() + "&options=-c%20deadlock_timeout%3D5s", why);
  for (const std::string told : {"can go back in a power cut", "with more than 100 waiters"}) {
    EXPECT_TRUE(std::any_of(seen.findings.begin(), seen.findings.end(), [&](const Finding& each) {
      return each.detail.find(told) != std::string::npos;
    })) << told;
  }
}

TEST_F(OwnServer, a_restart_during_a_hold_is_a_loss_and_during_a_wait_a_place_at_the_end) {
  const Server server;
  const std::string its = server.place() + "#a";
  const auto lock = open(its);
  lock->acquire();
  const LeaseKeeper keeper(*lock);
  const auto waiter = open(its);
  auto waiting = std::async(std::launch::async, [&] {
    waiter->acquire(60s);
    const std::uint64_t fence = waiter->fence();
    waiter->release();
    return fence;
  });
  {
    Sql sql(server.place());
    sql.until("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", "1");
  }
  const std::uint64_t before = lock->fence();
  server.tell("kill");
  wait_for([&] { return keeper.lost().stop_requested(); });
  EXPECT_FALSE(lock->i_am_locking());
  EXPECT_EQ(waiting.wait_for(0s), std::future_status::timeout) << "it waits for the server";
  server.tell("again");
  EXPECT_GT(waiting.get(), before) << "also after a crash";
  EXPECT_EQ(code_of([&] { lock->release(); }), errc::not_locked);
  lock->acquire(stuck);
  EXPECT_GT(lock->fence(), before);
}

// Nobody waits until a number is on the disk, so the sequence alone does go back.
TEST_F(OwnServer, that_crashes_gives_larger_numbers_and_not_those_of_before) {
  const Server server;
  // What nobody waits for is on the disk after thrice this time at the latest: on a slow machine nothing would be lost.
  (void)Sql(server.place())("ALTER SYSTEM SET wal_writer_delay = '10s'");
  server.tell("kill");
  server.tell("again");
  const auto lock = open(server.place() + "#a");
  int went_back = 0;
  for (int round = 0; round < 3; ++round) {
    std::uint64_t last = 0;
    for (int i = 0; i < 200; ++i) {
      lock->acquire(stuck);
      last = lock->fence();
      lock->release();
    }
    server.tell("kill");
    server.tell("again");
    {
      Sql sql(server.place());
      constexpr std::uint64_t of_the_sequence = (std::uint64_t{1} << 40) - 1;
      went_back += std::stoull(sql("SELECT last_value FROM lockfile.fence")) < (last & of_the_sequence) ? 1 : 0;
    }
    // Several at once find out.
    std::vector<std::future<std::uint64_t>> next;
    for (int i = 0; i < 4; ++i) {
      next.push_back(std::async(std::launch::async, [&, i] {
        const auto other = open(server.place() + "#other-" + std::to_string(i));
        other->acquire(stuck);
        return other->fence();
      }));
    }
    std::set<std::uint64_t> fences;
    for (auto& each : next) fences.insert(each.get());
    EXPECT_EQ(fences.size(), next.size());
    EXPECT_GT(*fences.begin(), last);
  }
  EXPECT_GT(went_back, 0) << "else nothing was lost, and nothing is shown";
}

TEST_F(OwnServer, a_number_is_told_when_a_larger_one_is_reserved) {
  const Server server;
  Sql sql(server.place());
  const auto lock = open(server.place() + "#a");
  lock->acquire();
  lock->release();
  for (const bool waits : {false, true}) {
    const auto upto = std::stoll(sql("SELECT setval('lockfile.fence', upto) FROM lockfile.reserved"));
    if (waits) (void)sql("SELECT pg_advisory_lock(" + std::to_string(key_of("a")) + ")");
    auto acquiring = std::async(std::launch::async, [&] {
      lock->acquire(stuck);
      const std::uint64_t fence = lock->fence();
      lock->release();
      return fence;
    });
    if (waits) {
      sql.until("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", "1");
      (void)sql("SELECT pg_advisory_unlock_all()");
    }
    constexpr std::uint64_t of_the_sequence = (std::uint64_t{1} << 40) - 1;
    EXPECT_EQ(acquiring.get() & of_the_sequence, static_cast<std::uint64_t>(upto) + 1);
    EXPECT_GT(std::stoll(sql("SELECT upto FROM lockfile.reserved")), upto + 1);
  }
}

TEST_F(OwnServer, that_ends_a_session_whose_number_is_not_told_yet_grants_it_anew) {
  const Server server;
  Sql sql(server.place());
  Sql other(server.place());
  const auto lock = open(server.place() + "#a");
  lock->acquire();
  lock->release();
  (void)sql("SELECT setval('lockfile.fence', upto) FROM lockfile.reserved");
  (void)sql("BEGIN");
  (void)sql("SELECT upto FROM lockfile.reserved FOR UPDATE");
  auto acquiring = std::async(std::launch::async, [&] { lock->acquire(stuck); });
  const std::string reserves =
      " FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'lockfile %'";
  other.until("SELECT count(*)" + reserves, "1");
  const std::string session = other("SELECT pid" + reserves);
  EXPECT_EQ(other("SELECT pg_terminate_backend(" + session + ")"), "t");
  other.until("SELECT count(*)" + reserves + " AND pid <> " + session, "1");
  (void)sql("ROLLBACK");
  EXPECT_NO_THROW(acquiring.get());
}

TEST_F(OwnServer, whose_prepared_transaction_has_the_lock_tells_of_no_user) {
  const Server server;
  (void)Sql(server.place())("ALTER SYSTEM SET max_prepared_transactions = 1");
  server.tell("restart");
  Sql sql(server.place());
  (void)sql("BEGIN");
  (void)sql("SELECT pg_advisory_xact_lock(" + std::to_string(key_of("a")) + ")");
  (void)sql("PREPARE TRANSACTION 'it'");
  const auto lock = open(server.place() + "#a");
  EXPECT_EQ(code_of([&] { lock->acquire(0s); }), errc::already_locked);
  const Holder holder = lock->holder().value();
  EXPECT_TRUE(holder.foreign);
  EXPECT_EQ(holder.note, "an advisory lock of another program");
  (void)sql("COMMIT PREPARED 'it'");
  lock->acquire(0s);
}

// The sessions of the test stand for another program that uses the tables of this one's schema. Z has the lock, A
// waits for it, B has the row that A needs next and waits behind A; then Z lets go.
TEST_F(OwnServer, that_finds_a_cycle_ends_the_wait_and_it_is_told) {
  const Server server;
  Sql z(server.place());
  Sql b(server.place());
  const std::string key = std::to_string(key_of("a"));
  const std::string its = server.place() + "&options=-c%20deadlock_timeout%3D10ms#a";
  {
    const auto lock = open(its);
    lock->acquire();
  }
  (void)z("SELECT setval('lockfile.fence', upto) FROM lockfile.reserved");
  (void)z("SELECT pg_advisory_lock(" + key + ")");
  (void)b("SET deadlock_timeout = '1h'");
  (void)b("BEGIN");
  (void)b("SELECT upto FROM lockfile.reserved FOR UPDATE");
  auto a = std::async(std::launch::async, [&] { return message_of([&] { open(its)->acquire(); }); });
  const std::string waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
  z.until(waiting, "1");
  auto behind = std::async(std::launch::async, [&] { (void)b("SELECT pg_advisory_lock(" + key + ")"); });
  z.until(waiting, "2");
  (void)z("SELECT pg_advisory_unlock(" + key + ")");
  const std::string why = a.get();
  EXPECT_NE(why.find("the server has found a cycle of waits"), std::string::npos) << why;
  behind.get();
  (void)b("ROLLBACK");
}

TEST_F(OwnServer, whose_numbers_are_used_up_grants_nothing) {
  const Server server;
  const auto lock = open(server.place() + "#a");
  {
    Sql sql(server.place());
    (void)sql("SELECT setval('lockfile.fence', 1099511627775)");
  }
  for (const Mode mode : {Mode::exclusive, Mode::shared}) {
    EXPECT_EQ(code_of([&] { lock->acquire(mode, 0s); }), std::errc::result_out_of_range);
  }
}

// A process of the server that is stopped goes on to hold, whoever breaks it.
TEST_F(OwnServer, whose_session_does_not_end_is_not_broken) {
  const Server server;
  Sql sql(server.place());
  const auto lock = open(server.place() + "#a");
  lock->acquire();
  const auto session =
      static_cast<pid_t>(std::stol(sql("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted")));
  ASSERT_EQ(::kill(session, SIGSTOP), 0);
  in_another_thread([&] {
    const auto other = open(server.place() + "#a");
    EXPECT_EQ(code_of([&] { (void)other->break_lock(); }), std::errc::timed_out);
  });
  ASSERT_EQ(::kill(session, SIGCONT), 0);
  sql.until("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", "0");
  EXPECT_FALSE(lock->i_am_locking());
}

TEST_F(OwnServer, that_is_stopped_keeps_a_hold_and_grants_nothing) {
  const Server server;
  const std::string its = server.place() + "&connect_timeout=1#a";
  const auto lock = open(its);
  lock->acquire();
  server.signal(SIGSTOP);
  EXPECT_FALSE(lock->i_am_locking());
  in_another_thread([&] {
    const auto other = open(its);
    EXPECT_EQ(code_of([&] { other->acquire(100ms); }), errc::timed_out);
  });
  server.signal(SIGCONT);
  EXPECT_TRUE(lock->i_am_locking());
  lock->release();
}

TEST_F(OwnServer, whose_standbys_are_told_of_by_doctor) {
  const Server primary;
  const Server standby(primary);
  Sql sql(primary.place());
  const auto told = [&](const std::string& words) {
    std::error_code why;
    const Examination seen = examine_place(primary.place(), why);
    return std::any_of(seen.findings.begin(), seen.findings.end(), [&](const Finding& each) {
      return each.what == "standbys" && each.detail.find(words) != std::string::npos;
    });
  };
  sql.until("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "1");
  EXPECT_TRUE(told("1 connected; asynchronous"));
  (void)sql("ALTER SYSTEM SET synchronous_standby_names = '*'");
  (void)sql("SELECT pg_reload_conf()");
  sql.until("SHOW synchronous_standby_names", "*");
  EXPECT_TRUE(told("1 connected; synchronous: *"));
}

TEST_F(OwnServer, that_is_a_standby_is_passed_over_where_the_address_has_another) {
  const Server primary;
  const Server standby(primary);
  const std::string first = "postgresql://postgres@/postgres?host=" + standby.directory() + ",";
  open(first + primary.directory() + "#a")->acquire(0s);
  EXPECT_EQ(code_of([&] { open(first + "/nowhere#a")->acquire(0s); }), std::errc::not_connected);
}

TEST_F(OwnServer, that_is_a_standby_is_refused_and_promoted_it_gives_larger_numbers) {
  const Server primary;
  std::uint64_t last = 0;
  const Server standby(primary);
  const std::string why = message_of([&] { open(standby.place() + "#a")->acquire(0s); });
  EXPECT_NE(why.find("the server is a standby"), std::string::npos) << why;
  // It is cut off, and does not hear of the last numbers: its sequence is behind for ever.
  standby.tell("kill");
  {
    const auto lock = open(primary.place() + "#a");
    for (int i = 0; i < 100; ++i) {
      lock->acquire();
      last = lock->fence();
      lock->release();
    }
  }
  primary.tell("kill");
  standby.tell("again");
  standby.tell("promote");
  Sql sql(standby.place());
  const auto lock = open(standby.place() + "#a");
  lock->acquire();
  EXPECT_GT(lock->fence(), last);
  constexpr std::uint64_t of_the_sequence = (std::uint64_t{1} << 40) - 1;
  EXPECT_LT(lock->fence() & of_the_sequence, last & of_the_sequence) << "else nothing was lost, and nothing is shown";
}

int in_shell(const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()); }

// Whoever holds is to know before the server can let somebody else in. In a network of the test's own, with a server in
// it, whose packets are dropped from some moment on.
TEST_F(OwnServer, that_is_cut_off_is_noticed_by_the_holder_before_it_lets_go) {
  if (::geteuid() != 0) GTEST_SKIP() << "unavoidable: only root may cut a network";
  if (in_shell("unshare -n iptables -L") != 0 || in_shell("unshare -n ip link set lo up") != 0) {
    GTEST_SKIP() << "unavoidable: no network namespaces or no iptables here";
  }
  in_another_thread([] {  // and what it starts; the others stay where they are
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
    ASSERT_EQ(in_shell("ip link set lo up"), 0);
    ::setenv("LOCKFILE_TEST_LISTEN", "127.0.0.1", 1);
    const Server server;
    ::unsetenv("LOCKFILE_TEST_LISTEN");
    const auto lock = open("postgresql://postgres@127.0.0.1/postgres#a");
    lock->acquire();
    const LeaseKeeper keeper(*lock);
    ASSERT_EQ(in_shell("iptables -A INPUT -p tcp --dport 5432 -j DROP && "
                       "iptables -A INPUT -p tcp --sport 5432 -j DROP"),
              0);
    wait_for([&] { return keeper.lost().stop_requested(); });
    Sql sql(server.place());  // by its local socket, which is not cut
    const std::string granted = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted";
    EXPECT_EQ(sql(granted), "1") << "the server let go before the holder knew";
    EXPECT_FALSE(lock->i_am_locking());
    try {
      sql.until(granted, "0");
    } catch (const std::runtime_error&) {
      sql.until(granted, "0");  // it takes its time, but not for ever
    }
  });
}

}  // namespace
}  // namespace lockfile::testing
