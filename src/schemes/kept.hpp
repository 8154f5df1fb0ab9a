// What a scheme keeps from one hold for the next: a claim, an open file, a slot. One, and one more where threads take
// turns; what is not kept is made anew.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <utility>

namespace lockfile::schemes {

/// Needs no memory: a release keeps what it has, however little there is.
template <class T>
class Kept {
 public:
  [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
  [[nodiscard]] bool has_room() const noexcept { return count_ < kept_.size(); }
  /// There must be room.
  void put(std::unique_ptr<T> one) noexcept { kept_[count_++] = std::move(one); }
  /// The one that `take` gives; null: none.
  [[nodiscard]] T* last() const noexcept { return empty() ? nullptr : kept_[count_ - 1].get(); }
  /// Null: none.
  [[nodiscard]] std::unique_ptr<T> take() noexcept { return empty() ? nullptr : std::move(kept_[--count_]); }
  void clear() noexcept {
    while (!empty()) take().reset();
  }
  [[nodiscard]] auto begin() const noexcept { return all().begin(); }
  [[nodiscard]] auto end() const noexcept { return all().end(); }

 private:
  [[nodiscard]] std::span<const std::unique_ptr<T>> all() const noexcept { return {kept_.data(), count_}; }

  std::array<std::unique_ptr<T>, 2> kept_;
  std::size_t count_ = 0;
};

}  // namespace lockfile::schemes
