// `sqlite:DATABASE#NAME` with every command.
#include "support.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <fstream>
#include <sstream>

namespace cli_test {
namespace {

using std::string;

using json = nlohmann::json;

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
  EXPECT_EQ(text.status, cannot_create);
  EXPECT_TRUE(has(text.errors, "is damaged, or no database")) << text.errors;
  const Result missing = lockctl(here, {"run", "sqlite:nowhere/locks.db#a", "--", "true"});
  EXPECT_EQ(missing.status, cannot_create);
  EXPECT_TRUE(has(missing.errors, "cannot open directory '")) << missing.errors;
  const Result nameless = lockctl(here, {"run", "sqlite:locks.db", "--", "true"});
  EXPECT_TRUE(has(nameless.errors, "the lock's name is missing")) << nameless.errors;
}

TEST(sqlite, list_shows_the_names_that_are_held) {
  const Directory here;
  const Result missing = lockctl(here, {"list", "sqlite:locks.db"});
  EXPECT_EQ(missing.status, cannot_look) << "a name that was mistaken is no empty list";
  EXPECT_TRUE(has(missing.errors, "cannot list 'sqlite:locks.db': no such file")) << missing.errors;
  EXPECT_TRUE(here.names().empty()) << "a look makes nothing";
  EXPECT_EQ(lockctl(here, {"run", "sqlite:locks.db#nightly", "--", "true"}).status, 0);
  EXPECT_EQ(lockctl(here, {"list", "sqlite:locks.db"}).out, "");
  EXPECT_EQ(lockctl(here, {"list", "sqlite:locks.db", "--json"}).out, "[]\n");
  HeldLock nightly(here, "sqlite:locks.db#nightly", {"--reason", "month end"});
  HeldLock reader(here, "sqlite:locks.db#a b", {"--shared"});
  HeldLock other(here, "sqlite:locks.db#a b", {"--shared"});
  Peer waiter(lockctl_start(here, {"run", "sqlite:locks.db#nightly", "--", "true"}));
  std::vector<json> all;
  const auto give_up = std::chrono::steady_clock::now() + stuck;
  do {
    all = json::parse(lockctl(here, {"list", "sqlite:locks.db", "--json"}).out).get<std::vector<json>>();
    ASSERT_EQ(all.size(), 2U);
    ASSERT_LT(std::chrono::steady_clock::now(), give_up);
  } while (all[1]["waiters"].empty());
  EXPECT_EQ(all[0]["path"], "sqlite:locks.db#a b");
  EXPECT_EQ(all[0]["holders"].size(), 2U);
  EXPECT_EQ(all[1]["path"], "sqlite:locks.db#nightly");
  EXPECT_EQ(all[1]["lock_file"], "sqlite:locks.db#nightly");
  EXPECT_EQ(all[1]["state"], "held");
  EXPECT_EQ(all[1]["holder"]["reason"], "month end");
  EXPECT_EQ(all[1]["waiters"][0]["pid"], waiter.pid());
  std::istringstream table(lockctl(here, {"list", "sqlite:locks.db"}).out);
  std::vector<string> lines;
  for (string line; std::getline(table, line);) {
    lines.push_back(line);
  }
  ASSERT_EQ(lines.size(), 4U);
  EXPECT_TRUE(lines[0].starts_with("PATH ")) << lines[0];
  EXPECT_TRUE(lines[1].starts_with("sqlite:locks.db#a b ")) << lines[1];
  EXPECT_TRUE(has(lines[3], "held") && has(lines[3], "1 for ") && has(lines[3], "month end")) << lines[3];
  EXPECT_EQ(nightly.let_go(), 0);
  EXPECT_EQ(waiter.wait(), 0);
  EXPECT_EQ(reader.let_go() + other.let_go(), 0);
  EXPECT_EQ(lockctl(here, {"list", "sqlite:locks.db"}).out, "");
}

TEST(sqlite, list_takes_the_address_of_a_database_and_not_of_a_lock) {
  const Directory here;
  std::ofstream(here / "notes.txt") << string(2000, 'x');
  const Result text = lockctl(here, {"list", "sqlite:notes.txt"});
  EXPECT_EQ(text.status, cannot_look);
  EXPECT_TRUE(text.errors.starts_with("lockctl: cannot list 'sqlite:notes.txt': ")) << text.errors;
  const Result named = lockctl(here, {"list", "sqlite:locks.db#a"});
  EXPECT_EQ(named.status, usage);
  EXPECT_TRUE(has(named.errors, "it names one lock, 'a', of which 'lockctl status' tells")) << named.errors;
  for (const string verb : {"list", "doctor"}) {
    const Result wrong = lockctl(here, {verb, "sqlite:///locks.db"});
    EXPECT_EQ(wrong.status, usage) << verb;
    EXPECT_TRUE(has(wrong.errors, "a database file is on this machine")) << wrong.errors;
  }
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
