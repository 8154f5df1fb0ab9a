// On a network file system the reply to a call may be lost after the server has done the work. The client asks again,
// and is told that the name is there already, or not there any more: at each place where a name is made, moved or
// removed. Nothing comes of it: no verb fails, and no hold is lost or had twice.
#include "fault/stage.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <string>

namespace lockfile::testing {
namespace {

class LostReply final : public Trouble {
 public:
  explicit LostReply(std::size_t at) : at_(at) {}

  bool loses_reply(os::Call call) override {
    if (replies_++ != at_) return false;
    lost_ = os::to_string(call);
    return true;
  }
  [[nodiscard]] bool was_reached() const noexcept { return !lost_.empty(); }
  [[nodiscard]] std::string describe() const override { return std::to_string(at_) + ": lost the reply to " + lost_; }

 private:
  std::size_t at_;
  std::size_t replies_ = 0;
  std::string lost_;
};

class Replies : public Lives {};
INSTANTIATE_TEST_SUITE_P(on_a_network, Replies, ::testing::ValuesIn([] {
                           std::vector<Setting> all;
                           for (const Setting& each : settings()) {
                             if (each.mounted && !is_kernel(*each.variant)) all.push_back(each);
                           }
                           return all;
                         }()),
                         [](const auto& each) { return each.param.name; });

TEST_P(Replies, that_are_lost_change_nothing) {
  std::size_t lost = 0;
  for (const Scenario& scenario : scenarios_of(GetParam())) {
    bool more = true;
    for (std::size_t at = 0; more; ++at) {
      LostReply reply(at);
      live(scenario, reply);
      more = reply.was_reached();
      lost += more ? 1 : 0;
    }
  }
  EXPECT_GT(lost, 0U);
  std::cout << "lived through " << lost << " lost replies\n";
}

}  // namespace
}  // namespace lockfile::testing
