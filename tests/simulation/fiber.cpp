// Switching stacks by ucontext(3), and telling the sanitizers about it.
#include "simulation/fiber.hpp"

#include "support/sanitizers.hpp"

#include <cxxabi.h>

#include <cstdint>
#include <cstring>
#include <vector>

#ifdef UNDER_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef UNDER_TSAN
#include <sanitizer/tsan_interface.h>
// For functions that never return where a fiber ends: what ThreadSanitizer has noted of their calls would pile up, and
// each allocation copies all that it has noted.
#define SIMULATION_UNNOTED __attribute__((no_sanitize("thread")))
#else
#define SIMULATION_UNNOTED
#endif

namespace lockfile::simulation {
namespace {

constexpr std::size_t stack_size = std::size_t{256} * 1024;

// Stacks are used again: an exploration needs the same few a million times.
std::vector<std::unique_ptr<char[]>>& spare_stacks() {
  thread_local std::vector<std::unique_ptr<char[]>> spare;
  return spare;
}

std::unique_ptr<char[]> take_stack() {
  auto& spare = spare_stacks();
  if (spare.empty()) return std::unique_ptr<char[]>(new char[stack_size]);
  auto stack = std::move(spare.back());
  spare.pop_back();
  return stack;
}

#ifdef UNDER_TSAN
// Its views of stacks too: making one takes longer than what runs on it.
std::vector<void*>& spare_race_states() {
  thread_local std::vector<void*> spare;
  return spare;
}

void* take_race_state() {
  auto& spare = spare_race_states();
  if (spare.empty()) return __tsan_create_fiber(0);
  void* const state = spare.back();
  spare.pop_back();
  return state;
}
#endif

}  // namespace

Fiber::Fiber(std::function<void()> body) : body_(std::move(body)) {}

Fiber::~Fiber() {
#ifdef UNDER_TSAN
  if (context_.race_state != nullptr) spare_race_states().push_back(context_.race_state);
#endif
#ifdef UNDER_ASAN
  if (stack_) __asan_unpoison_memory_region(stack_.get(), stack_size);
#endif
  if (stack_) spare_stacks().push_back(std::move(stack_));
}

Fiber::Context& Fiber::context_of(Fiber* fiber) noexcept {
  thread_local Context of_thread;
  return fiber != nullptr ? fiber->context_ : of_thread;
}

SIMULATION_UNNOTED void Fiber::enter(unsigned low, unsigned high) {
  auto* const self =
      reinterpret_cast<Fiber*>((static_cast<std::uintptr_t>(high) << 32U) | static_cast<std::uintptr_t>(low));
  self->run();
}

SIMULATION_UNNOTED void Fiber::run() {
#ifdef UNDER_ASAN
  // The first entry into this stack tells where the thread's own one lies.
  const void* bottom = nullptr;
  std::size_t size = 0;
  __sanitizer_finish_switch_fiber(nullptr, &bottom, &size);
  Context& of_thread = context_of(nullptr);
  if (of_thread.stack == nullptr) {
    of_thread.stack = bottom;
    of_thread.size = size;
  }
#endif
  body_();
  body_ = nullptr;
  ended_ = true;
  switch_to(this, when_ended());
}

void Fiber::prepare() {
  begun_ = true;
  stack_ = take_stack();
  getcontext(&context_.registers);
  context_.registers.uc_stack.ss_sp = stack_.get();
  context_.registers.uc_stack.ss_size = stack_size;
  context_.registers.uc_link = nullptr;
  context_.stack = stack_.get();
  context_.size = stack_size;
  const auto address = reinterpret_cast<std::uintptr_t>(this);
  // makecontext(3) passes ints only.
  makecontext(&context_.registers, reinterpret_cast<void (*)()>(&Fiber::enter), 2, static_cast<unsigned>(address),
              static_cast<unsigned>(address >> 32U));
#ifdef UNDER_TSAN
  context_.race_state = take_race_state();
#endif
}

SIMULATION_UNNOTED void Fiber::switch_to(Fiber* from, Fiber* to) {
  Context& here = context_of(from);
  Context& there = context_of(to);
  if (to != nullptr && !to->begun_) to->prepare();
  static_assert(sizeof here.exceptions >= sizeof(void*) + sizeof(unsigned));
  std::memcpy(here.exceptions.data(), abi::__cxa_get_globals(), here.exceptions.size());
  std::memcpy(abi::__cxa_get_globals(), there.exceptions.data(), there.exceptions.size());
#ifdef UNDER_TSAN
  if (here.race_state == nullptr) here.race_state = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(there.race_state, 0);
#endif
#ifdef UNDER_ASAN
  const bool for_ever = from != nullptr && from->ended_;
  __sanitizer_start_switch_fiber(for_ever ? nullptr : &here.shadow, there.stack, there.size);
#endif
  swapcontext(&here.registers, &there.registers);
#ifdef UNDER_ASAN
  __sanitizer_finish_switch_fiber(here.shadow, nullptr, nullptr);
#endif
}

}  // namespace lockfile::simulation
