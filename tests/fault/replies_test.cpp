// On a network file system the reply to a call may be lost after the server has done the work. The client asks again,
// and is told that the name is there already, or not there any more: at each place where a name is made, moved or
// removed. Nothing comes of it: no verb fails, and no hold is lost or had twice.
#include "fault/stage.hpp"
#include "support/layered_system.hpp"
#include "support/scratch.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

namespace lockfile::testing {
namespace {

using namespace std::chrono_literals;

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

// The server may look at the new name first.
class ToldThatItIsThere final : public LayeredSystem {
 public:
  ToldThatItIsThere() : LayeredSystem(os::real_system()) { mounted = os::FileSystem{"nfs", false, true}; }
  os::Status rename_new(int from_at, const char* from, int to_at, const char* to) noexcept override {
    const os::Status error = LayeredSystem::rename_new(from_at, from, to_at, to);
    return error == 0 && to == std::string_view("a.lock") && !std::exchange(told_, true) ? EEXIST : error;
  }
  [[nodiscard]] bool told() const noexcept { return told_; }

 private:
  bool told_ = false;
};

TEST(ReplyToARename, that_is_lost_and_then_a_refusal_leaves_a_hold_that_is_seen_to_be_ours) {
  for (const std::chrono::milliseconds lease : {0ms, 1000ms}) {
    const Scratch scratch;
    ToldThatItIsThere system;
    os::Process process(system);
    os::Process::set_current(&process);
    FileLock lock(scratch / "a", {.scheme = "mkdir", .lease = lease});
    EXPECT_NO_THROW(lock.acquire(0s));
    EXPECT_TRUE(system.told());
    EXPECT_TRUE(lock.i_am_locking());
    EXPECT_NO_THROW(lock.release());
    EXPECT_FALSE(std::filesystem::exists(scratch / "a.lock"));
    os::Process::set_current(nullptr);
  }
}

}  // namespace
}  // namespace lockfile::testing
