// The scheme: its directory, its kept claims, looks and breaks.
#include "schemes/lock_file/scheme.hpp"

#include "claim/record_file.hpp"
#include "schemes/lock_file/attempt.hpp"

#include <lockfile/error.hpp>

#include <algorithm>
#include <new>

namespace lockfile::schemes {
namespace {

std::string_view name_of(Publish publish) noexcept {
  switch (publish) {
    case Publish::link:
      return "link";
    case Publish::mkdir:
      return "mkdir";
    case Publish::automatic:
      break;
  }
  return {};
}

}  // namespace

LockFileScheme::LockFileScheme(FilePath path, Publish publish, const Options& options)
    : path_(std::move(path)),
      names_(path_.name),
      publish_(publish),
      terms_{options.access, options.reason, name_of(publish), options.lease},
      fence_(options.fence) {}

LockFileScheme::~LockFileScheme() {
  open_group_.forget();
  drop_kept();
}

std::string_view LockFileScheme::name() const noexcept {
  if (publish_ != Publish::automatic) return name_of(publish_);
  claim::Trial trial;
  if (!directory_ || !directory_->trials().find(*directory_, trial)) return "auto";
  return trial.link_scheme_works() ? "link" : "mkdir";
}

std::unique_ptr<FileAttempt> LockFileScheme::file_attempt(const Request& request) {
  return std::make_unique<LockFileAttempt>(*this, request);
}

os::Result<std::shared_ptr<claim::Directory>> LockFileScheme::resolve() {
  // Where a kept claim is, a descriptor that is no longer ours is noticed by the claim.
  if (directory_ && directory_->is_at(path_.directory) && (!kept_.empty() || directory_->descriptor_is_ours())) {
    return {directory_, 0};
  }
  auto opened = claim::Directory::open(os::Process::current(), path_.directory);
  if (opened.ok()) {
    drop_kept();
    directory_ = opened.value;
  }
  return opened;
}

claim::Claim::Made LockFileScheme::take_claim(const std::shared_ptr<claim::Directory>& directory) {
  if (auto kept = kept_.take()) return {.claim = std::move(kept)};
  return claim::Claim::make(directory, names_, terms_);
}

void LockFileScheme::keep_claim(std::unique_ptr<claim::Claim> claim) noexcept {
  // What belongs to a directory that the path no longer names is of no use.
  if (claim->shared_directory() == directory_ && kept_.has_room()) {
    kept_.put(std::move(claim));
  } else {
    claim->drop();
  }
}

void LockFileScheme::drop_kept() noexcept {
  for (const auto& claim : kept_) claim->drop();
  kept_.clear();
}

void LockFileScheme::abandon() noexcept {
  open_group_.forget();
  for (const auto& claim : kept_) claim->abandon();
  kept_.clear();
  directory_.reset();
  lease_seen_.saw_none();
  swept_ = false;
}

claim::Look LockFileScheme::look_at(const claim::Word& word, const claim::Claim* own,
                                    const claim::KnownProcesses* known, claim::Word::Into into) {
  os::System& system = word.directory().system();
  const auto began = system.since_boot();
  claim::Look look = word.look(own, known, into);
  // What changed under the look, or could not be looked at, says nothing of the lease.
  if (look.state == claim::Look::State::changing || look.state == claim::Look::State::failed) return look;
  const bool leased = look.state == claim::Look::State::held && !look.own && !look.foreign && !look.group &&
                      look.record.lease.count() != 0;
  if (!leased) {
    lease_seen_.saw_none();
    return look;
  }
  const auto ended = system.since_boot();
  lease_seen_.saw(look.record, word.directory().file_system(), began, ended);
  look.expired = lease_seen_.expired();
  look.lease_left = lease_seen_.end() - ended;
  return look;
}

std::vector<Holder> LockFileScheme::holders(std::error_code& why) {
  why.clear();
  const auto directory = resolve();
  if (!directory.ok()) {
    why = os::code_of(directory.error);
    return {};
  }
  const claim::Word word(directory.value, names_);
  constexpr int tries = 100;  // one that changes hands faster than it can be read is held by somebody
  for (int i = 0; i < tries; ++i) {
    claim::Look look = look_at(word);
    switch (look.state) {
      case claim::Look::State::free:
      case claim::Look::State::vacant:
        return {};
      case claim::Look::State::failed:
        why = os::code_of(look.error);
        return {};
      case claim::Look::State::changing:
        if (i + 1 < tries) break;
        [[fallthrough]];
      case claim::Look::State::held:
        return word.holders_of(look);
    }
  }
  return {};  // not reached: the last try is no other's
}

std::error_code LockFileScheme::break_hold(const Holder& hold, Proof proof) noexcept {
  try {
    constexpr int tries = 100;
    for (int i = 0; i < tries; ++i) {
      bool again = false;
      const std::error_code error = break_once(hold, proof, again);
      if (!again) return error;
    }
    return std::make_error_code(std::errc::resource_unavailable_try_again);
  } catch (const std::bad_alloc&) {
    return std::make_error_code(std::errc::not_enough_memory);
  }
}

std::error_code LockFileScheme::break_once(const Holder& hold, Proof proof, bool& again) {
  const auto directory = resolve();
  if (!directory.ok()) return os::code_of(directory.error);
  // A guard is believed, and REMOVE relied on, only where they were seen to work: with a claim of our own.
  claim::Trial tried;
  if (!directory.value->trials().find(*directory.value, tried)) {
    auto made = take_claim(directory.value);
    // Where no claim can be made, on a full disk say, a file system that is known to be local is taken at its word, as
    // by every look: so a stale lock on it can go. guard_usable() says the same.
    if (made.claim) {
      keep_claim(std::move(made.claim));
    } else if (!directory.value->local()) {
      return os::code_of(made.error);
    }
  }
  const claim::Word word(directory.value, names_);
  claim::Look look = look_at(word);
  switch (look.state) {
    case claim::Look::State::free:
    case claim::Look::State::vacant:
      return errc::not_locked;
    case claim::Look::State::failed:
      return os::code_of(look.error);
    case claim::Look::State::changing:
      // A reader that becomes exclusive just now may have been stopped in the middle of it.
      if (look.group && look.foreign) return std::make_error_code(std::errc::resource_unavailable_try_again);
      again = true;
      return {};
    case claim::Look::State::held:
      break;
  }
  claim::Removal removal;
  if (proof == Proof::stale) {
    if (look.judgement.verdict != Verdict::dead) return errc::not_locked;
    removal = word.break_stale(look);
  } else if (proof == Proof::expired) {
    if (!look.expired) return errc::not_locked;
    removal = word.break_expired(look);
  } else {
    const bool this_one = proof == Proof::forced;
    // Whoever has it mapped would go on in what was removed.
    if (look.another == "shm") return std::make_error_code(std::errc::operation_not_supported);
    if (this_one && look.foreign && look.error != 0) return os::code_of(look.error);  // cannot be told now
    if (this_one == look.foreign) return errc::not_locked;
    if (this_one) {
      const auto stands = word.holders_of(look);
      const bool there = std::any_of(stands.begin(), stands.end(), [&](const Holder& each) {
        return each.nonce == hold.nonce && each.number == hold.number;
      });
      if (!there && !look.group) return errc::not_locked;
    }
    removal = word.break_forced(this_one ? &hold : nullptr, !this_one);
  }
  switch (removal.result) {
    case claim::Removal::Result::removed:
      return {};
    case claim::Removal::Result::changed:
      again = true;
      return {};
    case claim::Removal::Result::in_turn:
      return std::make_error_code(std::errc::resource_unavailable_try_again);
    case claim::Removal::Result::refused:
      break;
  }
  return removal.error;
}

}  // namespace lockfile::schemes
