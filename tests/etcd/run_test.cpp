// `lockctl run` on an address of etcd.
#include "etcd/cluster.hpp"

#include <sys/wait.h>

namespace lockfile::testing {
namespace {

class Run : public ::testing::Test {
 protected:
  void SetUp() override { NEEDS(address_.empty() ? "the environment names no server" : ""); }
  std::string address_ = shared_address(::testing::UnitTest::GetInstance()->current_test_info()->name());
};

// The end of the command is a signal, which a thread of gRPC has taken away in two runs of five.
TEST_F(Run, ends_with_its_command) {
  for (int i = 0; i < 20; ++i) {
    Peer run(LOCKCTL, {"run", address_, "--", "echo", "done"});
    EXPECT_EQ(run.answer(), "done");
    ASSERT_EQ(run.answer(), std::nullopt);
    EXPECT_EQ(WEXITSTATUS(run.wait()), 0);
  }
}

TEST_F(Run, is_listed_below_the_prefix) {
  Peer run(LOCKCTL, {"run", address_, "--reason", "month end", "--", "sh", "-c", "echo in; read line"});
  EXPECT_EQ(run.answer(), "in");
  Peer list(LOCKCTL, {"list", address_.substr(0, address_.rfind('/') + 1)});
  std::string found;
  while (const auto line = list.answer()) {
    if (line->starts_with(address_ + " ")) found = *line;
  }
  EXPECT_NE(found.find("pid " + std::to_string(run.pid()) + " on "), std::string::npos) << found;
  EXPECT_NE(found.find("month end"), std::string::npos) << found;
  EXPECT_EQ(list.wait(), 0);
}

}  // namespace
}  // namespace lockfile::testing
