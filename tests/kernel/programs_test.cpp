// Beside flock(1) of util-linux and Python's filelock, on the very same file: they exclude us and we exclude them, and
// whoever waits enters when the other releases or is killed.
#include "support/peer.hpp"
#include "support/scratch.hpp"

#include <lockfile/lockfile.hpp>

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <future>
#include <thread>

namespace lockfile::testing {
namespace {

using namespace std::chrono_literals;

// A foreign locker that holds until it is told to end.
class Foreign {
 public:
  Foreign(std::string program, std::vector<std::string> arguments) : peer_(std::move(program), std::move(arguments)) {}
  Foreign(const Foreign&) = delete;
  Foreign& operator=(const Foreign&) = delete;

  [[nodiscard]] bool has_it() { return peer_.answer() == "held"; }
  [[nodiscard]] bool is_silent() { return peer_.is_silent(); }
  void release() { peer_.tell("release"); }
  void kill() { peer_.kill(); }

 private:
  Peer peer_;
};

struct Program {
  std::string name;
  std::string path;
  /// Waits for the lock, says "held", and holds until it reads a line.
  std::vector<std::string> (*hold)(const std::string& file);
};

std::vector<std::string> hold_by_flock(const std::string& file) {
  // -o: the command has no copy of the descriptor, so killing flock(1) unlocks.
  return {"-o", file, "-c", "echo held; read line"};
}

std::vector<std::string> hold_by_filelock(const std::string& file) {
  return {"-c",
          "import sys, filelock\n"
          "with filelock.FileLock(sys.argv[1]):\n"
          "    print('held', flush=True)\n"
          "    sys.stdin.readline()\n"
          "print('released', flush=True)\n"
          "sys.stdin.readline()\n",
          file};
}

void PrintTo(const Program& program, std::ostream* out) { *out << program.name; }

class Beside : public ::testing::TestWithParam<Program> {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(GetParam().path)) {
      GTEST_SKIP() << GetParam().path << " is not there: scripts/setup test";
    }
    if (GetParam().name == "filelock") {
      Peer python(GetParam().path, {"-c", "import filelock"});
      if (python.wait() != 0) GTEST_SKIP() << "Python's filelock is not there: scripts/setup test";
    }
  }

  [[nodiscard]] KernelFileLock lock() const { return KernelFileLock(path_, {.scheme = "flock"}); }
  [[nodiscard]] Foreign foreign() const { return Foreign(GetParam().path, GetParam().hold(path_)); }

  // A thread of ours waits for the lock; when has it entered?
  [[nodiscard]] std::future<std::chrono::steady_clock::time_point> enter_in_a_thread() const {
    return std::async(std::launch::async, [this] {
      KernelFileLock ours(path_, {.scheme = "flock"});
      ours.acquire(stuck);
      const auto entered = std::chrono::steady_clock::now();
      ours.release();
      return entered;
    });
  }

  Scratch scratch_;
  const std::string path_ = scratch_ / "a";
};

INSTANTIATE_TEST_SUITE_P(every, Beside,
                         ::testing::Values(Program{"flock", "/usr/bin/flock", hold_by_flock},
                                           Program{"filelock", "/usr/bin/python3", hold_by_filelock}),
                         [](const auto& each) { return each.param.name; });

TEST_P(Beside, it_excludes_us_and_is_an_unknown_holder) {
  Foreign other = foreign();
  ASSERT_TRUE(other.has_it());
  KernelFileLock ours = lock();
  std::error_code ec;
  EXPECT_FALSE(ours.acquire(0s, ec));
  EXPECT_EQ(ec, errc::already_locked);
  EXPECT_FALSE(ours.acquire(Mode::shared, 20ms, ec));
  EXPECT_EQ(ec, errc::timed_out);
  EXPECT_TRUE(ours.is_locked());
  const Holder holder = ours.holder().value();
  EXPECT_TRUE(holder.foreign);
  EXPECT_EQ(holder.verdict, Verdict::unknown);
  EXPECT_FALSE(ours.break_stale());
  EXPECT_FALSE(ours.break_lock(BreakWhat::foreign, ec));
  EXPECT_EQ(ec, errc::cannot_break);
}

TEST_P(Beside, we_exclude_it_until_we_release) {
  KernelFileLock ours = lock();
  ours.acquire();
  Foreign other = foreign();
  EXPECT_TRUE(other.is_silent());
  ours.release();
  EXPECT_TRUE(other.has_it());
}

TEST_P(Beside, we_enter_when_it_releases) {
  Foreign other = foreign();
  ASSERT_TRUE(other.has_it());
  auto entered = enter_in_a_thread();
  EXPECT_EQ(entered.wait_for(quiescent), std::future_status::timeout);
  other.release();
  ASSERT_EQ(entered.wait_for(stuck), std::future_status::ready);
  entered.get();
}

TEST_P(Beside, we_enter_when_it_is_killed) {
  Foreign other = foreign();
  ASSERT_TRUE(other.has_it());
  auto entered = enter_in_a_thread();
  EXPECT_EQ(entered.wait_for(quiescent), std::future_status::timeout);
  other.kill();
  ASSERT_EQ(entered.wait_for(stuck), std::future_status::ready);
  entered.get();
}

TEST_P(Beside, it_enters_when_we_are_killed) {
  Peer ours({path_, "flock"});
  ASSERT_EQ(ours.ask("acquire"), "held");
  Foreign other = foreign();
  EXPECT_TRUE(other.is_silent());
  ours.kill();
  EXPECT_TRUE(other.has_it());
}

class BesideFlock : public Beside {
 protected:
  [[nodiscard]] int status_of(std::vector<std::string> arguments) const {
    arguments.insert(arguments.end(), {path_, "true"});
    Peer program("/usr/bin/flock", std::move(arguments));
    const int status = program.wait();
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
};

INSTANTIATE_TEST_SUITE_P(every, BesideFlock, ::testing::Values(Program{"flock", "/usr/bin/flock", hold_by_flock}),
                         [](const auto& each) { return each.param.name; });

TEST_P(BesideFlock, shared_admits_shared_and_excludes_exclusive_both_ways) {
  {
    KernelFileLock ours = lock();
    ours.lock_shared();
    EXPECT_EQ(status_of({"-n", "-s"}), 0);
    EXPECT_EQ(status_of({"-n", "-x"}), 1);
    EXPECT_EQ(status_of({"-w", "0.05", "-x"}), 1);
    ours.unlock_shared();
    EXPECT_EQ(status_of({"-n", "-x"}), 0);
  }
  Foreign reader("/usr/bin/flock", {"-s", path_, "-c", "echo held; read line"});
  ASSERT_TRUE(reader.has_it());
  KernelFileLock ours = lock();
  EXPECT_TRUE(ours.try_lock_shared());
  ours.unlock_shared();
  EXPECT_FALSE(ours.try_lock());
}

TEST_P(BesideFlock, a_look_at_a_held_lock_takes_nothing) {
  KernelFileLock ours = lock();
  ours.acquire();
  KernelFileLock looker = lock();
  EXPECT_TRUE(looker.is_locked());
  EXPECT_EQ(status_of({"-n"}), 1);
  EXPECT_TRUE(ours.i_am_locking());
}

}  // namespace
}  // namespace lockfile::testing
