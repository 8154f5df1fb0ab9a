// Whether another process has done all it can before something happens elsewhere. That it has been still for a while
// says only that the machine may be slow.
#pragma once

#include <sys/syscall.h>
#include <sys/types.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

namespace lockfile::testing {

/// The state of a process or a thread by its directory in proc(5): 'S', 'T', 'Z'; '-' where there is none.
inline char state_in(const std::string& directory) {
  std::string stat;
  std::getline(std::ifstream(directory + "/stat"), stat);
  const std::size_t name = stat.rfind(") ");  // which may hold anything, also parentheses
  return name == std::string::npos ? '-' : stat[name + 2];
}

/// Does this peer sleep in a call that waits for others, and not for its next command? Or is it stopped? Asks proc(5),
/// which shows the call to whoever may trace the process. Of several threads the first that lives is asked.
inline bool rests(pid_t pid) {
  std::error_code gone;
  std::vector<long> threads;
  std::filesystem::directory_iterator each("/proc/" + std::to_string(pid) + "/task", gone);
  for (; !gone && each != std::filesystem::directory_iterator(); each.increment(gone)) {
    threads.push_back(std::stol(each->path().filename()));
  }
  std::sort(threads.begin(), threads.end());
  for (const long thread : threads) {
    const std::string task = "/proc/" + std::to_string(pid) + "/task/" + std::to_string(thread);
    const char state = state_in(task);
    if (state == 'Z' || state == '-') continue;
    if (state == 'T') return true;
    if (state != 'S') return false;
    // "running" for one that has woken meanwhile; nothing where this may not be looked at: then it sleeps, somewhere.
    std::string call;
    if (!(std::ifstream(task + "/syscall") >> call)) return true;
    return call != "running" && call != "-1" && call != std::to_string(SYS_read) &&
           call != std::to_string(SYS_recvfrom);
  }
  return false;
}

/// Does it say nothing for a moment, and rest? `speaks` waits for that moment. Nothing: it did neither until `limit`.
template <class Speaks>
std::optional<bool> is_silent(pid_t pid, Speaks speaks, std::chrono::steady_clock::duration limit) {
  const auto give_up = std::chrono::steady_clock::now() + limit;
  do {
    if (speaks()) return false;
    if (rests(pid)) return true;
  } while (std::chrono::steady_clock::now() < give_up);
  return std::nullopt;
}

}  // namespace lockfile::testing
