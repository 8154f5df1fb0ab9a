// The verbs of a semaphore. Each acquire has a lock object of its own inside: units are no re-entry of one another.
#include <lockfile/semaphore.hpp>

#include "claim/record.hpp"
#include "core/engine.hpp"
#include "core/path.hpp"
#include "schemes/catalogue.hpp"
#include "schemes/semaphore/scheme.hpp"

#include <new>
#include <utility>

namespace lockfile {

using core::Outcome;
using core::Verb;

Semaphore::Units::Units() noexcept = default;
Semaphore::Units::Units(Units&& from) noexcept
    : engine_(std::move(from.engine_)), size_(std::exchange(from.size_, 0)) {}
Semaphore::Units& Semaphore::Units::operator=(Units&& from) noexcept {
  engine_ = std::move(from.engine_);
  size_ = std::exchange(from.size_, 0);
  return *this;
}
Semaphore::Units::~Units() = default;  // the engine's end releases
Semaphore::Units::Units(std::unique_ptr<core::Engine> engine, std::size_t size) noexcept
    : engine_(std::move(engine)), size_(size) {}

bool Semaphore::Units::i_am_locking() const noexcept { return engine_ && engine_->i_am_locking(); }

void Semaphore::Units::release() {
  if (!engine_) return;
  size_ = 0;
  const auto engine = std::move(engine_);
  Outcome outcome = engine->release();
  if (!outcome.ok()) core::raise(Verb::release, engine->display(), engine->path(), std::move(outcome));
}

void Semaphore::Units::release(std::error_code& ec) noexcept {
  ec.clear();
  if (!engine_) return;
  size_ = 0;
  const auto engine = std::move(engine_);
  try {
    ec = engine->release().code;
  } catch (const std::bad_alloc&) {  // only in a forked child; not reached by tests
    ec = std::make_error_code(std::errc::not_enough_memory);
  }
}

Semaphore::Semaphore(std::string_view path, std::size_t units, const Options& options)
    : display_(claim::printable(path)), units_(units), options_(options) {
  auto file = core::absolute_path(os::Process::current(), path);
  const bool wrong = file.error == EINVAL || units == 0 || options.reason.size() > claim::longest_reason ||
                     schemes::find_scheme(options.scheme) == nullptr;
  if (wrong || !file.ok()) {
    const std::error_code code = wrong ? std::make_error_code(std::errc::invalid_argument) : os::code_of(file.error);
    core::raise(Verb::lock, display_, std::string(path), {code, "cannot name a semaphore", {}});
  }
  path_ = core::to_string(file.value);
  options_.threaded = false;
}

Semaphore::Semaphore(std::shared_ptr<Scheme> named, std::string path, std::string display, std::size_t units,
                     const Options& options)
    : path_(std::move(path)), display_(std::move(display)), units_(units), options_(options), named_(std::move(named)) {
  options_.threaded = false;
}

std::unique_ptr<core::Engine> Semaphore::engine(std::size_t wanted) const {
  if (named_) return std::make_unique<core::Engine>(path_, display_, named_->semaphore(units_, wanted), options_);
  auto file = core::absolute_path(os::Process::current(), path_);
  return std::make_unique<core::Engine>(
      path_, display_, std::make_unique<schemes::SemaphoreScheme>(file.value, units_, wanted, options_), options_);
}

Semaphore::Units Semaphore::acquire(std::size_t units, const Wait& wait) {
  auto engine = this->engine(units);
  Outcome outcome = units == 0 || units > units_
                        ? Outcome{std::make_error_code(std::errc::invalid_argument),
                                  std::to_string(units) + " of " + std::to_string(units_) + " units were asked for",
                                  {}}
                        : engine->acquire(Mode::exclusive, wait);
  if (!outcome.ok()) core::raise(Verb::lock, display_, path_, std::move(outcome));
  return {std::move(engine), units};
}

Semaphore::Units Semaphore::acquire(std::size_t units, const Wait& wait, std::error_code& ec) noexcept {
  try {
    ec = std::make_error_code(std::errc::invalid_argument);
    if (units == 0 || units > units_) return {};
    auto engine = this->engine(units);
    ec = engine->acquire(Mode::exclusive, wait).code;
    if (ec) return {};
    return {std::move(engine), units};
  } catch (const std::bad_alloc&) {
    ec = std::make_error_code(std::errc::not_enough_memory);
    return {};
  }
}

std::vector<Holder> Semaphore::holders() const {
  std::vector<Holder> all;
  Outcome outcome = engine(1)->holders(all);
  if (!outcome.ok()) core::raise(Verb::tell, display_, path_, std::move(outcome));
  return all;
}

}  // namespace lockfile
