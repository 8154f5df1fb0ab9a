// What Linux says about the host, its namespaces and this program.
#include "os/posix.hpp"

#include <limits.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <ctime>
#include <memory>

namespace lockfile::os {
namespace {

// Namespaces are named by the inode of their file (namespaces(7)).
Result<std::uint64_t> namespace_of(const char* path) noexcept {
  struct stat got = {};
  if (::stat(path, &got) < 0) return {0, errno};
  return {got.st_ino, 0};
}

std::string without_newline(std::string_view text) { return std::string(text.substr(0, text.find('\n'))); }

}  // namespace

std::chrono::nanoseconds RealSystem::since_boot() noexcept {
  timespec passed = {};
  ::clock_gettime(CLOCK_BOOTTIME, &passed);  // cannot fail: Linux has had it since 2.6.39
  return std::chrono::seconds(passed.tv_sec) + std::chrono::nanoseconds(passed.tv_nsec);
}

Result<std::string> RealSystem::boot_id() {
  std::array<char, 64> text{};
  const auto size = read_small_file("/proc/sys/kernel/random/boot_id", text);
  if (!size.ok()) return {{}, size.error};
  return {without_newline({text.data(), size.value}), 0};
}

std::string RealSystem::host_name() {
  std::array<char, HOST_NAME_MAX + 1> name{};
  if (::gethostname(name.data(), name.size() - 1) < 0) return {};
  return name.data();
}

Result<std::uint64_t> RealSystem::pid_namespace() noexcept { return namespace_of("/proc/self/ns/pid"); }
Result<std::uint64_t> RealSystem::time_namespace() noexcept { return namespace_of("/proc/self/ns/time"); }

std::string RealSystem::program_name() {
  std::array<char, 64> text{};
  const auto size = read_small_file("/proc/self/comm", text);
  return size.ok() ? without_newline({text.data(), size.value}) : std::string();
}

Result<std::string> RealSystem::current_directory() {
  const std::unique_ptr<char, void (*)(void*)> path(::getcwd(nullptr, 0), ::free);
  if (path == nullptr) return {{}, errno};
  return {path.get(), 0};
}

std::uint64_t RealSystem::random() noexcept {
  // Cannot fail for so few bytes once the kernel's pool is ready, which it waits for (getrandom(2)); interrupted by a
  // signal before that, it is asked again.
  std::uint64_t number = 0;
  while (::getrandom(&number, sizeof number, 0) != static_cast<ssize_t>(sizeof number)) {
    if (errno == ENOSYS) fatal("this kernel has no getrandom(2)");
  }
  return number;
}

}  // namespace lockfile::os
