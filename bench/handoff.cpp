// How long is the lock idle between one process that releases it and the next that waits for it? Two processes
// alternate: hold, release, pause as long. Measured from the moment before the one's release to the moment after the
// other's acquire, for those acquires that were already waiting. Twice: with holds of 100 us, and with holds of 2 ms,
// since a waiter needs some time until it sleeps, and one that does not sleep yet is quick for the wrong reason.
#include <array>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "driver.hpp"
#include "lockers.hpp"

namespace {

using namespace std::chrono_literals;
constexpr int most_holds = 250;

struct Shape {
  std::chrono::microseconds hold;
  std::size_t holds;  // of each process in a batch
  int batches;
};

struct Frame {
  std::array<std::atomic<std::int64_t>, 2> release_began{};
  std::array<std::atomic<int>, 2> arrived{};
  std::array<std::array<std::int64_t, most_holds>, 2> waited{};  // 0: was not waiting
};

// Both begin a batch together. Spinning: whoever slept here would come late.
void meet(Frame& frame, std::size_t me, int batch) {
  frame.arrived[me].store(batch);
  while (frame.arrived[1 - me].load() < batch) {
  }
}

void alternate(Frame& frame, const Shape& shape, std::size_t me, bench::Locker& lock) {
  meet(frame, me, 1);
  for (std::size_t i = 0; i < shape.holds; ++i) {
    const std::int64_t began = bench::now_ns();
    lock.acquire();
    const std::int64_t got = bench::now_ns();
    const std::int64_t released = frame.release_began[1 - me].load();
    frame.waited[me][i] = released > began ? got - released : 0;
    bench::spin_for(shape.hold);
    frame.release_began[me].store(bench::now_ns());
    lock.release();
    bench::spin_for(shape.hold);
  }
}

std::vector<double> one_batch(const std::string& contestant, const Shape& shape,
                              const bench::WorkDirectory& directory) {
  bench::Shared<Frame> frame;
  bench::Crew crew;
  for (std::size_t me = 0; me < 2; ++me) {
    crew.start([&, me] {
      const auto lock = bench::make_locker(contestant, directory);
      lock->acquire();  // what is made at the first use is made
      lock->release();
      alternate(*frame, shape, me, *lock);
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

struct Target {
  std::string_view scheme;
  std::string_view floor;
  double most;
};
constexpr std::array targets = {Target{"shm", bench::raw_futex, 1.15}, Target{"kernel", bench::raw_flock, 1.25},
                                Target{"link", bench::raw_flock, 1.3}};

void ask(const Shape& shape, bool has_targets, const bench::WorkDirectory& directory, bench::Report& report) {
  std::vector<std::string> names = bench::schemes();
  for (const auto floor : {bench::raw_flock, bench::raw_byte, bench::raw_futex, bench::raw_link}) {
    names.emplace_back(floor);
  }
  std::map<std::string, std::vector<double>, std::less<>> us;
  for (int round = 0; round < shape.batches; ++round) {
    for (std::size_t i = 0; i < names.size(); ++i) {
      const std::string& name = names[(i + static_cast<std::size_t>(round)) % names.size()];
      const std::vector<double> batch = one_batch(name, shape, directory);
      auto& all = us[name];
      all.insert(all.end(), batch.begin(), batch.end());
    }
  }
  const auto p50 = [&](std::string_view name) { return bench::median(us.find(name)->second); };

  const std::string holds = "holds of " + std::to_string(shape.hold.count()) + " us";
  report.table({holds + ": us", "p50", "p90", "p99", "hand-offs", "to flock(2)", "to futex(2)"});
  for (const std::string& name : names) {
    const auto& all = us[name];
    report.row({name, bench::text("%.1f", bench::median(all)), bench::text("%.1f", bench::percentile(all, 90)),
                bench::text("%.1f", bench::percentile(all, 99)), bench::text("%.0f", static_cast<double>(all.size())),
                bench::text("%.2f", p50(name) / p50(bench::raw_flock)),
                bench::text("%.2f", p50(name) / p50(bench::raw_futex))});
    report.raw(name + ", " + holds, "us", all);
  }
  if (!has_targets) return;
  for (const Target& target : targets) {
    if (!bench::is_scheme(target.scheme)) continue;
    report.reach(std::string(target.scheme) + " to " + std::string(target.floor) + ", p50, " + holds, "ratio",
                 p50(target.scheme) / p50(target.floor), target.most);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Arguments arguments(argc, argv);
  const bench::WorkDirectory directory(arguments.directory);
  bench::Report report("hand-off between two processes", arguments, directory);
  ask({.hold = 100us, .holds = most_holds, .batches = arguments.rounds(40)}, true, directory, report);
  ask({.hold = 2000us, .holds = 40, .batches = arguments.rounds(10)}, false, directory, report);
}
