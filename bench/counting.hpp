// Counting the calls of the system that the library makes, through a layer of its seam.
#pragma once

#include <cstdint>
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

}  // namespace bench
