// What does a lock of a PostgreSQL server cost: alone, next to the smallest question that the server answers; from one
// process to the next, beside a bare blocking advisory lock; with a thousand threads of one process that wait; with two
// hundred processes that do; and among ten thousand names? At a server of its own, on a local socket.
#include <libpq-fe.h>
#include <stdlib.h>

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

namespace {

using namespace std::chrono_literals;

class Server {
 public:
  // In /tmp, whatever the work directory is: an ordinary user has to reach it, and the path of a socket is short.
  Server() {
    if (std::system(command("start").c_str()) != 0) bench::fail("the server does not start");  // NOLINT(*-mt-unsafe)
    lockfile::initialise(place());
  }

  [[nodiscard]] std::string place() const { return "postgresql://postgres@/postgres?host=" + data_; }
  [[nodiscard]] std::string address(const std::string& name) const { return place() + "#" + name; }

 private:
  static std::string made_directory() {
    std::string path = "/tmp/lockfile-bench-XXXXXX";
    if (::mkdtemp(path.data()) == nullptr) bench::fail("mkdtemp");
    return path;
  }
  [[nodiscard]] std::string command(const std::string& verb) const {
    return std::string(SERVER_SCRIPT) + " " + verb + " " + data_;
  }
  std::string data_ = made_directory();
  bench::AtEnd stops_{command("stop")};
};

// A session of libpq's blocking calls.
class Bare {
 public:
  explicit Bare(const std::string& place) : connection_(PQconnectdb(place.c_str())) {
    if (PQstatus(connection_) != CONNECTION_OK) bench::fail(PQerrorMessage(connection_));
    prepare("one", "SELECT 1");
    prepare("lock", "SELECT pg_advisory_lock(1)");
    prepare("unlock", "SELECT pg_advisory_unlock(1)");
    prepare("number", "SELECT CASE WHEN pg_try_advisory_lock(2) THEN nextval('lockfile.fence') END");
    prepare("unnumber", "SELECT pg_advisory_unlock(2)");
  }
  Bare(const Bare&) = delete;
  Bare& operator=(const Bare&) = delete;
  ~Bare() { PQfinish(connection_); }

  void ask(const char* statement) {
    PGresult* const result = PQexecPrepared(connection_, statement, 0, nullptr, nullptr, nullptr, 1);
    if (PQresultStatus(result) != PGRES_TUPLES_OK) bench::fail(PQerrorMessage(connection_));
    PQclear(result);
  }

 private:
  void prepare(const char* name, const char* sql) {
    PGresult* const result = PQprepare(connection_, name, sql, 0, nullptr);
    if (PQresultStatus(result) != PGRES_COMMAND_OK) bench::fail(PQerrorMessage(connection_));
    PQclear(result);
  }
  PGconn* connection_;
};

struct Series {
  std::string name;
  std::function<void()> pair;
  std::vector<double> us{};
};

// Short batches in turns, so that neighbours in time see the same machine.
void take_turns(std::vector<Series>& all, int rounds) {
  constexpr int batch = 100;
  constexpr int warm_up = 3;
  for (int round = -warm_up; round < rounds; ++round) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      Series& series = all[(i + static_cast<std::size_t>(round + warm_up)) % all.size()];
      const std::int64_t begin = bench::now_ns();
      for (int k = 0; k < batch; ++k) series.pair();
      if (round >= 0) series.us.push_back(static_cast<double>(bench::now_ns() - begin) / batch / 1000);
    }
  }
}

void show(std::vector<Series>& all, const std::string& what, bench::Report& report) {
  report.table({what + ", by batches of 100", "p10", "p50", "p90", "to the first"});
  for (const Series& each : all) {
    report.row({each.name, bench::text("%.1f", bench::percentile(each.us, 10)),
                bench::text("%.1f", bench::median(each.us)), bench::text("%.1f", bench::percentile(each.us, 90)),
                bench::text("%.2f", bench::median_ratio(each.us, all.front().us))});
    report.raw(each.name, "us", each.us);
  }
}

void alone(const Server& server, const bench::Arguments& arguments, bench::Report& report) {
  Bare bare(server.place());
  const auto lock = lockfile::open(server.address("alone"));
  std::vector<Series> all;
  all.push_back({"one prepared SELECT 1", [&] { bare.ask("one"); }});
  all.push_back({"bare advisory lock with a number, and unlock", [&] {
                   bare.ask("number");
                   bare.ask("unnumber");
                 }});
  all.push_back({"postgresql", [&] {
                   lock->acquire();
                   lock->release();
                 }});
  all.push_back({"postgresql, shared", [&] {
                   lock->acquire(lockfile::Mode::shared);
                   lock->release();
                 }});
  take_turns(all, arguments.rounds(200));
  show(all, "us alone", report);
  report.reach("a pair to one prepared SELECT 1", "ratio", bench::median_ratio(all[2].us, all[0].us), 2.5);
}

void many_names(const Server& server, const bench::Arguments& arguments, bench::Report& report) {
  std::vector<std::unique_ptr<lockfile::Lock>> locks;
  const auto names = static_cast<std::size_t>(arguments.quick ? 200 : 10'000);
  for (std::size_t i = 0; i < names; ++i) {
    locks.push_back(lockfile::open(server.address("many-" + std::to_string(i))));
    locks.back()->acquire();  // a name is looked up once
    locks.back()->release();
  }
  std::size_t next = 0;
  const auto pair_among = [&](std::size_t count) {
    next = (next + 7919) % count;
    locks[next]->acquire();
    locks[next]->release();
  };
  std::vector<Series> all;
  all.push_back({"10 names", [&] { pair_among(10); }});
  all.push_back({std::to_string(names) + " names", [&] { pair_among(names); }});
  take_turns(all, arguments.rounds(200));
  show(all, "us per pair", report);
  report.reach("a pair among many names to one among 10", "ratio", bench::median_ratio(all[1].us, all[0].us), 1.5);
}

// Two processes alternate. Counted are those acquires that waited before the release began.
constexpr int most_holds = 100;
struct Frame {
  std::array<std::atomic<std::int64_t>, 2> release_began{};
  std::array<std::atomic<int>, 2> arrived{};
  std::array<std::array<std::int64_t, most_holds>, 2> waited{};
};

struct Verbs {
  std::function<void()> acquire;
  std::function<void()> release;
};

void alternate(Frame& frame, std::size_t me, const Verbs& lock) {
  frame.arrived[me] = 1;
  bench::wait_until([&] { return frame.arrived[1 - me] == 1; }, "the other process");
  for (std::size_t i = 0; i < most_holds; ++i) {
    const std::int64_t began = bench::now_ns();
    lock.acquire();
    const std::int64_t got = bench::now_ns();
    const std::int64_t released = frame.release_began[1 - me].load();
    frame.waited[me][i] = released > began ? got - released : 0;
    std::this_thread::sleep_for(4ms);  // by then the other one has asked who holds, and sleeps
    frame.release_began[me].store(bench::now_ns());
    lock.release();
    std::this_thread::sleep_for(1ms);
  }
}

std::vector<double> one_batch(const Server& server, bool ours) {
  bench::Shared<Frame> frame;
  bench::Crew crew;
  for (std::size_t me = 0; me < 2; ++me) {
    crew.start([&, me] {
      if (ours) {
        const auto lock = lockfile::open(server.address("handoff"));
        lock->acquire();
        lock->release();
        alternate(*frame, me, {[&] { lock->acquire(); }, [&] { lock->release(); }});
      } else {
        Bare bare(server.place());
        alternate(*frame, me, {[&] { bare.ask("lock"); }, [&] { bare.ask("unlock"); }});
      }
    });
  }
  crew.finish();
  std::vector<double> all;
  for (const auto& one : frame->waited) {
    for (const std::int64_t ns : one) {
      if (ns > 0) all.push_back(static_cast<double>(ns) / 1000);
    }
  }
  return all;
}

void hand_over(const Server& server, const bench::Arguments& arguments, bench::Report& report) {
  std::vector<double> bare;
  std::vector<double> ours;
  for (int round = 0; round < arguments.rounds(20); ++round) {
    for (const bool is_ours : {round % 2 == 0, round % 2 != 0}) {
      const auto batch = one_batch(server, is_ours);
      auto& all = is_ours ? ours : bare;
      all.insert(all.end(), batch.begin(), batch.end());
    }
  }
  report.table({"us from a release to the next one's hold", "p50", "p90", "p99", "hand-offs"});
  for (const auto& [name, all] : {std::pair{"bare blocking advisory lock", &bare}, std::pair{"postgresql", &ours}}) {
    report.row({name, bench::text("%.1f", bench::median(*all)), bench::text("%.1f", bench::percentile(*all, 90)),
                bench::text("%.1f", bench::percentile(*all, 99)),
                bench::text("%.0f", static_cast<double>(all->size()))});
    report.raw(name, "us", *all);
  }
  report.reach("a hand-off to that of a bare advisory lock, p50", "ratio", bench::median(ours) / bench::median(bare),
               1.3);
}

std::string asked(const Server& server, const std::string& sql) {
  PGconn* const connection = PQconnectdb(server.place().c_str());
  PGresult* const result = PQexec(connection, sql.c_str());
  const std::string answer = PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "";
  PQclear(result);
  PQfinish(connection);
  return answer;
}

// All of them wait, each has it once. The longest time from one's entry to the next one's is a stall.
struct Entries {
  std::atomic<int> count{0};
  std::array<std::int64_t, 1024> at{};
};

void show_entries(const Entries& entries, const std::string& who, std::int64_t released, bench::Report& report) {
  std::vector<double> us;
  std::int64_t before = released;
  for (int i = 0; i < entries.count; ++i) {
    us.push_back(static_cast<double>(entries.at[static_cast<std::size_t>(i)] - before) / 1000);
    before = entries.at[static_cast<std::size_t>(i)];
  }
  report.table({who + ": us from one entry to the next", "p50", "p99", "longest", "entries"});
  report.row({who, bench::text("%.1f", bench::median(us)), bench::text("%.1f", bench::percentile(us, 99)),
              bench::text("%.1f", bench::percentile(us, 100)), std::to_string(entries.count)});
  report.raw(who, "us", us);
  report.reach(who + ", the longest stall", "s", bench::percentile(us, 100) / 1e6, 1);
}

void threads(const Server& server, const bench::Arguments& arguments, bench::Report& report) {
  const int count = arguments.quick ? 50 : 1000;
  const auto entries = std::make_unique<Entries>();
  const auto holder = lockfile::open(server.address("threads"));
  holder->acquire();
  std::atomic<int> begun = 0;
  std::vector<std::thread> all;
  for (int i = 0; i < count; ++i) {
    all.emplace_back([&] {
      const auto lock = lockfile::open(server.address("threads"));
      ++begun;
      lock->acquire();
      entries->at[static_cast<std::size_t>(entries->count++)] = bench::now_ns();
      lock->release();
    });
  }
  bench::wait_until([&] { return begun == count; }, "the threads");
  std::this_thread::sleep_for(arguments.quick ? 100ms : 2s);  // past the moment when sessions look for deadlocks
  const std::string sessions =
      asked(server, "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'lockfile%'");
  const std::int64_t released = bench::now_ns();
  holder->release();
  for (std::thread& each : all) each.join();
  show_entries(*entries, std::to_string(count) + " threads of one process", released, report);
  report.reach("sessions of " + std::to_string(count) + " threads that wait", "number", std::stod(sessions), 16);
}

void processes(const Server& server, const bench::Arguments& arguments, bench::Report& report) {
  const int count = arguments.quick ? 10 : 200;
  bench::Shared<Entries> entries;
  std::int64_t released = 0;
  bench::Crew crew;
  {
    // Made in a child of its own: whoever forks after it has used a server gives its children nothing of it.
    bench::Shared<std::atomic<int>> holds;
    bench::Shared<std::atomic<std::int64_t>> release_at;
    crew.start([&] {
      const auto lock = lockfile::open(server.address("processes"));
      lock->acquire();
      *holds = 1;
      bench::wait_until([&] { return *holds == 2; }, "the waiters");
      *release_at = bench::now_ns();
      lock->release();
    });
    bench::wait_until([&] { return *holds == 1; }, "the holder");
    for (int i = 0; i < count; ++i) {
      crew.start([&] {
        const auto lock = lockfile::open(server.address("processes"));
        lock->acquire();
        entries->at[static_cast<std::size_t>(entries->count++)] = bench::now_ns();
        lock->release();
      });
    }
    bench::wait_until(
        [&] {
          std::this_thread::sleep_for(50ms);
          return asked(server, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") ==
                 std::to_string(count);
        },
        "the waiters");
    std::this_thread::sleep_for(arguments.quick ? 100ms : 2s);
    *holds = 2;
    crew.finish();
    released = *release_at;
  }
  show_entries(*entries, std::to_string(count) + " processes", released, report);
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Arguments arguments(argc, argv);
  const bench::WorkDirectory directory(arguments.directory);
  bench::Report report("locks of a PostgreSQL server", arguments, directory);
  const Server server;
  alone(server, arguments, report);
  hand_over(server, arguments, report);
  threads(server, arguments, report);
  processes(server, arguments, report);
  many_names(server, arguments, report);
}
