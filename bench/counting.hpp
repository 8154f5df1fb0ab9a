// Counting the calls of the system that the library makes, and being told of its sleep, through a layer of its seam.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace bench {

/// While it lives, every call that the library makes in this thread, and in lock objects made in it meanwhile, is
/// counted: each that can enter the kernel (waiting is one call however long), but for clocks, which do not.
class CallCounter {
 public:
  CallCounter();
  CallCounter(const CallCounter&) = delete;
  CallCounter& operator=(const CallCounter&) = delete;
  ~CallCounter();
  [[nodiscard]] std::int64_t calls() const noexcept;

 private:
  struct Layer;
  std::unique_ptr<Layer> layer_;
};

/// While it lives, it tells when an acquire goes to sleep: of lock objects made in this thread meanwhile. From then on
/// it stands in line; before, the scheduler may have kept its process from the line for as long as it likes.
class FirstSleep {
 public:
  explicit FirstSleep(std::function<void()> tell);
  FirstSleep(const FirstSleep&) = delete;
  FirstSleep& operator=(const FirstSleep&) = delete;
  ~FirstSleep();
  /// An acquire begins: its first sleep is to be told.
  void expect() noexcept;
  /// Has it slept since?
  [[nodiscard]] bool came() const noexcept;

 private:
  struct Layer;
  std::unique_ptr<Layer> layer_;
};

}  // namespace bench
