// Shared holds at the lock word: the group that several readers form.
//
// Its directory D and its file G are made under names with a claim's nonce and a counter, so neither name comes again:
// whatever is done by such a name is done to that group or to none. Each reader's entry is named by its claim's nonce
// and the number of its hold, so an entry can be removed by name by whoever knows that hold to be over.
#include "claim/guard.hpp"
#include "claim/record_file.hpp"
#include "claim/word.hpp"

#include <lockfile/error.hpp>

#include <algorithm>
#include <cerrno>
#include <new>

namespace lockfile::claim {
namespace {

bool is_not_empty(os::Status error) noexcept { return error == ENOTEMPTY || error == EEXIST; }

std::string entry_path(const std::string& group, const Record& record) {
  return group + "/" + entry_name(record.nonce, record.number);
}

}  // namespace

// --- looking ---

void Word::look_at_group(Look& look, const KnownProcesses* known) const {
  look_at_members(look, known);
  if (look.state != Look::State::held) return;
  const bool outside = one_is_outside(look);
  const auto same = still_is(look);
  if (!same.ok()) {
    look.state = Look::State::failed;
    look.error = same.error;
  } else if (outside || !same.value) {
    look.state = Look::State::changing;
  }
  if (outside) {
    look.foreign = true;
    look.judgement = {Verdict::unknown, "one of its readers becomes exclusive"};
  }
}

void Word::look_at_members(Look& look, const KnownProcesses* known) const {
  Group& group = *look.group;
  const auto stranger = [&](std::string_view note) {
    look.foreign = true;
    look.judgement = {Verdict::unknown, note};
  };
  const auto opened = system().open(directory_->descriptor(), group.directory.c_str(), os::Open::look, 0);
  if (opened.error == ENOENT) {
    look.judgement = {Verdict::dead, "no reader is left"};
    return;
  }
  if (!opened.ok()) {
    look.error = opened.error;
    return stranger("its group of readers cannot be read");
  }
  group.opened = os::File(system(), opened.value);
  const auto info = system().stat(group.opened.get());
  const auto entries = system().list(group.opened.get());
  if (!info.ok() || !entries.ok()) {
    look.error = info.ok() ? entries.error : info.error;
    // Removed since it was opened.
    if (look.error == ENOENT || look.error == ESTALE) {
      look.state = Look::State::changing;
      return;
    }
    return stranger("its group of readers cannot be read");
  }
  group.info = info.value;
  for (const std::string& each : entries.value) {
    Member member = look_at_member(group, each, known);
    if (!member.entry.empty()) group.members.push_back(std::move(member));
  }
  sum_up(look);
}

// A member without an entry: it has left meanwhile.
Member Word::look_at_member(const Group& group, std::string entry, const KnownProcesses* known) const {
  Member member;
  member.foreign = true;
  member.record.mode = Mode::shared;
  const auto name = parse_entry_name(entry);
  const auto opened = system().open(group.opened.get(), entry.c_str(), os::Open::look, 0);
  if (opened.error == ENOENT) return member;
  member.entry = std::move(entry);
  member.judgement.note = "its record cannot be read";
  if (!opened.ok()) return member;
  const os::File file(system(), opened.value);
  const auto info = system().stat(file.get());
  const auto bytes = info.ok() && info.value.type == os::FileType::regular ? read_record_bytes(system(), file.get())
                                                                           : os::Result<std::string>{{}, EINVAL};
  if (!info.ok() || !bytes.ok()) return member;
  member.info = info.value;
  const Reading reading = parse(bytes.value, member.record);
  member.foreign = reading != Reading::record;
  Evidence seen = gather_evidence(*directory_, file.get(), reading, member.record, member.processes, known);
  member.processes_visible = seen.processes_visible();
  seen.earlier_boot_by_name = name && nonce_of_earlier_boot(*directory_, name->nonce);
  member.judgement = judge(seen);
  // By its name, which is the hold's: the record may tell of an earlier one for as long as a network remembers it.
  if (!member.foreign && name) {
    member.record.nonce = name->nonce;
    member.record.number = name->number;
  }
  return member;
}

// The group's verdict is that of a member that keeps W, and so is what to sleep on.
void Word::sum_up(Look& look) const {
  look.judgement = {Verdict::dead, "no reader is left"};
  for (Member& each : look.group->members) {
    if (each.judgement.verdict == Verdict::dead) continue;
    const bool better = look.judgement.verdict == Verdict::dead ||
                        (look.judgement.verdict == Verdict::unknown && each.judgement.verdict == Verdict::alive);
    if (!better) continue;
    look.judgement = each.judgement;
    look.processes = each.processes;
    look.processes_visible = each.processes_visible;
  }
}

// --- entering ---

os::Status Word::join(const std::string& group, Claim& claim, Held& held) const {
  Held in{Form::entry, {}, {}, group};
  const os::Status error = claim.enter_group(entry_path(group, claim.record()));
  if (error == 0) held = std::move(in);
  return error;
}

// D with the claim's entry inside, and G. Value: G's name.
os::Result<std::string> Word::prepare_group(Claim& claim, Access access, std::uint64_t counter) const {
  const int at = directory_->descriptor();
  const std::string& nonce = claim.record().nonce;
  const std::string members = names_->side(nonce, suffix::numbered(counter, suffix::members));
  std::string file_name = names_->side(nonce, suffix::numbered(counter, suffix::group));
  const std::uint32_t wider = mode_for(access, os::FileType::directory);
  os::Status error = system().make_directory(at, members.c_str(), wider != 0 ? wider : 0777U);
  if (error == EEXIST) error = 0;  // a lost reply: nobody else uses this name
  if (error == 0 && wider != 0) {
    const auto opened = system().open(at, members.c_str(), os::Open::look, 0);
    const os::File directory(system(), opened.ok() ? opened.value : -1);
    error = opened.ok() ? system().set_mode(directory.get(), wider) : opened.error;
  }
  if (error == 0) error = claim.enter_group(entry_path(members, claim.record()));
  if (error != 0) return {{}, error};
  const std::uint32_t mode = mode_for(access, os::FileType::regular);
  const auto made = system().open(at, file_name.c_str(), os::Open::create, mode != 0 ? mode : 0666U);
  if (!made.ok()) return {{}, made.error};
  const os::File file(system(), made.value);
  const std::string text = format_group(members);
  if (mode != 0) error = system().set_mode(file.get(), mode);
  if (error == 0) {
    const auto put = system().write(file.get(), text, 0);
    error = !put.ok() ? put.error : put.value != text.size() ? ENOSPC : 0;
  }
  // Another host must not read it before it is written; and without a name of its own only its content tells, after a
  // power cut, what it was.
  const bool durable = !directory_->local() || !claim.trial().hard_links;
  if (error == 0 && durable) error = system().sync(file.get());
  return {std::move(file_name), error};
}

// What cannot be removed now is found by a sweep.
void Word::undo_group(Claim& claim, std::uint64_t counter) const noexcept {
  try {
    const int at = directory_->descriptor();
    const std::string& nonce = claim.record().nonce;
    const std::string members = names_->side(nonce, suffix::numbered(counter, suffix::members));
    (void)system().unlink(at, names_->side(nonce, suffix::numbered(counter, suffix::group)).c_str());
    (void)claim.leave_group(entry_path(members, claim.record()));
    (void)system().remove_directory(at, members.c_str());
  } catch (const std::bad_alloc&) {
    // As what cannot be removed.
  }
}

os::Status Word::make_group(Claim& claim, Access access, Held& held) const {
  const int at = directory_->descriptor();
  // Somebody is there: not worth the making.
  if (system().stat_at(at, name(), os::Links::keep).ok()) return EEXIST;
  const std::uint64_t counter = claim.next_group();
  const auto prepared = prepare_group(claim, access, counter);
  os::Status error = prepared.error;
  if (error == 0) {
    error = claim.trial().hard_links ? system().link(at, prepared.value.c_str(), at, name())
                                     : system().rename_new(at, prepared.value.c_str(), at, name());
  }
  const std::string members = names_->side(claim.record().nonce, suffix::numbered(counter, suffix::members));
  if (error != 0) {
    // Refused, and yet it may be ours: the reply to the first try was lost.
    const Look look = this->look(nullptr, nullptr, Into::word);
    if (look.group && look.group->directory == members) error = 0;
  }
  if (error != 0) {
    undo_group(claim, counter);
    return error;
  }
  held = {Form::entry, {}, {}, members};
  return 0;
}

// In one step; under REMOVE of what W is. G keeps its own name, which tells after a power cut of which boot it is.
os::Status Word::put_group_over_word(const std::string& file, std::uint64_t counter, const Claim& claim,
                                     const std::string& members) const {
  const int at = directory_->descriptor();
  const std::string second = names_->side(claim.record().nonce, suffix::numbered(counter, suffix::joined));
  os::Status error = system().link(at, file.c_str(), at, second.c_str());
  if (error == EEXIST) error = 0;  // a lost reply: nobody else uses this name
  if (error == 0) error = system().rename(at, second.c_str(), at, name());
  if (error == 0) return 0;
  const Look after = this->look(nullptr, nullptr, Into::word);
  if (after.group && after.group->directory == members) return 0;  // a lost reply
  (void)system().unlink(at, second.c_str());
  return error;
}

// The reader that holds W alone gets an entry beside ours, and W becomes the group in one step, under REMOVE of its
// hold: so it is never free, and the first reader's release either comes before, or finds itself in the group.
//   reader 1:                                      release: REMOVE is taken -> gives its claim up, marked
//   reader 2: lock REMOVE(1)  W is 1  1 is shared                        link W into D     rename G to W
Removal Word::join_lone_reader(const Look& look, Claim& claim, Access access, Held& held) const {
  const int at = directory_->descriptor();
  const std::uint64_t counter = claim.next_group();
  const std::string members = names_->side(claim.record().nonce, suffix::numbered(counter, suffix::members));
  const auto prepared = prepare_group(claim, access, counter);
  Removal removal;
  if (!prepared.ok()) {
    removal = refused(prepared.error, look, "cannot prepare a group of readers");
  } else {
    const os::File file = open_for_removal(look, removal);
    const auto still = file.is_open() ? still_is(look) : os::Result<bool>{false, 0};
    const auto bytes =
        still.ok() && still.value ? read_record_bytes(system(), look.file.get()) : os::Result<std::string>{{}, ENOENT};
    Record now;
    // Read again: until REMOVE was locked, it could have been released and acquired anew, by another number.
    const bool the_same = bytes.ok() && parse(bytes.value, now) == Reading::record && !now.released &&
                          !excludes(now.mode, claim.record().mode) && now.number == look.record.number;
    if (the_same) {
      const std::string entry = entry_path(members, now);
      // By the name W: the reader's own name may have been cleared.
      os::Status error =
          directory_->arrived(system().link(at, name(), at, entry.c_str()), at, entry.c_str(), look.info);
      if (error == 0) {
        error = put_group_over_word(prepared.value, counter, claim, members);
        if (error != 0) (void)system().unlink(at, entry.c_str());
      }
      if (error == 0) {
        // Its release may have found REMOVE taken: then it marks its claim and looks for a group after that, and we
        // look for the mark after the group was made. One of us sees the other's deed.
        const auto after = read_record_bytes(system(), look.file.get());
        if (after.ok() && parse(after.value, now) == Reading::record && now.released) {
          (void)system().unlink(at, entry.c_str());
        }
        held = {Form::entry, {}, {}, members};
        return {Removal::Result::removed, {}, {}};
      }
      removal = is_gone(error) ? Removal{} : refused(error, look, "cannot make a group of readers");
    }
  }
  undo_group(claim, counter);
  return removal;
}

// --- being in and leaving ---

// The group that W names, if the claim has an entry there; empty: it has none.
os::Result<std::string> Word::group_of(const Claim& claim) const {
  const Look look = this->look(nullptr, nullptr, Into::word);
  if (!look.group) return {{}, look.state == Look::State::changing ? 0 : look.error};
  const auto in = directory_->refers_to(entry_path(look.group->directory, claim.record()).c_str(), claim.info());
  if (!in.ok()) return {{}, in.error};
  return {in.value ? look.group->directory : std::string(), 0};
}

os::Result<bool> Word::still_held(const Claim& claim, const Held& held) const noexcept {
  try {
    if (held.form == Form::entry) {
      return directory_->refers_to(entry_path(held.group, claim.record()).c_str(), claim.info());
    }
    const auto still = directory_->refers_to(name(), held.word_info);
    if (!still.ok() || still.value || claim.record().mode == Mode::exclusive || held.form != Form::file) return still;
    const auto group = group_of(claim);  // a second reader came
    return {!group.value.empty(), group.error};
  } catch (const std::bad_alloc&) {
    return {false, ENOMEM};
  }
}

Word::Ending Word::leave(Claim& claim, const std::string& group) const {
  Ending ending;
  const std::string entry = entry_path(group, claim.record());
  // On a network file system a reply may be lost, and the retry find the work done: there ENOENT says less than a look.
  const auto in = directory_->local() ? os::Result<bool>{true, 0} : directory_->refers_to(entry.c_str(), claim.info());
  ending.error = in.ok() ? claim.leave_group(entry) : in.error;
  if ((in.ok() && !in.value) || (directory_->local() && is_gone(ending.error))) {
    ending.error = 0;
    ending.lost = true;
    ending.claim_gone = claim.cleared();
    return ending;
  }
  if (ending.error == ENOENT) ending.error = 0;
  if (ending.error != 0) {
    // Whoever comes next finds the mark and clears the entry.
    const os::Status marked = claim.give_up();
    ending.claim_gone = true;
    // Where it was but memory for a name that was missing, the mark is an end like any other.
    if (marked != 0 || ending.error == ENOMEM) ending.error = marked;
    return ending;
  }
  // Refused while others are in. Dead ones among them are cleared by whoever is kept out by them.
  if (system().remove_directory(directory_->descriptor(), group.c_str()) != 0) return ending;
  try {
    const Look look = this->look(nullptr, nullptr, Into::word);
    if (look.group && look.group->directory == group) (void)remove_group(look, true);
  } catch (const std::bad_alloc&) {
    return ending;  // a group without a directory is removed by whoever comes next
  }
  return ending;
}

// --- removing ---

// No member keeps W: clears the entries of the dead, and lets the kernel say that nobody came in meanwhile. Where the
// look did not find D, too: a network client may remember a name as one that is not there.
Removal Word::close_group(Look& look) const {
  const Group& group = *look.group;
  os::Status stuck = 0;
  for (const Member& each : group.members) {
    if (each.judgement.verdict != Verdict::dead) return {};
    const os::Status error = system().unlink(group.opened.get(), each.entry.c_str());
    if (error != 0 && error != ENOENT) stuck = error;
  }
  if (stuck != 0) return refused(stuck, look, "cannot clear the readers of '" + names_->word() + "'");
  const os::Status removed = system().remove_directory(directory_->descriptor(), group.directory.c_str());
  if (is_not_empty(removed)) return {};
  if (removed != 0 && removed != ENOENT) return refused(removed, look, "cannot close '" + names_->word() + "'");
  return remove_group(look, removed == 0);
}

// D is gone. Where byte locks do not keep the processes of several hosts apart, only the one that removed D may go on.
Removal Word::remove_group(const Look& look, bool closed_by_us) const {
  const bool guarded = guard_usable(*directory_) && (directory_->local() || directory_->locks_reach());
  Removal removal;
  os::File file;
  if (guarded) {
    file = open_for_removal(look, removal);
    if (!file.is_open()) return removal;
  } else if (!closed_by_us) {  // not reached by tests: another host's, closed between the look and the deed
    return {Removal::Result::refused, make_error_code(errc::cannot_break), "cannot remove '" + names_->word() + "'"};
  }
  const auto still = still_is(look);
  if (!still.ok()) return refused(still.error, look, "cannot look at '" + names_->word() + "'");
  if (!still.value) return {};
  removal = remove(look);
  if (removal.result == Removal::Result::removed) drop_group_name(look);
  return removal;
}

// The own name of a group's file that is not W any more.
void Word::drop_group_name(const Look& look) const noexcept {
  try {
    const auto side = parse_side_name(look.group->directory);
    if (!side) return;
    const std::string counter = side->suffix.substr(0, side->suffix.size() - suffix::members.size());
    const std::string own = names_->side(side->nonce, counter + std::string(suffix::group));
    const auto same = directory_->refers_to(own.c_str(), look.info);
    if (same.ok() && same.value) (void)system().unlink(directory_->descriptor(), own.c_str());
  } catch (const std::bad_alloc&) {
    return;  // what stays is found by a sweep
  }
}

// Of one reader, by force: only that hold, for its entry's name is no other's. Under REMOVE of G, so that no reader is
// about to become a writer.
Removal Word::break_member(const Look& look, const Member& member) const {
  const bool reaches = directory_->local() ? member.record.guarded : directory_->locks_reach() && member.record.reaches;
  if (!reaches) {  // its guard does not reach us; not reached by tests
    return {Removal::Result::refused, make_error_code(errc::cannot_break), "cannot break '" + names_->word() + "'"};
  }
  {
    Removal removal;
    const os::File file = open_for_removal(look, removal);
    if (!file.is_open()) return removal;
    const auto still = still_is(look);
    if (!still.ok()) return refused(still.error, look, "cannot look at '" + names_->word() + "'");
    if (!still.value) return {};
    const os::Status error = system().unlink(look.group->opened.get(), member.entry.c_str());
    if (is_gone(error)) return {};
    if (error != 0) return refused(error, look, "cannot remove the reader of '" + names_->word() + "'");
  }
  if (system().remove_directory(directory_->descriptor(), look.group->directory.c_str()) == 0) {
    (void)remove_group(look, true);  // or whoever comes next
  }
  return {Removal::Result::removed, {}, {}};
}

}  // namespace lockfile::claim
