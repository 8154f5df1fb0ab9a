// The short form of the torture: every course, bounded by a number of kills. And it must bite: each lock that is wrong
// on purpose is found out. The long form is `torture --help`.
#include "torture/torture.hpp"

#include "support/sanitizers.hpp"

#include <gtest/gtest.h>

#include <iostream>

namespace lockfile::torture {
namespace {

using namespace std::chrono_literals;

#if defined(UNDER_ASAN) || defined(UNDER_TSAN)
constexpr long factor = 2;  // under a sanitizer a process is born and dies more slowly
#else
constexpr long factor = 1;
#endif
constexpr long kills = 100 / factor;

class Torture : public ::testing::TestWithParam<Course> {};
INSTANTIATE_TEST_SUITE_P(every, Torture, ::testing::ValuesIn(courses()),
                         [](const auto& each) { return each.param.name; });

void say(const Report& report, const Settings& settings) {
  std::cout << report.kills << " kills (1/" << factor << " of the full number), " << report.stops << " stops, "
            << report.holds << " holds, " << report.taken_over << " taken over from the dead, " << report.forced
            << " broken by force, seed " << settings.seed << "\n";
  for (const std::string& each : report.sentences) std::cout << each << "\n";
}

TEST_P(Torture, breaks_no_law) {
  const Settings settings{.kills = kills, .kills_at_most = 20 * kills, .by_command = GetParam().name == "mixed"};
  const Report report = torture(GetParam(), settings);
  say(report, settings);
  for (const std::string& each : report.sentences) ADD_FAILURE() << each;
  EXPECT_GE(report.kills, kills);
  EXPECT_TRUE(shows(GetParam(), report));
}

TEST(TortureMatrix, is_every_variant_of_lock_files_the_mixture_three_other_schemes_and_five_with_forced_breaks) {
  EXPECT_EQ(courses().size(), testing::variants().size() + 1 + 3 + 5);
}

class Wrong : public ::testing::TestWithParam<WrongCourse> {};
INSTANTIATE_TEST_SUITE_P(every, Wrong, ::testing::ValuesIn(wrong_courses()),
                         [](const auto& each) { return each.param.course.name; });

TEST_P(Wrong, lock_is_found_out) {
  // Only whoever is to be stuck is soon said to be: where the machine is slow the others get on slowly.
  const bool to_be_stuck = GetParam().breaks == Law::stuck;
  const Settings settings{
      .kills = 50 * kills, .stuck = to_be_stuck ? 1s : lockfile::testing::stuck, .until = GetParam().breaks};
  const Report report = torture(GetParam().course, settings);
  say(report, settings);
  EXPECT_GT(report.count(GetParam().breaks), 0);
}

}  // namespace

void PrintTo(const Course& course, std::ostream* out) { *out << course.name; }
void PrintTo(const WrongCourse& wrong, std::ostream* out) { *out << wrong.course.name; }

}  // namespace lockfile::torture
