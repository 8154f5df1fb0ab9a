// A call stack of its own that runs until it is switched away from: a simulated thread. All of them share one thread of
// the real machine, so nothing happens between two switches but what the running one does.
#pragma once

#include <ucontext.h>

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

namespace lockfile::simulation {

class Fiber {
 public:
  explicit Fiber(std::function<void()> body);
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  /// It must have ended, or never have begun: what stands on its stack is not unwound.
  ~Fiber();

  /// Runs this one in place of the caller, which is another fiber or, if it is null, the thread's own stack.
  static void switch_to(Fiber* from, Fiber* to);

  [[nodiscard]] bool ended() const noexcept { return ended_; }

  /// Where the thread goes on when a body has returned: called on the stack of the ended fiber, gives the next one.
  std::function<Fiber*()> when_ended;

 private:
  struct Context {
    ucontext_t registers{};
    std::array<char, 16> exceptions{};  // what the C++ runtime keeps of exceptions in flight, per thread
    void* shadow = nullptr;             // AddressSanitizer's fake stack
    void* race_state = nullptr;         // ThreadSanitizer's view of this stack
    const void* stack = nullptr;
    std::size_t size = 0;
  };
  static Context& context_of(Fiber* fiber) noexcept;
  static void enter(unsigned low, unsigned high);
  void prepare();
  void run();

  std::function<void()> body_;
  std::unique_ptr<char[]> stack_;
  Context context_;
  bool begun_ = false;
  bool ended_ = false;
};

}  // namespace lockfile::simulation
