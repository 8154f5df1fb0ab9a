// The queue in shared memory: numbers, order, and what is left by those who die on the way.
#include "claim/queue.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>

namespace lockfile::claim {
namespace {

using std::chrono_literals::operator""ns;

class QueueOf : public ::testing::Test {
 protected:
  [[nodiscard]] Queue queue() { return {system_, memory_.get()}; }
  std::uint32_t enter(Queue& queue, std::uint64_t id) {
    const auto slot = queue.enter({.id = id, .pid = 17, .program = "somebody"}, nobody_is_gone_);
    EXPECT_TRUE(slot);
    return slot.value_or(0);
  }
  Place stand(Queue& queue, std::uint32_t slot, Mode mode = Mode::exclusive, Queue::Born born = Queue::Born::standing) {
    const auto place = queue.stand(slot, mode, 5ns, born);
    EXPECT_TRUE(place);
    return place.value_or(Place{});
  }
  static std::vector<std::uint64_t> numbers(std::span<const Place> places) {
    std::vector<std::uint64_t> all;
    for (const Place& each : places) all.push_back(each.number());
    std::sort(all.begin(), all.end());
    return all;
  }

  const Queue::IsGone nobody_is_gone_ = [](const SlotOwner&) { return false; };
  const Queue::IsGone all_are_gone_ = [](const SlotOwner&) { return true; };
  os::System& system_ = os::real_system();
  std::unique_ptr<os::SharedWord[]> memory_ = std::make_unique<os::SharedWord[]>(Queue::words);
};

TEST_F(QueueOf, empty_memory_is_an_empty_queue) {
  Queue queue = this->queue();
  EXPECT_FALSE(queue.anybody());
  EXPECT_FALSE(queue.anyone_stands());
  EXPECT_TRUE(queue.look().empty());
}

TEST_F(QueueOf, numbers_grow_and_never_come_again) {
  Queue queue = this->queue();
  const std::uint32_t one = enter(queue, 1);
  const std::uint32_t two = enter(queue, 2);
  EXPECT_NE(one, two);
  const Place first = stand(queue, one);
  const Place second = stand(queue, two);
  EXPECT_LT(first.number(), second.number());
  EXPECT_TRUE(queue.drop(second));
  EXPECT_FALSE(queue.drop(second));
  const Place third = stand(queue, two);
  EXPECT_LT(second.number(), third.number());
  EXPECT_FALSE(queue.look_at(second));
  EXPECT_EQ(numbers(queue.look()), (std::vector{first.number(), third.number()}));
}

TEST_F(QueueOf, the_one_before_and_the_one_behind_leave_out_who_was_passed) {
  Queue queue = this->queue();
  std::vector<Place> places;
  for (std::uint64_t id = 1; id <= 4; ++id) places.push_back(stand(queue, enter(queue, id)));
  EXPECT_TRUE(queue.pass(places[2]));
  const auto seen = queue.look();
  ASSERT_NE(Queue::before(seen, places[3].number()), nullptr);
  EXPECT_EQ(Queue::before(seen, places[3].number())->number(), places[1].number());
  EXPECT_EQ(Queue::before(seen, places[0].number()), nullptr);
  ASSERT_NE(Queue::behind(seen, places[1].number()), nullptr);
  EXPECT_EQ(Queue::behind(seen, places[1].number())->number(), places[3].number());
  EXPECT_EQ(Queue::behind(seen, places[3].number()), nullptr);
  EXPECT_EQ(Queue::ahead_of(seen, places[3].number()), 2U);
  EXPECT_TRUE(queue.look_at(places[2])->passed());
  EXPECT_TRUE(queue.drop(places[2])) << "its owner knows it as it was before it was passed";
}

TEST_F(QueueOf, who_is_born_passed_stops_nobody) {
  Queue queue = this->queue();
  const Place place = stand(queue, enter(queue, 1), Mode::upgradable, Queue::Born::passed);
  EXPECT_FALSE(queue.anyone_stands());
  EXPECT_TRUE(queue.look_at(place)->passed());
  EXPECT_EQ(queue.look_at(place)->mode(), Mode::upgradable);
}

TEST_F(QueueOf, a_place_of_the_dead_goes_with_its_slot) {
  Queue queue = this->queue();
  const Place place = stand(queue, enter(queue, 1), Mode::shared);
  EXPECT_EQ(place.mode(), Mode::shared);
  EXPECT_TRUE(queue.drop_dead(place));
  EXPECT_FALSE(queue.anybody());
  EXPECT_FALSE(queue.is_owned_by(place.slot, 1));
}

// Its owner was killed between `highest = (n, slot)` and its own place.
TEST_F(QueueOf, whoever_looks_completes_the_place_of_one_that_stopped_on_the_way) {
  Queue queue = this->queue();
  const std::uint32_t stopped = enter(queue, 1);
  memory_[Queue::words_before + stopped] = 1;  // asking
  memory_[0] = 1ULL << 16U | stopped;
  EXPECT_TRUE(queue.anyone_stands());
  const Place next = stand(queue, enter(queue, 2));
  EXPECT_EQ(next.number(), 2U);
  const auto seen = queue.look();
  ASSERT_NE(Queue::before(seen, next.number()), nullptr);
  EXPECT_EQ(Queue::before(seen, next.number())->slot, stopped);
}

TEST_F(QueueOf, slots_of_the_gone_serve_again_and_never_those_of_who_can_be_woken) {
  Queue queue = this->queue();
  for (std::uint64_t id = 1; id <= Queue::slots; ++id) (void)enter(queue, id);
  EXPECT_FALSE(queue.enter({.id = 5000}, nobody_is_gone_));
  const auto mine = queue.enter({.id = 5000}, all_are_gone_);
  ASSERT_TRUE(mine);
  EXPECT_TRUE(queue.is_owned_by(*mine, 5000));
  queue.leave(*mine, 4999);
  EXPECT_TRUE(queue.is_owned_by(*mine, 5000)) << "not its owner";
  queue.leave(*mine, 5000);
  EXPECT_TRUE(queue.enter({.id = 5001}, nobody_is_gone_));
}

TEST_F(QueueOf, the_slot_of_one_that_died_while_asking_gives_no_old_number) {
  Queue queue = this->queue();
  for (std::uint64_t id = 1; id <= Queue::slots; ++id) (void)enter(queue, id);
  const Place other = stand(queue, 1);
  memory_[Queue::words_before + 5000 % Queue::slots] = 1;  // it asks, and dies
  const auto mine = queue.enter({.id = 5000}, all_are_gone_);
  ASSERT_TRUE(mine);
  EXPECT_EQ(*mine, 5000 % Queue::slots) << "where it begins to look";
  const Place place = stand(queue, *mine);
  EXPECT_LT(other.number(), place.number());
}

TEST_F(QueueOf, who_waits_can_be_read_without_a_mapping) {
  Queue queue = this->queue();
  const std::uint32_t slot =
      *queue.enter({.id = 9, .pid = 4711, .start = 3, .namespaces = 4, .thread = 4712, .uid = 1001, .program = "a"},
                   nobody_is_gone_);
  const Place place = stand(queue, slot, Mode::shared);
  std::string bytes(Queue::words * sizeof(std::uint64_t), '\0');
  std::memcpy(bytes.data(), static_cast<const void*>(memory_.get()), bytes.size());
  const auto all = Queue::read(bytes);
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].place.number(), place.number());
  EXPECT_EQ(all[0].place.mode(), Mode::shared);
  EXPECT_EQ(all[0].owner.pid, 4711);
  EXPECT_EQ(all[0].owner.uid, 1001U);
  EXPECT_EQ(all[0].owner.thread, 4712);
  EXPECT_EQ(all[0].owner.program, "a");
  EXPECT_EQ(all[0].since, 5ns);
  bytes.pop_back();
  EXPECT_TRUE(Queue::read(bytes).empty()) << "of another size";
}

TEST_F(QueueOf, garbage_costs_order_and_nothing_else) {
  for (std::size_t i = 0; i < Queue::words; ++i) memory_[i] = 0xDEAD'BEEF'0BAD'CAFEULL * (i + 1);
  Queue queue = this->queue();
  for (const Place& each : queue.look()) {
    (void)queue.owner_of(each.slot);
    (void)queue.drop_dead(each);
  }
  EXPECT_FALSE(queue.anyone_stands());
  if (const auto slot = queue.enter({.id = 1}, all_are_gone_)) (void)queue.stand(*slot, Mode::exclusive, 0ns);
}

TEST_F(QueueOf, many_threads_get_numbers_of_their_own_in_the_order_of_their_places) {
  constexpr int threads = 4;
  constexpr int rounds = 2000;
  std::atomic<bool> in_order{true};
  std::mutex mutex;
  std::vector<std::uint64_t> all;
  std::vector<std::thread> crowd;
  for (int i = 0; i < threads; ++i) {
    crowd.emplace_back([&, i] {
      Queue queue = this->queue();
      const std::uint32_t slot = enter(queue, static_cast<std::uint64_t>(i) + 1);
      std::vector<std::uint64_t> mine;
      for (int round = 0; round < rounds; ++round) {
        const Place place = stand(queue, slot);
        // Whoever is before us has been there already: it can only go.
        const auto first = numbers(queue.look());
        const auto second = numbers(queue.look());
        for (const std::uint64_t each : second) {
          if (each < place.number() && !std::binary_search(first.begin(), first.end(), each)) in_order = false;
        }
        EXPECT_TRUE(queue.drop(place));
        mine.push_back(place.number());
      }
      const std::lock_guard guard(mutex);
      all.insert(all.end(), mine.begin(), mine.end());
    });
  }
  for (std::thread& each : crowd) each.join();
  EXPECT_TRUE(in_order);
  std::sort(all.begin(), all.end());
  EXPECT_EQ(std::adjacent_find(all.begin(), all.end()), all.end());
  EXPECT_EQ(all.size(), static_cast<std::size_t>(threads * rounds));
}

}  // namespace
}  // namespace lockfile::claim
