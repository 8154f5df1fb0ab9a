// Starting, stopping and cutting off servers.
#include "etcd/cluster.hpp"

#include "support/free_port.hpp"

#include "claim/judge.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <stdexcept>

extern char** environ;

namespace lockfile::testing {
namespace {

bool has(const std::string& program) {
  return std::system(("command -v " + program + " >/dev/null 2>&1").c_str()) == 0;
}

pid_t spawn(const std::vector<std::string>& command, const std::string& log) {
  std::vector<char*> arguments;
  for (const std::string& each : command) arguments.push_back(const_cast<char*>(each.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  pid_t pid = -1;
  const int error = ::posix_spawnp(&pid, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) throw std::runtime_error("cannot start " + command[0]);
  return pid;
}

void run(const std::string& command) {
  if (std::system((command + " 2>/dev/null").c_str()) != 0) throw std::runtime_error("failed: " + command);
}

}  // namespace

std::string why_no_servers() {
  return has("etcd") && has("etcdctl") ? "" : "etcd and etcdctl are not installed (etcd-server, etcd-client)";
}

std::string why_no_namespaces() {
  if (::geteuid() != 0) return "only root can make network namespaces";
  if (!has("ip") || !has("iptables")) return "ip and iptables are not installed";
  if (std::system("unshare -n iptables -L >/dev/null 2>&1") != 0)
    return "the kernel has no network namespaces, or no iptables";
  return {};
}

std::string output_of(const std::string& command) {
  FILE* const pipe = ::popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error("cannot run " + command);
  std::string all;
  std::array<char, 4096> some{};
  while (const std::size_t got = std::fread(some.data(), 1, some.size(), pipe)) all.append(some.data(), got);
  if (::pclose(pipe) != 0) throw std::runtime_error("failed: " + command + ": " + all);
  return all;
}

Cluster::Cluster(std::size_t members, Where where) {
  for (std::size_t i = 0; i < members; ++i) members_.push_back({"127.0.0.1", free_port(), free_port(), {}, -1});
  try {
    if (where == Where::namespaces) make_spaces();
    tls_ = where == Where::loopback_with_tls;
    if (tls_) make_certificates();
    if (::geteuid() == 0) std::filesystem::permissions(scratch_.path(), std::filesystem::perms::all);
    for (std::size_t i = 0; i < members; ++i) start(i);
    for (std::size_t i = 0; i < members; ++i) wait_until_serving(i);
  } catch (...) {
    end();
    throw;
  }
}

Cluster::~Cluster() { end(); }

void Cluster::end() noexcept {
  for (std::size_t i = 0; i < members_.size(); ++i) {
    if (members_[i].pid > 0) kill(i);
  }
  for (const Member& each : members_) {
    if (!each.space.empty()) (void)std::system(("ip netns del " + each.space + " 2>/dev/null").c_str());
  }
  if (!bridge_.empty()) (void)std::system(("ip link del " + bridge_ + " 2>/dev/null").c_str());
}

// A bridge in our own namespace, and each member at the other end of a cable. 198.18.0.0/15 is for tests (RFC 2544).
void Cluster::make_spaces() {
  static int made = 0;
  ++made;
  const std::string mark = std::to_string(::getpid() % 100000) + "n" + std::to_string(made);
  const std::string net = "198.18." + std::to_string((::getpid() + made) % 250) + ".";
  bridge_ = "lfe" + mark;
  run("ip link add " + bridge_ + " type bridge");
  run("ip addr add " + net + "254/24 dev " + bridge_);
  run("ip link set " + bridge_ + " up");
  for (std::size_t i = 0; i < members_.size(); ++i) {
    Member& member = members_[i];
    const std::string cable = "lf" + std::to_string(i) + "e" + mark;
    member.space = "lockfile-" + mark + "-" + std::to_string(i);
    member.host = net + std::to_string(i + 1);
    run("ip netns add " + member.space);
    run("ip link add " + cable + " type veth peer name eth0 netns " + member.space);
    run("ip link set " + cable + " master " + bridge_ + " up");
    run("ip -n " + member.space + " addr add " + member.host + "/24 dev eth0");
    run("ip -n " + member.space + " link set eth0 up");
    run("ip -n " + member.space + " link set lo up");
  }
}

// One authority, and one certificate that all show: who knows the authority believes them.
void Cluster::make_certificates() const {
  const std::string in = "cd " + scratch_.path().string() + " && ";
  run(in + "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=authority");
  run(in + "openssl req -newkey rsa:2048 -nodes -keyout key.pem -out request.pem -subj /CN=member");
  run(in + "echo subjectAltName=IP:127.0.0.1 >names");
  run(in +
      "openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2 -extfile "
      "names");
  run(in + "chmod a+r *");
}

std::vector<std::pair<std::string, std::string>> Cluster::files() const {
  return {{"ETCDCTL_CACERT", scratch_ / "ca.pem"},
          {"ETCDCTL_CERT", scratch_ / "cert.pem"},
          {"ETCDCTL_KEY", scratch_ / "key.pem"}};
}

std::string Cluster::client_url(const Member& member) const {
  return (tls_ ? "https://" : "http://") + member.host + ":" + std::to_string(member.port);
}

std::string Cluster::peer_url(const Member& member) const {
  return "http://" + member.host + ":" + std::to_string(member.peer_port);
}

void Cluster::start(std::size_t member) {
  Member& one = members_[member];
  const std::string name = "m" + std::to_string(member);
  std::string all;
  for (std::size_t i = 0; i < members_.size(); ++i) {
    all += (i == 0 ? "m" : ",m") + std::to_string(i) + "=" + peer_url(members_[i]);
  }
  std::vector<std::string> command;
  if (!one.space.empty()) command = {"ip", "netns", "exec", one.space};
  if (::geteuid() == 0) {
    command.insert(command.end(), {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"});
  }
  command.insert(command.end(), {"etcd", "--name", name, "--data-dir", scratch_ / name, "--listen-client-urls",
                                 client_url(one), "--advertise-client-urls", client_url(one), "--listen-peer-urls",
                                 peer_url(one), "--initial-advertise-peer-urls", peer_url(one), "--initial-cluster",
                                 all, "--heartbeat-interval", "50", "--election-timeout", "500"});
  if (tls_) {
    command.insert(command.end(), {"--cert-file", scratch_ / "cert.pem", "--key-file", scratch_ / "key.pem",
                                   "--trusted-ca-file", scratch_ / "ca.pem", "--client-cert-auth"});
  }
  one.pid = spawn(command, scratch_ / (name + ".log"));
}

void Cluster::wait_until_serving(std::size_t member) const {
  const auto give_up = std::chrono::steady_clock::now() + 3 * stuck;
  while (std::chrono::steady_clock::now() < give_up) {
    try {
      (void)ctl("--command-timeout=1s endpoint health", member);
      return;
    } catch (const std::runtime_error&) {
      std::this_thread::sleep_for(quiescent);
    }
  }
  throw std::runtime_error("an etcd member does not serve: " +
                           read_file(scratch_ / ("m" + std::to_string(member) + ".log")));
}

std::string Cluster::address(const std::string& name, const std::vector<std::size_t>& by) const {
  std::string hosts;
  for (std::size_t i = 0; i < members_.size(); ++i) {
    if (!by.empty() && std::find(by.begin(), by.end(), i) == by.end()) continue;
    hosts += (hosts.empty() ? "" : ",") + members_[i].host + ":" + std::to_string(members_[i].port);
  }
  return "etcd://" + hosts + "/test/" + name;
}

void Cluster::signal(std::size_t member, int number) const { ::kill(members_[member].pid, number); }

void Cluster::kill(std::size_t member) {
  signal(member, SIGKILL);
  ::waitpid(members_[member].pid, nullptr, 0);
  members_[member].pid = -1;
}

std::size_t Cluster::leader() const {
  for (const auto give_up = std::chrono::steady_clock::now() + stuck; std::chrono::steady_clock::now() < give_up;) {
    for (std::size_t i = 0; i < members_.size(); ++i) {
      // "endpoint, id, version, size, is leader, ..."
      if (ctl("endpoint status", i).find(", true, ") != std::string::npos) return i;
    }
    std::this_thread::sleep_for(quiescent);
  }
  throw std::runtime_error("no member of the cluster leads");
}

void Cluster::cut_off(std::size_t member) const {
  for (std::size_t i = 0; i < members_.size(); ++i) {
    if (i == member) continue;
    const std::string in_there = "ip netns exec " + members_[member].space + " iptables -A ";
    run(in_there + "INPUT -s " + members_[i].host + " -j DROP");
    run(in_there + "OUTPUT -d " + members_[i].host + " -j DROP");
  }
}

void Cluster::rejoin(std::size_t member) const { run("ip netns exec " + members_[member].space + " iptables -F"); }

std::string Cluster::ctl(const std::string& arguments, std::size_t member) const {
  std::string with = "ETCDCTL_API=3 ";
  if (tls_) {
    for (const auto& [name, file] : files()) with += name + "=" + file + " ";
  }
  return output_of(with + "etcdctl --endpoints=" + client_url(members_[member]) + " " + arguments);
}

namespace {

std::string server() {
  const char* const address = std::getenv("LOCKFILE_TEST_ETCD");
  return address == nullptr ? "" : std::string(address);
}

}  // namespace

std::string ctl(const std::string& arguments) {
  const std::string place = server().substr(std::string_view("etcd://").size());
  return output_of("ETCDCTL_API=3 etcdctl --endpoints=http://" + place.substr(0, place.find('/')) + " " + arguments);
}

std::string shared_address(const std::string& name) {
  static const std::string mark = std::to_string(std::chrono::system_clock::now().time_since_epoch().count());
  return server().empty() ? "" : server() + "/" + mark + "/" + name;
}

std::vector<std::string> keys_of(const std::string& address) {
  const std::string place = address.substr(std::string_view("etcd://").size());
  std::istringstream lines(
      ctl("get --prefix --keys-only --sort-by=CREATE '" + place.substr(place.find('/') + 1) + "//'"));
  std::vector<std::string> keys;
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty()) keys.push_back(line);
  }
  return keys;
}

Client::Client(const std::string& host) : system_(os::real_system()) {
  system_.host = host;
  process_ = std::make_unique<os::Process>(system_);
}

void Client::run(const std::function<void()>& what) { begin(what).join(); }

std::thread Client::begin(std::function<void()> what) {
  return std::thread([this, what = std::move(what)] {
    os::Process::set_current(process_.get());
    what();
    os::Process::set_current(nullptr);
  });
}

claim::Record record_of(const os::Identity& process) {
  claim::Record record = claim::record_of(process);
  record.scheme = "etcd";
  record.nonce = "0123456789abcdef01234567";
  return record;
}

std::vector<std::string> peer_arguments(const std::string& address, std::chrono::milliseconds lease,
                                        const std::string& host) {
  return {address, std::to_string(lease.count()), host};
}

}  // namespace lockfile::testing
