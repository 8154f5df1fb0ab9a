// Trying out file systems.
#include "claim/trial.hpp"

#include "claim/guard.hpp"

#include <cerrno>

namespace lockfile::claim {
namespace {

// Opens `name` and says whether LIVE is seen to be locked there. What a trial shows is believed for as long as the
// process lives, so an error that says nothing about the file system (no descriptor or memory left) ends the trial.
os::Result<bool> guard_seen(os::System& system, int directory, const char* name) {
  const auto opened = system.open(directory, name, os::Open::look, 0);
  const bool not_to_be_opened = opened.error == ENOENT || opened.error == EACCES || opened.error == EPERM;
  if (!opened.ok()) return {false, not_to_be_opened ? 0 : opened.error};
  const os::File file(system, opened.value);
  const auto seen = system.lock_seen(file.get(), live_byte);
  const bool unsupported = os::cause_of(os::Call::lock_seen, seen.error) == os::Cause::unsupported;
  return unsupported ? os::Result<bool>{false, 0} : seen;
}

os::Status try_guard(Trial& trial, os::System& system, int directory, const char* name, bool live_locked) {
  if (!live_locked) {
    trial.guard_note = "byte-range locks are not supported";
    return 0;
  }
  // Twice: between the two looks the first one's descriptor is closed.
  for (const char* const complaint : {"is not seen through another name", "goes when another descriptor is closed"}) {
    const auto seen = guard_seen(system, directory, name);
    if (!seen.ok()) return seen.error;
    if (!seen.value) {
      trial.guard_note = std::string("a byte-range lock ") + complaint;
      return 0;
    }
  }
  trial.guard_works = true;
  return 0;
}

// With two names of one file. A count of one (sshfs) or an old one (bindfs) does not matter; another inode does.
os::Status try_second_name(Trial& trial, os::System& system, int directory, int descriptor, const char* name,
                           bool live_locked) {
  const auto own = system.stat(descriptor);
  if (!own.ok()) return own.error;
  const auto other = system.stat_at(directory, name, os::Links::keep);
  if (!other.ok() && other.error != ENOENT) return other.error;
  trial.one_inode = other.ok() && own.value.same_inode(other.value);
  return try_guard(trial, system, directory, name, live_locked);
}

}  // namespace

os::Result<Trial> try_out(const Directory& directory, int descriptor, const char* own_name, const char* trial_name,
                          bool live_locked) {
  os::System& system = directory.system();
  const int at = directory.descriptor();
  Trial trial;

  // Nobody else uses these names: that one is there, or not there any more, says that a reply was lost and its retry
  // found the work done.
  os::Status linked = system.link(at, own_name, at, trial_name);
  if (linked == EEXIST) linked = 0;
  trial.hard_links = linked == 0;
  if (linked == 0) {
    const os::Status tried = try_second_name(trial, system, at, descriptor, trial_name, live_locked);
    const os::Status removed = system.unlink(at, trial_name);
    return {trial, tried != 0 ? tried : removed != ENOENT ? removed : 0};
  }
  if (os::cause_of(os::Call::link, linked) != os::Cause::unsupported) return {{}, linked};
  trial.link_error = linked;
  const os::Status tried = try_guard(trial, system, at, own_name, live_locked);
  return {trial, tried};
}

os::Result<bool> marks_stay(const Directory& directory, const char* trial_name) {
  os::System& system = directory.system();
  const int at = directory.descriptor();
  const os::Status made = system.make_directory(at, trial_name, 0700 | os::sticky);
  if (made != 0 && made != EEXIST) return {false, made};
  const auto marked = system.stat_at(at, trial_name, os::Links::keep);
  const os::Status removed = system.remove_directory(at, trial_name);
  if (removed != 0 && removed != ENOENT) return {false, removed};
  return {marked.ok() && (marked.value.mode & os::sticky) != 0, marked.error};
}

Trials::Known& Trials::known(const Directory& directory) {
  return known_[{directory.device(), directory.file_system().name}];
}

bool Trials::rename_new_works(const Directory& directory) {
  const os::MutexGuard guard(system_, mutex_);
  return known(directory).rename_new;
}

void Trials::rename_new_refused(const Directory& directory) {
  const os::MutexGuard guard(system_, mutex_);
  known(directory).rename_new = false;
}

bool Trials::find(const Directory& directory, Trial& trial) {
  const os::MutexGuard guard(system_, mutex_);
  const Known& so_far = known(directory);
  if (so_far.tried) trial = so_far.trial;
  return so_far.tried;
}

void Trials::remember(const Directory& directory, const Trial& trial) {
  const os::MutexGuard guard(system_, mutex_);
  Known& so_far = known(directory);
  so_far.trial = trial;
  so_far.tried = true;
}

}  // namespace lockfile::claim
