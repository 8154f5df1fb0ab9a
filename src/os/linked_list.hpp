// A list through its own members: who is in it needs no memory to come, and leaves from where it is.
#pragma once

namespace lockfile::os {

/// What a member of a list derives from.
template <class T>
struct Linked {
  T* previous = nullptr;
  T* next = nullptr;
};

/// Its owner has a mutex for it.
template <class T>
class LinkedList {
 public:
  void add(T& one) noexcept {
    one.previous = nullptr;
    one.next = first_;
    if (first_ != nullptr) first_->previous = &one;
    first_ = &one;
  }
  /// It must be in.
  void remove(T& one) noexcept {
    (one.previous != nullptr ? one.previous->next : first_) = one.next;
    if (one.next != nullptr) one.next->previous = one.previous;
  }
  /// They stay as they are.
  void forget_all() noexcept { first_ = nullptr; }
  [[nodiscard]] T* first() const noexcept { return first_; }

 private:
  T* first_ = nullptr;
};

}  // namespace lockfile::os
