// Threads of the library's own. A header says of each who starts it (docs: threads of the caller are the rule).
#pragma once

#include "os/process.hpp"

#include <functional>
#include <thread>

namespace lockfile::os {

/// A thread of `process` that handles no signal: none may be delivered to it, since the program knows nothing of it.
/// Throws std::system_error when none can be started.
[[nodiscard]] std::thread start_thread(Process& process, std::function<void()> run);

}  // namespace lockfile::os
