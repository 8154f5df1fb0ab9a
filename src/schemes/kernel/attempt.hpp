// One attempt on a kernel lock, then the hold.
#pragma once

#include "os/backoff.hpp"
#include "schemes/kernel/scheme.hpp"

#include <memory>
#include <optional>

namespace lockfile::schemes {

/// When to look again at a kernel lock: an event of a close comes before the lock drops, and an unlocking without a
/// close gives none.
class KernelLooks {
 public:
  /// What to sleep on, and until when.
  void plan(const KernelFile& file, Blocked& blocked);

 private:
  os::Backoff unwatched_{std::chrono::milliseconds(2), std::chrono::milliseconds(250)};
  std::size_t looks_ = 0;
  std::optional<std::chrono::steady_clock::time_point> planned_;
};

class KernelAttempt final : public FileAttempt {
 public:
  KernelAttempt(KernelFileScheme& scheme, const Request& request);
  ~KernelAttempt() override;

  Step step() noexcept override;
  std::optional<Blocked> withdraw() noexcept override;
  std::error_code release() noexcept override;
  Step convert(Mode to) noexcept override;
  void end_conversion() noexcept override;
  bool still_held(std::error_code& why) noexcept override;
  void abandon() noexcept override;
  [[nodiscard]] std::optional<bool> would_enter() override;
  std::error_code hand_over(std::int64_t child) noexcept override;
  std::optional<int> share_guard(std::error_code& why) noexcept override;
  bool outlives_us() noexcept override;

 private:
  [[nodiscard]] Step try_step();
  [[nodiscard]] Step try_convert(Mode to);
  void tell_mode() noexcept;
  /// The directory that the path names now. The file that is open, or a kept one, stays if it is one of that directory.
  [[nodiscard]] os::Result<std::shared_ptr<claim::Directory>> open_directory();
  /// That file, or the one that the name means; none is made.
  [[nodiscard]] os::Status open_file(const std::shared_ptr<claim::Directory>& directory);
  /// Opens or makes the file. `made`: it is ours already, locked before it had its name. `for_now`: refused in a way
  /// that another try may mend.
  [[nodiscard]] std::optional<Failed> prepare(bool& made, Failed& for_now);
  /// Locked, and the name still means the file: reads and writes the record. Nothing: ours.
  [[nodiscard]] std::optional<Failed> come_in();
  [[nodiscard]] Step granted() noexcept;
  [[nodiscard]] Blocked blocked(Mode wanted, const KernelHolds::Entry* except = nullptr);
  using Name = KernelFile::Name;
  void give_back(Name name) noexcept;
  bool remove_file() noexcept;
  [[nodiscard]] std::string quoted() const;
  [[nodiscard]] os::System& system() const noexcept { return file_->directory().system(); }

  KernelFileScheme& scheme_;
  Request request_;
  KernelHolds& holds_;
  std::unique_ptr<KernelFile> file_;
  claim::Record record_;
  bool named_ = false;   // the record in the file is this hold's
  bool shared_ = false;  // a guard was given out
  std::int64_t child_ = 0;
  std::uint64_t child_start_ = 0;
  KernelHolds::Entry entry_;
  KernelLooks looks_;
};

}  // namespace lockfile::schemes
