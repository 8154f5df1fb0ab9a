// Processes that live and die inside one real process. Their files, byte locks and events are the kernel's; their pids
// and the passing of time are not. So a whole life of a lock is some hundred system calls long, nobody ever sleeps, and
// a sleep that nothing would end is seen as such.
#pragma once

#include "support/layered_system.hpp"
#include "support/variants.hpp"

#include "os/process.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace lockfile::testing {

/// A variant, and what kind of file system it believes to be on.
struct Setting {
  std::string name;
  const Variant* variant = nullptr;
  std::optional<os::FileSystem> mounted;  ///< else what the kernel says
};
/// Every variant of the lock files, some of them on a network file system, which take other ways to look and
/// to write, and the kernel locks.
[[nodiscard]] const std::vector<Setting>& settings();
void PrintTo(const Setting& setting, std::ostream* out);

/// What the processes of one test share: their pids and one clock.
class World {
 public:
  using Clock = std::chrono::steady_clock;

  World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  ~World();

  /// Called when a process sleeps and nothing has happened that would wake it. True: something has been done.
  std::function<bool()> on_sleep;

  [[nodiscard]] Clock::time_point now() const noexcept;
  [[nodiscard]] long sleeps() const noexcept { return sleeps_; }
  /// Somebody would have slept for ever.
  [[nodiscard]] bool slept_for_ever() const noexcept { return slept_for_ever_; }
  /// Somebody closed a number that was not open.
  [[nodiscard]] bool closed_twice() const noexcept { return closed_twice_; }

  /// A process that does nothing, for a hold to be handed over to.
  [[nodiscard]] std::int64_t give_birth();
  void die(std::int64_t pid) noexcept;

 private:
  friend class Mortal;
  class Member;

  [[nodiscard]] os::Status sleep(std::span<os::System::Waitable> on,
                                 std::optional<Clock::time_point> deadline) noexcept;

  os::System& real_;
  // Above every pid that Linux gives out (proc(5), pid_max): nobody else's.
  std::int64_t next_pid_ = std::int64_t{1} << 23;
  std::map<std::int64_t, int> living_;  // each with an event that is set when it dies
  // Time passes while somebody sleeps, and then at once.
  Clock::time_point began_;
  Clock::duration slept_{0};
  std::mt19937_64 random_;
  long sleeps_ = 0;
  bool slept_for_ever_ = false;
  bool closed_twice_ = false;
};

inline constexpr std::size_t all_bytes = static_cast<std::size_t>(-1);

/// A process of a world.
class Mortal {
 public:
  Mortal(World& world, const Setting& setting);
  Mortal(const Mortal&) = delete;
  Mortal& operator=(const Mortal&) = delete;
  ~Mortal();

  /// Its layer of the seam, for `before`.
  [[nodiscard]] CrippledSystem& system() noexcept { return *system_; }
  /// To so many bytes a read or write is cut.
  std::function<std::size_t(os::Call)> cut;
  /// Asked after each call that has made, moved or removed a name. True: the reply is lost, and the call is made again.
  std::function<bool(os::Call)> loses_reply;
  /// This thread's lock objects are this process's from now on. The first time it asks who it is.
  void enter();
  /// From now on its pid is nobody's. The objects it leaves only close what they have open.
  void die() noexcept;
  /// As the kernel does at the end of a process, once its objects are gone. How many had been left open?
  std::size_t close_all() noexcept;
  [[nodiscard]] std::size_t most_open() const noexcept;
  [[nodiscard]] std::int64_t pid() const noexcept;

 private:
  std::unique_ptr<World::Member> member_;
  std::unique_ptr<CrippledSystem> system_;
  std::unique_ptr<os::Process> process_;
};

}  // namespace lockfile::testing
