// The public verbs: each form is one call of the engine's verb.
#include <lockfile/file_lock.hpp>
#include <lockfile/kernel_file_lock.hpp>
#include <lockfile/lock.hpp>
#include <lockfile/shared_memory_lock.hpp>

#include "claim/record.hpp"
#include "core/engine.hpp"
#include "core/open.hpp"
#include "core/path.hpp"
#include "schemes/catalogue.hpp"

#include <new>
#include <utility>

namespace lockfile {

using core::Engine;
using core::Outcome;
using core::refuse;
using core::Verb;

namespace {

schemes::FilePath path_or_throw(std::string_view path) {
  auto made = core::absolute_path(os::Process::current(), path);
  if (made.error == EINVAL) refuse(path, std::errc::invalid_argument, "the path names no file");
  if (!made.ok()) refuse(path, static_cast<std::errc>(made.error), "cannot tell the current directory");
  return std::move(made.value);
}

void check_options(std::string_view path, const Options& options) {
  if (options.reason.size() > claim::longest_reason) {
    refuse(path, std::errc::invalid_argument, "the reason is longer than 400 bytes");
  }
  if (options.lease.count() < 0 || options.lease > claim::longest_lease) {
    refuse(path, std::errc::invalid_argument, "the lease is negative, or longer than 115 days");
  }
}

// `a.lock` for `a` and `a/`, as the user wrote it; `a` where the file itself is locked.
std::string lock_file_as_written(std::string_view path, bool beside) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  return claim::printable(path) + (beside ? ".lock" : "");
}

std::unique_ptr<Engine> scheme_engine(std::string_view path, std::unique_ptr<Scheme> scheme, const Options& options) {
  check_options(path, options);
  return std::make_unique<Engine>(core::to_string(path_or_throw(path)), claim::printable(path), std::move(scheme),
                                  options);
}

// The noexcept forms: what may throw is memory.
template <class Call>
Outcome without_throwing(Call call) noexcept {
  try {
    return call();
  } catch (const std::bad_alloc&) {
    return {std::make_error_code(std::errc::not_enough_memory), {}, {}};
  }
}

Options with_scheme(Options options, std::string_view scheme) {
  options.scheme = scheme;
  return options;
}

}  // namespace

std::unique_ptr<Engine> core::file_engine(std::string_view path, const Options& options) {
  schemes::FilePath file = path_or_throw(path);
  check_options(path, options);
  const schemes::CatalogueEntry* const entry = schemes::find_scheme(options.scheme);
  if (entry == nullptr) {
    refuse(path, std::errc::invalid_argument, "there is no scheme '" + claim::printable(options.scheme) + "'");
  }
  if (options.remove_on_release && options.scheme == "flock") {
    refuse(path, std::errc::invalid_argument, "flock(1) would not notice that the file is removed at a release");
  }
  std::string absolute = core::to_string(file);
  return std::make_unique<Engine>(std::move(absolute), lock_file_as_written(path, entry->beside()),
                                  entry->make(std::move(file), options), options);
}

Lock::Lock(std::unique_ptr<Engine> engine) noexcept : engine_(std::move(engine)) {}
Lock::Lock(std::string_view path, std::unique_ptr<Scheme> scheme, const Options& options)
    : engine_(scheme_engine(path, std::move(scheme), options)) {}
Lock::~Lock() = default;

FileLock::FileLock(std::string_view path, const Options& options) : Lock(core::file_engine(path, options)) {}
LinkFileLock::LinkFileLock(std::string_view path, Options options)
    : FileLock(path, with_scheme(std::move(options), "link")) {}
MkdirFileLock::MkdirFileLock(std::string_view path, Options options)
    : FileLock(path, with_scheme(std::move(options), "mkdir")) {}

SharedMemoryLock::SharedMemoryLock(std::string_view path, Options options)
    : Lock(core::file_engine(path, with_scheme(std::move(options), "shm"))) {}

KernelFileLock::KernelFileLock(std::string_view path, Options options)
    : Lock(core::file_engine(path, options.scheme == "flock" ? options : with_scheme(options, "kernel"))) {}

void Lock::acquire(const Wait& wait) { acquire(Mode::exclusive, wait); }

bool Lock::acquire(const Wait& wait, std::error_code& ec) noexcept { return acquire(Mode::exclusive, wait, ec); }

void Lock::acquire(Mode mode, const Wait& wait) {
  if (wait.valid() && engine_->enter(mode)) return;
  Outcome outcome = engine_->acquire(mode, wait);
  if (!outcome.ok()) core::raise(Verb::lock, engine_->display(), engine_->path(), std::move(outcome));
}

bool Lock::acquire(Mode mode, const Wait& wait, std::error_code& ec) noexcept {
  ec.clear();
  if (wait.valid() && engine_->enter(mode)) return true;
  ec = without_throwing([&] { return engine_->acquire(mode, wait); }).code;
  return !ec;
}

bool Lock::try_acquire(Mode mode, const Wait& wait) {
  if (wait.valid() && engine_->enter(mode)) return true;
  Outcome outcome = engine_->acquire(mode, wait);
  if (outcome.ok()) return true;
  const bool refused =
      outcome.code == errc::already_locked || outcome.code == errc::timed_out || outcome.code == errc::stopped ||
      (wait.limit() == std::chrono::nanoseconds::zero() && outcome.code == std::errc::resource_deadlock_would_occur);
  if (!refused) core::raise(Verb::lock, engine_->display(), engine_->path(), std::move(outcome));
  return false;
}

void Lock::release() {
  if (engine_->leave()) return;
  Outcome outcome = engine_->release();
  if (!outcome.ok()) core::raise(Verb::release, engine_->display(), engine_->path(), std::move(outcome));
}

void Lock::release(std::error_code& ec) noexcept {
  ec.clear();
  if (engine_->leave()) return;
  ec = without_throwing([&] { return engine_->release(); }).code;
}

namespace {

// For the verbs that guards call in destructors.
void keep_or_end(Engine& engine, const Outcome& outcome, bool had_one, std::string_view verb) noexcept {
  if (!had_one) {
    std::string message(verb);
    try {
      message += " of a lock that this thread does not hold: '" + engine.display() + "'";
    } catch (const std::bad_alloc&) {
      // Said without its name. Not reached by tests: the program ends here.
    }
    engine.system().fatal(message);
  }
  engine.set_last_error(outcome.code);
}

}  // namespace

void Lock::unlock() noexcept {
  if (engine_->leave()) return;
  bool had_one = true;
  const Outcome outcome = without_throwing([&] { return engine_->unlock(had_one); });
  // One that released has kept that it did.
  if (!outcome.ok()) keep_or_end(*engine_, outcome, had_one, "unlock");
}

void Lock::upgrade(const Wait& wait) {
  bool had_one = true;
  Outcome outcome = engine_->convert(Mode::exclusive, wait, had_one);
  if (!outcome.ok()) core::raise(Verb::upgrade, engine_->display(), engine_->path(), std::move(outcome));
}

bool Lock::upgrade(const Wait& wait, std::error_code& ec) noexcept {
  bool had_one = true;
  ec = without_throwing([&] { return engine_->convert(Mode::exclusive, wait, had_one); }).code;
  return !ec;
}

bool Lock::try_upgrade(const Wait& wait) {
  bool had_one = true;
  Outcome outcome = engine_->convert(Mode::exclusive, wait, had_one);
  if (outcome.ok()) return true;
  const bool refused =
      outcome.code == errc::already_locked || outcome.code == errc::timed_out || outcome.code == errc::stopped;
  if (!refused) core::raise(Verb::upgrade, engine_->display(), engine_->path(), std::move(outcome));
  return false;
}

void Lock::downgrade(Mode to, const Wait& wait) {
  bool had_one = true;
  Outcome outcome = engine_->downgrade(to, wait, had_one);
  if (!outcome.ok()) core::raise(Verb::downgrade, engine_->display(), engine_->path(), std::move(outcome));
}

bool Lock::downgrade(Mode to, const Wait& wait, std::error_code& ec) noexcept {
  bool had_one = true;
  ec = without_throwing([&] { return engine_->downgrade(to, wait, had_one); }).code;
  return !ec;
}

void Lock::downgrade_quietly(Mode to) noexcept {
  bool had_one = true;
  const Outcome outcome = without_throwing([&] { return engine_->downgrade(to, std::chrono::seconds(1), had_one); });
  keep_or_end(*engine_, outcome, had_one, "downgrade");
}

bool Lock::is_locked() const {
  std::vector<Holder> now;
  Outcome outcome = engine_->holders(now);
  if (outcome.code == std::errc::no_such_file_or_directory || outcome.code == std::errc::not_a_directory) return false;
  if (!outcome.ok()) core::raise(Verb::tell, engine_->display(), engine_->path(), std::move(outcome));
  return core::any_lives(now);
}

bool Lock::is_locked(std::error_code& ec) const noexcept {
  ec.clear();
  std::vector<Holder> now;
  ec = without_throwing([&] { return engine_->holders(now); }).code;
  if (ec == std::errc::no_such_file_or_directory || ec == std::errc::not_a_directory) {
    ec.clear();
    return false;
  }
  return !ec && core::any_lives(now);
}

bool Lock::i_am_locking() const noexcept { return engine_->i_am_locking(); }

namespace {

template <class Break>
bool break_or_raise(Engine& engine, Break break_it) {
  bool broken = false;
  Outcome outcome = break_it(broken);
  if (!outcome.ok()) core::raise(Verb::break_it, engine.display(), engine.path(), std::move(outcome));
  return broken;
}

template <class Break>
bool break_quietly(Break break_it, std::error_code& ec) noexcept {
  bool broken = false;
  ec = without_throwing([&] { return break_it(broken); }).code;
  return broken;
}

}  // namespace

bool Lock::break_lock(BreakWhat what) {
  return break_or_raise(*engine_, [&](bool& broken) { return engine_->break_whoever(what, broken); });
}
bool Lock::break_lock(BreakWhat what, std::error_code& ec) noexcept {
  return break_quietly([&](bool& broken) { return engine_->break_whoever(what, broken); }, ec);
}
bool Lock::break_lock(const Holder& hold) {
  return break_or_raise(*engine_, [&](bool& broken) { return engine_->break_hold(hold, Proof::forced, broken); });
}
bool Lock::break_lock(const Holder& hold, std::error_code& ec) noexcept {
  return break_quietly([&](bool& broken) { return engine_->break_hold(hold, Proof::forced, broken); }, ec);
}
bool Lock::break_stale() {
  return break_or_raise(*engine_, [&](bool& broken) { return engine_->break_hold({}, Proof::stale, broken); });
}
bool Lock::break_stale(std::error_code& ec) noexcept {
  return break_quietly([&](bool& broken) { return engine_->break_hold({}, Proof::stale, broken); }, ec);
}
bool Lock::break_expired() {
  return break_or_raise(*engine_, [&](bool& broken) { return engine_->break_hold({}, Proof::expired, broken); });
}
bool Lock::break_expired(std::error_code& ec) noexcept {
  return break_quietly([&](bool& broken) { return engine_->break_hold({}, Proof::expired, broken); }, ec);
}

std::vector<Waiter> Lock::waiters() const {
  std::vector<Waiter> now;
  Outcome outcome = engine_->waiters(now);
  if (!outcome.ok()) core::raise(Verb::tell, engine_->display(), engine_->path(), std::move(outcome));
  return now;
}

std::vector<Waiter> Lock::waiters(std::error_code& ec) const noexcept {
  std::vector<Waiter> now;
  ec = without_throwing([&] { return engine_->waiters(now); }).code;
  return now;
}

std::vector<Holder> Lock::holders() const {
  std::vector<Holder> now;
  Outcome outcome = engine_->holders(now);
  if (!outcome.ok()) core::raise(Verb::tell, engine_->display(), engine_->path(), std::move(outcome));
  return now;
}

std::optional<Holder> Lock::holder() const {
  std::vector<Holder> now = holders();
  if (now.empty()) return std::nullopt;
  return std::move(now.front());
}

std::optional<Holder> Lock::holder(std::error_code& ec) const noexcept {
  std::vector<Holder> now;
  ec = without_throwing([&] { return engine_->holders(now); }).code;
  if (ec || now.empty()) return std::nullopt;
  return std::move(now.front());
}

void Lock::hand_over(std::int64_t child) {
  Outcome outcome = engine_->hand_over(child);
  if (!outcome.ok()) core::raise(Verb::hand_over, engine_->display(), engine_->path(), std::move(outcome));
}

void Lock::hand_over(std::int64_t child, std::error_code& ec) noexcept {
  ec = without_throwing([&] { return engine_->hand_over(child); }).code;
}

int Lock::share_guard() {
  int descriptor = -1;
  Outcome outcome = engine_->share_guard(descriptor);
  if (!outcome.ok()) core::raise(Verb::hand_over, engine_->display(), engine_->path(), std::move(outcome));
  return descriptor;
}

int Lock::share_guard(std::error_code& ec) noexcept {
  int descriptor = -1;
  ec = without_throwing([&] { return engine_->share_guard(descriptor); }).code;
  return descriptor;
}

void Lock::renew() {
  Outcome outcome = engine_->renew();
  if (!outcome.ok()) core::raise(Verb::renew, engine_->display(), engine_->path(), std::move(outcome));
}

void Lock::renew(std::error_code& ec) noexcept {
  ec = without_throwing([&] { return engine_->renew(); }).code;
}

std::optional<std::chrono::nanoseconds> Lock::lease_left() const noexcept { return engine_->lease_left(); }
std::stop_token Lock::lost() const { return engine_->lost(); }
std::uint64_t Lock::fence() const noexcept { return engine_->fence(); }
bool Lock::previous_holder_died() const noexcept { return engine_->previous_holder_died(); }
std::error_code Lock::last_error() const noexcept { return engine_->last_error(); }
const std::string& Lock::path() const noexcept { return engine_->path(); }
std::string_view Lock::scheme() const noexcept { return engine_->scheme(); }

}  // namespace lockfile
