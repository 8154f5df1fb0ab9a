// Is a lock held by our own caller? Then waiting for it would be waiting for ourselves.
#pragma once

#include <lockfile/holder.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lockctl {

/// What a command that runs under a lock finds in its environment. An inner lock's values replace an outer one's;
/// only `holds` grows: it names every hold around the command, so that A, then B, then A again is seen as well.
inline constexpr const char* path_variable = "LOCKCTL_PATH";
inline constexpr const char* held_variable = "LOCKCTL_HELD";
inline constexpr const char* holds_variable = "LOCKCTL_HOLDS";
inline constexpr const char* fence_variable = "LOCKCTL_FENCE";

/// A hold in `LOCKCTL_HOLDS`: `<nonce>.<number>`.
[[nodiscard]] std::string hold_name(const lockfile::Holder& holder);

/// True when the holder of the lock on `path` (absolute) is one of the programs that called us.
[[nodiscard]] bool held_by_caller(std::string_view path, const lockfile::Holder& holder);

/// The parent in the text of a /proc/PID/stat; 0 where it does not say. The fourth field, proc_pid_stat(5), after a
/// name in brackets that may itself hold brackets and spaces.
[[nodiscard]] std::int64_t parent_in(std::string_view stat);

/// Our environment with the variables of a new hold. `fence`: its number; 0: it has none.
[[nodiscard]] std::vector<std::string> environment_within(std::string_view path, const lockfile::Holder& hold,
                                                          std::uint64_t fence = 0);

}  // namespace lockctl
