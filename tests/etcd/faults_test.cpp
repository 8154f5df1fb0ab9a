// Servers and clients that are killed, stopped, restarted and cut off. Each test has servers of its own.
#include "etcd/cluster.hpp"
#include "schemes/etcd/keys.hpp"

#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <future>
#include <random>
#include <sstream>

namespace lockfile::testing {
namespace {

constexpr std::chrono::milliseconds lease = 2s;  // the shortest

class Faults : public ::testing::Test {
 protected:
  void SetUp() override { NEEDS(why_no_servers()); }
};

// "held FENCE TIME" or "lost TIME".
struct Said {
  explicit Said(const std::optional<std::string>& line) : text(line.value_or("ended")) {
    std::istringstream in(text);
    std::string verb;
    in >> verb;
    if (verb == "held") in >> fence;
    in >> at;
  }
  std::string text;
  std::uint64_t fence = 0;
  std::int64_t at = 0;
};

// What takes writes, and refuses those of an older hold.
class Receiver {
 public:
  bool write(std::uint64_t fence) {
    const std::lock_guard guard(mutex_);
    if (fence < newest_) return false;
    newest_ = fence;
    return true;
  }

 private:
  std::mutex mutex_;
  std::uint64_t newest_ = 0;
};

void wait_for_waiters(const Lock& lock, std::size_t count) {
  const auto give_up = std::chrono::steady_clock::now() + stuck;
  while (lock.waiters().size() != count && std::chrono::steady_clock::now() < give_up) {
  }
  EXPECT_EQ(lock.waiters().size(), count);
}

// Waits for an answer however long a lease may be made.
Said patient_answer(Peer& peer) {
  for (int i = 0; i < 3; ++i) {
    try {
      return Said(peer.answer());
    } catch (const std::runtime_error&) {
      continue;  // stuck, as other tests would have it
    }
  }
  return Said(std::string("stuck"));
}

TEST_F(Faults, a_killed_holder_of_another_host_is_replaced_when_its_lease_is_over) {
  Cluster cluster(1);
  Peer holder(ETCD_PEER, peer_arguments(cluster.address("a"), lease));
  const Said first(holder.ask("acquire"));
  Peer waiter(ETCD_PEER, peer_arguments(cluster.address("a"), lease, "another"));
  waiter.tell("acquire");
  Client looker;
  looker.run([&] { wait_for_waiters(*open(cluster.address("a")), 1); });
  holder.kill();
  const Said second = patient_answer(waiter);
  EXPECT_GT(second.fence, first.fence) << second.text;
}

TEST_F(Faults, a_killed_holder_of_this_host_is_replaced_at_once) {
  Cluster cluster(1);
  const std::string here = os::real_system().host_name();
  Peer holder(ETCD_PEER, peer_arguments(cluster.address("a"), 60s, here));
  const Said first(holder.ask("acquire"));
  Peer waiter(ETCD_PEER, peer_arguments(cluster.address("a"), 60s, here));
  waiter.tell("acquire");
  Client looker;
  looker.run([&] { wait_for_waiters(*open(cluster.address("a")), 1); });
  holder.kill();
  EXPECT_GT(Said(waiter.answer()).fence, first.fence);
}

TEST_F(Faults, a_stopped_holder_is_refused_by_the_fence_and_told_when_it_goes_on) {
  Cluster cluster(1);
  Receiver receiver;
  Peer holder(ETCD_PEER, peer_arguments(cluster.address("a"), lease));
  const Said first(holder.ask("acquire"));
  ASSERT_EQ(holder.ask("watch"), "watching");
  EXPECT_TRUE(receiver.write(first.fence));
  holder.signal(SIGSTOP);
  Peer waiter(ETCD_PEER, peer_arguments(cluster.address("a"), lease, "another"));
  waiter.tell("acquire");
  const Said second = patient_answer(waiter);
  ASSERT_GT(second.fence, first.fence) << second.text;
  EXPECT_TRUE(receiver.write(second.fence));
  EXPECT_FALSE(receiver.write(first.fence)) << "what it does now does no harm";
  holder.signal(SIGCONT);
  EXPECT_TRUE(Said(holder.answer()).text.starts_with("lost "));
  EXPECT_EQ(holder.ask("holds"), "no");
  EXPECT_TRUE(holder.ask("release").starts_with("error lockfile:"));
  EXPECT_EQ(waiter.ask("holds"), "yes");
}

TEST_F(Faults, a_stopped_server_grants_nothing_and_its_holders_are_told) {
  Cluster cluster(1);
  Peer holder(ETCD_PEER, peer_arguments(cluster.address("a"), lease));
  ASSERT_GT(Said(holder.ask("acquire")).fence, 0U);
  ASSERT_EQ(holder.ask("watch"), "watching");
  cluster.signal(0, SIGSTOP);
  Client other;
  other.run([&] {
    const auto lock = open(cluster.address("a"));
    std::error_code code;
    EXPECT_FALSE(lock->acquire(200ms, code));
    EXPECT_EQ(code, errc::timed_out) << "the caller's limit counts, not the server's";
    EXPECT_FALSE(lock->acquire(0s, code));
    EXPECT_EQ(code, std::errc::host_unreachable);
  });
  EXPECT_TRUE(patient_answer(holder).text.starts_with("lost "));
  cluster.signal(0, SIGCONT);
  Peer next(ETCD_PEER, peer_arguments(cluster.address("a"), lease, "another"));
  next.tell("acquire");
  EXPECT_GT(patient_answer(next).fence, 0U);
}

TEST_F(Faults, a_stopped_server_keeps_no_program_from_its_end) {
  Cluster cluster(1);
  Peer holder(ETCD_PEER, peer_arguments(cluster.address("a"), lease));
  ASSERT_GT(Said(holder.ask("acquire")).fence, 0U);
  Peer waiter(ETCD_PEER, peer_arguments(cluster.address("a"), lease, "another"));
  cluster.signal(0, SIGSTOP);
  ASSERT_EQ(waiter.ask("wait"), "waiting");
  for (Peer* const each : {&waiter, &holder}) each->tell("exit");
  EXPECT_TRUE(waiter.answer().value_or("").starts_with("then error "));
  EXPECT_EQ(waiter.wait(), 0);
  EXPECT_EQ(holder.wait(), 0);
  cluster.signal(0, SIGCONT);
}

TEST_F(Faults, a_restart_during_a_hold_and_a_wait_ends_neither) {
  Cluster cluster(1);
  Client one;
  one.run([&] {
    const auto holder = open(cluster.address("a"), {.fence = true, .lease = 30s});
    holder->acquire(for_ever);
    const LeaseKeeper keeper(*holder);
    Peer waiter(ETCD_PEER, peer_arguments(cluster.address("a"), 30s, "another"));
    waiter.tell("acquire");
    wait_for_waiters(*holder, 1);
    const std::string before = cluster.ctl("get --prefix --keys-only test/a");
    holder->renew();  // from now on there is a stream that breaks
    cluster.kill(0);
    cluster.start(0);
    cluster.wait_until_serving(0);
    EXPECT_TRUE(holder->i_am_locking());
    holder->renew();
    EXPECT_FALSE(keeper.lost().stop_requested());
    EXPECT_EQ(cluster.ctl("get --prefix --keys-only test/a"), before) << "the same keys, so nobody has lined up anew";
    EXPECT_TRUE(waiter.is_silent());
    const std::uint64_t fence = holder->fence();
    holder->release();
    EXPECT_GT(patient_answer(waiter).fence, fence);
  });
}

TEST_F(Faults, without_a_server_an_acquire_fails_and_says_why) {
  Cluster cluster(1);
  cluster.kill(0);
  Client one;
  one.run([&] {
    const auto lock = open(cluster.address("a"));
    try {
      lock->acquire(for_ever);
      ADD_FAILURE() << "acquired";
    } catch (const LockFailed& error) {
      EXPECT_EQ(error.code(), std::errc::host_unreachable);
      EXPECT_NE(std::string(error.what()).find("cannot reach '127.0.0.1:"), std::string::npos) << error.what();
    }
    std::error_code code;
    (void)examine_place(cluster.address("a"), code);
    EXPECT_EQ(code, std::errc::host_unreachable);
  });
}

TEST_F(Faults, the_member_in_use_dies_and_the_next_one_is_used) {
  Cluster cluster(3);
  Client one;
  one.run([&] {
    // The first endpoint is the one in use.
    const auto holder = open(cluster.address("a"), {.fence = true, .lease = 30s});
    holder->acquire(for_ever);
    const LeaseKeeper keeper(*holder);
    Peer waiter(ETCD_PEER, peer_arguments(cluster.address("a"), 30s, "another"));
    waiter.tell("acquire");
    wait_for_waiters(*holder, 1);
    holder->renew();  // from now on there is a stream that breaks
    cluster.kill(0);
    EXPECT_TRUE(holder->i_am_locking());
    holder->renew();
    EXPECT_FALSE(keeper.lost().stop_requested());
    const std::uint64_t fence = holder->fence();
    holder->release();
    EXPECT_GT(patient_answer(waiter).fence, fence);
  });
}

TEST_F(Faults, the_leader_stops_and_holds_go_on) {
  Cluster cluster(3);
  const std::size_t leader = cluster.leader();
  Client one;
  one.run([&] {
    const auto holder = open(cluster.address("a"), {.fence = true, .lease = 30s});
    holder->acquire(for_ever);
    Peer waiter(ETCD_PEER, peer_arguments(cluster.address("a"), 30s, "another"));
    waiter.tell("acquire");
    wait_for_waiters(*holder, 1);
    cluster.signal(leader, SIGSTOP);
    // Its answer may be lost; the release is sent until it is done.
    std::error_code code;
    holder->release(code);
    EXPECT_TRUE(!code || code == std::errc::host_unreachable) << code.message();
    EXPECT_GT(patient_answer(waiter).fence, 0U);
    cluster.signal(leader, SIGCONT);
  });
}

// Clients on both sides: one that reaches the leader alone, which is cut off from the others, and one that reaches the
// others alone.
TEST_F(Faults, a_holder_on_the_wrong_side_of_a_cut_is_told_before_anybody_is_granted) {
  NEEDS(why_no_namespaces());
  Cluster cluster(3, Cluster::Where::namespaces);
  const std::size_t leader = cluster.leader();
  std::vector<std::size_t> others{0, 1, 2};
  std::erase(others, leader);
  Receiver receiver;
  Peer holder(ETCD_PEER, peer_arguments(cluster.address("a", {leader}), lease));
  const Said first(holder.ask("acquire"));
  ASSERT_GT(first.fence, 0U);
  ASSERT_EQ(holder.ask("watch"), "watching");
  // One that waits on the wrong side, and one on the right one.
  Peer cut_off(ETCD_PEER, peer_arguments(cluster.address("a", {leader}), lease, "third"));
  Peer waiter(ETCD_PEER, peer_arguments(cluster.address("a", others), lease, "another"));
  waiter.tell("acquire");
  cut_off.tell("acquire");
  Client looker;
  looker.run([&] { wait_for_waiters(*open(cluster.address("a")), 2); });
  EXPECT_TRUE(receiver.write(first.fence));

  cluster.cut_off(leader);
  const Said lost = patient_answer(holder);
  ASSERT_TRUE(lost.text.starts_with("lost ")) << lost.text;
  const Said second = patient_answer(waiter);
  ASSERT_GT(second.fence, first.fence) << second.text;
  EXPECT_LT(lost.at, second.at) << "it was told before";
  EXPECT_TRUE(receiver.write(second.fence));
  EXPECT_FALSE(receiver.write(first.fence));
  EXPECT_TRUE(holder.ask("release").starts_with("error lockfile:"));
  EXPECT_EQ(waiter.ask("holds"), "yes");
  // Whoever waited there is told that nobody can be reached, and not left waiting.
  EXPECT_TRUE(patient_answer(cut_off).text.starts_with("error generic:"));

  cluster.rejoin(leader);
  ASSERT_EQ(waiter.ask("release"), "released");
  cut_off.tell("acquire");
  EXPECT_GT(patient_answer(cut_off).fence, second.fence);
}

TEST_F(Faults, a_client_of_all_members_does_not_notice_a_cut) {
  NEEDS(why_no_namespaces());
  Cluster cluster(3, Cluster::Where::namespaces);
  const std::size_t leader = cluster.leader();
  Client one;
  one.run([&] {
    const auto holder = open(cluster.address("a"), {.fence = true, .lease = 20s});
    holder->acquire(for_ever);
    const LeaseKeeper keeper(*holder);
    Peer waiter(ETCD_PEER, peer_arguments(cluster.address("a"), 20s, "another"));
    waiter.tell("acquire");
    wait_for_waiters(*holder, 1);
    cluster.cut_off(leader);
    std::error_code code;
    do {
      holder->renew(code);  // as the members that are asked find out
    } while (code == std::errc::host_unreachable);
    EXPECT_EQ(code, std::error_code());
    EXPECT_FALSE(keeper.lost().stop_requested());
    EXPECT_TRUE(waiter.is_silent());
    holder->release(code);
    EXPECT_GT(patient_answer(waiter).fence, 0U);
  });
}

TEST_F(Faults, users_are_named_by_the_environment_and_others_are_refused) {
  Cluster cluster(1);
  (void)cluster.ctl("user add root:secret");
  (void)cluster.ctl("user add app:word");
  (void)cluster.ctl("role add locks");
  (void)cluster.ctl("role grant-permission locks --prefix=true readwrite test/");
  (void)cluster.ctl("user grant-role app locks");
  (void)cluster.ctl("user grant-role root root");
  (void)cluster.ctl("auth enable");
  const auto as = [&](const char* user) {
    if (user != nullptr)
      ::setenv("ETCDCTL_USER", user, 1);  // NOLINT(concurrency-mt-unsafe): no thread of ours reads it
    auto peer = std::make_unique<Peer>(ETCD_PEER, peer_arguments(cluster.address("a"), 60s));
    ::unsetenv("ETCDCTL_USER");  // NOLINT(concurrency-mt-unsafe)
    return peer;
  };
  const auto holder = as("app:word");
  ASSERT_GT(Said(holder->ask("acquire")).fence, 0U);
  ASSERT_EQ(holder->ask("watch"), "watching");
  EXPECT_EQ(holder->ask("holds"), "yes");
  const auto waiter = as("app:word");
  waiter->tell("acquire");
  EXPECT_TRUE(waiter->is_silent());
  for (const char* const wrong : {static_cast<const char*>(nullptr), "app:wrong", "nobody:word"}) {
    EXPECT_TRUE(as(wrong)->ask("try").starts_with("error generic:" + std::to_string(EACCES))) << wrong;
  }
  EXPECT_EQ(holder->ask("release"), "released");
  EXPECT_GT(Said(waiter->answer()).fence, 0U);
}

TEST_F(Faults, servers_and_clients_prove_who_they_are_by_the_files_of_the_environment) {
  Cluster cluster(1, Cluster::Where::loopback_with_tls);
  Client one;
  one.run([&] {
    std::error_code code;
    EXPECT_FALSE(open(cluster.address("a"))->acquire(0s, code));
    EXPECT_EQ(code, std::errc::host_unreachable) << "without them the server is not spoken to";
  });
  // Nor with some of them. They are read when a session begins.
  const auto parsed = std::get<Address>(parse_address(cluster.address("a")));
  std::vector<std::unique_ptr<Client>> clients;
  std::vector<std::thread> all;
  for (const bool authority : {true, false}) {
    for (const auto& [name, file] : cluster.files()) {
      if ((name == "ETCDCTL_CACERT") == authority) ::setenv(name.c_str(), file.c_str(), 1);  // NOLINT
    }
    clients.push_back(std::make_unique<Client>());
    clients.back()->run([&, &process = clients.back()->process()] {
      std::error_code why;
      std::string what;
      const auto place = schemes::etcd::place_of({parsed.place, parsed.name}, {});
      EXPECT_NE(process.part<schemes::etcd::Sessions>().get(place.cluster, why, what), nullptr) << what;
    });
    for (const auto& [name, file] : cluster.files()) ::unsetenv(name.c_str());  // NOLINT(concurrency-mt-unsafe)
    all.push_back(clients.back()->begin(
        [&cluster] { EXPECT_EQ(code_of_acquire(*open(cluster.address("a")), 0s), std::errc::host_unreachable); }));
  }
  for (std::thread& each : all) each.join();
  for (const auto& [name, file] : cluster.files()) ::setenv(name.c_str(), file.c_str(), 1);  // NOLINT
  Peer peer(ETCD_PEER, peer_arguments(cluster.address("a"), 60s));
  EXPECT_GT(Said(peer.ask("acquire")).fence, 0U);
  EXPECT_EQ(peer.ask("release"), "released");
}

// --- fenced writes, among faults ---

std::size_t rounds() {
  const char* const asked = std::getenv("LOCKFILE_ETCD_ROUNDS");  // NOLINT(concurrency-mt-unsafe)
  return asked == nullptr ? 40 : std::stoul(asked);
}

// Everybody's holds, as told by the holders themselves. A hold that overlaps an earlier one needs an excuse: that one
// was broken, or had been told of its loss.
class Holds {
 public:
  explicit Holds(Receiver& receiver) : receiver_(receiver) {}

  void begin(std::uint64_t fence) {
    const std::lock_guard guard(mutex_);
    if (holder_ != 0 && !excused_) ++unexcused_;
    if (holder_ != 0) ++overlaps_;
    if (fence <= newest_) ++older_;
    newest_ = std::max(newest_, fence);
    (void)receiver_.write(fence);  // what a holder does first
    holder_ = fence;
    excused_ = false;
  }
  void lost(std::uint64_t fence) {
    const std::lock_guard guard(mutex_);
    if (holder_ == fence) excused_ = true;
  }
  void end(std::uint64_t fence) {
    const std::lock_guard guard(mutex_);
    if (holder_ == fence) holder_ = 0;
  }
  // True: it was accepted; of an older hold than the newest it must not be.
  bool write(std::uint64_t fence) {
    const std::lock_guard guard(mutex_);
    const bool accepted = receiver_.write(fence);
    if (accepted && fence < newest_) ++wrongly_accepted_;
    ++(accepted ? accepted_ : refused_);
    return accepted;
  }

  std::size_t overlaps_ = 0;
  std::size_t unexcused_ = 0;
  std::size_t older_ = 0;
  std::size_t wrongly_accepted_ = 0;
  std::size_t accepted_ = 0;
  std::size_t refused_ = 0;

 private:
  Receiver& receiver_;
  std::mutex mutex_;
  std::uint64_t holder_ = 0;
  std::uint64_t newest_ = 0;
  bool excused_ = false;
};

TEST_F(Faults, no_write_of_an_older_hold_is_accepted) {
  Cluster cluster(3);
  const std::size_t wanted = rounds();
  Receiver receiver;
  Holds holds(receiver);
  std::atomic<std::size_t> done = 0;
  std::vector<std::unique_ptr<Client>> clients;
  std::vector<std::thread> all;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(std::make_unique<Client>("host-" + std::to_string(i)));
    all.push_back(clients.back()->begin([&, i] {
      const auto lock = open(cluster.address("a"), {.fence = true, .lease = 2s});
      std::mt19937 dice(static_cast<unsigned>(i));
      while (done < wanted) {
        std::error_code code;
        if (!lock->acquire(10s, code)) continue;
        const std::uint64_t fence = lock->fence();
        holds.begin(fence);
        {
          const LeaseKeeper keeper(*lock);
          const std::stop_callback told(keeper.lost(), [&] { holds.lost(fence); });
          holds.write(fence);
          const auto what = dice() % 10;
          if (what == 0) {
            // Broken by somebody; it goes on writing until it is told.
            const auto mine = lock->holder();
            if (mine && mine->number == fence) {
              holds.lost(fence);
              const bool broken = lock->break_lock(*mine);
              while (broken && !keeper.lost().stop_requested()) holds.write(fence);
            }
          } else if (what == 1) {
            // A server goes, and comes back.
            const std::size_t member = dice() % 3;
            cluster.signal(member, SIGSTOP);
            holds.write(fence);
            cluster.signal(member, SIGCONT);
          }
          holds.write(fence);
        }
        holds.end(fence);
        lock->release(code);
        ++done;
      }
    }));
  }
  for (std::thread& each : all) each.join();
  EXPECT_EQ(holds.wrongly_accepted_, 0U);
  EXPECT_EQ(holds.older_, 0U) << "a fence went back";
  EXPECT_EQ(holds.unexcused_, 0U) << "granted while another one held, and nobody had told it";
  std::cout << done << " rounds, " << holds.accepted_ << " writes accepted, " << holds.refused_ << " refused, "
            << holds.overlaps_ << " holds overlapped\n";
}

// A process that stands still past its lease, and writes when it goes on.
TEST_F(Faults, a_write_after_a_pause_is_refused) {
  Cluster cluster(1);
  const std::size_t wanted = std::max<std::size_t>(1, rounds() / 40);
  Receiver receiver;
  std::uint64_t newest = 0;
  for (std::size_t i = 0; i < wanted; ++i) {
    Peer paused(ETCD_PEER, peer_arguments(cluster.address("a"), lease));
    Peer next(ETCD_PEER, peer_arguments(cluster.address("a"), lease, "another"));
    const Said first(paused.ask("acquire"));
    EXPECT_GT(first.fence, newest);
    EXPECT_TRUE(receiver.write(first.fence));
    paused.signal(SIGSTOP);
    next.tell("acquire");
    const Said second = patient_answer(next);
    ASSERT_GT(second.fence, first.fence) << second.text;
    EXPECT_TRUE(receiver.write(second.fence));
    paused.signal(SIGCONT);
    EXPECT_FALSE(receiver.write(first.fence));
    EXPECT_EQ(paused.ask("holds"), "no");
    ASSERT_EQ(next.ask("release"), "released");
    newest = second.fence;
  }
}

}  // namespace
}  // namespace lockfile::testing
