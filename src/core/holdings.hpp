// Does this process hold anything just now, by any of its lock objects? Only who holds something can wait for itself,
// so most who wait need not look who holds what they wait for.
#pragma once

#include "os/linked_list.hpp"
#include "os/process.hpp"

#include <atomic>
#include <cstddef>

namespace lockfile::core {

/// A `Process::part`.
class Holdings {
 public:
  explicit Holdings(os::Process& process) noexcept : process_(process) {}

  /// How many holds one lock object has. Set by whoever takes or ends one, and so always right for the own thread's.
  class Count : private os::Linked<Count> {
   public:
    explicit Count(Holdings& all) noexcept : all_(all) {
      const os::MutexGuard guard(all_.process_.system(), all_.mutex_);
      all_.counts_.add(*this);
    }
    Count(const Count&) = delete;
    Count& operator=(const Count&) = delete;
    ~Count() {
      // In a forked child the list is its parent's, and its mutex may be locked by a thread that the child does not
      // have.
      if (!all_.process_.is_caller()) return;
      const os::MutexGuard guard(all_.process_.system(), all_.mutex_);
      all_.counts_.remove(*this);
    }
    [[nodiscard]] const Holdings& all() const noexcept { return all_; }
    void set(std::size_t holds) noexcept { holds_.store(holds, std::memory_order_relaxed); }

   private:
    friend class Holdings;
    friend class os::LinkedList<Count>;
    Holdings& all_;
    std::atomic<std::size_t> holds_ = 0;
  };

  [[nodiscard]] bool any() const noexcept {
    const os::MutexGuard guard(process_.system(), mutex_);
    for (const Count* each = counts_.first(); each != nullptr; each = each->next) {
      if (each->holds_.load(std::memory_order_relaxed) != 0) return true;
    }
    return false;
  }

 private:
  os::Process& process_;
  mutable os::Mutex mutex_;
  os::LinkedList<Count> counts_;
};

}  // namespace lockfile::core
