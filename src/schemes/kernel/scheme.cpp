// The scheme: its directory, the files it keeps open between holds, and looks.
#include "schemes/kernel/scheme.hpp"

#include "claim/judge.hpp"
#include "claim/names.hpp"
#include "claim/word.hpp"
#include "schemes/kernel/attempt.hpp"

#include <lockfile/error.hpp>

#include <algorithm>
#include <cerrno>
#include <new>

namespace lockfile::schemes {

void KernelHolds::add(Entry& entry) noexcept {
  const os::MutexGuard guard(process_.system(), mutex_);
  all_.add(entry);
  entry.listed = true;
}

void KernelHolds::remove(Entry& entry) noexcept {
  if (!entry.listed) return;
  entry.listed = false;
  // In a forked child the list is its parent's, and its mutex may be locked by a thread that the child does not have.
  if (!process_.is_caller()) return;
  const os::MutexGuard guard(process_.system(), mutex_);
  all_.remove(entry);
}

void KernelHolds::change(Entry& entry, Mode mode) noexcept {
  const os::MutexGuard guard(process_.system(), mutex_);
  entry.holder.mode = mode;
}

std::vector<Holder> KernelHolds::of(const os::FileInfo& info, const Entry* except) const {
  const os::MutexGuard guard(process_.system(), mutex_);
  std::vector<Holder> all;
  for (const Entry* each = all_.first(); each != nullptr; each = each->next) {
    if (each != except && each->info.same_inode(info)) all.push_back(each->holder);
  }
  return all;
}

KernelFileScheme::KernelFileScheme(FilePath path, KernelLock lock, const Options& options)
    : path_(std::move(path)),
      lock_(lock),
      access_(options.access),
      reason_(options.reason),
      remove_on_release_(options.remove_on_release && lock == KernelLock::byte) {}

KernelFileScheme::~KernelFileScheme() = default;

Traits KernelFileScheme::traits() const noexcept {
  // Other hosts are excluded where byte locks reach them (flock(2) becomes byte locks there); on a local file system
  // there are none.
  Traits traits = kernel_traits(lock_);
  traits.across_hosts = !directory_ || directory_->locks_reach();
  return traits;
}

std::unique_ptr<FileAttempt> KernelFileScheme::file_attempt(const Request& request) {
  return std::make_unique<KernelAttempt>(*this, request);
}

os::Result<std::shared_ptr<claim::Directory>> KernelFileScheme::resolve() { return resolve_beside(nullptr); }

os::Result<std::shared_ptr<claim::Directory>> KernelFileScheme::resolve_beside(const KernelFile* file) {
  const bool seen = file != nullptr && file->shared_directory() == directory_;
  if (directory_ && !seen && !directory_->descriptor_is_ours()) directory_->forget_descriptor();
  if (directory_ && directory_->descriptor() >= 0 && directory_->is_at(path_.directory)) return {directory_, 0};
  auto opened = claim::Directory::open(os::Process::current(), path_.directory);
  if (opened.ok()) {
    kept_.clear();
    directory_ = opened.value;
  }
  return opened;
}

std::unique_ptr<KernelFile> KernelFileScheme::take_kept(Mode mode) {
  while (auto file = kept_.take()) {
    if (file->descriptor_is_ours() && file->will_do(mode)) return file;
  }
  return nullptr;
}

void KernelFileScheme::keep(std::unique_ptr<KernelFile> file) noexcept {
  const bool of_use = file->descriptor() >= 0 && file->shared_directory() == directory_;
  if (of_use && kept_.has_room()) kept_.put(std::move(file));
}

void KernelFileScheme::abandon() noexcept {
  for (const auto& file : kept_) file->abandon();
  kept_.clear();
  directory_.reset();
}

claim::Record KernelFileScheme::new_record(const Request& request) {
  const os::Process& process = directory_->process();
  const os::Identity& self = process.identity();
  if (nonce_.empty()) nonce_ = claim::make_nonce(self.boot, process.system().random());
  claim::Record record = claim::record_of(self);
  record.mode = request.mode;
  record.thread = request.thread;
  record.scheme = name();
  record.nonce = nonce_;
  record.reason = reason_;
  return record;
}

std::optional<Failed> KernelFileScheme::find_lock_file(std::string_view locked) const {
  const claim::Names names(locked);
  const claim::Look look = claim::Word(directory_, names).look(nullptr, nullptr, claim::Word::Into::word);
  if (look.state == claim::Look::State::held && look.another == "shm") return refuse(names.word(), "shm");
  if (look.state != claim::Look::State::held || look.foreign || look.judgement.verdict == Verdict::dead) return {};
  return refuse(names.word(), look.group ? "link" : look.record.scheme);
}

Holder KernelFileScheme::holder_from(const KernelFile& file, const claim::Record& record) const {
  const claim::Directory& directory = file.directory();
  const os::Identity& self = directory.process().identity();
  Holder holder;
  holder.verdict = Verdict::alive;
  holder.note = "the kernel keeps its lock";
  holder.mode = record.mode;
  holder.scheme = record.scheme;
  holder.nonce = record.nonce;
  holder.number = record.number;
  holder.host = record.host;
  holder.pid = record.pid;
  holder.handed_to = record.child;
  holder.thread = record.thread;
  holder.program = record.program;
  holder.reason = record.reason;
  holder.uid = file.info().uid;
  // Naming an exclusive holder is the last change of the file; a shared one may be followed by others' releases.
  if (record.mode == Mode::exclusive) {
    if (const auto info = directory.system().stat(file.descriptor()); info.ok()) holder.since = info.value.changed;
  }
  claim::Evidence seen;
  seen.reading = claim::Reading::record;
  seen.local = directory.local();
  seen.boots_known = !self.boot.empty() && !record.boot.empty();
  seen.same_boot = self.boot == record.boot;
  seen.same_host = self.host == record.host;
  seen.same_pid_namespace = self.pid_namespace != 0 && self.pid_namespace == record.pid_namespace;
  if (seen.processes_visible()) {
    holder.this_process = claim::is_of_process(record, self);
    if (!holder.this_process &&
        claim::see_processes(directory.process(), record, nullptr).state == claim::Processes::ended) {
      holder.verdict = Verdict::unknown;
      holder.note = "its process has ended, and a copy of its descriptor keeps the lock";
    }
  }
  return holder;
}

os::Result<bool> KernelFileScheme::is_held(const KernelFile& file) const noexcept {
  os::System& system = file.directory().system();
  if (lock_ == KernelLock::byte) return system.lock_seen(file.descriptor(), kernel_lock_byte);
  // flock(2) cannot be asked, only tried. Shared first: where somebody holds exclusively nothing is taken at all.
  for (const os::Flock how : {os::Flock::shared, os::Flock::exclusive}) {
    const os::Status refused = system.flock(file.descriptor(), how);
    const os::Cause cause = os::cause_of(os::Call::flock, refused);
    if (cause == os::Cause::contention) return {true, 0};
    if (cause != os::Cause::none) return {false, refused};
  }
  return {false, system.flock(file.descriptor(), os::Flock::release)};
}

std::vector<Holder> KernelFileScheme::holders_of(KernelFile& file, Mode wanted,
                                                 const KernelHolds::Entry* except) const {
  std::vector<Holder> all;
  const os::Process& process = file.directory().process();
  const os::Identity& self = process.identity();
  claim::Record record;
  const bool readable = file.read(record) == KernelFile::Content::ours && !record.nonce.empty();
  const auto named = readable ? file.is_named(record) : os::Result<bool>{};
  const bool is_except = except != nullptr && record.nonce == nonce_ && record.number == except->holder.number;
  auto ours = os::Process::current().part<KernelHolds>().of(file.info(), except);
  // Of this very object, from before:
  //   A: releases        acquires anew: it is locked, and the record says "A" still
  //   B:          locks                                                             writes its record
  // What stands in no list of ours is over, and no reason to tell A that it waits for itself.
  const bool is_over = record.nonce == nonce_ && std::none_of(ours.begin(), ours.end(), [&](const Holder& each) {
                         return each.number == record.number;
                       });
  if (named.ok() && named.value && !is_except && !is_over) all.push_back(holder_from(file, record));
  for (Holder& each : ours) {
    if (!excludes(each.mode, wanted)) continue;
    const bool is_named = !all.empty() && all.front().this_process && all.front().thread == each.thread;
    if (is_named) continue;
    each.verdict = Verdict::alive;
    each.note = "the kernel keeps its lock";
    each.scheme = name();
    each.host = self.host;
    each.pid = self.pid;
    each.program = self.program;
    each.uid = file.info().uid;
    each.this_process = true;
    // Whoever shows one shows the one that tells of a deadlock.
    all.insert(all.begin(), std::move(each));
  }
  if (all.empty()) {
    Holder somebody;
    somebody.foreign = true;
    somebody.verdict = Verdict::unknown;
    somebody.note = "a kernel lock of somebody who left no record";
    somebody.uid = file.info().uid;
    all.push_back(std::move(somebody));
  }
  return all;
}

std::vector<Holder> KernelFileScheme::holders(std::error_code& why) {
  why.clear();
  const auto directory = resolve();
  if (!directory.ok()) {
    why = os::code_of(directory.error);
    return {};
  }
  KernelFile file(directory.value, path_.name, lock_);
  const os::Status error = file.open_to_look();
  if (error == ENOENT) return {};
  auto held = error == 0 ? is_held(file) : os::Result<bool>{false, error};
  why = os::code_of(held.error);
  claim::Record record;
  if (held.ok() && file.read(record) == KernelFile::Content::another) {
    why = std::make_error_code(std::errc::operation_not_supported);
    return {};
  }
  if (!held.ok() || !held.value) return {};
  return holders_of(file, Mode::exclusive);
}

std::error_code KernelFileScheme::break_hold(const Holder& /*hold*/, Proof proof) noexcept {
  try {
    std::error_code why;
    const auto now = holders(why);
    if (why == std::errc::no_such_file_or_directory) return errc::not_locked;
    if (why) return why;
    return now.empty() || proof == Proof::stale ? errc::not_locked : errc::cannot_break;
  } catch (const std::bad_alloc&) {
    return std::make_error_code(std::errc::not_enough_memory);
  }
}

}  // namespace lockfile::schemes
