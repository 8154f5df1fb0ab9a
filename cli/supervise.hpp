// Standing between a command, its terminal and whoever sends signals, until the command has ended.
#pragma once

#include "child.hpp"
#include "lease.hpp"
#include "signals.hpp"
#include "terminal.hpp"

namespace lockctl {

/// What must be blocked, and is watched, while a command runs.
inline constexpr std::initializer_list<int> supervised_signals{SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2,
                                                               SIGCHLD, SIGTSTP, SIGCONT, SIGTTOU, SIGTTIN, SIGPIPE};

class Supervisor {
 public:
  /// `lease`: what to act for besides; null: nothing.
  Supervisor(Child& child, Terminal& terminal, const BlockedSignals& signals, LeaseWatch* lease = nullptr);

  /// Puts the command into the foreground if we are there ourselves. Call it before the command is let go.
  void settle();
  /// Passes signals on, stops and continues together with the command; returns how it ended, as wait(2) gives it. The
  /// terminal is ours again then.
  int wait_for_end();
  /// Was it ended by a key of its terminal, as far as can be told? Then by this signal; else 0.
  [[nodiscard]] int ended_by_key() const;

 private:
  void handle(const Caught& caught);
  void observe();
  void command_stopped(int signal);
  void stop_with_it(int signal);
  void resume();

  Child& child_;
  Terminal& terminal_;
  const BlockedSignals& signals_;
  LeaseWatch* lease_;
  bool wants_terminal_;
  bool stopped_ = false;
  bool ended_ = false;
  bool ended_in_foreground_ = false;
  int passed_on_ = 0;  // the last signal that was
  int status_ = 0;
};

}  // namespace lockctl
