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
//
// Readers: one that is alone holds as a writer does, with a record that says shared. Several form a group: W is then a
// link to a group file G, which names a directory D beside W, and each reader has an entry in D, a second name of its
// claim. D's name is never used twice. The kernel's refusal to remove a directory that is not empty is the count of
// readers: entering D succeeds as long as D has not been removed, and that it succeeded is the proof of a shared hold;
// that D was removed is the proof that nobody is in, and then W may go, under REMOVE of G.
//
//   reader 1: unlink its entry   rmdir D: done                       lock REMOVE(G)  W is G  unlink W
//   reader 2:                                    link into D: ENOENT                                  looks again
#pragma once

#include "claim/claim.hpp"
#include "claim/directory.hpp"
#include "claim/judge.hpp"
#include "claim/names.hpp"

#include <lockfile/holder.hpp>
#include <lockfile/scheme.hpp>

#include <cerrno>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

namespace lockfile::claim {

[[nodiscard]] inline bool is_gone(os::Status error) noexcept { return error == ENOENT || error == ENOTDIR; }

/// Where the record is.
enum class Form : std::uint8_t {
  file,    ///< W
  inside,  ///< W/holder
  nested,  ///< W/holder/holder: where there are no hard links, a claim comes in inside a small directory
  entry,   ///< an entry in the directory of the group that W names
};

/// One reader of a group.
struct Member {
  std::string entry;  ///< its name in the group's directory
  os::FileInfo info;
  bool foreign = false;
  Record record;
  Judgement judgement{Verdict::unknown, {}};
  ProcessesSeen processes;
  bool processes_visible = false;
};

/// The group that W names.
struct Group {
  std::string directory;  ///< D, beside W
  os::File opened;        ///< D; closed where D is gone, or was not looked into
  os::FileInfo info;
  std::vector<Member> members;
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
  std::string
      another;  ///< foreign: the file of a scheme of ours that is no lock file, which neither excludes the other
  Record record;
  Judgement judgement{Verdict::unknown, {}};
  ProcessesSeen processes;
  bool processes_visible = false;
  bool expired = false;  ///< its lease is over, by what the caller has seen of it
  /// How long the lease lasts yet, as far as the caller has seen.
  std::optional<std::chrono::nanoseconds> lease_left;
  os::File besides;  ///< whose change matters too: the record of a reader that may become a weaker one
  os::FileInfo besides_info;
  std::optional<Group> group;  ///< then `judgement` and `processes` are those of a member that keeps W, if one does
};

/// What a hold of ours has made W.
struct Held {
  Form form = Form::file;
  os::FileInfo word_info;  ///< the inode that W refers to while we hold; of an entry: not used
  os::File word;           ///< keeps the number of a directory that is not the claim's kept one
  std::string group = {};  ///< of an entry: the group's directory
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

/// The file of a group whose upgradable reader waits for the others to leave: UPGRADE of it is locked.
struct Upgrading {
  os::Unshared file;
  os::FileInfo info;
};

/// What came of one try to change how a hold is held.
struct Conversion {
  enum class Result : std::uint8_t {
    done,
    again,    ///< what it rested on has changed
    kept_up,  ///< by those in `look`
    in_turn,  ///< somebody else is at W, or at this hold
    lost,     ///< the hold had been broken
    refused,  ///< `error` says why; the hold is as before
  };
  Result result = Result::again;
  std::error_code error;
  std::string what;
  std::optional<Look> look;
};

class Word {
 public:
  /// `names` must outlive it.
  Word(std::shared_ptr<Directory> directory, const Names& names) : directory_(std::move(directory)), names_(&names) {}

  /// A fresh look. Reads only. `own`: the caller's claim, if it has one; `known`: processes that it has looked at
  /// before.
  enum class Into : std::uint8_t {
    word,                ///< a group's members are left alone
    group,               ///< they are looked at, each
    group_under_remove,  ///< likewise, by whoever has REMOVE of its file locked
  };
  [[nodiscard]] Look look(const Claim* own, const KnownProcesses* known = nullptr, Into into = Into::group) const;
  /// The holder, for people; of a group, one that keeps W.
  [[nodiscard]] Holder holder_of(const Look& look) const;
  /// All of them, those that keep W first. A group without members has none.
  [[nodiscard]] std::vector<Holder> holders_of(const Look& look) const;
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

  // Shared holds.
  /// Enters the group that W names. ENOENT: it has closed, or the claim was cleared.
  [[nodiscard]] os::Status join(const Look& look, Claim& claim, Held& held) const {
    return join(look.group->directory, claim, held);
  }
  /// Also without a look at W: a group's name never comes again, so this one is open, or it is ENOENT.
  [[nodiscard]] os::Status join(const std::string& group, Claim& claim, Held& held) const;
  /// Makes W a group with `claim` as its first reader. EEXIST: W is there.
  [[nodiscard]] os::Status make_group(Claim& claim, Access access, Held& held) const;
  /// Makes a group of the reader that holds W alone and of `claim`. `removed`: done.
  [[nodiscard]] Removal join_lone_reader(const Look& look, Claim& claim, Access access, Held& held) const;

  // Upgradable holds, in upgrade.cpp.
  /// Leaves of the readers in `look` the one that is upgradable and may live. False: there is none.
  [[nodiscard]] bool narrow_to_upgradable(Look& look) const;
  /// Is UPGRADE of that group's file locked?
  [[nodiscard]] bool upgrade_seen(int file) const noexcept;
  /// Does the upgradable reader of the group wait for the others to leave? Then `look` is narrowed to it, or foreign:
  /// it has stepped out.
  [[nodiscard]] bool is_upgrading(const Look& seen, const KnownProcesses* known, Look& look) const;
  /// Do byte locks keep all apart who may come here, and so two upgradable readers?
  [[nodiscard]] bool can_be_upgradable() const;
  /// Enters the group as its upgradable reader. `removed`: done. `changed`: there is one by now, or it has closed.
  [[nodiscard]] Removal join_upgradable(const Look& look, Claim& claim, Held& held) const;
  /// One try to make our upgradable hold exclusive.
  [[nodiscard]] Conversion upgrade(Claim& claim, Held& held, Upgrading& upgrading, const KnownProcesses* known) const;
  void end_upgrade(Upgrading& upgrading) const noexcept;
  /// One try to make our exclusive hold upgradable or shared, or the upgradable one shared.
  [[nodiscard]] Conversion downgrade(Claim& claim, Held& held, Mode to, Access access) const;

  /// Removes a hold that `look` judged dead.
  [[nodiscard]] Removal break_stale(Look& look) const;
  /// Removes a hold that `look` found expired.
  [[nodiscard]] Removal break_expired(const Look& look) const;
  /// Removes that hold (nonce and number), or, where `hold` is null, whoever holds now.
  [[nodiscard]] Removal break_forced(const Holder* hold, bool foreign_too) const;

  [[nodiscard]] os::Result<bool> still_held(const Claim& claim, const Held& held) const noexcept;

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
  void look_at_file(Look& look, const Claim* own, const KnownProcesses* known, Into into) const;
  void look_at_group(Look& look, const KnownProcesses* known) const;
  void look_at_members(Look& look, const KnownProcesses* known) const;
  [[nodiscard]] bool one_is_outside(const Look& look) const;
  [[nodiscard]] Member look_at_member(const Group& group, std::string entry, const KnownProcesses* known) const;
  void sum_up(Look& look) const;
  [[nodiscard]] Holder holder_in(const Look& look, const Member& member) const;
  [[nodiscard]] os::Result<std::string> prepare_group(Claim& claim, Access access, std::uint64_t counter) const;
  void undo_group(Claim& claim, std::uint64_t counter) const noexcept;
  [[nodiscard]] os::Result<std::string> group_of(const Claim& claim) const;
  [[nodiscard]] Ending leave(Claim& claim, const std::string& group) const;
  [[nodiscard]] Conversion upgrade_alone(Claim& claim, Held& held) const;
  [[nodiscard]] Conversion upgrade_member(Claim& claim, Held& held, Upgrading& upgrading,
                                          const KnownProcesses* known) const;
  [[nodiscard]] Conversion close_and_replace(const Look& look, Claim& claim, Held& held) const;
  [[nodiscard]] Conversion replace_group(const Look& look, Claim& claim, const std::string& outside, Held& held) const;
  [[nodiscard]] Conversion downgrade_alone(Claim& claim, Held& held, Mode to) const;
  [[nodiscard]] Conversion downgrade_to_group(Claim& claim, Held& held, Mode to, Access access) const;
  [[nodiscard]] Conversion lock_own_word(Claim& claim, const Held& held) const;
  void unlock_own_word(const Claim& claim) const noexcept;
  [[nodiscard]] os::Status put_group_over_word(const std::string& file, std::uint64_t counter, const Claim& claim,
                                               const std::string& members) const;
  void begin_upgrade(const Look& look, Upgrading& upgrading) const;
  void drop_group_name(const Look& look) const noexcept;
  [[nodiscard]] Removal close_group(Look& look) const;
  [[nodiscard]] Removal remove_group(const Look& look, bool closed_by_us) const;
  [[nodiscard]] Removal break_member(const Look& look, const Member& member) const;
  [[nodiscard]] Removal break_unseen_member(const Look& look, const Holder& hold) const;
  bool enter_word(Look& look) const;
  [[nodiscard]] Judgement judge_record(Look& look, Reading reading, const KnownProcesses* known) const;
  [[nodiscard]] bool name_of_earlier_boot(const Look& look) const;
  [[nodiscard]] os::Result<bool> still_is(const Look& look) const noexcept;
  [[nodiscard]] os::File open_for_removal(const Look& look, Removal& removal) const;
  [[nodiscard]] bool maker_has_ended(const Look& look) const;
  [[nodiscard]] bool remove_byte_reaches_holder(const Look& look) const;
  [[nodiscard]] os::Status removed_by(os::Status error, const Look& look) const noexcept;
  [[nodiscard]] Removal remove(const Look& look) const;
  [[nodiscard]] Removal remove_foreign(const Look& look) const;
  [[nodiscard]] Removal refused(os::Status error, const Look& look, std::string what) const;
  [[nodiscard]] os::System& system() const noexcept { return directory_->system(); }
  [[nodiscard]] const char* name() const noexcept { return names_->word().c_str(); }

  std::shared_ptr<Directory> directory_;
  const Names* names_;
};

}  // namespace lockfile::claim
