// Running lockctl where the kernel refuses.
#include "fault/command.hpp"

#include <lockfile/lockfile.hpp>

#include <gtest/gtest.h>

#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

namespace lockfile::testing {

using cli_test::Peer;
using cli_test::Result;

std::vector<std::string> Place::run_by(std::vector<std::string> wrapper,
                                       const std::vector<std::string>& options) const {
  wrapper.insert(wrapper.end(), {LOCKCTL, "run", "x", "--scheme", scheme_});
  wrapper.insert(wrapper.end(), options.begin(), options.end());
  wrapper.insert(wrapper.end(), {"--", "touch", "ran"});
  return wrapper;
}

Result Place::run(const std::vector<std::string>& arguments) const {
  Peer peer({.arguments = arguments, .directory = directory_.path()});
  peer.close_input();
  const std::string out = peer.rest();
  const int status = peer.wait();
  return {status, out, peer.errors()};
}

void Place::expect_told_and_clean(const Result& result, const std::vector<std::string>& causes) {
  constexpr int cannot_create = 73;
  constexpr int system_refused = 71;
  const bool ran = std::filesystem::exists(directory_ / "ran");
  EXPECT_EQ(result.status == 0, ran) << result.status << ": " << result.errors;
  if (result.status != 0) {
    EXPECT_TRUE(result.status == cannot_create || result.status == system_refused) << result.status;
    EXPECT_NE(result.errors, "");
  }
  if (!result.errors.empty()) {
    const bool about_the_lock = result.errors.find("'x.lock'") != std::string::npos || result.status == system_refused;
    EXPECT_TRUE(about_the_lock) << result.errors;
    EXPECT_TRUE(std::any_of(causes.begin(), causes.end(), [&](const std::string& cause) {
      return result.errors.find(cause) != std::string::npos;
    })) << result.errors;
  }
  expect_clean();
}

void Place::expect_ran_and_clean() {
  EXPECT_TRUE(std::filesystem::exists(directory_ / "ran"));
  expect_clean();
}

void Place::expect_clean() {
  {
    FileLock lock(directory_ / "x", {.scheme = scheme_});
    std::error_code code;
    // A command that outlives a killed lockctl holds until it ends.
    lock.acquire(cli_test::stuck, code);
    EXPECT_FALSE(code) << "the lock is not to be had: " << code.message();
  }
  std::error_code code;
  for (const Leftover& left : leftovers(directory_.path(), Clean::remove_dead, code)) {
    EXPECT_TRUE(left.removed) << left.name << " is not cleaned: " << left.note;
  }
  std::filesystem::remove(directory_ / "ran");
  EXPECT_EQ(directory_.names(), std::vector<std::string>());
}

NewNames::NewNames(const cli_test::Directory& directory) : events_(::inotify_init1(IN_CLOEXEC)) {
  EXPECT_GE(::inotify_add_watch(events_, directory.path().c_str(), IN_CREATE | IN_MOVED_TO), 0);
}

NewNames::~NewNames() { ::close(events_); }

void NewNames::expect_one() const {
  pollfd one = {events_, POLLIN, 0};
  const std::chrono::milliseconds limit = cli_test::stuck;
  EXPECT_EQ(::poll(&one, 1, static_cast<int>(limit.count())), 1) << "nobody came";
}

}  // namespace lockfile::testing
