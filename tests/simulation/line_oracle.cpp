// The order of places.
#include "simulation/line_oracle.hpp"

#include "claim/line.hpp"
#include "simulation/run.hpp"

#include <algorithm>

namespace lockfile::simulation {

using claim::Line;

void LineOracle::changed(const Participant& by, std::size_t word, std::uint64_t before, std::uint64_t after,
                         std::size_t step) {
  constexpr std::size_t first_place = Line::header_words + claim::Queue::words_before;
  constexpr std::size_t first_slot = first_place + claim::Queue::slots;
  if (word >= first_slot) {
    const std::size_t slot = (word - first_slot) / claim::Queue::words_of_slot;
    if ((word - first_slot) % claim::Queue::words_of_slot == 0 && after != 0) owners_[slot] = &by;
    return;
  }
  if (word < first_place || before == after) return;
  const std::size_t slot = word - first_place;
  const claim::Place place{static_cast<std::uint32_t>(slot), after};
  constexpr std::uint64_t counts = 2;  // standing, or passed
  if ((after & counts) != 0 && !place.passed()) {
    standing_[slot] = {place.number(), owners_[slot], place.mode(), step, {}, !signs_};
    last_[owners_[slot]] = {place.number(), step};
    displaced_.erase(owners_[slot]);
  } else {
    standing_.erase(slot);
  }
}

void LineOracle::gave_sign(const Participant& by, std::size_t step) {
  for (auto& [slot, each] : standing_) {
    if (each.by != &by || each.sign_given) continue;
    each.sign_given = true;
    each.since = step;
  }
}

void LineOracle::lost() {
  for (const auto& [slot, each] : standing_) displaced_.insert(each.by);
  standing_.clear();
  last_.clear();
}

// A reader that called before the writer stood may be in first, and one that stood before it.
std::string LineOracle::reads(const Participant& by) const {
  if (overtaking_allowed_) return {};
  const auto last = last_.find(&by);
  const bool did_stand = last != last_.end() && last->second.since >= by.asked;
  for (const auto& [slot, each] : standing_) {
    const Participant* const waits = each.by;
    if (each.mode != Mode::exclusive || waits == nullptr || waits == &by || !each.sign_given) continue;
    if (waits->stopped || waits->state == Participant::State::gone) continue;
    if (did_stand ? each.number < last->second.number : each.since < by.asked) {
      return by.name + " came to read before " + waits->name + ", which stood in line to write when it called";
    }
  }
  return {};
}

bool LineOracle::stands_behind(const Participant& one, const Participant& other) const {
  return std::any_of(standing_.begin(), standing_.end(), [&](const auto& mine) {
    return mine.second.by == &one && std::any_of(standing_.begin(), standing_.end(), [&](const auto& yours) {
             return yours.second.by == &other && yours.second.number < mine.second.number;
           });
  });
}

std::string LineOracle::entered(const Participant& by) {
  if (overtaking_allowed_) return {};
  const auto mine =
      std::find_if(standing_.begin(), standing_.end(), [&](const auto& each) { return each.second.by == &by; });
  for (auto& [slot, each] : standing_) {
    const Participant* const waits = each.by;
    if (waits == nullptr || waits == &by || waits->stopped || waits->state == Participant::State::gone) continue;
    if (mine != standing_.end()) {
      if (each.number < mine->second.number) return by.name + " came before " + waits->name + ", which stood before it";
      continue;
    }
    if (!each.sign_given) continue;
    auto& passed = each.overtaken_by;
    if (std::find(passed.begin(), passed.end(), &by) != passed.end()) {
      return by.name + " went past " + waits->name + " a second time";
    }
    passed.push_back(&by);
  }
  return {};
}

}  // namespace lockfile::simulation
