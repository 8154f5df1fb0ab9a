// From names to the numbers that the server locks by. Two names may have one number: that is found out by the table
// `lockfile.name` and told, never passed over.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lockfile::schemes::postgresql {

/// FNV-1a of 64 bits with a finish that spreads it (splitmix64), the same for ever: programs of all versions have to
/// lock the same number.
[[nodiscard]] constexpr std::uint64_t hash_of(std::string_view text) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111eb;
  return hash ^ (hash >> 31);
}

/// Of the lock of that name.
[[nodiscard]] inline std::int64_t key_of(std::string_view name) {
  return static_cast<std::int64_t>(hash_of("lockfile lock " + std::string(name)));
}

/// Of the right to be admitted to the semaphore of that name; unit i has the number that is larger by i.
[[nodiscard]] inline std::int64_t gate_of(std::string_view name) {
  return static_cast<std::int64_t>(hash_of("lockfile units " + std::string(name)) >> 2);
}

}  // namespace lockfile::schemes::postgresql
