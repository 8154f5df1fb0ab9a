// `sqlite:DATABASE#NAME` with every command.
#include "support.hpp"

#include <gtest/gtest.h>

#include <fstream>

namespace cli_test {
namespace {

using std::string;

constexpr int cannot_lock = 73;
constexpr int conflict = 75;
constexpr int timed_out = 124;

bool has(const string& text, const string& what) { return text.find(what) != string::npos; }

TEST(sqlite, names_are_held_and_looked_at_by_every_command) {
  const Directory here;
  const string address = "sqlite:locks.db#nightly";
  EXPECT_EQ(lockctl(here, {"status", address}).out, address + ": free\n");
  EXPECT_TRUE(here.names().empty()) << "a look makes nothing";
  HeldLock held(here, address);
  const Result status = lockctl(here, {"status", address});
  EXPECT_EQ(status.status, conflict);
  EXPECT_TRUE(status.out.starts_with(address + ": held by pid ")) << status.out;
  EXPECT_EQ(lockctl(here, {"run", address, "--try", "--", "true"}).status, conflict);
  EXPECT_EQ(lockctl(here, {"run", "sqlite:locks.db#weekly", "--", "true"}).status, 0) << "another name";
  const Result waited = lockctl(here, {"wait", address, "--timeout", "50ms"});
  EXPECT_EQ(waited.status, timed_out);
  EXPECT_TRUE(has(waited.errors, "timed out, held by pid ")) << waited.errors;
  const Result kept = lockctl(here, {"break", address});
  EXPECT_EQ(kept.status, conflict);
  EXPECT_TRUE(has(kept.errors, "it is not proved dead")) << kept.errors;
  EXPECT_EQ(held.let_go(), 0);
  EXPECT_EQ(lockctl(here, {"wait", address}).status, 0);
}

TEST(sqlite, a_command_has_a_fence_and_a_larger_one_each_time) {
  const Directory here;
  const auto fence = [&] {
    return std::stoull(lockctl(here, {"run", "sqlite:locks.db#a", "--", "sh", "-c", "echo $LOCKCTL_FENCE"}).out);
  };
  const auto first = fence();
  EXPECT_GT(first, 0U);
  EXPECT_GT(fence(), first);
}

TEST(sqlite, what_is_wrong_with_a_database_is_said) {
  const Directory here;
  std::ofstream(here / "notes.txt") << string(2000, 'x');
  const Result text = lockctl(here, {"run", "sqlite:notes.txt#a", "--", "true"});
  EXPECT_EQ(text.status, cannot_lock);
  EXPECT_TRUE(has(text.errors, "is damaged, or no database")) << text.errors;
  const Result missing = lockctl(here, {"run", "sqlite:nowhere/locks.db#a", "--", "true"});
  EXPECT_EQ(missing.status, cannot_lock);
  EXPECT_TRUE(has(missing.errors, "cannot open directory '")) << missing.errors;
  const Result nameless = lockctl(here, {"run", "sqlite:locks.db", "--", "true"});
  EXPECT_TRUE(has(nameless.errors, "the lock's name is missing")) << nameless.errors;
}

TEST(sqlite, doctor_looks_the_database_over) {
  const Directory here;
  const Result before = lockctl(here, {"doctor", "sqlite:locks.db"});
  EXPECT_EQ(before.status, 0) << before.errors;
  EXPECT_TRUE(has(before.out, "will be made by the first lock")) << before.out;
  EXPECT_TRUE(here.names().empty());
  HeldLock held(here, "sqlite:locks.db#a");
  const Result during = lockctl(here, {"doctor", "sqlite:locks.db"});
  EXPECT_EQ(during.status, 0) << during.errors;
  EXPECT_TRUE(has(during.out, "journal mode wal")) << during.out;
  EXPECT_EQ(held.let_go(), 0);
}

}  // namespace
}  // namespace cli_test
