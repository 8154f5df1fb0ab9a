// A holder is killed with SIGKILL while somebody waits: when does the waiter enter? Measured from the moment before
// kill(2) to the moment after the waiter's acquire. The dead holder is not reaped before that: a zombie must not count
// as alive.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "driver.hpp"
#include "lockers.hpp"

namespace {

struct Frame {
  std::atomic<bool> held{false};
  std::atomic<bool> asked{false};
  std::atomic<std::int64_t> entered{0};
};

double one_kill_ms(const std::string& contestant, const bench::WorkDirectory& directory) {
  bench::Shared<Frame> frame;
  bench::Crew crew;
  const pid_t waiter = crew.start([&] {
    bench::wait_until([&] { return frame->held.load(); }, "the holder did not get it");
    const auto lock = bench::make_locker(contestant, directory);
    frame->asked = true;
    lock->acquire();
    frame->entered = bench::now_ns();
    lock->release();
  });
  bench::Crew holders;
  const pid_t holder = holders.start([&] {
    const auto lock = bench::make_locker(contestant, directory);
    lock->acquire();
    frame->held = true;
    for (;;) pause();
  });
  // Asleep in three looks in a row: it waits, and for nothing else than the lock.
  int asleep = 0;
  bench::wait_until(
      [&] {
        asleep = frame->asked.load() && bench::state_of(waiter) == 'S' ? asleep + 1 : 0;
        usleep(2000);
        return asleep == 3;
      },
      "the waiter never sleeps");
  const std::int64_t killed = bench::now_ns();
  kill(holder, SIGKILL);
  crew.finish();
  return static_cast<double>(frame->entered.load() - killed) / 1e6;
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Arguments arguments(argc, argv);
  const bench::WorkDirectory directory(arguments.directory);
  bench::Report report("a killed holder's successor", arguments, directory);
  std::vector<std::string> names = bench::schemes();
  names.emplace_back(bench::raw_flock);
  std::vector<std::vector<double>> ms(names.size());
  for (int round = 0; round < arguments.rounds(50); ++round) {
    for (std::size_t i = 0; i < names.size(); ++i) ms[i].push_back(one_kill_ms(names[i], directory));
  }
  report.table({"ms from SIGKILL to the next hold", "p50", "p90", "max"});
  for (std::size_t i = 0; i < names.size(); ++i) {
    report.row({names[i], bench::text("%.2f", bench::median(ms[i])), bench::text("%.2f", bench::percentile(ms[i], 90)),
                bench::text("%.2f", bench::percentile(ms[i], 100))});
    report.raw(names[i], "ms", ms[i]);
  }
  for (std::size_t i = 0; i + 1 < names.size(); ++i) {
    report.reach(names[i] + ", the slowest", "ms", bench::percentile(ms[i], 100), 50);
  }
}
