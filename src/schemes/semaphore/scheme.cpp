// Collecting units, and giving them back.
#include "schemes/semaphore/scheme.hpp"

#include "schemes/catalogue.hpp"

#include <lockfile/error.hpp>

#include <algorithm>
#include <new>
#include <optional>
#include <utility>

namespace lockfile::schemes {

class SemaphoreAttempt final : public Attempt {
 public:
  SemaphoreAttempt(SemaphoreScheme& scheme, const Request& request)
      : scheme_(scheme), request_(request), units_(scheme.units_.size()) {}

  Step step() noexcept override {
    try {
      // More than twice: the right is broken as fast as it is acquired.
      constexpr int rounds = 16;
      for (int i = 0; i < rounds; ++i) {
        if (auto step = admitted_ ? collect() : be_admitted()) return *std::move(step);
      }
      return Blocked{{}, os::Process::current().system().now() + a_moment, {}};
    } catch (const std::bad_alloc&) {
      return Failed{std::make_error_code(std::errc::not_enough_memory), {}, {}};
    }
  }

  std::optional<Blocked> withdraw() noexcept override {
    (void)give_back();
    if (!right_) return std::nullopt;
    if (admitted_) {
      (void)right_->release();
    } else if (auto more = right_->withdraw()) {
      return more;  // not reached by tests: no scheme with files needs a second withdrawal
    }
    right_.reset();
    return std::nullopt;
  }

  std::error_code release() noexcept override { return give_back(); }

  bool still_held(std::error_code& why) noexcept override {
    why.clear();
    return std::all_of(units_.begin(), units_.end(),
                       [&](const Unit& each) { return !each.held || each.attempt->still_held(why); });
  }

  // Of a hold, which has the right to be admitted no more.
  void abandon() noexcept override {
    for (Unit& each : units_) {
      if (each.attempt) each.attempt->abandon();
      each = {};
    }
  }

 private:
  struct Unit {
    std::unique_ptr<Attempt> attempt;
    bool held = false;
  };

  static constexpr std::chrono::milliseconds a_moment{2};
  // While it collects: its own right that is broken is no event for it.
  static constexpr std::chrono::seconds looks_at_its_right{1};

  // Nothing: go on with the next step.
  std::optional<Step> be_admitted() {
    if (!right_) right_ = scheme_.right_->attempt(request_);
    Step step = right_->step();
    if (!std::holds_alternative<Granted>(step)) return step;
    admitted_ = true;
    return std::nullopt;
  }

  std::optional<Step> collect() {
    std::error_code why;
    if (!right_->still_held(why)) {
      // Not reached by tests: the right is held for moments, and nobody breaks it but by hand.
      if (why) return fail({why, "cannot look at the right to be admitted", {}});
      // Somebody else may collect by now: each would have what the other waits for.
      (void)give_back();
      lose_right();
      return std::nullopt;
    }
    Blocked blocked;
    blocked.look_again = os::Process::current().system().now() + looks_at_its_right;
    auto held = static_cast<std::size_t>(
        std::count_if(units_.begin(), units_.end(), [](const Unit& each) { return each.held; }));
    for (std::size_t i = 0; i < units_.size() && held < scheme_.wanted_; ++i) {
      Unit& unit = units_[i];
      if (unit.held) continue;
      if (!unit.attempt) unit.attempt = scheme_.units_[i]->attempt(request_);
      Step step = unit.attempt->step();
      if (auto* const failed = std::get_if<Failed>(&step)) return fail(std::move(*failed));
      if (auto* const busy = std::get_if<Blocked>(&step)) {
        merge(std::move(*busy), blocked);
        continue;
      }
      unit.held = true;
      ++held;
    }
    if (held < scheme_.wanted_) return Step(std::move(blocked));
    // What was waited for and is not needed any more.
    for (Unit& each : units_) {
      if (each.attempt && !each.held) (void)each.attempt->withdraw();
      if (!each.held) each.attempt.reset();
    }
    lose_right();
    return Step(Granted{});
  }

  void merge(Blocked one, Blocked& all) const {
    all.on.insert(all.on.end(), one.on.begin(), one.on.end());
    if (one.look_again && *one.look_again < *all.look_again) all.look_again = one.look_again;
    // Our own other units are in the way only where nobody else's are.
    const auto is_ours = [&](const Holder& by) { return by.this_process && by.thread == request_.thread; };
    if (one.by && (!all.by || (is_ours(*all.by) && !is_ours(*one.by)))) all.by = std::move(one.by);
  }

  Step fail(Failed failed) {
    (void)give_back();
    lose_right();
    return failed;
  }

  void lose_right() noexcept {
    (void)right_->release();
    right_.reset();
    admitted_ = false;
  }

  // The first error, if any; all are tried.
  std::error_code give_back() noexcept {
    std::error_code first;
    for (Unit& each : units_) {
      std::error_code error;
      if (each.held) {
        error = each.attempt->release();
      } else if (each.attempt) {
        (void)each.attempt->withdraw();
      }
      each = {};
      if (!first) first = error;
    }
    return first;
  }

  SemaphoreScheme& scheme_;
  Request request_;
  std::unique_ptr<Attempt> right_;
  bool admitted_ = false;
  std::vector<Unit> units_;
};

SemaphoreScheme::SemaphoreScheme(const FilePath& path, std::size_t units, std::size_t wanted, const Options& options)
    : right_(find_scheme(options.scheme)->make(path, options)), wanted_(wanted) {
  for (std::size_t i = 1; i <= units; ++i) {
    units_.push_back(
        find_scheme(options.scheme)->make(FilePath{path.directory, path.name + "." + std::to_string(i)}, options));
  }
}

Traits SemaphoreScheme::traits() const noexcept {
  return {.crash_recovery = true, .across_hosts = true, .event_wait = true, .queues = true};
}

std::unique_ptr<Attempt> SemaphoreScheme::attempt(const Request& request) {
  return std::make_unique<SemaphoreAttempt>(*this, request);
}

std::vector<Holder> SemaphoreScheme::holders(std::error_code& why) {
  std::vector<Holder> all;
  for (const auto& unit : units_) {
    auto its = unit->holders(why);
    if (why) return {};
    std::move(its.begin(), its.end(), std::back_inserter(all));
  }
  return all;
}

// Not reached: no verb of a semaphore breaks. A unit is broken by its own lock file.
std::error_code SemaphoreScheme::break_hold(const Holder& /*hold*/, Proof /*proof*/) noexcept {
  return std::make_error_code(std::errc::operation_not_supported);
}

void SemaphoreScheme::abandon() noexcept {
  right_->abandon();
  for (const auto& unit : units_) unit->abandon();
}

}  // namespace lockfile::schemes
