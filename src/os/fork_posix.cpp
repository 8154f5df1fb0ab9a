// pthread_atfork(3): a forked child closes the descriptors whose copies would prolong its parent's hold.
#include "os/process.hpp"
#include "os/real.hpp"

#include <pthread.h>

#include <mutex>

namespace lockfile::os {

void install_fork_handlers() {
  static std::once_flag once;
  std::call_once(once, [] {
    // Fails only for want of memory; then a child's copy lives until it execs or ends, as after a bare clone(2).
    (void)::pthread_atfork(
        [] {
          if (Process* const process = Process::real()) process->before_fork();
        },
        [] {
          if (Process* const process = Process::real()) process->after_fork_in_parent();
        },
        [] {
          if (Process* const process = Process::real()) process->after_fork_in_child();
        });
  });
}

}  // namespace lockfile::os
