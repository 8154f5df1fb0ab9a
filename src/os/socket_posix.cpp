// poll(2).
#include "os/socket.hpp"

#include <poll.h>

#include <algorithm>
#include <cerrno>

namespace lockfile::os {
namespace {

int poll_once(int descriptor, Ready what, int timeout_ms) noexcept {
  pollfd one{descriptor, static_cast<short>(what == Ready::to_read ? POLLIN | POLLRDHUP : POLLOUT), 0};
  return ::poll(&one, 1, timeout_ms);
}

}  // namespace

bool socket_is(int descriptor, Ready what) noexcept { return poll_once(descriptor, what, 0) > 0; }

bool wait_for_socket(int descriptor, Ready what, std::chrono::steady_clock::time_point until) noexcept {
  using std::chrono::milliseconds;
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(until - std::chrono::steady_clock::now());
    const int ready =
        poll_once(descriptor, what, static_cast<int>(std::clamp<milliseconds::rep>(left.count(), 0, 1000)));
    // An error is the library's to find; not reached by tests.
    if (ready > 0 || (ready < 0 && errno != EINTR)) return true;
    if (left.count() <= 0) return false;
  }
}

}  // namespace lockfile::os
