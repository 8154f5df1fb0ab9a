// Durations as people write and read them: "1m30s".
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace lockctl {

using Seconds = std::chrono::duration<double>;

/// "500ms", "5s", "1m30s", "2h", "1d", "1.5s"; a plain number is seconds. Nothing when it is none of these.
[[nodiscard]] std::optional<Seconds> parse_duration(std::string_view text);

/// "850ms", "12s", "3m12s", "2h05m", "3d04h": two units at most.
[[nodiscard]] std::string show_duration(Seconds duration);

}  // namespace lockctl
