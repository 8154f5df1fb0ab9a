// Peers: how they are made, and what they do.
#include "peer.hpp"

#include "apart.hpp"
#include "mounts.hpp"
#include "support/rest.hpp"

#include <lockfile/lockfile.hpp>

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>
#include <thread>

namespace machine {
namespace {

// --- in the peer ---

// Where the peer hears and speaks: close-descriptors spares it.
constexpr int line_descriptor = 0;

void say(std::string line) {
  line += '\n';
  (void)::send(line_descriptor, line.data(), line.size(), MSG_NOSIGNAL);  // nobody hears: the test is over
}

std::string code_name(const std::error_code& code) {
  if (code == lockfile::errc::cannot_break) return "cannot_break";
  if (code.category() == lockfile::lockfile_category()) return "errc";
  const char* const name = ::strerrorname_np(code.value());
  return name != nullptr ? name : std::to_string(code.value());
}

std::string told(const lockfile::Error& error) {
  std::string kind = "Error";
  if (dynamic_cast<const lockfile::AlreadyLocked*>(&error) != nullptr) kind = "AlreadyLocked";
  if (dynamic_cast<const lockfile::LockTimeout*>(&error) != nullptr) kind = "LockTimeout";
  if (dynamic_cast<const lockfile::LockFailed*>(&error) != nullptr) kind = "LockFailed";
  if (dynamic_cast<const lockfile::NotLocked*>(&error) != nullptr) kind = "NotLocked";
  if (dynamic_cast<const lockfile::NotMyLock*>(&error) != nullptr) kind = "NotMyLock";
  return kind + " " + code_name(error.code()) + " " + error.what();
}

[[noreturn]] void wait_for_ever() {
  ::close(line_descriptor);
  for (;;) ::pause();
}

class Servant {
 public:
  void serve() {
    std::string text;
    std::array<char, 4096> buffer{};
    for (;;) {
      const ssize_t got = ::read(line_descriptor, buffer.data(), buffer.size());
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) ::_exit(0);
      text.append(buffer.data(), static_cast<std::size_t>(got));
      for (std::size_t end = text.find('\n'); end != std::string::npos; end = text.find('\n')) {
        const std::string line = text.substr(0, end);
        text.erase(0, end + 1);
        try {
          obey(line);
        } catch (const lockfile::Error& error) {
          say(told(error));
        }
      }
    }
  }

 private:
  void obey(const std::string& line) {
    std::istringstream words(line);
    std::string verb;
    words >> verb;
    if (verb == "open") {
      open(words);
    } else if (verb == "acquire") {
      std::string limit;
      words >> limit;
      lock_->acquire(limit == "ever" ? lockfile::Wait() : lockfile::Wait(std::chrono::milliseconds(std::stol(limit))));
      say("held");
    } else if (verb == "release") {
      lock_->release();
      say("released");
    } else if (verb == "break-stale") {
      say(lock_->break_stale() ? "broken" : "nothing");
    } else if (verb == "break") {
      say(lock_->break_lock() ? "broken" : "nothing");
    } else if (verb == "i-am-locking") {
      say(lock_->i_am_locking() ? "yes" : "no");
    } else if (verb == "holder") {
      const auto holder = lock_->holder();
      say(holder ? std::string(to_string(holder->verdict)) + ": " + holder->note : "free");
    } else if (verb == "close") {
      lock_.reset();
      say("closed");
    } else if (verb == "fork" || verb == "clone") {
      const long worker = verb == "fork" ? ::fork() : ::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr);
      if (worker == 0) wait_for_ever();
      say(std::to_string(worker));
    } else if (verb == "hand-over") {
      hand_over();
    } else if (verb == "count") {
      count(words);
    } else if (verb == "close-descriptors") {
      ::syscall(SYS_close_range, 3U, ~0U, 0U);
      say("done");
    } else if (verb == "exit-main-thread") {
      std::thread([this] {
        say("done");
        serve();
      }).detach();
      // What pthread_exit(3) ends with. Itself it would unwind through the test's frames first, which catch.
      ::syscall(SYS_exit, 0);
    } else {
      say(verb == "pid" ? std::to_string(::getpid()) : "what?");
    }
  }

  void open(std::istringstream& words) {
    std::string scheme;
    std::string access;
    std::string path;
    words >> scheme >> access >> path;
    lockfile::Options options;
    options.scheme = scheme;
    options.access = access == "group"      ? lockfile::Access::group
                     : access == "everyone" ? lockfile::Access::everyone
                                            : lockfile::Access::by_umask;
    lock_ = std::make_unique<lockfile::FileLock>(path, options);
    say("opened");
  }

  void hand_over() {
    const int guard = lock_->share_guard();  // the worker's, which does not exec
    const pid_t worker = ::fork();
    if (worker == 0) wait_for_ever();
    ::close(guard);
    lock_->hand_over(worker);
    say(std::to_string(worker));
  }

  // Two who do this at once lose an addition.
  void count(std::istringstream& words) {
    int times = 0;
    std::string path;
    words >> times >> path;
    for (int i = 0; i < times; ++i) {
      lock_->acquire(stuck);
      long number = 0;
      std::ifstream(path) >> number;
      std::ofstream(path) << number + 1 << '\n';
      lock_->release();
    }
    say("counted");
  }

  std::unique_ptr<lockfile::FileLock> lock_;
};

void become_user(const Setting& setting) {
  if (setting.user == 0) return;
  if (::setgroups(0, nullptr) != 0 || ::setresgid(setting.group, setting.group, setting.group) != 0 ||
      ::setresuid(setting.user, setting.user, setting.user) != 0) {
    unavailable("cannot become another user", errno);
  }
  // A program that such a user starts can be looked at by that user; one that has changed its user cannot.
  ::prctl(PR_SET_DUMPABLE, 1);
}

[[noreturn]] void be_peer(const Setting& setting) {
  ::umask(setting.mask);
  become_user(setting);
  say("ready");
  Servant servant;
  servant.serve();
  ::_exit(0);
}

void private_mounts() {
  if (::unshare(CLONE_NEWNS) != 0) unavailable("cannot have a mount namespace", errno);
  mount("none", "/", "", MS_REC | MS_PRIVATE);
}

// Pid 1 of the peer's pid namespace, which lives on when the peer has died, and reaps it.
[[noreturn]] void be_init(const Setting& setting) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  private_mounts();
  mount("proc", "/proc", "proc");
  if (setting.prepare) setting.prepare();
  if (::fork() == 0) be_peer(setting);
  ::close(line_descriptor);  // or the peer's end would not be seen
  for (;;) {
    if (::waitpid(-1, nullptr, 0) < 0 && errno == ECHILD) ::pause();
  }
}

void enter_time_namespace() {
  if (::unshare(CLONE_NEWTIME) != 0) unavailable("cannot have a time namespace", errno);
  std::ofstream offsets("/proc/self/timens_offsets");
  offsets << "boottime 864000 0\n" << std::flush;
  if (!offsets) throw Unavailable("cannot set the clocks of a time namespace");
}

[[noreturn]] void be_child(const Setting& setting) {
  try {
    if (setting.own_time) enter_time_namespace();
    if (setting.own_pids) {
      if (::unshare(CLONE_NEWPID) != 0) unavailable("cannot have a pid namespace", errno);
      if (::fork() == 0) be_init(setting);
    } else {
      if (setting.prepare) {
        private_mounts();
        setting.prepare();
      }
      if (!setting.own_time) be_peer(setting);
      if (::fork() == 0) be_peer(setting);
    }
    // The namespaces are its children's. A pipe's end that nobody needs would hide the peer's death.
    wait_for_ever();
  } catch (const Unavailable& missing) {
    say(missing.what());
    ::_exit(1);
  }
}

// --- in the test ---

bool poll_readable(int descriptor, std::chrono::milliseconds limit) {
  const auto until = std::chrono::steady_clock::now() + limit;
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now()).count();
    pollfd one = {descriptor, POLLIN, 0};
    const int got = ::poll(&one, 1, left > 0 ? static_cast<int>(left) : 0);
    if (got >= 0 || errno != EINTR) return got > 0;
  }
}

// The sender's pid comes beside its first line, as the receiver's pid namespace numbers it (unix(7)).
pid_t receive_with_pid(int socket, std::string& text) {
  std::array<char, 512> buffer{};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(ucred))> control{};
  iovec into = {buffer.data(), buffer.size()};
  msghdr message = {};
  message.msg_iov = &into;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  if (!poll_readable(socket, stuck)) return -1;
  const ssize_t got = ::recvmsg(socket, &message, 0);
  if (got <= 0) return -1;
  text.append(buffer.data(), static_cast<std::size_t>(got));
  const cmsghdr* const first = CMSG_FIRSTHDR(&message);
  if (first == nullptr || first->cmsg_type != SCM_CREDENTIALS) return -1;
  ucred sender = {};
  std::memcpy(&sender, CMSG_DATA(first), sizeof sender);
  return sender.pid;
}

// Waits for the end of a process that need not be our child, and leaves it to its parent.
void wait_until_ended(pid_t pid) {
  const auto descriptor = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U));
  if (descriptor < 0) return;  // it has ended and been reaped
  const bool ended = poll_readable(descriptor, stuck);
  ::close(descriptor);
  if (!ended) ADD_FAILURE() << "a peer that was killed did not end";
}

}  // namespace

Peer::Peer(const Setting& setting) : setting_(setting) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) throw std::runtime_error("no sockets");
  const int on = 1;
  ::setsockopt(ends[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
  child_ = ::fork();
  if (child_ == 0) {
    ::dup2(ends[1], line_descriptor);
    ::close(ends[0]);
    ::close(ends[1]);
    be_child(setting_);
  }
  ::close(ends[1]);
  socket_ = ends[0];
  pid_ = receive_with_pid(socket_, buffer_);
  const std::string first = answer();
  if (first == "ready") return;
  reap();
  ::close(socket_);
  throw Unavailable("a peer could not begin: " + first);
}

Peer::~Peer() {
  if (child_ > 0) {
    if (pid_ > 0) ::kill(pid_, SIGKILL);
    reap();
  }
  ::close(socket_);
}

void Peer::tell(std::string_view command) {
  const std::string line = std::string(command) + "\n";
  if (::send(socket_, line.data(), line.size(), MSG_NOSIGNAL) < 0) ADD_FAILURE() << "a peer does not hear any more";
}

std::string Peer::answer() {
  for (;;) {
    if (const std::size_t end = buffer_.find('\n'); end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return line;
    }
    if (!poll_readable(socket_, stuck)) return "(no answer)";
    std::array<char, 4096> buffer{};
    const ssize_t got = ::recv(socket_, buffer.data(), buffer.size(), 0);
    if (got <= 0) return "(ended)";
    buffer_.append(buffer.data(), static_cast<std::size_t>(got));
  }
}

std::string Peer::ask(std::string_view command) {
  tell(command);
  return answer();
}

bool Peer::is_silent() {
  const auto speaks = [this] { return !buffer_.empty() || poll_readable(socket_, quiescent); };
  const auto silent = lockfile::testing::is_silent(pid_, speaks, stuck);
  if (!silent) ADD_FAILURE() << "a peer neither answers nor waits";
  return silent.value_or(false);
}

void Peer::signal(int number) const {
  if (::kill(pid_, number) != 0) ADD_FAILURE() << "cannot send a signal to a peer: " << std::strerror(errno);
}

void Peer::stop() const {
  signal(SIGSTOP);
  siginfo_t info = {};
  // Only the parent is told; a peer in a pid namespace of its own is another's child, and no test stops one.
  if (::waitid(P_PID, static_cast<id_t>(pid_), &info, WSTOPPED) != 0) ADD_FAILURE() << "a peer did not stop";
}

void Peer::become_zombie() const {
  signal(SIGKILL);
  wait_until_ended(pid_);
}

void Peer::die() {
  become_zombie();
  // Else its own pid 1 reaps it.
  if (child_ == pid_) reap();
}

void Peer::kill_namespace() { reap(); }

void Peer::reap() {
  if (child_ <= 0) return;
  ::kill(child_, SIGKILL);
  ::waitpid(child_, nullptr, 0);
  child_ = -1;
  if (pid_ > 0) wait_until_ended(pid_);
}

testing::AssertionResult lose_nothing(const std::vector<Peer*>& peers, int times, const std::string& ledger) {
  std::ofstream(ledger) << "0\n";
  ::chmod(ledger.c_str(), 0666);
  for (Peer* const each : peers) each->tell("count " + std::to_string(times) + " " + ledger);
  for (Peer* const each : peers) {
    const std::string said = each->answer();
    if (said != "counted") return testing::AssertionFailure() << "a peer that counts says '" << said << "'";
  }
  long number = 0;
  std::ifstream(ledger) >> number;
  const long expected = static_cast<long>(peers.size()) * times;
  if (number == expected) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "two held at once: " << expected - number << " of " << expected
                                     << " additions are lost";
}

testing::AssertionResult begins(const std::string& text, std::string_view what) {
  if (text.starts_with(what)) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "'" << text << "' does not begin with '" << what << "'";
}

testing::AssertionResult has(const std::string& text, std::string_view what) {
  if (text.find(what) != std::string::npos) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "'" << text << "' does not hold '" << what << "'";
}

Locker::Locker(const std::string& scheme, const std::string& path, const Setting& setting, const std::string& access)
    : Peer(setting) {
  EXPECT_EQ(ask("open " + scheme + " " + access + " " + path), "opened");
}

}  // namespace machine
