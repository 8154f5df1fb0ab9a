// What does a reader cost, next to a writer: alone, and joining and leaving a group that is open; and what does it cost
// to become exclusive and weaker again?
#include <lockfile/lockfile.hpp>

#include "driver.hpp"

namespace {

using lockfile::Mode;

struct Series {
  const char* name;
  std::function<void()> pair;
  std::vector<double> ns{};
};

template <class Lock>
std::function<void()> pair_of(Lock& lock, Mode mode) {
  return [&lock, mode] {
    lock.acquire(mode);
    lock.release();
  };
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Arguments arguments(argc, argv);
  const bench::WorkDirectory directory(arguments.directory);
  bench::Report report("a reader next to a writer, nobody else waiting", arguments, directory);

  lockfile::LinkFileLock alone(directory.file("alone"));
  // Two readers are in for the whole time, so that the group is open.
  const std::string together = directory.file("together");
  lockfile::LinkFileLock one(together);
  lockfile::LinkFileLock two(together);
  one.lock_shared();
  two.lock_shared();
  lockfile::LinkFileLock third(together);
  lockfile::LinkFileLock changing(directory.file("changing"));
  changing.lock_upgrade();
  lockfile::KernelFileLock kernel(directory.file("kernel"));
  lockfile::KernelFileLock kernel_changing(directory.file("kernel_changing"));
  kernel_changing.lock_upgrade();

  enum {
    writer,
    lone,
    joins,
    lone_upgradable,
    joins_upgradable,
    up_down,
    kernel_writer,
    kernel_reader,
    kernel_up_down
  };
  const auto up_and_down = [](auto& lock) {
    return [&lock] {
      lock.upgrade();
      lock.downgrade(Mode::upgradable);
    };
  };
  std::vector<Series> all{
      {"link: a writer", pair_of(alone, Mode::exclusive)},
      {"link: a lone reader", pair_of(alone, Mode::shared)},
      {"link: joins and leaves an open group", pair_of(third, Mode::shared)},
      {"link: a lone upgradable one", pair_of(alone, Mode::upgradable)},
      {"link: joins and leaves as upgradable", pair_of(third, Mode::upgradable)},
      {"link: upgrade and downgrade, alone", up_and_down(changing)},
      {"kernel: a writer", pair_of(kernel, Mode::exclusive)},
      {"kernel: a reader", pair_of(kernel, Mode::shared)},
      {"kernel: upgrade and downgrade", up_and_down(kernel_changing)},
  };

  // Short batches, so that neighbours in time see the same machine; the order turns, so that nobody always comes
  // after the same one.
  constexpr int batch = 100;
  const int rounds = arguments.rounds(500);
  for (int round = -5; round < rounds; ++round) {  // the first few only warm up
    for (std::size_t i = 0; i < all.size(); ++i) {
      Series& series = all[(i + static_cast<std::size_t>(round + 5)) % all.size()];
      const std::int64_t begin = bench::now_ns();
      for (int k = 0; k < batch; ++k) series.pair();
      const std::int64_t end = bench::now_ns();
      if (round >= 0) series.ns.push_back(static_cast<double>(end - begin) / batch);
    }
  }

  report.table({"ns per pair, by batches of 100", "p10", "p50", "p90", "to a writer"});
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Series& s = all[i];
    const Series& floor = all[i < kernel_writer ? writer : kernel_writer];
    report.row({s.name, bench::text("%.0f", bench::percentile(s.ns, 10)), bench::text("%.0f", bench::median(s.ns)),
                bench::text("%.0f", bench::percentile(s.ns, 90)),
                bench::text("%.2f", bench::median_ratio(s.ns, floor.ns))});
    report.raw(s.name, "ns", s.ns);
  }
  report.reach("a lone reader to a writer", "ratio", bench::median_ratio(all[lone].ns, all[writer].ns), 1.3);
  report.reach("joining and leaving an open group to a writer", "ratio",
               bench::median_ratio(all[joins].ns, all[writer].ns), 2.0);
}
