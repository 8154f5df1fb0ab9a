// What the questions share: a clock, processes that begin and end together, percentiles, and a report that a person and
// a program can read. Speed is measured against a floor in the same run, in alternating batches: on a machine that does
// other things too, a ratio of neighbours in time says more than any figure in nanoseconds.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace bench {

/// CLOCK_MONOTONIC, which all processes of the machine share.
[[nodiscard]] std::int64_t now_ns() noexcept;
/// Stays on the processor, as somebody who works does.
void spin_for(std::chrono::nanoseconds how_long) noexcept;
/// Waits for what another process sets; ends the program after two minutes. For the frame of a measurement, never
/// within one.
void wait_until(const std::function<bool()>& condition, std::string_view what);
[[noreturn]] void fail(std::string_view what);

/// By nearest rank, `which` in 0..100. Sorts a copy.
[[nodiscard]] double percentile(std::vector<double> values, double which);
[[nodiscard]] double median(std::vector<double> values);
/// The median of subject[i] / floor[i].
[[nodiscard]] double median_ratio(const std::vector<double>& subject, const std::vector<double>& floor);

/// `--dir DIR` (default: the current one), `--json FILE` (raw data), `--quick` (a fiftieth of the rounds: does it
/// run?).
struct Arguments {
  Arguments(int argc, char** argv);
  [[nodiscard]] int rounds(int full) const { return quick ? (full + 49) / 50 : full; }
  std::string directory = ".";
  std::string json;
  bool quick = false;
};

/// A directory of its own inside the given one, removed at the end.
class WorkDirectory {
 public:
  explicit WorkDirectory(const std::string& inside);
  WorkDirectory(const WorkDirectory&) = delete;
  WorkDirectory& operator=(const WorkDirectory&) = delete;
  ~WorkDirectory();
  [[nodiscard]] std::string file(std::string_view name) const { return path_ + "/" + std::string(name); }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  /// "ext4", "tmpfs", or the number of statfs(2).
  [[nodiscard]] const std::string& file_system() const noexcept { return file_system_; }

 private:
  std::string path_;
  std::string file_system_;
  pid_t maker_;
};

/// A value that forked children share with their parent.
template <class T>
class Shared;
[[nodiscard]] void* map_shared(std::size_t bytes);
void unmap_shared(void* where, std::size_t bytes) noexcept;

template <class T>
class Shared {
 public:
  Shared() : value_(new (map_shared(sizeof(T))) T{}) {}
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() { unmap_shared(value_, sizeof(T)); }
  T* operator->() const noexcept { return value_; }
  T& operator*() const noexcept { return *value_; }

 private:
  T* value_;
};

/// Forked processes. Whatever ends the parent ends them.
class Crew {
 public:
  Crew() = default;
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;
  ~Crew();
  pid_t start(const std::function<void()>& work);
  /// Waits until all have ended well. The processor time of all of them, in nanoseconds.
  double finish();
  /// Ends one that would not end by itself.
  void end(pid_t pid);
  [[nodiscard]] const std::vector<pid_t>& pids() const noexcept { return pids_; }

 private:
  std::vector<pid_t> pids_;
};

/// Runs a shell command when it is destroyed, or when this process ends in whichever way, an exception, `fail` or
/// SIGKILL too: it is what stops a server. A child of its own waits for that, so it is made while there is one thread.
class AtEnd {
 public:
  explicit AtEnd(const std::string& command);
  AtEnd(const AtEnd&) = delete;
  AtEnd& operator=(const AtEnd&) = delete;
  ~AtEnd();

 private:
  int alive_ = -1;  // closed when this process ends
  pid_t child_ = -1;
};

/// How often this process has gone to sleep by its own will so far (getrusage(2)), all its threads.
[[nodiscard]] std::int64_t sleeps() noexcept;

/// The state letter of /proc/PID/stat ('S': it sleeps).
[[nodiscard]] char state_of(pid_t process);
/// What a process has used so far, in nanoseconds (clock_getcpuclockid(3)).
[[nodiscard]] std::int64_t cpu_ns(pid_t process);

/// Prints a question, its table and its targets as they come; keeps the raw data for `--json`.
class Report {
 public:
  Report(const std::string& question, const Arguments& arguments, const WorkDirectory& directory);
  Report(const Report&) = delete;
  Report& operator=(const Report&) = delete;
  ~Report();
  /// Begins a table.
  void table(const std::vector<std::string>& columns);
  void row(const std::vector<std::string>& cells);
  /// `link to raw link+unlink: ratio 1.83 (reach: 2.00)`: at most `limit` is wanted.
  void reach(std::string_view what, std::string_view quantity, double value, double limit);
  /// `(reach: 0.85 or more)`
  void reach_at_least(std::string_view what, std::string_view quantity, double value, double limit);
  void raw(std::string_view name, std::string_view unit, const std::vector<double>& values);

 private:
  void print(const std::vector<std::string>& cells) const;
  void say_reach(std::string_view what, std::string_view quantity, double value, double limit, bool at_least);

  std::string json_file_;
  std::string head_;
  std::string tables_;
  std::string reaches_;
  std::string series_;
  bool in_table_ = false;
};

/// `text("%.1f", x)`
[[nodiscard]] std::string text(const char* format, double value);

}  // namespace bench
