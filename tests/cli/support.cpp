// What the tests of lockctl are made of: see support.hpp.
#include "support.hpp"

#include "support/rest.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pty.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace cli_test {
namespace {

using Clock = std::chrono::steady_clock;

int milliseconds_until(Clock::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
  return static_cast<int>(std::max<decltype(left)>(left, 0));
}

bool readable(int descriptor, Clock::time_point deadline) {
  pollfd event{descriptor, POLLIN, 0};
  int ready = 0;
  do {
    ready = ::poll(&event, 1, milliseconds_until(deadline));
  } while (ready < 0 && errno == EINTR);
  return ready > 0;
}

int open_process(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

int wait_for(pid_t pid) {
  const int process = open_process(pid);
  const bool ended = readable(process, Clock::now() + stuck);
  ::close(process);
  if (!ended) {
    ADD_FAILURE() << "process " << pid << " is stuck";
    ::kill(pid, SIGKILL);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

[[noreturn]] void execute(const Start& start) {
  ::signal(SIGPIPE, SIG_DFL);
  for (const int signal : start.ignored) {
    ::signal(signal, SIG_IGN);
  }
  if (!start.directory.empty() && ::chdir(start.directory.c_str()) != 0) {
    ::_exit(120);
  }
  constexpr uid_t nobody = 65534;
  if (start.as_nobody && ::geteuid() == 0 &&
      (::setgroups(0, nullptr) != 0 || ::setgid(nobody) != 0 || ::setuid(nobody) != 0)) {
    ::_exit(121);
  }
  for (const auto& [name, value] : start.environment) {
    ::setenv(name.c_str(), value.c_str(), 1);
  }
  std::vector<char*> arguments;
  for (const std::string& argument : start.arguments) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  arguments.push_back(nullptr);
  ::execvp(arguments[0], arguments.data());
  ::_exit(122);
}

}  // namespace

Directory::Directory() {
  std::string name = (std::filesystem::temp_directory_path() / "lockctl-test-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) {
    throw std::runtime_error("cannot make a directory for a test");
  }
  path_ = name;
}

Directory::~Directory() {
  std::error_code ignored;  // a directory that stays is a nuisance, not a failure
  std::filesystem::remove_all(path_, ignored);
}

std::vector<std::string> Directory::names() const {
  std::vector<std::string> all;
  for (const auto& entry : std::filesystem::directory_iterator(path_)) {
    all.push_back(entry.path().filename().string());
  }
  std::sort(all.begin(), all.end());
  return all;
}

Peer::Peer(const Start& start) {
  ::signal(SIGPIPE, SIG_IGN);  // a peer that has gone is a failure of its test, and no more
  std::array<int, 2> in{};
  std::array<int, 2> out{};
  errors_ = ::memfd_create("errors", MFD_CLOEXEC);
  if (::pipe2(in.data(), O_CLOEXEC) != 0 || ::pipe2(out.data(), O_CLOEXEC) != 0 || errors_ < 0) {
    throw std::runtime_error("cannot make pipes");
  }
  pid_ = ::fork();
  if (pid_ == 0) {
    ::dup2(in[0], STDIN_FILENO);
    ::dup2(out[1], STDOUT_FILENO);
    ::dup2(errors_, STDERR_FILENO);
    execute(start);
  }
  ::close(in[0]);
  ::close(out[1]);
  in_ = in[1];
  out_ = out[0];
}

Peer::~Peer() {
  close_input();
  if (!reaped_) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  ::close(out_);
  ::close(errors_);
}

std::string Peer::line() {
  const auto deadline = Clock::now() + stuck;
  for (;;) {
    if (const std::size_t end = buffer_.find('\n'); end != std::string::npos) {
      const std::string first = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return first;
    }
    if (!readable(out_, deadline)) {
      ADD_FAILURE() << "no line came; standard error: " << errors();
      return "<stuck>";
    }
    std::array<char, 4096> bytes{};
    const ssize_t got = ::read(out_, bytes.data(), bytes.size());
    if (got <= 0) {
      const std::string last = buffer_;  // a last line without an end
      buffer_.clear();
      return last.empty() ? "<end>" : last;
    }
    buffer_.append(bytes.data(), static_cast<std::size_t>(got));
  }
}

std::string Peer::rest() {
  std::string all;
  for (std::string next = line(); next != "<end>" && next != "<stuck>"; next = line()) {
    all += next + "\n";
  }
  return all;
}

void Peer::write(std::string_view text) const {
  ASSERT_EQ(::write(in_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
}

void Peer::close_input() {
  if (in_ >= 0) {
    ::close(in_);
  }
  in_ = -1;
}

void Peer::signal(int signal) const { ::kill(pid_, signal); }

int Peer::wait() {
  reaped_ = true;
  return wait_for(pid_);
}

std::string Peer::errors() const {
  std::string all;
  std::array<char, 4096> bytes{};
  for (ssize_t got = 0; (got = ::pread(errors_, bytes.data(), bytes.size(), static_cast<off_t>(all.size()))) > 0;) {
    all.append(bytes.data(), static_cast<std::size_t>(got));
  }
  return all;
}

Start lockctl_start(const Directory& directory, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), LOCKCTL);
  return {.arguments = std::move(arguments), .directory = directory.path()};
}

Result lockctl(const Directory& directory, std::vector<std::string> arguments) {
  Peer peer(lockctl_start(directory, std::move(arguments)));
  peer.close_input();
  const std::string out = peer.rest();
  const int status = peer.wait();
  return {status, out, peer.errors()};
}

namespace {

std::vector<std::string> holding(const std::string& name, const std::vector<std::string>& options) {
  std::vector<std::string> arguments{"run", name};
  arguments.insert(arguments.end(), options.begin(), options.end());
  arguments.insert(arguments.end(), {"--", "sh", "-c", "echo $$; read go; exit 0"});
  return arguments;
}

}  // namespace

HeldLock::HeldLock(const Directory& directory, const std::string& name, std::vector<std::string> options)
    : peer_(lockctl_start(directory, holding(name, options))), command_(std::atoi(peer_.line().c_str())) {
  if (command_ <= 0) {
    ADD_FAILURE() << "the lock could not be taken: " << peer_.errors();
  }
}

int HeldLock::let_go() {
  peer_.close_input();
  return peer_.wait();
}

Terminal::Terminal(const Directory& directory, const std::vector<std::string>& arguments) {
  winsize size{24, 160, 0, 0};
  pid_ = ::forkpty(&terminal_, nullptr, nullptr, &size);
  if (pid_ < 0) {
    throw std::runtime_error("cannot make a terminal");
  }
  if (pid_ == 0) {
    execute({.arguments = arguments,
             .directory = directory.path(),
             .environment = {{"PS1", "@> "}, {"TERM", "dumb"}, {"HISTFILE", ""}, {"LC_ALL", "C"}}});
  }
}

Terminal::~Terminal() {
  ::close(terminal_);  // hangs up: every process of the session is told
  if (!reaped_) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
}

void Terminal::type(std::string_view text) const {
  ASSERT_EQ(::write(terminal_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
}

bool Terminal::read_more() {
  std::array<char, 4096> bytes{};
  const ssize_t got = ::read(terminal_, bytes.data(), bytes.size());  // EIO: everybody has closed it
  if (got > 0) {
    seen_.append(bytes.data(), static_cast<std::size_t>(got));
  }
  return got > 0;
}

std::string Terminal::expect(std::string_view text) {
  const auto deadline = Clock::now() + stuck;
  for (;;) {
    if (const std::size_t at = seen_.find(text, expected_); at != std::string::npos) {
      const std::size_t end = at + text.size();
      const std::string part = seen_.substr(expected_, end - expected_);
      expected_ = end;
      return part;
    }
    if (!readable(terminal_, deadline) || !read_more()) {
      ADD_FAILURE() << "'" << text << "' did not come; the terminal shows:\n" << seen_;
      return "";
    }
  }
}

std::string Terminal::rest() {
  const auto deadline = Clock::now() + stuck;
  while (readable(terminal_, deadline) && read_more()) {
  }
  return seen_.substr(expected_);
}

int Terminal::wait() {
  reaped_ = true;
  return wait_for(pid_);
}

std::string read_all(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

char state_of(pid_t pid) { return lockfile::testing::state_in("/proc/" + std::to_string(pid)); }

bool ends(pid_t pid) {
  const int process = open_process(pid);
  if (process < 0) {
    return errno == ESRCH;
  }
  const bool ended = readable(process, Clock::now() + stuck);
  ::close(process);
  return ended;
}

}  // namespace cli_test
