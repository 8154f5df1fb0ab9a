// Threads of the library's own. A header says of each who starts it (docs: threads of the caller are the rule).
#pragma once

#include "os/process.hpp"

#include <csignal>
#include <functional>
#include <thread>

namespace lockfile::os {

/// While it lives no signal is delivered to the calling thread, nor ever to a thread that is started in it: for calls
/// of other libraries, which start threads when they like. A signal to the program goes to another thread, or waits.
/// But for those that a thread brings on itself by a fault (SIGSEGV and the like): blocked, they would end the program
/// without a word of its own handler.
class AllSignalsBlocked {
 public:
  AllSignalsBlocked() noexcept;
  AllSignalsBlocked(const AllSignalsBlocked&) = delete;
  AllSignalsBlocked& operator=(const AllSignalsBlocked&) = delete;
  ~AllSignalsBlocked();

 private:
  sigset_t before_;
};

/// A thread of `process` that handles no signal but its own faults: the program knows nothing of it.
/// Throws std::system_error when none can be started.
[[nodiscard]] std::thread start_thread(Process& process, std::function<void()> run);

}  // namespace lockfile::os
