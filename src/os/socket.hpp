// Sleeping on a socket that somebody else's client library owns, in either direction. The core's own sleeper only ever
// waits to read. Linked by the components that need it.
#pragma once

#include <chrono>
#include <cstdint>

namespace lockfile::os {

enum class Ready : std::uint8_t { to_read, to_write };

/// Waits until the socket is ready, hung up or in error, or until that time. False: the time came first. Interrupted
/// sleeps go on.
[[nodiscard]] bool wait_for_socket(int descriptor, Ready what, std::chrono::steady_clock::time_point until) noexcept;
/// As it, without waiting.
[[nodiscard]] bool socket_is(int descriptor, Ready what) noexcept;

}  // namespace lockfile::os
