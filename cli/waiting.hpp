// What goes on beside a wait: signals end it, and whoever sits at the terminal sees for whom it waits.
#pragma once

#include "signals.hpp"

#include <lockfile/holder.hpp>

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

namespace lockctl {

/// The signals that end a wait. They must be blocked (`BlockedSignals`) in the thread that makes a `Companion`.
inline constexpr std::initializer_list<int> ending_signals{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

/// A thread beside a verb of the library that blocks. It turns a signal into a stop request, and tells on standard
/// error for whom and how long: in place, once a second, on a terminal; else once, when it takes long.
class Companion {
 public:
  using Look = std::function<std::optional<lockfile::Holder>()>;
  /// `look` is called in the companion's thread.
  Companion(const BlockedSignals& signals, std::string lock_file, Look look);
  Companion(const Companion&) = delete;
  Companion& operator=(const Companion&) = delete;
  ~Companion();

  [[nodiscard]] std::stop_token stop_token() const { return stop_.get_token(); }
  /// Ends the thread and clears its line. No thread is left: the caller may fork.
  void finish();
  /// The signal that ended the wait; 0: none. After `finish`.
  [[nodiscard]] int signal() const { return signal_; }
  /// How long it lasted so far.
  [[nodiscard]] std::chrono::steady_clock::duration elapsed() const;
  /// Has anything been told to the user?
  [[nodiscard]] bool has_spoken() const { return spoken_; }

 private:
  void work();
  void tell();
  [[nodiscard]] std::optional<std::string> text() const;

  const BlockedSignals& signals_;
  const std::string lock_file_;
  const Look look_;
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  std::stop_source stop_;
  int signal_ = 0;
  int done_ = -1;  // an eventfd
  bool line_open_ = false;
  bool spoken_ = false;
  std::thread thread_;
};

}  // namespace lockctl
