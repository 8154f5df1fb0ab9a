// The threads of this process that wait for the same lock. Only the first of them is at the file system; the others
// sleep until it is their turn. A thread that holds is not in the line.
#pragma once

#include "os/process.hpp"
#include "os/sleeper.hpp"

#include <deque>
#include <map>
#include <string>

namespace lockfile::core {

/// A `Process::part`. Lines are told apart by the locked path as it was written, made absolute: two spellings of one
/// path make two lines, which costs order and nothing else.
class Lines {
 public:
  explicit Lines(os::Process& process) : system_(process.system()) {}

  [[nodiscard]] bool anyone_waits(const std::string& key);

 private:
  friend class Place;

  os::System& system_;
  os::Mutex mutex_;
  std::map<std::string, std::deque<os::Sleeper*>> lines_;
};

/// A place in a line, from its making to its end.
class Place {
 public:
  Place(Lines& lines, const std::string& key, os::Sleeper& sleeper);
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  /// Leaves, and wakes the next one if this was the first.
  ~Place();

  [[nodiscard]] bool is_first() const;

 private:
  Lines& lines_;
  const std::string& key_;
  os::Sleeper& sleeper_;
};

}  // namespace lockfile::core
