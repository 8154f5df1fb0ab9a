// The pieces of lockctl that are worth calling directly, and what every subcommand says about itself.
#include "support.hpp"

#include "child.hpp"
#include "duration.hpp"
#include "text.hpp"

#include <gtest/gtest.h>

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>

namespace cli_test {
namespace {

using ::lockctl::escape;
using ::lockctl::parse_duration;
using ::lockctl::show_duration;
using std::string;
using Seconds = ::lockctl::Seconds;

TEST(durations, are_read_as_people_write_them) {
  const std::vector<std::pair<string, double>> good{{"500ms", 0.5}, {"5s", 5},     {"1m30s", 90},
                                                    {"2h", 7200},   {"1d", 86400}, {"90", 90},
                                                    {"0", 0},       {"0.5", 0.5},  {"1.5s", 1.5}};
  for (const auto& [text, seconds] : good) {
    const auto parsed = parse_duration(text);
    ASSERT_TRUE(parsed) << text;
    EXPECT_DOUBLE_EQ(parsed->count(), seconds) << text;
  }
  for (const string text :
       {"", "s", "-1", "+1", "5 s", "5x", "1s1m", "1m1m", "1m30", "inf", "nan", "1e3", "0x1", "5s "}) {
    EXPECT_FALSE(parse_duration(text)) << text;
  }
}

TEST(durations, are_shown_in_two_units_at_most) {
  const std::vector<std::pair<double, string>> shown{{0, "0s"},      {0.85, "850ms"},         {12, "12s"},
                                                     {192, "3m12s"}, {7500, "2h05m"},         {273600, "3d04h"},
                                                     {-5, "0s"},     {1e300, "370370370d08h"}};
  for (const auto& [seconds, text] : shown) {
    EXPECT_EQ(show_duration(Seconds{seconds}), text);
  }
}

TEST(text, is_harmless_on_a_terminal_and_stays_readable) {
  EXPECT_EQ(escape("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x94\x92"), "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x94\x92");
  EXPECT_EQ(escape("\x1b[31m\n"), "\\x1b[31m\\x0a");
  EXPECT_EQ(escape("\xff\xc3"), "\\xff\\xc3");
  EXPECT_EQ(escape("\xc2\x9b"), "\\xc2\\x9b");           // CSI, in one character
  EXPECT_EQ(escape("\xe2\x80\xae"), "\\xe2\\x80\\xae");  // from right to left
  EXPECT_EQ(escape("\xc0\xaf"), "\\xc0\\xaf");           // overlong
  EXPECT_EQ(escape(escape("\x1b")), escape("\x1b"));
}

TEST(text, is_shortened_by_characters_and_not_by_bytes) {
  EXPECT_EQ(::lockctl::shorten("caf\xc3\xa9s", 5), "caf\xc3\xa9s");
  EXPECT_EQ(::lockctl::shorten("\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9", 4), "\xc3\xa9...");
}

TEST(help, of_every_subcommand_has_its_options_and_an_example) {
  const Directory here;
  const Result all = lockctl(here, {"--help"});
  EXPECT_EQ(all.status, 0);
  EXPECT_NE(all.out.find("Exit statuses:"), string::npos);
  int count = 0;
  for (const string verb : {"run", "status", "wait", "break", "list", "doctor"}) {
    EXPECT_NE(all.out.find("\n  " + verb + " "), string::npos) << verb;
    const Result one = lockctl(here, {verb, "--help"});
    EXPECT_EQ(one.status, 0) << verb;
    EXPECT_NE(one.out.find("Example"), string::npos) << one.out;
    EXPECT_TRUE(one.errors.empty());
    ++count;
  }
  EXPECT_EQ(count, 6);
}

TEST(version, is_printed) {
  const Directory here;
  const Result result = lockctl(here, {"--version"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.out.rfind("lockctl 0.", 0), 0U) << result.out;
}

// lockctl dies between fork and the moment at which the lock is the command's: the command must never run.
TEST(child, that_was_never_let_go_runs_nothing) {
  const Directory here;
  std::array<int, 2> tell{};
  ASSERT_EQ(::pipe(tell.data()), 0);
  const pid_t parent = ::fork();
  if (parent == 0) {
    ::lockctl::Inheritance inheritance;
    ::sigemptyset(&inheritance.mask);
    inheritance.on_child_end.sa_handler = SIG_DFL;
    const ::lockctl::Child child({"touch", here / "ran"}, {"PATH=/usr/bin:/bin"}, -1, inheritance);
    const pid_t pid = child.pid();
    if (::write(tell[1], &pid, sizeof pid) == static_cast<ssize_t>(sizeof pid)) {
      ::pause();
    }
    ::_exit(1);
  }
  pid_t child = 0;
  ASSERT_EQ(::read(tell[0], &child, sizeof child), static_cast<ssize_t>(sizeof child));
  ::kill(parent, SIGKILL);
  ::waitpid(parent, nullptr, 0);
  ::close(tell[0]);
  ::close(tell[1]);
  EXPECT_TRUE(ends(child));
  EXPECT_TRUE(here.names().empty());
}

// Where a hold cannot be handed over, the command must not outlive lockctl: it would run without the lock.
TEST(child, that_cannot_be_handed_the_lock_dies_with_lockctl) {
  const Directory here;
  ASSERT_EQ(::mkfifo((here / "say").c_str(), 0600), 0);
  const pid_t parent = ::fork();
  if (parent == 0) {
    ::lockctl::Inheritance inheritance;
    ::sigemptyset(&inheritance.mask);
    inheritance.on_child_end.sa_handler = SIG_DFL;
    ::lockctl::Child child({"sh", "-c", "echo $$ > " + (here / "say") + "; exec sleep 60"}, {"PATH=/usr/bin:/bin"}, -1,
                           inheritance);
    child.let_go(::lockctl::OnOurDeath::dies);
    ::pause();
    ::_exit(1);
  }
  const pid_t child = std::atoi(read_all(here / "say").c_str());
  ASSERT_GT(child, 0);
  ::kill(parent, SIGKILL);
  ::waitpid(parent, nullptr, 0);
  EXPECT_TRUE(ends(child));
}

}  // namespace
}  // namespace cli_test
