// A command that runs under a lease: see lease.hpp.
#include "lease.hpp"

#include "duration.hpp"
#include "text.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <system_error>

namespace lockctl {
namespace {

std::string local_time_now() { return fmt::format("{:%H:%M:%S}", fmt::localtime(std::time(nullptr))); }

std::chrono::milliseconds time_to_end(std::chrono::milliseconds ttl) { return ttl / 3; }
std::chrono::milliseconds time_after_term(std::chrono::milliseconds ttl) {
  return ttl.count() == 0 ? std::chrono::seconds(1) : ttl / 4;
}

}  // namespace

void LeaseWatch::Tell::operator()() const noexcept {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(event, &one, sizeof one);
}

LeaseWatch::LeaseWatch(lockfile::Lock& lock, std::chrono::milliseconds ttl, OnLost on_lost, std::string lock_file)
    : ttl_(ttl), on_lost_(on_lost), lock_file_(std::move(lock_file)), event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (event_ < 0) {
    throw std::system_error(errno, std::system_category(), "cannot make an event");
  }
  try {
    keeper_.emplace(lock, time_to_end(ttl_));
  } catch (...) {
    ::close(event_);
    throw;
  }
  on_told_.emplace(keeper_->lost(), Tell{event_});
}

LeaseWatch::~LeaseWatch() {
  end();
  ::close(event_);
}

void LeaseWatch::end() {
  on_told_.reset();
  keeper_.reset();
}

int LeaseWatch::quiet_ms() const {
  if (!told_ || killed_ || on_lost_ != OnLost::kill) {
    return -1;
  }
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(kill_at_ - Clock::now());
  return static_cast<int>(std::clamp<std::chrono::milliseconds::rep>(left.count(), 0, 1'000'000));
}

void LeaseWatch::act(const Child& child) {
  if (!told_ && is_lost()) {
    told_ = true;
    const bool broken = loss() == lockfile::Loss::broken;
    const auto left = keeper_->time_left().value_or(std::chrono::nanoseconds::zero());
    std::string what =
        ttl_.count() == 0
            ? fmt::format("lost {} at {}: it was broken, or its server is gone", quote(lock_file_), local_time_now())
        : broken           ? fmt::format("lost {} at {}: it was broken by force", quote(lock_file_), local_time_now())
        : left.count() > 0 ? fmt::format("about to lose {} at {}: its lease cannot be renewed, and runs out in {}",
                                         quote(lock_file_), local_time_now(), show_duration(left))
                           : fmt::format("lost {} at {}: its lease has run out", quote(lock_file_), local_time_now());
    if (on_lost_ == OnLost::warn) {
      say(what);
      return;
    }
    say(what + "; the command gets SIGTERM");
    child.signal_group(SIGTERM);
    child.signal_group(SIGCONT);  // a stopped process acts on no signal
    // Where the lease is over already, there is no time left to wait in.
    const auto wait = std::min<std::chrono::nanoseconds>(time_after_term(ttl_), broken ? time_after_term(ttl_) : left);
    kill_at_ = Clock::now() + std::max(wait, std::chrono::nanoseconds::zero());
  }
  if (told_ && !killed_ && on_lost_ == OnLost::kill && Clock::now() >= kill_at_) {
    killed_ = true;
    say(fmt::format("the command of {} has not ended in time, and gets SIGKILL", quote(lock_file_)));
    child.signal_group(SIGKILL);
  }
}

}  // namespace lockctl
