// Whether another process has done all it can before something happens elsewhere. That it has been still for a while
// says only that the machine may be slow.
#pragma once

#include <sys/syscall.h>
#include <sys/types.h>

#include <fstream>
#include <string>

namespace lockfile::testing {

/// Does this peer sleep in a call that waits for others, and not for its next command? Or is it stopped? Asks proc(5),
/// which shows the call to whoever may trace the process. The first thread's word is taken.
inline bool rests(pid_t pid) {
  const std::string process = "/proc/" + std::to_string(pid);
  std::string stat;
  std::getline(std::ifstream(process + "/stat"), stat);
  const std::size_t name = stat.rfind(") ");  // which may hold anything, also parentheses
  if (name == std::string::npos) return false;
  const char state = stat[name + 2];
  if (state == 'T') return true;
  // `running` for one that is about to be anything else.
  long call = -1;
  if (state != 'S' || !(std::ifstream(process + "/syscall") >> call)) return false;
  return call >= 0 && call != SYS_read && call != SYS_recvfrom;
}

}  // namespace lockfile::testing
