// The observer's side of leases; the holder's is in schemes/lock_file/attempt.cpp.
#include "claim/lease.hpp"

namespace lockfile::claim {

std::chrono::nanoseconds lease_margin(std::chrono::milliseconds ttl, const os::FileSystem& where) noexcept {
  // Two clocks, each wrong by half a hundredth at most: the kernel disciplines its own within 0.05 %, and a quartz that
  // nobody disciplines is off by less than 0.02 % (adjtimex(2)).
  constexpr int drift_of_both = 100;
  constexpr std::chrono::milliseconds tick(10);
  return where.stale_for + std::chrono::nanoseconds(ttl) / drift_of_both + tick;
}

void LeaseSeen::saw(const Record& record, const os::FileSystem& where, std::chrono::nanoseconds began,
                    std::chrono::nanoseconds ended) {
  const bool same =
      record.lease == lease_ && record.renewals == renewals_ && record.number == number_ && record.nonce == nonce_;
  if (same) {
    expired_ = expired_ || began >= end_;
    return;
  }
  nonce_ = record.nonce;
  number_ = record.number;
  renewals_ = record.renewals;
  lease_ = record.lease;
  end_ = ended + record.lease + lease_margin(record.lease, where);
  expired_ = false;
}

}  // namespace lockfile::claim
