// The oracles.
#include "simulation/oracle.hpp"

#include "simulation/run.hpp"

#include <algorithm>

namespace lockfile::simulation {

// A forced break may have taken this hold if it was aimed at its process, or at whoever holds, and the hold stood when
// the breaker looked. One break takes one hold.
bool Oracle::excuse(Hold& hold) {
  if (hold.excused_by) return true;
  // A break of whoever holds could have taken any: it is left for the hold that no other explains.
  for (const bool aimed : {true, false}) {
    for (std::size_t i = 0; i < breaks_.size(); ++i) {
      Break& each = breaks_[i];
      if (each.excuses || (each.over && !each.said_broken)) continue;
      if (each.pid.has_value() != aimed || (aimed && *each.pid != hold.pid)) continue;
      if (!each.seen_at || hold.published > *each.seen_at) continue;
      each.excuses = true;
      hold.excused_by = i;
      return true;
    }
  }
  return false;
}

std::string Oracle::granted(const Participant& by, Mode mode, std::uint64_t process, std::int64_t pid,
                            std::size_t published, bool foreign, std::function<bool()> lasts) {
  Hold now;
  now.by = &by;
  now.mode = mode;
  now.process = process;
  now.pid = pid;
  now.published = published;
  now.renewed = published;
  now.foreign = foreign;
  now.lasts = std::move(lasts);
  std::string wrong = keeps_out(now);
  holds_.push_back(now);
  return wrong;
}

// Of the others that cannot stand beside it.
std::string Oracle::keeps_out(Hold& now) {
  for (Hold& each : holds_) {
    if (&each == &now || each.ended || each.dead || each.lost || !excludes(now.mode, each.mode)) continue;
    if (each.lasts && !each.lasts()) {
      each.lost = true;  // it ended by itself
      continue;
    }
    if (now.lasts && !now.lasts()) break;  // before its caller could say that it was granted
    // Of two, the one that W meant first has been lost: the earlier one, or the new one, if it was broken before the
    // verb that got it has returned.
    Hold& first = now.renewed < each.renewed ? now : each;
    first.lost = true;
    if (!excuse(first)) return now.by->name + " was granted the lock while " + each.by->name + " held it";
    if (now.lost) break;
  }
  return {};
}

void Oracle::weakens(const Participant& by, Mode to) {
  for (Hold& each : holds_) {
    if (each.by == &by && !each.ended) each.mode = to;
  }
}

void Oracle::renumbered(const Participant& by, std::size_t step) noexcept {
  for (Hold& each : holds_) {
    if (each.by == &by && !each.ended) each.renumbered = step;
  }
}

std::string Oracle::upgraded(const Participant& by, std::size_t published) {
  for (Hold& each : holds_) {
    if (each.by != &by || each.ended || each.dead) continue;
    each.mode = Mode::exclusive;
    each.renewed = std::max(each.renewed, published);
    if (!each.lost) return keeps_out(each);
  }
  return {};
}

std::string Oracle::not_converted(const Participant& by, Mode still, bool lost) {
  for (Hold& each : holds_) {
    if (each.by != &by || each.ended || each.dead) continue;
    each.mode = still;
    if (!lost || each.lost) continue;
    each.lost = true;
    if (!excuse(each)) return "the hold of " + by.name + " was removed, and nobody broke it by force";
  }
  return {};
}

// The order is that in which W came to mean the holds: a holder may be told its number late, when a later one has been
// told already.
std::string Oracle::numbered(const Participant& by, std::size_t published, std::uint64_t fence) {
  if (fence == 0) return by.name + " asked for a fence and was granted a hold without one";
  for (const Numbered& each : numbers_) {
    const bool grows = each.published < published ? each.fence < fence : each.fence > fence;
    if (!grows) {
      return by.name + " was told the fence " + std::to_string(fence) + " and " + each.by->name +
             (each.published < published ? ", which held before it, " : ", which held after it, ") +
             std::to_string(each.fence);
    }
  }
  numbers_.push_back({&by, published, fence});
  return {};
}

std::string Oracle::given(const Participant& by, std::uint64_t process, std::size_t units, std::size_t of) {
  units_.push_back({&by, process, units});
  std::size_t all = 0;
  for (const UnitsHeld& each : units_) all += each.units;
  if (all <= of) return {};
  return by.name + " was given " + std::to_string(units) + " units, and now " + std::to_string(all) + " of " +
         std::to_string(of) + " are in use";
}

void Oracle::given_back(const Participant& by) {
  std::erase_if(units_, [&](const UnitsHeld& each) { return each.by == &by; });
}

const Hold* Oracle::hold_of(const Participant& by) const noexcept {
  for (auto each = holds_.rbegin(); each != holds_.rend(); ++each) {
    if (each->by == &by) return &*each;
  }
  return nullptr;
}

bool Oracle::has_lost(const Participant& by) const noexcept {
  const Hold* const hold = hold_of(by);
  return hold != nullptr && hold->lost;
}

bool Oracle::is_in_the_way_of(Mode mode, const Participant* except) const noexcept {
  return std::any_of(holds_.begin(), holds_.end(), [&](const Hold& each) {
    return each.by != except && !each.ended && !each.dead && (!each.lost || each.lasts) && excludes(mode, each.mode);
  });
}

std::string Oracle::renewed(const Participant& by, bool had_lost_before) const {
  const Hold* const hold = hold_of(by);
  if (hold == nullptr || !hold->lost || (hold->excused_by && !had_lost_before)) return {};
  return by.name + " was told that its lease lasts, and somebody else had been granted the lock";
}

void Oracle::release_begins(const Participant& by) {
  for (Hold& each : holds_) {
    if (each.by == &by) each.ended = true;
  }
}

std::string Oracle::released(const Participant& by, bool lost, bool failed) {
  const auto hold = std::find_if(holds_.rbegin(), holds_.rend(), [&](const Hold& each) { return each.by == &by; });
  if (hold == holds_.rend() || hold->dead) return {};
  if (lost && !hold->lost) {
    hold->lost = true;
    if (hold->lasts && !hold->lasts()) return {};
    if (!excuse(*hold)) return "the hold of " + by.name + " was removed, and nobody broke it by force";
  } else if (!lost && !failed && (hold->lost || hold->broken)) {
    return by.name + " released a hold that was not its own any more, and was not told";
  }
  return {};
}

void Oracle::handed_over(const Participant& by, std::uint64_t child) {
  for (Hold& each : holds_) {
    if (each.by == &by && !each.ended) each.child = child;
  }
}

void Oracle::died(std::uint64_t process) {
  std::erase_if(units_, [&](const UnitsHeld& each) { return each.process == process; });
  for (Hold& each : holds_) {
    if (each.process == process) each.process = 0;
    if (each.child == process) each.child = 0;
    each.dead = each.process == 0 && each.child == 0;
  }
}

std::size_t Oracle::break_begins(const Participant& by, std::optional<std::int64_t> pid,
                                 std::optional<std::size_t> seen_at) {
  // Its last verb is the look, or, where it breaks once more what it has seen, a later one.
  breaks_.push_back(
      {.by = &by, .pid = pid, .seen_at = seen_at, .looked_at = std::min(by.asked, seen_at.value_or(by.asked))});
  return breaks_.size() - 1;
}

// The hold of that process that stood when the breaker looked, if its caller still counts on it.
Hold* Oracle::aimed_at(const Break& by) {
  const auto found = std::find_if(holds_.rbegin(), holds_.rend(), [&](const Hold& each) {
    return by.pid && by.seen_at && each.pid == *by.pid && each.published <= *by.seen_at;
  });
  return found == holds_.rend() || found->ended || found->dead ? nullptr : &*found;
}

std::string Oracle::break_ended(std::size_t which, bool said_broken, bool said_over) {
  Break& ended = breaks_[which];
  ended.over = true;
  ended.said_broken = said_broken;
  Hold* const aimed = aimed_at(ended);
  if (aimed != nullptr && said_broken) aimed->broken = true;
  const bool by_another = std::any_of(breaks_.begin(), breaks_.end(), [&](const Break& each) {
    return &each != &ended && (!each.over || each.said_broken);
  });
  // Of several that its process had by then it may have seen an earlier one.
  const auto had = aimed == nullptr ? 0 : std::count_if(holds_.begin(), holds_.end(), [&](const Hold& each) {
    return each.pid == aimed->pid && each.published <= *ended.seen_at;
  });
  const bool is_another_now = aimed != nullptr && aimed->renumbered > ended.looked_at;
  if (had == 1 && said_over && !aimed->lost && !is_another_now && !by_another) {
    return "the forced break of " + ended.by->name + " said that the hold of " + aimed->by->name +
           " no longer stands, and it does";
  }
  if (said_broken || !ended.excuses) return {};
  // The hold that counted on it may have been taken by another break; else nobody took it.
  ended.excuses = false;
  for (Hold& each : holds_) {
    if (each.excused_by != which) continue;
    each.excused_by.reset();
    if (!excuse(each)) {
      return "the hold of " + each.by->name + " was removed by " + ended.by->name +
             ", whose forced break said that it broke nothing";
    }
  }
  return {};
}

const Hold* Oracle::live_hold_against(Mode mode, const Participant* except) const noexcept {
  const auto live = std::find_if(holds_.begin(), holds_.end(), [&](const Hold& each) {
    return each.by != except && each.stands() && excludes(mode, each.mode);
  });
  return live == holds_.end() ? nullptr : &*live;
}

}  // namespace lockfile::simulation
