// The controlling terminal: who is in its foreground, and lending that place to a command's process group.
#pragma once

#include <sys/types.h>
#include <termios.h>

namespace lockctl {

class Terminal {
 public:
  /// Opens the controlling terminal; without one every verb does nothing.
  Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;
  ~Terminal();

  [[nodiscard]] bool present() const { return descriptor_ >= 0; }
  /// Is lockctl's own group in the foreground?
  [[nodiscard]] bool is_ours() const;
  /// Is a group in the foreground by our hand?
  [[nodiscard]] bool is_lent() const { return lent_to_ != 0; }

  /// Puts a group into the foreground. SIGTTOU must be blocked, here and below: the kernel would stop us else.
  void lend(pid_t group);
  /// Takes the foreground back for our own group, unless somebody else has given it away meanwhile.
  void take_back();
  /// Sets the line modes back to what they were at the first loan: a command that was killed could not.
  void restore_modes() const;

 private:
  int descriptor_ = -1;
  pid_t lent_to_ = 0;
  bool has_modes_ = false;
  termios modes_{};
};

}  // namespace lockctl
