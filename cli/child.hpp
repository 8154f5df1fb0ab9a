// The command of `lockctl run` as a process: made, held at its start until the lock is its own, let go.
#pragma once

#include "signals.hpp"

#include <sys/types.h>

#include <csignal>
#include <optional>
#include <string>
#include <vector>

namespace lockctl {

/// What the command is to find as lockctl itself found it.
struct Inheritance {
  sigset_t mask{};
  struct sigaction on_child_end {};
};

/// What happens to the command when lockctl is killed.
enum class OnOurDeath : char {
  lives_on = 'g',  ///< the lock is the command's: it stands as long as the command runs
  dies = 'd',      ///< the scheme cannot hand a hold over: the command must not run without the lock
};

/// A process that waits for `let_go` before it becomes the command. When lockctl dies before that, it ends and runs
/// nothing. It leads a process group of its own.
class Child {
 public:
  /// `guard`: a descriptor of the hold's guard for it to keep open, or -1. Throws std::system_error.
  Child(const std::vector<std::string>& command, const std::vector<std::string>& environment, int guard,
        const Inheritance& inheritance);
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  /// Ends and reaps a child that was never let go.
  ~Child();

  [[nodiscard]] pid_t pid() const { return pid_; }
  void let_go(OnOurDeath fate);
  /// Sends a signal to its whole group.
  void signal_group(int signal) const;

  struct Change {
    enum class Kind { ended, stopped, continued } kind;
    int status;  ///< as wait(2) gives it
  };
  /// What has become of it since the last call, if anything has. Does not wait.
  [[nodiscard]] std::optional<Change> change();
  /// Why the command could not be executed, once it has ended; 0: it was.
  [[nodiscard]] int exec_error() const;

 private:
  pid_t pid_ = -1;
  bool reaped_ = false;
  int go_ = -1;      // we write here
  int report_ = -1;  // and read here
};

}  // namespace lockctl
