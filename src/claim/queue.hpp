// A queue in memory that processes share: who waits for a lock, in the order in which they began to. It orders and it
// tells whom to wake; it excludes nobody. A damaged one costs order, never exclusion.
//
// Whoever has a mapped file can keep a queue in it: `Queue::words` words, all zero at first, anywhere in the file. The
// line of a lock (claim/line.hpp) is a file with a header and a queue. What waiters do with it, when they sleep and
// whom they wake, is in claim/turn.hpp.
//
// A waiter has a SLOT, which says who it is and is kept between waits, and while it waits a PLACE, one word, which has
// a number: one more than the highest before, and never given out again. Place and number appear in one step, though
// they are in two words, because the word with the highest number names the slot that it is for:
//
//   A: place A = asking             B: place B = asking
//   A: highest = (7, A)                                       <- from here on 7 is A's, for everybody who looks
//                                   B: highest is (7, A) and A still asks: place A = (7, standing)
//                                   B: highest = (8, B)
//   A: finds it done
//   C looks: highest is (8, B) and B still asks: place B = (8, standing), then the places: A 7, B 8
//
// So nobody sees 8 who does not see 7, wherever A and B stop. An old look helps nobody: an asking place has the number
// that its slot had last, which is never smaller than one that was given to that slot before.
//
// Whoever is dead keeps its place until the one behind drops it (compare-and-exchange of the place's word, whose number
// never comes again).
#pragma once

#include "os/system.hpp"

#include <lockfile/holder.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lockfile::claim {

/// Who has a slot, as written by itself.
struct SlotOwner {
  std::uint64_t id = 0;  ///< random, never 0: no two owners have the same; names the FIFO that wakes it
  std::int64_t pid = 0;
  std::uint64_t start = 0;       ///< of the process, 0: unknown
  std::uint64_t namespaces = 0;  ///< in which its pid and its start time mean something
  std::int64_t thread = 0;
  std::uint32_t uid = 0;     ///< owner of the FIFO
  std::string program = {};  ///< the first 16 bytes of it
};

/// Where somebody waits.
struct Place {
  std::uint32_t slot = 0;
  std::uint64_t word = 0;

  [[nodiscard]] std::uint64_t number() const noexcept { return word >> 8U; }
  [[nodiscard]] Mode mode() const noexcept;
  /// Did those behind it go past it, since it did not move when it could? Then it is nobody's predecessor and stops no
  /// newcomer.
  [[nodiscard]] bool passed() const noexcept;
  /// Was it so from the beginning?
  [[nodiscard]] bool was_born_passed() const noexcept;
};

class Queue {
 public:
  static constexpr std::size_t slots = 1024;
  static constexpr std::size_t words_of_slot = 8;
  static constexpr std::size_t words_before = 64;  ///< the highest number, and room
  static constexpr std::size_t words = words_before + slots + slots * words_of_slot;

  /// `first`: `words` mapped words, which stay while this object is used.
  Queue(os::System& system, os::SharedWord* first);

  /// Nobody can be woken any more who has this slot: asked before the slot of another is taken.
  using IsGone = std::function<bool(const SlotOwner&)>;
  /// A slot for `owner`; nothing: all are taken.
  [[nodiscard]] std::optional<std::uint32_t> enter(const SlotOwner& owner, const IsGone& is_gone);
  /// Gives it back. Whoever stands at it has dropped its place before.
  void leave(std::uint32_t slot, std::uint64_t id) noexcept;
  void set_thread(std::uint32_t slot, std::int64_t thread) noexcept;
  /// Is it still ours?
  [[nodiscard]] bool is_owned_by(std::uint32_t slot, std::uint64_t id) noexcept;
  /// Does anybody have a slot?
  [[nodiscard]] bool anybody() noexcept { return anybody_but({}); }
  /// Not counting those who are gone.
  [[nodiscard]] bool anybody_but(const IsGone& is_gone) noexcept;

  enum class Born : std::uint8_t { standing, passed };
  /// Takes a place behind all others. `since`: the monotonic clock, for people. Nothing: the queue is damaged, or
  /// busier than can be.
  [[nodiscard]] std::optional<Place> stand(std::uint32_t slot, Mode mode, std::chrono::nanoseconds since,
                                           Born born = Born::standing) noexcept;
  /// The place as it is now: it may have been passed. Nothing: somebody has dropped it.
  [[nodiscard]] std::optional<Place> look_at(const Place& place) noexcept;
  /// Gives the place up, for its owner or for a dead one. False: somebody did before.
  bool drop(const Place& place) noexcept;
  /// Of a dead one: its slot too.
  bool drop_dead(const Place& place) noexcept;
  /// Its owner did not move though it could.
  bool pass(const Place& place) noexcept;

  /// All places that count now, in no order. Good until the next look.
  [[nodiscard]] std::span<const Place> look() noexcept;
  /// Does anybody stand here who has not been passed? One look at each place, and none further than needed.
  [[nodiscard]] bool anyone_stands() noexcept;

  /// Since when has that place been seen to be the first of a lock that nobody holds? Written down in the queue.
  [[nodiscard]] std::chrono::nanoseconds idle_since(const Place& place, std::chrono::nanoseconds now) noexcept;

  [[nodiscard]] SlotOwner owner_of(std::uint32_t slot) const;
  [[nodiscard]] std::chrono::nanoseconds since(std::uint32_t slot) const noexcept;

  // Of a look:
  /// The last of those before `number` who have not been passed; null: none.
  [[nodiscard]] static const Place* before(std::span<const Place> places, std::uint64_t number) noexcept;
  /// The first of those behind `number` who have not been passed; null: none.
  [[nodiscard]] static const Place* behind(std::span<const Place> places, std::uint64_t number) noexcept;
  /// How many of those before `number` have not been passed.
  [[nodiscard]] static std::size_t ahead_of(std::span<const Place> places, std::uint64_t number) noexcept;

  /// What stands in the bytes of a queue, for whoever may only read them.
  struct Written {
    Place place;
    SlotOwner owner;
    std::chrono::nanoseconds since{};
  };
  [[nodiscard]] static std::vector<Written> read(std::string_view bytes);

 private:
  [[nodiscard]] os::SharedWord& highest() const noexcept { return first_[0]; }
  [[nodiscard]] os::SharedWord& used() const noexcept { return first_[1]; }
  [[nodiscard]] os::SharedWord& idle_place() const noexcept { return first_[2]; }
  [[nodiscard]] os::SharedWord& idle_time() const noexcept { return first_[3]; }
  [[nodiscard]] os::SharedWord& place(std::size_t slot) const noexcept { return first_[words_before + slot]; }
  [[nodiscard]] os::SharedWord& field(std::size_t slot, std::size_t number) const noexcept {
    return first_[words_before + slots + slot * words_of_slot + number];
  }
  [[nodiscard]] std::size_t slots_used() noexcept;
  /// Completes the place for which the highest number was given out, if its owner has not.
  void complete(std::uint64_t highest) noexcept;
  [[nodiscard]] bool take_over(std::uint32_t slot, const SlotOwner& owner, const IsGone& is_gone);
  void write(std::uint32_t slot, const SlotOwner& owner) noexcept;

  os::System& system_;
  os::SharedWord* first_;
  std::vector<Place> seen_;  // room for all of them, so that a look needs no memory
};

}  // namespace lockfile::claim
