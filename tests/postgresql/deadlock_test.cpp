// Who is in a cycle of waits, and who of it gives up.
#include "schemes/postgresql/deadlock.hpp"

#include <gtest/gtest.h>

namespace lockfile::schemes::postgresql {
namespace {

Claimed has(const char* who, std::int64_t key, bool exclusive = true) {
  return {.who = who, .backend = key * 100, .key = key, .granted = true, .exclusive = exclusive};
}
Claimed wants(const char* who, std::int64_t session, std::int64_t key, std::int64_t waited, bool exclusive = true) {
  return {.who = who, .backend = session, .key = key, .exclusive = exclusive, .waited = waited};
}

TEST(Deadlock, is_a_way_back_and_the_youngest_wait_gives_up) {
  const std::vector<Claimed> all{has("S", 1), has("T", 2), wants("S", 10, 2, 500), wants("T", 11, 1, 400)};
  EXPECT_FALSE(is_to_give_up(all, 10));
  EXPECT_TRUE(is_to_give_up(all, 11));
}

TEST(Deadlock, of_two_waits_of_one_age_is_given_up_by_the_later_session) {
  const std::vector<Claimed> all{has("S", 1), has("T", 2), wants("S", 10, 2, 500), wants("T", 11, 1, 500)};
  EXPECT_FALSE(is_to_give_up(all, 10));
  EXPECT_TRUE(is_to_give_up(all, 11));
}

TEST(Deadlock, goes_through_three) {
  const std::vector<Claimed> all{
      has("S", 1), has("T", 2), has("U", 3), wants("S", 10, 2, 500), wants("T", 11, 3, 400), wants("U", 12, 1, 600)};
  EXPECT_TRUE(is_to_give_up(all, 11));
  EXPECT_FALSE(is_to_give_up(all, 12));
}

TEST(Deadlock, is_none_without_a_way_back) {
  const std::vector<Claimed> all{has("S", 1), has("T", 2), has("U", 3), wants("S", 10, 2, 500), wants("T", 11, 3, 400)};
  EXPECT_FALSE(is_to_give_up(all, 10));
  EXPECT_FALSE(is_to_give_up(all, 11));
  EXPECT_FALSE(is_to_give_up(all, 99)) << "a wait that is over";
  EXPECT_FALSE(is_to_give_up(all, 100)) << "a wait that was granted";
}

TEST(Deadlock, counts_who_came_before_in_the_queue) {
  // U wants 1 alone and came before T, which would share it with S.
  const std::vector<Claimed> all{has("S", 1, false), has("T", 2), wants("U", 12, 1, 900), wants("T", 11, 1, 400, false),
                                 wants("S", 10, 2, 500)};
  EXPECT_TRUE(is_to_give_up(all, 11));
  const std::vector<Claimed> without{has("S", 1, false), has("T", 2), wants("T", 11, 1, 400, false),
                                     wants("S", 10, 2, 500)};
  EXPECT_FALSE(is_to_give_up(without, 11)) << "readers together";
}

TEST(Deadlock, of_others_is_not_ours) {
  const std::vector<Claimed> all{has("S", 1), has("T", 2), wants("S", 10, 2, 500), wants("T", 11, 1, 400),
                                 wants("U", 12, 1, 300)};
  EXPECT_FALSE(is_to_give_up(all, 12));
}

}  // namespace
}  // namespace lockfile::schemes::postgresql
