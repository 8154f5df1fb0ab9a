// How long is the lock idle between one process that releases it and the next that waits for it? Two processes
// alternate: hold for 100 us, release, pause for 100 us. Measured from the moment before the one's release to the
// moment after the other's acquire, for those acquires that were already waiting.
#include <array>
#include <cstdio>

#include "driver.hpp"

namespace {

using namespace std::chrono_literals;
constexpr int holds_per_batch = 250;

struct Frame {
  std::array<std::atomic<std::int64_t>, 2> release_began{};
  std::array<std::atomic<int>, 2> arrived{};
  std::array<std::array<std::int64_t, holds_per_batch>, 2> waited{};  // 0: was not waiting
};

// Both begin a batch together. Spinning: whoever slept here would come late.
void meet(Frame& frame, std::size_t me, int batch) {
  frame.arrived[me].store(batch);
  while (frame.arrived[1 - me].load() < batch) {
  }
}

void alternate(Frame& frame, std::size_t me, bench::Locker& lock) {
  meet(frame, me, 1);
  for (std::size_t i = 0; i < holds_per_batch; ++i) {
    const std::int64_t began = bench::now_ns();
    lock.acquire();
    const std::int64_t got = bench::now_ns();
    const std::int64_t released = frame.release_began[1 - me].load();
    frame.waited[me][i] = released > began ? got - released : 0;
    bench::spin_for(100us);
    frame.release_began[me].store(bench::now_ns());
    lock.release();
    bench::spin_for(100us);
  }
}

std::vector<double> one_batch(const std::string& contestant, const bench::WorkDirectory& directory) {
  bench::Shared<Frame> frame;
  bench::Crew crew;
  for (std::size_t me = 0; me < 2; ++me) {
    crew.start([&, me] {
      const auto lock = bench::make_locker(contestant, directory);
      lock->acquire();  // what is made at the first use is made
      lock->release();
      alternate(*frame, me, *lock);
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

struct Series {
  std::vector<double> all_us{};
  std::vector<double> p50_of_batch{};
};

}  // namespace

int main(int argc, char** argv) {
  const bench::Arguments arguments(argc, argv);
  const bench::WorkDirectory directory(arguments.directory);
  bench::Report report("hand-off between two processes", arguments, directory);
  std::vector<std::string> names = bench::contestants();
  names.emplace_back(bench::bare);
  std::vector<Series> series(names.size());
  for (int round = 0; round < arguments.rounds(40); ++round) {
    for (std::size_t i = 0; i < names.size(); ++i) {
      const std::size_t which = (i + static_cast<std::size_t>(round)) % names.size();
      const std::vector<double> batch = one_batch(names[which], directory);
      if (batch.empty()) bench::fail("nobody ever waited");
      series[which].all_us.insert(series[which].all_us.end(), batch.begin(), batch.end());
      series[which].p50_of_batch.push_back(bench::median(batch));
    }
  }

  report.row({"us", "p50", "p90", "p99", "hand-offs", "p50 to flock"});
  for (std::size_t i = 0; i < names.size(); ++i) {
    const Series& s = series[i];
    report.row({names[i], bench::text("%.1f", bench::median(s.all_us)),
                bench::text("%.1f", bench::percentile(s.all_us, 90)),
                bench::text("%.1f", bench::percentile(s.all_us, 99)),
                bench::text("%.0f", static_cast<double>(s.all_us.size())),
                bench::text("%.2f", bench::median_ratio(s.p50_of_batch, series[0].p50_of_batch))});
    report.raw(names[i], "us", s.all_us);
  }
  for (const std::size_t i : {1U, 2U}) {
    report.reach(names[i] + " to flock, p50", "ratio",
                 bench::median_ratio(series[i].p50_of_batch, series[0].p50_of_batch), 2.5);
  }
}
