// The lock word W: who reads it and who removes it. The link and the mkdir scheme publish in two ways and share
// everything else.
//
// The invariant: every removal or replacement of the name W, while it stands for a hold of inode I, happens with byte
// REMOVE of that hold locked and with "W still is I, and that hold" seen under it. So between that look and the removal
// W cannot come to mean another inode, nor another hold. That is the whole proof that a break never removes a later
// one.
//
//   breaker 1: judges I dead   lock REMOVE(I)  W is I  unlink W
//   breaker 2: judges I dead                                     lock REMOVE(I)  W is J: not I  -> looks again
//   newcomer:                                            link J
//
// W is absent (free), or a regular file (a link to a claim, or a stranger's), or a directory with the claim inside. A
// directory of ours bears a mark, the sticky bit, from the instant it exists: an empty one that is marked is nobody's
// yet and whoever comes may move in; an empty one without it is a plain mkdir locker's hold.
#pragma once

#include "claim/claim.hpp"
#include "claim/directory.hpp"
#include "claim/judge.hpp"
#include "claim/names.hpp"

#include <lockfile/holder.hpp>
#include <lockfile/scheme.hpp>

#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

namespace lockfile::claim {

/// Where the record is.
enum class Form : std::uint8_t {
  file,    ///< W
  inside,  ///< W/holder
  nested,  ///< W/holder/holder: where there are no hard links, a claim comes in inside a small directory
};

/// What stood at W, with descriptors of it: a verdict belongs to a descriptor, for numbers of inodes are given out
/// again.
struct Look {
  enum class State : std::uint8_t {
    free,
    vacant,    ///< a marked empty directory
    held,      ///< somebody's: ours, dead, a stranger's ...
    changing,  ///< it changed while it was looked at
    failed,    ///< `error` says why
  };
  State state = State::free;
  int error = 0;  ///< also where it stands and could not be opened
  Form form = Form::file;
  os::File word;  ///< the directory W; closed when W is a file
  os::FileInfo word_info;
  os::File file;  ///< the file with the record; closed when it cannot be read
  os::FileInfo info;
  bool own = false;      ///< it is the claim that the caller named
  bool foreign = false;  ///< no record of ours
  Record record;
  Judgement judgement{Verdict::unknown, {}};
  ProcessesSeen processes;
  bool processes_visible = false;
};

/// What a hold of ours has made W.
struct Held {
  Form form = Form::file;
  os::FileInfo word_info;  ///< the inode that W refers to while we hold
  os::File word;           ///< keeps the number of a directory that is not the claim's kept one
};

/// What came of trying to remove somebody else's hold.
struct Removal {
  enum class Result : std::uint8_t {
    removed,
    changed,  ///< it is not there any more: look again
    in_turn,  ///< somebody else is at it: look again a little later
    refused,  ///< `error` says why
  };
  Result result = Result::changed;
  std::error_code error;
  std::string what;
};

class Word {
 public:
  /// `names` must outlive it.
  Word(std::shared_ptr<Directory> directory, const Names& names) : directory_(std::move(directory)), names_(&names) {}

  /// A fresh look. Reads only. `own`: the caller's claim, if it has one; `known`: processes that it has looked at
  /// before.
  [[nodiscard]] Look look(const Claim* own, const KnownProcesses* known = nullptr) const;
  /// The holder, for people.
  [[nodiscard]] Holder holder_of(const Look& look) const;
  /// What to sleep on until W changes. Takes the descriptors out of `look`.
  struct Watches {
    std::vector<Watch> on;
    bool all = true;  ///< else something could not be opened to be watched: look again now and then
  };
  [[nodiscard]] Watches watches(Look& look) const;

  /// Moves into a marked empty directory: the claim goes in by a link or inside a small directory, never by creating a
  /// file, since a death before the record is written would leave an unknown holder for ever. 0: held, if W still is
  /// that directory, which is looked at last.
  [[nodiscard]] os::Status move_in(os::File word, Claim& claim, Held& held) const;

  /// Removes a hold that `look` judged dead.
  [[nodiscard]] Removal break_stale(Look& look) const;
  /// Removes that hold (nonce and number), or, where `hold` is null, whoever holds now.
  [[nodiscard]] Removal break_forced(const Holder* hold, bool foreign_too) const;

  [[nodiscard]] os::Result<bool> still_held(const Held& held) const noexcept;

  /// Locks a byte without waiting, except for signals.
  [[nodiscard]] os::Status lock_once(int descriptor, std::uint64_t byte) const noexcept;

  struct Ending {
    bool lost = false;        ///< it had been broken: nothing was touched
    bool claim_gone = false;  ///< the claim is of no more use
    os::Status error = 0;
  };
  /// Ends our hold. Never waits for a breaker that has REMOVE: it may be stopped.
  [[nodiscard]] Ending release(Claim& claim, Held& held) const;

  [[nodiscard]] Directory& directory() const noexcept { return *directory_; }
  [[nodiscard]] const Names& names() const noexcept { return *names_; }

 private:
  void look_at_file(Look& look, const Claim* own, const KnownProcesses* known) const;
  bool enter_word(Look& look) const;
  [[nodiscard]] Judgement judge_record(Look& look, Reading reading, const KnownProcesses* known) const;
  [[nodiscard]] bool name_of_earlier_boot(const Look& look) const;
  [[nodiscard]] os::Result<bool> still_is(const Look& look) const noexcept;
  [[nodiscard]] os::File open_for_removal(const Look& look, Removal& removal) const;
  [[nodiscard]] bool maker_has_ended(const Look& look) const;
  [[nodiscard]] bool remove_byte_reaches_holder(const Look& look) const;
  [[nodiscard]] Removal remove(const Look& look) const;
  [[nodiscard]] Removal remove_foreign(const Look& look) const;
  [[nodiscard]] Removal refused(os::Status error, const Look& look, std::string what) const;
  [[nodiscard]] os::System& system() const noexcept { return directory_->system(); }
  [[nodiscard]] const char* name() const noexcept { return names_->word().c_str(); }

  std::shared_ptr<Directory> directory_;
  const Names* names_;
};

}  // namespace lockfile::claim
