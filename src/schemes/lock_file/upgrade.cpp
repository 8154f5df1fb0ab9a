// An attempt on a lock file: upgradable holds, and changing how it is held.
#include "claim/fence.hpp"
#include "schemes/lock_file/attempt.hpp"

#include <lockfile/error.hpp>

#include <new>
#include <utility>

namespace lockfile::schemes {

using claim::Conversion;
using claim::Look;

// A reader goes in without looking who is in; of those who are upgradable there is to be one.
std::optional<Step> LockFileAttempt::enter_as_upgradable(Look& look, Failed& failed, bool& changed) {
  Look all = word_->look(claim_.get(), &waits_.known());
  if (all.state == Look::State::changing && all.group && all.foreign) return waits_.in_turn(system(), {});
  const bool same = all.state == Look::State::held && all.group && all.group->directory == look.group->directory;
  if (!same) {
    changed = all.state != Look::State::failed;
    return std::nullopt;
  }
  if (all.foreign || !all.group->opened.is_open()) return std::nullopt;  // it has closed, or cannot be told
  if (word_->narrow_to_upgradable(all)) return waits_.blocked_by(*word_, all);
  return go_in(look, word_->join_upgradable(look, *claim_, held_), failed, changed);
}

// Without a look at W, but for those who upgrade.
bool LockFileAttempt::enter_open_group() {
  OpenGroup& group = scheme_.open_group_;
  const std::string* const name = group.in(claim_->directory());
  if (name == nullptr) return false;
  if (!word_->upgrade_seen(group.file()) && word_->join(*name, *claim_, held_) == 0) return true;
  group.forget();
  return false;
}

void OpenGroup::remember(const std::shared_ptr<claim::Directory>& directory, Look& look) noexcept {
  forget();
  directory_ = directory;
  name_ = std::move(look.group->directory);
  file_ = std::move(look.file);
  info_ = look.info;
}

// A program that closes all its descriptors closes this one too, and the number may be another file's by now.
void OpenGroup::forget() noexcept {
  if (file_.is_open() && !claim::is_descriptor_of(directory_->system(), file_.get(), info_)) (void)file_.release();
  file_.close();
  name_.clear();
  directory_.reset();
}

const std::string* OpenGroup::in(const claim::Directory& directory) const noexcept {
  return directory_.get() == &directory ? &name_ : nullptr;
}

Step LockFileAttempt::convert(Mode to) noexcept {
  try {
    if (!claim_ || !claim_->descriptor_is_ours()) return Failed{errc::not_my_lock, {}, {}};
    if (scheme_.terms_.lease.count() != 0) {  // the engine has refused it already; not reached by tests
      return Failed{std::make_error_code(std::errc::operation_not_supported), "a hold with a lease is exclusive", {}};
    }
    return to == Mode::exclusive ? try_upgrade() : try_downgrade(to);
  } catch (const std::bad_alloc&) {
    return Failed{std::make_error_code(std::errc::not_enough_memory), {}, {}};
  }
}

Step LockFileAttempt::answer(Conversion made) {
  switch (made.result) {
    case Conversion::Result::done:
      return Granted{};
    case Conversion::Result::kept_up:
      return waits_.blocked_by(*word_, *made.look);
    case Conversion::Result::again:  // W changed at each of several looks; not reached by tests, but in the simulator
    case Conversion::Result::in_turn:
      return waits_.in_turn(system(), {});
    case Conversion::Result::lost:
      if (made.error) made.what += ": " + made.error.message();
      return Failed{errc::not_my_lock, std::move(made.what), {}};
    case Conversion::Result::refused:
      break;
  }
  return Failed{made.error, std::move(made.what), {}};
}

// It is an acquisition: with a number of its own where numbers are asked for.
Step LockFileAttempt::try_upgrade() {
  Step step = answer(word_->upgrade(*claim_, held_, upgrading_, &waits_.known()));
  auto* const granted = std::get_if<Granted>(&step);
  if (granted == nullptr) return step;
  if (scheme_.fence_) {
    claim::FenceTaken taken = claim::take_fence(*word_, *claim_, held_, scheme_.terms_.access);
    if (taken.number == 0) {
      // Upgradable again. Where even that is refused it keeps more out than it need, and is tried again.
      (void)word_->downgrade(*claim_, held_, Mode::upgradable, scheme_.terms_.access);
      if (taken.again) return waits_.in_turn(system(), {});
      return Failed{os::code_of(taken.error), std::move(taken.what), {}};
    }
    granted->fence = taken.number;
  }
  request_.mode = Mode::exclusive;
  end_conversion();
  return step;
}

Step LockFileAttempt::try_downgrade(Mode to) {
  Step step = answer(word_->downgrade(*claim_, held_, to, scheme_.terms_.access));
  if (std::holds_alternative<Granted>(step)) request_.mode = to;
  return step;
}

void LockFileAttempt::end_conversion() noexcept {
  if (word_) word_->end_upgrade(upgrading_);
}

}  // namespace lockfile::schemes
