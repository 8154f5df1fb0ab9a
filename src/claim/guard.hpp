// The kernel locks on a claim's own inode: which bytes, and what they say.
#pragma once

#include <cstdint>

namespace lockfile::claim {

/// Locked by the maker for the claim's whole life: while it is locked, somebody lives who has the claim open.
inline constexpr std::uint64_t live_byte = 0x7FFF'FFFF'FFFF'0000;
/// Locked by whoever is about to remove or replace a name that refers to this inode.
inline constexpr std::uint64_t remove_byte = live_byte + 1;
// live_byte + 2 and + 3 are kept for upgradable locks. All lie far beyond the end of any record and below 2^63, where
// locks of Windows and Linux see each other.

enum class Guard : std::uint8_t {
  held,
  free,
  unusable,  ///< this file system has no byte-range locks, or they do not reach through a second name
};

}  // namespace lockfile::claim
