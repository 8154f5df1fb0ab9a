// Names: made, and taken apart.
#include "claim/names.hpp"

#include <gtest/gtest.h>

namespace lockfile::claim {
namespace {

constexpr std::string_view boot = "69a47cd1-74e0-4039-86ac-57f107e4491f";

TEST(Names, side_names_are_made_of_the_words_name_and_the_nonce) {
  const Names names("a");
  const std::string nonce = make_nonce(boot, 0x1234);
  EXPECT_EQ(names.word(), "a.lock");
  EXPECT_EQ(names.side(nonce), "a.lock." + nonce);
  EXPECT_EQ(names.side(nonce, suffix::directory), "a.lock." + nonce + ".dir");
}

TEST(Names, side_names_that_would_be_too_long_are_hashed) {
  const std::string nonce = make_nonce(boot, 1);
  const std::string longest(250, 'x');
  const Names names(longest);
  EXPECT_LE(names.side(nonce, suffix::taken_away(UINT64_MAX)).size(), 250U);
  EXPECT_EQ(Names(std::string(191, 'x')).side(nonce, suffix::numbered(UINT64_MAX, suffix::members)).size(), 250U);
  const std::string side = names.side(nonce, suffix::numbered(UINT64_MAX, suffix::members));
  EXPECT_LE(side.size(), 250U);
  EXPECT_TRUE(side.starts_with(".lf-"));
  const auto parsed = parse_side_name(side);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->nonce, nonce);
  EXPECT_NE(Names(longest + "y").side(nonce), names.side(nonce));
}

TEST(Names, entries_of_readers_are_recognised_and_nothing_else) {
  const std::string nonce = make_nonce(boot, 1);
  const auto entry = parse_entry_name(entry_name(nonce, 12));
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->nonce, nonce);
  EXPECT_EQ(entry->number, 12U);
  for (const std::string& other :
       {std::string(), nonce, nonce + ".", nonce + ".012", nonce + ".1x", nonce + ".-1", "x" + nonce + ".1"}) {
    EXPECT_FALSE(parse_entry_name(other)) << other;
  }
}

TEST(Names, every_side_name_is_recognised_and_nothing_else) {
  const std::string nonce = make_nonce(boot, 1);
  for (const std::string& end :
       {std::string(), std::string(suffix::trial), std::string(suffix::directory), std::string(suffix::entry),
        suffix::taken_away(0), suffix::taken_away(12), suffix::numbering(7), suffix::numbered(3, suffix::group),
        suffix::numbered(4, suffix::members), suffix::numbered(5, suffix::joined)}) {
    for (const std::string& locked :
         {std::string("a"), std::string("a.lock"), std::string("a.lock.b"), std::string(".lf-"),
          std::string(".lf-a-long-enough-name"), ".lf-0123456789abcdef-" + nonce}) {
      const auto parsed = parse_side_name(Names(locked).side(nonce, end));
      ASSERT_TRUE(parsed) << locked << end;
      EXPECT_EQ(parsed->nonce, nonce);
      EXPECT_EQ(parsed->suffix, end);
    }
  }
  const std::vector<std::string> others = {"a.lock",
                                           "a.lock.",
                                           "a.lock.orig",
                                           ("a.lock." + nonce).substr(0, 20),
                                           "a.lock." + nonce + ".bak",
                                           "a.lock." + nonce + "..gone",
                                           "a.lock." + nonce + ".x.gone",
                                           "a.lock." + nonce + ".007.gone",
                                           "a.lock." + nonce + ".18446744073709551616.gone",
                                           "a.lock." + nonce + ".fence",
                                           Names("a").fence(),
                                           Names(std::string(250, 'x')).fence(),
                                           ".lf-0123456789abcdeg-" + nonce,
                                           ".lf-0123456789abcdef." + nonce,
                                           ".lf-",
                                           ".lf-0123"};
  for (const std::string& other : others) {
    EXPECT_FALSE(parse_side_name(other)) << other;
  }
}

TEST(Names, a_nonce_tells_the_boot_of_its_maker) {
  EXPECT_TRUE(nonce_is_of_boot(make_nonce(boot, 5), boot));
  EXPECT_FALSE(nonce_is_of_boot(make_nonce(boot, 5), "another boot"));
  EXPECT_EQ(make_nonce(boot, 5).size(), nonce_length);
}

}  // namespace
}  // namespace lockfile::claim
