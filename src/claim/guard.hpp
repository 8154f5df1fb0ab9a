// The kernel locks on a claim's own inode: which bytes, and what they say.
#pragma once

#include <cstdint>

namespace lockfile::claim {

/// Locked by the maker for the claim's whole life: while it is locked, somebody lives who has the claim open.
inline constexpr std::uint64_t live_byte = 0x7FFF'FFFF'0000'0000;
/// UPGRADE, of a group's file: locked by the upgradable reader while it waits for the others to leave; newcomers that
/// see it wait too. Nothing rests on it.
inline constexpr std::uint64_t upgrade_byte = live_byte + 3;

/// REMOVE of one hold: locked by whoever is about to remove W while it stands for that hold. Each hold of a claim has a
/// byte of its own, so that a release need not give its byte back: the next hold has another one, and the kernel keeps
/// neighbouring bytes as one lock. After `remove_bytes` holds the maker gives them all back and they come again.
/// docs/decisions/0014-a-remove-byte-for-each-hold.md has the proof.
inline constexpr std::uint64_t first_remove_byte = live_byte + 0x1'0000;
inline constexpr std::uint64_t remove_bytes = 0x1'0000;
[[nodiscard]] constexpr std::uint64_t remove_byte(std::uint64_t number) noexcept {
  return first_remove_byte + number % remove_bytes;
}

/// BREAK of one hold: locked by a breaker before REMOVE. So whoever has it and finds REMOVE taken knows that the holder
/// itself took it, or a forked copy of a holder that died in its release: a copy of a dead one is passed over.
[[nodiscard]] constexpr std::uint64_t break_byte(std::uint64_t number) noexcept {
  return remove_byte(number) + remove_bytes;
}
// All lie far beyond the end of any record and below 2^63, where locks of Windows and Linux see each other.

enum class Guard : std::uint8_t {
  held,
  free,
  unusable,  ///< this file system has no byte-range locks, or they do not reach through a second name
};

}  // namespace lockfile::claim
