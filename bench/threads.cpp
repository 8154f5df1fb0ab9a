// What does a lock cost among 16 threads of one process, which share a lock object, beside 16 processes? Without a
// pause, and nothing is done while it is held: what remains is the lock.
#include <algorithm>
#include <array>
#include <string>
#include <thread>

#include "lockers.hpp"

namespace {

using namespace std::chrono_literals;
constexpr std::size_t many = 16;

struct Frame {
  std::atomic<int> ready{0};
  std::atomic<bool> go{false};
  std::atomic<bool> stop{false};
  struct alignas(64) Count {
    std::atomic<std::int64_t> holds{0};
  };
  std::array<Count, many> counts{};
};

struct Rate {
  double per_second = 0;
  double least_to_mean = 0;
};

void take_part(Frame& frame, std::size_t me, bench::Locker& lock) {
  ++frame.ready;
  bench::wait_until([&] { return frame.go.load(); }, "nobody said go");
  std::int64_t holds = 0;
  while (!frame.stop.load()) {
    lock.acquire();
    lock.release();
    frame.counts[me].holds = ++holds;
  }
}

Rate count(Frame& frame, std::chrono::milliseconds length) {
  bench::wait_until([&] { return frame.ready.load() == static_cast<int>(many); }, "not all came");
  const std::int64_t begin = bench::now_ns();
  frame.go = true;
  const std::int64_t end = begin + std::chrono::nanoseconds(length).count();
  bench::wait_until([&] { return bench::now_ns() >= end; }, "the end of the batch");
  frame.stop = true;
  const double seconds = static_cast<double>(bench::now_ns() - begin) / 1e9;
  double total = 0;
  double least = 1e18;
  for (const auto& each : frame.counts) {
    const auto holds = static_cast<double>(each.holds.load());
    total += holds;
    least = std::min(least, holds);
  }
  return {total / seconds, total > 0 ? least / (total / many) : 0};
}

Rate threads(const std::string& name, std::chrono::milliseconds length, const bench::WorkDirectory& directory) {
  bench::Shared<Frame> frame;
  bench::Shared<Rate> rate;
  bench::Crew crew;
  crew.start([&] {
    const auto lock = bench::make_locker(name, directory);
    std::vector<std::thread> all;
    for (std::size_t me = 0; me < many; ++me) all.emplace_back([&, me] { take_part(*frame, me, *lock); });
    *rate = count(*frame, length);
    for (std::thread& each : all) each.join();
  });
  crew.finish();
  return *rate;
}

Rate processes(const std::string& name, std::chrono::milliseconds length, const bench::WorkDirectory& directory) {
  bench::Shared<Frame> frame;
  bench::Crew crew;
  for (std::size_t me = 0; me < many; ++me) {
    crew.start([&, me] { take_part(*frame, me, *bench::make_locker(name, directory)); });
  }
  const Rate rate = count(*frame, length);
  crew.finish();
  return rate;
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Arguments arguments(argc, argv);
  const bench::WorkDirectory directory(arguments.directory);
  bench::Report report("16 threads beside 16 processes", arguments, directory);
  report.table({"holds/s, nothing done inside", "16 threads", "16 processes", "ratio", "threads' least:mean"});
  std::vector<std::pair<std::string, double>> targets;
  const auto length = arguments.quick ? 100ms : 700ms;
  for (const std::string& name : bench::schemes()) {
    std::vector<double> of_threads;
    std::vector<double> of_processes;
    std::vector<double> shares;
    for (int round = 0; round < arguments.rounds(5); ++round) {
      const Rate rate = threads(name, length, directory);
      of_threads.push_back(rate.per_second);
      shares.push_back(rate.least_to_mean);
      of_processes.push_back(processes(name, length, directory).per_second);
    }
    const double ratio = bench::median_ratio(of_threads, of_processes);
    report.row({name, bench::text("%.0f", bench::median(of_threads)), bench::text("%.0f", bench::median(of_processes)),
                bench::text("%.1f", ratio), bench::text("%.2f", bench::median(shares))});
    report.raw(name + ", 16 threads", "holds per second", of_threads);
    report.raw(name + ", 16 processes", "holds per second", of_processes);
    if (name == "link") targets.emplace_back(name, ratio);
  }
  for (const auto& [name, ratio] : targets) {
    report.reach_at_least(name + ", 16 threads to 16 processes", "ratio", ratio, 10);
  }
}
