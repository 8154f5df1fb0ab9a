// lockctl at a real terminal: job control by a real shell, and what is told while it waits.
#include "support.hpp"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <fstream>

namespace cli_test {
namespace {

using std::string;

constexpr std::string_view ctrl_c = "\x03";
constexpr std::string_view ctrl_z = "\x1a";
constexpr std::string_view ctrl_backslash = "\x1c";

// What is typed is echoed: what is waited for is therefore made by the commands, never typed as it is.
const string say_status = "printf 'status %d.\\n' $?\n";

// An interactive shell with job control, and no editing of lines.
class shell : public testing::Test {
 protected:
  shell() : terminal(here, {"bash", "--norc", "--noprofile", "--noediting", "-i"}) {
    terminal.type(
        "bind 'set enable-bracketed-paste off' 2>/dev/null; stty -echo; set -b; printf 'shell %s.\\n' ready\n");
    terminal.expect("shell ready.");
  }
  // Typed only at the prompt: what is typed earlier may go to a program that is about to end.
  void command(const string& line) {
    terminal.expect("@> ");
    terminal.type(line);
  }
  void expect_status(int status) {
    command(say_status);
    terminal.expect(fmt::format("status {}.", status));
  }
  // The command says its pid, then repeats what it reads.
  pid_t start_repeater(const string& options = "") {
    std::ofstream(here / "repeat") << "echo pid $$.; while read line; do echo got $line.; done; echo bye.";
    command(fmt::format("{} run x {} -- sh ./repeat\n", LOCKCTL, options));
    terminal.expect("pid ");
    return std::atoi(terminal.expect(".").c_str());
  }

  const Directory here;
  Terminal terminal;
};

TEST_F(shell, command_reads_from_the_terminal) {
  start_repeater();
  terminal.type("hello\n");
  terminal.expect("got hello.");
  terminal.type("\x04");
  terminal.expect("bye.");
  expect_status(0);
}

TEST_F(shell, ctrl_c_ends_the_command_and_lockctl) {
  start_repeater();
  terminal.type(ctrl_c);
  expect_status(128 + SIGINT);
  EXPECT_EQ(here.names(), std::vector<string>{"repeat"});
}

TEST_F(shell, ctrl_backslash_ends_the_command_and_lockctl) {
  command("ulimit -c 0\n");
  start_repeater();
  terminal.type(ctrl_backslash);
  expect_status(128 + SIGQUIT);
}

TEST_F(shell, ctrl_c_reaches_the_command_once) {
  command(fmt::format("{} run x -- {} report-signals\n", LOCKCTL, PEER));
  terminal.expect("ready");
  terminal.type(ctrl_c);
  expect_status(42);
  EXPECT_EQ(lockctl(here, {"status", "x"}).status, 0);
}

TEST_F(shell, ctrl_z_stops_both_and_fg_continues_both) {
  const pid_t pid = start_repeater();
  for (int turn = 0; turn < 3; ++turn) {
    terminal.type(ctrl_z);
    terminal.expect("Stopped");
    EXPECT_EQ(state_of(pid), 'T');
    EXPECT_EQ(lockctl(here, {"status", "x"}).status, 75);  // stopped, and held all the same
    command("fg\n");
    terminal.expect("repeat");  // the shell says which job
    terminal.type(fmt::format("hello{}\n", turn));
    terminal.expect(fmt::format("got hello{}.", turn));
  }
  terminal.type(ctrl_c);
  expect_status(128 + SIGINT);
}

TEST_F(shell, bg_continues_the_command_in_the_background) {
  std::ofstream(here / "job") << "echo pid $$.; read line < ask; echo finished.";
  command(fmt::format("mkfifo ask; {} run x -- sh ./job\n", LOCKCTL));
  terminal.expect("pid ");
  terminal.expect(".");
  terminal.type(ctrl_z);
  terminal.expect("Stopped");
  command("bg\n");
  command("echo now > ask\n");
  terminal.expect("finished.");
  terminal.expect("Done");
}

TEST_F(shell, command_in_the_background_stops_when_it_wants_the_terminal) {
  std::ofstream(here / "job") << "echo pid $$.; read line; echo got $line.";
  command(fmt::format("{} run x -- sh ./job <&2 &\n", LOCKCTL));  // the shell would give it /dev/null else
  terminal.expect("Stopped");
  terminal.type("fg\n");  // the prompt came before or after: it was not waited for
  terminal.expect("job");
  terminal.type("hello\n");
  terminal.expect("got hello.");
  expect_status(0);
}

TEST_F(shell, pipeline_keeps_the_terminal_for_its_last_program) {
  std::ofstream(here / "last") << "read first; echo piped $first.; read line < /dev/tty; echo got $line.";
  command(fmt::format("{} run x -- echo words | sh ./last\n", LOCKCTL));
  terminal.expect("piped words.");
  terminal.type("hello\n");
  terminal.expect("got hello.");
  expect_status(0);
}

TEST_F(shell, command_of_a_pipeline_has_the_terminal_when_it_asks) {
  std::ofstream(here / "first") << "read line; echo first $line.";
  command(fmt::format("{} run x -- sh ./first | cat\n", LOCKCTL));
  terminal.type("hello\n");
  terminal.expect("first hello.");
  expect_status(0);
}

TEST_F(shell, ctrl_c_ends_the_script_around_lockctl) {
  std::ofstream(here / "script") << LOCKCTL << " run x -- " << PEER << " wait; echo went on.";
  for (const string interpreter : {"bash", "sh"}) {
    command(interpreter + " ./script\n");
    terminal.expect("in the command.");
    terminal.type(ctrl_c);
    command(say_status);
    EXPECT_EQ(terminal.expect(fmt::format("status {}.", 128 + SIGINT)).find("went on"), string::npos) << interpreter;
  }
}

TEST_F(shell, ctrl_z_stops_the_script_around_lockctl) {
  std::ofstream(here / "script") << LOCKCTL
                                 << " run x -- sh -c 'echo in the command.; read a; echo got $a.'; echo end.";
  command("sh ./script\n");
  terminal.expect("in the command.");
  terminal.type(ctrl_z);
  terminal.expect("Stopped");
  command("fg\n");
  terminal.expect("script");
  terminal.type("hello\n");
  terminal.expect("got hello.");
  terminal.expect("end.");
}

TEST_F(shell, nested_runs_stop_and_continue_together) {
  std::ofstream(here / "job") << "echo in the command.; read a; echo got $a.";
  command(fmt::format("{0} run x -- {0} run y -- sh ./job\n", LOCKCTL));
  terminal.expect("in the command.");
  terminal.type(ctrl_z);
  terminal.expect("Stopped");
  command("fg\n");
  terminal.expect("job");
  terminal.type("hello\n");
  terminal.expect("got hello.");
  expect_status(0);
}

TEST_F(shell, terminal_is_as_before_when_the_command_is_killed_in_raw_mode) {
  std::ofstream(here / "job") << "stty raw; kill -KILL $$";
  command(fmt::format("stty -a > before; {} run x -- sh ./job; stty -a > after\n", LOCKCTL));
  command(say_status);
  terminal.expect("status ");
  EXPECT_EQ(read_all(here / "before"), read_all(here / "after"));
}

TEST_F(shell, ctrl_z_stops_a_waiter_and_fg_continues_it) {
  HeldLock held(here, "x");
  command(fmt::format("{} run x -- echo in.\n", LOCKCTL));
  terminal.expect("waiting for 'x.lock'");
  terminal.type(ctrl_z);
  terminal.expect("Stopped");
  EXPECT_EQ(held.let_go(), 0);
  command("fg\n");
  terminal.expect("in.");
}

TEST(terminal, ctrl_z_without_a_shell_stops_nothing) {
  const Directory here;
  Terminal terminal(here, {LOCKCTL, "run", "x", "--", "sh", "-c", "echo pid $$.; read a; echo got $a."});
  terminal.expect(".");
  terminal.type(ctrl_z);
  terminal.type("hello\n");
  terminal.expect("got hello.");
  EXPECT_EQ(terminal.wait(), 0);
}

TEST(terminal, ctrl_c_without_a_shell_ends_both) {
  const Directory here;
  Terminal terminal(here, {LOCKCTL, "run", "x", "--", "sh", "-c", "echo pid $$.; read a"});
  terminal.expect(".");
  terminal.type(ctrl_c);
  EXPECT_EQ(terminal.wait(), 128 + SIGINT);
  EXPECT_TRUE(here.names().empty());
}

TEST(terminal, that_goes_away_ends_both) {
  const Directory here;
  pid_t command = 0;
  {
    Terminal terminal(here, {LOCKCTL, "run", "x", "--", "sh", "-c", "echo pid $$.; read a; sleep 60"});
    terminal.expect("pid ");
    command = std::atoi(terminal.expect(".").c_str());
    ASSERT_GT(command, 0);
  }
  EXPECT_TRUE(ends(command));
}

// --- while it waits ---

TEST(progress, says_for_whom_and_how_long_and_goes_on_in_place) {
  const Directory here;
  HeldLock held(here, "x", {"--reason", "stock taking"});
  Terminal waiter(here, {LOCKCTL, "run", "x", "--", "echo", "in."});
  const string first = waiter.expect("waiting for 'x.lock': held by pid ");
  waiter.expect("(sh) for ");
  waiter.expect(": stock taking");
  const string again = waiter.expect("waiting for 'x.lock': held by pid ");
  EXPECT_EQ(again.find('\n'), string::npos) << again;  // the same line
  EXPECT_NE(again.find("\r\x1b[K"), string::npos) << again;
  EXPECT_EQ(held.let_go(), 0);
  EXPECT_NE(waiter.expect("in.").find("\r\x1b[K"), string::npos);  // and that line is gone
  EXPECT_EQ(waiter.wait(), 0);
}

TEST(progress, clears_its_line_before_the_message_of_a_timeout) {
  const Directory here;
  HeldLock held(here, "x");
  Terminal waiter(here, {LOCKCTL, "wait", "x", "--timeout", "500ms"});
  waiter.expect("waiting for 'x.lock'");
  EXPECT_EQ(waiter.wait(), 124);
  const string shown = waiter.rest();
  EXPECT_NE(shown.find("\r\x1b[Klockctl: cannot wait any longer for 'x.lock': timed out, held by pid "), string::npos)
      << shown;
}

TEST(progress, is_told_once_where_nobody_watches) {
  const Directory here;
  HeldLock held(here, "x");
  const Result result = lockctl(here, {"wait", "x", "--timeout", "4500ms"});
  EXPECT_EQ(result.status, 124);
  EXPECT_EQ(result.errors.find("lockctl: waiting for 'x.lock': held by pid"), 0U) << result.errors;
  EXPECT_EQ(std::count(result.errors.begin(), result.errors.end(), '\n'), 2) << result.errors;
  EXPECT_EQ(result.errors.find('\x1b'), string::npos);
}

TEST(progress, is_not_told_when_the_wait_is_short) {
  const Directory here;
  HeldLock held(here, "x");
  const Result result = lockctl(here, {"wait", "x", "--timeout", "50ms"});
  EXPECT_EQ(result.errors.find("waiting for"), string::npos) << result.errors;
}

}  // namespace
}  // namespace cli_test
