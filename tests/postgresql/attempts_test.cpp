// Attempts that are stepped by hand, so that something can come in between: what the library's own wait loop does at
// once.
#include "postgresql/support.hpp"
#include "schemes/postgresql/key.hpp"
#include "schemes/postgresql/scheme.hpp"
#include "schemes/postgresql/semaphore.hpp"

#include <unistd.h>

#include <variant>

namespace lockfile::testing {
namespace {

namespace engine = schemes::postgresql;

class Attempts : public WithServer {
 protected:
  static constexpr Request waits{.thread = 1};
  static constexpr Request only_tries{.thread = 1, .may_queue = false};

  void SetUp() override {
    WithServer::SetUp();
    if (place().empty()) return;
    sql_ = std::make_unique<Sql>(place());
  }
  // Sessions are kept for an address: this one has its own.
  [[nodiscard]] std::string there() const { return behind_the_slashes() + "&connect_timeout=11"; }
  [[nodiscard]] schemes::FilePath path() const { return {there(), name_of("a")}; }
  [[nodiscard]] std::int64_t key() const { return engine::key_of(name_of("a")); }
  [[nodiscard]] std::string locks(const std::string& column, const std::string& where) const {
    return "SELECT " + column +
           " FROM pg_locks WHERE locktype = 'advisory' AND (classid::bigint << 32 | objid::bigint) = " +
           std::to_string(key()) + " AND " + where;
  }
  void end_session(const std::string& pid) {
    EXPECT_EQ((*sql_)("SELECT pg_terminate_backend(" + pid + ")"), "t");
    sql_->until("SELECT count(*) FROM pg_stat_activity WHERE pid = " + pid, "0");
  }
  // A session that is kept. Its pid.
  std::string keep_session() {
    os::Process& process = os::Process::current();
    auto session = std::make_unique<engine::Connection>(process, engine::place_of(there()), "");
    EXPECT_FALSE(session->ask_by(process.system().now() + stuck, engine::Statement::alive));
    const std::string pid = std::to_string(session->backend());
    process.part<engine::Pool>().give(std::move(session));
    return pid;
  }
  // `sql` is from now on a session of this process, to everybody who looks; `but`: other columns than its own.
  static void pretend(Sql& sql, const std::string& but = "process, process_start, boot, host") {
    (void)sql("SET application_name = 'lockfile 1 2 3'");
    (void)sql(
        "INSERT INTO lockfile.session SELECT pg_backend_pid(), (date_part('epoch', a.backend_start) * "
        "1000000)::bigint, " +
        but +
        ", program, reason FROM lockfile.session AS s, pg_stat_activity AS a WHERE a.pid = pg_backend_pid() AND " +
        "s.process = " + std::to_string(::getpid()) +
        " LIMIT 1 ON CONFLICT (backend) DO UPDATE SET backend_start = excluded.backend_start, process = "
        "excluded.process, process_start = excluded.process_start, boot = excluded.boot, host = excluded.host");
  }
  // A step lasts a moment only, in which there may be no session yet.
  void line_up(lockfile::Attempt& attempt) {
    wait_for([&] {
      EXPECT_TRUE(std::holds_alternative<Blocked>(attempt.step()));
      return (*sql_)(locks("count(*)", "NOT granted")) == "1";
    });
  }
  static void be_granted(lockfile::Attempt& attempt) {
    wait_for([&] { return std::holds_alternative<Granted>(attempt.step()); });
  }
  static void withdraw(lockfile::Attempt& attempt) {
    wait_for([&] { return !attempt.withdraw(); });
  }
  static std::optional<Holder> by(const Step& step) {
    const auto* const blocked = std::get_if<Blocked>(&step);
    return blocked == nullptr ? std::nullopt : blocked->by;
  }

  std::unique_ptr<Sql> sql_;
};

TEST_F(Attempts, are_kept_out_by_who_was_granted_it_and_has_not_been_told_yet) {
  engine::Scheme scheme(path(), {});
  (void)(*sql_)("SELECT pg_advisory_lock(" + std::to_string(key()) + ")");
  const auto waiter = scheme.attempt({.thread = 7});
  line_up(*waiter);
  (void)(*sql_)("SELECT pg_advisory_unlock_all()");
  sql_->until(locks("count(*)", "NOT granted"), "0");
  const auto other = scheme.attempt(only_tries);
  const auto in_the_way = by(other->step());
  ASSERT_TRUE(in_the_way);
  EXPECT_EQ(in_the_way->thread, 7);
  withdraw(*other);
  be_granted(*waiter);
  EXPECT_FALSE(waiter->release());
}

// What it lacks has been granted to somebody who has not been told yet; its own session has the right to be admitted.
TEST_F(Attempts, are_not_kept_out_by_themselves) {
  keep_session();  // it is used, and began before the next one
  Sql other(place());
  pretend(other);
  (void)other("SELECT pg_advisory_lock(" + std::to_string(engine::gate_of(name_of("a")) + 1) + ")");
  const std::string in_its_way = other("SELECT pg_backend_pid()");
  engine::Semaphore semaphore(path(), "", 1, 1);
  const auto attempt = semaphore.attempt(only_tries);
  const auto in_the_way = by(attempt->step());
  ASSERT_TRUE(in_the_way);
  EXPECT_TRUE(in_the_way->nonce.starts_with(in_its_way + ".")) << in_the_way->nonce;
  withdraw(*attempt);
}

// Its session has held nothing yet, so what it says of itself is what it said when it was admitted.
TEST_F(Attempts, that_are_admitted_are_no_other_program) {
  keep_session();
  Sql other(place());
  pretend(other);
  (void)other("SELECT pg_advisory_lock(" + std::to_string(engine::gate_of(name_of("a")) + 1) + ")");
  engine::Semaphore semaphore(path(), "", 1, 1);
  const auto admitted = semaphore.attempt({.thread = 7});
  ASSERT_TRUE(std::holds_alternative<Blocked>(admitted->step()));
  const auto attempt = semaphore.attempt(only_tries);
  const auto in_the_way = by(attempt->step());
  ASSERT_TRUE(in_the_way);
  EXPECT_FALSE(in_the_way->foreign) << in_the_way->note;
  withdraw(*attempt);
  withdraw(*admitted);
}

TEST_F(Attempts, of_another_process_are_told_from_our_own) {
  engine::Scheme scheme(path(), {});
  keep_session();
  const auto is_ours = [&](const std::string& record) {
    Sql holder(place());
    pretend(holder, record);
    (void)holder("SELECT pg_advisory_lock(" + std::to_string(key()) + ")");
    const auto attempt = scheme.attempt(only_tries);
    const auto in_the_way = by(attempt->step());
    withdraw(*attempt);
    return in_the_way && in_the_way->this_process;
  };
  EXPECT_TRUE(is_ours("process, process_start, boot, host"));
  EXPECT_FALSE(is_ours("process + 1, process_start, boot, host"));
  EXPECT_FALSE(is_ours("process, '1', boot, host"));
  EXPECT_FALSE(is_ours("process, process_start, 'another', host"));
  EXPECT_FALSE(is_ours("process, process_start, boot, 'another'"));
}

TEST_F(Attempts, see_a_session_of_ours_that_says_nothing_of_a_hold_as_another_programs) {
  engine::Scheme scheme(path(), {});
  keep_session();
  Sql holder(place());
  pretend(holder);
  (void)holder("SET application_name = 'batch'");
  (void)holder("SELECT pg_advisory_lock(" + std::to_string(key()) + ")");
  const auto attempt = scheme.attempt(only_tries);
  const auto in_the_way = by(attempt->step());
  ASSERT_TRUE(in_the_way);
  EXPECT_TRUE(in_the_way->foreign);
  withdraw(*attempt);
}

TEST_F(Attempts, that_are_withdrawn_between_a_question_and_its_answer_hold_nothing) {
  Proxy proxy(directory());
  engine::Scheme scheme({proxy.place().substr(place().find("//") + 2), name_of("a")}, {});
  const auto attempt = scheme.attempt(waits);
  be_granted(*attempt);
  EXPECT_FALSE(attempt->release());
  proxy.fall_silent();
  EXPECT_TRUE(attempt->reuse(waits));
  EXPECT_TRUE(std::holds_alternative<Blocked>(attempt->step()));
  EXPECT_TRUE(attempt->withdraw()) << "not yet";
  proxy.speak();
  withdraw(*attempt);
  sql_->until(locks("count(*)", "true"), "0");
  EXPECT_TRUE(attempt->reuse(waits));
  be_granted(*attempt);
  EXPECT_FALSE(attempt->release());
}

TEST_F(Attempts, whose_session_has_ended_are_withdrawn) {
  engine::Scheme scheme(path(), {});
  (void)(*sql_)("SELECT pg_advisory_lock(" + std::to_string(key()) + ")");
  const auto attempt = scheme.attempt(waits);
  line_up(*attempt);
  end_session((*sql_)(locks("pid", "NOT granted")));
  withdraw(*attempt);
  EXPECT_TRUE(attempt->reuse(only_tries));
  EXPECT_TRUE(std::holds_alternative<Blocked>(attempt->step()));
  withdraw(*attempt);
}

TEST_F(Attempts, are_withdrawn_by_a_new_session_where_the_one_that_was_kept_has_ended) {
  engine::Scheme scheme(path(), {});
  (void)(*sql_)("SELECT pg_advisory_lock(" + std::to_string(key()) + ")");
  const auto attempt = scheme.attempt(waits);
  line_up(*attempt);
  const std::string session = (*sql_)(locks("pid", "NOT granted"));
  end_session(keep_session());
  withdraw(*attempt);
  EXPECT_EQ((*sql_)("SELECT state FROM pg_stat_activity WHERE pid = " + session), "idle") << "it is kept";
}

TEST_F(Attempts, that_wait_for_the_server_go_on_to_when_stepped_too_early) {
  engine::Scheme scheme(path(), {});
  (void)(*sql_)("SELECT pg_advisory_lock(" + std::to_string(key()) + ")");
  const auto attempt = scheme.attempt(waits);
  line_up(*attempt);
  end_session((*sql_)(locks("pid", "NOT granted")));
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(std::holds_alternative<Blocked>(attempt->step()));
  (void)(*sql_)("SELECT pg_advisory_unlock_all()");
  be_granted(*attempt);
  EXPECT_FALSE(attempt->release());
}

TEST_F(Attempts, that_have_lost_their_hold_have_nothing_to_watch) {
  engine::Scheme scheme(path(), {});
  const auto attempt = scheme.attempt(waits);
  be_granted(*attempt);
  EXPECT_EQ(attempt->lost().size(), 1U);
  EXPECT_EQ(scheme.is_held_by(waits.thread), true);
  EXPECT_EQ(engine::Scheme({behind_the_slashes(), name_of("a")}, {}).is_held_by(waits.thread), false)
      << "another place";
  end_session((*sql_)(locks("pid", "granted")));
  std::error_code why;
  EXPECT_FALSE(attempt->still_held(why));
  EXPECT_FALSE(why);
  EXPECT_TRUE(attempt->lost().empty());
  EXPECT_EQ(attempt->release(), errc::not_locked);
}

TEST_F(Attempts, of_nobody_are_not_broken) {
  engine::Scheme scheme(path(), {});
  Holder nobody;
  nobody.nonce = "7";
  EXPECT_EQ(scheme.break_hold(nobody, Proof::forced), errc::not_locked);
  EXPECT_EQ(scheme.break_hold(nobody, Proof::stale), errc::not_locked);
}

}  // namespace
}  // namespace lockfile::testing
