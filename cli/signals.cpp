// Signals as events: see signals.hpp.
#include "signals.hpp"

#include <fmt/format.h>

#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

namespace lockctl {

std::string signal_name(int signal) {
  const char* const name = ::sigabbrev_np(signal);
  return name != nullptr ? fmt::format("SIG{}", name) : fmt::format("signal {}", signal);
}

BlockedSignals::BlockedSignals(std::initializer_list<int> signals) {
  ::sigemptyset(&signals_);
  for (const int signal : signals) {
    struct sigaction inherited {};
    if (::sigaction(signal, nullptr, &inherited) == 0 && inherited.sa_handler != SIG_IGN) {
      ::sigaddset(&signals_, signal);
    }
  }
  ::pthread_sigmask(SIG_BLOCK, &signals_, &before_);
  descriptor_ = ::signalfd(-1, &signals_, SFD_CLOEXEC | SFD_NONBLOCK);
  if (descriptor_ < 0) {
    const int error = errno;
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    throw std::system_error(error, std::system_category(), "cannot watch for signals");
  }
}

BlockedSignals::~BlockedSignals() {
  ::close(descriptor_);
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

bool BlockedSignals::contains(int signal) const { return ::sigismember(&signals_, signal) == 1; }

std::optional<Caught> BlockedSignals::next() const {
  signalfd_siginfo info{};
  if (::read(descriptor_, &info, sizeof info) != static_cast<ssize_t>(sizeof info)) {
    return std::nullopt;  // none has come: EAGAIN is the only way for it to fail
  }
  return Caught{static_cast<int>(info.ssi_signo), info.ssi_code > 0};
}

}  // namespace lockctl
