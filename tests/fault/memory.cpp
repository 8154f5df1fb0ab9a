// The program's operator new.
#include "fault/memory.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace lockfile::testing {
namespace {

thread_local MissingMemory* missing = nullptr;

}  // namespace

void MissingMemory::on() noexcept { missing = this; }

void MissingMemory::off() noexcept { missing = nullptr; }

bool MissingMemory::refuses() noexcept {
  const long number = asked_++;
  const bool refused = at_ >= 0 && (number == at_ || (number > at_ && lasts_ == Lasts::from_then_on));
  if (refused) ++refused_;
  return refused;
}

}  // namespace lockfile::testing

namespace {

void* memory(std::size_t size) noexcept {
  using lockfile::testing::missing;
  if (missing != nullptr && missing->refuses()) return nullptr;
  return std::malloc(std::max<std::size_t>(size, 1));
}

void* memory_or_throw(std::size_t size) {
  void* const made = memory(size);
  if (made == nullptr) throw std::bad_alloc();
  return made;
}

}  // namespace

// All forms but those for what is aligned otherwise: a sanitizer's own must not meet these halfway.
void* operator new(std::size_t size) { return memory_or_throw(size); }
void* operator new[](std::size_t size) { return memory_or_throw(size); }
void* operator new(std::size_t size, const std::nothrow_t& /*tag*/) noexcept { return memory(size); }
void* operator new[](std::size_t size, const std::nothrow_t& /*tag*/) noexcept { return memory(size); }
void operator delete(void* made) noexcept { std::free(made); }
void operator delete[](void* made) noexcept { std::free(made); }
void operator delete(void* made, std::size_t /*size*/) noexcept { std::free(made); }
void operator delete[](void* made, std::size_t /*size*/) noexcept { std::free(made); }
void operator delete(void* made, const std::nothrow_t& /*tag*/) noexcept { std::free(made); }
void operator delete[](void* made, const std::nothrow_t& /*tag*/) noexcept { std::free(made); }
