// Waiting: inotify(7), eventfd(2) and ppoll(2).
#include "os/posix.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

namespace lockfile::os {
namespace {

// A link or unlink of another name of a file changes its link count, which is IN_ATTRIB. IN_CLOSE_WRITE tells of
// a holder in another pid namespace that was killed; IN_MODIFY of one that marked its record as released.
std::uint32_t mask_of(Notice what) noexcept {
  switch (what) {
    case Notice::file:
      return IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_CLOSE_WRITE | IN_MODIFY;
    case Notice::word:
      return IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_CREATE | IN_DELETE | IN_MOVE;
    case Notice::lock:
      // Every close may be of a foreign locker: flock(1) opens for reading. It precedes the drop of the lock.
      return IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_CLOSE;
    case Notice::contents:
      break;
  }
  return IN_CREATE | IN_DELETE | IN_MOVE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF;
}

}  // namespace

Result<int> RealSystem::notify_open() noexcept { return descriptor_result(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)); }

Result<int> RealSystem::notify_add(int notify, int descriptor, Notice what) noexcept {
  // By the descriptor's magic link, not by a name: the watch is on the very inode that was judged.
  std::array<char, 40> path{};
  std::snprintf(path.data(), path.size(), "/proc/self/fd/%d", descriptor);
  return descriptor_result(::inotify_add_watch(notify, path.data(), mask_of(what) | IN_MASK_ADD));
}

void RealSystem::notify_remove(int notify, int watch) noexcept {
  // EINVAL: the inode is gone, and its watch with it.
  ::inotify_rm_watch(notify, watch);
}

Result<std::vector<Notification>> RealSystem::notify_read(int notify) {
  Result<std::vector<Notification>> events;
  alignas(inotify_event) std::array<char, 4096> buffer{};
  for (;;) {
    const ssize_t got = ::read(notify, buffer.data(), buffer.size());
    if (got < 0) {
      if (errno == EINTR) continue;  // not reached by tests: it does not block
      if (errno != EAGAIN) events.error = errno;
      return events;
    }
    for (std::size_t at = 0; at < static_cast<std::size_t>(got);) {
      inotify_event event = {};
      std::memcpy(&event, buffer.data() + at, sizeof event);
      at += sizeof event + event.len;
      // IN_IGNORED alone says no more than that a watch was removed, by us or with its inode.
      const bool everything = (event.mask & IN_Q_OVERFLOW) != 0;
      events.value.push_back({event.wd, everything});
    }
  }
}

Result<int> RealSystem::event_open() noexcept { return descriptor_result(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

void RealSystem::event_set(int event) noexcept {
  const std::uint64_t one = 1;
  // EAGAIN: the counter is full, so it is readable already.
  [[maybe_unused]] const ssize_t put = ::write(event, &one, sizeof one);
}

void RealSystem::event_clear(int event) noexcept {
  std::uint64_t count = 0;
  // EAGAIN: it was clear.
  [[maybe_unused]] const ssize_t got = ::read(event, &count, sizeof count);
}

Status RealSystem::wait(std::span<Waitable> on,
                        std::optional<std::chrono::steady_clock::time_point> deadline) noexcept {
  constexpr std::size_t most = 64;
  std::array<pollfd, most> polled{};
  if (on.size() > most) return EINVAL;
  for (std::size_t i = 0; i < on.size(); ++i) polled[i] = {on[i].descriptor, POLLIN, 0};
  timespec left = {};
  if (deadline) {
    const auto remaining = std::max(*deadline - now(), std::chrono::steady_clock::duration::zero());
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(remaining);
    left.tv_sec = seconds.count();
    left.tv_nsec = std::chrono::nanoseconds(remaining - seconds).count();
  }
  const int got = ::ppoll(polled.data(), on.size(), deadline ? &left : nullptr, nullptr);
  if (got < 0) return errno == EINTR ? 0 : errno;
  for (std::size_t i = 0; i < on.size(); ++i) on[i].fired = polled[i].revents != 0;
  return 0;
}

}  // namespace lockfile::os
