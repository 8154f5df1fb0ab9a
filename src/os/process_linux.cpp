// Processes and threads, as Linux shows them.
#include "os/posix.hpp"

#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <new>

namespace lockfile::os {

namespace {

// Every verb asks for the pid, to notice that it runs in a forked child. The pid is kept in a page that the kernel
// wipes in a child, however the child was made (madvise(2), MADV_WIPEONFORK, Linux 4.14), so asking costs no call.
std::atomic<std::int64_t>* wiped_on_fork() noexcept {
  const auto size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  void* const page = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return nullptr;  // not reached by tests: no memory for a page
  if (::madvise(page, size, MADV_WIPEONFORK) != 0) {
    ::munmap(page, size);
    return nullptr;  // Linux before 4.14; not reached by tests
  }
  return new (page) std::atomic<std::int64_t>(0);
}

std::atomic<std::atomic<std::int64_t>*> known_process = nullptr;  // null: not asked yet, or no such page is to be had

std::int64_t ask_process_id() noexcept {
  static std::atomic<std::int64_t>* const page = wiped_on_fork();
  const std::int64_t pid = ::getpid();
  if (page != nullptr) page->store(pid, std::memory_order_relaxed);
  known_process.store(page, std::memory_order_release);
  return pid;
}

std::int64_t current_process_id() noexcept {
  const std::atomic<std::int64_t>* const page = known_process.load(std::memory_order_acquire);
  const std::int64_t pid = page == nullptr ? 0 : page->load(std::memory_order_relaxed);
  return pid == 0 ? ask_process_id() : pid;
}

struct KnownThread {
  std::int64_t pid = 0;  // of the process in which the id was asked for
  std::int64_t id = 0;
};
thread_local KnownThread known_thread;

}  // namespace

std::int64_t RealSystem::process_id() noexcept { return current_process_id(); }

std::int64_t RealSystem::thread_id() noexcept { return caller().thread; }

System::Caller RealSystem::caller() noexcept {
  const std::int64_t pid = current_process_id();
  if (known_thread.pid != pid) known_thread = {pid, ::syscall(SYS_gettid)};
  return {pid, known_thread.id};
}

Result<int> RealSystem::open_process(std::int64_t pid) noexcept {
  return descriptor_result(::syscall(SYS_pidfd_open, static_cast<pid_t>(pid), 0U));
}

Result<bool> RealSystem::readable(int descriptor) noexcept {
  pollfd one = {descriptor, POLLIN, 0};
  const int got = ::poll(&one, 1, 0);
  if (got < 0) return {false, errno};
  return {got > 0, 0};
}

bool RealSystem::process_exists(std::int64_t pid) noexcept {
  return ::kill(static_cast<pid_t>(pid), 0) == 0 || errno != ESRCH;
}

Result<std::uint64_t> RealSystem::process_start(std::int64_t pid) noexcept {
  std::array<char, 48> path{};
  std::snprintf(path.data(), path.size(), "/proc/%lld/stat", static_cast<long long>(pid));
  std::array<char, 1024> text{};
  const auto size = read_small_file(path.data(), text);
  if (!size.ok()) return {0, size.error};
  return start_in({text.data(), size.value});
}

Result<std::uint64_t> start_in(std::string_view stat) noexcept {
  // Field 2, the program's name in brackets, may hold spaces and brackets of its own; what follows the last one is
  // numbers. The start is field 22, the 20th after it.
  std::size_t at = stat.rfind(')');
  if (at == std::string_view::npos) return {0, EINVAL};
  for (int field = 2; field < 22; ++field) {
    at = stat.find(' ', at + 1);
    if (at == std::string_view::npos) return {0, EINVAL};
  }
  std::uint64_t start = 0;
  const auto parsed = std::from_chars(stat.data() + at + 1, stat.data() + stat.size(), start);
  if (parsed.ec != std::errc{}) return {0, EINVAL};
  return {start, 0};
}

void RealSystem::lock(Mutex& mutex) noexcept { mutex.mutex_.lock(); }
void RealSystem::unlock(Mutex& mutex) noexcept { mutex.mutex_.unlock(); }

void RealSystem::fatal(std::string_view message) noexcept {
  std::fprintf(stderr, "lockfile: %.*s\n", static_cast<int>(message.size()), message.data());
  std::abort();
}

}  // namespace lockfile::os
