// Trying, holding, releasing.
#include "schemes/kernel/attempt.hpp"

#include "claim/judge.hpp"
#include "os/watch.hpp"
#include "schemes/free_wait.hpp"

#include <lockfile/error.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <new>

namespace lockfile::schemes {

void KernelLooks::plan(const KernelFile& file, Blocked& blocked) {
  os::System& system = file.directory().system();
  const bool local = file.directory().local();
  // A copy of the descriptor: its closing is no event, which closing another one of the file would be. On a network
  // file system every look at the name opens the file, so there only those closes are watched for that it is not.
  const auto copy = system.duplicate(file.descriptor());
  if (copy.ok()) {
    const os::Notice notice = local ? os::Notice::lock : os::Notice::file;
    blocked.on.push_back(os::WatchSource::inode(os::File(system, copy.value), file.info(), notice));
  }
  if (!local || !copy.ok()) {
    blocked.look_again = unwatched_.next(system);
    return;
  }
  constexpr std::array<std::chrono::milliseconds, 4> after = {std::chrono::milliseconds(1),
                                                              std::chrono::milliseconds(4),
                                                              std::chrono::milliseconds(16), std::chrono::seconds(1)};
  const auto now = system.now();
  // A look that was not planned follows an event: of a close, perhaps, whose lock is about to drop.
  const bool was_planned = planned_ && now >= *planned_;
  looks_ = was_planned ? std::min(looks_ + 1, after.size() - 1) : 0;
  planned_ = now + after[looks_];
  blocked.look_again = planned_;
}

KernelAttempt::KernelAttempt(KernelFileScheme& scheme, const Request& request)
    : scheme_(scheme), request_(request), holds_(os::Process::current().part<KernelHolds>()) {}

KernelAttempt::~KernelAttempt() { holds_.remove(entry_); }

std::string KernelAttempt::quoted() const { return "'" + scheme_.path_.name + "'"; }

Step KernelAttempt::step() noexcept {
  try {
    return try_step();
  } catch (const std::bad_alloc&) {
    if (file_) give_back(Name::means_it);
    return Failed{std::make_error_code(std::errc::not_enough_memory), {}, {}};
  }
}

Step KernelAttempt::try_step() {
  constexpr int rounds = 16;  // each further one needs the file to have been removed or replaced between two calls
  Failed failed;
  for (int i = 0; i < rounds; ++i) {
    bool made = false;
    failed = {};
    if (auto unprepared = prepare(made, failed)) return *std::move(unprepared);
    if (!file_) continue;  // somebody made it just now
    if (made) return granted();
    const os::Status refused = file_->try_lock(request_.mode);
    const os::Cause cause = os::cause_of(os::Call::try_lock, refused);
    if (cause == os::Cause::transient || refused == EBADF) {
      failed = Failed{os::code_of(refused), "cannot lock " + quoted(), {}};
      file_.reset();
      continue;
    }
    if (cause != os::Cause::none && cause != os::Cause::contention) {
      return Failed{os::code_of(refused), "cannot lock " + quoted(), {}};
    }
    const auto still = file_->still_there();
    if (!still.ok()) {
      if (refused == 0) give_back(Name::means_it);
      return Failed{os::code_of(still.error), "cannot look at " + quoted(), {}};
    }
    if (!still.value) {
      // Removed or replaced. Who sleeps on the old one must learn it too.
      if (refused == 0) give_back(Name::means_another);
      file_.reset();
      continue;
    }
    if (refused != 0) return blocked(request_.mode);
    if (auto wrong = come_in()) {
      give_back(Name::means_it);
      return *std::move(wrong);
    }
    return granted();
  }
  // What was refused again and again for another reason than that somebody is there is a failure, not a wait.
  if (failed.why) return failed;
  Blocked soon;
  os::Backoff moment(std::chrono::milliseconds(2), std::chrono::milliseconds(2));
  soon.look_again = moment.next(os::Process::current().system());
  return soon;
}

// To open the file and close it again would be an event for whoever is first in line, who would look four times for it.
std::optional<bool> KernelAttempt::would_enter() {
  const auto directory = open_directory();
  if (!directory.ok()) return std::nullopt;
  if (open_file(directory.value) != 0) return std::nullopt;
  const auto still = file_->still_there();
  if (!still.ok()) return std::nullopt;
  if (!still.value) return true;  // whoever tries opens another
  const auto held = scheme_.is_held(*file_);
  if (!held.ok() || !held.value) return held.ok();
  const auto holders = scheme_.holders_of(*file_, request_.mode);
  return std::none_of(holders.begin(), holders.end(),
                      [&](const Holder& each) { return excludes(request_.mode, each.mode); });
}

os::Result<std::shared_ptr<claim::Directory>> KernelAttempt::open_directory() {
  if (file_ && !file_->descriptor_is_ours()) file_.reset();
  if (!file_) file_ = scheme_.take_kept(request_.mode);
  auto directory = scheme_.resolve_beside(file_.get());
  if (file_ && directory.ok() && file_->shared_directory() != directory.value) file_.reset();
  return directory;
}

os::Status KernelAttempt::open_file(const std::shared_ptr<claim::Directory>& directory) {
  if (file_) return 0;
  auto file = std::make_unique<KernelFile>(directory, scheme_.path_.name, scheme_.lock_);
  const os::Status error = file->open(request_.mode);
  if (error == 0) file_ = std::move(file);
  return error;
}

std::optional<Failed> KernelAttempt::prepare(bool& made, Failed& for_now) {
  const auto directory = open_directory();
  if (!directory.ok()) {
    return Failed{os::code_of(directory.error), "cannot open directory '" + scheme_.path_.directory + "'", {}};
  }
  os::Status error = open_file(directory.value);
  if (error == 0) return std::nullopt;
  std::string what = "cannot open " + quoted();
  if (error == EINVAL) what = quoted() + " is not a regular file";
  constexpr std::string_view ending = ".lock";
  if ((error == EISDIR || error == EINVAL) && scheme_.path_.name.ends_with(ending)) {
    const std::string_view name = scheme_.path_.name;
    if (auto another = scheme_.find_lock_file(name.substr(0, name.size() - ending.size()))) return another;
  }
  if (error == ENOENT) {
    if (auto another = scheme_.find_lock_file(scheme_.path_.name)) return another;
    record_ = scheme_.new_record(request_);
    what = "cannot create " + quoted();
    auto file = std::make_unique<KernelFile>(directory.value, scheme_.path_.name, scheme_.lock_);
    error = file->make(record_, scheme_.access_);
    if (error == 0) {
      made = true;
      named_ = true;
      file_ = std::move(file);
      return std::nullopt;
    }
    if (error == EEXIST) return std::nullopt;
  }
  Failed failed{os::code_of(error), std::move(what), {}};
  if (os::cause_of(os::Call::open, error) != os::Cause::transient) return failed;
  for_now = std::move(failed);
  return std::nullopt;
}

std::optional<Failed> KernelAttempt::come_in() {
  claim::Record before;
  named_ = false;
  switch (file_->read(before)) {
    case KernelFile::Content::another:
      // The two would not exclude each other.
      return scheme_.refuse(scheme_.path_.name, before.scheme);
    case KernelFile::Content::stranger:
      return std::nullopt;
    case KernelFile::Content::ours:
      break;
  }
  // Nor would a lock file beside one of ours. Beside a stranger's it may be wanted: mail programs take both.
  if (file_->first_look_beside()) {
    if (auto another = scheme_.find_lock_file(scheme_.path_.name)) return another;
  }
  record_ = scheme_.new_record(request_);
  named_ = file_->name_holder(before, record_);
  return std::nullopt;
}

Step KernelAttempt::granted() noexcept {
  file_->stop_waiting();
  entry_.info = file_->info();
  entry_.holder.mode = request_.mode;
  entry_.holder.thread = request_.thread;
  entry_.holder.number = record_.number;
  holds_.add(entry_);
  return Granted{};
}

Blocked KernelAttempt::blocked(Mode wanted, const KernelHolds::Entry* except) {
  file_->announce();
  Blocked blocked;
  auto holders = scheme_.holders_of(*file_, wanted, except);
  blocked.by = std::move(holders.front());
  looks_.plan(*file_, blocked);
  return blocked;
}

void KernelAttempt::give_back(Name name) noexcept {
  if (!file_ || file_->descriptor() < 0) return;
  file_->unlock();
  file_->wake(name);
  named_ = false;
}

std::optional<Blocked> KernelAttempt::withdraw() noexcept {
  if (file_) {
    file_->stop_waiting();
    scheme_.keep(std::move(file_));
  }
  return std::nullopt;
}

Step KernelAttempt::convert(Mode to) noexcept {
  try {
    return try_convert(to);
  } catch (const std::bad_alloc&) {
    return Failed{std::make_error_code(std::errc::not_enough_memory), {}, {}};
  }
}

Step KernelAttempt::try_convert(Mode to) {
  if (scheme_.lock_ == KernelLock::whole) {
    return Failed{std::make_error_code(std::errc::operation_not_supported),
                  "flock(2) gives a lock up before it takes it in another mode",
                  {}};
  }
  // None: in a forked child, which has let go of the hold before it asks for more; not reached by tests, here and
  // below.
  if (file_->descriptor() < 0 || !file_->descriptor_is_ours()) return Failed{errc::not_my_lock, {}, {}};
  const os::Status refused = to == Mode::exclusive ? file_->upgrade() : file_->downgrade(request_.mode, to);
  const auto still = file_->still_there();
  // Removed or replaced by somebody: whoever comes next locks another file.
  if (still.ok() && !still.value) return Failed{errc::not_my_lock, {}, {}};
  if (os::cause_of(os::Call::try_lock, refused) == os::Cause::contention) return blocked(to, &entry_);
  if (refused != 0) return Failed{os::code_of(refused), "cannot lock " + quoted(), {}};
  request_.mode = to;
  holds_.change(entry_, to);
  end_conversion();
  tell_mode();
  return Granted{};
}

// In the record, which is for people only.
void KernelAttempt::tell_mode() noexcept {
  if (named_) {
    record_.mode = request_.mode;
    (void)file_->write_head(record_);
    return;
  }
  try {
    claim::Record before;
    if (request_.mode == Mode::exclusive && file_->read(before) == KernelFile::Content::ours) {
      record_ = scheme_.new_record(request_);
      named_ = file_->name_holder(before, record_);
    }
  } catch (const std::bad_alloc&) {
    return;  // held by somebody who left no record
  }
}

void KernelAttempt::end_conversion() noexcept {
  if (file_ && file_->descriptor() >= 0 && file_->descriptor_is_ours()) file_->end_upgrade();
}

// Under the exclusive lock, which everybody takes before the last look at the name. A shared holder that is not alone
// leaves it to the others.
bool KernelAttempt::remove_file() noexcept {
  if (!scheme_.remove_on_release_ || !file_->has_record()) return false;
  if (request_.mode != Mode::exclusive && file_->try_lock(Mode::exclusive) != 0) return false;
  // What cannot be removed stays, as it would without being asked to go.
  return system().unlink(file_->directory().descriptor(), file_->name().c_str()) == 0;
}

std::error_code KernelAttempt::release() noexcept {
  holds_.remove(entry_);
  bool lost = true;
  if (file_->descriptor() >= 0 && file_->descriptor_is_ours()) {
    // What cannot be looked at now counts as there: it is unlocked in any case.
    const auto still = file_->still_there();
    lost = still.ok() && !still.value;
    const bool removed = still.ok() && still.value && remove_file();
    give_back(lost || removed ? Name::means_another : Name::means_it);
    scheme_.keep(std::move(file_));
  } else {
    file_.reset();
  }
  if (!lost) return {};
  try {
    std::error_code why;
    const auto now = scheme_.holders(why);
    return why || now.empty() ? errc::not_locked : errc::not_my_lock;
  } catch (const std::bad_alloc&) {
    return errc::not_locked;  // by us; whether somebody else has it by now cannot be told; not reached by tests
  }
}

bool KernelAttempt::still_held(std::error_code& why) noexcept {
  why.clear();
  if (file_->descriptor() < 0 || !file_->descriptor_is_ours()) return false;
  const auto still = file_->still_there();
  why = os::code_of(still.error);
  return still.value;
}

void KernelAttempt::abandon() noexcept {
  holds_.remove(entry_);
  if (file_) file_->abandon();
  file_.reset();
}

// The child's copy of the descriptor is what keeps the hold; the record only says so.
std::error_code KernelAttempt::hand_over(std::int64_t child) noexcept {
  const auto start = system().process_start(child);
  if (!start.ok() && !system().process_exists(child)) return std::make_error_code(std::errc::no_such_process);
  std::error_code why;
  if (!still_held(why)) return why ? why : errc::not_my_lock;
  if (!shared_) return std::make_error_code(std::errc::operation_not_supported);
  child_ = child;
  child_start_ = start.ok() ? start.value : 0;
  entry_.holder.handed_to = child;
  if (!named_) return {};
  record_.child = child_;
  record_.child_start = child_start_;
  return os::code_of(file_->write_head(record_));
}

std::optional<int> KernelAttempt::share_guard(std::error_code& why) noexcept {
  why.clear();
  if (file_->descriptor() < 0 || !file_->descriptor_is_ours()) {
    why = errc::not_my_lock;
    return std::nullopt;
  }
  const auto copy = system().duplicate(file_->descriptor());
  why = os::code_of(copy.error);
  if (!copy.ok()) return std::nullopt;
  shared_ = true;
  return copy.value;
}

bool KernelAttempt::outlives_us() noexcept { return child_ != 0 && !claim::has_ended(system(), child_, child_start_); }

// Waiting for a lock to be free, without wanting it.
class KernelFreeWait final : public FreeWait {
 public:
  explicit KernelFreeWait(KernelFileScheme& scheme) : scheme_(scheme) {}

 private:
  Step look() override {
    const auto directory = scheme_.resolve();
    if (!directory.ok()) {  // gone since the last look; not reached by tests
      return Failed{os::code_of(directory.error), "cannot open directory '" + scheme_.path_.directory + "'", {}};
    }
    const std::string quoted = "'" + scheme_.path_.name + "'";
    if (file_) {
      const auto still = file_->still_there();
      if (!still.ok() || !still.value || file_->shared_directory() != directory.value) file_.reset();
    }
    if (!file_) {
      auto file = std::make_unique<KernelFile>(directory.value, scheme_.path_.name, scheme_.lock_);
      const os::Status error = file->open_to_look();
      if (error == ENOENT) return Granted{};
      if (error != 0) return Failed{os::code_of(error), "cannot open " + quoted, {}};
      file_ = std::move(file);
    }
    file_->announce();
    claim::Record record;
    if (file_->read(record) == KernelFile::Content::another) return scheme_.refuse(scheme_.path_.name, record.scheme);
    const auto held = scheme_.is_held(*file_);
    if (!held.ok()) return Failed{os::code_of(held.error), "cannot look at " + quoted, {}};
    if (!held.value) {
      file_->stop_waiting();
      return Granted{};
    }
    Blocked blocked;
    auto holders = scheme_.holders_of(*file_, Mode::exclusive);
    blocked.by = std::move(holders.front());
    looks_.plan(*file_, blocked);
    return blocked;
  }

  KernelFileScheme& scheme_;
  std::unique_ptr<KernelFile> file_;
  KernelLooks looks_;
};

std::unique_ptr<Attempt> free_wait(KernelFileScheme& scheme) { return std::make_unique<KernelFreeWait>(scheme); }

}  // namespace lockfile::schemes
