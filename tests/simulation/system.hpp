// The seam of one simulated process: each call is a step of the run, a call by a path with several parts one step for
// each, and what the process asks about itself is none.
#pragma once

#include "os/system.hpp"
#include "simulation/world.hpp"

namespace lockfile::simulation {

class Run;
struct SimulatedProcess;

class SimulatedSystem final : public os::System {
 public:
  SimulatedSystem(Run& run, SimulatedProcess& process, Process& self) : run_(run), process_(process), self_(self) {}

  os::Result<int> open(int at, const char* name, os::Open how, std::uint32_t mode) noexcept override;
  void close(int descriptor) noexcept override;
  os::Result<std::size_t> read(int descriptor, std::span<char> into, std::uint64_t offset) noexcept override;
  os::Result<std::size_t> write(int descriptor, std::string_view bytes, std::uint64_t offset) noexcept override;
  os::Status sync(int descriptor) noexcept override;
  os::Result<os::FileInfo> stat(int descriptor) noexcept override;
  os::Result<os::FileInfo> stat_at(int at, const char* name, os::Links links) noexcept override;
  os::Status link(int from_at, const char* from, int to_at, const char* to) noexcept override;
  os::Status link_temporary(int descriptor, int at, const char* name) noexcept override;
  os::Status unlink(int at, const char* name) noexcept override;
  os::Status make_directory(int at, const char* name, std::uint32_t mode) noexcept override;
  os::Status remove_directory(int at, const char* name) noexcept override;
  os::Status rename(int from_at, const char* from, int to_at, const char* to) noexcept override;
  os::Status rename_new(int from_at, const char* from, int to_at, const char* to) noexcept override;
  os::Status make_symlink(const char* target, int at, const char* name) noexcept override;
  os::Status set_mode(int descriptor, std::uint32_t mode) noexcept override;
  os::Result<std::vector<std::string>> list(int directory) override;
  os::Result<os::FileSystem> file_system(int descriptor) override;
  os::Status try_lock(int descriptor, std::uint64_t byte) noexcept override;
  os::Status unlock(int descriptor, std::uint64_t first, std::uint64_t count) noexcept override;
  os::Result<bool> lock_seen(int descriptor, std::uint64_t byte) noexcept override;
  os::Status try_lock_shared(int descriptor, std::uint64_t byte) noexcept override;
  os::Status flock(int descriptor, os::Flock how) noexcept override;
  os::Status touch(int descriptor) noexcept override;
  os::Result<int> duplicate(int descriptor) noexcept override;
  os::Status make_fifo(int at, const char* name, std::uint32_t mode) noexcept override;
  os::Status fifo_put(int descriptor) noexcept override;
  os::Result<bool> fifo_drain(int descriptor) noexcept override;
  os::Result<os::SharedWord*> map(int descriptor, std::size_t words) noexcept override;
  void unmap(os::SharedWord* mapped, std::size_t words) noexcept override;
  std::uint64_t load(const os::SharedWord& word) noexcept override;
  void store(os::SharedWord& word, std::uint64_t value) noexcept override;
  bool compare_exchange(os::SharedWord& word, std::uint64_t expected, std::uint64_t desired) noexcept override;

  std::int64_t process_id() noexcept override { return self_.pid; }
  std::int64_t thread_id() noexcept override;
  os::Result<int> open_process(std::int64_t pid) noexcept override;
  os::Result<bool> readable(int descriptor) noexcept override;
  bool process_exists(std::int64_t pid) noexcept override;
  os::Result<std::uint64_t> process_start(std::int64_t pid) noexcept override;

  os::Result<std::string> boot_id() override { return {self_.host->boot, 0}; }
  std::string host_name() override { return self_.host->name; }
  os::Result<std::uint64_t> pid_namespace() noexcept override { return {self_.space, 0}; }
  os::Result<std::uint64_t> time_namespace() noexcept override { return {1, 0}; }
  std::string program_name() override { return self_.name; }
  os::Result<std::string> current_directory() override { return {"/d", 0}; }
  std::uint64_t random() noexcept override;

  os::Result<int> notify_open() noexcept override;
  os::Result<int> notify_add(int notify, int descriptor, os::Notice what) noexcept override;
  void notify_remove(int notify, int watch) noexcept override;
  os::Result<std::vector<os::Notification>> notify_read(int notify) override;
  os::Result<int> event_open() noexcept override;
  void event_set(int event) noexcept override;
  void event_clear(int event) noexcept override;
  os::Status wait(std::span<Waitable> on,
                  std::optional<std::chrono::steady_clock::time_point> deadline) noexcept override;

  std::chrono::steady_clock::time_point now() noexcept override;
  std::chrono::nanoseconds since_boot() noexcept override;
  std::string local_time(std::chrono::system_clock::time_point) override { return "now"; }
  void lock(os::Mutex& mutex) noexcept override;
  void unlock(os::Mutex& mutex) noexcept override;
  [[noreturn]] void fatal(std::string_view message) noexcept override;

 private:
  struct Place {
    Node* directory = nullptr;
    std::string_view name;
  };
  [[nodiscard]] World& world() const noexcept;
  [[nodiscard]] os::Status step() noexcept;
  [[nodiscard]] os::Status walk(int at, const char* path, Place& place) noexcept;
  void shared_word_changed(const os::SharedWord& word, std::uint64_t before, std::uint64_t after) noexcept;
  template <class... Parts>
  void say(os::Status status, const Parts&... parts) const;
  [[nodiscard]] std::string shown(int descriptor) const;
  [[nodiscard]] os::Status rename_as(int from_at, const char* from, int to_at, const char* to, bool replace) noexcept;

  Run& run_;
  SimulatedProcess& process_;
  Process& self_;
};

}  // namespace lockfile::simulation
