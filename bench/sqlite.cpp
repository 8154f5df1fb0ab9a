// What does a lock in an SQLite database cost: alone, next to a bare row that goes in and out of a database of the same
// durability; from one of a hundred processes that wait to the next; and among ten thousand names?
#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <functional>
#include <lockfile/lockfile.hpp>
#include <memory>
#include <string>
#include <vector>

#include "driver.hpp"

namespace {

std::unique_ptr<lockfile::Lock> lock_in(const bench::WorkDirectory& directory, const std::string& name) {
  return lockfile::open("sqlite:" + directory.file("locks.db") + "#" + name);
}

// A row in, a row out, each in a transaction that is begun and committed as ours are; WAL, synchronous=NORMAL.
class BareRow {
 public:
  explicit BareRow(const bench::WorkDirectory& directory) {
    must(sqlite3_open(directory.file("bare.db").c_str(), &connection_));
    run("PRAGMA journal_mode = WAL");
    run("PRAGMA synchronous = NORMAL");
    run("CREATE TABLE hold(name TEXT PRIMARY KEY, who INTEGER) WITHOUT ROWID");
    const std::array<const char*, 4> texts = {"BEGIN IMMEDIATE", "INSERT INTO hold VALUES('a', 1)",
                                              "DELETE FROM hold WHERE name = 'a'", "COMMIT"};
    for (std::size_t i = 0; i < texts.size(); ++i) {
      must(sqlite3_prepare_v2(connection_, texts.at(i), -1, &statements_.at(i), nullptr));
    }
  }
  BareRow(const BareRow&) = delete;
  BareRow& operator=(const BareRow&) = delete;
  ~BareRow() {
    for (sqlite3_stmt* const each : statements_) sqlite3_finalize(each);
    sqlite3_close(connection_);
  }

  void pair() {
    for (const std::size_t change : {1U, 2U}) {
      for (const std::size_t each : {std::size_t{0}, std::size_t{change}, std::size_t{3}}) {
        if (sqlite3_step(statements_.at(each)) != SQLITE_DONE) bench::fail("a bare row");
        sqlite3_reset(statements_.at(each));
      }
    }
  }

 private:
  static void must(int code) {
    if (code != SQLITE_OK) bench::fail("a bare database");
  }
  void run(const char* sql) { must(sqlite3_exec(connection_, sql, nullptr, nullptr, nullptr)); }

  sqlite3* connection_ = nullptr;
  std::array<sqlite3_stmt*, 4> statements_{};
};

double us_per_pair(int pairs, const std::function<void()>& pair) {
  const std::int64_t begin = bench::now_ns();
  for (int i = 0; i < pairs; ++i) pair();
  return static_cast<double>(bench::now_ns() - begin) / 1000 / pairs;
}

void alone(const bench::Arguments& arguments, bench::Report& report) {
  const bench::WorkDirectory directory(arguments.directory);
  BareRow bare(directory);
  const auto lock = lock_in(directory, "a");
  std::vector<double> floor;
  std::vector<double> ours;
  for (int round = -2; round < arguments.rounds(1000); ++round) {
    const double one = us_per_pair(20, [&] { bare.pair(); });
    const double other = us_per_pair(20, [&] {
      lock->acquire();
      lock->release();
    });
    if (round < 0) continue;
    floor.push_back(one);
    ours.push_back(other);
  }
  report.table({"us per pair, by batches of 20", "p10", "p50", "p90", "to a bare row"});
  const auto row = [&](const std::string& name, const std::vector<double>& us) {
    report.row({name, bench::text("%.1f", bench::percentile(us, 10)), bench::text("%.1f", bench::median(us)),
                bench::text("%.1f", bench::percentile(us, 90)), bench::text("%.2f", bench::median_ratio(us, floor))});
    report.raw(name, "us", us);
  };
  row("a bare row in and out", floor);
  row("sqlite, with fence", ours);
  report.reach("sqlite with fence to a bare row in and out", "ratio", bench::median_ratio(ours, floor), 1.5);
}

constexpr std::size_t waiters = 100;
constexpr std::size_t most_holds = 100;

struct Frame {
  std::atomic<std::size_t> ready{0};
  std::atomic<std::int64_t> release_began{0};
  std::atomic<std::int64_t> sleeps{0};
  std::array<std::array<std::int64_t, most_holds>, waiters> ns{};
};

// All of them want it all the time, so whoever releases hands it to one who waits.
void hand_offs(const bench::Arguments& arguments, bench::Report& report) {
  const bench::WorkDirectory directory(arguments.directory);
  const std::size_t holds = arguments.quick ? 5 : most_holds;
  bench::Shared<Frame> frame;
  bench::Crew crew;
  for (std::size_t me = 0; me < waiters; ++me) {
    crew.start([&, me] {
      const auto lock = lock_in(directory, "a");
      lock->acquire();
      lock->release();
      ++frame->ready;
      bench::wait_until([&] { return frame->ready == waiters; }, "the others");
      const std::int64_t before = bench::sleeps();
      for (std::size_t i = 0; i < holds; ++i) {
        lock->acquire();
        frame->ns.at(me).at(i) = bench::now_ns() - frame->release_began;
        frame->release_began = bench::now_ns();
        lock->release();
      }
      frame->sleeps += bench::sleeps() - before;
    });
  }
  crew.finish();
  std::vector<double> us;
  for (const auto& one : frame->ns) {
    // In the first and the last rounds not all of them wait.
    for (std::size_t i = 1; i + 1 < holds; ++i) us.push_back(static_cast<double>(one.at(i)) / 1000);
  }
  const double sleeps = static_cast<double>(frame->sleeps) / static_cast<double>(waiters * holds);
  report.table({"hand-off at 100 waiters: us", "p50", "p90", "p99", "hand-offs", "sleeps per hold"});
  if (us.empty()) return;
  report.row({"sqlite", bench::text("%.1f", bench::median(us)), bench::text("%.1f", bench::percentile(us, 90)),
              bench::text("%.1f", bench::percentile(us, 99)), bench::text("%.0f", static_cast<double>(us.size())),
              bench::text("%.2f", sleeps)});
  report.raw("hand-off at 100 waiters", "us", us);
  report.reach("hand-off at 100 waiters, p50", "us", bench::median(us), 300);
}

// Each is held by a lock object of its own, and released and acquired again in turn.
void names(const bench::Arguments& arguments, bench::Report& report) {
  constexpr std::array<std::size_t, 2> sizes = {10, 10'000};
  const bench::WorkDirectory directory(arguments.directory);
  std::array<std::vector<std::unique_ptr<lockfile::Lock>>, 2> held;
  for (std::size_t set = 0; set < sizes.size(); ++set) {
    for (std::size_t i = 0; i < sizes.at(set); ++i) {
      // Of the ten: in a database of their own.
      held.at(set).push_back(
          lockfile::open("sqlite:" + directory.file(std::to_string(sizes.at(set)) + ".db") + "#" + std::to_string(i)));
      held.at(set).back()->acquire();
    }
  }
  std::array<std::vector<double>, 2> us;
  std::array<std::size_t, 2> next{};
  for (int round = 0; round < arguments.rounds(200); ++round) {
    for (std::size_t set = 0; set < sizes.size(); ++set) {
      us.at(set).push_back(us_per_pair(100, [&] {
        lockfile::Lock& lock = *held.at(set).at(next.at(set)++ % sizes.at(set));
        lock.release();
        lock.acquire();
      }));
    }
  }
  report.table({"us per pair, names held", "p50", "p90", "to 10 names"});
  for (std::size_t set = 0; set < sizes.size(); ++set) {
    report.row({std::to_string(sizes.at(set)), bench::text("%.1f", bench::median(us.at(set))),
                bench::text("%.1f", bench::percentile(us.at(set), 90)),
                bench::text("%.2f", bench::median_ratio(us.at(set), us.at(0)))});
    report.raw(std::to_string(sizes.at(set)) + " names", "us", us.at(set));
  }
  report.reach("10,000 names to 10", "ratio", bench::median_ratio(us.at(1), us.at(0)), 1.5);
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Arguments arguments(argc, argv);
  const bench::WorkDirectory directory(arguments.directory);
  bench::Report report("locks in an SQLite database", arguments, directory);
  hand_offs(arguments, report);  // forks, so nothing is open yet
  alone(arguments, report);
  names(arguments, report);
}
