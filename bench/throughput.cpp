// How many holds a second, at what cost, when 2, 8, 32 or 128 processes want the lock all the time? Each holds it for
// 100 us and asks again at once, so 10,000 is the ceiling. Does the cost of a hold grow with the number that waits?
#include <array>
#include <map>
#include <string>

#include "contend.hpp"
#include "lockers.hpp"

namespace {

using namespace std::chrono_literals;
using Sizes = std::array<std::size_t, 4>;
constexpr Sizes full_sizes = {2, 8, 32, 128};
constexpr Sizes quick_sizes = {2, 3, 4, 5};

struct Series {
  std::vector<double> per_second{};
  std::vector<double> least_to_mean{};
  std::vector<double> cpu_us_per_hold{};
  std::vector<double> sleeps_per_hold{};
  double calls_per_hold = 0;
};

using Measured = std::map<std::string, std::array<Series, full_sizes.size()>>;

void measure(const Sizes& sizes, std::size_t which, const std::vector<std::string>& names,
             const bench::Arguments& arguments, const bench::WorkDirectory& directory, Measured& measured) {
  const auto length = arguments.quick ? 100ms : 600ms;
  for (int round = 0; round < arguments.rounds(5); ++round) {
    for (const std::string& name : names) {
      const bench::Contention got = bench::contend(name, sizes[which], length, directory);
      Series& series = measured[name][which];
      series.per_second.push_back(got.per_second);
      series.least_to_mean.push_back(got.least_to_mean);
      series.cpu_us_per_hold.push_back(got.cpu_us_per_hold);
      series.sleeps_per_hold.push_back(got.sleeps_per_hold);
    }
  }
  // Apart, since counting costs something.
  for (const std::string& name : names) {
    if (!bench::is_scheme(name)) continue;
    measured[name][which].calls_per_hold =
        bench::contend(name, sizes[which], length, directory, bench::Count::calls).calls_per_hold;
  }
}

void print(const Sizes& sizes, std::size_t which, const std::vector<std::string>& names, Measured& measured,
           bench::Report& report) {
  const Series& flock = measured[std::string(bench::raw_flock)][which];
  for (const std::string& name : names) {
    const Series& series = measured[name][which];
    const std::string label = std::to_string(sizes[which]) + " " + name;
    report.row({label, bench::text("%.0f", bench::median(series.per_second)),
                bench::text("%.2f", bench::median_ratio(series.per_second, flock.per_second)),
                bench::text("%.2f", bench::median(series.least_to_mean)),
                bench::text("%.2f", bench::median(series.sleeps_per_hold)),
                bench::is_scheme(name) ? bench::text("%.1f", series.calls_per_hold) : "",
                bench::text("%.0f", bench::median(series.cpu_us_per_hold))});
    report.raw(label, "holds per second", series.per_second);
    report.raw(label, "least served to mean", series.least_to_mean);
    report.raw(label, "sleeps per hold", series.sleeps_per_hold);
    report.raw(label, "us of cpu per hold besides the hold", series.cpu_us_per_hold);
    if (bench::is_scheme(name)) report.raw(label, "calls per hold", {series.calls_per_hold});
  }
}

void say_reaches(const Sizes& sizes, const std::string& name, Measured& measured, bench::Report& report) {
  const auto& own = measured[name];
  const auto rate = [&](const std::string& of, std::size_t which) { return measured[of][which].per_second; };
  for (const std::size_t which : {2U, 3U}) {
    report.reach_at_least(
        name + ", holds/s of " + std::to_string(sizes[which]) + " processes to those of " + std::to_string(sizes[1]),
        "ratio", bench::median(rate(name, which)) / bench::median(rate(name, 1)), 0.85);
  }
  if (name == "link") {
    report.reach_at_least("link to flock(2), holds/s of 8 processes", "ratio",
                          bench::median_ratio(rate(name, 1), rate(std::string(bench::raw_flock), 1)), 0.75);
  }
  if (name == "shm") {
    report.reach_at_least("shm to futex(2), holds/s of 8 processes", "ratio",
                          bench::median_ratio(rate(name, 1), rate(std::string(bench::raw_futex), 1)), 0.85);
  }
  for (std::size_t which = 0; which < sizes.size(); ++which) {
    report.reach(name + ", sleeps per hold, " + std::to_string(sizes[which]) + " processes", "count",
                 bench::median(own[which].sleeps_per_hold), 1.3);
  }
  report.reach(
      name + ", calls per hold of " + std::to_string(sizes[3]) + " processes to those of " + std::to_string(sizes[1]),
      "ratio", own[3].calls_per_hold / own[1].calls_per_hold, 1.1);
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Arguments arguments(argc, argv);
  const bench::WorkDirectory directory(arguments.directory);
  bench::Report report("throughput without a pause", arguments, directory);
  std::vector<std::string> names = bench::schemes();
  for (const auto floor : {bench::raw_flock, bench::raw_futex, bench::raw_ticket, bench::raw_link})
    names.emplace_back(floor);
  const Sizes& sizes = arguments.quick ? quick_sizes : full_sizes;
  Measured measured;
  report.table({"processes, lock", "holds/s", "to flock(2)", "least:mean", "sleeps/hold", "calls/hold", "cpu us/hold"});
  for (std::size_t which = 0; which < sizes.size(); ++which) {
    measure(sizes, which, names, arguments, directory, measured);
    print(sizes, which, names, measured, report);
  }
  // The kernel's own schemes wait as the kernel lets them; what was promised is of those that have a line.
  for (const std::string& name : bench::schemes()) {
    if (name == "link" || name == "mkdir" || name == "shm") say_reaches(sizes, name, measured, report);
  }
}
