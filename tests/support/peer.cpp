// Peers.
#include "support/peer.hpp"

#include "support/rest.hpp"
#include "support/variants.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <stdexcept>

extern char** environ;

namespace lockfile::testing {

Peer::Peer(const std::vector<std::string>& arguments)
    : Peer(is_engine(variant_named(arguments.at(1))) ? ENGINE_PEER : LOCK_PEER, arguments) {}

Peer::Peer(std::string program, std::vector<std::string> arguments) {
  std::array<int, 2> in{};
  std::array<int, 2> out{};
  if (::pipe2(in.data(), O_CLOEXEC) != 0 || ::pipe2(out.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  std::vector<char*> argv = {program.data()};
  for (std::string& each : arguments) argv.push_back(each.data());
  argv.push_back(nullptr);
  const int error = ::posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(in[0]);
  ::close(out[1]);
  to_ = in[1];
  from_ = out[0];
  if (error != 0) throw std::runtime_error("cannot start " + program);
  (void)std::signal(SIGPIPE, SIG_IGN);
}

Peer::~Peer() {
  if (pid_ > 0) kill();
  ::close(to_);
  ::close(from_);
}

void Peer::tell(const std::string& line) {
  const std::string text = line + "\n";
  // EPIPE: it has ended; the answer will say so.
  [[maybe_unused]] const ssize_t put = ::write(to_, text.data(), text.size());
}

bool Peer::readable_within(std::chrono::milliseconds limit) {
  pollfd one = {from_, POLLIN, 0};
  int got = 0;
  do {
    got = ::poll(&one, 1, static_cast<int>(limit.count()));
  } while (got < 0 && errno == EINTR);
  return got > 0;
}

std::optional<std::string> Peer::answer() {
  for (;;) {
    if (const std::size_t end = buffer_.find('\n'); end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return line;
    }
    if (!readable_within(stuck)) throw std::runtime_error("a peer is stuck");
    std::array<char, 4096> chunk{};
    const ssize_t got = ::read(from_, chunk.data(), chunk.size());
    if (got <= 0) return std::nullopt;
    buffer_.append(chunk.data(), static_cast<std::size_t>(got));
  }
}

std::string Peer::ask(const std::string& line) {
  tell(line);
  return answer().value_or("");
}

bool Peer::is_silent() {
  const auto speaks = [this] { return buffer_.find('\n') != std::string::npos || readable_within(quiescent); };
  const auto silent = testing::is_silent(pid_, speaks, stuck);
  if (!silent) throw std::runtime_error("a peer is stuck: it neither answers nor waits");
  return *silent;
}

void Peer::signal(int number) { ::kill(pid_, number); }

void Peer::kill() {
  ::kill(pid_, SIGKILL);
  (void)wait();
}

int Peer::wait() {
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  return status;
}

}  // namespace lockfile::testing
