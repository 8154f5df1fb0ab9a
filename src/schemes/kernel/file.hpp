// The file of a kernel lock, open: its locks, and the record in it.
//
// The record is the same text as in claims (docs/on-disk-format.md), and it is for people: no lock depends on it. It
// stands only in a file that was made with a record in it; a stranger's file is locked and never written to. A record
// says who held last. That its hold still stands is told by a byte lock of the hold's own, NAME of its number:
//
//   A holds, NAME(7) locked, record 7          looker: record 7, NAME(7) locked: A
//   A: unlocks all of it at once               looker: record 7, NAME(7) free: nobody that is named
//   B locks, reads 7, locks NAME(8)            looker: record 7, NAME(7) free: held by somebody who is not named yet
//   B writes 8                                 looker: record 8, NAME(8) locked: B
//
// So a record is never believed of a foreign locker's hold, and nothing has to be written before a release.
#pragma once

#include "claim/directory.hpp"
#include "claim/guard.hpp"
#include "claim/record.hpp"
#include "os/process.hpp"

#include <lockfile/holder.hpp>
#include <lockfile/options.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace lockfile::schemes {

/// Which lock of the kernel.
enum class KernelLock : std::uint8_t {
  byte,   ///< of one byte, by open file description (F_OFD_SETLK, fcntl(2))
  whole,  ///< flock(2)
};
[[nodiscard]] std::string_view to_string(KernelLock lock) noexcept;

// The bytes lie far beyond the end of the file, so that the record can be read where byte locks are mandatory, and
// inside of what a program locks that locks the whole file (lockf(3), fcntl(2) with length 0).

/// THE lock of scheme kernel.
inline constexpr std::uint64_t kernel_lock_byte = claim::live_byte + 0x4'0000;
/// Locked, shared, by everybody of ours who waits: a release that finds it free need not wake anybody.
inline constexpr std::uint64_t kernel_waiting_byte = kernel_lock_byte + 1;
/// Never locked by itself: whoever has it has locked the whole file, and is no program of ours.
inline constexpr std::uint64_t kernel_never_byte = kernel_lock_byte + 2;
/// Locked, beside the shared lock, by the one upgradable holder; and while it is exclusive.
inline constexpr std::uint64_t kernel_upgradable_byte = kernel_lock_byte + 3;
/// Locked by it while it waits for the others to leave: newcomers of ours wait meanwhile.
inline constexpr std::uint64_t kernel_upgrading_byte = kernel_lock_byte + 4;
/// NAME of a hold's number.
inline constexpr std::uint64_t kernel_first_name_byte = kernel_lock_byte + 0x1'0000;
inline constexpr std::uint64_t kernel_name_bytes = 0x1'0000;
[[nodiscard]] constexpr std::uint64_t kernel_name_byte(std::uint64_t number) noexcept {
  return kernel_first_name_byte + number % kernel_name_bytes;
}

class KernelFile {
 public:
  KernelFile(std::shared_ptr<claim::Directory> directory, std::string name, KernelLock lock)
      : directory_(std::move(directory)), name_(std::move(name)), lock_(lock) {}
  KernelFile(const KernelFile&) = delete;
  KernelFile& operator=(const KernelFile&) = delete;
  /// Closes, if the descriptor still is the file's.
  ~KernelFile();

  /// Opens what stands at the name; ENOENT: nothing. A file that may only be read will do for shared locks, and for
  /// flock. EINVAL: something stands there that is no regular file.
  [[nodiscard]] os::Status open(Mode mode);
  /// To look only.
  [[nodiscard]] os::Status open_to_look();
  /// Makes the file, locked and with the record in it, before it has the name. EEXIST: somebody was first.
  [[nodiscard]] os::Status make(claim::Record& record, Access access);

  /// Was it opened in a way that this mode can do with?
  [[nodiscard]] bool will_do(Mode mode) const noexcept {
    return writable_ || mode == Mode::shared || lock_ == KernelLock::whole;
  }
  /// A program that closes all its descriptors closes ours too, and the number may be another file's by now.
  [[nodiscard]] bool descriptor_is_ours() const noexcept;
  /// Does the name still mean this file?
  [[nodiscard]] os::Result<bool> still_there() const noexcept;

  [[nodiscard]] os::Status try_lock(Mode mode) noexcept;
  /// Upgradable to exclusive, in one step of the kernel's: refused, it is shared as before, and those of ours who come
  /// wait until `end_upgrade`.
  [[nodiscard]] os::Status upgrade() noexcept;
  void end_upgrade() noexcept;
  /// From exclusive, or from upgradable to shared. Refused, it is as before.
  [[nodiscard]] os::Status downgrade(Mode from, Mode to) noexcept;
  /// Everything of ours: the lock, NAME, WAITING and so on. A refusal closes the file, which unlocks as well.
  void unlock() noexcept;
  enum class Name : std::uint8_t { means_it, means_another };
  /// An event for those who wait, if anybody does.
  void wake(Name name) noexcept;

  /// From now on a release wakes us.
  void announce() noexcept;
  void stop_waiting() noexcept;

  /// What the record in the file is.
  enum class Content : std::uint8_t {
    ours,      ///< a record of this scheme, or the torn rest of one
    another,   ///< the file of another scheme: `record.scheme` says which
    stranger,  ///< not a record, or one that cannot be read
  };
  [[nodiscard]] Content read(claim::Record& record);
  /// Names the holder in the record: takes NAME of the next number and writes. False: it is not named, which harms
  /// nothing. Only while the lock is held.
  bool name_holder(const claim::Record& before, claim::Record& record);
  /// Writes the head again: what a hand-over changes.
  [[nodiscard]] os::Status write_head(const claim::Record& record) noexcept;
  /// Does the hold that this record names stand?
  [[nodiscard]] os::Result<bool> is_named(const claim::Record& record) const noexcept;

  /// Closes without touching anything: in a forked child, or for a hold that goes on without us.
  void abandon() noexcept;

  /// The lock file beside it was looked for: once for each opening, since that is no part of the protocol.
  [[nodiscard]] bool first_look_beside() noexcept { return !std::exchange(looked_beside_, true); }

  [[nodiscard]] int descriptor() const noexcept { return file_.get(); }
  [[nodiscard]] const os::FileInfo& info() const noexcept { return info_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] claim::Directory& directory() const noexcept { return *directory_; }
  [[nodiscard]] const std::shared_ptr<claim::Directory>& shared_directory() const noexcept { return directory_; }
  /// A file with a record in it: written to, touched, and removed where that is asked for.
  [[nodiscard]] bool has_record() const noexcept { return has_record_; }
  /// Byte locks beside the lock itself: not where flock(2) is made of byte locks (flock(2), NFS).
  [[nodiscard]] bool has_bytes() const noexcept { return lock_ == KernelLock::byte || directory_->local(); }

 private:
  [[nodiscard]] os::Status learn(int descriptor);
  [[nodiscard]] os::Status try_byte(Mode mode) noexcept;
  [[nodiscard]] os::Result<bool> is_upgrading() const noexcept;
  [[nodiscard]] os::Status make_unnamed(claim::Record& record, std::uint32_t mode, Access access);
  [[nodiscard]] os::Status make_named(claim::Record& record, std::uint32_t mode, Access access);
  void set_mark(std::uint32_t mode) noexcept;
  [[nodiscard]] os::Status write(std::string_view bytes) noexcept;
  [[nodiscard]] os::System& system() const noexcept { return directory_->system(); }

  std::shared_ptr<claim::Directory> directory_;
  std::string name_;
  KernelLock lock_;
  os::Unshared file_;
  os::FileInfo info_;
  std::size_t size_ = 0;  // of what was read last
  bool writable_ = false;
  bool has_record_ = false;
  bool announced_ = false;
  bool upgrading_ = false;
  bool looked_beside_ = false;
};

}  // namespace lockfile::schemes
