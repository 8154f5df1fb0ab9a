// What does an acquire cost when 10,000 other locks are held by the same program, an ordinary user's? 100,000 where the
// limit of descriptors allows it: each held lock keeps some. In one directory, and spread over a hundred.
#include <grp.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <lockfile/lockfile.hpp>
#include <string>

#include "lockers.hpp"

namespace {

constexpr std::size_t few = 10;

// As many descriptors as an ordinary process may have.
std::size_t raise_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) bench::fail("getrlimit");
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) bench::fail("setrlimit");
  return static_cast<std::size_t>(std::min<rlim_t>(limit.rlim_cur, 2'000'000));
}

// Root is let through where others are not.
void become_ordinary() {
  if (geteuid() != 0) return;
  constexpr uid_t nobody = 65534;
  if (setgroups(0, nullptr) != 0 || setgid(nobody) != 0 || setuid(nobody) != 0) bench::fail("setuid");
}

std::size_t open_descriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& each : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

struct Result {
  double few_us = 0;       // an acquire of a new lock object, 10 held
  double many_us = 0;      // the same, all held
  double few_pair_us = 0;  // acquire and release of a kept one
  double many_pair_us = 0;
  double descriptors = 0;  // for each lock that is held
  double count = 0;        // so many were held: as the limit of descriptors allows
};

class Crowd {
 public:
  Crowd(const bench::WorkDirectory& directory, std::string scheme, std::size_t spread)
      : directory_(directory), scheme_(std::move(scheme)), spread_(spread) {}

  void hold(std::size_t count) {
    while (held_.size() < count) {
      held_.push_back(bench::make_locker_on(scheme_, path_of(held_.size())));
      held_.back()->acquire();
    }
  }
  /// The median of some fresh acquires beside those that are held.
  [[nodiscard]] double fresh_us() {
    std::vector<double> us;
    for (std::size_t i = 0; i < samples; ++i) {
      const auto lock = bench::make_locker_on(scheme_, path_of(next_++));  // never one whose file is there already
      const std::int64_t begin = bench::now_ns();
      lock->acquire();
      us.push_back(static_cast<double>(bench::now_ns() - begin) / 1000);
      lock->release();
    }
    return bench::median(us);
  }
  [[nodiscard]] double pair_us() {
    if (!kept_) kept_ = bench::make_locker_on(scheme_, path_of(100'000'000));
    kept_->acquire();
    kept_->release();
    std::vector<double> us;
    for (std::size_t i = 0; i < samples; ++i) {
      const std::int64_t begin = bench::now_ns();
      kept_->acquire();
      kept_->release();
      us.push_back(static_cast<double>(bench::now_ns() - begin) / 1000);
    }
    return bench::median(us);
  }

 private:
  static constexpr std::size_t samples = 200;
  [[nodiscard]] std::string path_of(std::size_t number) const {
    const std::string part = "part" + std::to_string(number % spread_);
    return directory_.file(part) + "/" + std::to_string(number);
  }

  const bench::WorkDirectory& directory_;
  std::string scheme_;
  std::size_t spread_;
  std::size_t next_ = 1'000'000;
  std::vector<std::unique_ptr<bench::Locker>> held_;
  std::unique_ptr<bench::Locker> kept_;
};

Result measure(const std::string& scheme, std::size_t count, std::size_t spread,
               const bench::WorkDirectory& directory) {
  bench::Shared<Result> result;
  bench::Crew crew;
  crew.start([&] {
    become_ordinary();
    const std::size_t limit = raise_limit();
    for (std::size_t i = 0; i < spread; ++i) {
      std::filesystem::create_directory(directory.file("part" + std::to_string(i)));
    }
    Crowd crowd(directory, scheme, spread);
    const std::size_t before = open_descriptors();
    crowd.hold(few);
    result->few_us = crowd.fresh_us();
    result->few_pair_us = crowd.pair_us();
    // What a directory needs is no more with more locks in it.
    const std::size_t used = open_descriptors() - before;
    const std::size_t each = std::max<std::size_t>(1, (used - std::min({used, spread, few})) / few);
    const std::size_t held = std::min(count, (limit - 2 * spread - 100) / each);
    crowd.hold(held);
    result->count = static_cast<double>(held);
    result->descriptors = static_cast<double>(open_descriptors() - before) / result->count;
    result->many_us = crowd.fresh_us();
    result->many_pair_us = crowd.pair_us();
  });
  crew.finish();
  for (std::size_t i = 0; i < spread; ++i) {
    std::filesystem::remove_all(directory.file("part" + std::to_string(i)));
  }
  return *result;
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Arguments arguments(argc, argv);
  const bench::WorkDirectory directory(arguments.directory);
  bench::Report report("many locks at once", arguments, directory);
  if (chmod(directory.path().c_str(), 0777) != 0) bench::fail("chmod");
  const std::size_t limit = raise_limit();
  const std::size_t most = arguments.quick ? 200 : limit > 320'000 ? 100'000 : 10'000;
  report.table({"held, lock", "10 held: us", "all held: us", "ratio", "kept: us", "kept: ratio", "descriptors"});
  std::vector<std::pair<std::string, double>> targets;
  for (const std::string& scheme : bench::schemes()) {
    for (const std::size_t spread : {1U, 100U}) {
      const Result got = measure(scheme, most, spread, directory);
      const std::string label =
          bench::text("%.0f ", got.count) + scheme + (spread == 1 ? ", one directory" : ", a hundred");
      report.row({label, bench::text("%.1f", got.few_us), bench::text("%.1f", got.many_us),
                  bench::text("%.2f", got.many_us / got.few_us), bench::text("%.1f", got.many_pair_us),
                  bench::text("%.2f", got.many_pair_us / got.few_pair_us), bench::text("%.2f", got.descriptors)});
      report.raw(label, "us: 10 held, all held; kept: 10 held, all held",
                 {got.few_us, got.many_us, got.few_pair_us, got.many_pair_us});
      targets.emplace_back(label + ", a new acquire to one at 10", got.many_us / got.few_us);
      targets.emplace_back(label + ", a kept one's to one at 10", got.many_pair_us / got.few_pair_us);
    }
  }
  for (const auto& [what, ratio] : targets) report.reach(what, "ratio", ratio, 1.5);
}
