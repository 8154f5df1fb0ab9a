// What does each verb cost by itself? Google Benchmark, since there is no floor to alternate with: for looking at one
// change of ours, not for the targets (the other questions have those). BENCH_DIR in the environment: where.
#include <benchmark/benchmark.h>
#include <stdlib.h>

#include <cstdlib>
#include <filesystem>
#include <lockfile/lockfile.hpp>
#include <mutex>
#include <string>

namespace {

using namespace std::chrono_literals;

class Place {
 public:
  Place() {
    const char* inside = std::getenv("BENCH_DIR");
    path_ = std::string(inside != nullptr ? inside : ".") + "/lockfile-bench-XXXXXX";
    if (mkdtemp(path_.data()) == nullptr) std::abort();
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  ~Place() { std::filesystem::remove_all(path_); }
  [[nodiscard]] std::string file() const { return path_ + "/a"; }

 private:
  std::string path_;
};

// A scheme that does nothing: what is left is the engine.
class NullScheme final : public lockfile::Scheme {
 public:
  class Attempt final : public lockfile::Attempt {
   public:
    lockfile::Step step() noexcept override { return lockfile::Granted{}; }
    std::optional<lockfile::Blocked> withdraw() noexcept override { return std::nullopt; }
    std::error_code release() noexcept override { return {}; }
    bool still_held(std::error_code& why) noexcept override {
      why.clear();
      return true;
    }
    void abandon() noexcept override {}
    bool reuse(const lockfile::Request& /*request*/) noexcept override { return true; }
  };

  [[nodiscard]] std::string_view name() const noexcept override { return "null"; }
  [[nodiscard]] lockfile::Traits traits() const noexcept override { return {}; }
  [[nodiscard]] std::unique_ptr<lockfile::Attempt> attempt(const lockfile::Request& /*request*/) override {
    return std::make_unique<Attempt>();
  }
  [[nodiscard]] std::vector<lockfile::Holder> holders(std::error_code& /*why*/) override { return {}; }
  std::error_code break_hold(const lockfile::Holder& /*hold*/, lockfile::Proof /*proof*/) noexcept override {
    return lockfile::errc::not_locked;
  }
};

void lock_unlock_nothing(benchmark::State& state) {
  lockfile::Lock lock("/nowhere", std::make_unique<NullScheme>());
  for (auto _ : state) {
    lock.lock();
    lock.unlock();
  }
}

lockfile::Options by_scheme(const std::string& name) {
  lockfile::Options options;
  options.scheme = name;
  return options;
}

void acquire_release_kept(benchmark::State& state, const std::string& scheme) {
  const Place place;
  lockfile::FileLock lock(place.file(), by_scheme(scheme));
  for (auto _ : state) {
    lock.acquire();
    lock.release();
  }
}

// A lock object for one hold: the claim is made, guarded and removed each time.
void acquire_release_fresh(benchmark::State& state, const std::string& scheme) {
  const Place place;
  for (auto _ : state) {
    lockfile::FileLock lock(place.file(), by_scheme(scheme));
    const std::scoped_lock guard(lock);
  }
}

void enter_again(benchmark::State& state, const std::string& scheme) {
  const Place place;
  lockfile::FileLock lock(place.file(), by_scheme(scheme));
  lock.acquire();
  for (auto _ : state) {
    lock.acquire();
    lock.release();
  }
}

void i_am_locking(benchmark::State& state, const std::string& scheme) {
  const Place place;
  lockfile::FileLock lock(place.file(), by_scheme(scheme));
  lock.acquire();
  for (auto _ : state) benchmark::DoNotOptimize(lock.i_am_locking());
}

void is_locked_free(benchmark::State& state, const std::string& scheme) {
  const Place place;
  const lockfile::FileLock lock(place.file(), by_scheme(scheme));
  for (auto _ : state) benchmark::DoNotOptimize(lock.is_locked());
}

void holder_of_a_held_one(benchmark::State& state, const std::string& scheme) {
  const Place place;
  lockfile::FileLock lock(place.file(), by_scheme(scheme));
  lock.acquire();
  const lockfile::FileLock look(place.file(), by_scheme(scheme));
  for (auto _ : state) benchmark::DoNotOptimize(look.holder());
}

BENCHMARK(lock_unlock_nothing);
BENCHMARK_CAPTURE(acquire_release_kept, link, "link");
BENCHMARK_CAPTURE(acquire_release_kept, mkdir, "mkdir");
BENCHMARK_CAPTURE(acquire_release_fresh, link, "link");
BENCHMARK_CAPTURE(acquire_release_fresh, mkdir, "mkdir");
BENCHMARK_CAPTURE(enter_again, link, "link");
BENCHMARK_CAPTURE(i_am_locking, link, "link");
BENCHMARK_CAPTURE(i_am_locking, mkdir, "mkdir");
BENCHMARK_CAPTURE(is_locked_free, link, "link");
BENCHMARK_CAPTURE(holder_of_a_held_one, link, "link");
BENCHMARK_CAPTURE(holder_of_a_held_one, mkdir, "mkdir");

}  // namespace

BENCHMARK_MAIN();
