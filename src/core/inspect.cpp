// Examining directories, listing locks, finding leftovers, waiting without taking.
#include <lockfile/inspect.hpp>

#include "claim/claim.hpp"
#include "claim/record.hpp"
#include "claim/sweep.hpp"
#include "claim/word.hpp"
#include "core/open.hpp"
#include "core/path.hpp"
#include "core/waiting.hpp"
#include "os/backoff.hpp"
#include "os/sleeper.hpp"
#include "schemes/catalogue.hpp"
#include "schemes/free_wait.hpp"
#include "schemes/kernel/scheme.hpp"
#include "schemes/lock_file/scheme.hpp"
#include "schemes/shared_memory/scheme.hpp"

#include <lockfile/error.hpp>

#include <algorithm>
#include <cerrno>
#include <new>

namespace lockfile {
namespace {

using claim::Directory;
using Result = Finding::Result;

os::Result<std::shared_ptr<Directory>> open_directory(std::string_view path, std::error_code& ec) {
  auto opened = Directory::open(os::Process::current(), std::string(path));
  ec = os::code_of(opened.error);
  return opened;
}

// Tries things out one by one and writes down what it saw.
class Examiner {
 public:
  Examiner(std::shared_ptr<Directory> directory, Examination& into)
      : directory_(std::move(directory)), system_(directory_->system()), into_(into) {}
  Examiner(const Examiner&) = delete;
  Examiner& operator=(const Examiner&) = delete;
  ~Examiner() {
    if (claim_) claim_->drop();
  }

  [[nodiscard]] std::error_code examine() {
    note_place();
    auto made = claim::Claim::make(directory_, names_, {Access::by_umask, "doctor", "link"});
    if (!made.claim) return os::code_of(made.error);
    claim_ = std::move(made.claim);
    const claim::Trial& trial = claim_->trial();
    find("hard links", trial.hard_links && trial.one_inode,
         !trial.hard_links ? os::code_of(trial.link_error).message()
         : trial.one_inode ? "two names show one inode"
                           : "two names of a file show two inodes");
    find("byte-range locks", trial.guard_works,
         trial.guard_works ? "seen through a second name, and kept when another descriptor closes" : trial.guard_note);
    try_unnamed();
    const bool renames = try_directories();
    try_symlink();
    try_inotify();
    note_host();
    conclude(trial, renames);
    return {};
  }

 private:
  void find(std::string what, bool works, std::string detail) {
    into_.findings.push_back({std::move(what), works ? Result::works : Result::fails, std::move(detail)});
  }
  void note(std::string what, std::string detail) {
    into_.findings.push_back({std::move(what), Result::note, std::move(detail)});
  }
  [[nodiscard]] std::string side(std::string_view suffix) const { return names_.side(claim_->record().nonce, suffix); }
  // Of a call that has made a name of ours, which nobody else has: the reply was lost, and it was made again.
  static os::Status made_once(os::Status made) { return made == EEXIST ? 0 : made; }
  static std::string text_of(os::Status status) { return os::code_of(status).message(); }

  void note_place() {
    into_.file_system = directory_->file_system().name;
    into_.local = directory_->local();
    note("file system",
         into_.file_system + (into_.local ? ", local" : ", counts as network: only this host can prove a holder dead"));
  }

  void try_unnamed() {
    const auto opened = system_.open(directory_->descriptor(), ".", os::Open::temporary, 0600);
    const os::File closes(system_, opened.ok() ? opened.value : -1);
    find("unnamed files", opened.ok(), opened.ok() ? "O_TMPFILE" : text_of(opened.error));
  }

  bool try_directories() {
    const int at = directory_->descriptor();
    const std::string one = side(claim::suffix::directory);
    const std::string other = side(claim::suffix::trial);
    const os::Status made = made_once(system_.make_directory(at, one.c_str(), 0700));
    find("mkdir", made == 0, made == 0 ? "" : text_of(made));
    if (made != 0) return false;
    const auto marked = claim::marks_stay(*directory_, other.c_str());
    find("mkdir keeps the sticky bit", marked.ok() && marked.value,
         !marked.ok()   ? text_of(marked.error)
         : marked.value ? ""
                        : "lost: a crash between two steps of the mkdir scheme could need a forced break");
    const os::Status renamed = system_.rename_new(at, one.c_str(), at, other.c_str());
    const bool works = renamed == 0 || renamed == ENOENT;  // likewise
    find("rename without replacing", works, works ? "" : text_of(renamed));
    (void)system_.remove_directory(at, works ? other.c_str() : one.c_str());
    return works;
  }

  void try_symlink() {
    const std::string name = side(claim::suffix::trial);
    const os::Status made = made_once(system_.make_symlink("nowhere", directory_->descriptor(), name.c_str()));
    find("symbolic links", made == 0, made == 0 ? "" : text_of(made));
    if (made == 0) (void)system_.unlink(directory_->descriptor(), name.c_str());
  }

  // Is the removal of a second name of a file noticed on the file itself?
  void try_inotify() {
    const int at = directory_->descriptor();
    const std::string name = side(claim::suffix::trial);
    const auto notify = system_.notify_open();
    if (!notify.ok()) return find("inotify", false, text_of(notify.error));
    const os::File instance(system_, notify.value);
    const auto watch = system_.notify_add(instance.get(), claim_->descriptor(), os::Notice::file);
    if (!watch.ok()) return find("inotify", false, text_of(watch.error));
    if (made_once(system_.link(at, claim_->name().c_str(), at, name.c_str())) == 0) {
      (void)system_.notify_read(instance.get());
      (void)system_.unlink(at, name.c_str());
      const auto events = system_.notify_read(instance.get());
      const bool seen = events.ok() && !events.value.empty();
      find("inotify", seen,
           seen ? "the removal of a name is noticed on the file"
                : "not noticed on the file: waiters look again now and then");
    } else {
      (void)claim_->begin_hold(Mode::exclusive, 0);
      const auto events = system_.notify_read(instance.get());
      find("inotify", events.ok() && !events.value.empty(), "without hard links");
    }
  }

  // A host that tells neither, without /proc, is not reached by tests.
  void note_host() {
    const os::Identity& self = directory_->process().identity();
    find("boot id", !self.boot.empty(),
         self.boot.empty() ? "cannot be read: stale locks are not recognised" : self.boot);
    find("pid namespace", self.pid_namespace != 0,
         self.pid_namespace == 0 ? "cannot be told" : "pid:[" + std::to_string(self.pid_namespace) + "]");
    const auto own = system_.open_process(self.pid);
    const os::File closes(system_, own.ok() ? own.value : -1);
    find("pidfd", own.ok(), own.ok() ? "the end of a holder is noticed" : text_of(own.error));
    note("host", claim::printable(self.host));
  }

  void conclude(const claim::Trial& trial, bool renames) {
    if (trial.link_scheme_works()) {
      into_.scheme = "link";
      into_.why = "hard links work";
    } else {
      into_.scheme = "mkdir";
      into_.why = trial.hard_links ? "two names of a file show two inodes" : "no hard links";
      if (!renames) into_.why += "; by mkdir with a mark, since nothing can be renamed without replacing";
    }
    if (!trial.guard_works) into_.why += "; without usable byte-range locks nobody can break a lock safely";
  }

  std::shared_ptr<Directory> directory_;
  os::System& system_;
  Examination& into_;
  claim::Names names_{"lockctl-doctor"};
  std::unique_ptr<claim::Claim> claim_;
};

}  // namespace

Examination examine(std::string_view directory, std::error_code& ec) {
  Examination examination;
  auto opened = open_directory(directory, ec);
  if (!opened.ok()) return examination;
  ec = Examiner(std::move(opened.value), examination).examine();
  return examination;
}

std::vector<Standing> list_locks(std::string_view directory, std::error_code& ec) {
  std::vector<Standing> standing;
  const auto opened = open_directory(directory, ec);
  if (!opened.ok()) return standing;
  auto names = opened.value->system().list(opened.value->descriptor());
  ec = os::code_of(names.error);
  std::sort(names.value.begin(), names.value.end());
  constexpr std::string_view ending = ".lock";
  for (const std::string& name : names.value) {
    if (!name.ends_with(ending) || name.size() == ending.size()) continue;
    const std::string locked = name.substr(0, name.size() - ending.size());
    const claim::Names lock_names(locked);
    const claim::Word word(opened.value, lock_names);
    claim::Look look = word.look(nullptr);
    if (look.state == claim::Look::State::free || look.state == claim::Look::State::vacant) continue;
    if (look.another == "shm") {
      std::error_code why;
      schemes::shared_memory::Scheme in_memory({std::string(directory), locked}, {});
      for (Holder& each : in_memory.holders(why)) standing.push_back({name, std::move(each)});
      if (!why) continue;
    }
    const bool failed = look.state == claim::Look::State::failed;
    if (failed) look.foreign = true;
    auto holders = word.holders_of(look);
    if (holders.empty()) holders.push_back(word.holder_of(look));  // a group that its last reader did not close
    for (Holder& each : holders) standing.push_back({name, std::move(each)});
    if (failed) standing.back().holder.note = "cannot be looked at: " + os::code_of(look.error).message();
  }
  return standing;
}

std::vector<Leftover> leftovers(std::string_view directory, Clean clean, std::error_code& ec) {
  const auto opened = open_directory(directory, ec);
  if (!opened.ok()) return {};
  auto found = claim::sweep(opened.value, nullptr, clean);
  ec = os::code_of(found.error);
  std::sort(found.value.begin(), found.value.end(),
            [](const Leftover& one, const Leftover& other) { return one.name < other.name; });
  return std::move(found.value);
}

namespace {

void wait_by(Attempt& attempt, const Wait& wait, std::error_code& ec) {
  os::Process& process = os::Process::current();
  const core::Limit limit(process.system(), wait);
  std::shared_ptr<os::Notifier::Instance> instance;
  core::Waited waited;
  if (limit.at_once()) {
    Step step = attempt.step();
    if (std::holds_alternative<Granted>(step)) return;
    const auto* const failed = std::get_if<Failed>(&step);
    ec = failed != nullptr ? failed->why : make_error_code(errc::already_locked);
    return;
  }
  waited = core::wait_until_granted(
      process, {}, limit, wait.stop(), std::nullopt, [&] { return attempt.step(); }, instance);
  switch (waited.how) {
    case core::Waited::How::granted:
      break;
    case core::Waited::How::failed:
      ec = waited.failed.why;
      break;
    case core::Waited::How::timed_out:
      ec = errc::timed_out;
      break;
    case core::Waited::How::stopped:
      ec = errc::stopped;
      break;
  }
}

}  // namespace

void wait_until_free(std::string_view path, const Wait& wait, std::error_code& ec, std::string_view scheme) noexcept {
  try {
    ec.clear();
    if (schemes::find_engine(scheme) != nullptr) {
      if (!wait.valid()) {
        ec = std::make_error_code(std::errc::invalid_argument);
        return;
      }
      // Whoever only looks at a name in a database or cluster stands in no line that would wake it.
      const auto named = core::named_scheme(path);
      schemes::PollingFreeWait attempt(*named, std::chrono::milliseconds(250));
      return wait_by(attempt, wait, ec);
    }
    auto file = core::absolute_path(os::Process::current(), path);
    if (!file.ok() || !wait.valid() || schemes::find_scheme(scheme) == nullptr) {
      ec = file.ok() ? std::make_error_code(std::errc::invalid_argument) : os::code_of(file.error);
      return;
    }
    const bool whole = scheme == "flock";
    schemes::KernelFileScheme on_it(file.value, whole ? schemes::KernelLock::whole : schemes::KernelLock::byte, {});
    schemes::shared_memory::Scheme in_memory(file.value, {});
    schemes::LockFileScheme beside(std::move(file.value), schemes::Publish::automatic, {});
    const std::unique_ptr<Attempt> attempt = scheme == "shm" ? schemes::shared_memory::free_wait(in_memory)
                                             : whole || scheme == "kernel" ? schemes::free_wait(on_it)
                                                                           : schemes::free_wait(beside);
    wait_by(*attempt, wait, ec);
  } catch (const std::bad_alloc&) {
    ec = std::make_error_code(std::errc::not_enough_memory);
  } catch (const Error& error) {
    ec = error.code();  // an address that cannot be understood, or whose scheme is not built in
  }
}

}  // namespace lockfile
