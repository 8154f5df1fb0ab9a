// Reading and removing the lock word.
#include "claim/word.hpp"

#include "claim/guard.hpp"
#include "claim/passed.hpp"
#include "claim/record_file.hpp"
#include "os/watch.hpp"

#include <lockfile/error.hpp>

#include <algorithm>
#include <cerrno>

namespace lockfile::claim {
namespace {

// What a refused call on a file that was open already means. Where files are found by path again at each call (FUSE),
// or a server forgets them (NFS), one whose last name went meanwhile is not there any more: W has changed hands.
Look::State state_of(int error) noexcept {
  return is_gone(error) || error == ESTALE ? Look::State::changing : Look::State::failed;
}

// Makes what was opened the file that is looked at. False: it could not be, and `look` says why.
bool take_file(os::System& system, int descriptor, Look& look) {
  look.file = os::File(system, descriptor);
  const auto info = system.stat(descriptor);
  if (!info.ok()) {
    look.state = state_of(info.error);
    look.error = info.error;
    return false;
  }
  look.info = info.value;
  return true;
}

// Somebody's, though it cannot be opened: a symbolic link, a socket or device, a file without the right to read, one
// with a lease (fcntl(2), F_SETLEASE).
bool is_not_to_be_opened(int error) noexcept {
  return error == ELOOP || error == ENXIO || error == ENODEV || error == EACCES || error == EPERM || error == EAGAIN;
}

}  // namespace

Look Word::look(const Claim* own, const KnownProcesses* known, Into into) const {
  Look look;
  const auto opened = system().open(directory_->descriptor(), name(), os::Open::look, 0);
  if (!opened.ok()) {
    if (is_gone(opened.error)) return look;
    look.state = Look::State::failed;
    look.error = opened.error;
    if (!is_not_to_be_opened(opened.error)) return look;
    const auto info = system().stat_at(directory_->descriptor(), name(), os::Links::keep);
    if (is_gone(info.error)) return {};
    if (!info.ok()) {
      look.error = info.error;  // not reached by tests: refused twice, with two numbers
      return look;
    }
    look.state = Look::State::held;
    look.info = info.value;
    look.foreign = true;
    look.judgement.note = info.value.type == os::FileType::symlink   ? "a symbolic link"
                          : info.value.type == os::FileType::regular ? "its record cannot be read"
                                                                     : "neither a readable file nor a directory";
    return look;
  }
  look.state = Look::State::held;
  if (!take_file(system(), opened.value, look)) return look;
  if (look.info.type == os::FileType::directory && !enter_word(look)) return look;
  look_at_file(look, own, known, into);
  return look;
}

// W is a directory: finds the record inside. False: there is none, and `look` says what it is.
bool Word::enter_word(Look& look) const {
  look.word = std::move(look.file);
  look.word_info = look.info;
  look.form = Form::inside;
  int at = look.word.get();
  os::File small;
  for (;;) {
    const auto opened = system().open(at, holder_name, os::Open::look, 0);
    if (opened.ok()) {
      if (!take_file(system(), opened.value, look)) return false;
      if (look.info.type != os::FileType::directory || look.form == Form::nested) return true;
      small = std::move(look.file);
      at = small.get();
      look.form = Form::nested;
      continue;
    }
    look.foreign = true;
    look.judgement.note = "its record cannot be read";
    if (!is_gone(opened.error)) {
      look.error = opened.error;
      if (!is_not_to_be_opened(opened.error)) look.state = Look::State::failed;
      return false;
    }
    const auto entries = system().list(look.word.get());
    if (!entries.ok() && entries.error != EACCES) {
      look.state = state_of(entries.error);
      look.error = entries.error;
      return false;
    }
    const bool marked = (look.word_info.mode & os::sticky) != 0;
    if (entries.ok() && entries.value.empty() && marked && look.form == Form::inside) {
      look.state = Look::State::vacant;
      return false;
    }
    look.judgement.note = "a directory of another program";
    return false;
  }
}

void Word::look_at_file(Look& look, const Claim* own, const KnownProcesses* known, Into into) const {
  if (own != nullptr && own->info().same_inode(look.info)) {
    look.own = true;
    return;
  }
  if (look.info.type != os::FileType::regular) {
    look.foreign = true;
    look.judgement.note = "neither a file nor a directory";
    return;
  }
  // A kept claim serves many holds. Which one stands at W: read the record, see that W still is this inode, read again.
  // One read alone may show the number of a hold that is not yet granted, or was over before.
  auto bytes = read_record_bytes(system(), look.file.get());
  if (!bytes.ok()) {
    look.state = state_of(bytes.error);
    look.error = bytes.error;
    return;
  }
  if (auto members = parse_group(bytes.value); members && look.form == Form::file) {
    // Only beside W, by a name that a claim of this lock gives: what a file says leads nowhere else.
    const auto side = parse_side_name(*members);
    if (!side || !side->suffix.ends_with(suffix::members) || *members != names_->side(side->nonce, side->suffix)) {
      look.foreign = true;
      look.judgement.note = "not a group of readers";
      return;
    }
    look.group.emplace();
    look.group->directory = *std::move(members);
    if (into == Into::group) look_at_group(look, known);
    if (into == Into::group_under_remove) look_at_members(look, known);
    return;
  }
  const Reading reading = parse(bytes.value, look.record);
  look.foreign = reading != Reading::record || !is_lock_file_scheme(look.record.scheme);
  if (look.foreign) look.another = scheme_of(bytes.value);
  if (is_lock_file_scheme(look.another)) look.another.clear();  // a record of ours, and something behind it
  // Their files stay when nobody holds, and their guards are others: who is named there may be dead for long.
  look.judgement = look.another.empty() ? judge_record(look, reading, known)
                                        : Judgement{Verdict::unknown, "the file of another scheme"};

  const auto same = still_is(look);
  const auto again = read_record_bytes(system(), look.file.get());
  if (!same.ok() || !again.ok()) {
    look.state = state_of(same.ok() ? again.error : same.error);
    look.error = same.ok() ? again.error : same.error;
  } else if (!same.value || again.value != bytes.value) {
    look.state = Look::State::changing;
  }
}

Judgement Word::judge_record(Look& look, Reading reading, const KnownProcesses* known) const {
  Evidence seen = gather_evidence(*directory_, look.file.get(), reading, look.record, look.processes, known);
  look.processes_visible = seen.processes_visible();
  if (reading == Reading::empty && seen.guard == Guard::free) seen.earlier_boot_by_name = name_of_earlier_boot(look);
  return judge(seen);
}

// A power cut keeps names and loses bytes. The claim's own name is then the only witness: it is a second name of the
// inode that is open here, and its nonce begins with a hash of the boot id of its maker.
bool Word::name_of_earlier_boot(const Look& look) const {
  const auto names = system().list(directory_->descriptor());
  // Not reached by tests: of an earlier boot, and beside a directory that cannot be read.
  if (!names.ok()) return false;
  return std::any_of(names.value.begin(), names.value.end(), [&](const std::string& each) {
    const auto side = parse_side_name(each);
    const bool of_a_word = side && (side->suffix.empty() || side->suffix.ends_with(suffix::group));
    if (!of_a_word || each != names_->side(side->nonce, side->suffix)) return false;
    if (!nonce_of_earlier_boot(*directory_, side->nonce)) return false;
    const auto same = directory_->refers_to(each.c_str(), look.info);
    return same.ok() && same.value;
  });
}

// Does W still refer to what was looked at, and has the record inside not been exchanged?
os::Result<bool> Word::still_is(const Look& look) const noexcept {
  if (!look.word.is_open()) return directory_->refers_to(name(), look.info);
  const auto word = directory_->refers_to(name(), look.word_info);
  if (!word.ok() || !word.value || !look.file.is_open()) return word;
  return directory_->refers_to(look.word.get(), look.form == Form::nested ? nested_name : holder_name, look.info);
}

Holder Word::holder_of(const Look& look) const {
  Member only;
  if (look.group) {
    const auto& all = look.group->members;
    const auto keeps = std::find_if(all.begin(), all.end(),
                                    [](const Member& each) { return each.judgement.verdict != Verdict::dead; });
    if (keeps != all.end()) return holder_in(look, *keeps);
    only.judgement = look.judgement;
    only.foreign = look.foreign;
    only.info = look.info;
    only.record.mode = Mode::shared;
    return holder_in(look, only);
  }
  only.info = look.info;
  only.foreign = look.foreign;
  only.record = look.record;
  only.judgement = look.judgement;
  only.processes_visible = look.processes_visible;
  return holder_in(look, only);
}

std::vector<Holder> Word::holders_of(const Look& look) const {
  std::vector<Holder> all;
  if (!look.group || look.foreign) {
    all.push_back(holder_of(look));
  } else {
    for (const Member& each : look.group->members) all.push_back(holder_in(look, each));
    std::stable_partition(all.begin(), all.end(), [](const Holder& each) { return each.verdict != Verdict::dead; });
  }
  return all;
}

Holder Word::holder_in(const Look& look, const Member& member) const {
  Holder holder;
  holder.foreign = member.foreign;
  holder.verdict = member.judgement.verdict;
  holder.note = member.judgement.note;
  holder.uid = member.info.uid;
  // Linking a file and renaming a directory change it; so does a hand-over, at the beginning of a hold.
  const bool a_file = look.form == Form::file;
  holder.since = a_file ? member.info.changed : look.word_info.changed;
  const Record& record = member.record;
  holder.mode = record.mode;
  if (member.foreign) return holder;
  holder.scheme = record.scheme;
  holder.nonce = record.nonce;
  holder.number = record.number;
  holder.host = record.host;
  holder.pid = record.pid;
  holder.handed_to = record.child;
  holder.thread = record.thread;
  holder.program = record.program;
  holder.reason = record.reason;
  holder.lease = record.lease;
  holder.expired = look.expired;
  holder.lease_left = look.lease_left;
  holder.this_process = member.processes_visible && is_of_process(record, directory_->process().identity());
  if (holder.this_process) {
    const auto passed_to = directory_->process().part<PassedOn>().thread_of(record.nonce);
    if (passed_to) holder.thread = *passed_to;
  }
  return holder;
}

Word::Watches Word::watches(Look& look) const {
  Watches watches{std::move(look.processes.watches)};
  const auto watch = [&](os::File& file, const os::FileInfo& info, os::Notice notice) {
    watches.on.push_back(os::WatchSource::inode(std::move(file), info, notice));
  };
  // Names that come and go: for what cannot be watched itself, such as a plain locker's directory, whose rmdir is not
  // reported while anybody has it open; and on file systems that report names only.
  const auto watch_directory = [&] {
    const auto opened = system().open(directory_->descriptor(), ".", os::Open::directory, 0);
    if (!opened.ok()) return false;
    os::File file(system(), opened.value);
    const auto info = system().stat(file.get());
    if (info.ok()) watch(file, info.value, os::Notice::contents);
    return info.ok();
  };
  const bool plain_directory = look.word.is_open() && look.foreign;
  const bool directory_needed = !look.file.is_open() || plain_directory || !directory_->local();
  if (look.word.is_open() && !plain_directory) watch(look.word, look.word_info, os::Notice::word);
  if (look.file.is_open() && !plain_directory) watch(look.file, look.info, os::Notice::file);
  watches.all = !directory_needed || watch_directory();
  if (look.besides.is_open()) watch(look.besides, look.besides_info, os::Notice::file);
  // One whose record could not be read may be dead, or die, and nothing tells of it.
  if (look.group) {
    for (const Member& each : look.group->members) watches.all = watches.all && !each.foreign;
  }
  // The entries that go: neither a reader that leaves nor the directory's own end is an event on G.
  if (look.group && look.group->opened.is_open()) watch(look.group->opened, look.group->info, os::Notice::contents);
  return watches;
}

os::Status Word::move_in(os::File word, Claim& claim, Held& held) const {
  const auto info = system().stat(word.get());
  if (!info.ok()) return info.error;
  held.word_info = info.value;
  const int at = directory_->descriptor();
  os::Status error = EPERM;
  if (claim.trial().hard_links) {
    error = claim.arrived(system().link(at, claim.name().c_str(), word.get(), holder_name), word.get(), holder_name);
  }
  held.form = Form::inside;
  std::string small;
  if (os::cause_of(os::Call::link, error) == os::Cause::unsupported) {
    held.form = Form::nested;
    // Somebody is in: before any name of ours comes and goes, for who waits may be watching this directory.
    if (system().stat_at(word.get(), holder_name, os::Links::keep).ok()) return EEXIST;
    error = claim.make_durable();
    if (error != 0) return error;
    small = names_->side(claim.record().nonce, suffix::entry);
    const std::string inner = small + "/" + holder_name;
    constexpr int tries = 4;  // a sweep may take the directory for a dead maker's while it is empty
    for (int i = 0; i < tries; ++i) {
      error = system().make_directory(at, small.c_str(), 0777);
      if (error != 0 && error != EEXIST) return error;
      error = claim.arrived(system().rename(at, claim.name().c_str(), at, inner.c_str()), at, inner.c_str());
      if (error != ENOENT || claim.cleared()) break;
    }
    if (error == 0) {
      // Refused while a holder is there: neither a file nor a directory that is not empty is replaced.
      error = claim.arrived(system().rename(at, small.c_str(), word.get(), holder_name), word.get(), nested_name);
      if (error != 0) (void)system().rename(at, inner.c_str(), at, claim.name().c_str());
    }
    if (error != 0) {
      (void)system().remove_directory(at, small.c_str());
      return error;
    }
  }
  if (error != 0) return error;
  const auto still = directory_->refers_to(name(), held.word_info);
  if (still.ok() && still.value) {
    if (held.form == Form::nested) claim.set_moved_into_word();
    held.word = std::move(word);
    return 0;
  }
  // It was renamed away, with us inside. What is not W is nobody's hold, so whatever stands in it may go. But it was to
  // be seen as a hold of this number, and the claim may have been cleared with it: neither serves again.
  //   A:         in, by number 2              W is not it; in again, by number 2
  //   breaker 1:                 2: removed
  //   breaker 2: sees 2                                                            2: removed   <- a later hold
  claim.hold_granted();
  if (held.form == Form::nested) {
    (void)system().rename(word.get(), nested_name, at, claim.name().c_str());
    (void)system().remove_directory(word.get(), holder_name);
  } else {
    (void)system().unlink(word.get(), holder_name);
  }
  return still.ok() ? static_cast<os::Status>(ENOENT) : still.error;
}

// REMOVE of one hold.
os::Status Word::lock_once(int descriptor, std::uint64_t byte) const noexcept {
  constexpr int interruptions = 64;
  os::Status locked = EINTR;
  for (int i = 0; i < interruptions && locked == EINTR; ++i) {
    locked = system().try_lock(descriptor, byte);
  }
  return locked;
}

Word::Ending Word::release(Claim& claim, Held& held) const {
  Ending ending;
  if (held.form == Form::entry) return leave(claim, held.group);
  const bool guarded = claim.trial().guard_works;
  const os::Status locked = guarded ? lock_once(claim.descriptor(), remove_byte(claim.record().number)) : 0;
  const auto ours = directory_->refers_to(name(), held.word_info);
  os::Status error = ours.error;
  if (ours.ok() && !ours.value) {
    if (claim.record().mode != Mode::exclusive && held.form == Form::file) {
      const auto group = group_of(claim);  // a second reader came
      if (group.ok() && !group.value.empty()) return leave(claim, group.value);
      error = group.error;
    }
    if (error == 0) {
      ending.lost = true;
      ending.claim_gone = claim.cleared() || held.form == Form::nested;
      return ending;
    }
  }
  if (error == 0 && locked == 0) {
    const int at = directory_->descriptor();
    if (held.form == Form::file) {
      error = system().unlink(at, name());
      ending.claim_gone = claim.name().empty();  // that was its last one
    } else if (!claim.directory_name().empty()) {
      error = system().rename(at, name(), at, claim.directory_name().c_str());
    } else {
      const std::string away = names_->side(claim.record().nonce, suffix::taken_away(claim.record().number));
      error = system().rename(at, name(), at, away.c_str());
      if (error == 0 || error == ENOENT) (void)take_apart(*directory_, away.c_str());  // what stays is found by doctor
      ending.claim_gone = held.form == Form::nested;
    }
    // REMOVE of this hold is kept: the next hold has another byte. Not there any more: the reply to our removal was
    // lost, and its retry found the work done.
    if (error == 0 || error == ENOENT) return ending;
  }
  // REMOVE is a breaker's, who may be stopped: do not wait for it. Or W may not be removed. Either way the hold ends
  // here: whoever comes next finds the mark and removes W.
  const os::Status marked = claim.give_up();
  ending.claim_gone = true;
  if (claim.record().mode != Mode::exclusive && held.form == Form::file) {
    // REMOVE was the second reader's, who has made a group with an entry of ours.
    try {
      const auto group = group_of(claim);
      if (group.ok() && !group.value.empty()) (void)leave(claim, group.value);
    } catch (const std::bad_alloc&) {
      ending.claim_gone = true;  // what is marked there is cleared by whoever comes next; not reached by tests
    }
  }
  const bool only_in_turn = error == 0 && os::cause_of(os::Call::try_lock, locked) == os::Cause::contention;
  ending.error = marked != 0 ? marked : only_in_turn ? 0 : error != 0 ? error : locked;
  return ending;
}

Removal Word::refused(os::Status error, const Look& look, std::string what) const {
  Removal removal{Removal::Result::refused, os::code_of(error), std::move(what)};
  if (error == EACCES || error == EPERM) removal.what += ", owned by uid " + std::to_string(look.info.uid);
  return removal;
}

bool Word::maker_has_ended(const Look& look) const {
  return !look.group && directory_->local() && look.processes_visible && look.processes.state == Processes::ended;
}

// Opens the file with the record for writing, while the look's own descriptor keeps its number, and locks BREAK and
// REMOVE. Without: the answer is in `removal`.
os::File Word::open_for_removal(const Look& look, Removal& removal) const {
  if (!guard_usable(*directory_)) {
    removal = {Removal::Result::refused, make_error_code(errc::cannot_break), "cannot remove '" + names_->word() + "'"};
    return {};
  }
  const int at = look.word.is_open() ? look.word.get() : directory_->descriptor();
  const char* const path = look.form == Form::file ? name() : look.form == Form::inside ? holder_name : nested_name;
  const auto opened = system().open(at, path, os::Open::update, 0);
  if (!opened.ok()) {
    removal = is_gone(opened.error) || opened.error == ELOOP || opened.error == EISDIR
                  ? Removal{}
                  : refused(opened.error, look, "cannot open '" + names_->word() + "' to remove it");
    return {};
  }
  os::File file(system(), opened.value);
  const auto info = system().stat(file.get());
  if (!info.ok() || !info.value.same_inode(look.info)) {
    removal = {};
    return {};
  }
  // Breakers among themselves, then against the holder's own release.
  os::Status locked = lock_once(file.get(), break_byte(look.record.number));
  if (locked == 0) {
    locked = lock_once(file.get(), remove_byte(look.record.number));
    // Its maker took it and has ended, so its release will not go on: a forked copy of its descriptors keeps the byte.
    if (os::cause_of(os::Call::try_lock, locked) == os::Cause::contention && maker_has_ended(look)) locked = 0;
  }
  if (os::cause_of(os::Call::try_lock, locked) == os::Cause::contention) {
    removal.result = Removal::Result::in_turn;
    return {};
  }
  if (locked != 0) {
    removal = refused(locked, look, "cannot lock '" + names_->word() + "' to remove it");
    return {};
  }
  return file;
}

// Of a call that removes W, which was seen a moment ago. On a network it may be the retry of one whose reply was lost
// that does not find W.
os::Status Word::removed_by(os::Status error, const Look& look) const noexcept {
  if (!is_gone(error) || directory_->local()) return error;
  const auto still = still_is(look);
  return still.ok() && !still.value ? 0 : error;
}

// REMOVE is locked and W was seen to be it. Closing the descriptor gives REMOVE back.
Removal Word::remove(const Look& look) const {
  const int at = directory_->descriptor();
  os::Status error = 0;
  if (look.form == Form::file) {
    error = removed_by(system().unlink(at, name()), look);
  } else {
    // Renamed away first and taken apart there: by the time its entry is gone, the name W may be somebody else's.
    const std::string unique =
        look.foreign ? make_nonce(directory_->process().identity().boot, system().random()) : look.record.nonce;
    const std::string away = names_->side(unique, suffix::taken_away(look.record.number));
    error = removed_by(system().rename(at, name(), at, away.c_str()), look);
    if (error == 0) (void)take_apart(*directory_, away.c_str());  // what stays is found by doctor
  }
  if (is_gone(error)) return {};
  if (error != 0) return refused(error, look, "cannot remove '" + names_->word() + "'");
  return {Removal::Result::removed, {}, {}};
}

Removal Word::break_stale(Look& look) const {
  if (look.group) return close_group(look);
  Removal removal;
  const os::File file = open_for_removal(look, removal);
  if (!file.is_open()) return removal;
  const auto still = still_is(look);
  if (!still.ok()) return refused(still.error, look, "cannot look at '" + names_->word() + "'");
  if (!still.value) return {};
  // Judged again, through the descriptor of the first look: a verdict belongs to a descriptor.
  const auto bytes = read_record_bytes(system(), look.file.get());
  if (!bytes.ok()) return refused(bytes.error, look, "cannot read '" + names_->word() + "'");
  const std::uint64_t number = look.record.number;
  look.judgement = judge_record(look, parse(bytes.value, look.record), nullptr);
  if (look.judgement.verdict != Verdict::dead || look.record.number != number) return {};
  removal = remove(look);
  if (removal.result == Removal::Result::removed && !look.foreign) {
    // The dead claim's own name, unless the record was forged and names somebody else's.
    const std::string own = names_->side(look.record.nonce);
    const auto same = directory_->refers_to(own.c_str(), look.info);
    if (same.ok() && same.value) (void)system().unlink(directory_->descriptor(), own.c_str());
  }
  return removal;
}

// A stale break removes what nobody will release any more. A forced one races with the holder's own release, so both
// must see the same byte locks: not where those of either stay on its own host and the holder is on another, nor where
// the holder came to this local file by another way (FUSE, a virtual machine), as its record says.
//   breaker: lock REMOVE, W is I, number 5                            unlink: C's hold
//   holder:                                 release 5, unlink    C: link
bool Word::remove_byte_reaches_holder(const Look& look) const {
  const os::Identity& self = directory_->process().identity();
  if (directory_->local()) return look.record.guarded;
  return (directory_->locks_reach() && look.record.reaches) ||
         (!self.boot.empty() && self.boot == look.record.boot && self.host == look.record.host);
}

// Whoever holds has fenced itself by now, and may live: its release races with this as with a forced break. That the
// lease is over has been seen, and stays true while the hold and its count are the same.
Removal Word::break_expired(const Look& look) const {
  if (!remove_byte_reaches_holder(look)) {
    return {Removal::Result::refused, make_error_code(errc::cannot_break),
            "cannot remove '" + names_->word() + "', whose lease has expired: byte locks do not reach its host"};
  }
  Removal removal;
  const os::File file = open_for_removal(look, removal);
  if (!file.is_open()) return removal;
  const auto still = still_is(look);
  if (!still.ok()) return refused(still.error, look, "cannot look at '" + names_->word() + "'");
  if (!still.value) return {};
  const auto bytes = read_record_bytes(system(), file.get());
  if (!bytes.ok()) return refused(bytes.error, look, "cannot read '" + names_->word() + "'");
  Record now;
  const bool the_same = parse(bytes.value, now) == Reading::record && now.nonce == look.record.nonce &&
                        now.number == look.record.number && now.renewals == look.record.renewals;
  return the_same ? remove(look) : Removal{};
}

Removal Word::break_forced(const Holder* hold, bool foreign_too) const {
  Look look = this->look(nullptr);
  switch (look.state) {
    case Look::State::free:
    case Look::State::changing:
    case Look::State::vacant:  // nobody's; the next one moves in
      return {};
    case Look::State::failed:
      return {Removal::Result::refused, os::code_of(look.error), "cannot look at '" + names_->word() + "'"};
    case Look::State::held:
      break;
  }
  if (look.foreign) {
    if (hold != nullptr && look.error == 0) return {};
    if (hold != nullptr) return refused(look.error, look, "cannot open '" + names_->word() + "'");
    if (foreign_too) return remove_foreign(look);
    // Not reached by tests: the one caller names a hold, or wants the foreign.
    return {Removal::Result::refused, make_error_code(errc::foreign), "cannot break '" + names_->word() + "'"};
  }
  if (look.group) {
    const auto& all = look.group->members;
    const auto member = std::find_if(all.begin(), all.end(), [&](const Member& each) {
      return hold != nullptr && each.record.nonce == hold->nonce && each.record.number == hold->number;
    });
    if (member != all.end()) return break_member(look, *member);
    return hold == nullptr ? Removal{} : break_unseen_member(look, *hold);
  }
  if (!remove_byte_reaches_holder(look)) {
    return {Removal::Result::refused, make_error_code(errc::cannot_break), "cannot break '" + names_->word() + "'"};
  }
  Removal removal;
  const os::File file = open_for_removal(look, removal);
  if (!file.is_open()) return removal;
  // W first, and only then the hold: linking needs no REMOVE, so before W was seen to be this inode under REMOVE, its
  // maker could still have released one hold and be about to link the next.
  //   maker:   release 5                 number 6, link
  //   breaker:           compare 5: yes                  W is I: yes   unlink: hold 6
  const auto still = still_is(look);
  if (!still.ok()) return refused(still.error, look, "cannot look at '" + names_->word() + "'");
  if (!still.value) return {};
  const auto bytes = read_record_bytes(system(), look.file.get());
  Record now;
  if (!bytes.ok() || parse(bytes.value, now) != Reading::record) return {};
  if (now.number != look.record.number) return {};  // REMOVE is locked for another hold than the one that stands there
  if (hold != nullptr && (now.nonce != hold->nonce || now.number != hold->number)) return {};
  return remove(look);
}

// Another program's lock: it knows nothing of REMOVE, so what stands here may be exchanged between look and removal.
// That is why it is only done when the caller says so.
Removal Word::remove_foreign(const Look& look) const {
  // A group that cannot be read: without W its directory would stay open to those who are on their way in.
  if (look.group) return refused(look.error, look, "cannot look at the readers of '" + names_->word() + "'");
  const int at = directory_->descriptor();
  if (!look.word.is_open()) {
    if (look.info.type == os::FileType::directory) {
      return refused(look.error, look, "cannot look into directory '" + names_->word() + "'");
    }
    const os::Status error = removed_by(system().unlink(at, name()), look);
    if (is_gone(error)) return {};
    if (error != 0) return refused(error, look, "cannot remove '" + names_->word() + "'");
    return {Removal::Result::removed, {}, {}};
  }
  const auto inside = system().list(look.word.get());
  if (!inside.ok()) return refused(inside.error, look, "cannot look into directory '" + names_->word() + "'");
  if (!inside.value.empty()) return refused(ENOTEMPTY, look, "cannot remove directory '" + names_->word() + "'");
  // Number 0 is no hold's: a sweep does not take apart what is in such a directory.
  const std::string away =
      names_->side(make_nonce(directory_->process().identity().boot, system().random()), suffix::taken_away(0));
  if (const os::Status error = removed_by(system().rename(at, name(), at, away.c_str()), look)) {
    return is_gone(error) ? Removal{} : refused(error, look, "cannot remove '" + names_->word() + "'");
  }
  const os::Status error = system().remove_directory(at, away.c_str());
  if (error == 0 || error == ENOENT) return {Removal::Result::removed, {}, {}};
  // Something came in meanwhile: not for us to delete. Back where it was, if that name is still free.
  (void)system().rename_new(at, away.c_str(), at, name());
  return refused(error, look, "cannot remove directory '" + names_->word() + "'");
}

}  // namespace lockfile::claim
