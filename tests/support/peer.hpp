// A lock object in another process, told what to do by lines over a pipe and answering by lines. A test that waits for
// an answer waits for the event itself; the one limit says that something is stuck.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace lockfile::testing {

inline constexpr std::chrono::seconds stuck{10};
/// Long enough for something that should not happen to have happened.
inline constexpr std::chrono::milliseconds quiescent{10};

class Peer {
 public:
  /// `arguments` go to lock_peer: PATH VARIANT [kill-at N [fence]]
  explicit Peer(const std::vector<std::string>& arguments);
  /// Another program that speaks in lines, by its path.
  Peer(std::string program, std::vector<std::string> arguments);
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  /// Kills what still runs.
  ~Peer();

  void tell(const std::string& line);
  /// The next line; nothing when the peer has ended. Throws when it is stuck.
  [[nodiscard]] std::optional<std::string> answer();
  /// Tells and gives the answer, or "" when it ended instead.
  std::string ask(const std::string& line);
  /// True when no answer comes for a while and it sleeps (or is stopped): it waits for somebody else. Throws when it
  /// neither answers nor waits.
  [[nodiscard]] bool is_silent();

  void signal(int number);
  /// Kills it and waits until it has ended.
  void kill();
  /// Waits for its end; the status of waitpid(2).
  int wait();
  [[nodiscard]] pid_t pid() const noexcept { return pid_; }

 private:
  [[nodiscard]] bool readable_within(std::chrono::milliseconds limit);

  pid_t pid_ = -1;
  int to_ = -1;
  int from_ = -1;
  std::string buffer_;
};

}  // namespace lockfile::testing
