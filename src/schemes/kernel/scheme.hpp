// Kernel locks on a file that stays: OFD byte-range locks (scheme kernel) or flock(2) (scheme flock, to cooperate with
// flock(1) and whatever else uses it). Unlike the lock-file schemes they lock the very path that they are given. Two
// processes A and B, and somebody who removes the file:
//
//   1. A: open(F), or make it; lock: got; F still is that inode: A holds       B: open(F)
//   2.                                              B: lock: EAGAIN; F still is it; WAITING; lock: EAGAIN; watch the
//                                                      inode; lock: EAGAIN: sleeps
//   3. A: unlock; WAITING is locked: touch          B: IN_ATTRIB; lock: got; F still is it: B holds
//
//   1. A: holds                                     B: sleeps on the inode
//   2. somebody: unlink(F)                          B: IN_ATTRIB; lock: EAGAIN; F is not it any more: opens again,
//                                                      makes it anew. Without that look it would wait for a lock that
//                                                      nobody else contends for.
//   1. A: removes F under the lock, unlocks         B: lock: got, on an inode without a name; F is not it: unlock,
//   touch
//                                                      it for the next who sleeps there, open again. Without that look
//                                                      B and whoever makes F anew would both hold.
//
// Upgrade: the one upgradable holder has the lock shared, and the byte UPGRADABLE besides. The kernel changes its lock
// to an exclusive one in one step, or leaves it as it is:
//
//   1. A: shared and UPGRADABLE                     B: shared                  C: UPGRADABLE is taken: sleeps
//   2. A: UPGRADING; lock: EAGAIN, still shared     D: UPGRADING is locked: sleeps
//   3. B: unlock; WAITING is locked: touch          A: lock: got; unlock UPGRADING: A holds
//
// flock(2) has no such step: it gives the lock up first, and a refused upgrade loses it. So scheme flock has neither
// upgradable holds nor downgrades.
//
// What it costs: a file stays. Waiters have no order of their own. Foreign lockers give an event only when they
// close, and *before* the lock drops; one that unlocks and goes on gives none. So waiters look again 1, 4 and 16 ms
// after each event, and once a second. A copy of the descriptor in a child that did not run the at-fork handlers
// (clone(2)) prolongs the hold until the child ends or executes a program. A hold cannot be broken: the kernel gives a
// lock back only when its holder's descriptors are closed.
#pragma once

#include "os/linked_list.hpp"
#include "schemes/file_path.hpp"
#include "schemes/file_scheme.hpp"
#include "schemes/kept.hpp"
#include "schemes/kernel/file.hpp"

#include <lockfile/options.hpp>
#include <lockfile/scheme.hpp>

#include <memory>
#include <string>
#include <vector>

namespace lockfile::schemes {

/// Where byte locks reach other hosts; there is no fence, and nobody can break what the kernel keeps.
[[nodiscard]] constexpr Traits kernel_traits(KernelLock lock) noexcept {
  return {.shared = true,
          .upgradable = lock == KernelLock::byte,
          .fair = true,
          .crash_recovery = true,
          .across_hosts = true,
          .event_wait = true,
          .handed_over = true};
}

/// The kernel locks that a process holds, for looks: they can name a holder where no record can, and find a deadlock.
class KernelHolds {
 public:
  explicit KernelHolds(os::Process& process) noexcept : process_(process) {}

  struct Entry : os::Linked<Entry> {
    os::FileInfo info;
    Holder holder;
    bool listed = false;
  };
  void add(Entry& entry) noexcept;
  void remove(Entry& entry) noexcept;
  void change(Entry& entry, Mode mode) noexcept;
  /// All but `except`.
  [[nodiscard]] std::vector<Holder> of(const os::FileInfo& info, const Entry* except = nullptr) const;

 private:
  os::Process& process_;
  mutable os::Mutex mutex_;
  os::LinkedList<Entry> all_;
};

class KernelFileScheme final : public FileScheme {
 public:
  KernelFileScheme(FilePath path, KernelLock lock, const Options& options);
  ~KernelFileScheme() override;

  [[nodiscard]] std::string_view name() const noexcept override { return to_string(lock_); }
  [[nodiscard]] Traits traits() const noexcept override;
  [[nodiscard]] std::unique_ptr<FileAttempt> file_attempt(const Request& request) override;
  [[nodiscard]] std::vector<Holder> holders(std::error_code& why) override;
  /// `errc::cannot_break` for whoever holds: see above. Nothing is ever stale: the kernel unlocks what a dead process
  /// held.
  std::error_code break_hold(const Holder& hold, Proof proof) noexcept override;
  void abandon() noexcept override;
  [[nodiscard]] os::Result<std::shared_ptr<claim::Directory>> resolve() override;
  [[nodiscard]] std::shared_ptr<claim::Directory> directory() const noexcept override { return directory_; }

 private:
  friend class KernelAttempt;
  friend class KernelFreeWait;

  /// An open one that was kept, or none.
  [[nodiscard]] std::unique_ptr<KernelFile> take_kept(Mode mode);
  /// The same as `resolve`, by a caller that has just seen that the descriptor of that file is ours still: a program
  /// that closes all of them closes the directory's with it. Null: it has none.
  [[nodiscard]] os::Result<std::shared_ptr<claim::Directory>> resolve_beside(const KernelFile* file);
  void keep(std::unique_ptr<KernelFile> file) noexcept;
  [[nodiscard]] claim::Record new_record(const Request& request);
  /// A lock file or directory that holds the lock on `locked`, in the directory that was resolved.
  [[nodiscard]] std::optional<Failed> find_lock_file(std::string_view locked) const;
  /// By which of this process's holds, or by what the record says, or by somebody unknown; without `except`.
  [[nodiscard]] std::vector<Holder> holders_of(KernelFile& file, Mode wanted,
                                               const KernelHolds::Entry* except = nullptr) const;
  [[nodiscard]] Holder holder_from(const KernelFile& file, const claim::Record& record) const;
  /// Does somebody else hold it?
  [[nodiscard]] os::Result<bool> is_held(const KernelFile& file) const noexcept;

  FilePath path_;
  KernelLock lock_;
  Access access_;
  std::string reason_;
  bool remove_on_release_;
  std::string nonce_;
  std::shared_ptr<claim::Directory> directory_;
  Kept<KernelFile> kept_;
};

/// Waits until nobody holds, and takes nothing but for an instant (flock(2) cannot be asked otherwise).
[[nodiscard]] std::unique_ptr<Attempt> free_wait(KernelFileScheme& scheme);

}  // namespace lockfile::schemes
