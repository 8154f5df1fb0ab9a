// What does a lock in an etcd cluster cost: alone, next to the two transactions that such a lock cannot do without;
// from one process to the next, also right after the wait began and while others write; from one of a thousand waiters
// to the next; and among ten thousand names? At one member of its own, whose data is in the work directory.
#include <grpcpp/grpcpp.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <functional>
#include <lockfile/lockfile.hpp>
#include <lockfile/open.hpp>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "driver.hpp"
#include "rpc.grpc.pb.h"
#include "schemes/etcd/scheme.hpp"
#include "support/free_port.hpp"

namespace {

using namespace std::chrono_literals;
namespace etcd = lockfile::schemes::etcd;
namespace rpc = ::etcdserverpb;

class Server {
 public:
  explicit Server(const bench::WorkDirectory& directory)
      : data_(directory.file("etcd")), port_(lockfile::testing::free_port()) {
    if (::chmod(directory.path().c_str(), 0755) != 0) bench::fail("chmod");
    const std::string start = command("start") + " " + std::to_string(port_);
    if (std::system(start.c_str()) != 0) bench::fail("etcd does not start");  // NOLINT(concurrency-mt-unsafe)
  }

  [[nodiscard]] std::string host() const { return "127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] std::string address(const std::string& name) const { return "etcd://" + host() + "/bench/" + name; }

 private:
  [[nodiscard]] std::string command(const std::string& verb) const {
    return std::string(ETCD_SERVER_SCRIPT) + " " + verb + " " + data_;
  }
  std::string data_;
  int port_;
  bench::AtEnd stops_{command("stop")};
};

// A key in, guarded, on a lease, and out, guarded: by the blocking calls of the generated stubs.
class Bare {
 public:
  explicit Bare(const std::string& host)
      : channel_(grpc::CreateChannel(host, grpc::InsecureChannelCredentials())), keys_(rpc::KV::NewStub(channel_)) {
    grpc::ClientContext context;
    rpc::LeaseGrantRequest request;
    request.set_ttl(600);
    rpc::LeaseGrantResponse response;
    must(rpc::Lease::NewStub(channel_)->LeaseGrant(&context, request, &response));
    lease_ = response.id();
    value_.assign(300, 'x');  // as long as a record
  }

  void pair() {
    const std::string key = "bare/x/" + std::to_string(++number_);
    rpc::TxnRequest in;
    guard(in, key, 0);
    auto& put = *in.add_success()->mutable_request_put();
    put.set_key(key);
    put.set_value(value_);
    put.set_lease(lease_);
    const std::int64_t revision = send(in).header().revision();
    rpc::TxnRequest out;
    guard(out, key, revision);
    out.add_success()->mutable_request_delete_range()->set_key(key);
    if (!send(out).succeeded()) bench::fail("a bare transaction");
  }
  // The least that a lock with an order can be: a key of its own, whose predecessor is watched from now on, and a last
  // look, without which a key that had been lost meanwhile would be taken for a hold.
  void acquire() {
    key_ = "bare-lock/" + std::to_string(getpid()) + "-" + std::to_string(++number_);
    rpc::TxnRequest in;
    guard(in, key_, 0);
    auto& put = *in.add_success()->mutable_request_put();
    put.set_key(key_);
    put.set_value(value_);
    put.set_lease(lease_);
    range_of_two(in);
    rpc::TxnResponse answer = send(in);
    created_ = answer.header().revision();
    while (first_in(answer) != key_) {
      wait_for_end_of(first_in(answer), answer.header().revision());
      rpc::TxnRequest look;
      guard(look, key_, created_);
      range_of_two(look);
      answer = send(look);
      if (!answer.succeeded()) bench::fail("a bare key is gone");
    }
  }
  void release() {
    rpc::TxnRequest out;
    guard(out, key_, created_);
    out.add_success()->mutable_request_delete_range()->set_key(key_);
    if (!send(out).succeeded()) bench::fail("a bare transaction");
  }
  void write() {
    rpc::TxnRequest in;
    auto& put = *in.add_success()->mutable_request_put();
    put.set_key("noise");
    put.set_value(value_);
    (void)send(in);
  }

 private:
  static void must(const grpc::Status& status) {
    if (!status.ok()) bench::fail(status.error_message());
  }
  static void guard(rpc::TxnRequest& request, const std::string& key, std::int64_t revision) {
    auto& compare = *request.add_compare();
    compare.set_target(rpc::Compare::CREATE);
    compare.set_key(key);
    compare.set_create_revision(revision);
  }
  static void range_of_two(rpc::TxnRequest& request) {
    auto& range = *request.add_success()->mutable_request_range();
    range.set_key("bare-lock/");
    range.set_range_end("bare-lock0");
    range.set_sort_target(rpc::RangeRequest::CREATE);
    range.set_sort_order(rpc::RangeRequest::ASCEND);
    range.set_limit(2);
  }
  static std::string first_in(const rpc::TxnResponse& answer) {
    return answer.responses(answer.responses_size() - 1).response_range().kvs(0).key();
  }
  void wait_for_end_of(const std::string& key, std::int64_t seen_at) {
    if (!watch_) watch_ = watches_->Watch(&watching_);
    rpc::WatchRequest request;
    request.mutable_create_request()->set_key(key);
    if (!watch_->Write(request)) bench::fail("a bare watch");
    rpc::WatchResponse said;
    for (;;) {
      if (!watch_->Read(&said)) bench::fail("a bare watch");
      if (said.created() && said.header().revision() != seen_at) return;  // it may have ended before
      for (const rpc::Event& each : said.events()) {
        if (each.type() == rpc::Event::DELETE && each.kv().key() == key) return;
      }
    }
  }
  rpc::TxnResponse send(const rpc::TxnRequest& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + 10s);
    rpc::TxnResponse response;
    must(keys_->Txn(&context, request, &response));
    return response;
  }

  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<rpc::KV::Stub> keys_;
  std::unique_ptr<rpc::Watch::Stub> watches_ = rpc::Watch::NewStub(channel_);
  grpc::ClientContext watching_;
  std::unique_ptr<grpc::ClientReaderWriter<rpc::WatchRequest, rpc::WatchResponse>> watch_;
  std::string key_;
  std::int64_t created_ = 0;
  std::int64_t lease_ = 0;
  std::string value_;
  std::uint64_t number_ = 0;
};

double us_each(int count, const std::function<void()>& what) {
  const std::int64_t begin = bench::now_ns();
  for (int i = 0; i < count; ++i) what();
  return static_cast<double>(bench::now_ns() - begin) / 1000 / count;
}

// The same, for the lock that a bench has of its own.
void pair_of(lockfile::Lock& lock) {
  lock.acquire(lockfile::for_ever);
  lock.release();
}

// --- alone ---

void alone(const Server& server, const bench::Arguments& arguments, bench::Report& report) {
  constexpr int batch = 25;
  const auto lock = lockfile::open(server.address("alone"));
  Bare bare(server.host());
  pair_of(*lock);
  bare.pair();
  std::vector<double> ours;
  std::vector<double> floor;
  std::vector<double> tries;
  for (int i = 0; i < arguments.rounds(60); ++i) {
    floor.push_back(us_each(batch, [&] { bare.pair(); }));
    ours.push_back(us_each(batch, [&] { pair_of(*lock); }));
    tries.push_back(us_each(batch, [&] {
      if (!lock->try_lock()) bench::fail("try_lock");
      lock->unlock();
    }));
  }
  report.table({"alone, us each", "p10", "p50", "p90", "to bare"});
  const auto row = [&](const std::string& name, const std::vector<double>& us) {
    report.row({name, bench::text("%.0f", bench::percentile(us, 10)), bench::text("%.0f", bench::median(us)),
                bench::text("%.0f", bench::percentile(us, 90)), bench::text("%.2f", bench::median_ratio(us, floor))});
    report.raw(name, "us", us);
  };
  row("Txn + guarded delete", floor);
  row("acquire + release", ours);
  row("try_lock + unlock", tries);
  report.reach("acquire + release to Txn + guarded delete", "ratio", bench::median_ratio(ours, floor), 1.15);
}

// --- from one to the next ---

constexpr std::size_t most_holds = 100;

struct Frame {
  std::array<std::atomic<std::int64_t>, 2> release_began{};
  std::array<std::array<std::int64_t, most_holds>, 2> waited{};  // 0: was not waiting
  std::atomic<int> ready{0};
  std::atomic<int> left{0};
};

struct Verbs {
  std::function<void()> acquire;
  std::function<void()> release;
};

void alternate(Frame& frame, std::size_t me, std::size_t holds, std::chrono::microseconds hold, const Verbs& lock) {
  lock.acquire();
  lock.release();
  ++frame.ready;
  bench::wait_until([&] { return frame.ready.load() == 2; }, "the other one");
  for (std::size_t i = 0; i < holds; ++i) {
    const std::int64_t began = bench::now_ns();
    lock.acquire();
    const std::int64_t got = bench::now_ns();
    const std::int64_t released = frame.release_began.at(1 - me).load();
    frame.waited.at(me).at(i) = released > began ? got - released : 0;
    std::this_thread::sleep_for(hold);
    frame.release_began.at(me).store(bench::now_ns());
    lock.release();
  }
  ++frame.left;
}

// Forked before this process touches gRPC, since none of its children could afterwards.
struct Passing {
  std::string name;
  std::chrono::microseconds hold;
  bool noise;
  std::vector<double> us{};
  std::vector<double> bare_us{};  // by hand
};

void pass(Passing& passing, const Server& server, std::size_t holds, bool by_hand) {
  bench::Shared<Frame> frame;
  bench::Crew crew;
  for (std::size_t me = 0; me < 2; ++me) {
    crew.start([&, me] {
      if (by_hand) {
        Bare bare(server.host());
        alternate(*frame, me, holds, passing.hold, {[&] { bare.acquire(); }, [&] { bare.release(); }});
      } else {
        const auto lock = lockfile::open(server.address("passed"));
        alternate(*frame, me, holds, passing.hold,
                  {[&] { lock->acquire(lockfile::for_ever); }, [&] { lock->release(); }});
      }
    });
  }
  if (passing.noise) {
    crew.start([&] {
      Bare bare(server.host());
      while (frame->left.load() < 2) bare.write();
    });
  }
  crew.finish();
  for (const auto& one : frame->waited) {
    for (const std::int64_t ns : one) {
      if (ns > 0) (by_hand ? passing.bare_us : passing.us).push_back(static_cast<double>(ns) / 1000);
    }
  }
}

// --- one of many ---

void of_many(const Server& server, std::size_t waiters, bench::Report& report) {
  const std::string address = server.address("many");
  const auto lock = lockfile::open(address);
  lock->acquire(lockfile::for_ever);
  const auto parsed = std::get<lockfile::Address>(lockfile::parse_address(address));
  std::error_code why;
  std::string what;
  const auto session = lockfile::os::Process::current().part<etcd::Sessions>().get(
      etcd::place_of({parsed.place, parsed.name}, {}).cluster, why, what);
  std::vector<std::int64_t> got(waiters);
  std::atomic<std::size_t> entered{0};
  std::vector<std::thread> all;
  for (std::size_t i = 0; i < waiters; ++i) {
    all.emplace_back([&] {
      const auto mine = lockfile::open(address);
      mine->acquire(lockfile::for_ever);
      got[entered++] = bench::now_ns();
      mine->release();
    });
    // Not all at once: how many may come together is another question.
    if ((i + 1) % 50 == 0 || i + 1 == waiters) {
      bench::wait_until([&] { return lock->waiters().size() == i + 1; }, "those who wait");
    }
  }
  // Their watches have begun, and whoever had to look once more has looked.
  for (std::uint64_t before = 0; session->transactions() != before; std::this_thread::sleep_for(200ms)) {
    before = session->transactions();
  }
  const std::uint64_t before = session->transactions();
  const std::int64_t begin = bench::now_ns();
  lock->release();
  for (std::thread& each : all) each.join();
  const auto releases = static_cast<double>(waiters + 1);
  const double looks = static_cast<double>(session->transactions() - before) - releases;
  std::vector<double> us;
  for (std::size_t i = 1; i < waiters; ++i) us.push_back(static_cast<double>(got[i] - got[i - 1]) / 1000);
  report.table({"one of many", "waiters", "all in, s", "p50 us", "p99 us", "looks per release"});
  report.row({"threads of one process", std::to_string(waiters),
              bench::text("%.2f", static_cast<double>(got[waiters - 1] - begin) / 1e9),
              bench::text("%.0f", bench::median(us)), bench::text("%.0f", bench::percentile(us, 99)),
              bench::text("%.2f", looks / static_cast<double>(waiters))});
  report.raw("one of many", "us", us);
  report.reach("looks per release, " + std::to_string(waiters) + " waiters", "count",
               looks / static_cast<double>(waiters), 1.0);
}

// --- many names ---

void many_names(const Server& server, const bench::Arguments& arguments, std::size_t names, bench::Report& report) {
  std::vector<std::unique_ptr<lockfile::Lock>> held;
  const auto hold = [&](std::size_t count) {
    while (held.size() < count) {
      held.push_back(lockfile::open(server.address("name-" + std::to_string(held.size()))));
      held.back()->acquire(lockfile::for_ever);
    }
  };
  int next = 0;
  Bare bare(server.host());
  const auto measure = [&] {
    std::vector<double> ours;
    std::vector<double> floor;
    for (int i = 0; i < arguments.rounds(300); ++i) {
      floor.push_back(us_each(1, [&] { bare.pair(); }));
      ours.push_back(us_each(1, [&] { pair_of(*lockfile::open(server.address("fresh-" + std::to_string(next++)))); }));
    }
    return std::pair(ours, floor);
  };
  hold(10);
  const auto [few, few_floor] = measure();
  hold(names);
  const auto [many, many_floor] = measure();
  report.table({"names held", "fresh pair, us", "bare pair, us"});
  report.row({"10", bench::text("%.0f", bench::median(few)), bench::text("%.0f", bench::median(few_floor))});
  report.row({std::to_string(names), bench::text("%.0f", bench::median(many)),
              bench::text("%.0f", bench::median(many_floor))});
  report.reach("a fresh pair beside " + std::to_string(names) + " names to one beside 10", "ratio",
               bench::median(many) / bench::median(few), 1.5);
}

}  // namespace

int main(int argc, char** argv) {
  // Each lock object that has acquired keeps a descriptor, and each thread that waits another one.
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) bench::fail("getrlimit");
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) bench::fail("setrlimit");
  const bench::Arguments arguments(argc, argv);
  const bench::WorkDirectory directory(arguments.directory);
  const Server server(directory);
  bench::Report report("locks in etcd", arguments, directory);
  // A member serves what is told from a revision that is past every 100 ms: holds shorter than that show it.
  std::array passings = {Passing{"holds of 1 ms", 1ms, false}, Passing{"holds of 20 ms", 20ms, false},
                         Passing{"holds of 150 ms", 150ms, false}, Passing{"holds of 20 ms, others write", 20ms, true}};
  report.table({"from one process to the next, us", "p50", "p90", "p99", "hand-offs"});
  for (Passing& each : passings) {
    const std::size_t holds = each.hold > 100ms ? 20 : most_holds;
    for (int i = 0; i < arguments.rounds(2); ++i) {
      for (const bool by_hand : {false, true}) pass(each, server, holds, by_hand);
    }
    report.row({each.name + ", by hand", bench::text("%.0f", bench::median(each.bare_us)),
                bench::text("%.0f", bench::percentile(each.bare_us, 90)),
                bench::text("%.0f", bench::percentile(each.bare_us, 99)),
                bench::text("%.0f", static_cast<double>(each.bare_us.size()))});
    report.raw(each.name + ", by hand", "us", each.bare_us);
    report.row({each.name, bench::text("%.0f", bench::median(each.us)),
                bench::text("%.0f", bench::percentile(each.us, 90)),
                bench::text("%.0f", bench::percentile(each.us, 99)),
                bench::text("%.0f", static_cast<double>(each.us.size()))});
    report.raw(each.name, "us", each.us);
    report.reach("hand-off p50, " + each.name, "ms", bench::median(each.us) / 1000, 2.0);
  }
  alone(server, arguments, report);
  of_many(server, arguments.quick ? 50 : 1000, report);
  many_names(server, arguments, arguments.quick ? 200 : 10'000, report);
}
