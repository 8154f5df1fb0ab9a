// Starting threads.
#include "os/thread.hpp"

#include <pthread.h>
#include <signal.h>

#include <utility>

namespace lockfile::os {
namespace {

// A new thread has its maker's mask (pthread_create(3)): so there is no moment in which it has another.
class AllSignalsBlocked {
 public:
  AllSignalsBlocked() noexcept {
    sigset_t all;
    sigfillset(&all);
    (void)::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  AllSignalsBlocked(const AllSignalsBlocked&) = delete;
  AllSignalsBlocked& operator=(const AllSignalsBlocked&) = delete;
  ~AllSignalsBlocked() { (void)::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

}  // namespace

std::thread start_thread(Process& process, std::function<void()> run) {
  const AllSignalsBlocked blocked;
  return std::thread([&process, run = std::move(run)] {
    if (&Process::current() != &process) Process::set_current(&process);
    run();
  });
}

}  // namespace lockfile::os
