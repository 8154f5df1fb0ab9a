// The fence: a number that is larger at every exclusive hold of one path that asks for one, on the disk before anybody
// is told of it. It closes what no lock can: a holder that was stopped, broken by force and goes on much later writes
// with an old number, and whoever checks the number refuses it.
//
// F = W.fence has the last number. It is replaced while REMOVE of the own hold is locked and W was seen to be the own
// claim under it: what ends a hold from outside needs the same byte, so a broken holder can never set F back.
//
//   A: holds, reads F: 5                 lock REMOVE(A): W is not A: lost
//   breaker:            unlink W
//   B:                           holds, reads F: 5, writes 6, hands 6 out
//
// Without the look A would rename its 6 onto F, too, and be told 6, as B was. With the look and without REMOVE:
//
//   A: holds, reads F: 5, W is A                                             renames 6 onto F: set back
//   breaker:                     unlink W
//   B:                                    holds: 6   releases   holds: 7
#pragma once

#include "claim/claim.hpp"
#include "claim/word.hpp"

#include <lockfile/options.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lockfile::claim {

/// What F says: a decimal number that is not 0, without leading zeros, and a line feed: a file that was cut off is
/// none.
[[nodiscard]] std::string format_fence(std::uint64_t number);
/// Nothing: anything else.
[[nodiscard]] std::optional<std::uint64_t> parse_fence(std::string_view bytes) noexcept;

struct FenceTaken {
  std::uint64_t number = 0;  ///< 0: none was taken, and the hold is to be released
  bool again = false;        ///< the hold was broken meanwhile, or something that passes: another hold may do better
  os::Status error = 0;
  std::string what;  ///< the step that failed
};

/// Takes the number of a hold that has just become ours. Writes, and waits for the disk; never for anybody else.
[[nodiscard]] FenceTaken take_fence(const Word& word, const Claim& claim, const Held& held, Access access);

}  // namespace lockfile::claim
