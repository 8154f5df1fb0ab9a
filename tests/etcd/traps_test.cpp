// What goes wrong with the usual recipes for locks in etcd, tried on this one.
#include "etcd/cluster.hpp"
#include "schemes/catalogue.hpp"
#include "schemes/etcd/scheme.hpp"

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <future>
#include <iomanip>
#include <memory>
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

// A member that answers each question as a real one does whose own time for it has run out, by a status of its own
// (unknown, no deadline that gRPC knows of), where the answer of the others is late: whether it was done is not known.
class LateMember {
 public:
  LateMember() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterCallbackGenericService(&service_);
    server_ = builder.BuildAndStart();
  }
  [[nodiscard]] int port() const noexcept { return port_; }
  [[nodiscard]] int asked() const noexcept { return service_.asked; }

 private:
  class Service final : public grpc::CallbackGenericService {
   public:
    std::atomic<int> asked = 0;

   private:
    class Answer final : public grpc::ServerGenericBidiReactor {
     public:
      Answer() { Finish({grpc::StatusCode::UNKNOWN, "context deadline exceeded"}); }
      void OnDone() override { delete this; }
    };
    grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* /*context*/) override {
      ++asked;
      return new Answer;
    }
  };

  int port_ = 0;
  Service service_;
  std::unique_ptr<grpc::Server> server_;
};

TEST_F(Traps, a_member_whose_own_time_runs_out_is_left_for_the_next) {
  const LateMember late;
  const std::string scheme = "etcd://";
  const std::string by_both =
      scheme + "127.0.0.1:" + std::to_string(late.port()) + "," + address_.substr(scheme.size());
  one_.run([&] {
    const auto holder = open(by_both);
    holder->acquire(for_ever);
    EXPECT_GT(late.asked(), 0);
    EXPECT_TRUE(lock()->is_locked());
    holder->release();
  });
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
  const pid_t child = ::fork();
  if (child == 0) {
    std::error_code code;
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
