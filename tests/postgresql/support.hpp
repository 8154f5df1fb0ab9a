// Servers, questions that are asked behind the library's back, and somebody who stands between it and a server.
#pragma once

#include "support/code_of.hpp"
#include "support/peer.hpp"
#include "support/scratch.hpp"

#include <lockfile/lockfile.hpp>
#include <lockfile/open.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

struct pg_conn;

namespace lockfile::testing {

using namespace std::chrono_literals;

/// A test of the server that the environment names: LOCKFILE_TEST_POSTGRESQL.
class WithServer : public ::testing::Test {
 protected:
  void SetUp() override;
  [[nodiscard]] const std::string& place() const noexcept { return place_; }
  /// Without the scheme: what a place of the library is made of.
  [[nodiscard]] std::string behind_the_slashes() const {
    return place_.substr(std::string_view("postgresql://").size());
  }
  /// Where its socket is.
  [[nodiscard]] std::string directory() const { return place_.substr(place_.find("host=") + 5); }
  /// Of a lock of this test's own.
  [[nodiscard]] std::string address(const std::string& name = "a") const { return place_ + "#" + name_of(name); }
  [[nodiscard]] std::string name_of(const std::string& name) const {
    return scratch_.path().filename().string() + "-" + name;
  }

  Scratch scratch_;

 private:
  std::string place_;
};

/// Asks a server, as its superuser. Throws std::runtime_error with the server's words.
class Sql {
 public:
  explicit Sql(const std::string& place);
  Sql(const Sql&) = delete;
  Sql& operator=(const Sql&) = delete;
  ~Sql();
  /// The first column of the first row, as text; "" where there is none.
  std::string operator()(const std::string& sql);
  /// Asks until it is answered so; throws when it is stuck.
  void until(const std::string& sql, const std::string& answer);

 private:
  pg_conn* connection_;
};

/// A server of the test's own, in a directory of its own.
class Server {
 public:
  Server() : Server("") {}
  /// `of`: a standby of that one.
  explicit Server(const Server& of) : Server(of.directory_) {}
  Server& operator=(const Server&) = delete;
  ~Server();

  [[nodiscard]] std::string place() const;
  [[nodiscard]] const std::string& directory() const noexcept { return directory_; }
  /// One of: kill, again, restart, promote.
  void tell(const std::string& verb) const;
  /// A signal to all its processes.
  void signal(int number) const;

 private:
  explicit Server(const std::string& primary);
  std::string directory_;
};

/// Stands between clients and a server, each on a local socket.
class Proxy {
 public:
  enum class Lies : std::uint8_t { none, about_the_session, about_the_version };
  /// `server`: the directory of its socket.
  Proxy(std::string server, Lies lies = Lies::none);
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;
  ~Proxy();

  [[nodiscard]] std::string place() const;
  /// Passes nothing on any more, and closes nothing.
  void fall_silent() noexcept { silent_ = true; }
  void speak() noexcept { silent_ = false; }
  /// Closes what is open, and goes on with what comes next.
  void cut() noexcept { ++cuts_; }
  /// The next answer of the server, in each session that stands, is none of its protocol.
  void talk_nonsense() noexcept { ++nonsense_; }
  /// Lets nobody in any more, with as many at the door as the kernel keeps there: connect(2) gives EAGAIN. `open`: they
  /// leave, and whoever comes is let in.
  void fill();
  void open();
  /// To so many that come it says, as a server does, that it refuses: five characters, and words.
  void refuse(int count, const std::string& state, const std::string& words);
  /// To so many that come it says nothing, and closes.
  void hang_up(int count);
  /// How many have come.
  [[nodiscard]] int visits() const noexcept { return visits_; }

 private:
  void listen();
  void pass_on(int client);
  bool is_refused(int client);
  [[nodiscard]] bool lie(std::span<char> bytes) const;

  Scratch scratch_;
  std::string server_;
  Lies lies_;
  int listener_ = -1;
  std::atomic<bool> silent_ = false;
  std::atomic<bool> ending_ = false;
  std::atomic<int> cuts_ = 0;
  std::atomic<int> nonsense_ = 0;
  std::atomic<int> visits_ = 0;
  std::mutex door_;  // locked while it is closed, and by whoever lets one in
  std::vector<int> at_the_door_;
  std::mutex refusal_mutex_;
  int refusals_ = 0;
  std::string refusal_;
  std::vector<std::thread> threads_;
  std::thread listening_;
};

/// A host on the network that takes no connection, and refuses none.
class DeafHost {
 public:
  DeafHost();
  DeafHost(const DeafHost&) = delete;
  DeafHost& operator=(const DeafHost&) = delete;
  ~DeafHost();

  [[nodiscard]] std::string place() const;

 private:
  int listener_ = -1;
  std::vector<int> at_the_door_;
  int port_ = 0;
};

[[nodiscard]] std::string message_of(const std::function<void()>& call);
/// Waits for something that has to come. Throws when it is stuck.
void wait_for(const std::function<bool()>& it);
void in_another_thread(const std::function<void()>& what);

}  // namespace lockfile::testing
