// See contend.hpp.
#include "contend.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <optional>

#include "counting.hpp"
#include "lockers.hpp"

namespace bench {
namespace {

using namespace std::chrono_literals;

struct Member {
  std::atomic<std::int64_t> holds{0};
  std::atomic<std::int64_t> sleeps{0};  // while `holds` were counted, at its end
  std::atomic<std::int64_t> calls{0};
  std::atomic<std::int64_t> holds_at_end{0};
};

struct Frame {
  std::atomic<int> ready{0};
  std::atomic<bool> go{false};
  std::atomic<bool> stop{false};
  std::array<Member, most_contenders> members{};
};

void take_part(Frame& frame, Member& me, const std::string& contestant, const WorkDirectory& directory, Count count) {
  std::optional<CallCounter> counter;
  if (count == Count::calls) counter.emplace();
  const auto lock = make_locker(contestant, directory);
  lock->acquire();  // what is made at the first use is made
  lock->release();
  ++frame.ready;
  wait_until([&] { return frame.go.load(); }, "nobody said go");
  const std::int64_t slept = sleeps();
  const std::int64_t called = counter ? counter->calls() : 0;
  std::int64_t holds = 0;
  while (!frame.stop.load()) {
    lock->acquire();
    spin_for(100us);
    lock->release();
    me.holds = ++holds;
  }
  me.holds_at_end = holds;
  me.sleeps = sleeps() - slept;
  me.calls = counter ? counter->calls() - called : 0;
}

double sum_of(const Frame& frame, std::size_t processes, std::atomic<std::int64_t> Member::*which) {
  return std::accumulate(
      frame.members.begin(), frame.members.begin() + static_cast<std::ptrdiff_t>(processes), 0.0,
      [&](double sum, const Member& each) { return sum + static_cast<double>((each.*which).load()); });
}

}  // namespace

Contention contend(const std::string& contestant, std::size_t processes, std::chrono::milliseconds length,
                   const WorkDirectory& directory, Count count) {
  Shared<Frame> frame;
  Crew crew;
  for (std::size_t me = 0; me < processes; ++me) {
    crew.start([&, me] { take_part(*frame, frame->members[me], contestant, directory, count); });
  }
  wait_until([&] { return frame->ready.load() == static_cast<int>(processes); }, "not all came");
  const std::int64_t begin = now_ns();
  frame->go = true;
  const std::int64_t end = begin + std::chrono::nanoseconds(length).count();
  wait_until([&] { return now_ns() >= end; }, "the end of the batch");
  frame->stop = true;
  const double seconds = static_cast<double>(now_ns() - begin) / 1e9;
  // Counted at the stop: the last hold of each would flatter the least served.
  std::vector<double> counts;
  for (std::size_t i = 0; i < processes; ++i) counts.push_back(static_cast<double>(frame->members[i].holds.load()));
  const double total = std::accumulate(counts.begin(), counts.end(), 0.0);
  const double cpu = crew.finish();
  const double at_end = std::max(sum_of(*frame, processes, &Member::holds_at_end), 1.0);
  return {.per_second = total / seconds,
          .least_to_mean = *std::min_element(counts.begin(), counts.end()) / (total / static_cast<double>(processes)),
          .cpu_us_per_hold = cpu / at_end / 1000 - 100,
          .sleeps_per_hold = sum_of(*frame, processes, &Member::sleeps) / at_end,
          .calls_per_hold = sum_of(*frame, processes, &Member::calls) / at_end};
}

}  // namespace bench
