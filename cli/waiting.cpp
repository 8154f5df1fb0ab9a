// What goes on beside a wait: see waiting.hpp.
#include "waiting.hpp"

#include "text.hpp"

#include <fmt/format.h>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <system_error>

namespace lockctl {
namespace {

using namespace std::chrono_literals;

constexpr auto refresh = 1000ms;
// On a terminal a wait is told at once, but not one that is over before anybody could read it.
constexpr auto first_on_terminal = 100ms;
constexpr auto first_in_a_log = 3000ms;

// A line that is rewritten once a second belongs on a terminal where we are in the foreground: in the background it
// would go through whatever the user is typing.
bool may_rewrite() { return ::isatty(STDERR_FILENO) == 1 && ::tcgetpgrp(STDERR_FILENO) == ::getpgrp(); }

std::size_t columns() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void put(std::string_view bytes) {
  // A terminal that has gone away is no reason to give up the wait.
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, bytes.data(), bytes.size());
}

constexpr std::string_view clear_line = "\r\x1b[K";

}  // namespace

Companion::Companion(const BlockedSignals& signals, std::string lock_file, Look look)
    : signals_(signals), lock_file_(std::move(lock_file)), look_(std::move(look)), done_(::eventfd(0, EFD_CLOEXEC)) {
  if (done_ < 0) {
    throw std::system_error(errno, std::system_category(), "cannot make an event descriptor");
  }
  thread_ = std::thread([this] { work(); });
}

Companion::~Companion() {
  finish();
  ::close(done_);
}

void Companion::finish() {
  if (!thread_.joinable()) {
    return;
  }
  const std::uint64_t one = 1;
  // Cannot fail: the counter is far from full.
  [[maybe_unused]] const auto written = ::write(done_, &one, sizeof one);
  thread_.join();
  if (line_open_) {
    put(clear_line);
  }
}

std::chrono::steady_clock::duration Companion::elapsed() const { return std::chrono::steady_clock::now() - begin_; }

void Companion::work() {
  auto next = begin_ + (may_rewrite() ? first_on_terminal : first_in_a_log);
  std::array<pollfd, 2> events{{{done_, POLLIN, 0}, {signals_.descriptor(), POLLIN, 0}}};
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - std::chrono::steady_clock::now());
    const int ready = ::poll(events.data(), events.size(), left > 0ms ? static_cast<int>(left.count()) : 0);
    if (ready > 0 && events[0].revents != 0) {
      return;
    }
    if (ready > 0) {
      if (const auto caught = signals_.next()) {
        signal_ = signal_ == 0 ? caught->signal : signal_;
        stop_.request_stop();
      }
    }
    if (std::chrono::steady_clock::now() >= next) {
      tell();
      next = std::chrono::steady_clock::now() + refresh;
    }
  }
}

void Companion::tell() {
  const bool rewrite = may_rewrite();
  if (!rewrite && (spoken_ || elapsed() < first_in_a_log)) {
    return;
  }
  const auto line = text();
  if (!line) {
    return;  // free at this moment, or not to be seen: the wait itself will tell
  }
  if (rewrite) {
    put(fmt::format("{}{}", clear_line, shorten(*line, columns() - 1)));
    line_open_ = true;
  } else {
    put(*line + "\n");
  }
  spoken_ = true;
}

std::optional<std::string> Companion::text() const {
  const auto holder = look_();
  if (!holder) {
    return std::nullopt;
  }
  std::string line = fmt::format("lockctl: waiting for {}: held by {}", quote(lock_file_), escape(holder->who()));
  if (const std::string age = age_of(*holder); !age.empty()) {
    line += fmt::format(" for {}", age);
  }
  if (!holder->reason.empty()) {
    line += fmt::format(": {}", escape(holder->reason));
  }
  return line;
}

}  // namespace lockctl
