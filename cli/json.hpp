// The JSON that lockctl prints. Its keys are part of the interface: they are added to, never renamed.
#pragma once

#include <lockfile/holder.hpp>

#include <nlohmann/json.hpp>

#include <span>
#include <string_view>

namespace lockctl {

using Json = nlohmann::ordered_json;

[[nodiscard]] Json to_json(const lockfile::Holder& holder);
[[nodiscard]] Json to_json(const lockfile::Waiter& waiter);
/// One lock: path, lock file, state ("free", "held", "stale"), holder (null when free; of several that share it, one
/// that keeps it), all holders, and who waits for it on this host, first in line first.
[[nodiscard]] Json lock_to_json(std::string_view path, std::string_view lock_file,
                                std::span<const lockfile::Holder> holders, std::span<const lockfile::Waiter> waiters);
/// On standard output, in ASCII: names and reasons are written by strangers, and what is not UTF-8 is replaced.
void print_json(const Json& value);

}  // namespace lockctl
