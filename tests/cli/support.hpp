// What the tests of lockctl are made of: directories that go away, processes that speak lines, a terminal with a shell.
// Nothing here sleeps to let something happen: everything waits for an event, and fails after one stuck limit.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cli_test {

/// After so long a thing that should happen does not happen any more.
inline constexpr std::chrono::seconds stuck{10};

// Exit statuses, as `lockctl --help` has them.
inline constexpr int usage = 64;
inline constexpr int unavailable = 69;
inline constexpr int no_program = 71;
inline constexpr int cannot_create = 73;
inline constexpr int cannot_look = 74;
inline constexpr int conflict = 75;
inline constexpr int timed_out = 124;

[[nodiscard]] inline bool has(const std::string& text, const std::string& what) {
  return text.find(what) != std::string::npos;
}

class Directory {
 public:
  Directory();
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  ~Directory();
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }
  /// The names in it, sorted.
  [[nodiscard]] std::vector<std::string> names() const;

 private:
  std::string path_;
};

struct Start {
  std::vector<std::string> arguments;  ///< the program first
  std::string directory = {};
  std::vector<std::pair<std::string, std::string>> environment = {};  ///< besides our own
  bool as_nobody = false;
  std::vector<int> ignored = {};
};

/// A process with pipes at its standard input and output. Its destructor kills it.
class Peer {
 public:
  explicit Peer(const Start& start);
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  ~Peer();

  [[nodiscard]] pid_t pid() const { return pid_; }
  /// The next line of its output; "<end>" when there is none.
  std::string line();
  /// What is left of its output, to the end.
  std::string rest();
  void write(std::string_view text) const;
  void close_input();
  void signal(int signal) const;
  /// Its exit status, or minus the signal that ended it.
  int wait();
  /// What it has written to its standard error so far.
  [[nodiscard]] std::string errors() const;

 private:
  pid_t pid_ = -1;
  int in_ = -1;
  int out_ = -1;
  int errors_ = -1;
  std::string buffer_;
  bool reaped_ = false;
};

struct Result {
  int status;
  std::string out;
  std::string errors;
};

/// lockctl with these arguments, in this directory, to its end.
Result lockctl(const Directory& directory, std::vector<std::string> arguments);
/// The same, as a process to talk to.
Start lockctl_start(const Directory& directory, std::vector<std::string> arguments);

/// A lock that is held until `let_go`, by `lockctl run` around a shell.
class HeldLock {
 public:
  HeldLock(const Directory& directory, const std::string& name, std::vector<std::string> options = {});
  /// Of the command, not of lockctl.
  [[nodiscard]] pid_t command() const { return command_; }
  Peer& peer() { return peer_; }
  int let_go();

 private:
  Peer peer_;
  pid_t command_;
};

/// A program with a terminal of its own, as its session's leader.
class Terminal {
 public:
  Terminal(const Directory& directory, const std::vector<std::string>& arguments);
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;
  ~Terminal();

  void type(std::string_view text) const;
  /// Reads until this has come after what was expected before; returns all from there on up to and with it.
  std::string expect(std::string_view text);
  /// Reads to the end.
  std::string rest();
  int wait();
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  bool read_more();

  pid_t pid_ = -1;
  int terminal_ = -1;
  std::string seen_;
  std::size_t expected_ = 0;
  bool reaped_ = false;
};

/// The state letter of a process ("T": stopped), or '-' when it is gone.
char state_of(pid_t pid);
/// Waits for the end of a process that need not be our child.
bool ends(pid_t pid);
std::string read_all(const std::string& path);

}  // namespace cli_test
