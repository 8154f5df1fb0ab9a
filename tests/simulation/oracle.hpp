// What must never be: sentences about holders, judged from what the verbs told their callers.
#pragma once

#include <lockfile/holder.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace lockfile::simulation {

struct Participant;

/// A hold as its caller sees it: from the return of the verb that granted it to the call that ends it.
struct Hold {
  const Participant* by = nullptr;
  Mode mode = Mode::exclusive;
  std::uint64_t process = 0;
  std::uint64_t child = 0;  ///< that it was handed to; 0: none
  std::int64_t pid = 0;
  std::size_t published = 0;   ///< the step in which W came to mean it
  std::size_t renewed = 0;     ///< in which it came to mean it again, exclusively
  std::size_t renumbered = 0;  ///< in which it was given another number, by a conversion in shared memory
  bool ended = false;          ///< its caller has begun to release it
  bool dead = false;           ///< its process has died
  bool foreign = false;        ///< a plain locker's
  bool broken = false;         ///< a forced break that was aimed at it has said so
  bool lost = false;           ///< somebody else was granted meanwhile, or its release said that it was broken
  std::optional<std::size_t> excused_by;
  /// Does its caller, by its own clock, believe that its lease lasts? Empty: it has none.
  std::function<bool()> lasts;
  /// It lives, and is its caller's own.
  [[nodiscard]] bool stands() const { return !ended && !dead && !lost && (!lasts || lasts()); }
};

/// A forced break: which holds it may have removed.
struct Break {
  const Participant* by = nullptr;
  std::optional<std::int64_t> pid;     ///< whose hold; nothing: whoever holds
  std::optional<std::size_t> seen_at;  ///< the step at which the hold had been seen; nothing: none was yet
  std::size_t looked_at = 0;           ///< in which that look began
  bool over = false;
  bool said_broken = false;
  bool excuses = false;  ///< some lost hold counts on it
};

/// A fence that somebody was told.
struct Numbered {
  const Participant* by = nullptr;
  std::size_t published = 0;
  std::uint64_t fence = 0;
};

/// Units of a semaphore that somebody was given.
struct UnitsHeld {
  const Participant* by = nullptr;
  std::uint64_t process = 0;
  std::size_t units = 0;
};

class Oracle {
 public:
  /// What went wrong, as a sentence; empty: nothing.
  [[nodiscard]] std::string granted(const Participant& by, Mode mode, std::uint64_t process, std::int64_t pid,
                                    std::size_t published, bool foreign, std::function<bool()> lasts = {});
  /// Is its newest hold known to be lost?
  [[nodiscard]] bool has_lost(const Participant& by) const noexcept;
  /// Its caller was told that its lease lasts anew. A forced break may come between the look and the answer.
  [[nodiscard]] std::string renewed(const Participant& by, bool had_lost_before) const;
  /// Does W stand, or may it, for somebody who lives and has not released it: also when its lease is over?
  [[nodiscard]] bool is_in_the_way_of(Mode mode, const Participant* except = nullptr) const noexcept;
  /// A hold was told its fence.
  [[nodiscard]] std::string numbered(const Participant& by, std::size_t published, std::uint64_t fence);
  /// `units` of a semaphore of `of`.
  [[nodiscard]] std::string given(const Participant& by, std::uint64_t process, std::size_t units, std::size_t of);
  void given_back(const Participant& by);
  void release_begins(const Participant& by);
  /// Its hold excludes no more than that from now on; before the verb, for others may be granted while it runs.
  void weakens(const Participant& by, Mode to);
  /// Its hold is exclusive now.
  [[nodiscard]] std::string upgraded(const Participant& by, std::size_t published);
  /// Where it holds already, its hold may have another number from now on.
  void renumbered(const Participant& by, std::size_t step) noexcept;
  /// `lost`: NotLocked or NotMyLock.
  [[nodiscard]] std::string not_converted(const Participant& by, Mode still, bool lost);
  /// `lost`: NotLocked or NotMyLock.
  [[nodiscard]] std::string released(const Participant& by, bool lost, bool failed);
  /// From now on it lasts until that process has died too.
  void handed_over(const Participant& by, std::uint64_t child);
  void died(std::uint64_t process);
  [[nodiscard]] std::size_t break_begins(const Participant& by, std::optional<std::int64_t> pid,
                                         std::optional<std::size_t> seen_at);
  void break_saw(std::size_t which, std::size_t step) noexcept { breaks_[which].seen_at = step; }
  /// `said_over`: it said that there is no such hold any more.
  [[nodiscard]] std::string break_ended(std::size_t which, bool said_broken, bool said_over = false);
  /// Is there a hold whose caller lives and has not ended it, and that is not known to be lost?
  [[nodiscard]] const Hold* live_hold() const noexcept { return live_hold_against(Mode::exclusive); }
  /// One that excludes a hold of that mode, and is not this one's.
  [[nodiscard]] const Hold* live_hold_against(Mode mode, const Participant* except = nullptr) const noexcept;
  [[nodiscard]] const Hold* hold_of(const Participant& by) const noexcept;

 private:
  [[nodiscard]] Hold* aimed_at(const Break& by);
  [[nodiscard]] bool excuse(Hold& hold);
  [[nodiscard]] std::string keeps_out(Hold& now);
  std::vector<Hold> holds_;
  std::vector<Break> breaks_;
  std::vector<Numbered> numbers_;
  std::vector<UnitsHeld> units_;
};

}  // namespace lockfile::simulation
