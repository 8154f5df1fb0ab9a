// The two schemes that are files: link and mkdir. They have one reader and remover of the lock word (claim/word.hpp)
// and two ways to publish a claim as W. Two processes A and B, link scheme:
//
//   1. A: make the claim (once): unnamed file, LIVE locked, record written, then its own name `W.<nonce>`
//   2. A: write number and mode, one write                          B: the same with its own
//   3. A: link(claim, W): done, A holds
//   4.                                                              B: link(claim, W): EEXIST
//   5.                                                              B: look at W: A's record; LIVE is locked: alive
//   6.                                                              B: watch the inode and A's process, step again: 4,
//   5
//   7. A: lock REMOVE of its inode, see that W is it, unlink W      B: sleeps
//   8. A: unlock REMOVE                                             B: IN_ATTRIB; link(claim, W): done, B holds
//
// If A is killed after 3, B learns it from A's pidfd, judges A dead, and removes W under REMOVE of A's inode.
//
// mkdir scheme: the claim sits in a kept directory `W.<nonce>.dir`; 3 is a rename of it to W that replaces nothing, 7 a
// rename back. Where the file system cannot rename without replacing, 3 is a mkdir of W with a mark, and the claim
// moves in.
//
// What it costs: whoever wants the lock writes a file of some 400 bytes beside it; across hosts the death of a holder
// cannot be proved; waiters are woken in no order (schemes/lined/scheme.hpp puts them in a line).
#pragma once

#include "claim/claim.hpp"
#include "claim/lease.hpp"
#include "claim/word.hpp"
#include "schemes/file_path.hpp"
#include "schemes/file_scheme.hpp"
#include "schemes/kept.hpp"

#include <lockfile/options.hpp>
#include <lockfile/scheme.hpp>

#include <memory>
#include <string>
#include <vector>

namespace lockfile::schemes {

/// How a claim becomes W.
enum class Publish : std::uint8_t {
  automatic,  ///< by link where the trial of the file system passes, else by mkdir
  link,
  mkdir,
};

inline constexpr Traits lock_file_traits = {.shared = true,
                                            .upgradable = true,
                                            .fair = true,
                                            .fence = true,
                                            .lease = true,
                                            .crash_recovery = true,
                                            .forced_break = true,
                                            .across_hosts = true,
                                            .event_wait = true,
                                            .handed_over = true};

/// The group of readers that was entered last. Its name never comes again, so whoever can enter it has entered W's.
class OpenGroup {
 public:
  void remember(const std::shared_ptr<claim::Directory>& directory, claim::Look& look) noexcept;
  void forget() noexcept;
  /// Its name; null: none is known in that directory.
  [[nodiscard]] const std::string* in(const claim::Directory& directory) const noexcept;
  [[nodiscard]] int file() const noexcept { return file_.get(); }

 private:
  std::shared_ptr<claim::Directory> directory_;
  std::string name_;
  os::File file_;
  os::FileInfo info_;
};

class LockFileScheme final : public FileScheme {
 public:
  LockFileScheme(FilePath path, Publish publish, const Options& options);
  ~LockFileScheme() override;

  [[nodiscard]] std::string_view name() const noexcept override;
  [[nodiscard]] Traits traits() const noexcept override { return lock_file_traits; }
  [[nodiscard]] std::unique_ptr<FileAttempt> file_attempt(const Request& request) override;
  [[nodiscard]] std::vector<Holder> holders(std::error_code& why) override;
  std::error_code break_hold(const Holder& hold, Proof proof) noexcept override;
  void abandon() noexcept override;
  [[nodiscard]] os::Result<std::shared_ptr<claim::Directory>> resolve() override;
  [[nodiscard]] std::shared_ptr<claim::Directory> directory() const noexcept override { return directory_; }

 private:
  friend class LockFileAttempt;
  friend class LockFileFreeWait;

  [[nodiscard]] claim::Claim::Made take_claim(const std::shared_ptr<claim::Directory>& directory);
  void keep_claim(std::unique_ptr<claim::Claim> claim) noexcept;
  void drop_kept() noexcept;
  /// A look, and what it and the looks before tell of a lease.
  [[nodiscard]] claim::Look look_at(const claim::Word& word, const claim::Claim* own = nullptr,
                                    const claim::KnownProcesses* known = nullptr,
                                    claim::Word::Into into = claim::Word::Into::group);
  [[nodiscard]] std::error_code break_once(const Holder& hold, Proof proof, bool& again);

  FilePath path_;
  claim::Names names_;
  Publish publish_;
  claim::ClaimTerms terms_;
  bool fence_;  // exclusive holds are numbered
  std::shared_ptr<claim::Directory> directory_;
  OpenGroup open_group_;
  Kept<claim::Claim> kept_;
  claim::LeaseSeen lease_seen_;
  bool swept_ = false;  // what the dead left beside this lock has been cleared once
};

/// Waits until the lock is free and takes nothing; a step grants when nobody holds.
[[nodiscard]] std::unique_ptr<Attempt> free_wait(LockFileScheme& scheme);

}  // namespace lockfile::schemes
