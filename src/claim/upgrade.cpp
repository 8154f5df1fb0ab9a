// Upgradable holds: of the readers at a lock word at most one may become exclusive, in one step.
//
// Upgradable readers come in under REMOVE of the group's file G, after a look at all who are in: so there is one at
// most, and it is whoever's record in the group says so and is not dead. A lone one is W itself, as a lone reader is.
//
//   A: lock REMOVE(G)  W is G, nobody is upgradable  link into D  unlock
//   B: lock REMOVE(G): taken: a little later                              A is upgradable: waits
//
// An upgrade takes the own entry out of D and lets the kernel say that nobody else is in: a listing would be none, for
// a newcomer who has found D already comes in after it. Then the claim takes the place of G, all under REMOVE(G), so W
// is never free and no break of one reader, which needs REMOVE(G) too, falls into the middle:
//
//   A: nobody is in   lock REMOVE(G)  W is G   own entry out   rmdir(D): refused   own entry in
//   B:                                                      link into D: in
//   A: nobody is in   lock REMOVE(G)  W is G   own entry out   rmdir(D): done   record: exclusive   rename over W
//   B:                                                                     link into D: ENOENT, looks again: A
//
// Killed in between, it has left no entry: whoever comes closes D, or finds it closed, and W is stale. A lone one
// writes its mode in place, under REMOVE of its own hold, which a second reader needs before it makes a group.
#include "claim/guard.hpp"
#include "claim/record_file.hpp"
#include "claim/word.hpp"

#include <lockfile/error.hpp>

#include <algorithm>
#include <cerrno>
#include <new>

namespace lockfile::claim {
namespace {

Conversion came_of(Conversion::Result result) {
  Conversion made;
  made.result = result;
  return made;
}

Conversion refuse(os::Status error, std::string what) {
  Conversion made = came_of(Conversion::Result::refused);
  made.error = os::code_of(error);
  made.what = std::move(what);
  return made;
}

Conversion cannot(std::string what) { return refuse(EOPNOTSUPP, std::move(what)); }

// Of what stands in the way of a removal.
Conversion came_of(Removal removal) {
  switch (removal.result) {
    case Removal::Result::in_turn:
      return came_of(Conversion::Result::in_turn);
    case Removal::Result::refused: {
      Conversion made = came_of(Conversion::Result::refused);
      made.error = removal.error;
      made.what = std::move(removal.what);
      return made;
    }
    case Removal::Result::removed:
    case Removal::Result::changed:
      break;
  }
  return came_of(Conversion::Result::again);
}

std::string own_entry(const std::string& group, const Claim& claim) {
  return group + "/" + entry_name(claim.record().nonce, claim.record().number);
}

}  // namespace

// --- who is upgradable ---

bool Word::narrow_to_upgradable(Look& look) const {
  auto& all = look.group->members;
  // One whose record cannot be read may be.
  const auto found = std::find_if(all.begin(), all.end(), [](const Member& each) {
    return each.judgement.verdict != Verdict::dead && (each.foreign || each.record.mode != Mode::shared);
  });
  if (found == all.end()) return false;
  Member only = std::move(*found);
  all.clear();
  // Its becoming a plain reader is a write to its record, and no event on the group.
  const auto opened = system().open(look.group->opened.get(), only.entry.c_str(), os::Open::look, 0);
  if (opened.ok()) {
    look.besides = os::File(system(), opened.value);
    look.besides_info = only.info;
  }
  all.push_back(std::move(only));
  sum_up(look);
  return true;
}

bool Word::upgrade_seen(int file) const noexcept {
  const auto locked = system().lock_seen(file, upgrade_byte);
  return locked.ok() && locked.value;
}

// Not so where the byte is locked by a copy of a dead one's descriptor. Whoever upgrades steps out of D and in again
// while others read, and a look that falls in between does not find it: looked at once more.
//   upgrader:           own entry out   rmdir(D): refused   own entry in
//   newcomer: UPGRADE                 lists D: nobody                    REMOVE is free     comes in   <- in its way
bool Word::is_upgrading(const Look& seen, const KnownProcesses* known, Look& look) const {
  constexpr int looks = 4;
  bool outside = false;
  for (int i = 0; i < looks && upgrade_seen(seen.file.get()); ++i) {
    look = this->look(nullptr, known);
    if (!look.group || look.group->directory != seen.group->directory) return false;
    outside = look.state == Look::State::changing && look.foreign;
    if (outside) continue;
    if (look.state != Look::State::held || look.foreign) return false;
    if (narrow_to_upgradable(look)) return true;
  }
  return outside;
}

bool Word::can_be_upgradable() const {
  return guard_usable(*directory_) && (directory_->local() || directory_->locks_reach());
}

Removal Word::join_upgradable(const Look& look, Claim& claim, Held& held) const {
  Removal removal;
  const os::File file = open_for_removal(look, removal);
  if (!file.is_open()) return removal;
  Look now = this->look(nullptr, nullptr, Into::group_under_remove);
  const bool same = now.state == Look::State::held && now.group && now.info.same_inode(look.info) && !now.foreign &&
                    now.group->opened.is_open();
  if (!same || narrow_to_upgradable(now)) return {};
  const os::Status error = join(look, claim, held);
  if (is_gone(error) || error == ESTALE) return {};
  if (error != 0) return refused(error, look, "cannot enter the readers of '" + names_->word() + "'");
  return {Removal::Result::removed, {}, {}};
}

// Whoever is about to become exclusive has its entry outside for an instant: a look finds the others only, or nobody.
// It has both bytes locked, and W is another file when it is done; so W is looked at after them.
bool Word::one_is_outside(const Look& look) const {
  if (!upgrade_seen(look.file.get())) return false;
  const auto& all = look.group->members;
  const bool inside = std::any_of(all.begin(), all.end(), [](const Member& each) {
    return each.judgement.verdict != Verdict::dead && (each.foreign || each.record.mode != Mode::shared);
  });
  // UPGRADE alone: a copy of a dead one's descriptor.
  const auto removing = inside ? os::Result<bool>{} : system().lock_seen(look.file.get(), remove_byte(0));
  return removing.ok() && removing.value;
}

// A hold that was to be broken and was not seen. Under REMOVE of G it is in, or over; never outside.
//   A: own entry out                                    rmdir(D): refused   own entry in
//   breaker:           looks: A is not in: over                                            <- and A holds
Removal Word::break_unseen_member(const Look& look, const Holder& hold) const {
  const Removal over{Removal::Result::refused, make_error_code(errc::not_locked), {}};
  if (!can_be_upgradable() || !is_nonce(hold.nonce)) return over;
  Removal removal;
  const os::File file = open_for_removal(look, removal);
  if (!file.is_open()) return removal;
  const auto still = still_is(look);
  if (!still.ok()) return refused(still.error, look, "cannot look at '" + names_->word() + "'");
  if (!still.value) return {};
  const std::string entry = look.group->directory + "/" + entry_name(hold.nonce, hold.number);
  const auto in = system().stat_at(directory_->descriptor(), entry.c_str(), os::Links::keep);
  if (is_gone(in.error)) return over;
  // Not reached by tests: it came in after the look, or cannot be looked at.
  return in.ok() ? Removal{} : refused(in.error, look, "cannot look at the readers of '" + names_->word() + "'");
}

// --- to exclusive ---

Conversion Word::upgrade(Claim& claim, Held& held, Upgrading& upgrading, const KnownProcesses* known) const {
  constexpr int rounds = 16;  // each further one needs somebody to have come or gone between two calls
  for (int i = 0; i < rounds; ++i) {
    Conversion made =
        held.form == Form::entry ? upgrade_member(claim, held, upgrading, known) : upgrade_alone(claim, held);
    if (made.result != Conversion::Result::again) return made;
  }
  return came_of(Conversion::Result::in_turn);
}

// REMOVE of our own hold, with W seen to be it.
Conversion Word::lock_own_word(Claim& claim, const Held& held) const {
  const os::Status locked = lock_once(claim.descriptor(), remove_byte(claim.record().number));
  // A second reader's, who makes a group; or a breaker's.
  if (os::cause_of(os::Call::try_lock, locked) == os::Cause::contention) return came_of(Conversion::Result::in_turn);
  if (locked != 0) return refuse(locked, "cannot lock '" + names_->word() + "'");
  const auto ours = directory_->refers_to(name(), held.word_info);
  if (ours.ok() && ours.value) return came_of(Conversion::Result::done);
  unlock_own_word(claim);
  return ours.ok() ? came_of(Conversion::Result::lost) : refuse(ours.error, "cannot look at '" + names_->word() + "'");
}

// Refused, nobody can break the hold until it ends.
void Word::unlock_own_word(const Claim& claim) const noexcept {
  (void)system().unlock(claim.descriptor(), remove_byte(claim.record().number), 1);
}

Conversion Word::upgrade_alone(Claim& claim, Held& held) const {
  if (claim.record().mode == Mode::exclusive) return came_of(Conversion::Result::done);
  Conversion locked = lock_own_word(claim, held);
  if (locked.result == Conversion::Result::lost) {
    auto group = group_of(claim);  // a second reader came
    if (!group.ok()) return refuse(group.error, "cannot look at '" + names_->word() + "'");
    if (group.value.empty()) return locked;
    held = {Form::entry, {}, {}, std::move(group.value)};
    return came_of(Conversion::Result::again);
  }
  if (locked.result != Conversion::Result::done) return locked;
  const os::Status error = claim.change_mode(Mode::exclusive);
  unlock_own_word(claim);
  return error == 0 ? came_of(Conversion::Result::done) : refuse(error, "cannot write to '" + names_->word() + "'");
}

Conversion Word::upgrade_member(Claim& claim, Held& held, Upgrading& upgrading, const KnownProcesses* known) const {
  Look look = this->look(nullptr, known);
  if (look.state == Look::State::changing) return came_of(Conversion::Result::again);
  if (look.state == Look::State::failed) return refuse(look.error, "cannot look at '" + names_->word() + "'");
  const auto in = directory_->refers_to(own_entry(held.group, claim).c_str(), claim.info());
  if (!in.ok()) return refuse(in.error, "cannot look at the readers of '" + names_->word() + "'");
  const bool in_word = look.group && look.group->directory == held.group;
  if (!in.value || !in_word) return came_of(Conversion::Result::lost);
  if (look.foreign) return refuse(look.error, "cannot look at the readers of '" + names_->word() + "'");
  // Newcomers wait from here on.
  if (upgrading.file.get() < 0 || !upgrading.info.same_inode(look.info)) begin_upgrade(look, upgrading);
  auto& others = look.group->members;
  const std::string own = entry_name(claim.record().nonce, claim.record().number);
  others.erase(std::remove_if(others.begin(), others.end(), [&](const Member& each) { return each.entry == own; }),
               others.end());
  // One of this very thread, by another lock object, would be waited for for ever: whoever shows one shows that.
  std::stable_partition(others.begin(), others.end(), [&](const Member& each) {
    return !each.foreign && each.record.thread == claim.record().thread && holder_in(look, each).this_process;
  });
  sum_up(look);
  if (look.judgement.verdict == Verdict::dead) return close_and_replace(look, claim, held);
  Conversion made = came_of(Conversion::Result::kept_up);
  made.look.emplace(std::move(look));
  return made;
}

// Where it cannot be had newcomers come in all the same. Of a hold that was broken while it upgraded the sign stands
// until its holder goes on: to open the file in vain at each look would wake ourselves, by its close, for as long.
void Word::begin_upgrade(const Look& look, Upgrading& upgrading) const {
  if (upgrade_seen(look.file.get())) return;
  const auto opened = system().open(directory_->descriptor(), name(), os::Open::update, 0);
  if (!opened.ok()) return;
  upgrading.file.open(directory_->process(), opened.value);
  const auto info = system().stat(opened.value);
  upgrading.info = info.value;
  if (!info.ok() || !info.value.same_inode(look.info) || system().try_lock(opened.value, upgrade_byte) != 0) {
    upgrading.file.close();
  }
}

void Word::end_upgrade(Upgrading& upgrading) const noexcept {
  if (upgrading.file.get() < 0) return;
  if (!is_descriptor_of(system(), upgrading.file.get(), upgrading.info)) {
    upgrading.file.forget();
    return;
  }
  // Unlocking gives no event, and that of a close goes out before the lock drops: unlocked, then touched.
  (void)system().unlock(upgrading.file.get(), upgrade_byte, 1);
  (void)system().touch(upgrading.file.get());
  upgrading.file.close();
}

// Nobody else who lives was seen in D. The kernel has the last word.
Conversion Word::close_and_replace(const Look& look, Claim& claim, Held& held) const {
  Removal removal;
  const os::File file = open_for_removal(look, removal);
  if (!file.is_open()) return came_of(std::move(removal));
  const auto still = still_is(look);
  if (!still.ok()) return refuse(still.error, "cannot look at '" + names_->word() + "'");
  if (!still.value) return came_of(Conversion::Result::again);
  for (const Member& dead : look.group->members) {
    const os::Status error = system().unlink(look.group->opened.get(), dead.entry.c_str());
    if (error != 0 && error != ENOENT) return refuse(error, "cannot clear the readers of '" + names_->word() + "'");
  }
  const std::string entry = own_entry(held.group, claim);
  std::string outside;
  os::Status error = claim.step_out(entry, outside);
  if (is_gone(error)) return came_of(Conversion::Result::lost);  // broken
  if (error != 0) return refuse(error, "cannot leave the readers of '" + names_->word() + "'");
  error = system().remove_directory(directory_->descriptor(), held.group.c_str());
  if (error == 0 || error == ENOENT) return replace_group(look, claim, outside, held);
  const os::Status back = claim.step_in(outside, entry);
  if (is_gone(back)) return replace_group(look, claim, outside, held);  // the others have closed it
  if (back == 0 && (error == ENOTEMPTY || error == EEXIST)) return came_of(Conversion::Result::again);
  if (back == 0) return refuse(error, "cannot close the readers of '" + names_->word() + "'");
  Conversion lost = refuse(back, "cannot go back to the readers of '" + names_->word() + "'");
  lost.result = Conversion::Result::lost;
  return lost;
}

// D is gone for ever, and W still is G, whose REMOVE is locked.
Conversion Word::replace_group(const Look& look, Claim& claim, const std::string& outside, Held& held) const {
  const int at = directory_->descriptor();
  // First: at W it says who may join. Not to be written, it is an upgradable hold without readers.
  const os::Status written = claim.change_mode(Mode::exclusive);
  os::Status error = system().rename(at, outside.c_str(), at, name());
  if (error != 0) {
    const auto ours = directory_->refers_to(name(), claim.info());
    if (ours.ok() && ours.value) error = 0;  // a lost reply
  }
  if (error != 0) {
    // Neither in nor out: the hold is over. What it leaves is stale for everybody.
    if (claim.trial().hard_links) (void)system().unlink(at, outside.c_str());
    Conversion lost = refuse(error, "cannot rename a claim to '" + names_->word() + "'");
    lost.result = Conversion::Result::lost;
    return lost;
  }
  if (!claim.trial().hard_links) claim.set_moved_into_word();
  held = {Form::file, claim.info(), {}};
  drop_group_name(look);
  return written == 0 ? came_of(Conversion::Result::done) : refuse(written, "cannot write to '" + names_->word() + "'");
}

// --- to a weaker mode ---

Conversion Word::downgrade(Claim& claim, Held& held, Mode to, Access access) const {
  if (claim.record().mode != Mode::exclusive) {
    // In its own record, wherever its names are.
    if (const os::Status error = claim.change_mode(to))
      return refuse(error, "cannot write to '" + names_->word() + "'");
    const auto still = still_held(claim, held);
    if (!still.ok()) return refuse(still.error, "cannot look at '" + names_->word() + "'");
    return came_of(still.value ? Conversion::Result::done : Conversion::Result::lost);
  }
  if (!can_be_upgradable()) return cannot("cannot share a hold: byte locks do not reach all who come here");
  if (held.form != Form::file)
    return cannot("cannot share a hold that is a directory: no file replaces one in one step");
  if (!claim.trial().link_scheme_works()) return cannot("cannot share a hold without hard links");
  // Where other users come their readers could not link our claim: a group, as when a reader is first.
  return directory_->is_private_of(claim.info().uid) ? downgrade_alone(claim, held, to)
                                                     : downgrade_to_group(claim, held, to, access);
}

Conversion Word::downgrade_alone(Claim& claim, Held& held, Mode to) const {
  Conversion locked = lock_own_word(claim, held);
  if (locked.result != Conversion::Result::done) return locked;
  const os::Status error = claim.change_mode(to);
  unlock_own_word(claim);
  return error == 0 ? came_of(Conversion::Result::done) : refuse(error, "cannot write to '" + names_->word() + "'");
}

// W is never free: the group takes the place of the claim in one step, under REMOVE of its hold, with our entry in it.
Conversion Word::downgrade_to_group(Claim& claim, Held& held, Mode to, Access access) const {
  const std::uint64_t counter = claim.next_group();
  const std::string members = names_->side(claim.record().nonce, suffix::numbered(counter, suffix::members));
  Held in{Form::entry, {}, {}, members};
  const auto prepared = prepare_group(claim, access, counter);
  Conversion made;
  if (!prepared.ok()) {
    made = refuse(prepared.error, "cannot prepare a group of readers");
  } else {
    made = lock_own_word(claim, held);
    if (made.result == Conversion::Result::done) {
      // First: in the group it says who is upgradable.
      os::Status error = claim.change_mode(to);
      if (error == 0) {
        try {
          error = put_group_over_word(prepared.value, counter, claim, members);
        } catch (const std::bad_alloc&) {
          error = ENOMEM;
        }
        // Neither: a weaker one without a group, which keeps more out than it need; exclusive it is no longer.
        if (error != 0 && claim.change_mode(Mode::exclusive) != 0) {
          unlock_own_word(claim);
          undo_group(claim, counter);
          return made;
        }
      }
      unlock_own_word(claim);
      if (error == 0) {
        held = std::move(in);
        return made;
      }
      made = refuse(error, "cannot make a group of readers");
    }
  }
  undo_group(claim, counter);
  return made;
}

}  // namespace lockfile::claim
