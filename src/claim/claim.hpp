// A claim: a small file with a name of its own, guarded by kernel locks on its inode, that says who would hold the
// lock. It is complete and guarded before any name refers to it, and is kept between holds: then an acquire is one
// link of a kept inode and a release one unlink.
#pragma once

#include "claim/directory.hpp"
#include "claim/names.hpp"
#include "claim/record.hpp"
#include "claim/trial.hpp"
#include "os/process.hpp"

#include <lockfile/options.hpp>

#include <memory>
#include <optional>
#include <string>

namespace lockfile::claim {

/// What all claims of one lock object have in common.
struct ClaimTerms {
  Access access = Access::by_umask;
  std::string reason;
  std::string_view scheme;             ///< empty: link where the trial passes, else mkdir
  std::chrono::milliseconds lease{0};  ///< 0: none
};

class Claim {
 public:
  struct Made {
    std::unique_ptr<Claim> claim;  ///< null: failed
    int error = 0;
    os::Call failed = os::Call::open;
  };
  /// Makes a claim in `directory`, guarded where the file system can, and tries the file system out if it is the first
  /// there. Bounded; leaves nothing behind on failure.
  [[nodiscard]] static Made make(std::shared_ptr<Directory> directory, const Names& names, const ClaimTerms& terms);

  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;
  /// Closes. What has a name stays; `drop` removes it.
  ~Claim() = default;

  /// Writes number and mode of a new hold, in one write, while only the claim's own name refers to it.
  [[nodiscard]] os::Status begin_hold(Mode mode, std::int64_t thread) noexcept;
  /// The number that was begun is a hold now. One that was not granted serves again: then the bytes of REMOVE that have
  /// been used stay neighbours, which the kernel keeps as one lock.
  void hold_granted() noexcept { number_used_ = true; }
  [[nodiscard]] bool number_is_used() const noexcept { return number_used_; }
  /// The mode of a hold that stands, in one write. Refused: it is as before. A weaker one that may have reached the
  /// server is not refused.
  [[nodiscard]] os::Status change_mode(Mode mode) noexcept;
  /// Names the process that the hold lasts for besides this one.
  [[nodiscard]] os::Status name_child(std::int64_t pid, std::uint64_t start) noexcept;
  /// Writes another count of renewals, and waits for the disk or the server (fsync(2)).
  [[nodiscard]] os::Status renew() noexcept;
  /// Gives the hold and the claim up where W may not be removed: the guard first, then the mark, whose write is the
  /// event that wakes waiters. A close alone would not do: its event goes out before the locks drop (and a forked
  /// child's copy keeps them). The claim is of no more use.
  [[nodiscard]] os::Status give_up() noexcept;

  /// Before the claim gives up its own name, which tells after a power cut of which boot it was: its record will.
  /// Writing the head in place later loses nothing. On a network file system each write is durable.
  [[nodiscard]] os::Status make_durable() noexcept;

  /// mkdir scheme: moves the claim into a directory of its own, the one that is published and kept.
  [[nodiscard]] os::Status enter_directory(Access access) noexcept;
  /// And out again.
  [[nodiscard]] os::Status leave_directory() noexcept;

  // Shared holds. `entry` is a path in the claim's directory: `<the group's directory>/<nonce>.<number>`.
  /// A number for a group that this claim makes; never the same again.
  [[nodiscard]] std::uint64_t next_group() noexcept { return ++groups_; }
  /// Gives the claim that name as well; without hard links, instead of its own. ENOENT: the group has closed, or the
  /// claim was cleared.
  [[nodiscard]] os::Status enter_group(const std::string& entry) noexcept;
  /// And takes it back. ENOENT: it was not there.
  [[nodiscard]] os::Status leave_group(const std::string& entry) noexcept;
  /// Out of a group by a name beside W, `outside`, which never stands for anything: the way to W or back. Without hard
  /// links it is the claim's own name, and its only one. ENOENT: the entry was not there.
  [[nodiscard]] os::Status step_out(const std::string& entry, std::string& outside);
  /// ENOENT: the group has closed.
  [[nodiscard]] os::Status step_in(const std::string& outside, const std::string& entry) noexcept;

  /// Removes the claim's own names and closes. In a forked child: closes only.
  void drop() noexcept;
  /// Closes and leaves every name: somebody else's hold, or one that goes on without us.
  void abandon() noexcept;

  /// Is our descriptor still the claim's? A program that closes all descriptors (to become a daemon) closes ours too,
  /// and the number is soon another file's: never write to it, and never close it.
  [[nodiscard]] bool descriptor_is_ours() const noexcept;
  /// Was the claim cleared by somebody (its inode has no name any more)?
  [[nodiscard]] bool cleared() const noexcept;

  [[nodiscard]] int descriptor() const noexcept { return file_.get(); }
  [[nodiscard]] const os::FileInfo& info() const noexcept { return *info_; }
  [[nodiscard]] const Record& record() const noexcept { return record_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] const Trial& trial() const noexcept { return trial_; }
  [[nodiscard]] Directory& directory() const noexcept { return *directory_; }
  [[nodiscard]] const std::shared_ptr<Directory>& shared_directory() const noexcept { return directory_; }
  /// The name of the kept directory; empty: the claim is a file beside W.
  [[nodiscard]] const std::string& directory_name() const noexcept { return directory_name_; }
  [[nodiscard]] const os::FileInfo& directory_info() const noexcept { return directory_info_; }
  /// `Directory::arrived` of the claim's file.
  [[nodiscard]] os::Status arrived(os::Status error, int at, const char* name) const noexcept;
  /// The claim is W itself, or sits in W/holder, and has no name of its own beside W.
  void set_moved_into_word() noexcept { name_.clear(); }

 private:
  enum class Tried : std::uint8_t { made, again, failed };

  Claim(std::shared_ptr<Directory> directory, const Names& names, const ClaimTerms& terms);
  Tried make_once(Access access, os::Status& error, os::Call& failed);
  Tried make_unnamed(std::uint32_t mode, Access access, os::Status& error, os::Call& failed);
  Tried make_named(std::uint32_t mode, Access access, os::Status& error, os::Call& failed);
  os::Status guard_and_write(Access access, os::Call& failed);
  os::Status learn_trial();
  [[nodiscard]] os::Status write_head(bool* untouched = nullptr) noexcept;
  [[nodiscard]] os::Status write(std::string_view bytes, bool* untouched = nullptr) noexcept;
  [[nodiscard]] os::System& system() const noexcept { return directory_->system(); }

  std::shared_ptr<Directory> directory_;
  Names names_;
  Record record_;
  std::string name_;
  os::Unshared file_;
  std::optional<os::FileInfo> info_;  // none while it is being made
  bool live_locked_ = false;
  bool number_used_ = true;
  bool durable_ = false;
  std::uint64_t groups_ = 0;
  Trial trial_;
  std::string directory_name_;
  os::File kept_;  // open while the directory is kept, so that its inode number stays its own
  os::FileInfo directory_info_;
};

/// The mode that files and directories of a lock get beyond the umask; 0: what the umask gives.
[[nodiscard]] std::uint32_t mode_for(Access access, os::FileType type) noexcept;

}  // namespace lockfile::claim
