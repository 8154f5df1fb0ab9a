// The command of `lockctl run` as a process: see child.hpp.
//
//   lockctl                         child
//   fork                            setpgid, then reads the pipe: blocked
//   hand_over(child): its pid is
//   in the record, the lock stands
//   while either of the two lives
//   writes one byte                 exec
//   killed anywhere before          end of file: ends without exec
//
// So there is no moment at which the command runs and the lock does not stand for it.
#include "child.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>

namespace lockctl {
namespace {

[[noreturn]] void fail(int error, const char* what) { throw std::system_error(error, std::system_category(), what); }

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (const std::string& string : strings) {
    result.push_back(const_cast<char*>(string.c_str()));  // exec(3) takes char*, and writes to none of them
  }
  result.push_back(nullptr);
  return result;
}

struct Start {
  char* const* arguments;
  char* const* environment;
  int guard;
  int go_in;
  int go_out;
  int report_out;
  pid_t parent;
  const Inheritance* inheritance;
};

// Between fork and exec: nothing here may allocate or take a lock.
[[noreturn]] void become_command(const Start& start) {
  ::setpgid(0, 0);
  ::close(start.go_out);  // else lockctl's death would not be the end of this pipe
  if (start.guard >= 0) {
    // A copy that exec leaves open, with a number that scripts do not use for their own files.
    constexpr int out_of_the_way = 64;
    if (::fcntl(start.guard, F_DUPFD, out_of_the_way) < 0) {
      ::fcntl(start.guard, F_SETFD, 0);
    }
  }
  char go = 0;
  ssize_t got = 0;
  do {
    got = ::read(start.go_in, &go, 1);
  } while (got < 0 && errno == EINTR);
  if (got != 1) {
    ::_exit(0);  // nobody is left to be told
  }
  if (go == static_cast<char>(OnOurDeath::dies)) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != start.parent) {
      ::_exit(0);  // it died before the line above, and the signal will not come
    }
  }
  ::sigaction(SIGCHLD, &start.inheritance->on_child_end, nullptr);
  ::pthread_sigmask(SIG_SETMASK, &start.inheritance->mask, nullptr);
  ::execvpe(start.arguments[0], start.arguments, start.environment);
  const int error = errno;
  [[maybe_unused]] const auto written = ::write(start.report_out, &error, sizeof error);
  ::_exit(1);  // lockctl makes its own status of the report
}

}  // namespace

Child::Child(const std::vector<std::string>& command, const std::vector<std::string>& environment, int guard,
             const Inheritance& inheritance) {
  const std::vector<char*> arguments = pointers(command);
  const std::vector<char*> variables = pointers(environment);
  std::array<int, 2> go{-1, -1};
  std::array<int, 2> report{-1, -1};
  if (::pipe2(go.data(), O_CLOEXEC) != 0) {
    fail(errno, "cannot make a pipe");
  }
  if (::pipe2(report.data(), O_CLOEXEC | O_NONBLOCK) != 0) {
    const int error = errno;
    ::close(go[0]);
    ::close(go[1]);
    fail(error, "cannot make a pipe");
  }
  const Start start{arguments.data(), variables.data(), guard, go[0], go[1], report[1], ::getpid(), &inheritance};
  pid_ = ::fork();
  const int error = errno;
  if (pid_ == 0) {
    become_command(start);
  }
  ::close(go[0]);
  ::close(report[1]);
  go_ = go[1];
  report_ = report[0];
  if (pid_ < 0) {
    ::close(go_);
    ::close(report_);
    fail(error, "cannot start a process");
  }
  ::setpgid(pid_, pid_);  // the child does it too: whoever comes first, it is done before anybody relies on it
}

Child::~Child() {
  if (go_ >= 0) {
    ::close(go_);
  }
  if (!reaped_) {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
  }
  ::close(report_);
}

void Child::let_go(OnOurDeath fate) {
  const char byte = static_cast<char>(fate);
  // Fails only if the child has been killed already: then its end is reported as any other.
  [[maybe_unused]] const auto written = ::write(go_, &byte, 1);
  ::close(go_);
  go_ = -1;
}

void Child::signal_group(int signal) const {
  if (!reaped_) {  // later the number may be somebody else's
    ::kill(-pid_, signal);
  }
}

std::optional<Child::Change> Child::change() {
  int status = 0;
  if (reaped_ || ::waitpid(pid_, &status, WNOHANG | WUNTRACED | WCONTINUED) != pid_) {
    return std::nullopt;
  }
  if (WIFSTOPPED(status)) {
    return Change{Change::Kind::stopped, status};
  }
  if (WIFCONTINUED(status)) {
    return Change{Change::Kind::continued, status};
  }
  reaped_ = true;
  return Change{Change::Kind::ended, status};
}

int Child::exec_error() const {
  int error = 0;
  return ::read(report_, &error, sizeof error) == static_cast<ssize_t>(sizeof error) ? error : 0;
}

}  // namespace lockctl
