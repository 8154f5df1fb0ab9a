// Whether another process has done all it can before something happens elsewhere. That it has been still for a while
// says only that the machine may be slow.
#pragma once

#include <sys/syscall.h>
#include <sys/types.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <vector>

namespace lockfile::testing {

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
    std::string stat;
    std::getline(std::ifstream(task + "/stat"), stat);
    const std::size_t name = stat.rfind(") ");  // which may hold anything, also parentheses
    const char state = name == std::string::npos ? 'Z' : stat[name + 2];
    if (state == 'Z') continue;
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

}  // namespace lockfile::testing
