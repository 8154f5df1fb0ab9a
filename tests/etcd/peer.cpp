// etcd_peer ADDRESS LEASE_MS HOST: a client of a cluster in a process of its own, as if on that host. It reads
// commands, one a line, and answers each by one line; when a hold that it watches over is lost it says so in a line by
// itself. Times are in nanoseconds since boot, the same for all processes here.
#include "os/process.hpp"
#include "support/layered_system.hpp"

#include <lockfile/lease_keeper.hpp>
#include <lockfile/open.hpp>

#include <cstdio>
#include <iostream>
#include <memory>
#include <optional>
#include <sstream>
#include <stop_token>
#include <string>
#include <thread>

namespace {

std::string boot_time() { return std::to_string(lockfile::os::real_system().since_boot().count()); }

void say(const std::string& line) {
  std::fputs((line + "\n").c_str(), stdout);
  std::fflush(stdout);
}

struct SayLost {
  void operator()() const { say("lost " + boot_time()); }
};

struct Watched {
  explicit Watched(lockfile::Lock& lock) : keeper(lock), lost(keeper.lost(), SayLost()) {}
  lockfile::LeaseKeeper keeper;
  std::stop_callback<SayLost> lost;
};

// What this program does while it ends, when all that the library began has ended already: `exit COMMAND`.
std::string last_command;
lockfile::Lock* last_lock = nullptr;
std::thread waiting;

std::string obey(lockfile::Lock& lock, std::optional<Watched>& watched, const std::string& line) {
  std::istringstream in(line);
  std::string verb;
  in >> verb;
  try {
    if (verb == "acquire" || verb == "try" || verb == "share") {
      const lockfile::Wait wait = verb == "try" ? lockfile::Wait(std::chrono::seconds(0)) : lockfile::for_ever;
      lock.acquire(verb == "share" ? lockfile::Mode::shared : lockfile::Mode::exclusive, wait);
      return "held " + std::to_string(lock.fence()) + " " + boot_time();
    }
    if (verb == "release") {
      watched.reset();
      lock.release();
      return "released";
    }
    if (verb == "watch") {
      watched.emplace(lock);
      return "watching";
    }
    if (verb == "holds") return lock.i_am_locking() ? "yes" : "no";
    if (verb == "wait") {
      waiting = std::thread([&lock] {
        std::optional<Watched> none;
        say("then " + obey(lock, none, "acquire"));
      });
      return "waiting";
    }
    if (verb == "exit") {
      std::getline(in >> std::ws, last_command);
      last_lock = &lock;
      std::exit(0);
    }
    return "what?";
  } catch (const lockfile::Error& error) {
    return "error " + std::string(error.code().category().name()) + ":" + std::to_string(error.code().value()) + " " +
           error.what();
  }
}

void be_the_last() {
  if (waiting.joinable()) waiting.join();
  std::optional<Watched> none;
  if (!last_command.empty()) say("last " + obey(*last_lock, none, last_command));
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 4) return 64;
  (void)std::atexit(be_the_last);
  lockfile::testing::LayeredSystem system(lockfile::os::real_system());
  system.host = arguments[3];
  lockfile::os::Process process(system);
  lockfile::os::Process::set_current(&process);
  {
    const auto lock =
        lockfile::open(arguments[1], {.fence = true, .lease = std::chrono::milliseconds(std::stol(arguments[2]))});
    std::optional<Watched> watched;
    for (std::string line; std::getline(std::cin, line);) say(obey(*lock, watched, line));
  }
  lockfile::os::Process::set_current(nullptr);
  return 0;
}
