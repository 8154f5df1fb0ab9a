// How many holds a second, and how evenly served, when 2, 8 or 32 processes want the lock all the time? Each holds it
// for 100 us and asks again at once, so 10,000 is the ceiling.
#include <algorithm>
#include <array>
#include <cstdio>
#include <numeric>

#include "driver.hpp"

namespace {

using namespace std::chrono_literals;
constexpr std::size_t most = 32;

struct Frame {
  std::atomic<int> ready{0};
  std::atomic<bool> go{false};
  std::atomic<bool> stop{false};
  std::array<std::atomic<std::int64_t>, most> holds{};
};

struct Result {
  double per_second = 0;
  double least_to_mean = 0;
  double cpu_us_per_hold = 0;  // besides the hold itself
};

Result one_batch(const std::string& contestant, std::size_t processes, std::chrono::milliseconds length,
                 const bench::WorkDirectory& directory) {
  bench::Shared<Frame> frame;
  bench::Crew crew;
  for (std::size_t me = 0; me < processes; ++me) {
    crew.start([&, me] {
      const auto lock = bench::make_locker(contestant, directory);
      lock->acquire();
      lock->release();
      ++frame->ready;
      bench::wait_until([&] { return frame->go.load(); }, "nobody said go");
      while (!frame->stop.load()) {
        lock->acquire();
        bench::spin_for(100us);
        lock->release();
        ++frame->holds[me];
      }
    });
  }
  bench::wait_until([&] { return frame->ready.load() == static_cast<int>(processes); }, "not all came");
  const std::int64_t begin = bench::now_ns();
  frame->go = true;
  const std::int64_t end = begin + std::chrono::nanoseconds(length).count();
  bench::wait_until([&] { return bench::now_ns() >= end; }, "the end of the batch");
  frame->stop = true;
  const double seconds = static_cast<double>(bench::now_ns() - begin) / 1e9;
  // Counted at the stop: the last hold of each would flatter the least served.
  std::vector<double> counts;
  for (std::size_t i = 0; i < processes; ++i) counts.push_back(static_cast<double>(frame->holds[i].load()));
  const double cpu = crew.finish();
  const double total = std::accumulate(counts.begin(), counts.end(), 0.0);
  const double mean = total / static_cast<double>(processes);
  return {.per_second = total / seconds,
          .least_to_mean = *std::min_element(counts.begin(), counts.end()) / mean,
          .cpu_us_per_hold = cpu / total / 1000 - 100};
}

struct Series {
  std::vector<double> per_second{};
  std::vector<double> least_to_mean{};
  std::vector<double> cpu_us_per_hold{};
};

}  // namespace

int main(int argc, char** argv) {
  const bench::Arguments arguments(argc, argv);
  const bench::WorkDirectory directory(arguments.directory);
  bench::Report report("throughput and fairness", arguments, directory);
  std::vector<std::string> names = bench::contestants();
  names.emplace_back(bench::bare);
  report.row({"processes, lock", "holds/s", "to flock", "least:mean", "cpu us/hold"});
  for (const std::size_t processes : {2U, 8U, 32U}) {
    std::vector<Series> series(names.size());
    for (int round = 0; round < arguments.rounds(5); ++round) {
      for (std::size_t i = 0; i < names.size(); ++i) {
        const Result result = one_batch(names[i], processes, arguments.quick ? 200ms : 1000ms, directory);
        series[i].per_second.push_back(result.per_second);
        series[i].least_to_mean.push_back(result.least_to_mean);
        series[i].cpu_us_per_hold.push_back(result.cpu_us_per_hold);
      }
    }
    for (std::size_t i = 0; i < names.size(); ++i) {
      const std::string label = std::to_string(processes) + " " + names[i];
      report.row({label, bench::text("%.0f", bench::median(series[i].per_second)),
                  bench::text("%.2f", bench::median_ratio(series[i].per_second, series[0].per_second)),
                  bench::text("%.2f", bench::median(series[i].least_to_mean)),
                  bench::text("%.0f", bench::median(series[i].cpu_us_per_hold))});
      report.raw(label, "holds per second", series[i].per_second);
      report.raw(label, "least served to mean", series[i].least_to_mean);
      report.raw(label, "us of cpu per hold besides the hold", series[i].cpu_us_per_hold);
    }
  }
}
