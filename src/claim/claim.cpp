// Making, keeping and dropping claims.
#include "claim/claim.hpp"

#include "claim/guard.hpp"
#include "claim/judge.hpp"

#include <cerrno>

namespace lockfile::claim {

std::uint32_t mode_for(Access access, os::FileType type) noexcept {
  // A directory needs x where a file needs w.
  const bool directory = type == os::FileType::directory;
  switch (access) {
    case Access::by_umask:
      break;
    case Access::group:
      return directory ? 0770 : 0660;
    case Access::everyone:
      return directory ? 0777 : 0666;
  }
  return 0;
}

Claim::Claim(std::shared_ptr<Directory> directory, const Names& names, const ClaimTerms& terms)
    : directory_(std::move(directory)), names_(names) {
  record_ = record_of(directory_->process().identity());
  record_.scheme = terms.scheme.empty() ? "link" : terms.scheme;
  record_.reason = terms.reason;
  record_.lease = terms.lease;
  Trial known;
  const bool guard_works = directory_->trials().find(*directory_, known) && known.guard_works;
  record_.guarded = guard_works && directory_->local();
  record_.reaches = guard_works && !directory_->local() && directory_->locks_reach();
}

Claim::Made Claim::make(std::shared_ptr<Directory> directory, const Names& names, const ClaimTerms& terms) {
  // Whatever ends the making, missing memory too.
  struct DropIt {
    void operator()(Claim* claim) const noexcept {
      claim->drop();
      delete claim;
    }
  };
  Made made;
  constexpr int tries = 16;  // each further one needs a nonce that was there, or a cleaner in the way
  for (int i = 0; i < tries; ++i) {
    std::unique_ptr<Claim, DropIt> claim(new Claim(directory, names, terms));
    switch (claim->make_once(terms.access, made.error, made.failed)) {
      case Tried::again:
        continue;
      case Tried::failed:
        return made;
      case Tried::made:
        break;
    }
    made.error = claim->learn_trial();
    if (made.error != 0) {
      made.failed = os::Call::link;
      return made;
    }
    const bool by_mkdir = terms.scheme.empty() && !claim->trial().link_scheme_works();
    const bool guard_works = claim->live_locked_ && claim->trial().guard_works;
    const bool guarded = guard_works && claim->directory_->local();
    const bool reaches = guard_works && !claim->directory_->local() && claim->directory_->locks_reach();
    if (by_mkdir || guarded != claim->record_.guarded || reaches != claim->record_.reaches) {
      if (by_mkdir) claim->record_.scheme = "mkdir";
      claim->record_.guarded = guarded;
      claim->record_.reaches = reaches;
      made.error = claim->write(format(claim->record_));
      if (made.error != 0) {
        made.failed = os::Call::write;
        return made;
      }
    }
    made.claim.reset(claim.release());
    return made;
  }
  return made;
}

Claim::Tried Claim::make_once(Access access, os::Status& error, os::Call& failed) {
  record_.nonce = make_nonce(record_.boot, system().random());
  name_ = names_.side(record_.nonce);
  const std::uint32_t wider = mode_for(access, os::FileType::regular);
  const std::uint32_t mode = wider != 0 ? wider : 0666;
  Tried tried = make_unnamed(mode, access, error, failed);
  if (tried == Tried::failed && os::cause_of(failed, error) == os::Cause::unsupported) {
    file_.close();
    tried = make_named(mode, access, error, failed);
  }
  if (tried != Tried::made) return tried;
  const auto info = system().stat(file_.get());
  error = info.error;
  failed = os::Call::stat;
  if (!info.ok()) return Tried::failed;
  info_ = info.value;
  return Tried::made;
}

Claim::Tried Claim::make_unnamed(std::uint32_t mode, Access access, os::Status& error, os::Call& failed) {
  std::string name;
  name.swap(name_);  // there is nothing to remove until it is linked
  failed = os::Call::open;
  const auto opened = system().open(directory_->descriptor(), ".", os::Open::temporary, mode);
  if (!opened.ok()) {
    error = opened.error;
    name_ = std::move(name);
    return Tried::failed;
  }
  file_.open(directory_->process(), opened.value);
  error = guard_and_write(access, failed);
  if (error == 0) {
    failed = os::Call::link_temporary;
    error = system().link_temporary(file_.get(), directory_->descriptor(), name.c_str());
    // ENOENT: no /proc to link through, or the directory is gone; the other way will tell.
    if (error == ENOENT) error = EOPNOTSUPP;
  }
  name_ = std::move(name);
  if (error == EEXIST) {
    // Where the file cannot be looked at it counts as somebody else's.
    const os::FileInfo file = system().stat(file_.get()).value;
    if (directory_->arrived(error, directory_->descriptor(), name_.c_str(), file) == 0) return Tried::made;
    name_.clear();
    return Tried::again;
  }
  return error == 0 ? Tried::made : Tried::failed;
}

Claim::Tried Claim::make_named(std::uint32_t mode, Access access, os::Status& error, os::Call& failed) {
  failed = os::Call::open;
  // A cleaner may meet the file before it is guarded and take it for a dead maker's: it locks LIVE and unlinks.
  //   maker: open(name)                         lock LIVE: refused, or got after the cleaner closed
  //   cleaner:           open, lock LIVE, unlink
  // Refused: make another. Got: the link count tells; or, where the file is another machine's, any call that does not
  // find it. Beneath a pass-through file system there may be a cleaner whose locks do not meet ours, and already
  // open(2) looks there twice.
  const auto is_removed = [&] { return !directory_->local() && (error == ENOENT || error == ESTALE); };
  const auto opened = system().open(directory_->descriptor(), name_.c_str(), os::Open::create, mode);
  if (!opened.ok()) {
    error = opened.error;
    name_.clear();
    return error == EEXIST || is_removed() ? Tried::again : Tried::failed;
  }
  file_.open(directory_->process(), opened.value);
  error = guard_and_write(access, failed);
  if (failed == os::Call::try_lock && os::cause_of(failed, error) == os::Cause::contention) return Tried::again;
  if (error != 0) return is_removed() ? Tried::again : Tried::failed;
  const auto info = system().stat(file_.get());
  failed = os::Call::stat;
  error = info.error;
  if (!info.ok()) return is_removed() ? Tried::again : Tried::failed;
  return info.value.links == 0 ? Tried::again : Tried::made;
}

os::Status Claim::guard_and_write(Access access, os::Call& failed) {
  failed = os::Call::try_lock;
  const os::Status locked = system().try_lock(file_.get(), live_byte);
  live_locked_ = locked == 0;
  if (locked != 0 && os::cause_of(os::Call::try_lock, locked) != os::Cause::unsupported) return locked;
  if (const std::uint32_t mode = mode_for(access, os::FileType::regular); mode != 0) {
    failed = os::Call::set_mode;
    if (const os::Status set = system().set_mode(file_.get(), mode)) return set;
  }
  failed = os::Call::write;
  record_.guarded = record_.guarded && live_locked_;
  record_.reaches = record_.reaches && live_locked_;
  return write(format(record_));
}

os::Status Claim::learn_trial() {
  Trials& trials = directory_->trials();
  if (trials.find(*directory_, trial_)) return 0;
  const std::string other = names_.side(record_.nonce, suffix::trial);
  auto tried = try_out(*directory_, file_.get(), name_.c_str(), other.c_str(), live_locked_);
  if (!tried.ok()) return tried.error;
  trial_ = std::move(tried.value);
  trials.remember(*directory_, trial_);
  return 0;
}

os::Status Claim::write(std::string_view bytes, bool* untouched) noexcept {
  const auto put = system().write(file_.get(), bytes, 0);
  // A network client may report here what became of bytes that it has taken.
  if (untouched != nullptr) *untouched = !put.ok() && directory_->local();
  if (!put.ok()) return put.error;
  if (put.value != bytes.size()) return ENOSPC;
  // Another host must not read the hold before this one.
  return directory_->local() ? 0 : system().sync(file_.get());
}

os::Status Claim::make_durable() noexcept {
  if (durable_ || !directory_->local()) return 0;
  const os::Status error = system().sync(file_.get());
  durable_ = error == 0;
  return error;
}

os::Status Claim::write_head(bool* untouched) noexcept {
  if (untouched != nullptr) *untouched = true;
  if (!descriptor_is_ours()) return EBADF;
  const auto head = format_head(record_);
  return write({head.data(), head.size()}, untouched);
}

os::Status Claim::begin_hold(Mode mode, std::int64_t thread) noexcept {
  if (number_used_) {
    ++record_.number;
    number_used_ = false;
    // Once round: W does not refer to us now, so nobody needs any of the bytes. That they cannot be given back is not
    // reached by tests, for it is asked for once in 65,536 holds.
    if (record_.number % remove_bytes == 0 && trial_.guard_works) {
      if (const os::Status unlocked = system().unlock(file_.get(), first_remove_byte, remove_bytes)) return unlocked;
    }
  }
  record_.mode = mode;
  record_.thread = thread;
  record_.child = 0;
  record_.child_start = 0;
  return write_head();
}

os::Status Claim::change_mode(Mode mode) noexcept {
  const Mode before = record_.mode;
  const bool weaker = mode != Mode::exclusive && (before == Mode::exclusive || mode == Mode::shared);
  record_.mode = mode;
  bool untouched = false;
  const os::Status error = write_head(&untouched);
  if (error == 0) return 0;
  if (untouched) {
    record_.mode = before;
    return error;
  }
  // Written, and not known to have reached the server: others may read the one or the other. The hold is the weaker of
  // the two, or it would be exclusive beside a reader; and a record that says more keeps more out than it need. The
  // kernel forgets what it could not send: written once more.
  if (!weaker) record_.mode = before;
  (void)write_head();
  return weaker ? 0 : error;
}

os::Status Claim::name_child(std::int64_t pid, std::uint64_t start) noexcept {
  record_.child = pid;
  record_.child_start = start;
  return write_head();
}

os::Status Claim::renew() noexcept {
  if (!descriptor_is_ours()) return EBADF;
  ++record_.renewals;
  const auto line = format_lease(record_);
  const auto put = system().write(file_.get(), {line.data(), line.size()}, head_size);
  if (!put.ok()) return put.error;
  return put.value == line.size() ? system().sync(file_.get()) : static_cast<os::Status>(ENOSPC);
}

os::Status Claim::give_up() noexcept {
  if (live_locked_) {
    // Refused, the guard goes with the descriptor a little later.
    (void)system().unlock(file_.get(), live_byte, 1);
    live_locked_ = false;
  }
  record_.released = true;
  // A kept directory is W now, and only REMOVE allows to touch what is in it.
  directory_name_.clear();
  kept_.close();
  if (const os::Status error = write_head()) return error;
  // The claim's own name goes now, and W may stay for a while: after a power cut the mark alone tells that it is stale.
  return directory_->local() ? system().sync(file_.get()) : 0;
}

os::Status Claim::arrived(os::Status error, int at, const char* name) const noexcept {
  return directory_->arrived(error, at, name, *info_);
}

os::Status Claim::enter_directory(Access access) noexcept {
  try {
    os::System& os = system();
    const int at = directory_->descriptor();
    std::string name = names_.side(record_.nonce, suffix::directory);
    // Sticky from the first instant: that marks it as ours (see word.hpp).
    const std::uint32_t wider = mode_for(access, os::FileType::directory);
    os::Status error = os.make_directory(at, name.c_str(), (wider != 0 ? wider : 0777U) | os::sticky);
    if (error != 0 && error != EEXIST) return error;
    const auto opened = os.open(at, name.c_str(), os::Open::look, 0);
    error = opened.error;
    os::File kept;
    os::Result<os::FileInfo> info;
    if (opened.ok()) {
      kept = os::File(os, opened.value);
      info = os.stat(kept.get());
      error = info.error;
    }
    // The mark tells whose an *empty* directory is, and this one is never empty at W. Other users who may break need
    // one that is not sticky, or they cannot take it apart.
    if (error == 0 && wider != 0) error = os.set_mode(kept.get(), wider);
    // The own name stays where it can: after a power cut that lost the record it alone tells of which boot the claim
    // is.
    if (error == 0 && trial_.hard_links) {
      error = arrived(os.link(at, name_.c_str(), kept.get(), holder_name), kept.get(), holder_name);
    } else if (error == 0) {
      error = make_durable();
      if (error == 0) error = arrived(os.rename(at, name_.c_str(), kept.get(), holder_name), kept.get(), holder_name);
    }
    if (error != 0) {
      os.remove_directory(at, name.c_str());
      return error;
    }
    if (!trial_.hard_links) name_.clear();
    directory_name_ = std::move(name);
    kept_ = std::move(kept);
    directory_info_ = info.value;
    return 0;
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  }
}

os::Status Claim::leave_directory() noexcept {
  try {
    const int at = directory_->descriptor();
    if (name_.empty()) {
      std::string name = names_.side(record_.nonce);
      const os::Status moved = arrived(system().rename(kept_.get(), holder_name, at, name.c_str()), at, name.c_str());
      if (moved != 0) return moved;
      name_ = std::move(name);
    } else if (const os::Status removed = system().unlink(kept_.get(), holder_name);
               removed != 0 && removed != ENOENT) {
      // Not renamed: that does nothing between two names of one inode.
      return removed;
    }
    // At once, as a rule, which needs no descriptor; else with what came in meanwhile. What stays is found by doctor.
    if (system().remove_directory(at, directory_name_.c_str()) != 0) {
      (void)take_apart(*directory_, directory_name_.c_str());
    }
    directory_name_.clear();
    kept_.close();
    return 0;
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  }
}

os::Status Claim::enter_group(const std::string& entry) noexcept {
  const int at = directory_->descriptor();
  if (trial_.hard_links) {
    return arrived(system().link(at, name_.c_str(), at, entry.c_str()), at, entry.c_str());
  }
  if (!directory_name_.empty()) {
    if (const os::Status left = leave_directory()) return left;
  }
  if (const os::Status error = make_durable()) return error;
  const os::Status error = arrived(system().rename(at, name_.c_str(), at, entry.c_str()), at, entry.c_str());
  if (error == 0) name_.clear();
  return error;
}

os::Status Claim::leave_group(const std::string& entry) noexcept {
  const int at = directory_->descriptor();
  if (trial_.hard_links) return system().unlink(at, entry.c_str());
  try {
    std::string name = names_.side(record_.nonce);
    const os::Status error = arrived(system().rename(at, entry.c_str(), at, name.c_str()), at, name.c_str());
    if (error == 0) name_ = std::move(name);
    return error;
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  }
}

os::Status Claim::step_out(const std::string& entry, std::string& outside) {
  const int at = directory_->descriptor();
  std::string own = names_.side(record_.nonce);
  // Between two names of one inode a rename does nothing: where the own name stands, out by another.
  outside = trial_.hard_links ? own + suffix::numbered(record_.number, suffix::upgrade) : own;
  const os::Status error = arrived(system().rename(at, entry.c_str(), at, outside.c_str()), at, outside.c_str());
  if (error == 0 && !trial_.hard_links) name_ = std::move(own);
  return error;
}

os::Status Claim::step_in(const std::string& outside, const std::string& entry) noexcept {
  const int at = directory_->descriptor();
  const os::Status error = arrived(system().rename(at, outside.c_str(), at, entry.c_str()), at, entry.c_str());
  if (error == 0 && !trial_.hard_links) name_.clear();
  return error;
}

void Claim::abandon() noexcept {
  // The kept directory's descriptor shares the fate of the file's.
  if (file_.get() >= 0 && !descriptor_is_ours()) {
    file_.forget();
    (void)kept_.release();
  }
  file_.close();
  kept_.close();
}

bool Claim::descriptor_is_ours() const noexcept {
  return !info_ || is_descriptor_of(system(), file_.get(), *info_);  // without: it was opened a moment ago
}

bool Claim::cleared() const noexcept {
  const auto now = system().stat(file_.get());
  return now.ok() && now.value.links == 0;
}

void Claim::drop() noexcept {
  if (file_.get() >= 0 && directory_->process().is_caller()) {
    const int at = directory_->descriptor();
    // Names with our nonce: nobody else's, whatever stands there. What cannot be removed now (a directory that lost
    // its permissions, or whose descriptor is no longer ours) is found by doctor. Out of the directory first, and the
    // last name last: what a network client removes while it has it open stays there under another name, and would
    // keep the directory.
    if (!directory_name_.empty() && descriptor_is_ours()) (void)leave_directory();
    if (!name_.empty()) (void)system().unlink(at, name_.c_str());
  }
  abandon();
}

}  // namespace lockfile::claim
