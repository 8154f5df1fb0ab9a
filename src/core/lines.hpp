// The threads of this process that wait for the same lock. Only the first of them is at the file system; the others
// sleep until it is their turn. A thread that holds is not in the line.
#pragma once

#include "os/process.hpp"
#include "os/sleeper.hpp"

#include <atomic>
#include <cstddef>
#include <map>
#include <string>

namespace lockfile::core {

class Place;

/// The line before one lock.
class Line {
 public:
  explicit Line(os::System& system) : system_(system) {}

  /// Does anybody wait? Not a look under the line's mutex, so that who finds the lock free pays next to nothing:
  /// whoever lines up at this very moment is behind the caller, or before it by nobody's promise.
  [[nodiscard]] bool anyone_waits() const noexcept { return waiting_.load(std::memory_order_acquire) != 0; }

  /// A first try, from its making to its end.
  class Trying {
   public:
    explicit Trying(Line& line) noexcept
        : line_(line), alone_(line.trying_.fetch_add(1, std::memory_order_acq_rel) == 0) {}
    Trying(const Trying&) = delete;
    Trying& operator=(const Trying&) = delete;
    ~Trying() { line_.trying_.fetch_sub(1, std::memory_order_release); }
    /// Did it begin while no other one was on its way?
    [[nodiscard]] bool alone() const noexcept { return alone_; }

   private:
    Line& line_;
    bool alone_;
  };

  /// Does the first in line take a hold that this object passes on?
  [[nodiscard]] bool has_heir_of(const void* object);
  /// Wakes it, unless it is awake already. False: there is none.
  bool wake_heir_of(const void* object);

 private:
  friend class Lines;
  friend class Place;

  os::System& system_;
  os::Mutex mutex_;
  Place* first_ = nullptr;
  Place* last_ = nullptr;
  std::atomic<std::size_t> waiting_ = 0;
  std::atomic<std::size_t> trying_ = 0;
  std::size_t users_ = 0;  // lock objects; guarded by the mutex of `Lines`
};

/// A `Process::part`. Lines are told apart by the locked path as it was written, made absolute: two spellings of one
/// path make two lines, which costs order and nothing else.
class Lines {
 public:
  explicit Lines(os::Process& process) : system_(process.system()) {}

  /// The line of that key, for a lock object that will wait in it; it stands until all have left it.
  [[nodiscard]] Line& enter(const std::string& key);
  void leave(const std::string& key) noexcept;

 private:
  os::System& system_;
  os::Mutex mutex_;
  std::map<std::string, Line> lines_;
};

/// Where to line up.
struct LineUp {
  Line* line = nullptr;           ///< null: in no line
  const void* heir_of = nullptr;  ///< the object whose passed-on hold would do; null: none
};

/// A place in a line, from its making to its end.
class Place {
 public:
  Place(const LineUp& where, os::Sleeper& sleeper);
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  /// Leaves, and wakes the next one if this was the first.
  ~Place();

  [[nodiscard]] bool is_first() const;
  /// Its thread is about to look: what happens from now on needs another wake-up.
  void looks();

 private:
  friend class Line;
  Line& line_;
  os::Sleeper& sleeper_;
  const void* heir_of_;
  bool woken_ = false;  // and has not looked yet
  Place* ahead_ = nullptr;
  Place* behind_ = nullptr;
};

}  // namespace lockfile::core
