// The program that a `Peer` runs: lock_peer PATH VARIANT [kill-at N [fence] [everyone]]. Reads commands, one a line,
// and answers each by one line. With kill-at it kills itself by SIGKILL just before the N-th call that it makes of the
// system after its first command.
#include "support/test_lock.hpp"
#include "support/variants.hpp"

#include <lockfile/lockfile.hpp>

#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <sstream>
#include <stop_token>
#include <string>
#include <thread>

namespace {

using lockfile::testing::TestLock;

// A death at a call: what other programs see of us ends there.
class DeadlyCounter {
 public:
  explicit DeadlyCounter(long at) : at_(at) {}
  void start() { counting_ = true; }
  int operator()(lockfile::os::Call /*call*/) {
    if (counting_ && made_++ == at_) ::raise(SIGKILL);
    return 0;
  }
  [[nodiscard]] long made() const { return made_; }

 private:
  long at_;
  long made_ = 0;
  bool counting_ = false;
};

lockfile::Wait wait_of(std::istream& in) {
  long limit_ms = -1;
  if (in >> limit_ms) return std::chrono::milliseconds(limit_ms);
  return lockfile::for_ever;
}

std::string code_name(const std::error_code& code) {
  return std::string(code.category().name()) + ":" + std::to_string(code.value());
}

std::string obey(std::unique_ptr<TestLock>& lock, lockfile::Semaphore::Units& units, const std::string& path,
                 const std::string& line, DeadlyCounter& counter) {
  std::istringstream in(line);
  std::string verb;
  in >> verb;
  try {
    if (verb == "acquire") {
      lock->acquire(wait_of(in));
      return "held";
    }
    if (verb == "acquire_until_told") {  // gives up at the next line, whatever it says
      std::stop_source told;
      const std::jthread listening([&told] {
        std::string next;
        std::getline(std::cin, next);
        told.request_stop();
      });
      lock->acquire({lockfile::for_ever, told.get_token()});
      return "held";
    }
    if (verb == "fence") return std::to_string(lock->fence());
    if (verb == "units") {  // K OF N
      std::size_t wanted = 0;
      std::size_t all = 0;
      in >> wanted >> all;
      units = lockfile::testing::test_semaphore(path, all, {.scheme = std::string(lock->scheme())}).acquire(wanted);
      return "held";
    }
    if (verb == "share") {
      lock->acquire(lockfile::Mode::shared, wait_of(in));
      return "held";
    }
    if (verb == "also") {  // PATH: a second lock, kept to the end
      static std::unique_ptr<TestLock> second;
      std::string other;
      in >> other;
      second = std::make_unique<TestLock>(other, lockfile::Options{.scheme = std::string(lock->scheme())});
      second->acquire();
      return "held";
    }
    if (verb == "acquire_upgradable") {
      lock->acquire(lockfile::Mode::upgradable, wait_of(in));
      return "held";
    }
    if (verb == "upgrade") {
      lock->upgrade(wait_of(in));
      return "exclusive";
    }
    if (verb == "downgrade") {  // to shared, or to upgradable
      std::string to;
      in >> to;
      lock->downgrade(to == "shared" ? lockfile::Mode::shared : lockfile::Mode::upgradable);
      return to;
    }
    if (verb == "release") {
      lock->release();
      return "released";
    }
    if (verb == "drop") {
      lock.reset();
      return "dropped";
    }
    if (verb == "is_locked") return lock->is_locked() ? "yes" : "no";
    if (verb == "i_am_locking") return lock->i_am_locking() ? "yes" : "no";
    if (verb == "waiters") return std::to_string(lock->waiters().size());
    if (verb == "holder") {
      const auto holder = lock->holder();
      return holder ? holder->describe() : "free";
    }
    if (verb == "break_stale") return lock->break_stale() ? "broken" : "nothing";
    if (verb == "break") return lock->break_lock() ? "broken" : "nothing";
    if (verb == "fork_worker") {
      // A worker that outlives us, with copies of all our descriptors but the standard ones.
      const pid_t worker = ::fork();
      if (worker == 0) {
        ::close(STDIN_FILENO);
        ::close(STDOUT_FILENO);
        for (;;) ::pause();
      }
      return std::to_string(worker);
    }
    if (verb == "fork_worker_with_handlers") {
      // As fork(2) does it where the library's at-fork handlers are installed.
      auto& process = lockfile::os::Process::current();
      process.before_fork();
      const pid_t worker = ::fork();
      if (worker == 0) {
        process.after_fork_in_child();
        ::close(STDIN_FILENO);
        ::close(STDOUT_FILENO);
        for (;;) ::pause();
      }
      process.after_fork_in_parent();
      return std::to_string(worker);
    }
    if (verb == "hand_to_child") {
      // Its copy of the guard is all that the child has of us.
      const int guard = lock->share_guard();
      const pid_t child = ::fork();
      if (child == 0) {
        for (int each = 0; each < 256; ++each) {
          if (each != guard) ::close(each);
        }
        for (;;) ::pause();
      }
      ::close(guard);
      lock->hand_over(child);
      return std::to_string(child);
    }
    if (verb == "close_all") {
      for (int each = 3; each < 256; ++each) ::close(each);
      return "closed";
    }
    if (verb == "close_all_and_open") {
      // As a daemon does: the numbers of our descriptors are other files' now.
      std::string other;
      in >> other;
      for (int each = 3; each < 256; ++each) ::close(each);
      for (int i = 0; i < 32; ++i) (void)::open(other.c_str(), O_RDWR | O_CREAT, 0644);
      return "opened";
    }
    if (verb == "still_open") {
      int open = 0;
      for (int each = 3; each < 35; ++each) open += ::fcntl(each, F_GETFD) >= 0 ? 1 : 0;
      return std::to_string(open);
    }
    if (verb == "calls") return std::to_string(counter.made());
    return "unknown command " + line;
  } catch (const lockfile::Error& error) {
    return "error " + code_name(error.code()) + " " + error.what();
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 64;
  const auto& variant = lockfile::testing::variant_named(argv[2]);
  lockfile::testing::InVariant in(variant);
  const long kill_at = argc > 4 ? std::strtol(argv[4], nullptr, 10) : -1;
  auto counter = std::make_shared<DeadlyCounter>(kill_at);
  in.system().before = [counter](lockfile::os::Call call) { return (*counter)(call); };
  lockfile::Options options{.scheme = std::string(variant.scheme)};
  for (int i = 5; i < argc; ++i) {
    if (std::string_view(argv[i]) == "fence") options.fence = true;
    if (std::string_view(argv[i]) == "everyone") options.access = lockfile::Access::everyone;
  }
  auto lock = std::make_unique<TestLock>(argv[1], options);
  std::string line;
  lockfile::Semaphore::Units units;
  while (std::getline(std::cin, line)) {
    counter->start();
    const std::string answer = obey(lock, units, argv[1], line, *counter);
    std::cout << answer << std::endl;
  }
}
