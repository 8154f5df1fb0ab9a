// What goes wrong with the usual recipes for locks in etcd, tried on this one.
#include "etcd/cluster.hpp"
#include "etcd/member.hpp"
#include "schemes/catalogue.hpp"
#include "schemes/etcd/scheme.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <future>
#include <iomanip>
#include <memory>
#include <optional>
#include <sstream>

namespace lockfile::testing {
namespace {

namespace etcd = schemes::etcd;

class Traps : public ::testing::Test {
 protected:
  void SetUp() override { NEEDS(address_.empty() ? "the environment names no server" : ""); }

  [[nodiscard]] std::unique_ptr<Lock> lock(const Options& options = {}) const { return open(address_, options); }

  // The session that locks of that process have there.
  [[nodiscard]] std::shared_ptr<etcd::Session> session_of(Client& client) const {
    const auto parsed = std::get<Address>(parse_address(address_));
    const etcd::Place place = etcd::place_of({parsed.place, parsed.name}, {});
    std::error_code why;
    std::string what;
    return client.process().part<etcd::Sessions>().get(place.cluster, why, what);
  }

  void revoke_lease_of(Client& client) const {
    std::ostringstream id;
    id << std::hex << session_of(client)->lease()->id;
    (void)ctl("lease revoke " + id.str());
  }

  // Until so many keys stand.
  [[nodiscard]] std::vector<std::string> wait_for_keys(std::size_t count) const {
    const auto give_up = std::chrono::steady_clock::now() + stuck;
    std::vector<std::string> keys;
    do {
      keys = keys_of(address_);
    } while (keys.size() != count && std::chrono::steady_clock::now() < give_up);
    EXPECT_EQ(keys.size(), count);
    return keys;
  }

  std::string address_ = shared_address(::testing::UnitTest::GetInstance()->current_test_info()->name());
  Client one_;
  Client other_{"somewhere"};
};

// A waiter of `client`, and what it says when it holds.
struct Waiting {
  Waiting(Client& client, const std::string& address, const Options& options = {}) {
    auto promise = std::make_shared<std::promise<std::uint64_t>>();
    held = promise->get_future();
    thread = client.begin([this, address, options, promise] {
      const auto lock = open(address, options);
      lock->acquire(for_ever);
      promise->set_value(lock->holder().value().number);
      go_on.get_future().wait();
      lock->unlock();
    });
  }
  ~Waiting() { end(); }
  void end() {
    if (!thread.joinable()) return;
    go_on.set_value();
    thread.join();
  }
  [[nodiscard]] bool holds() { return held.wait_for(0s) == std::future_status::ready; }
  std::future<std::uint64_t> held;
  std::promise<void> go_on;
  std::thread thread;
};

TEST_F(Traps, the_catalogue_says_what_the_scheme_says) {
  Traits promised = schemes::find_engine("etcd")->described.promises;
  promised.queues = true;
  one_.run([&] {
    const std::unique_ptr<Scheme> scheme(schemes::find_engine("etcd")->make({"localhost:1/test", "a"}, {}));
    const Traits traits = scheme->traits();
    for (const Promise& each : promises()) EXPECT_EQ(traits.*each.is, promised.*each.is) << each.name;
    EXPECT_TRUE(traits.queues);
  });
}

// The requests of a wait: its key, who holds (the lock object asks for a deadlock), and one look when the other has
// left. A watch from a revision that is past would be answered late, or would need looks in between.
TEST_F(Traps, a_release_that_follows_the_wait_at_once_is_told_by_the_watch) {
  one_.run([&] {
    const auto holder = lock();
    constexpr int rounds = 20;
    for (int round = 0; round < rounds; ++round) {
      holder->acquire(for_ever);
      Waiting waiter(other_, address_);
      (void)wait_for_keys(2);
      const std::uint64_t before = round == 0 ? 0 : session_of(other_)->transactions();
      holder->release();
      ASSERT_EQ(waiter.held.wait_for(stuck), std::future_status::ready);
      if (round != 0) {
        // One look at least; who comes to wait may look once more, and `holder()` looks.
        EXPECT_LE(session_of(other_)->transactions() - before, 4U);
      }
      waiter.end();
    }
  });
}

TEST_F(Traps, a_watch_begins_after_the_present_and_is_told_what_it_missed) {
  one_.run([&] {
    const auto session = session_of(one_);
    const auto event = std::make_shared<etcd::Event>(one_.system());
    const auto lease = session->ask_for_lease(event);
    ASSERT_TRUE(etcd::wait_for(*lease, *event, one_.system(), stuck));
    const auto put = [&](const std::string& key) {
      etcd::Transaction putting;
      putting.then.push_back({.kind = etcd::Operation::Kind::put, .range = {.from = key}, .value = "x"});
      const auto pending = session->begin(putting, session->lease(), event, stuck);
      EXPECT_TRUE(etcd::wait_for(*pending, *event, one_.system(), stuck));
      return pending->answer.revision;
    };
    const std::string key = address_ + "/watched";
    const std::int64_t first = put(key);
    const auto began = [&](const etcd::Watching& watching) {
      const auto give_up = std::chrono::steady_clock::now() + stuck;
      while (watching.began == 0 && std::chrono::steady_clock::now() < give_up) {
        event->wait_until(std::chrono::steady_clock::now() + quiescent);
      }
      return watching.began.load();
    };
    // Of the last revision: there is nothing to look at.
    auto now = session->watch(key, "", false, first, session->lease(), event);
    const std::int64_t at = began(*now);
    EXPECT_EQ(now->look, at > first);
    // Somebody has written since: once, and it goes on from the present.
    const std::int64_t second = put(address_ + "/another");
    auto late = session->watch(key, "", false, first, session->lease(), event);
    EXPECT_GE(began(*late), second);
    EXPECT_TRUE(late->look);
    EXPECT_FALSE(late->fired);
    session->end_watch(now);
    session->end_watch(late);
  });
}

TEST_F(Traps, a_waiter_whose_lease_ends_in_the_queue_is_not_granted) {
  one_.run([&] {
    const auto holder = lock();
    holder->acquire(for_ever);
    Waiting waiter(other_, address_);
    const auto before = wait_for_keys(2);
    revoke_lease_of(other_);
    // It lines up anew.
    std::vector<std::string> after = wait_for_keys(2);
    while (after[1] == before[1]) after = wait_for_keys(2);
    EXPECT_FALSE(waiter.holds());
    holder->release();
    ASSERT_EQ(waiter.held.wait_for(stuck), std::future_status::ready);
    EXPECT_EQ(keys_of(address_), std::vector<std::string>{after[1]}) << "it holds by a key that stands";
  });
}

TEST_F(Traps, a_waiter_whose_key_is_deleted_lines_up_anew) {
  one_.run([&] {
    const auto holder = lock();
    holder->acquire(for_ever);
    Waiting waiter(other_, address_);
    const auto before = wait_for_keys(2);
    (void)ctl("del '" + before[1] + "'");
    std::vector<std::string> after = wait_for_keys(2);
    while (after[1] == before[1]) after = wait_for_keys(2);
    EXPECT_FALSE(waiter.holds());
    holder->release();
    ASSERT_EQ(waiter.held.wait_for(stuck), std::future_status::ready);
    EXPECT_EQ(keys_of(address_), std::vector<std::string>{after[1]});
  });
}

TEST_F(Traps, a_waiter_in_mid_queue_that_leaves_lets_nobody_in) {
  one_.run([&] {
    const auto holder = lock();
    holder->acquire(for_ever);
    std::stop_source stop;
    std::promise<std::error_code> left;
    std::thread middle = other_.begin([&] {
      const auto mine = lock();
      std::error_code code;
      mine->acquire(Wait(for_ever, stop.get_token()), code);
      left.set_value(code);
    });
    (void)wait_for_keys(2);
    Waiting last(other_, address_);
    (void)wait_for_keys(3);
    stop.request_stop();
    EXPECT_EQ(left.get_future().get(), errc::stopped);
    middle.join();
    (void)wait_for_keys(2);
    EXPECT_FALSE(last.holds());
    holder->release();
    ASSERT_EQ(last.held.wait_for(stuck), std::future_status::ready);
  });
}

TEST_F(Traps, a_holder_whose_lease_is_taken_away_is_told) {
  one_.run([&] {
    const auto holder = lock();
    holder->acquire(for_ever);
    const LeaseKeeper keeper(*holder);
    std::promise<void> told;
    const std::stop_callback callback(keeper.lost(), [&] { told.set_value(); });
    revoke_lease_of(one_);
    ASSERT_EQ(told.get_future().wait_for(stuck), std::future_status::ready);
    EXPECT_FALSE(holder->i_am_locking());
    EXPECT_EQ(code_of_release(*holder), errc::not_locked);
  });
}

TEST_F(Traps, a_holder_that_is_broken_is_told_and_spares_the_next_one) {
  one_.run([&] {
    const auto holder = lock();
    holder->acquire(for_ever);
    const LeaseKeeper keeper(*holder);
    std::promise<void> told;
    const std::stop_callback callback(keeper.lost(), [&] { told.set_value(); });
    std::unique_ptr<Lock> next;
    other_.run([&] { EXPECT_TRUE(lock()->break_lock()); });
    Waiting waiter(other_, address_);
    ASSERT_EQ(waiter.held.wait_for(stuck), std::future_status::ready);
    ASSERT_EQ(told.get_future().wait_for(stuck), std::future_status::ready);
    EXPECT_EQ(code_of_release(*holder), errc::not_my_lock);
    EXPECT_EQ(keys_of(address_).size(), 1U);
  });
}

// The holder's clock says that its lease is over while the server keeps it still.
TEST_F(Traps, a_lease_ends_by_our_clock_before_it_ends_by_the_servers) {
  // The session looks at the clock until its process goes, which is later than this test.
  const auto ahead = std::make_shared<std::atomic<std::int64_t>>(0);
  one_.system().boot_clock = [ahead] { return os::real_system().since_boot() + std::chrono::nanoseconds(*ahead); };
  one_.run([&] {
    const auto holder = lock({.lease = 20s});
    holder->acquire(for_ever);
    EXPECT_LT(holder->lease_left().value(), 20s);
    const LeaseKeeper keeper(*holder);
    std::promise<void> told;
    const std::stop_callback callback(keeper.lost(), [&] { told.set_value(); });
    *ahead = std::chrono::nanoseconds(20s).count();
    ASSERT_EQ(told.get_future().wait_for(stuck), std::future_status::ready);
    EXPECT_FALSE(holder->i_am_locking());
    EXPECT_EQ(keys_of(address_).size(), 1U) << "nobody else can have been granted it yet";
    other_.run([&] { EXPECT_FALSE(lock()->try_lock()); });
    EXPECT_EQ(code_of_release(*holder), errc::not_locked);
    EXPECT_EQ(keys_of(address_).size(), 0U) << "its holder has left, so nobody need wait for the lease";
    holder->acquire(0s);
    EXPECT_TRUE(holder->i_am_locking());
  });
}

TEST_F(Traps, a_compaction_during_a_wait_changes_nothing) {
  one_.run([&] {
    const auto holder = lock();
    holder->acquire(for_ever);
    Waiting waiter(other_, address_);
    (void)wait_for_keys(2);
    (void)ctl("put unrelated 1");
    const std::string status = ctl("get unrelated -w fields");
    const std::size_t at = status.find("\"Revision\" : ");
    (void)ctl("compact " + status.substr(at + 13, status.find('\n', at) - at - 13));
    EXPECT_FALSE(waiter.holds());
    holder->release();
    ASSERT_EQ(waiter.held.wait_for(stuck), std::future_status::ready);
  });
}

TEST_F(Traps, a_name_does_not_reach_into_those_that_go_on_behind_it) {
  one_.run([&] {
    const auto holder = lock();
    holder->acquire(for_ever);
    for (const std::string behind : {"/x", "/lock/x", "/s", "%2Fx"}) {
      const auto another = open(address_ + behind);
      EXPECT_TRUE(another->try_lock()) << behind;
      another->unlock();
    }
    Semaphore beside = open_semaphore(address_, 1);
    EXPECT_TRUE(beside.acquire(1, 0s));
    EXPECT_TRUE(holder->i_am_locking());
  });
}

TEST_F(Traps, an_examination_tells_of_members_quota_and_leases) {
  one_.run([&] {
    std::error_code code;
    const Examination seen = examine_place(address_, code);
    EXPECT_EQ(code, std::error_code());
    EXPECT_TRUE(seen.file_system.starts_with("etcd 3.")) << seen.file_system;
    for (const std::string what : {"member ", "quota", "lease"}) {
      EXPECT_TRUE(std::any_of(seen.findings.begin(), seen.findings.end(), [&](const Finding& each) {
        return each.what.starts_with(what) && each.result == Finding::Result::works;
      })) << what;
    }
  });
}

// A real member says so by a status of its own (unknown, no deadline that gRPC knows of) when its own time for a
// question has run out: whether it was done is not known.
TEST_F(Traps, a_member_whose_own_time_runs_out_is_left_for_the_next) {
  for (const char* const words : {"context deadline exceeded", "context canceled"}) {
    const Member late([&](const std::string& /*method*/) {
      return Member::Answer{{grpc::StatusCode::UNKNOWN, words}, {}};
    });
    const std::string scheme = "etcd://";
    const std::string by_both = scheme + late.host() + "," + address_.substr(scheme.size());
    one_.run([&] {
      const auto holder = open(by_both);
      holder->acquire(for_ever);
      EXPECT_GT(late.asked(), 0);
      EXPECT_TRUE(lock()->is_locked());
      holder->release();
    });
  }
}

TEST_F(Traps, what_a_member_refuses_is_told_by_its_kind) {
  using Code = grpc::StatusCode;
  for (const auto& [status, code] : {std::pair{Code::PERMISSION_DENIED, std::errc::permission_denied},
                                     std::pair{Code::UNAUTHENTICATED, std::errc::permission_denied},
                                     std::pair{Code::RESOURCE_EXHAUSTED, std::errc::no_space_on_device},
                                     std::pair{Code::UNIMPLEMENTED, std::errc::operation_not_supported},
                                     std::pair{Code::CANCELLED, std::errc::operation_canceled},
                                     std::pair{Code::INTERNAL, std::errc::protocol_error}}) {
    for (const std::string refused : {"LeaseGrant", "Txn"}) {
      const Member member(granting([&, its = status](const std::string& method) {
        return method == refused ? std::optional(refuses(its)) : std::nullopt;
      }));
      Client client;
      client.run([&, expected = code] {
        std::error_code why;
        EXPECT_FALSE(open("etcd://" + member.host() + "/a")->acquire(0s, why));
        EXPECT_EQ(why, expected) << refused;
        if (refused == "LeaseGrant") return;
        const auto lock = open("etcd://" + member.host() + "/a");
        (void)lock->holder(why);
        EXPECT_EQ(why, expected);
        (void)lock->break_lock(BreakWhat::ours, why);
        EXPECT_EQ(why, expected);
      });
    }
  }
}

TEST_F(Traps, an_answer_that_is_incomplete_grants_nothing) {
  for (const std::string& bytes : {in_revision(5) + field(2, 1), field(2, 1)}) {
    const Member member(granting(
        [&](const std::string& method) { return method == "Txn" ? std::optional(says(bytes)) : std::nullopt; }));
    Client client;
    client.run([&] {
      for (const auto limit : {stuck, 0s}) {
        // A try asks for less: whether it was put, and in which revision.
        if (limit == 0s && bytes.starts_with(in_revision(5))) continue;
        std::error_code why;
        EXPECT_FALSE(open("etcd://" + member.host() + "/a")->acquire(limit, why)) << limit.count();
        EXPECT_EQ(why, std::errc::protocol_error) << limit.count();
      }
    });
  }
}

// What was given up before it was answered may have been done, so its key is removed when it has been answered.
TEST_F(Traps, a_place_that_was_given_up_unanswered_is_removed_when_the_answer_comes) {
  std::promise<void> given_up;
  const std::shared_future<void> until(given_up.get_future());
  std::promise<void> removed;
  std::atomic<bool> silent = false;
  std::atomic<int> after = 0;
  const Member member(granting([&](const std::string& method) -> std::optional<Member::Answer> {
    if (method != "Txn" || !silent) return std::nullopt;
    if (until.wait_for(0s) == std::future_status::ready && ++after == 1) removed.set_value();
    until.wait();
    return std::nullopt;
  }));
  Client client;
  client.run([&] {
    const std::string place = "etcd://" + member.host();
    std::error_code why;
    const auto other = open(place + "/b");
    ASSERT_TRUE(other->acquire(0s, why));  // so that there is a lease
    silent = true;
    EXPECT_FALSE(open(place + "/a")->acquire(10ms, why));
    EXPECT_EQ(why, errc::timed_out);
    silent = false;
    other->release(why);
    silent = true;
  });
  given_up.set_value();
  EXPECT_EQ(removed.get_future().wait_for(stuck), std::future_status::ready);
}

// A server may work on a request for some seconds after we have given it up: the key is removed once more after that.
TEST_F(Traps, a_place_whose_fate_is_unknown_is_removed_again_later) {
  std::atomic<int> transactions = 0;
  std::promise<void> removed;
  std::promise<void> again;
  const Member member(granting([&](const std::string& method) -> std::optional<Member::Answer> {
    if (method != "Txn") return std::nullopt;
    const int this_one = ++transactions;
    if (this_one == 1) return refuses(grpc::StatusCode::INTERNAL);
    if (this_one == 2) removed.set_value();
    if (this_one == 4) again.set_value();  // after that of another lock, which wakes the client
    return std::nullopt;
  }));
  Client client;
  client.run([&] {
    const std::string place = "etcd://" + member.host();
    std::error_code why;
    EXPECT_FALSE(open(place + "/a")->acquire(0s, why));
    EXPECT_EQ(why, std::errc::protocol_error);
    ASSERT_EQ(removed.get_future().wait_for(stuck), std::future_status::ready);
    client.system().ahead = 16s;
    const auto other = open(place + "/b");
    EXPECT_TRUE(other->acquire(0s, why));
    EXPECT_EQ(again.get_future().wait_for(stuck), std::future_status::ready);
  });
}

TEST_F(Traps, a_token_that_has_become_too_old_is_asked_for_anew) {
  ::setenv("ETCDCTL_USER", "app", 1);       // NOLINT(concurrency-mt-unsafe): no thread reads it now
  ::setenv("ETCDCTL_PASSWORD", "word", 1);  // NOLINT(concurrency-mt-unsafe)
  for (const std::string refused : {"LeaseGrant", "Txn", "Authenticate"}) {
    std::atomic<int> asked = 0;
    std::atomic<int> tokens = 0;
    const Member member(granting([&](const std::string& method) -> std::optional<Member::Answer> {
      if (method == "Authenticate") ++tokens;
      if (method == refused && ++asked == 1) return refuses(grpc::StatusCode::UNAUTHENTICATED);
      return std::nullopt;
    }));
    Client client;
    client.run([&] {
      std::error_code why;
      const bool held = open("etcd://" + member.host() + "/a")->acquire(0s, why);
      EXPECT_EQ(held, refused != "Authenticate") << refused << ": " << why.message();
      if (!held) {
        EXPECT_EQ(why, std::errc::permission_denied);
      }
      EXPECT_EQ(tokens, held ? 2 : 1) << refused;
    });
  }
  ::unsetenv("ETCDCTL_USER");      // NOLINT(concurrency-mt-unsafe)
  ::unsetenv("ETCDCTL_PASSWORD");  // NOLINT(concurrency-mt-unsafe)
}

TEST_F(Traps, a_lease_that_a_member_knows_no_more_is_lost) {
  const Member member(granting([](const std::string& method) {
    return method == "LeaseKeepAlive" ? std::optional(says(lease_of(0))) : std::nullopt;
  }));
  Client client;
  client.run([&] {
    const auto lock = open("etcd://" + member.host() + "/a", {.lease = 60s});
    lock->acquire(0s);
    std::error_code why;
    lock->renew(why);
    EXPECT_EQ(why, errc::not_locked);
  });
}

TEST_F(Traps, a_lease_that_is_gone_is_replaced_for_the_next_hold) {
  one_.run([&] {
    const auto holder = lock();
    holder->acquire(0s);
    holder->release();
    revoke_lease_of(one_);
    holder->acquire(0s);
    EXPECT_TRUE(holder->i_am_locking());
    holder->release();
  });
}

TEST_F(Traps, a_watch_that_a_member_ends_is_begun_anew) {
  for (const std::string why : {"compacted", "refused"}) {
    std::atomic<int> watches = 0;
    std::atomic<int> last = 0;
    const Member member(granting([&](const std::string& method) -> std::optional<Member::Answer> {
      if (method != "Watch") return std::nullopt;
      ++watches;
      return says(field(2, static_cast<std::uint64_t>(++last)) + field(4, 1) +
                  (why == "compacted" ? field(5, 3) : std::string()));
    }));
    Client client;
    client.run([&] {
      std::error_code ignored;
      std::string what;
      const auto session = client.process().part<etcd::Sessions>().get({{member.host()}, 60s}, ignored, what);
      const auto event = std::make_shared<etcd::Event>(client.system());
      const auto lease = session->ask_for_lease(event);
      ASSERT_TRUE(etcd::wait_for(*lease, *event, client.system(), stuck));
      auto watching = session->watch("a", "", false, 1, session->lease(), event);
      const auto give_up = std::chrono::steady_clock::now() + stuck;
      while (watches < 3 && std::chrono::steady_clock::now() < give_up) {
        event->wait_until(std::chrono::steady_clock::now() + quiescent);
      }
      EXPECT_GE(watches, 3) << why;
      session->end_watch(watching);
    });
  }
}

TEST_F(Traps, a_client_that_has_no_descriptors_left_for_events_looks_now_and_then) {
  other_.system().before = [](os::Call call) { return call == os::Call::event_open ? EMFILE : 0; };
  one_.run([&] {
    const auto holder = lock();
    holder->acquire(for_ever);
    Waiting waiter(other_, address_);
    (void)wait_for_keys(2);
    other_.run([&] { EXPECT_EQ(code_of_acquire(*lock(), 1ms), errc::timed_out); });
    holder->release();
    ASSERT_EQ(waiter.held.wait_for(stuck), std::future_status::ready);
  });
}

// Both on one host, so that the waiter asks whether the holder's process has ended.
TEST_F(Traps, a_waiter_that_cannot_ask_for_a_process_is_told_by_the_watch) {
  const std::string host = os::real_system().host_name();
  std::atomic<int> refused = 0;
  Client here(host);
  here.system().before = [&](os::Call call) {
    if (call != os::Call::readable) return 0;
    ++refused;
    return EIO;
  };
  Peer holder(ETCD_PEER, peer_arguments(address_, 60s, host));
  ASSERT_TRUE(holder.ask("acquire").starts_with("held "));
  Waiting waiter(here, address_);
  (void)wait_for_keys(2);
  EXPECT_FALSE(waiter.holds());
  ASSERT_EQ(holder.ask("release"), "released");
  ASSERT_EQ(waiter.held.wait_for(stuck), std::future_status::ready);
  EXPECT_GT(refused, 0);
}

TEST_F(Traps, a_file_of_the_environment_that_cannot_be_read_is_named) {
  ::setenv("ETCDCTL_CACERT", "/nowhere/ca.pem", 1);  // NOLINT(concurrency-mt-unsafe): no thread reads it now
  other_.run([&] {
    try {
      lock()->acquire(0s);
      ADD_FAILURE() << "acquired";
    } catch (const LockFailed& error) {
      EXPECT_EQ(error.code(), std::errc::no_such_file_or_directory);
      EXPECT_NE(std::string(error.what()).find("'/nowhere/ca.pem'"), std::string::npos) << error.what();
    }
    std::error_code why;
    (void)lock()->holder(why);
    EXPECT_EQ(why, std::errc::no_such_file_or_directory);
    (void)examine_place(address_, why);
    EXPECT_EQ(why, std::errc::no_such_file_or_directory);
  });
  ::unsetenv("ETCDCTL_CACERT");  // NOLINT(concurrency-mt-unsafe)
}

// What a member says of itself: its version, its errors, a leader, whether it only learns; and alarms.
TEST_F(Traps, an_examination_tells_what_is_wrong_with_a_member) {
  const std::string version = field(2, "3.5.0");
  struct Case {
    std::string status;
    Member::Answer alarm;
    Member::Answer lease;
    std::string told;
  };
  const std::vector<Case> cases = {
      {version, says(""), says(lease_of(2)), "it knows no leader"},
      {version + field(4, 1) + field(10, 1), says(""), says(lease_of(2)), "a learner, which serves no locks"},
      {version + field(4, 1) + field(8, "tired"), says(""), says(lease_of(2)), "; tired"},
      {version + field(4, 1), says(field(2, field(2, 1))), says(lease_of(2)), "its space is used up"},
      {version + field(4, 1), says(field(2, field(2, 2))), says(lease_of(2)), "a member is damaged"},
      {version + field(4, 1), refuses(grpc::StatusCode::UNIMPLEMENTED), says(lease_of(2)), "no"},
      {version + field(4, 1), says(""), says(lease_of(40)), "an election may outlast it"},
      {version + field(4, 1), says(""), refuses(grpc::StatusCode::INTERNAL), "no"},
  };
  for (const Case& each : cases) {
    const Member member(granting([&](const std::string& method) -> std::optional<Member::Answer> {
      if (method == "Status") return says(each.status);
      if (method == "Alarm") return each.alarm;
      if (method == "LeaseGrant") return each.lease;
      return std::nullopt;
    }));
    Client client;
    client.run([&] {
      std::error_code why;
      const Examination seen = examine_place("etcd://" + member.host() + "/a", why);
      EXPECT_TRUE(std::any_of(seen.findings.begin(), seen.findings.end(), [&](const Finding& finding) {
        return finding.detail.find(each.told) != std::string::npos && finding.result != Finding::Result::works;
      })) << each.told;
    });
  }
}

TEST_F(Traps, an_examination_tells_whether_old_revisions_are_kept) {
  const std::string long_history = in_revision(200'000) + field(2, "3.5.0") + field(4, 1);
  for (const bool compacted : {true, false}) {
    const Member member(granting([&](const std::string& method) -> std::optional<Member::Answer> {
      if (method == "Status") return says(long_history);
      if (method == "Alarm") return says("");
      if (method == "Range") return compacted ? refuses(grpc::StatusCode::OUT_OF_RANGE) : says("");
      return std::nullopt;
    }));
    Client client;
    client.run([&] {
      std::error_code why;
      const Examination seen = examine_place("etcd://" + member.host() + "/a", why);
      const auto found = std::find_if(seen.findings.begin(), seen.findings.end(),
                                      [](const Finding& each) { return each.what == "compaction"; });
      ASSERT_NE(found, seen.findings.end());
      EXPECT_EQ(found->result, compacted ? Finding::Result::works : Finding::Result::note) << found->detail;
    });
  }
}

TEST_F(Traps, addresses_that_cannot_be_are_refused) {
  one_.run([] {
    for (const std::string bad : {"etcd://h//a", "etcd://h/p//a", "etcd://h,/a", "etcd://u@h/a", "etcd://h:/a"}) {
      EXPECT_THROW((void)open(bad), LockFailed) << bad;
    }
  });
}

// In a forked child gRPC's threads are not there, and nothing refers to their memory any more: no leak of ours.
bool is_forked_child = false;
}  // namespace
}  // namespace lockfile::testing

extern "C" int __lsan_is_turned_off();  // asked by a sanitizer, where there is one, when the program ends
extern "C" int __lsan_is_turned_off() { return lockfile::testing::is_forked_child ? 1 : 0; }

namespace lockfile::testing {
namespace {

TEST_F(Traps, a_forked_child_holds_nothing_and_is_told_why_it_cannot) {
  const auto mine = lock();
  mine->acquire(for_ever);
  const auto parsed = std::get<Address>(parse_address(address_));
  etcd::Scheme scheme(etcd::place_of({parsed.place, parsed.name}, {}), "", false);
  std::error_code code;
  EXPECT_EQ(scheme.holders(code).size(), 1U);
  auto used = std::make_unique<Client>();
  used->run([&] { EXPECT_FALSE(lock()->try_lock()); });
  const pid_t child = ::fork();
  if (child == 0) {
    used.reset();
    if (!scheme.holders(code).empty() || code != std::errc::operation_not_supported) ::_exit(5);
    if (mine->i_am_locking() || mine->fence() != 0) ::_exit(1);
    if (mine->acquire(0s, code) || code != std::errc::operation_not_supported) ::_exit(2);
    try {
      open(address_)->acquire(0s);
      ::_exit(3);
    } catch (const LockFailed& error) {
      if (std::string_view(error.what()).find("exec") == std::string_view::npos) ::_exit(4);
    }
    is_forked_child = true;
    std::exit(0);  // with everything that runs at an end
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(mine->i_am_locking());
  mine->release();
  EXPECT_EQ(keys_of(address_).size(), 0U);
}

TEST_F(Traps, a_program_that_ends_with_a_hold_leaves_nothing) {
  Peer peer(ETCD_PEER, peer_arguments(address_, 60s));
  ASSERT_TRUE(peer.ask("acquire").starts_with("held "));
  peer.tell("exit");
  (void)peer.wait();
  EXPECT_EQ(keys_of(address_).size(), 0U);
}

TEST_F(Traps, a_program_that_goes_on_while_it_ends_is_told_so) {
  {
    Peer peer(ETCD_PEER, peer_arguments(address_, 60s));
    ASSERT_TRUE(peer.ask("acquire").starts_with("held "));
    peer.tell("exit holds");
    EXPECT_EQ(peer.answer(), "last no");
  }
  {
    Peer peer(ETCD_PEER, peer_arguments(address_, 60s));
    ASSERT_TRUE(peer.ask("acquire").starts_with("held "));
    peer.tell("exit release");
    EXPECT_TRUE(peer.answer().value_or("").starts_with("last error lockfile:"));
  }
  Peer peer(ETCD_PEER, peer_arguments(address_, 60s));
  ASSERT_TRUE(peer.ask("acquire").starts_with("held "));
  ASSERT_EQ(peer.ask("release"), "released");
  peer.tell("exit acquire");
  EXPECT_NE(peer.answer().value_or("").find("the program is ending"), std::string::npos);
  EXPECT_EQ(keys_of(address_).size(), 0U);
}

TEST_F(Traps, a_program_that_ends_with_a_waiter_tells_it_and_leaves_no_place) {
  const auto holder = lock();
  holder->acquire();
  Peer peer(ETCD_PEER, peer_arguments(address_, 60s));
  ASSERT_EQ(peer.ask("wait"), "waiting");
  (void)wait_for_keys(2);
  peer.tell("exit");
  EXPECT_TRUE(peer.answer().value_or("").starts_with("then error "));
  (void)peer.wait();
  EXPECT_TRUE(holder->waiters().empty());
  holder->release();
  EXPECT_EQ(keys_of(address_).size(), 0U);
}

TEST_F(Traps, of_many_waiters_a_release_wakes_one) {
  constexpr std::size_t waiters = 60;
  one_.run([&] {
    const auto holder = lock();
    holder->acquire(for_ever);
    std::vector<std::thread> all;
    std::atomic<std::size_t> inside = 0;
    std::atomic<std::size_t> together = 0;
    for (std::size_t i = 0; i < waiters; ++i) {
      all.push_back(other_.begin([&] {
        const auto mine = lock();
        mine->acquire(for_ever);
        if (++inside != 1) ++together;
        --inside;
        mine->release();
      }));
    }
    (void)wait_for_keys(waiters + 1);
    holder->release();
    for (std::thread& each : all) each.join();
    EXPECT_EQ(together, 0U);
    // Each: its key, who is before it, a look because others came meanwhile, the look that grants it, its release; and
    // what was sent twice on a busy machine. Were all woken by each release there would be a look for every pair of
    // them.
    EXPECT_LE(session_of(other_)->transactions(), 6 * waiters);
  });
}

TEST_F(Traps, units_are_given_in_order_and_a_release_wakes_one) {
  constexpr std::size_t waiters = 20;
  one_.run([&] {
    Semaphore mine = open_semaphore(address_, 3);
    auto two = mine.acquire(2);
    auto one = mine.acquire(1);
    EXPECT_EQ(mine.holders().size(), 3U);
    std::vector<std::thread> all;
    std::atomic<std::size_t> units = 0;
    std::atomic<std::size_t> too_many = 0;
    for (std::size_t i = 0; i < waiters; ++i) {
      all.push_back(other_.begin([&, i] {
        const std::size_t wanted = 1 + i % 3;
        Semaphore theirs = open_semaphore(address_, 3);
        auto held = theirs.acquire(wanted);
        if (units.fetch_add(wanted) + wanted > 3) ++too_many;
        units -= wanted;
        held.release();
      }));
    }
    (void)wait_for_keys(waiters + 2);
    one.release();
    two.release();
    for (std::thread& each : all) each.join();
    EXPECT_EQ(too_many, 0U);
    EXPECT_EQ(keys_of(address_).size(), 0U);
    // And a change of the key where it has waited.
    EXPECT_LE(session_of(other_)->transactions(), 9 * waiters);
  });
}

// Names are asked for some at a time, and other keys may be among them.
TEST_F(Traps, a_list_has_every_name_however_many_there_are) {
  constexpr std::size_t names = 1100;
  constexpr std::size_t at_once = 100;  // operations of one transaction: 128 at most
  one_.run([&] {
    const auto session = session_of(one_);
    const auto event = std::make_shared<etcd::Event>(one_.system());
    const auto lease = session->ask_for_lease(event);
    ASSERT_TRUE(etcd::wait_for(*lease, *event, one_.system(), stuck));
    const auto parsed = std::get<Address>(parse_address(address_));
    const std::string root = etcd::place_of({parsed.place, parsed.name}, {}).root;
    const auto number = [](std::size_t i) { return std::to_string(10'000 + i); };
    for (std::size_t begin = 0; begin < names; begin += at_once) {
      etcd::Transaction putting;
      const auto put = [&](std::string key) {
        putting.then.push_back(
            {.kind = etcd::Operation::Kind::put, .range = {.from = std::move(key)}, .value = "another program's"});
      };
      for (std::size_t i = begin; i < begin + at_once; ++i) put(root + number(i) + "//lock/x/nonce-1");
      put(root + number(begin) + "//lock/s/nonce-2");
      for (const std::string other : {"", "/", "//", "//units/1/nonce-1", "/deeper//lock/x/nonce-1"}) {
        put(root + number(begin) + "a" + other);
      }
      const auto pending = session->begin(putting, session->lease(), event, stuck);
      ASSERT_TRUE(etcd::wait_for(*pending, *event, one_.system(), stuck));
      ASSERT_FALSE(pending->answer.why) << pending->answer.what;
    }
    std::error_code why;
    std::vector<NamedLock> all = list_place(to_string(Address{parsed.scheme, parsed.place, {}}), why);
    ASSERT_FALSE(why) << why.message();
    std::erase_if(all, [&](const NamedLock& each) { return !each.address.starts_with(address_); });
    ASSERT_EQ(all.size(), names);
    for (std::size_t i = 0; i < names; ++i) EXPECT_EQ(all[i].address, address_ + number(i));
    EXPECT_EQ(all.front().waiters.size(), 1U);
  });
}

// A signal that the program has blocked, to read it from a signalfd(2), say, goes to any thread that has not: what that
// thread does with it is what an ordinary program does, and the program waits for ever.
TEST_F(Traps, no_thread_takes_signals_of_the_program) {
  const auto lock = this->lock();
  for (int i = 0; i < 10; ++i) {
    lock->acquire(stuck);
    lock->release();
  }
  const auto parsed = std::get<Address>(parse_address(address_));
  std::error_code why;
  (void)examine_place(to_string(Address{parsed.scheme, parsed.place, {}}), why);
  std::size_t threads = 0;
  for (const auto& each : std::filesystem::directory_iterator("/proc/self/task")) {
    if (each.path().filename() == std::to_string(::gettid())) continue;
    const std::string status = read_file(each.path() / "status");
    if (status.empty()) continue;  // it has ended since
    const std::size_t at = status.find("SigBlk:");
    ASSERT_NE(at, std::string::npos);
    const std::uint64_t blocked = std::stoull(status.substr(at + 7), nullptr, 16);
    for (const int signal : {SIGCHLD, SIGTERM, SIGINT, SIGUSR1, SIGTSTP, SIGALRM}) {
      EXPECT_NE(blocked & std::uint64_t{1} << (signal - 1), 0U) << signal << " in: " << status.substr(0, 40);
    }
    ++threads;
  }
  EXPECT_GT(threads, 2U);
}

}  // namespace
}  // namespace lockfile::testing
