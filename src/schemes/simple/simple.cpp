// The adaptor for schemes that have one try and one release: waiting is by polling.
#include <lockfile/error.hpp>
#include <lockfile/scheme.hpp>

#include "os/backoff.hpp"
#include "os/process.hpp"

#include <new>

namespace lockfile {
namespace {

class SimpleAttempt final : public Attempt {
 public:
  explicit SimpleAttempt(SimpleScheme& scheme) : scheme_(scheme) {}

  Step step() noexcept override {
    Step step = scheme_.try_once();
    if (auto* blocked = std::get_if<Blocked>(&step);
        blocked != nullptr && !blocked->look_again && blocked->on.empty()) {
      blocked->look_again = backoff_.next(os::Process::current().system());
    }
    return step;
  }
  std::optional<Blocked> withdraw() noexcept override { return std::nullopt; }
  std::error_code release() noexcept override { return scheme_.release(); }
  bool still_held(std::error_code& why) noexcept override {
    why.clear();
    return scheme_.still_held();
  }
  void abandon() noexcept override {}
  bool reuse(const Request& /*request*/) noexcept override {
    backoff_ = fresh();
    return true;
  }

 private:
  static os::Backoff fresh() noexcept { return {std::chrono::milliseconds(1), std::chrono::milliseconds(100)}; }

  SimpleScheme& scheme_;
  os::Backoff backoff_ = fresh();
};

}  // namespace

std::unique_ptr<Attempt> SimpleScheme::attempt(const Request& /*request*/) {
  return std::make_unique<SimpleAttempt>(*this);
}

std::vector<Holder> SimpleScheme::holders(std::error_code& why) {
  // Such a scheme learns who holds by trying, and trying here could succeed.
  why = std::make_error_code(std::errc::operation_not_supported);
  return {};
}

std::error_code SimpleScheme::break_hold(const Holder& /*hold*/, Proof /*proof*/) noexcept {
  return std::make_error_code(std::errc::operation_not_supported);
}

std::unique_ptr<Scheme> Scheme::semaphore(std::size_t /*units*/, std::size_t /*wanted*/) { return nullptr; }

std::error_code Scheme::initialise(std::string& /*what*/) { return {}; }

Examination Scheme::examine(std::error_code& why) {
  why.clear();
  return {};
}

std::vector<std::string> Scheme::locked_names(std::error_code& why, std::string& /*what*/) {
  why = std::make_error_code(std::errc::operation_not_supported);
  return {};
}

Step Attempt::convert(Mode to) noexcept {
  try {
    return Failed{std::make_error_code(std::errc::operation_not_supported),
                  "this scheme cannot make a hold " + std::string(to_string(to)),
                  {}};
  } catch (const std::bad_alloc&) {
    return Failed{std::make_error_code(std::errc::not_enough_memory), {}, {}};
  }
}

bool Attempt::reuse(const Request& /*request*/) noexcept { return false; }

bool Attempt::enter(const Request& /*request*/) noexcept { return false; }

bool Attempt::leave() noexcept { return false; }

bool Attempt::pass_to(std::int64_t /*thread*/) noexcept { return false; }

std::error_code Attempt::hand_over(std::int64_t /*child*/) noexcept {
  return std::make_error_code(std::errc::operation_not_supported);
}

std::error_code Attempt::renew() noexcept { return std::make_error_code(std::errc::operation_not_supported); }

std::optional<int> Attempt::share_guard(std::error_code& why) noexcept {
  why = std::make_error_code(std::errc::operation_not_supported);
  return std::nullopt;
}

}  // namespace lockfile
