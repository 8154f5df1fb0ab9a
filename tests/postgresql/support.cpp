// See support.hpp.
#include "postgresql/support.hpp"

#include <libpq-fe.h>

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace lockfile::testing {
namespace {

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string place_in(const std::string& directory) { return "postgresql://postgres@/postgres?host=" + directory; }

sockaddr_un socket_in(const std::string& directory) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = directory + "/.s.PGSQL.5432";
  std::memcpy(address.sun_path, path.c_str(), std::min(path.size(), sizeof address.sun_path - 1));
  return address;
}

// sockaddr_un is one of the shapes of sockaddr.
const sockaddr* generic(const sockaddr_un& address) { return reinterpret_cast<const sockaddr*>(&address); }

bool write_all(int to, const char* bytes, std::size_t count) {
  while (count > 0) {
    const ssize_t written = ::send(to, bytes, count, MSG_NOSIGNAL);
    if (written <= 0) return false;
    bytes += written;
    count -= static_cast<std::size_t>(written);
  }
  return true;
}

}  // namespace

void WithServer::SetUp() {
  place_ = environment("LOCKFILE_TEST_POSTGRESQL");
  if (!place_.empty()) return;
  if (environment("CI") == "true") FAIL() << "the environment names no server";
  GTEST_SKIP() << "PostgreSQL is not installed";
}

Sql::Sql(const std::string& place) : connection_(PQconnectdb(place.c_str())) {
  if (PQstatus(connection_) == CONNECTION_OK) return;
  const std::string why = PQerrorMessage(connection_);
  PQfinish(connection_);
  throw std::runtime_error(why);
}

Sql::~Sql() { PQfinish(connection_); }

std::string Sql::operator()(const std::string& sql) {
  const std::unique_ptr<PGresult, void (*)(PGresult*)> result(PQexec(connection_, sql.c_str()), PQclear);
  const ExecStatusType status = PQresultStatus(result.get());
  if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
    throw std::runtime_error(PQresultErrorMessage(result.get()));
  return PQntuples(result.get()) > 0 ? PQgetvalue(result.get(), 0, 0) : "";
}

void Sql::until(const std::string& sql, const std::string& answer) {
  std::string last;
  const auto is_so = [&] { return (last = (*this)(sql)) == answer; };
  try {
    wait_for(is_so);
  } catch (const std::runtime_error&) {
    throw std::runtime_error("'" + sql + "' goes on to answer '" + last + "'");
  }
}

Server::Server(const std::string& primary) {
  std::string path = "/tmp/lockfile-postgresql-XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) throw std::runtime_error("cannot make a directory");
  directory_ = path;
  tell(primary.empty() ? "start" : "standby " + primary);
  if (primary.empty()) initialise(place());
}

Server::~Server() {
  try {
    tell("stop");
  } catch (const std::exception&) {
    ADD_FAILURE() << "the server in " << directory_ << " cannot be stopped";
  }
}

std::string Server::place() const { return place_in(directory_); }

void Server::tell(const std::string& verb) const {
  std::istringstream words(verb);
  std::string first;
  std::string more;
  words >> first >> more;
  const std::string command = std::string(SERVER_SCRIPT) + " " + first + " " + directory_ + " " + more;
  if (std::system(command.c_str()) != 0) throw std::runtime_error("failed: " + command);
}

void Server::signal(int number) const {
  // The first line of the file is the first process's pid; the others are its children.
  std::ifstream file(directory_ + "/db/postmaster.pid");
  std::string pid;
  std::getline(file, pid);
  const std::string name = std::to_string(number);
  if (std::system(("kill -" + name + " " + pid + " $(pgrep -P " + pid + ")").c_str()) != 0) {
    throw std::runtime_error("no server to signal");
  }
}

Proxy::Proxy(std::string server, Lies lies) : server_(std::move(server)), lies_(lies) {
  listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_un address = socket_in(scratch_.path());
  if (::bind(listener_, generic(address), sizeof address) != 0 || ::listen(listener_, 100) != 0) {
    throw std::runtime_error("cannot listen");
  }
  listening_ = std::thread([this] { listen(); });
}

Proxy::~Proxy() {
  ending_ = true;
  listening_.join();
  for (std::thread& each : threads_) each.join();
  for (const int each : at_the_door_) ::close(each);
  ::close(listener_);
}

std::string Proxy::place() const { return place_in(scratch_.path()); }

void Proxy::listen() {
  while (!ending_) {
    pollfd one{listener_, POLLIN, 0};
    if (::poll(&one, 1, 1) <= 0) continue;
    const std::unique_lock door(door_, std::try_to_lock);
    if (!door) {
      std::this_thread::yield();
      continue;
    }
    const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client >= 0) threads_.emplace_back([this, client] { pass_on(client); });
  }
}

// By the thread that asks for it: the door stays locked until the same one opens it.
void Proxy::fill() {
  door_.lock();
  if (::listen(listener_, 0) != 0) throw std::runtime_error("cannot listen");
  const sockaddr_un address = socket_in(scratch_.path());
  for (;;) {
    at_the_door_.push_back(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (::connect(at_the_door_.back(), generic(address), sizeof address) == 0) continue;
    if (errno != EAGAIN) throw std::runtime_error("the door does not fill");
    return;
  }
}

void Proxy::open() {
  for (const int each : at_the_door_) ::close(each);
  at_the_door_.clear();
  if (::listen(listener_, 100) != 0) throw std::runtime_error("cannot listen");
  door_.unlock();
}

void Proxy::refuse(int count, const std::string& state, const std::string& words) {
  const std::lock_guard guard(refusal_mutex_);
  refusals_ = count;
  // ErrorResponse: 'E', its length, and fields that end with a zero each and one more at last.
  std::string fields;
  for (const std::string& each : {std::string("SFATAL"), std::string("VFATAL"), "C" + state, "M" + words}) {
    fields += each + '\0';
  }
  fields += '\0';
  refusal_ = std::string("E\0\0\0", 4) + static_cast<char>(fields.size() + 4) + fields;
}

void Proxy::hang_up(int count) {
  const std::lock_guard guard(refusal_mutex_);
  refusals_ = count;
  refusal_.clear();
}

bool Proxy::is_refused(int client) {
  const std::lock_guard guard(refusal_mutex_);
  if (refusals_ == 0) return false;
  --refusals_;
  std::array<char, 65536> bytes{};
  (void)::recv(client, bytes.data(), bytes.size(), 0);  // what the client begins with
  (void)write_all(client, refusal_.data(), refusal_.size());
  ::close(client);
  return true;
}

bool Proxy::lie(std::span<char> bytes) const {
  const std::string_view text(bytes.data(), bytes.size());
  // BackendKeyData: 'K', its length (12), the pid, the key. A pooler tells its clients of sessions of its own.
  constexpr std::string_view key("K\0\0\0\x0c", 5);
  // ParameterStatus: the name, a zero byte, the value: "15.16".
  constexpr std::string_view version("server_version\0", 15);
  const std::string_view before = lies_ == Lies::about_the_session ? key : version;
  const auto at = text.find(before);
  if (at == std::string_view::npos) return false;
  if (lies_ == Lies::about_the_session) {
    bytes[at + before.size()] = 0x7f;
  } else {
    bytes[at + before.size() + 1] = '1';
  }
  return true;
}

void Proxy::pass_on(int client) {
  ++visits_;
  if (is_refused(client)) return;
  const int server = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_un address = socket_in(server_);
  bool open = ::connect(server, generic(address), sizeof address) == 0;
  bool lies = lies_ != Lies::none;
  const int cuts = cuts_;
  int nonsense = nonsense_;
  while (open && !ending_ && cuts == cuts_) {
    std::array<pollfd, 2> both{pollfd{client, POLLIN, 0}, pollfd{server, POLLIN, 0}};
    if (silent_) both = {pollfd{-1, 0, 0}, pollfd{-1, 0, 0}};
    if (::poll(both.data(), both.size(), 1) <= 0) continue;
    for (const std::size_t i : {0U, 1U}) {
      if (both[i].revents == 0) continue;
      std::array<char, 65536> bytes{};
      const ssize_t got = ::recv(both[i].fd, bytes.data(), bytes.size(), 0);
      if (got <= 0) {
        open = false;
        continue;
      }
      if (i == 1 && nonsense != nonsense_) {
        nonsense = nonsense_;
        std::fill(bytes.begin(), bytes.begin() + got, '\0');  // no message is shorter than its own length
      }
      if (i == 1 && lies) lies = !lie({bytes.data(), static_cast<std::size_t>(got)});
      open = write_all(both[1 - i].fd, bytes.data(), static_cast<std::size_t>(got)) && open;
    }
  }
  ::close(server);
  ::close(client);
}

// One connection fits; what comes then is dropped.
DeafHost::DeafHost() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* const generic_address = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener_, generic_address, length) != 0 || ::listen(listener_, 0) != 0 ||
      ::getsockname(listener_, generic_address, &length) != 0) {
    throw std::runtime_error("cannot listen");
  }
  port_ = ntohs(address.sin_port);
  constexpr int enough = 8;
  for (int i = 0; i < enough; ++i) {
    const int nonblocking = i == 0 ? 0 : SOCK_NONBLOCK;
    at_the_door_.push_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | nonblocking, 0));
    if (::connect(at_the_door_.back(), generic_address, length) != 0 && errno != EINPROGRESS) {
      throw std::runtime_error("cannot connect");
    }
  }
}

DeafHost::~DeafHost() {
  for (const int each : at_the_door_) ::close(each);
  ::close(listener_);
}

std::string DeafHost::place() const {
  return "postgresql://postgres@127.0.0.1:" + std::to_string(port_) + "/postgres?application_name=tests";
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

void wait_for(const std::function<bool()>& it) {
  const auto give_up = std::chrono::steady_clock::now() + stuck;
  while (!it()) {
    if (std::chrono::steady_clock::now() > give_up) throw std::runtime_error("stuck");
    std::this_thread::yield();
  }
}

void in_another_thread(const std::function<void()>& what) { std::thread(what).join(); }

}  // namespace lockfile::testing
