// Servers for a test: etcd members on loopback, or each in a network namespace of its own, in a temporary directory, as
// an ordinary user; ended by their pids. And clients that are other processes, in this process or not.
#pragma once

#include "claim/record.hpp"
#include "os/process.hpp"
#include "support/layered_system.hpp"
#include "support/peer.hpp"
#include "support/scratch.hpp"

#include <lockfile/lockfile.hpp>
#include <lockfile/open.hpp>

#include <gtest/gtest.h>

#include <sys/types.h>

#include <cstddef>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace lockfile::testing {

using namespace std::chrono_literals;

/// Why servers cannot be started; empty: they can.
[[nodiscard]] std::string why_no_servers();
/// Why a member cannot be cut off from others; empty: it can.
[[nodiscard]] std::string why_no_namespaces();

/// Fails in CI, and skips elsewhere.
#define NEEDS(reason)                                                             \
  if (const std::string why = (reason); !why.empty()) {                           \
    const char* const ci = std::getenv("CI"); /* NOLINT(concurrency-mt-unsafe) */ \
    if (ci != nullptr && std::string_view(ci) == "true") FAIL() << why;           \
    GTEST_SKIP() << why;                                                          \
  }

/// What a command prints on standard output. Throws when it fails.
std::string output_of(const std::string& command);

class Cluster {
 public:
  enum class Where { loopback, loopback_with_tls, namespaces };
  /// Returns when all serve.
  explicit Cluster(std::size_t members, Where where = Where::loopback);
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;
  ~Cluster();

  /// `etcd://host:port,.../test/NAME` by these members; none: all.
  [[nodiscard]] std::string address(const std::string& name, const std::vector<std::size_t>& by = {}) const;
  void signal(std::size_t member, int number) const;
  void kill(std::size_t member);
  /// On what it had written.
  void start(std::size_t member);
  void wait_until_serving(std::size_t member) const;
  /// Waits until one is elected; throws when it is stuck.
  [[nodiscard]] std::size_t leader() const;
  /// No packet passes between it and the other members; clients reach all.
  void cut_off(std::size_t member) const;
  void rejoin(std::size_t member) const;
  /// With TLS: the variables that name the files of a client.
  [[nodiscard]] std::vector<std::pair<std::string, std::string>> files() const;
  /// etcdctl, by that member.
  std::string ctl(const std::string& arguments, std::size_t member = 0) const;

 private:
  struct Member {
    std::string host;
    int port = 0;
    int peer_port = 0;
    std::string space;  // the network namespace; empty: none
    pid_t pid = -1;
  };
  [[nodiscard]] std::string client_url(const Member& member) const;
  [[nodiscard]] std::string peer_url(const Member& member) const;
  void make_spaces();
  void make_certificates() const;
  void end() noexcept;

  Scratch scratch_;
  std::vector<Member> members_;
  bool tls_ = false;
  std::string bridge_;
};

/// etcdctl at the server that the environment names.
std::string ctl(const std::string& arguments);
/// The address of a lock of that name there, unlike any other test's.
[[nodiscard]] std::string shared_address(const std::string& name);
/// The keys of the lock of that address, oldest first.
[[nodiscard]] std::vector<std::string> keys_of(const std::string& address);

/// Another process as far as the library can tell, on another host: in this process, so that a test can look into it.
class Client {
 public:
  explicit Client(const std::string& host = "elsewhere");
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  [[nodiscard]] LayeredSystem& system() noexcept { return system_; }
  [[nodiscard]] os::Process& process() noexcept { return *process_; }
  /// In a thread of its own; joined at once.
  void run(const std::function<void()>& what);
  [[nodiscard]] std::thread begin(std::function<void()> what);

 private:
  LayeredSystem system_;
  std::unique_ptr<os::Process> process_;
};

/// What a process writes of itself into its keys.
[[nodiscard]] claim::Record record_of(const os::Identity& process);

/// What a release says; none: it was held.
[[nodiscard]] inline std::error_code code_of_release(Lock& lock) {
  std::error_code code;
  lock.release(code);
  return code;
}

/// What an acquire says; none: it is held.
[[nodiscard]] inline std::error_code code_of_acquire(Lock& lock, const Wait& wait) {
  std::error_code code;
  lock.acquire(wait, code);
  return code;
}

/// A client in another process, etcd_peer, told what to do by lines.
[[nodiscard]] std::vector<std::string> peer_arguments(const std::string& address, std::chrono::milliseconds lease,
                                                      const std::string& host = "elsewhere");

}  // namespace lockfile::testing
