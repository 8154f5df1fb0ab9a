// `lockctl run` on an address: the hold is lockctl's own, so the command does not outlive it, nor the hold.
#include "postgresql/support.hpp"
#include "schemes/postgresql/key.hpp"

#include <sys/wait.h>

#include <csignal>
#include <filesystem>

namespace lockfile::testing {
namespace {

bool has(const std::string& text, const std::string& what) { return text.find(what) != std::string::npos; }

class Run : public WithServer {
 protected:
  // Its lines are the command's; its messages go to a file.
  [[nodiscard]] std::unique_ptr<Peer> run(const std::string& options, const std::string& script) const {
    const std::string command = std::string("exec ") + LOCKCTL + " run '" + address() + "' " + options + " -- sh -c '" +
                                script + "' 2>" + errors_file();
    return std::make_unique<Peer>("/bin/sh", std::vector<std::string>{"-c", command});
  }
  [[nodiscard]] std::string errors_file() const { return scratch_ / "errors"; }
  [[nodiscard]] std::string errors() const { return read_file(errors_file()); }
  void end_session() const {
    Sql sql(place());
    const std::string key = std::to_string(schemes::postgresql::key_of(name_of("a")));
    (void)sql(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND "
        "(classid::bigint << 32 | objid::bigint) = " +
        key);
  }
  static bool is_gone(const std::string& pid) { return !std::filesystem::exists("/proc/" + pid); }
};

TEST_F(Run, gives_the_command_the_number_of_its_hold) {
  std::uint64_t last = 0;
  for (int i = 0; i < 2; ++i) {
    const auto peer = run("", "echo $LOCKCTL_FENCE");
    const std::uint64_t fence = std::stoull(peer->answer().value_or("0"));
    EXPECT_GT(fence, last);
    last = fence;
    EXPECT_EQ(peer->wait(), 0);
  }
  EXPECT_EQ(errors(), "");
}

TEST_F(Run, that_is_killed_takes_the_command_with_it) {
  const auto peer = run("", "echo $$; exec sleep 1000");
  const std::string command = peer->answer().value_or("");
  peer->kill();
  wait_for([&] { return is_gone(command); });
  open(address())->acquire(stuck);
}

TEST_F(Run, ends_a_command_whose_hold_is_lost_and_says_when) {
  const auto peer = run("", "trap \"\" TERM; echo $$; exec sleep 1000");
  const std::string command = peer->answer().value_or("");
  end_session();
  EXPECT_EQ(WEXITSTATUS(peer->wait()), 128 + SIGKILL);
  EXPECT_TRUE(is_gone(command));
  EXPECT_TRUE(has(errors(), "lost '" + address() + "' at ")) << errors();
  EXPECT_TRUE(has(errors(), "it was broken, or its server is gone; the command gets SIGTERM")) << errors();
  EXPECT_TRUE(has(errors(), "gets SIGKILL")) << errors();
}

TEST_F(Run, only_tells_of_a_loss_where_that_is_asked_for) {
  const auto peer = run("--on-lost warn", "echo in; read line; exit 7");
  EXPECT_EQ(peer->answer(), "in");
  end_session();
  wait_for([&] { return has(errors(), "lost '" + address() + "' at "); });
  peer->tell("go on");
  EXPECT_EQ(WEXITSTATUS(peer->wait()), 7);
  EXPECT_FALSE(has(errors(), "SIGTERM")) << errors();
}

TEST_F(Run, is_listed_among_the_locks_of_the_database) {
  const auto peer = run("--reason \"month end\"", "echo in; read line");
  EXPECT_EQ(peer->answer(), "in");
  Peer list(LOCKCTL, {"list", place()});
  std::string found;
  while (const auto line = list.answer()) {
    if (line->starts_with(address() + " ")) found = *line;
  }
  EXPECT_TRUE(has(found, "held") && has(found, "pid " + std::to_string(peer->pid())) && has(found, "month end"))
      << found;
  EXPECT_EQ(list.wait(), 0);
}

TEST_F(Run, is_refused_while_another_one_holds) {
  const auto peer = run("", "echo in; read line");
  EXPECT_EQ(peer->answer(), "in");
  const auto other = open(address());
  EXPECT_EQ(code_of([&] { other->acquire(0s); }), errc::already_locked);
  const auto holder = other->holder();
  ASSERT_TRUE(holder);
  EXPECT_EQ(holder->program, "sh");
  EXPECT_EQ(holder->pid, peer->pid());
  peer->tell("go on");
  EXPECT_EQ(peer->wait(), 0);
}

}  // namespace
}  // namespace lockfile::testing
