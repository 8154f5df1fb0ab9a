// The names of a database or a cluster: which of them are locked, and by whom.
#include "conformance/fixture.hpp"

#include <lockfile/open.hpp>

#include <memory>

namespace lockfile::testing {
namespace {

class Names : public Law {
 protected:
  // Of a lock beside that of `path()`, which no other test has.
  [[nodiscard]] std::string address(const std::string& more) const {
    auto parsed = std::get<Address>(parse_address(shown()));
    parsed.name += more;
    return to_string(parsed);
  }
  [[nodiscard]] std::string place() const {
    auto parsed = std::get<Address>(parse_address(shown()));
    parsed.name.clear();
    return to_string(parsed);
  }
  // Those of this test, for a server has those of others too.
  [[nodiscard]] std::vector<NamedLock> listed() const {
    std::error_code why;
    std::vector<NamedLock> all = list_place(place(), why);
    EXPECT_FALSE(why) << why.message();
    const std::string mine = std::get<Address>(parse_address(shown())).name;
    std::erase_if(all, [&](const NamedLock& each) {
      return !std::get<Address>(parse_address(each.address)).name.starts_with(mine);
    });
    return all;
  }
  [[nodiscard]] std::vector<std::string> addresses() const {
    std::vector<std::string> all;
    for (const NamedLock& each : listed()) all.push_back(each.address);
    return all;
  }
};

TEST_P(Names, are_listed_while_they_are_held) {
  const auto one = open(address("-one"));
  const auto two = open(address("/two #%2F%"));
  one->acquire();
  one->release();
  EXPECT_TRUE(listed().empty());
  one->acquire();
  two->acquire(Mode::shared);
  EXPECT_EQ(addresses(), (std::vector{one->path(), two->path()}));
  for (const NamedLock& each : listed()) {
    ASSERT_EQ(each.holders.size(), 1U);
    EXPECT_EQ(each.holders.front().pid, ::getpid());
    EXPECT_EQ(each.holders.front().mode, each.address == one->path() ? Mode::exclusive : Mode::shared);
    EXPECT_TRUE(each.waiters.empty());
  }
  one->release();
  EXPECT_EQ(addresses(), std::vector{two->path()});
  two->release();
  EXPECT_TRUE(listed().empty());
}

TEST_P(Names, are_listed_with_all_that_hold_or_wait) {
  Peer one(peer_arguments());
  Peer two(peer_arguments());
  Peer three(peer_arguments());
  EXPECT_EQ(one.ask("share"), "held");
  EXPECT_EQ(two.ask("share"), "held");
  three.tell("acquire");
  std::vector<NamedLock> all;
  const auto give_up = std::chrono::steady_clock::now() + stuck;
  do {
    all = listed();
    ASSERT_EQ(all.size(), 1U);
    ASSERT_LT(std::chrono::steady_clock::now(), give_up);
  } while (all.front().waiters.empty());
  EXPECT_EQ(all.front().address, shown());
  EXPECT_EQ(all.front().holders.size(), 2U);
  EXPECT_EQ(all.front().waiters.front().pid, three.pid());
}

TEST_P(Names, of_semaphores_and_of_places_below_are_not_listed) {
  auto semaphore = open_semaphore(shown(), 2);
  const auto units = semaphore.acquire();
  std::unique_ptr<Lock> below;
  if (GetParam().scheme == "etcd") {
    below = open(shown() + "/deeper");
    below->acquire();
  }
  EXPECT_TRUE(listed().empty());
}

LOCKFILE_FOR_ENGINES(Names);

}  // namespace
}  // namespace lockfile::testing
