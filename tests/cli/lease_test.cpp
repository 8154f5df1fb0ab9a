// `lockctl run --lease`: what becomes of the command when its hold is lost, and what others are told.
#include "support.hpp"

#include <nlohmann/json.hpp>

#include <gtest/gtest.h>

#include <unistd.h>

#include <csignal>

namespace cli_test {
namespace {

using std::string;

// Not too short for a busy machine to renew in time.
const string ttl = "3s";

Start under_lease(const Directory& here, std::vector<string> options, std::vector<string> command) {
  std::vector<string> arguments{"run", "x", "--lease", ttl};
  arguments.insert(arguments.end(), options.begin(), options.end());
  arguments.emplace_back("--");
  arguments.insert(arguments.end(), command.begin(), command.end());
  return lockctl_start(here, arguments);
}

void break_it(const Directory& here) { EXPECT_EQ(lockctl(here, {"break", "x", "--force"}).status, 0); }

TEST(lease, ends_with_its_command_as_any_hold) {
  const Directory here;
  EXPECT_EQ(lockctl(here, {"run", "x", "--lease", ttl, "--", "sh", "-c", "exit 7"}).status, 7);
  EXPECT_TRUE(here.names().empty());
}

TEST(lease, is_told_to_who_asks) {
  const Directory here;
  HeldLock held(here, "x", {"--lease", ttl});
  const string text = lockctl(here, {"status", "x"}).out;
  EXPECT_TRUE(has(text, ", lease 3s")) << text;
  EXPECT_TRUE(has(text, " left unless it is renewed")) << text;
  const auto json = nlohmann::json::parse(lockctl(here, {"status", "x", "--json"}).out).at(0).at("holder");
  EXPECT_EQ(json.at("lease_ms"), 3000);
  EXPECT_GT(json.at("lease_left_ms"), 3000) << "the margin counts too";
  EXPECT_EQ(json.at("expired"), false);
  EXPECT_EQ(held.let_go(), 0);
}

TEST(lease, that_is_lost_kills_a_command_that_does_not_end) {
  const Directory here;
  Peer peer(under_lease(here, {}, {"sh", "-c", "trap '' TERM; echo $$; exec sleep 1000"}));
  const pid_t command = std::stoi(peer.line());
  break_it(here);
  EXPECT_TRUE(ends(command));
  EXPECT_EQ(peer.wait(), 128 + SIGKILL);
  // A renewal that falls into the break says that it cannot be renewed, before it is known that it is lost.
  const bool told = has(peer.errors(), "lost 'x.lock' at ") || has(peer.errors(), "about to lose 'x.lock' at ");
  EXPECT_TRUE(told) << peer.errors();
  EXPECT_TRUE(has(peer.errors(), "; the command gets SIGTERM")) << peer.errors();
  EXPECT_TRUE(has(peer.errors(), "it was broken by force")) << peer.errors();
  EXPECT_TRUE(has(peer.errors(), "gets SIGKILL")) << peer.errors();
}

TEST(lease, that_is_lost_terminates_the_whole_group) {
  const Directory here;
  for (const char* what : {"kill", "term"}) {
    Peer peer(under_lease(here, {"--on-lost", what}, {PEER, "report-signals"}));
    peer.line();
    break_it(here);
    const std::vector<string> told{peer.line(), peer.line()};
    EXPECT_TRUE(has(told[0] + told[1], "mate got SIGTERM")) << told[0] << told[1];
    EXPECT_TRUE(has(told[0] + told[1], "leader got SIGTERM")) << told[0] << told[1];
    EXPECT_EQ(peer.wait(), 42);
  }
}

TEST(lease, that_is_lost_is_only_told_where_a_warning_is_asked_for) {
  const Directory here;
  HeldLock held(here, "x", {"--lease", ttl, "--on-lost", "warn"});
  break_it(here);
  EXPECT_EQ(held.let_go(), 0);
  EXPECT_TRUE(has(held.peer().errors(), "lost 'x.lock'")) << held.peer().errors();
  EXPECT_FALSE(has(held.peer().errors(), "SIGTERM")) << held.peer().errors();
}

// Nobody can be told while it stands still; who waits need not wait for it for ever.
TEST(lease, of_a_lockctl_that_stands_still_runs_out) {
  const Directory here;
  Peer peer(lockctl_start(here, {"run", "x", "--lease", "500ms", "--", "sh", "-c", "echo in; exec sleep 1000"}));
  EXPECT_EQ(peer.line(), "in");
  peer.signal(SIGSTOP);
  EXPECT_EQ(lockctl(here, {"run", "x", "--timeout", "10s", "--", "true"}).status, 0);
  peer.signal(SIGCONT);
  const int status = peer.wait();
  EXPECT_TRUE(status == 128 + SIGTERM || status == 128 + SIGKILL) << status;
  EXPECT_TRUE(has(peer.errors(), "lost 'x.lock'")) << peer.errors();
}

TEST(lease, that_has_expired_is_broken_by_who_has_watched_it) {
  const Directory here;
  Peer peer(lockctl_start(here, {"run", "x", "--lease", "500ms", "--", "sh", "-c", "echo in; exec sleep 1000"}));
  EXPECT_EQ(peer.line(), "in");
  peer.signal(SIGSTOP);
  EXPECT_EQ(lockctl(here, {"break", "x"}).status, conflict) << "it lives";
  const Result broken = lockctl(here, {"break", "x", "--expired"});
  EXPECT_EQ(broken.status, 0) << broken.errors;
  EXPECT_TRUE(has(broken.errors, "lockctl: watching 'x.lock' for ")) << broken.errors;
  EXPECT_TRUE(has(broken.out, "broke 'x.lock': it was ")) << broken.out;
  EXPECT_TRUE(has(lockctl(here, {"break", "x", "--expired"}).out, "'x.lock' is free"));
  peer.signal(SIGCONT);
  const int status = peer.wait();
  EXPECT_TRUE(status == 128 + SIGTERM || status == 128 + SIGKILL) << status;
}

TEST(lease, that_is_renewed_is_not_broken_as_expired) {
  const Directory here;
  HeldLock held(here, "x", {"--lease", ttl});
  const Result refused = lockctl(here, {"break", "x", "--expired"});
  EXPECT_EQ(refused.status, conflict);
  EXPECT_TRUE(has(refused.errors, "it has not expired: it was renewed")) << refused.errors;
  EXPECT_EQ(held.let_go(), 0);
}

TEST(lease, that_is_none_does_not_expire) {
  const Directory here;
  HeldLock held(here, "x", {});
  const Result refused = lockctl(here, {"break", "x", "--expired"});
  EXPECT_EQ(refused.status, conflict);
  EXPECT_TRUE(has(refused.errors, "it has no lease that could expire")) << refused.errors;
  EXPECT_EQ(lockctl(here, {"break", "x", "--expired", "--force"}).status, usage);
  EXPECT_EQ(held.let_go(), 0);
}

TEST(lease, of_a_lockctl_that_is_killed_kills_the_command) {
  const Directory here;
  Peer peer(under_lease(here, {}, {"sh", "-c", "echo $$; exec sleep 1000"}));
  const pid_t command = std::stoi(peer.line());
  peer.signal(SIGKILL);
  EXPECT_TRUE(ends(command));
}

TEST(lease, that_cannot_be_is_refused) {
  const Directory here;
  for (const std::vector<string>& wrong : std::vector<std::vector<string>>{{"--lease", "soon"},
                                                                           {"--lease", "0"},
                                                                           {"--lease", "10ms"},
                                                                           {"--lease", "101d"},
                                                                           {"--lease", "1s", "--shared"},
                                                                           {"--lease", "1s", "--on-lost", "pray"},
                                                                           {"--on-lost", "kill"}}) {
    std::vector<string> arguments{"run", "x"};
    arguments.insert(arguments.end(), wrong.begin(), wrong.end());
    arguments.insert(arguments.end(), {"--", "touch", "y"});
    EXPECT_EQ(lockctl(here, arguments).status, usage) << testing::PrintToString(wrong);
  }
  const Result kernel = lockctl(here, {"run", "x", "--lease", "1s", "--scheme", "kernel", "--", "touch", "y"});
  EXPECT_EQ(kernel.status, cannot_create);
  EXPECT_TRUE(has(kernel.errors, "scheme 'kernel' has no leases")) << kernel.errors;
  EXPECT_TRUE(here.names().empty());
}

}  // namespace
}  // namespace cli_test
