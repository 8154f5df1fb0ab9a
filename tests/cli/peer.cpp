// A command for lockctl to run, where a shell could not do it: it reports the signals that reach its group, closes
// every descriptor that it has, and so on. It speaks lines.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>

namespace {

void tell(const std::string& line) {
  const std::string whole = line + "\n";
  if (::write(STDOUT_FILENO, whole.data(), whole.size()) < 0) {
    ::_exit(99);
  }
}

// Waits for one signal, then for the quiescent time: a second one would be one too many.
int report_one(const sigset_t& signals, const std::string& who) {
  const int signal = ::sigwaitinfo(&signals, nullptr);
  tell(who + " got SIG" + ::sigabbrev_np(signal));
  const timespec quiescent{0, 10'000'000};
  if (::sigtimedwait(&signals, nullptr, &quiescent) > 0) {
    tell(who + " got it twice");
  }
  return signal;
}

// Two processes of one group tell what they get. The exit status says that both have been told.
int report_signals() {
  sigset_t signals{};
  ::sigemptyset(&signals);
  for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2}) {
    ::sigaddset(&signals, signal);
  }
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  const pid_t mate = ::fork();
  if (mate == 0) {
    report_one(signals, "mate");
    ::_exit(0);
  }
  tell("ready " + std::to_string(::getpid()));
  report_one(signals, "leader");
  int status = 0;
  ::waitpid(mate, &status, 0);
  return 42;
}

// Without a descriptor of any kind, as a program that becomes a daemon: it says so by one pipe and ends by another.
int close_all(const char* say, const char* ask) {
  ::close_range(0, ~0U, 0);
  const int out = ::open(say, O_WRONLY);
  if (out < 0 || ::write(out, "closed\n", 7) != 7) {
    return 98;
  }
  ::close(out);
  // Opening waits for the other side: nothing is open meanwhile.
  return ::open(ask, O_RDONLY) >= 0 ? 0 : 97;
}

// Dies of any signal, from its first line on. (A shell between two commands may lose one.)
int wait_for_a_signal() {
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  tell("in the command.");
  for (;;) {
    ::pause();
  }
}

// One line for each signal that is blocked or ignored: what a program inherits.
int show_signals() {
  sigset_t mask{};
  ::sigprocmask(SIG_BLOCK, nullptr, &mask);
  for (int signal = 1; signal < 32; ++signal) {
    struct sigaction action {};
    ::sigaction(signal, nullptr, &action);
    if (::sigismember(&mask, signal) == 1) {
      tell(std::string("blocked SIG") + ::sigabbrev_np(signal));
    }
    if (action.sa_handler == SIG_IGN) {
      tell(std::string("ignored SIG") + ::sigabbrev_np(signal));
    }
  }
  tell("done");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what == "report-signals") {
    return report_signals();
  }
  if (what == "close-all" && argc == 4) {
    return close_all(argv[2], argv[3]);
  }
  if (what == "show-signals") {
    return show_signals();
  }
  if (what == "wait") {
    return wait_for_a_signal();
  }
  return 64;
}
