// Answers that no real member can be brought to give at a wanted moment: refused, incomplete, late, twice, or none.
#include "etcd/cluster.hpp"
#include "etcd/member.hpp"
#include "os/watch.hpp"
#include "schemes/etcd/scheme.hpp"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <future>
#include <map>
#include <memory>
#include <mutex>

namespace lockfile::testing {
namespace {

namespace etcd = schemes::etcd;
using Code = grpc::StatusCode;

// --- what is asked, and answered ---

// What a transaction does: makes a key ("put"), looks at the own place ("look") or at all of them ("list"), ends a key
// that it names by its revision ("erase") or without one ("forget").
std::string kind_of(const std::string& transaction) {
  bool has_condition = false;
  for (std::size_t at = 0; at < transaction.size();) {
    const char tag = transaction[at++];
    std::size_t size = 0;
    for (unsigned shift = 0;; shift += 7) {
      const auto byte = static_cast<unsigned char>(transaction[at++]);
      size |= static_cast<std::size_t>(byte & 0x7fU) << shift;
      if (byte < 0x80) break;
    }
    if (tag == (1 << 3 | 2)) has_condition = true;
    if (tag == (2 << 3 | 2)) {
      const int operation = transaction[at] >> 3;
      if (operation == 1) return has_condition ? "look" : "list";
      if (operation == 2) return "put";
      return has_condition ? "erase" : "forget";
    }
    at += size;
  }
  return "nothing";
}

std::string key(const std::string& name, const std::string& value, std::uint64_t created) {
  return field(2, field(1, name) + field(2, created) + field(5, value));
}
std::string range(const std::string& keys = {}) { return field(3, field(1, keys)); }
const std::string done = in_revision(5) + field(2, 1);
// Its own key stands, and so many are in the way, itself among them.
std::string put_beside(std::uint64_t count) {
  return done + field(3, field(2, "")) + field(3, field(1, field(4, count)));
}

// A member that answers each new question of a kind, or each of another method, by the next of these; the last one
// stands for all that follow. The same question sent again has the same answer. Without any: it grants.
class Answers {
 public:
  using Turn = std::function<Member::Answer()>;
  using Turns = std::map<std::string, std::vector<Turn>>;
  explicit Answers(Turns turns)
      : turns_(std::move(turns)), member_([this](const std::string& method, const std::string& question) {
          return answer(method == "Txn" ? kind_of(question) : method, question);
        }) {}

  [[nodiscard]] std::string host() const { return member_.host(); }
  [[nodiscard]] std::string address() const { return "etcd://" + host() + "/a"; }
  [[nodiscard]] etcd::Cluster cluster() const { return {{host()}, 60s}; }
  [[nodiscard]] int shown() const { return member_.shown(); }
  // How many questions there were of it.
  [[nodiscard]] std::size_t asked(const std::string& what) const {
    const std::lock_guard guard(mutex_);
    const auto found = asked_.find(what);
    return found == asked_.end() ? 0 : found->second.size();
  }
  // Until there were so many.
  void wait_for(const std::string& what, std::size_t count) const {
    const auto give_up = std::chrono::steady_clock::now() + stuck;
    while (asked(what) < count && std::chrono::steady_clock::now() < give_up) std::this_thread::yield();
    EXPECT_GE(asked(what), count) << what;
  }

 private:
  Member::Answer answer(const std::string& what, const std::string& question) {
    Turn turn;
    {
      const std::lock_guard guard(mutex_);
      auto& before = asked_[what];
      const bool is_transaction = what.front() >= 'a';
      const auto found = is_transaction ? std::find(before.begin(), before.end(), question) : before.end();
      const auto index = static_cast<std::size_t>(found - before.begin());
      if (found == before.end()) before.push_back(question);
      const auto turns = turns_.find(what);
      if (turns != turns_.end()) turn = turns->second[std::min(index, turns->second.size() - 1)];
    }
    return turn ? turn() : usual(what);
  }
  static Member::Answer usual(const std::string& what) {
    if (what == "LeaseGrant" || what == "LeaseKeepAlive") return says(lease_of(60));
    if (what == "Authenticate") return says(field(2, "token"));
    if (what == "put") return says(put_beside(1));
    if (what == "look") return says(done + range() + range());
    if (what == "list") return says(done + range());
    if (what == "erase" || what == "forget") return says(done);
    if (what == "LeaseRevoke") return says("");
    return refuses(Code::UNAVAILABLE);
  }

  const Turns turns_;
  mutable std::mutex mutex_;
  std::map<std::string, std::vector<std::string>> asked_;
  Member member_;  // last: it asks until it is gone
};

Answers::Turn always(std::string bytes) {
  return [bytes = std::move(bytes)] { return says(bytes); };
}
Answers::Turn always(Code code) {
  return [code] { return refuses(code); };
}
// The first sending of it, and all that follow.
Answers::Turn first(Answers::Turn once, Answers::Turn then) {
  return [once = std::move(once), then = std::move(then), sent = std::make_shared<std::atomic<bool>>(false)] {
    return sent->exchange(true) ? then() : once();
  };
}

struct AsUser {
  AsUser() {
    ::setenv("ETCDCTL_USER", "app", 1);       // NOLINT(concurrency-mt-unsafe): no thread reads it now
    ::setenv("ETCDCTL_PASSWORD", "word", 1);  // NOLINT(concurrency-mt-unsafe)
  }
  AsUser(const AsUser&) = delete;
  AsUser& operator=(const AsUser&) = delete;
  ~AsUser() {
    ::unsetenv("ETCDCTL_USER");      // NOLINT(concurrency-mt-unsafe)
    ::unsetenv("ETCDCTL_PASSWORD");  // NOLINT(concurrency-mt-unsafe)
  }
};

class EtcdAnswers : public ::testing::Test {
 protected:
  EtcdAnswers() {
    // The session looks at the clock until its process goes.
    client_.system().boot_clock = [this] { return os::real_system().since_boot() + std::chrono::seconds(slept_); };
  }
  // Its lease is over by our clock.
  void sleep_past_lease() { slept_ = 3600; }
  // No question is asked any longer; its lease is not over.
  void let_patience_end() { client_.system().ahead = 6s; }
  Answers::Turn late(Answers::Turn turn) {
    return [this, turn = std::move(turn)] {
      let_patience_end();
      return turn();
    };
  }

  [[nodiscard]] std::shared_ptr<etcd::Session> session(const Answers& member) {
    std::error_code why;
    std::string what;
    return client_.process().part<etcd::Sessions>().get(member.cluster(), why, what);
  }
  [[nodiscard]] std::shared_ptr<etcd::Event> event() { return std::make_shared<etcd::Event>(client_.system()); }
  [[nodiscard]] bool is_set(const etcd::Event& event) {
    return client_.system().readable(event.watch().source().descriptor()).value;
  }
  [[nodiscard]] bool answered(const etcd::Pending& pending, etcd::Event& event) {
    return etcd::wait_for(pending, event, client_.system(), stuck);
  }
  [[nodiscard]] std::shared_ptr<etcd::Lease> lease_of_session(etcd::Session& session) {
    const auto told = event();
    const auto pending = session.ask_for_lease(told);
    EXPECT_TRUE(answered(*pending, *told));
    return session.lease();
  }
  // A transaction that is sent once and by the session's thread.
  [[nodiscard]] static std::shared_ptr<etcd::Pending> put(etcd::Session& session, const std::string& name,
                                                          const std::shared_ptr<etcd::Lease>& lease,
                                                          const std::shared_ptr<etcd::Event>& event) {
    etcd::Transaction putting;
    putting.then.push_back({.kind = etcd::Operation::Kind::put, .range = {.from = name}, .value = "x"});
    return session.begin(putting, lease, event, stuck, etcd::Session::How::later);
  }

  // A watch that the member begins when it is asked for the second time.
  void watch_with_a_second_token(Answers& member) {
    client_.run([&] {
      const auto session = this->session(member);
      const auto lease = lease_of_session(*session);
      auto watching = session->watch("a", "", false, 1, lease, event());
      member.wait_for("Watch", 2);
      EXPECT_EQ(member.asked("Authenticate"), 2U);
      session->end_watch(watching);
    });
  }

  // A key of a process of this client's host that has ended.
  [[nodiscard]] std::string dead_key() {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(0);
    ::waitpid(child, nullptr, 0);
    claim::Record record = record_of(client_.process().identity());
    record.pid = child;
    record.start = 1;
    return key("a//lock/x/dead-1", etcd::value_of(record, std::chrono::system_clock::now()), 3);
  }
  static std::string unreadable_key(std::uint64_t created = 3) {
    return key("a//lock/x/other-1", "another program's", created);
  }

  std::atomic<std::int64_t> slept_ = 0;
  Client client_;
};

// --- the way to a hold ---

TEST_F(EtcdAnswers, a_key_that_an_earlier_sending_made_is_looked_at) {
  const std::string stands = in_revision(9) + range(key("a//lock/x/mine", "", 4));
  Answers member({{"put", {first(always(Code::UNAVAILABLE), always(stands))}}});
  client_.run([&] {
    const auto lock = open(member.address(), {.fence = true});
    lock->acquire(for_ever);
    EXPECT_EQ(lock->fence(), 4U);
    EXPECT_EQ(member.asked("look"), 1U);
    lock->release();
  });
}

TEST_F(EtcdAnswers, an_answer_that_says_nothing_of_who_is_in_the_way_is_an_error) {
  for (const std::string& nothing : {in_revision(5), in_revision(5) + range() + range()}) {
    for (const auto limit : {stuck, 0s}) {
      Answers member({{"put", {always(nothing)}}});
      Client client;
      client.run([&] {
        EXPECT_EQ(code_of_acquire(*open(member.address()), limit), std::errc::protocol_error) << limit.count();
        EXPECT_EQ(member.asked("put"), 1U);
      });
    }
  }
}

TEST_F(EtcdAnswers, a_look_that_is_refused_gives_the_place_up) {
  Answers member({{"put", {always(put_beside(2))}}, {"look", {always(Code::INTERNAL)}}});
  client_.run([&] {
    EXPECT_EQ(code_of_acquire(*open(member.address()), for_ever), std::errc::protocol_error);
    member.wait_for("forget", 1);
  });
}

TEST_F(EtcdAnswers, a_look_that_is_not_answered_is_repeated_while_the_place_stands) {
  Answers member({{"put", {always(put_beside(2))}},
                  {"look", {first(late(always(Code::UNAVAILABLE)), always(done + range() + range()))}}});
  client_.run([&] {
    const auto lock = open(member.address());
    lock->acquire(for_ever);
    EXPECT_EQ(member.asked("put"), 1U);
    EXPECT_EQ(member.asked("forget"), 0U);
    lock->release();
  });
}

TEST_F(EtcdAnswers, a_look_that_is_not_answered_ends_a_try_and_whoever_has_no_lease_left) {
  const auto unanswered = late(always(Code::UNAVAILABLE));
  for (const bool tries : {true, false}) {
    client_.system().ahead = 0s;
    Answers member({{"put", {always(put_beside(2))}}, {"look", {[&] {
                                                         if (!tries) sleep_past_lease();
                                                         return unanswered();
                                                       }}}});
    client_.run([&] {
      etcd::Scheme lock({member.cluster(), "a"}, "", false);
      const auto units = lock.semaphore(1, 1);
      const Step step = units->attempt({.may_queue = !tries})->step();
      ASSERT_TRUE(std::holds_alternative<Failed>(step)) << tries;
      EXPECT_EQ(std::get<Failed>(step).why, std::errc::host_unreachable);
      member.wait_for("forget", 1);
    });
  }
}

TEST_F(EtcdAnswers, a_try_at_units_stays_in_its_place_for_as_long_as_its_lease) {
  Answers member({{"put", {always(put_beside(2)), always(put_beside(1))}},
                  {"look", {always(done + range(key("a//units/1/other-1", "another program's", 3)) + range())}}});
  client_.run([&] {
    etcd::Scheme lock({member.cluster(), "a"}, "", false);
    const auto units = lock.semaphore(1, 1);
    const auto attempt = units->attempt({.may_queue = false});
    for (int i = 0; i < 2; ++i) EXPECT_TRUE(std::holds_alternative<Blocked>(attempt->step()));
    EXPECT_EQ(member.asked("put") + member.asked("look"), 2U);
    sleep_past_lease();
    EXPECT_TRUE(std::holds_alternative<Granted>(attempt->step()));
    EXPECT_EQ(attempt->release(), std::error_code());
  });
}

TEST_F(EtcdAnswers, a_place_that_is_gone_at_the_first_look_is_made_anew) {
  Answers member({{"put", {always(put_beside(2)), always(put_beside(1))}}, {"look", {always(in_revision(6))}}});
  client_.run([&] {
    const auto lock = open(member.address());
    lock->acquire(for_ever);
    EXPECT_EQ(member.asked("put"), 2U);
    member.wait_for("forget", 1);
    lock->release();
  });
}

TEST_F(EtcdAnswers, a_place_that_is_answered_after_its_lease_is_over_is_made_anew) {
  Answers member({{"put",
                   {[&] {
                      sleep_past_lease();
                      return says(put_beside(1));
                    },
                    always(put_beside(1))}}});
  client_.run([&] {
    const auto lock = open(member.address());
    lock->acquire(for_ever);
    EXPECT_EQ(member.asked("put"), 2U);
    EXPECT_EQ(member.asked("LeaseGrant"), 2U);
    lock->release();
  });
}

TEST_F(EtcdAnswers, whoever_gives_up_while_nothing_is_answered_leaves_no_place) {
  const std::string dead = dead_key();
  for (const std::string silent : {"put", "look", "erase"}) {
    for (const int error : {0, EMFILE}) {
      std::atomic<bool> speaks = false;
      const auto silence = [&speaks] { return speaks ? says(done) : is_silent(); };
      Answers::Turns turns{{"put", {always(put_beside(2))}}, {"look", {always(done + range(dead) + range())}}};
      turns[silent] = {silence};
      turns["forget"] = {silence};
      Answers member(turns);
      Client client(client_.system().host);
      client.system().before = [error](os::Call call) { return call == os::Call::event_open ? error : 0; };
      client.run([&] {
        std::error_code why;
        std::string what;
        const auto session = client.process().part<etcd::Sessions>().get({{member.host()}, 2s}, why, what);
        const auto told = std::make_shared<etcd::Event>(client.system());
        EXPECT_TRUE(etcd::wait_for(*session->ask_for_lease(told), *told, client.system(), stuck));
        EXPECT_EQ(code_of_acquire(*open(member.address(), {.lease = 2s}), 10ms), errc::timed_out) << silent;
        EXPECT_EQ(member.asked(silent), 1U);
        // What may make a place is waited for first.
        if (silent != "put") member.wait_for("forget", 1);
        speaks = true;
        member.wait_for("forget", 1);
      });
    }
  }
}

TEST_F(EtcdAnswers, a_dead_holder_that_a_member_does_not_remove_is_told_by_a_try) {
  Answers member(
      {{"put", {always(in_revision(5) + range() + range(dead_key()))}}, {"erase", {always(Code::PERMISSION_DENIED)}}});
  client_.run([&] {
    EXPECT_EQ(code_of_acquire(*open(member.address()), 0s), std::errc::permission_denied);
    EXPECT_EQ(member.asked("erase"), 1U);
  });
}

TEST_F(EtcdAnswers, a_dead_one_before_a_waiter_that_a_member_does_not_remove_is_looked_at_again) {
  std::atomic<bool> refused = false;
  const std::string dead = dead_key();
  Answers member({{"put", {always(put_beside(2))}},
                  {"look", {[&] { return says(done + range(refused ? "" : dead) + range()); }}},
                  {"erase",
                   {[&] {
                      refused = true;
                      return refuses(Code::PERMISSION_DENIED);
                    },
                    always(done)}}});
  client_.run([&] {
    const auto lock = open(member.address());
    lock->acquire(for_ever);
    EXPECT_EQ(member.asked("erase"), 1U);
    lock->release();
  });
}

TEST_F(EtcdAnswers, a_lease_that_is_gone_when_it_is_needed_is_replaced) {
  // At the first sending, and at the second one, which is the session's.
  for (const bool at_once : {true, false}) {
    const auto gone = [&] {
      return at_once ? always(Code::NOT_FOUND) : first(always(Code::UNAVAILABLE), always(Code::NOT_FOUND));
    };
    Answers member({{"put", {gone(), always(put_beside(1))}}, {"list", {gone()}}});
    Client client;
    client.run([&] {
      const auto lock = open(member.address());
      std::error_code why;
      (void)lock->holder(why);
      EXPECT_EQ(why, std::errc::protocol_error) << "a look needs none";
      lock->acquire(0s);
      EXPECT_EQ(member.asked("LeaseGrant"), 2U);
      lock->release();
    });
  }
}

TEST_F(EtcdAnswers, a_refusal_that_comes_when_no_time_is_left_is_the_last_word) {
  const AsUser user;
  for (const auto& [code, expected] : {std::pair{Code::UNAVAILABLE, std::errc::host_unreachable},
                                       std::pair{Code::UNAUTHENTICATED, std::errc::permission_denied}}) {
    client_.system().ahead = 0s;
    Answers member({{"LeaseGrant", {late(always(code))}}});
    client_.run([&, expected = expected] {
      EXPECT_EQ(code_of_acquire(*open(member.address()), 0s), expected);
      EXPECT_EQ(member.asked("LeaseGrant"), 1U);
      EXPECT_EQ(member.asked("Authenticate"), 1U);
    });
  }
}

TEST_F(EtcdAnswers, a_refusal_without_words_is_told_by_its_member) {
  Answers member({{"LeaseGrant", {[] { return Member::Answer{{Code::UNKNOWN, ""}, {}}; }}}});
  client_.run([&] {
    try {
      open(member.address())->acquire(0s);
      ADD_FAILURE() << "acquired";
    } catch (const LockFailed& error) {
      EXPECT_EQ(error.code(), std::errc::protocol_error);
      const std::string what = error.what();
      EXPECT_NE(what.find("refused by '" + member.host() + "'"), std::string::npos) << what;
      EXPECT_EQ(what.find("()"), std::string::npos) << what;
    }
  });
}

// --- the hold ---

TEST_F(EtcdAnswers, a_release_says_what_has_become_of_the_hold) {
  const auto nobody = always(in_revision(6) + range());
  struct Case {
    Answers::Turn erase;
    std::error_code expected;
  };
  for (const bool stands : {true, false}) {
    const std::vector<Case> cases = {
        {always(Code::INTERNAL), std::make_error_code(std::errc::protocol_error)},
        {first(always(Code::UNAVAILABLE), nobody), {}},
        {nobody, errc::not_locked},
        {always(in_revision(6)), errc::not_locked},
        {always(in_revision(6) + range(unreadable_key())), errc::not_my_lock},
    };
    for (std::size_t i = 0; i < cases.size(); ++i) {
      slept_ = 0;
      Answers member({{"erase", {cases[i].erase}}});
      client_.run([&] {
        const auto lock = open(member.address());
        lock->acquire(0s);
        if (!stands) sleep_past_lease();
        const std::error_code expected = stands || i == 4 ? cases[i].expected : make_error_code(errc::not_locked);
        EXPECT_EQ(code_of_release(*lock), expected) << i << stands;
      });
    }
  }
}

TEST_F(EtcdAnswers, an_attempt_that_holds_nothing_says_so) {
  client_.run([&] {
    etcd::Scheme scheme({{{"127.0.0.1:1"}, 60s}, "a"}, "", true);
    const auto attempt = scheme.attempt({});
    std::error_code why;
    EXPECT_FALSE(attempt->still_held(why));
    EXPECT_FALSE(why);
    EXPECT_TRUE(attempt->lost().empty());
    EXPECT_EQ(attempt->lease_end(), std::nullopt);
    EXPECT_EQ(attempt->renew(), errc::not_locked);
    EXPECT_EQ(attempt->release(), errc::not_locked);
    EXPECT_TRUE(attempt->reuse({}));
  });
}

TEST_F(EtcdAnswers, a_look_at_the_own_hold_tells_a_loss_from_no_answer) {
  struct Case {
    Answers::Turn list;
    bool held;
    std::error_code why;
  };
  const std::vector<Case> cases = {
      {always(done + range(unreadable_key(5))), true, {}},
      {always(done + range(unreadable_key(6))), false, {}},
      {always(done + range()), false, {}},
      {always(done), false, std::make_error_code(std::errc::protocol_error)},
      {always(Code::INTERNAL), false, std::make_error_code(std::errc::protocol_error)},
  };
  for (const Case& each : cases) {
    Answers member({{"list", {each.list}}});
    client_.run([&] {
      etcd::Scheme scheme({member.cluster(), "a"}, "", true);
      const auto attempt = scheme.attempt({.may_queue = false});
      ASSERT_TRUE(std::holds_alternative<Granted>(attempt->step()));
      EXPECT_FALSE(attempt->reuse({})) << "it holds";
      std::error_code why;
      EXPECT_EQ(attempt->still_held(why), each.held);
      EXPECT_EQ(why, each.why);
      EXPECT_EQ(attempt->renew(), each.held || why ? each.why : make_error_code(errc::not_locked));
      (void)attempt->release();
    });
  }
}

TEST_F(EtcdAnswers, a_renewal_that_no_member_answers_is_told_and_loses_nothing) {
  Answers member({{"LeaseKeepAlive", {late(always(Code::UNAVAILABLE))}}});
  client_.run([&] {
    const auto lock = open(member.address(), {.lease = 60s});
    lock->acquire(0s);
    std::error_code why;
    lock->renew(why);
    EXPECT_EQ(why, std::errc::host_unreachable);
    EXPECT_GT(lock->lease_left().value(), 0s);
    EXPECT_EQ(code_of_release(*lock), std::error_code());
  });
}

TEST_F(EtcdAnswers, a_holder_without_descriptors_has_no_event_of_its_loss) {
  Answers member({});
  client_.system().before = [](os::Call call) { return call == os::Call::event_open ? EMFILE : 0; };
  client_.run([&] {
    etcd::Scheme scheme({member.cluster(), "a"}, "", true);
    const auto attempt = scheme.attempt({.may_queue = false});
    ASSERT_TRUE(std::holds_alternative<Granted>(attempt->step()));
    EXPECT_TRUE(attempt->lost().empty());
    EXPECT_EQ(attempt->release(), std::error_code());
  });
}

// --- looks and breaks ---

TEST_F(EtcdAnswers, a_look_that_is_incomplete_does_not_say_that_it_is_free) {
  Answers member({{"list", {always(done)}}});
  client_.run([&] {
    std::error_code why;
    EXPECT_EQ(open(member.address())->holder(why), std::nullopt);
    EXPECT_EQ(why, std::errc::protocol_error);
    EXPECT_TRUE(list_place("etcd://" + member.host() + "/", why).empty());
    EXPECT_EQ(why, std::errc::protocol_error);
  });
}

TEST_F(EtcdAnswers, readers_are_told_however_many_there_are) {
  const auto readers = [](std::uint64_t count) {
    std::string keys;
    for (std::uint64_t i = 1; i <= count; ++i) keys += key("a//lock/s/other-" + std::to_string(i), "unreadable", i);
    return always(done + range(keys));
  };
  // Two questions: for the first ones, and for all.
  Answers member({{"list", {readers(64), readers(70)}}});
  client_.run([&] {
    etcd::Scheme scheme({member.cluster(), "a"}, "", false);
    std::error_code why;
    EXPECT_EQ(scheme.holders(why).size(), 70U);
    EXPECT_FALSE(why);
  });
}

TEST_F(EtcdAnswers, a_break_removes_the_hold_that_was_meant_and_no_other) {
  Holder meant;
  meant.nonce = "other-1";
  meant.number = 3;
  Holder another = meant;
  another.nonce = "other-2";
  Holder earlier = meant;
  earlier.number = 2;
  const auto held = always(done + range(unreadable_key()));
  const auto dead = always(done + range(dead_key()));
  Holder gone = meant;
  gone.nonce = "dead-1";  // of the key's name
  struct Case {
    Answers::Turns turns;
    Holder hold;
    Proof proof;
    std::error_code expected;
    std::size_t erased;
  };
  const auto protocol_error = std::make_error_code(std::errc::protocol_error);
  const std::vector<Case> cases = {
      {{{"list", {held}}}, meant, Proof::forced, {}, 1},
      {{{"list", {held}}}, meant, Proof::foreign, errc::not_locked, 0},
      {{{"list", {held}}}, meant, Proof::stale, errc::not_locked, 0},
      {{{"list", {held}}}, another, Proof::forced, errc::not_locked, 0},
      {{{"list", {held}}}, earlier, Proof::forced, errc::not_locked, 0},
      {{{"list", {dead}}}, gone, Proof::stale, {}, 1},
      {{{"list", {always(Code::INTERNAL)}}}, meant, Proof::forced, protocol_error, 0},
      {{{"list", {held}}, {"erase", {always(Code::INTERNAL)}}}, meant, Proof::forced, protocol_error, 1},
      {{{"list", {held}}, {"erase", {always(in_revision(6))}}}, meant, Proof::forced, errc::not_locked, 1},
      {{{"list", {held}}, {"erase", {first(always(Code::UNAVAILABLE), always(in_revision(6)))}}},
       meant,
       Proof::forced,
       {},
       1},
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    Answers member(cases[i].turns);
    client_.run([&] {
      etcd::Scheme scheme({member.cluster(), "a"}, "", false);
      EXPECT_EQ(scheme.break_hold(cases[i].hold, cases[i].proof), cases[i].expected) << i;
      EXPECT_EQ(member.asked("erase"), cases[i].erased) << i;
    });
  }
}

TEST_F(EtcdAnswers, an_examination_shows_the_token_and_names_every_member) {
  const AsUser user;
  const auto status = always(field(2, "3.5.0") + field(4, 1));
  Answers one({{"Status", {status}}, {"Alarm", {always(field(2, field(2, 1)) + field(2, field(2, 2)))}}});
  Answers two({{"Status", {status}}});
  client_.run([&] {
    const std::string address = "etcd://" + one.host() + "," + two.host() + "/a";
    open(address)->acquire(0s);
    const int before = two.shown();
    std::error_code why;
    const Examination seen = examine_place(address, why);
    EXPECT_FALSE(why) << why.message();
    for (const std::string& host : {one.host(), two.host()}) {
      EXPECT_TRUE(std::any_of(seen.findings.begin(), seen.findings.end(), [&](const Finding& each) {
        return each.what == "member " + host && each.result == Finding::Result::works;
      })) << host;
    }
    // Of two alarms the one that stops everything.
    EXPECT_TRUE(std::any_of(seen.findings.begin(), seen.findings.end(), [](const Finding& each) {
      return each.what == "quota" && each.detail.find("its space is used up") != std::string::npos;
    }));
    EXPECT_EQ(two.shown(), before + 1);
  });
}

// --- the session ---

TEST_F(EtcdAnswers, a_session_that_has_ended_says_so_to_all_who_ask) {
  Answers member({});
  client_.run([&] {
    const auto session = this->session(member);
    const auto lease = lease_of_session(*session);
    const auto told = event();
    session->end();
    const auto ended = [](const etcd::Pending& pending) {
      return pending.done && pending.answer.why == std::errc::operation_canceled;
    };
    EXPECT_TRUE(ended(*session->ask_for_lease(told)));
    EXPECT_TRUE(ended(*put(*session, "a", lease, told)));
    EXPECT_TRUE(ended(*session->forget("a", nullptr, lease, told)));
    EXPECT_TRUE(session->watch("a", "", false, 1, lease, told)->fired);
    told->clear();
    session->renew(told);
    EXPECT_TRUE(is_set(*told));
    EXPECT_EQ(member.asked("LeaseRevoke"), 1U);
    EXPECT_EQ(member.asked("put") + member.asked("forget") + member.asked("LeaseKeepAlive"), 0U);
  });
}

TEST_F(EtcdAnswers, a_session_whose_lease_is_over_has_none_to_give_back) {
  Answers member({});
  client_.run([&] {
    const auto session = this->session(member);
    (void)lease_of_session(*session);
    sleep_past_lease();
    session->end();
    EXPECT_EQ(member.asked("LeaseRevoke"), 0U);
    const auto told = event();
    session->renew(told);
    EXPECT_TRUE(is_set(*told));
  });
}

TEST_F(EtcdAnswers, what_waits_for_a_token_when_the_session_ends_was_not_done) {
  const AsUser user;
  Answers member({{"Authenticate", {is_silent}}});
  client_.run([&] {
    const auto session = this->session(member);
    const auto told = event();
    const auto lease = session->ask_for_lease(told);
    const auto putting = put(*session, "a", nullptr, told);
    member.wait_for("Authenticate", 1);
    session->end();
    for (const auto& each : {lease, putting}) {
      EXPECT_TRUE(each->done);
      EXPECT_EQ(each->answer.why, std::errc::operation_canceled);
    }
    EXPECT_EQ(session->lease(), nullptr);
    EXPECT_EQ(member.asked("Authenticate"), 1U) << "one for all";
  });
}

TEST_F(EtcdAnswers, a_token_that_is_empty_is_none) {
  const AsUser user;
  Answers member({{"Authenticate", {always("")}}});
  client_.run([&] {
    EXPECT_EQ(code_of_acquire(*open(member.address()), 0s), std::errc::protocol_error);
    std::error_code why;
    EXPECT_EQ(open(member.address())->holder(why), std::nullopt);
    EXPECT_EQ(why, std::errc::protocol_error);
    EXPECT_EQ(member.asked("LeaseGrant") + member.asked("list"), 0U);
  });
}

TEST_F(EtcdAnswers, what_waits_to_be_sent_again_when_the_session_ends_has_failed) {
  Answers member({{"LeaseGrant", {always(Code::UNAVAILABLE)}}});
  client_.run([&] {
    const auto session = this->session(member);
    const auto told = event();
    const auto lease = session->ask_for_lease(told);
    member.wait_for("LeaseGrant", 3);
    session->end();
    EXPECT_TRUE(lease->done);
    // Or cancelled, if it was on its way.
    EXPECT_TRUE(lease->answer.why);
  });
}

TEST_F(EtcdAnswers, what_follows_an_unanswered_request_is_not_begun_when_the_session_ends) {
  Answers member({{"put", {is_silent}}});
  client_.run([&] {
    const auto session = this->session(member);
    const auto lease = lease_of_session(*session);
    const auto told = event();
    const auto putting = put(*session, "a", lease, told);
    const auto forgetting = session->forget("a", putting, lease, told);
    member.wait_for("put", 1);
    session->end();
    EXPECT_TRUE(putting->done);
    EXPECT_EQ(putting->answer.why, std::errc::operation_canceled);
    EXPECT_FALSE(forgetting->done);
    EXPECT_EQ(member.asked("forget"), 0U);
  });
}

// A connection that is accepted, and on which nothing is said.
TEST_F(EtcdAnswers, a_session_ends_while_its_stream_is_being_opened) {
  const int listening = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(listening, reinterpret_cast<const sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(listening, 5), 0);
  ASSERT_EQ(::getsockname(listening, reinterpret_cast<sockaddr*>(&address), &size), 0);
  client_.run([&] {
    std::error_code why;
    std::string what;
    const etcd::Cluster cluster{{"127.0.0.1:" + std::to_string(ntohs(address.sin_port))}, 60s};
    const auto session = client_.process().part<etcd::Sessions>().get(cluster, why, what);
    const auto watching = session->watch("a", "", false, 1, nullptr, event());
    session->end();
    EXPECT_FALSE(watching->fired);
    EXPECT_EQ(watching->began, 0);
  });
  ::close(listening);
}

TEST_F(EtcdAnswers, a_renewal_whose_token_is_refused_is_asked_for_with_another) {
  const AsUser user;
  Answers member({{"LeaseKeepAlive", {always(Code::UNAUTHENTICATED), always(lease_of(60))}},
                  {"list", {always(done + range(unreadable_key(5)))}}});
  client_.run([&] {
    const auto lock = open(member.address(), {.lease = 60s});
    lock->acquire(0s);
    lock->renew();
    EXPECT_EQ(member.asked("LeaseKeepAlive"), 2U);
    EXPECT_EQ(member.asked("Authenticate"), 2U);
    lock->release();
  });
}

TEST_F(EtcdAnswers, a_watch_whose_token_is_refused_is_begun_with_another) {
  const AsUser user;
  Answers member({{"Watch", {always(Code::UNAUTHENTICATED), always(field(2, 1) + field(3, 1))}}});
  watch_with_a_second_token(member);
}

TEST_F(EtcdAnswers, a_watch_that_is_not_permitted_is_begun_anew_with_another_token) {
  const AsUser user;
  // Of the first watch: ended. Its number is another one when it is begun anew.
  Answers member({{"Watch", {always(field(2, 1) + field(4, 1)), always(field(2, 2) + field(3, 1))}}});
  watch_with_a_second_token(member);
}

TEST_F(EtcdAnswers, what_is_told_of_a_lost_lease_spares_the_next_one) {
  Answers member({{"put", {always(Code::NOT_FOUND)}}});
  client_.run([&] {
    const auto session = this->session(member);
    const auto told = event();
    const auto old = lease_of_session(*session);
    EXPECT_TRUE(answered(*put(*session, "a", old, told), *told));
    EXPECT_TRUE(old->lost);
    const auto next = lease_of_session(*session);
    ASSERT_NE(next, old);
    auto watching = session->watch("a", "", false, 1, next, event());
    const auto again = put(*session, "b", old, told);
    EXPECT_TRUE(answered(*again, *told));
    EXPECT_TRUE(again->answer.lease_gone);
    EXPECT_FALSE(watching->fired);
    EXPECT_FALSE(next->lost);
    EXPECT_EQ(session->lease(), next);
    session->end_watch(watching);
  });
}

// Of the session itself, when a third of the lease is over.
TEST_F(EtcdAnswers, a_renewal_that_is_refused_is_asked_for_again_in_time) {
  Answers member({{"LeaseKeepAlive", {always(Code::UNAVAILABLE), always(lease_of(61))}}});
  client_.run([&] {
    const auto session = this->session(member);
    const auto lease = lease_of_session(*session);
    slept_ = 25;
    member.wait_for("LeaseKeepAlive", 2);
    const auto told = event();
    session->renew(told);
    told->wait_until(client_.system().now() + stuck);
    EXPECT_EQ(lease->ttl, 61s);
    EXPECT_FALSE(lease->lost);
  });
}

TEST_F(EtcdAnswers, a_renewal_of_another_lease_renews_nothing) {
  Answers member({{"LeaseKeepAlive", {always(field(2, lease_id + 1) + field(3, 0)), always(lease_of(61))}},
                  {"list", {always(done + range(unreadable_key(5)))}}});
  client_.run([&] {
    const auto lock = open(member.address(), {.lease = 60s});
    lock->acquire(0s);
    lock->renew();
    EXPECT_EQ(session(member)->lease()->ttl, 61s);
    EXPECT_EQ(member.asked("LeaseKeepAlive"), 2U);
    lock->release();
  });
}

TEST_F(EtcdAnswers, a_renewal_that_is_answered_after_the_lease_is_over_comes_too_late) {
  Answers member({{"LeaseKeepAlive", {[&] {
                     sleep_past_lease();
                     return says(lease_of(60));
                   }}}});
  client_.run([&] {
    const auto session = this->session(member);
    const auto lease = lease_of_session(*session);
    const auto told = event();
    const std::int64_t renewed = lease->renewed;
    session->renew(told);
    told->wait_until(client_.system().now() + stuck);
    EXPECT_TRUE(lease->lost);
    EXPECT_EQ(lease->renewed, renewed);
  });
}

// With its lease it has gone by itself.
TEST_F(EtcdAnswers, a_place_whose_fate_is_unknown_is_not_removed_again_when_its_lease_is_lost) {
  Answers member({{"put", {always(Code::INTERNAL), always(Code::NOT_FOUND), always(done)}}});
  client_.run([&] {
    const auto session = this->session(member);
    const auto lease = lease_of_session(*session);
    const auto told = event();
    const auto putting = put(*session, "a", lease, told);
    ASSERT_TRUE(answered(*putting, *told));
    const auto forgetting = session->forget("a", putting, lease, told);
    ASSERT_TRUE(answered(*forgetting, *told));
    ASSERT_TRUE(answered(*put(*session, "b", lease, told), *told));
    ASSERT_TRUE(lease->lost);
    client_.system().ahead = 16s;
    // Its thread has come by between these two.
    for (const std::string name : {"c", "d"}) ASSERT_TRUE(answered(*put(*session, name, nullptr, told), *told));
    EXPECT_EQ(session->transactions(), 5U) << "what was put, and what was forgotten once";
  });
}

}  // namespace
}  // namespace lockfile::testing
