// Is everybody served? Three questions to each scheme, and to flock(2) for comparison: many processes that want one
// lock all the time; one that comes while another takes the lock again at once, always; a writer among readers that
// keep coming.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>

#include "contend.hpp"
#include "counting.hpp"
#include "lockers.hpp"

namespace {

using namespace std::chrono_literals;

std::vector<std::string> contestants() {
  std::vector<std::string> names = bench::schemes();
  names.emplace_back(bench::raw_flock);
  return names;
}

bool is_fair(std::string_view name) { return bench::promised(name, &lockfile::Traits::fair); }

void least_served(const bench::Arguments& arguments, const bench::WorkDirectory& directory, bench::Report& report) {
  report.table({"without a pause, least to mean", "32 processes", "128 processes"});
  std::vector<std::array<double, 2>> shares;
  const std::array<std::size_t, 2> sizes =
      arguments.quick ? std::array<std::size_t, 2>{3, 5} : std::array<std::size_t, 2>{32, 128};
  for (const std::string& name : contestants()) {
    // Whoever promises nothing is shown by a short look.
    const auto length = arguments.quick ? 100ms : is_fair(name) ? 10'000ms : 2'000ms;
    auto& share = shares.emplace_back();
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      share[i] = bench::contend(name, sizes[i], length, directory).least_to_mean;
      report.raw(name + ", " + std::to_string(sizes[i]), "least served to mean", {share[i]});
    }
    report.row({name, bench::text("%.3f", share[0]), bench::text("%.3f", share[1])});
  }
  const auto names = contestants();
  for (std::size_t k = 0; k < names.size(); ++k) {
    if (!is_fair(names[k])) continue;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      report.reach_at_least(names[k] + ", " + std::to_string(sizes[i]) + " processes, least served", "ratio to mean",
                            shares[k][i], 0.95);
    }
  }
}

// Where somebody is not served, a question is not asked for ever.
constexpr std::int64_t most_ns = 3'000'000'000;

struct GreedyFrame {
  std::atomic<std::int64_t> holds{0};
  std::atomic<bool> stop{false};
};

// How many times the greedy one gets the lock before a waiter does.
struct Passed {
  std::vector<double> from_call;  // since the waiter called
  std::vector<double> in_line;    // since it went to sleep; where that is not seen, since it called
};

Passed passed_by_greedy(const std::string& name, int visits, const bench::WorkDirectory& directory) {
  bench::Shared<GreedyFrame> frame;
  bench::Crew greedy;
  greedy.start([&] {
    const auto lock = bench::make_locker(name, directory);
    while (!frame->stop.load()) {
      lock->acquire();
      ++frame->holds;
      bench::spin_for(500us);
      lock->release();
    }
  });
  bench::wait_until([&] { return frame->holds.load() > 3; }, "the greedy one does not begin");
  std::int64_t asleep = 0;
  bench::FirstSleep sleep([&] { asleep = frame->holds.load(); });
  const auto lock = bench::make_locker(name, directory);
  const bool tells = bench::is_scheme(name);
  Passed passed;
  const std::int64_t enough = bench::now_ns() + most_ns;
  for (int i = 0; i < visits && bench::now_ns() < enough; ++i) {
    usleep(static_cast<useconds_t>(1000 + 137 * (i % 7)));
    sleep.expect();
    const std::int64_t before = frame->holds.load();
    lock->acquire();
    const std::int64_t now = frame->holds.load();
    const std::int64_t lined_up = !tells ? before : sleep.came() ? asleep : now;
    passed.from_call.push_back(static_cast<double>(now - before));
    passed.in_line.push_back(static_cast<double>(now - lined_up));
    lock->release();
  }
  frame->stop = true;
  greedy.finish();
  return passed;
}

void against_a_greedy_one(const bench::Arguments& arguments, const bench::WorkDirectory& directory,
                          bench::Report& report) {
  report.table({"holds of the greedy one", "since it waits p50", "p90", "max", "since it called p90", "max", "visits"});
  std::vector<std::pair<std::string, double>> targets;
  for (const std::string& name : contestants()) {
    const auto passed = passed_by_greedy(name, arguments.rounds(500), directory);
    const auto& [called, waits] = passed;
    report.row({name, bench::text("%.0f", bench::median(waits)), bench::text("%.0f", bench::percentile(waits, 90)),
                bench::text("%.0f", bench::percentile(waits, 100)), bench::text("%.0f", bench::percentile(called, 90)),
                bench::text("%.0f", bench::percentile(called, 100)),
                bench::text("%.0f", static_cast<double>(waits.size()))});
    report.raw(name + ", greedy, since it waits", "holds", waits);
    report.raw(name + ", greedy, since it called", "holds", called);
    if (is_fair(name)) targets.emplace_back(name, bench::percentile(waits, 100));
  }
  for (const auto& [name, most] : targets)
    report.reach(name + ", holds of a greedy one before a waiter's", "count", most, 2);
}

constexpr std::size_t readers = 31;

struct ReadersFrame {
  std::atomic<std::int64_t> writer_called{0};  // 0: nobody waits to write
  std::atomic<std::int64_t> writer_waits{0};   // since when it sleeps; 0: it does not
  std::atomic<std::int64_t> meanwhile{0};      // readers that called after the writer and were in before it
  std::atomic<std::int64_t> overtakers{0};     // those of them that called when it slept already
  std::atomic<std::int64_t> reads{0};
  std::atomic<bool> stop{false};
};

struct Writes {
  std::vector<double> ms;
  std::vector<double> on_its_way_ms;  // until it sleeps
  std::vector<double> meanwhile;
  std::vector<double> overtakers;
};

struct OneWrite {
  std::atomic<std::int64_t> ns, on_its_way_ns, meanwhile, overtakers;
};

void keep_reading(ReadersFrame& frame, const std::string& name, const bench::WorkDirectory& directory) {
  const auto lock = bench::make_locker(name, directory);
  while (!frame.stop.load()) {
    const std::int64_t began = bench::now_ns();
    lock->acquire_shared();
    const std::int64_t called = frame.writer_called.load();
    const std::int64_t waits = frame.writer_waits.load();
    if (called != 0 && began > called) ++frame.meanwhile;
    if (waits != 0 && began > waits) ++frame.overtakers;
    ++frame.reads;
    usleep(5000);
    lock->release();
  }
}

template <class Log>
void write_often(ReadersFrame& frame, const std::string& name, int visits, const bench::WorkDirectory& directory,
                 Log& log, std::atomic<int>& done) {
  bench::FirstSleep sleep([&] { frame.writer_waits = bench::now_ns(); });
  const auto lock = bench::make_locker(name, directory);
  const bool tells = bench::is_scheme(name);
  for (int i = 0; i < visits; ++i) {
    usleep(static_cast<useconds_t>(7000 + 1300 * (i % 5)));
    const std::int64_t meanwhile = frame.meanwhile.load();
    const std::int64_t overtakers = frame.overtakers.load();
    const std::int64_t began = bench::now_ns();
    sleep.expect();
    frame.writer_called = began;
    if (!tells) frame.writer_waits = began;
    lock->acquire();
    const std::int64_t got = bench::now_ns();
    const std::int64_t waits = frame.writer_waits.load();
    frame.writer_called = 0;
    frame.writer_waits = 0;
    OneWrite& one = log[static_cast<std::size_t>(i)];
    one.ns = got - began;
    one.on_its_way_ns = (waits != 0 ? waits : got) - began;
    one.meanwhile = frame.meanwhile.load() - meanwhile;
    one.overtakers = frame.overtakers.load() - overtakers;
    lock->release();
    done = i + 1;
  }
}

Writes write_among_readers(const std::string& name, int visits, const bench::WorkDirectory& directory) {
  bench::Shared<ReadersFrame> frame;
  bench::Crew crew;
  for (std::size_t i = 0; i < readers; ++i) {
    crew.start([&] { keep_reading(*frame, name, directory); });
  }
  bench::wait_until([&] { return frame->reads.load() > static_cast<std::int64_t>(2 * readers); }, "no reader reads");
  Writes writes;
  bench::Crew writer;
  // Where nobody lets it in, it is ended.
  bench::Shared<std::array<OneWrite, 400>> log;
  bench::Shared<std::atomic<int>> done;
  const pid_t pid = writer.start([&] { write_often(*frame, name, visits, directory, *log, *done); });
  const std::int64_t enough = bench::now_ns() + most_ns;
  bench::wait_until([&] { return done->load() == visits || bench::now_ns() > enough; }, "time");
  const int seen = done->load();
  for (int i = 0; i < seen; ++i) {
    const OneWrite& one = (*log)[static_cast<std::size_t>(i)];
    writes.ms.push_back(static_cast<double>(one.ns.load()) / 1e6);
    writes.on_its_way_ms.push_back(static_cast<double>(one.on_its_way_ns.load()) / 1e6);
    writes.meanwhile.push_back(static_cast<double>(one.meanwhile.load()));
    writes.overtakers.push_back(static_cast<double>(one.overtakers.load()));
  }
  if (const std::int64_t called = frame->writer_called.load(); seen < visits && called != 0) {
    // The one that is still waiting counts as it is.
    writes.ms.push_back(static_cast<double>(bench::now_ns() - called) / 1e6);
    writes.meanwhile.push_back(static_cast<double>(frame->meanwhile.load()));
    writes.overtakers.push_back(static_cast<double>(frame->overtakers.load()));
  }
  if (seen < visits) writer.end(pid);
  writer.finish();
  frame->stop = true;
  crew.finish();
  return writes;
}

void among_readers(const bench::Arguments& arguments, const bench::WorkDirectory& directory, bench::Report& report) {
  report.table({"a writer among 31 readers of 5 ms", "wait ms p50", "max", "overtakers p50", "max",
                "until it sleeps ms p50", "max", "in meanwhile p50", "max", "writes"});
  std::vector<std::pair<std::string, double>> targets;
  for (const std::string& name : contestants()) {
    if (bench::is_scheme(name) && !bench::promised(name, &lockfile::Traits::shared)) continue;
    const Writes writes = write_among_readers(name, arguments.rounds(150), directory);
    const auto until_asleep = [&](double which) -> std::string {
      if (writes.on_its_way_ms.empty()) return "-";
      return bench::text("%.2f", bench::percentile(writes.on_its_way_ms, which));
    };
    report.row({name, bench::text("%.1f", bench::median(writes.ms)),
                bench::text("%.1f", bench::percentile(writes.ms, 100)),
                bench::text("%.0f", bench::median(writes.overtakers)),
                bench::text("%.0f", bench::percentile(writes.overtakers, 100)), until_asleep(50), until_asleep(100),
                bench::text("%.0f", bench::median(writes.meanwhile)),
                bench::text("%.0f", bench::percentile(writes.meanwhile, 100)),
                bench::text("%.0f", static_cast<double>(writes.ms.size()))});
    report.raw(name + ", a writer's wait", "ms", writes.ms);
    report.raw(name + ", until a writer sleeps", "ms", writes.on_its_way_ms);
    report.raw(name + ", readers that called after it and were in before it", "count", writes.meanwhile);
    report.raw(name + ", readers that overtook it", "count", writes.overtakers);
    if (is_fair(name)) targets.emplace_back(name, bench::percentile(writes.overtakers, 100));
  }
  for (const auto& [name, most] : targets) report.reach(name + ", readers that overtook a writer", "count", most, 0);
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Arguments arguments(argc, argv);
  const bench::WorkDirectory directory(arguments.directory);
  bench::Report report("fairness", arguments, directory);
  least_served(arguments, directory, report);
  against_a_greedy_one(arguments, directory, report);
  among_readers(arguments, directory, report);
}
