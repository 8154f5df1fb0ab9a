// What do 50 processes cost that wait for a lock which does not come free for 5 s? Processor time of the waiters, by
// the kernel's own nanoseconds (clock_getcpuclockid(3)); the times of getrusage(2) would do too, those of /proc are
// ticks of 10 ms.
#include <cstdio>
#include <numeric>

#include "driver.hpp"
#include "lockers.hpp"

namespace {

using namespace std::chrono_literals;
constexpr int waiters = 50;

struct Frame {
  std::atomic<bool> held{false};
  std::atomic<bool> stop{false};
  std::atomic<int> waiting{0};
};

struct Result {
  double entering_ms = 0;  // all that was used until everybody slept
  double waiting_ms = 0;   // what was used from then on
  double leaving_ms = 0;   // from the release until everybody had been in
};

double sum_ms(const std::vector<pid_t>& processes) {
  return std::accumulate(processes.begin(), processes.end(), 0.0,
                         [](double sum, pid_t p) { return sum + static_cast<double>(bench::cpu_ns(p)); }) /
         1e6;
}

Result measure(const std::string& contestant, std::chrono::milliseconds length, const bench::WorkDirectory& directory) {
  bench::Shared<Frame> frame;
  bench::Crew holder;
  bench::Crew crew;
  holder.start([&] {
    const auto lock = bench::make_locker(contestant, directory);
    lock->acquire();
    frame->held = true;
    bench::wait_until([&] { return frame->stop.load(); }, "nobody said stop");
    lock->release();
  });
  bench::wait_until([&] { return frame->held.load(); }, "the holder did not get it");
  for (int i = 0; i < waiters; ++i) {
    crew.start([&] {
      const auto lock = bench::make_locker(contestant, directory);
      ++frame->waiting;
      lock->acquire();
      lock->release();
    });
  }
  bench::wait_until([&] { return frame->waiting.load() == waiters; }, "not all came");
  // Asleep is what has used nothing for a while. Those that poll never are, and are taken as they come.
  constexpr int most_looks = 60;
  double before = sum_ms(crew.pids());
  for (int quiet = 0, looks = 0; quiet < 5 && looks < most_looks; ++looks) {
    const std::int64_t until = bench::now_ns() + 50'000'000;
    bench::wait_until([&] { return bench::now_ns() >= until; }, "time");
    const double now = sum_ms(crew.pids());
    quiet = now - before < 0.5 ? quiet + 1 : 0;
    before = now;
  }
  const std::int64_t end = bench::now_ns() + std::chrono::nanoseconds(length).count();
  bench::wait_until([&] { return bench::now_ns() >= end; }, "time");
  const double after = sum_ms(crew.pids());
  frame->stop = true;
  const double all = crew.finish() / 1e6;
  holder.finish();
  return {.entering_ms = before, .waiting_ms = after - before, .leaving_ms = all - after};
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Arguments arguments(argc, argv);
  const bench::WorkDirectory directory(arguments.directory);
  bench::Report report("processor time of 50 waiters over 5 s", arguments, directory);
  report.table({"ms in all", "beginning", "5 s asleep", "all leaving"});
  std::vector<std::pair<std::string, double>> targets;
  std::vector<std::string> contestants = bench::schemes();
  contestants.emplace_back(bench::raw_flock);
  for (const std::string& name : contestants) {
    const Result result = measure(name, arguments.quick ? 500ms : 5000ms, directory);
    report.row({name, bench::text("%.1f", result.entering_ms), bench::text("%.2f", result.waiting_ms),
                bench::text("%.1f", result.leaving_ms)});
    report.raw(name, "ms beginning, asleep, leaving", {result.entering_ms, result.waiting_ms, result.leaving_ms});
    if (bench::is_scheme(name)) targets.emplace_back(name, result.waiting_ms);
  }
  for (const auto& [name, value] : targets) report.reach(name + ", 50 waiters asleep for 5 s", "ms", value, 10);
}
