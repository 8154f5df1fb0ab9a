// Opening, making, locking and reading the file of a kernel lock.
#include "schemes/kernel/file.hpp"

#include "claim/claim.hpp"
#include "claim/record_file.hpp"

#include <algorithm>
#include <cerrno>

namespace lockfile::schemes {
namespace {

constexpr std::string_view first_line = "lockfile 1\n";

bool is_refusal_to_write(os::Status error) noexcept {
  return error == EACCES || error == EPERM || error == EROFS || error == ETXTBSY;
}

}  // namespace

std::string_view to_string(KernelLock lock) noexcept { return lock == KernelLock::byte ? "kernel" : "flock"; }

KernelFile::~KernelFile() { abandon(); }

void KernelFile::abandon() noexcept {
  if (file_.get() >= 0 && directory_->process().is_caller() && !descriptor_is_ours()) file_.forget();
  file_.close();
}

os::Status KernelFile::learn(int descriptor) {
  file_.open(directory_->process(), descriptor);
  const auto info = system().stat(descriptor);
  if (!info.ok()) {
    file_.close();
    return info.error;
  }
  info_ = info.value;
  if (info_.type == os::FileType::regular) return 0;
  file_.close();
  return EINVAL;
}

os::Status KernelFile::open(Mode mode) {
  auto opened = system().open(directory_->descriptor(), name_.c_str(), os::Open::update, 0);
  writable_ = opened.ok();
  const bool to_read_will_do = mode == Mode::shared || lock_ == KernelLock::whole;
  if (is_refusal_to_write(opened.error) && to_read_will_do) {
    opened = system().open(directory_->descriptor(), name_.c_str(), os::Open::look, 0);
  }
  return opened.ok() ? learn(opened.value) : opened.error;
}

os::Status KernelFile::open_to_look() {
  const auto opened = system().open(directory_->descriptor(), name_.c_str(), os::Open::look, 0);
  return opened.ok() ? learn(opened.value) : opened.error;
}

os::Status KernelFile::make(claim::Record& record, Access access) {
  const std::uint32_t wider = claim::mode_for(access, os::FileType::regular);
  const std::uint32_t mode = wider != 0 ? wider : 0666;
  os::Status error = make_unnamed(record, mode, access);
  if (os::cause_of(os::Call::open, error) == os::Cause::unsupported || error == ENOENT) {
    // No unnamed files here, or no /proc to name one through; or the directory is gone, and the other way will tell.
    file_.close();
    error = make_named(record, mode, access);
  }
  if (error != 0) file_.close();
  return error;
}

os::Status KernelFile::make_unnamed(claim::Record& record, std::uint32_t mode, Access access) {
  const auto opened = system().open(directory_->descriptor(), ".", os::Open::temporary, mode);
  if (!opened.ok()) return opened.error;
  writable_ = true;
  if (const os::Status error = learn(opened.value)) return error;
  if (access != Access::by_umask) {
    if (const os::Status error = system().set_mode(file_.get(), mode)) return error;
  }
  set_mark(access == Access::by_umask ? info_.mode : mode);
  // Nobody else can have it open yet.
  if (const os::Status error = try_lock(record.mode)) return error;
  record.number = 1;
  if (has_bytes()) (void)system().try_lock(file_.get(), kernel_name_byte(record.number));
  if (const os::Status error = write(claim::format(record))) return error;
  has_record_ = true;
  return system().link_temporary(file_.get(), directory_->descriptor(), name_.c_str());
}

// A file that its maker left without a record, killed between two calls, is a stranger's: it locks, and names nobody.
os::Status KernelFile::make_named(claim::Record& record, std::uint32_t mode, Access access) {
  const auto opened = system().open(directory_->descriptor(), name_.c_str(), os::Open::create, mode);
  if (!opened.ok()) return opened.error;
  writable_ = true;
  if (const os::Status error = learn(opened.value)) return error;
  if (access != Access::by_umask) {
    if (const os::Status error = system().set_mode(file_.get(), mode)) return error;
  }
  set_mark(access == Access::by_umask ? info_.mode : mode);
  // Somebody may have it already, who found it here.
  if (const os::Status error = try_lock(record.mode)) {
    return os::cause_of(os::Call::try_lock, error) == os::Cause::contention ? EEXIST : error;
  }
  const auto still = still_there();
  if (!still.ok()) return still.error;
  if (!still.value) return EEXIST;
  has_record_ = true;
  claim::Record none;
  (void)name_holder(none, record);
  return 0;
}

// The sticky bit means nothing on a regular file. Whoever keeps lock files beside the path may open a file that bears
// it, to learn whether it is a lock of ours (decision 0024). Where it is not to be had it is done without.
void KernelFile::set_mark(std::uint32_t mode) noexcept { (void)system().set_mode(file_.get(), mode | os::sticky); }

bool KernelFile::descriptor_is_ours() const noexcept { return claim::is_descriptor_of(system(), file_.get(), info_); }

os::Result<bool> KernelFile::still_there() const noexcept { return directory_->refers_to(name_.c_str(), info_); }

os::Status KernelFile::try_lock(Mode mode) noexcept {
  if (lock_ == KernelLock::byte) return try_byte(mode);
  return system().flock(file_.get(), mode == Mode::shared ? os::Flock::shared : os::Flock::exclusive);
}

// Asked before anything is taken: what is taken and given back wakes whoever waits, who does the same, and so on.
//   U: upgradable        B: locks, shared; UPGRADABLE: taken; unlocks, touch
//                        C: wakes, locks, shared; UPGRADABLE: taken; unlocks, touch; B wakes     <- for ever
os::Status KernelFile::try_byte(Mode mode) noexcept {
  if (mode == Mode::exclusive) return system().try_lock(file_.get(), kernel_lock_byte);
  const auto upgrading = is_upgrading();
  if (!upgrading.ok() || upgrading.value) return upgrading.ok() ? EAGAIN : upgrading.error;
  if (mode == Mode::upgradable) {
    // A foreign reader of the whole file has this byte too: then nobody can tell whether one of ours is upgradable.
    const auto taken = system().lock_seen(file_.get(), kernel_upgradable_byte);
    if (!taken.ok() || taken.value) return taken.ok() ? EAGAIN : taken.error;
  }
  os::Status error = system().try_lock_shared(file_.get(), kernel_lock_byte);
  if (error != 0 || mode == Mode::shared) return error;
  error = system().try_lock(file_.get(), kernel_upgradable_byte);
  if (error == 0) return 0;
  unlock();
  wake(Name::means_it);
  return error;
}

os::Result<bool> KernelFile::is_upgrading() const noexcept {
  const auto seen = system().lock_seen(file_.get(), kernel_upgrading_byte);
  if (!seen.ok() || !seen.value) return seen;
  // A foreign reader of the whole file is no upgrade, and does not keep readers out.
  const auto whole_file = system().lock_seen(file_.get(), kernel_never_byte);
  return {whole_file.ok() && !whole_file.value, whole_file.error};
}

// F_OFD_SETLK changes the lock that the description has, or leaves it as it is (fcntl(2)): others never find it free.
os::Status KernelFile::upgrade() noexcept {
  // Refused where a foreign reader has the whole file locked: then newcomers may come in.
  if (!upgrading_) upgrading_ = system().try_lock(file_.get(), kernel_upgrading_byte) == 0;
  return system().try_lock(file_.get(), kernel_lock_byte);
}

void KernelFile::end_upgrade() noexcept {
  stop_waiting();
  if (!upgrading_) return;
  upgrading_ = false;
  (void)system().unlock(file_.get(), kernel_upgrading_byte, 1);  // refused, it goes with the release
  wake(Name::means_it);
}

os::Status KernelFile::downgrade(Mode from, Mode to) noexcept {
  os::Status error = to == Mode::upgradable ? system().try_lock(file_.get(), kernel_upgradable_byte)
                                            : system().unlock(file_.get(), kernel_upgradable_byte, 1);
  if (error == 0 && from == Mode::exclusive) {
    error = system().try_lock_shared(file_.get(), kernel_lock_byte);
    if (error != 0 && to == Mode::upgradable) (void)system().unlock(file_.get(), kernel_upgradable_byte, 1);
  }
  if (error == 0) wake(Name::means_it);
  return error;
}

void KernelFile::unlock() noexcept {
  os::Status error = 0;
  if (lock_ == KernelLock::whole) error = system().flock(file_.get(), os::Flock::release);
  if (error == 0 && has_bytes()) {
    constexpr std::uint64_t all = kernel_first_name_byte + kernel_name_bytes - kernel_lock_byte;
    error = system().unlock(file_.get(), kernel_lock_byte, all);
    // Where there are no byte locks there was none to give back.
    if (lock_ == KernelLock::whole && os::cause_of(os::Call::lock_seen, error) == os::Cause::unsupported) error = 0;
  }
  announced_ = false;
  upgrading_ = false;
  if (error != 0) file_.close();
}

void KernelFile::wake(Name name) noexcept {
  // Unlocking gives no event (findings: a waiter slept beside a free lock). A close that unlocked has given one.
  if (file_.get() < 0) return;
  if (has_bytes() && directory_->local()) {
    // A waiter locks WAITING before its last try, and that try was before our unlocking or it would have succeeded.
    const auto waiting = system().lock_seen(file_.get(), kernel_waiting_byte);
    if (waiting.ok() && !waiting.value) return;
  }
  // A stranger's file keeps its times: it is opened and closed, which its watchers see as well.
  const bool by_touch = has_record_ || name == Name::means_another;
  if (by_touch && system().touch(file_.get()) == 0) return;
  const auto opened = system().open(directory_->descriptor(), name_.c_str(), os::Open::look, 0);
  if (opened.ok()) system().close(opened.value);
}

void KernelFile::announce() noexcept {
  if (announced_) return;
  announced_ = true;
  // Refused where a foreign program has the whole file locked: then it gives at best a close event, and we look again
  // now and then as always.
  if (has_bytes()) (void)system().try_lock_shared(file_.get(), kernel_waiting_byte);
}

void KernelFile::stop_waiting() noexcept {
  if (!announced_) return;
  announced_ = false;
  if (has_bytes()) (void)system().unlock(file_.get(), kernel_waiting_byte, 1);
}

KernelFile::Content KernelFile::read(claim::Record& record) {
  has_record_ = false;
  auto bytes = claim::read_record_bytes(system(), file_.get());
  if (!bytes.ok()) return Content::stranger;
  size_ = bytes.value.size();
  // A shorter record over a longer one is filled up with zeros: the file is never truncated.
  const std::string_view text = std::string_view(bytes.value).substr(0, bytes.value.find_last_not_of('\0') + 1);
  const bool whole = size_ <= claim::longest_record && claim::parse(text, record) == claim::Reading::record;
  if (!whole || record.scheme != to_string(lock_)) {
    record = {};
    record.scheme = claim::scheme_of(bytes.value);
    if (!record.scheme.empty()) return Content::another;
    if (size_ > claim::longest_record || !text.starts_with(first_line)) return Content::stranger;
  }
  has_record_ = true;
  return Content::ours;
}

bool KernelFile::name_holder(const claim::Record& before, claim::Record& record) {
  if (!writable_ || !has_bytes()) return false;
  if (record.mode != Mode::exclusive && before.number != 0) {
    // There is room for one name. The one that stands there is as good as ours.
    const auto named = system().lock_seen(file_.get(), kernel_name_byte(before.number));
    if (!named.ok() || named.value) return false;
  }
  record.number = before.number + 1;
  if (system().try_lock(file_.get(), kernel_name_byte(record.number)) != 0) return false;
  os::Status error = 0;
  if (before.nonce == record.nonce) {
    error = write_head(record);
  } else {
    std::string text = claim::format(record);
    text.resize(std::max(text.size(), size_));
    error = write(text);
  }
  if (error == 0) return true;
  (void)system().unlock(file_.get(), kernel_name_byte(record.number), 1);
  return false;
}

os::Status KernelFile::write_head(const claim::Record& record) noexcept {
  const auto head = claim::format_head(record);
  return write({head.data(), head.size()});
}

os::Status KernelFile::write(std::string_view bytes) noexcept {
  const auto put = system().write(file_.get(), bytes, 0);
  if (!put.ok()) return put.error;
  if (put.value != bytes.size()) return ENOSPC;
  return directory_->local() ? 0 : system().sync(file_.get());
}

os::Result<bool> KernelFile::is_named(const claim::Record& record) const noexcept {
  if (!has_bytes() || record.number == 0) return {false, 0};
  const auto named = system().lock_seen(file_.get(), kernel_name_byte(record.number));
  if (!named.ok() || !named.value) return named;
  const auto whole_file = system().lock_seen(file_.get(), kernel_never_byte);
  return {whole_file.ok() && !whole_file.value, whole_file.error};
}

}  // namespace lockfile::schemes
