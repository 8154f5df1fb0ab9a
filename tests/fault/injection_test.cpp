// The kernel itself refuses, to the real lockctl: strace(1) makes each of its calls fail, or kills it there.
#include "fault/command.hpp"

#include <lockfile/lockfile.hpp>

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <iostream>
#include <map>

namespace lockfile::testing {
namespace {

using cli_test::HeldLock;
using cli_test::Peer;
using cli_test::Result;

const std::string calls =
    "openat,linkat,renameat,renameat2,unlinkat,mkdirat,pwrite64,pread64,fcntl,fstatfs,fchmod,fsync,pidfd_open,"
    "inotify_init1,inotify_add_watch,ppoll";

std::vector<std::string> strace(const std::string& injection, const std::string& trace = "/dev/null") {
  std::vector<std::string> arguments = {"strace", "-qq", "-o", trace, "-e", "trace=" + calls};
  if (!injection.empty()) arguments.insert(arguments.end(), {"-e", "inject=" + injection});
  return arguments;
}

// The how many-th call of that name.
struct Made {
  std::string name;
  int number = 0;
  [[nodiscard]] std::string with(const std::string& what) const {
    return name + ":" + what + ":when=" + std::to_string(number);
  }
};

class Injection : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    constexpr int no_such_program = 122;  // of a peer
    const Result traced = Place("link").run({"strace", "-qq", "-o", "/dev/null", "true"});
    if (traced.status == no_such_program) GTEST_SKIP() << "strace is not installed";
    if (traced.status != 0) GTEST_SKIP() << "unavoidable: no process may be traced here: " << traced.errors;
  }

  // The calls of lockctl, from the opening of the lock's directory on: before are those of the loader.
  static std::vector<Made> calls_of(const Place& place, const std::vector<std::string>& arguments,
                                    const std::string& trace) {
    const Result result = place.run(arguments);
    EXPECT_EQ(result.status, 0) << result.errors;
    std::ifstream lines(trace);
    std::vector<Made> made;
    std::map<std::string, int> numbers;
    bool begun = false;
    for (std::string line; std::getline(lines, line);) {
      const std::string name = line.substr(0, line.find('('));
      if (name.find(' ') != std::string::npos) continue;  // not a call: the end, or a signal
      const int number = ++numbers[name];
      begun = begun || line.find('"' + place.directory().path() + '"') != std::string::npos;
      if (begun) made.push_back({name, number});
    }
    EXPECT_FALSE(made.empty());
    return made;
  }

  static std::vector<Made> calls_of_a_run() {
    const Place place(GetParam());
    const cli_test::Directory apart;
    return calls_of(place, place.run_by(strace("", apart / "trace")), apart / "trace");
  }

  // A lock of a process that is dead.
  static void leave_stale(const Place& place) {
    const pid_t victim = ::fork();
    if (victim == 0) {
      FileLock lock(place.directory() / "x", {.scheme = GetParam()});
      lock.acquire();
      ::raise(SIGKILL);
    }
    ::waitpid(victim, nullptr, 0);
  }
};
INSTANTIATE_TEST_SUITE_P(both, Injection, ::testing::Values("link", "mkdir"),
                         [](const auto& each) { return each.param; });

TEST_P(Injection, a_call_that_fails_is_told_and_leaves_nothing) {
  const std::vector<Made> all = calls_of_a_run();
  for (const Made& each : all) {
    SCOPED_TRACE(each.with("EIO"));
    Place place(GetParam());
    place.expect_told_and_clean(place.run(place.run_by(strace(each.with("error=EIO")))), {"input/output error"});
  }
  std::cout << "EIO at each of " << all.size() << " calls\n";
}

TEST_P(Injection, a_death_at_any_call_leaves_a_lock_that_is_to_be_had) {
  const std::vector<Made> all = calls_of_a_run();
  for (const Made& each : all) {
    SCOPED_TRACE(each.with("SIGKILL"));
    Place place(GetParam());
    EXPECT_EQ(place.run(place.run_by(strace(each.with("signal=SIGKILL")))).status, -SIGKILL);
    place.expect_clean();
  }
  std::cout << "killed at each of " << all.size() << " calls\n";
}

TEST_P(Injection, a_write_that_comes_back_short_is_no_space) {
  for (const Made& each : calls_of_a_run()) {
    if (each.name != "pwrite64") continue;
    SCOPED_TRACE(each.with("10 bytes"));
    Place place(GetParam());
    place.expect_told_and_clean(place.run(place.run_by(strace(each.with("retval=10")))), {"no space left on device"});
  }
}

TEST_P(Injection, a_break_that_fails_is_told_and_can_be_tried_again) {
  const auto break_by = [](std::vector<std::string> wrapper) {
    wrapper.insert(wrapper.end(), {LOCKCTL, "break", "x"});
    return wrapper;
  };
  std::vector<Made> all;
  {
    const cli_test::Directory apart;
    Place place(GetParam());
    leave_stale(place);
    all = calls_of(place, break_by(strace("", apart / "trace")), apart / "trace");
  }
  for (const Made& each : all) {
    SCOPED_TRACE(each.with("EIO"));
    Place place(GetParam());
    leave_stale(place);
    const Result result = place.run(break_by(strace(each.with("error=EIO"))));
    const bool told = result.errors.find("input/output error") != std::string::npos;
    // Not broken: told why, or that it cannot be proved dead.
    EXPECT_TRUE(result.status == 0 || told || result.errors.find("'x.lock'") != std::string::npos) << result.errors;
    place.expect_clean();
  }
  std::cout << "EIO at each of " << all.size() << " calls of a break\n";
}

TEST_P(Injection, a_waiter_without_events_gets_the_lock_all_the_same) {
  for (const char* const injection :
       {"inotify_init1:error=EMFILE", "inotify_add_watch:error=ENOSPC", "inotify_add_watch:error=EACCES",
        "pidfd_open:error=EMFILE", "pidfd_open:error=ENOSYS", "ppoll:error=EINTR:when=1..5", "ppoll:retval=0:when=1"}) {
    SCOPED_TRACE(injection);
    Place place(GetParam());
    HeldLock held(place.directory(), "x", {"--scheme", GetParam()});
    NewNames waiters(place.directory());
    Peer waiter(
        {.arguments = place.run_by(strace(injection), {"--timeout", "10s"}), .directory = place.directory().path()});
    waiters.expect_one();
    EXPECT_EQ(held.let_go(), 0);
    EXPECT_EQ(waiter.wait(), 0) << waiter.errors();
    EXPECT_EQ(waiter.errors(), "");
    place.expect_ran_and_clean();
  }
}

TEST_P(Injection, a_wait_that_cannot_sleep_says_so) {
  Place place(GetParam());
  HeldLock held(place.directory(), "x", {"--scheme", GetParam()});
  const Result result = place.run(place.run_by(strace("ppoll:error=ENOMEM"), {"--timeout", "10s"}));
  EXPECT_EQ(held.let_go(), 0);
  place.expect_told_and_clean(result, {"cannot allocate memory"});
}

}  // namespace
}  // namespace lockfile::testing
