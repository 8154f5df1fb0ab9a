// The controlling terminal: see terminal.hpp.
#include "terminal.hpp"

#include <fcntl.h>
#include <unistd.h>

namespace lockctl {

// By its own name and not by descriptor 0: that one may be a pipe or somebody else's terminal.
Terminal::Terminal() : descriptor_(::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)) {}

Terminal::~Terminal() {
  if (present()) {
    ::close(descriptor_);
  }
}

bool Terminal::is_ours() const { return present() && ::tcgetpgrp(descriptor_) == ::getpgrp(); }

void Terminal::lend(pid_t group) {
  if (!has_modes_) {
    has_modes_ = ::tcgetattr(descriptor_, &modes_) == 0;
  }
  if (present() && ::tcsetpgrp(descriptor_, group) == 0) {
    lent_to_ = group;
  }
}

void Terminal::take_back() {
  if (lent_to_ != 0 && ::tcgetpgrp(descriptor_) == lent_to_) {
    ::tcsetpgrp(descriptor_, ::getpgrp());
  }
  lent_to_ = 0;
}

void Terminal::restore_modes() const {
  if (has_modes_ && is_ours()) {
    ::tcsetattr(descriptor_, TCSADRAIN, &modes_);
  }
}

}  // namespace lockctl
