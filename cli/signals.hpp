// Signals as events: lockctl blocks the ones it deals with and reads them from a descriptor, so that no code of its own
// ever runs inside a signal handler. The library itself never touches a signal.
#pragma once

#include <csignal>
#include <initializer_list>
#include <optional>
#include <string>

namespace lockctl {

/// "SIGTERM", or "signal 42".
[[nodiscard]] std::string signal_name(int signal);

struct Caught {
  int signal = 0;
  /// Sent by the kernel (the terminal, say) and not by a process.
  bool by_kernel = false;
};

/// Blocks signals in the calling thread, and so in every thread it starts later; the destructor puts the mask back.
class BlockedSignals {
 public:
  /// Signals that lockctl inherited as ignored stay ignored: a blocked one would be queued all the same.
  explicit BlockedSignals(std::initializer_list<int> signals);
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;
  ~BlockedSignals();

  [[nodiscard]] bool contains(int signal) const;
  /// Polls readable when one of them has come; -1 when there is none to be had.
  [[nodiscard]] int descriptor() const { return descriptor_; }
  /// The next one that has come, if any. Does not wait.
  [[nodiscard]] std::optional<Caught> next() const;
  /// The mask as it was before: for a command that is about to run.
  [[nodiscard]] const sigset_t& mask_before() const { return before_; }

 private:
  sigset_t signals_{};
  sigset_t before_{};
  int descriptor_ = -1;
};

}  // namespace lockctl
