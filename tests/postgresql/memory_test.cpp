// Every allocation of a verb is refused, at each place where it makes one. libpq's own memory is the C library's, and
// not asked for here.
#include "fault/memory.hpp"
#include "postgresql/support.hpp"
#include "schemes/postgresql/connection.hpp"
#include "schemes/postgresql/key.hpp"
#include "schemes/postgresql/scheme.hpp"
#include "support/layered_system.hpp"

#include <memory>
#include <new>
#include <optional>

namespace lockfile::testing {
namespace {

namespace engine = schemes::postgresql;

class Memory : public WithServer {
 protected:
  void SetUp() override {
    WithServer::SetUp();
    if (place().empty()) return;
    sql_ = std::make_unique<Sql>(place());
  }
  [[nodiscard]] std::string locks(const std::string& where, const std::string& column = "count(*)") const {
    return "SELECT " + column +
           " FROM pg_locks WHERE locktype = 'advisory' AND (classid::bigint << 32 | objid::bigint) = " +
           std::to_string(engine::key_of(name_of("a"))) + " AND " + where;
  }
  // A session that was given up is ended by the server a little later.
  void expect_free() { sql_->until(locks("true"), "0"); }
  static void expect_told(const std::error_code& code, bool refused) {
    EXPECT_TRUE(!code || (refused && code == std::errc::not_enough_memory)) << code.message();
  }

  std::unique_ptr<Sql> sql_;
};

// Where a constructor throws, so does the verb.
template <class What>
void by_code(std::error_code& code, What what) {
  try {
    what();
  } catch (const std::bad_alloc&) {
    code = std::make_error_code(std::errc::not_enough_memory);
  } catch (const Error& error) {
    code = error.code();
  }
}

TEST_F(Memory, that_is_missing_in_an_acquire_is_told_and_leaves_no_hold) {
  for (const Mode mode : {Mode::exclusive, Mode::shared}) {
    std::unique_ptr<Lock> lock;
    std::error_code code;
    with_each_allocation_refused(
        [&] {
          by_code(code, [&] {
            lock = open(address());
            lock->acquire(mode, 0s, code);
          });
        },
        [&](long at, bool refused) {
          SCOPED_TRACE(at);
          expect_told(code, refused);
          EXPECT_EQ(lock && lock->i_am_locking(), !code);
          if (!code) lock->release();
          lock.reset();
          expect_free();
        });
  }
}

TEST_F(Memory, that_is_missing_where_there_is_no_server_is_told) {
  std::error_code code;
  with_each_allocation_refused(
      [&] { by_code(code, [&] { open("postgresql://postgres@/postgres?host=/nowhere#a")->acquire(0s, code); }); },
      [&](long at, bool refused) {
        SCOPED_TRACE(at);
        EXPECT_TRUE(code == std::errc::not_connected || (refused && code == std::errc::not_enough_memory))
            << code.message();
      });
}

TEST_F(Memory, that_is_missing_in_a_wait_is_told_and_leaves_nobody_in_line) {
  const auto holder = open(address());
  holder->acquire();
  in_another_thread([&] {
    std::error_code code;
    with_each_allocation_refused(
        [&] {
          by_code(code, [&] {
            const auto lock = open(address());
            lock->acquire(1ms, code);
          });
        },
        [&](long at, bool refused) {
          SCOPED_TRACE(at);
          EXPECT_TRUE(code == errc::timed_out || (refused && code == std::errc::not_enough_memory)) << code.message();
          sql_->until(locks("NOT granted"), "0");
        });
  });
  EXPECT_TRUE(holder->i_am_locking());
}

TEST_F(Memory, that_is_missing_in_a_release_ends_the_hold) {
  const auto lock = open(address());
  std::error_code code;
  lock->acquire();
  with_each_allocation_refused([&] { lock->release(code); },
                               [&](long at, bool refused) {
                                 SCOPED_TRACE(at);
                                 expect_told(code, refused);
                                 EXPECT_FALSE(lock->i_am_locking());
                                 expect_free();
                                 lock->acquire(stuck);
                               });
}

TEST_F(Memory, that_is_missing_in_a_release_of_what_was_lost_is_no_hold) {
  const auto lock = open(address());
  const auto lose_it = [&] {
    lock->acquire(stuck);
    EXPECT_EQ((*sql_)(locks("granted", "pg_terminate_backend(pid)")), "t");
    expect_free();
  };
  std::error_code code;
  lose_it();
  with_each_allocation_refused(
      [&] { lock->release(code); },
      [&](long at, bool refused) {
        SCOPED_TRACE(at);
        EXPECT_TRUE(code == errc::not_locked || (refused && code == std::errc::not_enough_memory)) << code.message();
        lose_it();
      });
  lock->release(code);
}

TEST_F(Memory, that_is_missing_in_a_look_or_break_is_told) {
  const auto lock = open(address());
  lock->acquire();
  const Holder gone = lock->holder().value();
  lock->release();
  lock->acquire();
  std::error_code code;
  // False is said of what cannot be told.
  with_each_allocation_refused([&] { (void)lock->i_am_locking(); },
                               [&](long at, bool /*refused*/) { EXPECT_TRUE(lock->i_am_locking()) << at; });
  in_another_thread([&] {
    const auto other = open(address());
    std::optional<Holder> holder;
    with_each_allocation_refused([&] { holder = other->holder(code); },
                                 [&](long at, bool refused) {
                                   SCOPED_TRACE(at);
                                   expect_told(code, refused);
                                   EXPECT_EQ(holder.has_value(), !code);
                                 });
    with_each_allocation_refused([&] { (void)other->waiters(code); },
                                 [&](long at, bool refused) {
                                   SCOPED_TRACE(at);
                                   expect_told(code, refused);
                                 });
    bool broken = false;
    // Of a hold that is over: nothing is broken.
    with_each_allocation_refused([&] { broken = other->break_lock(gone, code) || broken; },
                                 [&](long at, bool refused) {
                                   SCOPED_TRACE(at);
                                   expect_told(code, refused);
                                 });
    EXPECT_FALSE(broken);
    with_each_allocation_refused([&] { broken = other->break_lock(BreakWhat::ours, code) || broken; },
                                 [&](long at, bool refused) {
                                   SCOPED_TRACE(at);
                                   expect_told(code, refused);
                                 });
    EXPECT_TRUE(broken);
  });
  EXPECT_FALSE(lock->i_am_locking());
}

TEST_F(Memory, that_is_missing_when_a_process_asks_what_it_holds_is_no_hold) {
  LayeredSystem system(os::real_system());
  os::Process anew(system);
  os::Process::set_current(&anew);
  std::optional<bool> held;
  {
    engine::Scheme scheme({behind_the_slashes(), "a"}, {});
    MissingMemory missing(0, MissingMemory::Lasts::once);
    missing.on();
    held = scheme.is_held_by(1);
    missing.off();
    EXPECT_EQ(missing.refused(), 1);
  }
  os::Process::set_current(nullptr);
  EXPECT_EQ(held, false);
}

TEST_F(Memory, that_is_missing_for_a_session_that_is_over_ends_it) {
  os::Process& process = os::Process::current();
  const engine::Place there = engine::place_of(behind_the_slashes());
  engine::Pool pool(process);
  auto session = std::make_unique<engine::Connection>(process, there, "");
  EXPECT_FALSE(session->ask_by(process.system().now() + stuck, engine::Statement::alive));
  const std::string its = "SELECT count(*) FROM pg_stat_activity WHERE pid = " + std::to_string(session->backend());
  MissingMemory missing(0, MissingMemory::Lasts::once);
  missing.on();
  pool.give(std::move(session));
  missing.off();
  EXPECT_EQ(missing.refused(), 1);
  EXPECT_EQ(pool.take(there, ""), nullptr);
  sql_->until(its, "0");
}

}  // namespace
}  // namespace lockfile::testing
