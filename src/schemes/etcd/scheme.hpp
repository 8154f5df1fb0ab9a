// A key in an etcd cluster. Who wants the lock makes a key; whose key is the oldest has it. Two processes, step by step
// (revisions count every change of the cluster, and a key remembers in which it was made):
//
//   A                                            B
//   1 Txn: no key of mine? put x/A, count
//     revision 7; nothing else is there: held, fence 7
//                                                1 Txn: no key of mine? put x/B, count
//                                                  revision 8; it is not alone: looks (3), and x/A is older
//                                                2 watches x/A and x/B, from now on; `created` tells revision 8: what
//                                                  the Txn saw still stands. Another revision: looks once (3)
//   2 Txn: x/A made in 7? delete x/A
//                                                3 (event) Txn: x/B made in 8? range what is older
//                                                  nothing, and the lease stands by our clock: held, fence 8
//
// What closes what:
// - 1 that is sent twice, for the first answer was lost, finds the own key: held or waiting as of its revision.
// - B's lease ends in the queue, or its key is broken: x/B is gone, 3 fails, and B begins anew. Without 3 it would be
//   granted for a key that is not there.
// - A's lease ends: A knows it first. Its clock (CLOCK_BOOTTIME) counts from when it sent the last renewal that was
//   answered, the servers' from when they had it; and leases get longer there (a restart, a new leader), never shorter.
// - A stopped, its lease over, B holds with fence 8; A goes on: its writes carry 7. Nothing else can help here.
// - The same process twice, or two threads: a key has the number of its attempt in it, the lease does not matter.
// - A late release or break: guarded by the revision in which its key was made.
//
// Shared: waits for the exclusive keys only that are older. Units: a key holds while the weights of it and of all older
// ones fit; the first who waits watches all keys for deletions, each other one its predecessor, and who comes to hold
// puts its key anew, which wakes the next one.
#pragma once

#include "schemes/etcd/keys.hpp"
#include "schemes/etcd/session.hpp"

#include <lockfile/options.hpp>
#include <lockfile/scheme.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace lockfile::schemes::etcd {

class Scheme final : public lockfile::Scheme {
 public:
  /// `units` 0: a lock; else a semaphore of so many, of which an attempt wants `wanted`.
  Scheme(Place place, std::string reason, bool leased, std::size_t units = 0, std::size_t wanted = 0);

  [[nodiscard]] std::string_view name() const noexcept override { return "etcd"; }
  [[nodiscard]] Traits traits() const noexcept override;
  [[nodiscard]] std::unique_ptr<lockfile::Attempt> attempt(const Request& request) override;
  [[nodiscard]] std::vector<Holder> holders(std::error_code& why) override;
  [[nodiscard]] std::vector<Waiter> waiters(std::error_code& why) override;
  std::error_code break_hold(const Holder& hold, Proof proof) noexcept override;
  void abandon() noexcept override { session_.reset(); }
  [[nodiscard]] std::unique_ptr<lockfile::Scheme> semaphore(std::size_t units, std::size_t wanted) override;
  [[nodiscard]] Examination examine(std::error_code& why) override;
  [[nodiscard]] std::vector<std::string> locked_names(std::error_code& why, std::string& what) override;

  // For attempts.
  /// Null, with why: there can be none in this process.
  [[nodiscard]] std::shared_ptr<Session> session(std::error_code& why, std::string& what);
  [[nodiscard]] std::string new_key(Mode mode) const;
  [[nodiscard]] std::string new_value(const Request& request, const Lease& lease) const;
  [[nodiscard]] bool is_semaphore() const noexcept { return units_ != 0; }
  [[nodiscard]] std::size_t units() const noexcept { return units_; }
  [[nodiscard]] const std::string& root() const noexcept { return place_.root; }
  [[nodiscard]] Range all_keys() const;
  /// Did the lock object ask for a lease of its own choice?
  [[nodiscard]] bool leased() const noexcept { return leased_; }
  /// An attempt has sent something that is not answered yet: others do not wait long for an answer either.
  void set_unanswered(bool unanswered) noexcept { unanswered_ = unanswered; }
  /// A key whose attempt has not been told yet that it holds, if it does: it is nobody's hold.
  void note_waiting(const std::string& key) { waiting_.insert(key); }
  void end_waiting(const std::string& key) noexcept { waiting_.erase(key); }

 private:
  [[nodiscard]] std::vector<Key> look(Range range, std::error_code& why);
  /// The first `most` keys of the lock in the order in which they were made; 0: all.
  [[nodiscard]] std::vector<Key> look(std::error_code& why, std::int64_t most);
  [[nodiscard]] std::size_t holding_of(const std::vector<Key>& keys) const;

  Place place_;
  std::string reason_;
  bool leased_;
  std::size_t units_;
  std::size_t wanted_;
  std::shared_ptr<Session> session_;
  bool unanswered_ = false;
  std::set<std::string> waiting_;
};

/// Waits for an answer. False: it has not come by then.
bool wait_for(const Pending& pending, Event& event, os::System& system, std::chrono::nanoseconds limit) noexcept;

}  // namespace lockfile::schemes::etcd
