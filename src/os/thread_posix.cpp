// Starting threads.
#include "os/thread.hpp"

#include <signal.h>

#include <utility>

namespace lockfile::os {

// A new thread has its maker's mask (pthread_create(3)): so there is no moment in which it has another. SIGABRT is
// blocked too: abort(3) unblocks it.
AllSignalsBlocked::AllSignalsBlocked() noexcept {
  sigset_t all;
  sigfillset(&all);
  for (const int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS}) sigdelset(&all, own);
  (void)::pthread_sigmask(SIG_SETMASK, &all, &before_);
}

AllSignalsBlocked::~AllSignalsBlocked() { (void)::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

std::thread start_thread(Process& process, std::function<void()> run) {
  const AllSignalsBlocked blocked;
  return std::thread([&process, run = std::move(run)] {
    if (&Process::current() != &process) Process::set_current(&process);
    run();
  });
}

}  // namespace lockfile::os
