// The bytes of a shared-memory lock's file: numbers of 64 bits in the host's byte order, nothing of any libc's in it.
//
// A header, then slots. A slot belongs to one participant: whoever has its byte of the file locked (an OFD lock) may
// write who it is into it, and keeps it between holds. The lock word names the slot of the one who holds, so a holder
// is known from the very instruction by which it became one.
//
// docs/on-disk-format.md has the layout as a table; a change of it is a new version in the first line.
#pragma once

#include "claim/guard.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace lockfile::schemes::shared_memory {

/// The first sixteen bytes: what the file is, and the version of its layout.
inline constexpr std::string_view first_line{"lockfile shm 1\n\0", 16};

namespace header {
inline constexpr std::size_t layout = 2;    ///< `layout_mark`
inline constexpr std::size_t boot = 3;      ///< a hash of the boot id that all the rest is of
inline constexpr std::size_t capacity = 4;  ///< how many slots the file has room for
inline constexpr std::size_t used = 5;      ///< how many of them have ever been used: the first ones
inline constexpr std::size_t word = 8;      ///< the lock word
inline constexpr std::size_t words = 16;
}  // namespace header

namespace slot {
inline constexpr std::size_t state = 0;  ///< generation * 2, and 1 while what follows is whole
inline constexpr std::size_t mark = 1;   ///< see `Mark`
inline constexpr std::size_t nonce_high = 2;
inline constexpr std::size_t nonce_low = 3;
inline constexpr std::size_t pid = 4;
inline constexpr std::size_t start = 5;
inline constexpr std::size_t pid_namespace = 6;
inline constexpr std::size_t time_namespace = 7;
inline constexpr std::size_t thread = 8;
inline constexpr std::size_t child = 9;
inline constexpr std::size_t child_start = 10;
inline constexpr std::size_t sizes = 11;  ///< of the three texts: program, host, reason, 16 bits each
inline constexpr std::size_t text = 16;   ///< one behind the other
inline constexpr std::size_t words = 96;
inline constexpr std::size_t text_bytes = (words - text) * 8;
}  // namespace slot

/// Written by one byte order and read in another it is another number.
inline constexpr std::uint64_t layout_mark =
    (std::uint64_t{0x6C66'7368} << 32U) | (std::uint64_t{header::words} << 16U) | std::uint64_t{slot::words};

inline constexpr std::uint64_t first_slots = 16;
inline constexpr std::uint64_t most_slots = 1024;

[[nodiscard]] constexpr std::size_t words_for(std::uint64_t slots) noexcept {
  return header::words + static_cast<std::size_t>(slots) * slot::words;
}
[[nodiscard]] constexpr std::size_t slot_at(std::uint64_t number) noexcept { return words_for(number); }

// Byte locks of the file, far beyond its end.
inline constexpr std::uint64_t reset_byte = claim::live_byte + 0x8'0000;  ///< whoever resets or enlarges it
/// The guard of a slot, and the right to it.
[[nodiscard]] constexpr std::uint64_t slot_byte(std::uint64_t number) noexcept { return reset_byte + 1 + number; }

/// The lock word. Everything that decides who holds changes in one compare-exchange of it, but for shared holds, which
/// are marks in slots: a reader marks its slot and then looks at the word, a writer changes the word and then looks at
/// the marks, so one of the two sees the other.
struct LockWord {
  enum class State : std::uint8_t {
    free,        ///< of an exclusive or upgradable holder; there may be readers
    exclusive,   ///< held by `slot`
    draining,    ///< `slot` looks whether there are readers; nobody else enters meanwhile
    upgradable,  ///< held by `slot`, beside readers
    upgrading,   ///< held by `slot`, which waits for the readers to leave; no new ones enter
  };
  static constexpr std::uint8_t last_state = 4;

  State state = State::free;
  bool readers = false;      ///< a slot may be marked; without it none is
  bool waiters = false;      ///< somebody may stand in line: a release looks there
  bool died = false;         ///< the last exclusive holder did not end its hold
  std::uint64_t turn = 0;    ///< counts those who came into it, modulo 32
  std::uint64_t slot = 0;    ///< where the state is not free
  std::uint64_t number = 0;  ///< of the last hold that the word has granted

  static constexpr std::uint64_t turns = 32;
  static constexpr std::uint64_t numbers = std::uint64_t{1} << 43U;

  [[nodiscard]] static constexpr bool is_valid(std::uint64_t raw) noexcept { return (raw & 7U) <= last_state; }
  /// Free, nobody waits, and the last one ended its hold. There may be readers.
  [[nodiscard]] static constexpr bool is_quiet(std::uint64_t raw) noexcept { return (raw & (7U | 16U | 32U)) == 0; }
  [[nodiscard]] static constexpr LockWord decode(std::uint64_t raw) noexcept {
    return {.state = static_cast<State>(raw & 7U),
            .readers = (raw & 8U) != 0,
            .waiters = (raw & 16U) != 0,
            .died = (raw & 32U) != 0,
            .turn = (raw >> 6U) & 31U,
            .slot = (raw >> 11U) & 1023U,
            .number = raw >> 21U};
  }
  [[nodiscard]] constexpr std::uint64_t encode() const noexcept {
    return static_cast<std::uint64_t>(state) | (readers ? 8U : 0U) | (waiters ? 16U : 0U) | (died ? 32U : 0U) |
           ((turn % turns) << 6U) | (slot << 11U) | ((number % numbers) << 21U);
  }
  [[nodiscard]] constexpr bool is_free() const noexcept { return state == State::free; }
  /// May a reader enter?
  [[nodiscard]] constexpr bool admits_readers() const noexcept {
    return state == State::free || state == State::upgradable;
  }
  /// Does `slot` hold?
  [[nodiscard]] constexpr bool is_held() const noexcept { return !is_free() && state != State::draining; }

  // What comes of it.
  [[nodiscard]] constexpr LockWord taken_by(std::uint64_t by, State how) const noexcept {
    LockWord next = *this;
    next.state = how;
    next.slot = by;
    next.number = number + 1;
    return next;
  }
  [[nodiscard]] constexpr LockWord in_state(State how) const noexcept {
    LockWord next = *this;
    next.state = how;
    return next;
  }
  /// Ended by its holder. What an exclusive one found as the last one left it is in order again.
  [[nodiscard]] constexpr LockWord released() const noexcept {
    LockWord next = in_state(State::free);
    if (state == State::exclusive) next.died = false;
    return next;
  }
  /// Ended because its holder is dead.
  [[nodiscard]] constexpr LockWord bereft() const noexcept {
    LockWord next = in_state(State::free);
    if (state == State::exclusive) next.died = true;
    return next;
  }
};
static_assert(most_slots <= 1024);

/// A shared hold: the number of it, counted in the slot and never used again there, and whether it stands.
struct Mark {
  bool stands = false;
  std::uint64_t number = 0;

  [[nodiscard]] static constexpr Mark decode(std::uint64_t raw) noexcept { return {(raw & 1U) != 0, raw >> 1U}; }
  [[nodiscard]] constexpr std::uint64_t encode() const noexcept { return (number << 1U) | (stands ? 1U : 0U); }
};

/// Holds of the word and marks have numbers of their own; outside they are one sequence.
[[nodiscard]] constexpr std::uint64_t number_of_word(std::uint64_t number) noexcept { return number * 2; }
[[nodiscard]] constexpr std::uint64_t number_of_mark(std::uint64_t number) noexcept { return number * 2 + 1; }

}  // namespace lockfile::schemes::shared_memory
