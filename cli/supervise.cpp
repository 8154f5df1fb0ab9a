// Standing between a command, its terminal and whoever sends signals.
//
// The command leads a process group of its own, and lockctl behaves towards it as a shell does towards a job:
//
//   Ctrl-C, Ctrl-\     the terminal sends them to its foreground group: the command's, and so not to lockctl
//   Ctrl-Z             the command stops; lockctl sees it, takes the terminal back and stops its own group, so that the
//                      shell sees its job stopped
//   fg, bg             the shell continues lockctl's group; lockctl lends the terminal again if it has it, and
//   continues
//                      the command's group
//   kill PID           reaches lockctl alone and is passed on
#include "supervise.hpp"

#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

namespace lockctl {
namespace {

// In `lockctl run x -- make | less` the rest of the pipeline is in lockctl's own group and wants the terminal too (less
// reads from it). There the command has it only once it asks, by being stopped for touching it.
bool is_inside_a_pipeline() {
  struct stat out {};
  return ::fstat(STDOUT_FILENO, &out) == 0 && (S_ISFIFO(out.st_mode) || S_ISSOCK(out.st_mode));
}

}  // namespace

Supervisor::Supervisor(Child& child, Terminal& terminal, const BlockedSignals& signals, LeaseWatch* lease)
    : child_(child), terminal_(terminal), signals_(signals), lease_(lease), wants_terminal_(!is_inside_a_pipeline()) {}

void Supervisor::settle() {
  if (wants_terminal_ && terminal_.is_ours()) {
    terminal_.lend(child_.pid());
  }
}

int Supervisor::wait_for_end() {
  while (!ended_) {
    std::array<pollfd, 2> events{pollfd{signals_.descriptor(), POLLIN, 0},
                                 pollfd{lease_ != nullptr ? lease_->descriptor() : -1, POLLIN, 0}};
    if (::poll(events.data(), events.size(), lease_ != nullptr ? lease_->quiet_ms() : -1) > 0) {
      while (const auto caught = signals_.next()) {
        handle(*caught);
      }
    }
    if (lease_ != nullptr && !ended_) {
      lease_->act(child_);
    }
  }
  ended_in_foreground_ = terminal_.is_lent();
  terminal_.take_back();
  if (WIFSIGNALED(status_)) {
    terminal_.restore_modes();
  }
  return status_;
}

int Supervisor::ended_by_key() const {
  const int signal = WIFSIGNALED(status_) ? WTERMSIG(status_) : 0;
  const bool by_key = (signal == SIGINT || signal == SIGQUIT) && ended_in_foreground_ && signal != passed_on_;
  return by_key ? signal : 0;
}

void Supervisor::handle(const Caught& caught) {
  switch (caught.signal) {
    case SIGCHLD:
      observe();
      return;
    case SIGCONT:
      resume();
      return;
    case SIGPIPE:
    case SIGTTIN:
    case SIGTTOU:
      return;  // our own, blocked so that they do no harm
    case SIGHUP:
      if (caught.by_kernel && terminal_.is_lent()) {
        return;  // the terminal is gone, and has told its foreground group itself: the command's
      }
      break;
    default:
      break;
  }
  passed_on_ = caught.signal;
  child_.signal_group(caught.signal);
  // Signals do not come in the order of their causes: it may have stopped before. Asked after the signal:
  //   lockctl: has it stopped? no            passes the signal on
  //   command:                       stops                          sleeps on it for ever
  observe();
  if (stopped_ && caught.signal != SIGTSTP) {
    child_.signal_group(SIGCONT);  // a stopped process acts on no signal
  }
}

void Supervisor::observe() {
  while (const auto change = child_.change()) {
    stopped_ = change->kind == Child::Change::Kind::stopped;
    if (stopped_) {
      command_stopped(WSTOPSIG(change->status));
    } else if (change->kind == Child::Change::Kind::ended) {
      status_ = change->status;
      ended_ = true;
    }
  }
}

void Supervisor::command_stopped(int signal) {
  const bool wants_it_now = signal == SIGTTIN || signal == SIGTTOU;
  if (wants_it_now && terminal_.is_ours()) {
    wants_terminal_ = true;
    resume();
    return;
  }
  // Without a terminal there is no shell that could continue us. Nor for a SIGSTOP that somebody sent to a command in
  // the background: he will continue it in the same way, and lockctl must then be awake to see it end.
  if (!terminal_.present() || (signal == SIGSTOP && !terminal_.is_lent())) {
    return;
  }
  stop_with_it(signal);
}

void Supervisor::stop_with_it(int signal) {
  const bool whole_group = terminal_.is_lent();  // what the terminal would have stopped, were the command in our group
  terminal_.take_back();
  ::kill(whole_group ? 0 : ::getpid(), SIGTSTP);
  sigset_t stop{};
  sigset_t before{};
  ::sigemptyset(&stop);
  ::sigaddset(&stop, SIGTSTP);
  ::pthread_sigmask(SIG_UNBLOCK, &stop, &before);  // here we stop, and go on when the shell says so
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);

  sigset_t pending{};
  ::sigpending(&pending);
  if (::sigismember(&pending, SIGCONT) == 1) {
    return;  // it is the next signal to be handled
  }
  // We did not stop: no shell is there to continue our group, and for such a group the kernel ignores the request
  // (setpgid(2), "orphaned"). As a member of it the command would not have been stopped by Ctrl-Z either; one that
  // waits for the terminal gets what the kernel gives to stopped orphans.
  if (signal == SIGTTIN || signal == SIGTTOU) {
    child_.signal_group(SIGHUP);
  }
  resume();
}

void Supervisor::resume() {
  if (wants_terminal_ && terminal_.is_ours()) {
    terminal_.lend(child_.pid());
  }
  stopped_ = false;
  child_.signal_group(SIGCONT);
}

}  // namespace lockctl
