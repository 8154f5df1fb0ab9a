// Leases: holds that end by themselves unless they are renewed, for holders whose death nobody can prove, on other
// hosts. There is no common clock. Each side reads its own, which also counts the time that the machine sleeps
// (CLOCK_BOOTTIME), and errs on the safe side:
//
//   holder:   b = clock   link or write a count   reply        its hold ends at b + ttl
//   observer:                                 look shows it   e = clock   at e + ttl + margin a look begins: still
//   there
//
// e is later than b in any true time, so the observer's interval begins after the holder's and, by the margin, ends
// after it. Each of these would be wrong:
//   - the holder counts from the reply: the count can be seen long before the reply comes
//   - a renewal whose reply comes after the old end counts: an observer may have taken the lock over at that old end
//   - the observer counts from the beginning of its look: what it shows may have been written after that
//   - no margin: a look shows what was true some time ago, and the clocks differ by their drift
//
// Whoever finds a hold expired removes it as any other is removed, under REMOVE, where byte locks reach its host; it
// has to find the same hold and the same count there. The holder needs no lock for a renewal: one that is on its way
// then comes too late to count.
#pragma once

#include "claim/record.hpp"
#include "os/system.hpp"

#include <chrono>
#include <cstdint>
#include <string>

namespace lockfile::claim {

/// How much later than a holder an observer lets a lease end.
[[nodiscard]] std::chrono::nanoseconds lease_margin(std::chrono::milliseconds ttl,
                                                    const os::FileSystem& where) noexcept;

/// What somebody who looks at the lock word has seen of the lease of whoever holds.
class LeaseSeen {
 public:
  /// A look that began and ended then, by our clock, has shown this hold.
  void saw(const Record& record, const os::FileSystem& where, std::chrono::nanoseconds began,
           std::chrono::nanoseconds ended);
  /// It has shown something that has no lease, or nothing.
  void saw_none() noexcept { lease_ = std::chrono::milliseconds::zero(); }

  /// A look has shown that it is over.
  [[nodiscard]] bool expired() const noexcept { return expired_ && lease_.count() != 0; }
  /// From when on, by our clock, a look that begins would show that. Meaningless where there is no lease.
  [[nodiscard]] std::chrono::nanoseconds end() const noexcept { return end_; }
  [[nodiscard]] bool is_seen() const noexcept { return lease_.count() != 0; }

 private:
  std::string nonce_;
  std::uint64_t number_ = 0;
  std::uint64_t renewals_ = 0;
  std::chrono::milliseconds lease_{0};
  std::chrono::nanoseconds end_{0};
  bool expired_ = false;
};

}  // namespace lockfile::claim
