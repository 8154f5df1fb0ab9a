// A scheme that a user of the library builds: one try and one release are enough for all the verbs; what it does not
// have is refused by name.
#include "support/code_of.hpp"

#include <lockfile/lockfile.hpp>
#include <lockfile/scheme.hpp>

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>

namespace lockfile::testing {
namespace {

using namespace std::chrono_literals;

class OwnScheme : public ::testing::Test {
 protected:
  class Flag final : public SimpleScheme {
   public:
    explicit Flag(OwnScheme& test) : test_(test) {}
    [[nodiscard]] std::string_view name() const noexcept override { return "flag"; }
    Step try_once() noexcept override {
      ++test_.tries_;
      if (!test_.taken_.exchange(true)) return Granted{};
      return test_.blocked_;
    }
    std::error_code release() noexcept override {
      return test_.taken_.exchange(false) ? std::error_code() : make_error_code(errc::not_locked);
    }
    bool still_held() noexcept override { return test_.taken_; }

   private:
    OwnScheme& test_;
  };

  [[nodiscard]] std::unique_ptr<Lock> lock(const Options& options = {}) {
    return std::make_unique<Lock>("/nowhere/x", std::make_unique<Flag>(*this), options);
  }

  std::atomic<bool> taken_ = false;
  std::atomic<int> tries_ = 0;
  Blocked blocked_;
};

TEST_F(OwnScheme, is_locked_entered_again_and_released) {
  const auto mine = lock();
  mine->acquire();
  mine->acquire(0s);
  EXPECT_TRUE(mine->i_am_locking());
  mine->release();
  EXPECT_TRUE(taken_);
  mine->release();
  EXPECT_FALSE(taken_);
  EXPECT_EQ(code_of([&] { mine->release(); }), errc::not_locked);
}

TEST_F(OwnScheme, is_waited_for_by_looking_again) {
  const auto mine = lock();
  mine->acquire();
  std::thread other([&] {
    const auto theirs = lock();
    EXPECT_EQ(code_of([&] { theirs->acquire(0s); }), errc::already_locked);
    EXPECT_EQ(code_of([&] { theirs->acquire(1ms); }), errc::timed_out);
    theirs->acquire();
    theirs->release();
  });
  while (tries_ < 6) std::this_thread::yield();
  mine->release();
  other.join();
  EXPECT_FALSE(taken_);
}

TEST_F(OwnScheme, that_loses_a_hold_tells_so) {
  const auto mine = lock();
  mine->acquire();
  taken_ = false;
  EXPECT_FALSE(mine->i_am_locking());
  EXPECT_EQ(code_of([&] { mine->release(); }), errc::not_locked);
  mine->acquire(0s);
}

TEST_F(OwnScheme, refuses_what_it_does_not_have) {
  const auto unsupported = std::errc::operation_not_supported;
  const auto mine = lock();
  EXPECT_EQ(code_of([&] { mine->lock_shared(); }), unsupported);
  EXPECT_EQ(code_of([&] { (void)mine->holder(); }), unsupported);
  EXPECT_EQ(code_of([&] { (void)mine->break_lock(); }), unsupported);
  mine->acquire();
  EXPECT_EQ(code_of([&] { mine->downgrade(Mode::shared); }), unsupported);
  EXPECT_EQ(code_of([&] { mine->hand_over(::getpid()); }), unsupported);
  EXPECT_EQ(code_of([&] { (void)mine->share_guard(); }), unsupported);
  EXPECT_TRUE(mine->i_am_locking());
  EXPECT_EQ(code_of([&] { lock({.fence = true})->acquire(0s); }), unsupported);
  EXPECT_EQ(code_of([&] { lock({.lease = 1s})->acquire(0s); }), unsupported);
  Flag scheme(*this);
  EXPECT_EQ(scheme.traits().shared, false);
  EXPECT_EQ(scheme.break_hold({}, Proof::forced), unsupported);
  EXPECT_EQ(scheme.semaphore(2, 1), nullptr);
  std::error_code why;
  std::string what;
  EXPECT_TRUE(scheme.locked_names(why, what).empty());
  EXPECT_EQ(why, unsupported);
  EXPECT_FALSE(scheme.initialise(what)) << "it needs nothing";
  EXPECT_TRUE(scheme.examine(why).findings.empty());
  EXPECT_FALSE(why);
  const auto attempt = scheme.attempt({});
  EXPECT_FALSE(attempt->enter({}));
  EXPECT_FALSE(attempt->leave());
  EXPECT_EQ(attempt->renew(), unsupported);
}

// Then it is not looked at before.
TEST_F(OwnScheme, may_say_itself_when_to_look_again) {
  blocked_.look_again = std::chrono::steady_clock::now() + 1h;
  taken_ = true;
  Flag scheme(*this);
  const auto attempt = scheme.attempt({});
  Step step = attempt->step();
  EXPECT_EQ(std::get<Blocked>(step).look_again, blocked_.look_again);
  blocked_ = {};
  blocked_.on.push_back(Watch::readable(0));
  step = attempt->step();
  EXPECT_FALSE(std::get<Blocked>(step).look_again);
}

// Before any verb of the child's: its copy of the hold is none.
TEST_F(OwnScheme, holds_nothing_in_a_forked_child) {
  const auto mine = lock();
  mine->acquire();
  const pid_t child = ::fork();
  if (child == 0) {
    const bool right = !mine->i_am_locking() && code_of([&] { mine->release(); }) == errc::not_locked;
    ::_exit(right && taken_ ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(mine->i_am_locking());
}

}  // namespace
}  // namespace lockfile::testing
