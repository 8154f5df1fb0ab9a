// `lockctl doctor`: what it finds, and that it leaves nothing behind.
#include "support.hpp"

#include <lockfile/scheme.hpp>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <sys/stat.h>

#include <csignal>

namespace cli_test {
namespace {

using nlohmann::json;
using std::string;

TEST(doctor, tries_the_directory_and_leaves_nothing_behind) {
  const Directory here;
  const Result result = lockctl(here, {"doctor", here.path()});
  EXPECT_EQ(result.status, 0) << result.out << result.errors;
  for (const string what : {"hard links", "mkdir", "symbolic links", "byte-range locks", "inotify", "boot id",
                            "pid namespace", "file system", "scheme", " 0 overlapping holders", "leftovers    none"}) {
    EXPECT_NE(result.out.find(what), string::npos) << what << "\n" << result.out;
  }
  EXPECT_TRUE(here.names().empty()) << testing::PrintToString(here.names());
}

TEST(doctor, prints_json) {
  const Directory here;
  const Result result = lockctl(here, {"doctor", "--json"});
  EXPECT_EQ(result.status, 0) << result.errors;
  const json report = json::parse(result.out);
  EXPECT_EQ(report["sound"], true);
  EXPECT_EQ(report["contention"]["processes"], 4);
  EXPECT_EQ(report["contention"]["overlaps"], 0);
  EXPECT_GT(report["contention"]["acquisitions"], 0);
  EXPECT_TRUE(report["contention"]["left_behind"].empty()) << result.out;
  EXPECT_FALSE(report["findings"].empty());
  EXPECT_TRUE(here.names().empty()) << testing::PrintToString(here.names());
}

TEST(doctor, shows_what_each_scheme_promises) {
  const Directory here;
  const json report = json::parse(lockctl(here, {"doctor", "--json"}).out);
  const string text = lockctl(here, {"doctor"}).out;
  ASSERT_EQ(report["schemes"].size(), lockfile::describe_schemes().size());
  for (std::size_t i = 0; i < lockfile::describe_schemes().size(); ++i) {
    const auto& scheme = lockfile::describe_schemes()[i];
    EXPECT_EQ(report["schemes"][i]["name"], scheme.name);
    EXPECT_NE(text.find(scheme.name), string::npos) << text;
    for (const auto& promise : lockfile::promises()) {
      EXPECT_EQ(report["schemes"][i]["promises"].at(string(promise.name)), scheme.promises.*promise.is) << promise.name;
      EXPECT_NE(text.find(promise.name), string::npos) << text;
      EXPECT_EQ(report["promises"].at(string(promise.name)), promise.what);
    }
  }
  ASSERT_EQ(report["engines"].size(), lockfile::describe_engines().size());
  for (std::size_t i = 0; i < lockfile::describe_engines().size(); ++i) {
    EXPECT_EQ(report["engines"][i]["name"], lockfile::describe_engines()[i].name);
  }
}

TEST(doctor, leaves_nothing_behind_when_it_is_interrupted) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const Directory here;
    Peer doctor(lockctl_start(here, {"doctor", "."}));
    EXPECT_EQ(doctor.line().rfind("directory", 0), 0U);  // the contention run begins
    doctor.signal(signal);
    EXPECT_EQ(doctor.wait(), 128 + signal);
    EXPECT_TRUE(here.names().empty()) << testing::PrintToString(here.names());
  }
}

TEST(doctor, removes_what_a_dead_process_has_left_only_when_asked) {
  const Directory here;
  HeldLock held(here, "x");
  const auto without_waiter = here.names();
  {
    Terminal waiter(here, {LOCKCTL, "run", "x", "--", "true"});
    waiter.expect("waiting for 'x.lock'");
    ::kill(waiter.pid(), SIGKILL);
    EXPECT_EQ(waiter.wait(), -SIGKILL);
  }
  const auto with_leftovers = here.names();
  ASSERT_NE(with_leftovers, without_waiter) << "the waiter had made no claim";
  const Result look = lockctl(here, {"doctor"});
  EXPECT_NE(look.out.find("maker dead"), string::npos) << look.out;
  EXPECT_NE(look.out.find("'--clean' removes"), string::npos) << look.out;
  EXPECT_EQ(here.names(), with_leftovers);
  const Result clean = lockctl(here, {"doctor", "--clean"});
  EXPECT_EQ(clean.status, 0);
  EXPECT_NE(clean.out.find("removed"), string::npos) << clean.out;
  EXPECT_EQ(here.names(), without_waiter);
  EXPECT_EQ(held.let_go(), 0);
  EXPECT_TRUE(here.names().empty());
}

TEST(doctor, cannot_work_in_a_directory_that_is_missing_or_may_only_be_read) {
  const Directory here;
  EXPECT_EQ(lockctl(here, {"doctor", "no"}).status, 74);
  ASSERT_EQ(::chmod(here.path().c_str(), 0555), 0);
  Start start = lockctl_start(here, {"doctor", "."});
  start.as_nobody = true;
  Peer peer(start);
  EXPECT_EQ(peer.wait(), 74) << peer.errors();
}

}  // namespace
}  // namespace cli_test
