// What the models found in the code: their traces, step by step on the code itself.
#include "support/scratch.hpp"
#include "support/variants.hpp"

#include <lockfile/lockfile.hpp>

#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <functional>
#include <future>
#include <optional>
#include <thread>

namespace lockfile::testing {
namespace {

using namespace std::chrono_literals;

// Runs `what` in a process of its own, while this one is in the middle of a call.
void by_somebody_else(const Variant& variant, const std::function<void()>& what) {
  std::thread([&] {
    InVariant in(variant);
    what();
  }).join();
}

class MarkTraces : public ::testing::TestWithParam<std::string_view> {};
INSTANTIATE_TEST_SUITE_P(every, MarkTraces,
                         ::testing::Values("mkdir_with_mark", "mkdir_with_mark_without_hard_links",
                                           "mkdir_without_mark"),
                         [](const auto& each) { return std::string(each.param); });

// mkdir_word.pml, -D WRONG_NUMBER_SERVES_AGAIN:
//   A:  number 2, mkdir W, in                                  W is not it: out; tries again; holds by number ...
//   B:                       sees hold 2                                                                     breaks 2
//   C:                                    breaks hold 2
TEST_P(MarkTraces, a_number_that_was_seen_at_the_word_serves_no_later_hold) {
  const Scratch scratch;
  const std::string path = scratch / "a";
  const Variant& variant = variant_named(GetParam());
  const Options options{.scheme = std::string(variant.scheme)};
  InVariant in(variant);
  FileLock lock(path, options);
  lock.acquire(0s);
  lock.release();

  std::optional<Holder> seen;
  bool broken = false;
  in.system().before = [&](os::Call call) {
    if (call != os::Call::stat_at || seen || !std::filesystem::exists(path + ".lock/holder")) return 0;
    by_somebody_else(variant, [&] {
      FileLock other(path, options);
      seen = other.holder();
      broken = seen && other.break_lock(*seen);
    });
    return 0;
  };
  lock.acquire(0s);
  in.system().before = nullptr;
  ASSERT_TRUE(seen);
  ASSERT_TRUE(broken);

  by_somebody_else(variant, [&] {
    FileLock other(path, options);
    EXPECT_FALSE(other.break_lock(*seen)) << "the hold that was seen is over, and another one was broken for it";
  });
  EXPECT_TRUE(lock.i_am_locking());
  lock.release();
}

// Nobody sees anybody's process, and byte LIVE can be said to be free.
class ApartSystem final : public LayeredSystem {
 public:
  ApartSystem() : LayeredSystem(os::real_system()) {}

  std::function<void()> on_watch;
  std::function<bool(bool deadline)> on_wait;  // false: the wait fails
  bool guards_have_dropped = false;

  os::Result<std::uint64_t> pid_namespace() noexcept override { return {0, EACCES}; }
  os::Result<bool> lock_seen(int descriptor, std::uint64_t byte) noexcept override {
    if (guards_have_dropped) return {false, 0};
    return LayeredSystem::lock_seen(descriptor, byte);
  }
  os::Result<int> notify_add(int notify, int descriptor, os::Notice what) noexcept override {
    if (on_watch) on_watch();
    return LayeredSystem::notify_add(notify, descriptor, what);
  }
  os::Status wait(std::span<Waitable> on,
                  std::optional<std::chrono::steady_clock::time_point> deadline) noexcept override {
    if (on_wait && !on_wait(deadline.has_value())) return ECANCELED;
    return LayeredSystem::wait(on, deadline);
  }
};

// lock_word.pml, -D HIDDEN -D WRONG_FIRST_LOOK_IS_NOT_SETTLED, where a holder is in another pid namespace:
//   waiter: looks: hold 1                                                                 watches the inode  looks:
//   hold 2 holder:               release; hold 2, of the same inode; killed: its close event LIVE drops
// The look that first shows hold 2 found nothing new to watch, so it was the last.
TEST(Traces, a_hold_first_seen_after_its_close_event_is_looked_at_again) {
  const Scratch scratch;
  const std::string path = scratch / "a";
  // The holder comes back past the waiter, who stands in line.
  const Options options{.scheme = "link", .order = Order::throughput};
  InVariant in(variant_named("link"));
  FileLock holder(path, options);
  holder.acquire(0s);

  std::promise<bool> slept_with_a_plan;
  std::promise<void> watches;
  std::promise<void> holds_again;
  auto waiter = std::thread([&] {
    ApartSystem system;
    os::Process process(system);
    os::Process::set_current(&process);
    bool first = true;
    system.on_watch = [&] {
      if (!std::exchange(first, false)) return;
      watches.set_value();
      holds_again.get_future().wait();
    };
    bool told = false;
    system.on_wait = [&](bool deadline) {
      system.guards_have_dropped = true;  // the holder's end, of which no event tells any more
      if (!std::exchange(told, true)) slept_with_a_plan.set_value(deadline);
      return deadline;
    };
    {
      FileLock lock(path, options);
      std::error_code ec;
      EXPECT_TRUE(lock.acquire(for_ever, ec)) << ec.message();
    }
    os::Process::set_current(nullptr);
  });
  watches.get_future().wait();
  holder.release();
  holder.acquire(0s);
  holds_again.set_value();
  EXPECT_TRUE(slept_with_a_plan.get_future().get()) << "the waiter sleeps, and nobody is left to wake it";
  waiter.join();
}

}  // namespace
}  // namespace lockfile::testing
