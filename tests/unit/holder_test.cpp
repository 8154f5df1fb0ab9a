// What people read.
#include <lockfile/lockfile.hpp>

#include <gtest/gtest.h>

namespace lockfile {
namespace {

using namespace std::chrono_literals;

TEST(Holder, describes_itself_in_one_line) {
  Holder holder;
  holder.verdict = Verdict::alive;
  holder.pid = 4711;
  holder.host = "build-7";
  holder.program = "rsync";
  EXPECT_EQ(holder.who(), "pid 4711 on build-7 (rsync)");
  EXPECT_EQ(holder.describe(), "held by pid 4711 on build-7 (rsync) (alive)");
  holder.handed_to = 4712;
  holder.reason = "a\nb";
  holder.verdict = Verdict::unknown;
  holder.note = "its host cannot be asked";
  EXPECT_EQ(
      holder.describe(),
      "held by pid 4711 and its child 4712 on build-7 (rsync) (unknown: its host cannot be asked), reason: a\\x0ab");
}

TEST(Holder, nothing_that_a_stranger_wrote_reaches_a_terminal_raw) {
  Holder holder;
  holder.host = "\x1b]0;title\x07";
  holder.program = "\n";
  EXPECT_EQ(holder.describe().find_first_of("\x1b\x07\n"), std::string::npos);
}

TEST(Codes, without_a_standard_condition_are_their_own) {
  EXPECT_EQ(make_error_code(errc::not_locked).default_error_condition().category(), lockfile_category());
  EXPECT_EQ(lockfile_category().message(1000), "unknown error 1000");
}

TEST(Codes, compare_with_the_standards_conditions) {
  EXPECT_EQ(make_error_code(errc::timed_out), std::errc::timed_out);
  EXPECT_EQ(make_error_code(errc::already_locked), std::errc::resource_unavailable_try_again);
  EXPECT_EQ(make_error_code(errc::stopped), std::errc::operation_canceled);
  EXPECT_EQ(make_error_code(errc::not_my_lock), std::errc::operation_not_permitted);
  EXPECT_STREQ(lockfile_category().name(), "lockfile");
  for (int code = 1; code <= 7; ++code) {
    EXPECT_EQ(lockfile_category().message(code).find("unknown"), std::string::npos) << code;
  }
}

TEST(Wait, keeps_what_it_was_given) {
  EXPECT_EQ(Wait(1500ms).limit(), 1500ms);
  EXPECT_EQ(Wait(-1h).limit(), 0ns);
  EXPECT_FALSE(Wait(std::chrono::hours::max()).limit());
  EXPECT_FALSE(Wait().limit());
  EXPECT_EQ(Wait(std::chrono::duration<double>(1e-12)).limit(), 1ns);
  EXPECT_FALSE(Wait(std::chrono::duration<double>(std::nan(""))).valid());
}

}  // namespace
}  // namespace lockfile
