// Memory that is missing: this program's operator new says no, to one thread and when it is told to. What the C library
// allocates for itself is not asked for here.
#pragma once

#include <cstdint>
#include <stdexcept>

namespace lockfile::testing {

/// A count of the allocations of this thread while it is on, and which of them are refused.
class MissingMemory {
 public:
  enum class Lasts : std::uint8_t { once, from_then_on };

  MissingMemory() = default;  ///< only counts
  MissingMemory(long at, Lasts lasts) noexcept : at_(at), lasts_(lasts) {}
  MissingMemory(const MissingMemory&) = delete;
  MissingMemory& operator=(const MissingMemory&) = delete;
  ~MissingMemory() { off(); }

  void on() noexcept;
  void off() noexcept;
  [[nodiscard]] long asked() const noexcept { return asked_; }
  [[nodiscard]] long refused() const noexcept { return refused_; }
  /// Asked by operator new.
  [[nodiscard]] bool refuses() noexcept;

 private:
  long at_ = -1;
  Lasts lasts_ = Lasts::once;
  long asked_ = 0;
  long refused_ = 0;
};

/// Does `verb` with each of its allocations refused in turn, and at last with none. `judge` is told which was; it has
/// memory.
template <class Verb, class Judge>
void with_each_allocation_refused(Verb verb, Judge judge) {
  constexpr long most = 100'000;
  for (long at = 0; at < most; ++at) {
    MissingMemory missing(at, MissingMemory::Lasts::once);
    missing.on();
    verb();
    missing.off();
    judge(at, missing.refused() != 0);
    if (missing.refused() == 0) return;
  }
  throw std::logic_error("it asks for memory without end");
}

}  // namespace lockfile::testing
