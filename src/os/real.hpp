// The real system's class, whose calls are spread over one file per platform and subject, and the at-fork handlers.
#pragma once

#include "os/system.hpp"

namespace lockfile::os {

class RealSystem final : public System {
 public:
  Result<int> open(int at, const char* name, Open how, std::uint32_t mode) noexcept override;
  void close(int descriptor) noexcept override;
  Result<std::size_t> read(int descriptor, std::span<char> into, std::uint64_t offset) noexcept override;
  Result<std::size_t> write(int descriptor, std::string_view bytes, std::uint64_t offset) noexcept override;
  Status sync(int descriptor) noexcept override;
  Result<FileInfo> stat(int descriptor) noexcept override;
  Result<FileInfo> stat_at(int at, const char* name, Links links) noexcept override;
  Status link(int from_at, const char* from, int to_at, const char* to) noexcept override;
  Status link_temporary(int descriptor, int at, const char* name) noexcept override;
  Status unlink(int at, const char* name) noexcept override;
  Status make_directory(int at, const char* name, std::uint32_t mode) noexcept override;
  Status remove_directory(int at, const char* name) noexcept override;
  Status rename(int from_at, const char* from, int to_at, const char* to) noexcept override;
  Status rename_new(int from_at, const char* from, int to_at, const char* to) noexcept override;
  Status make_symlink(const char* target, int at, const char* name) noexcept override;
  Status set_mode(int descriptor, std::uint32_t mode) noexcept override;
  Result<std::vector<std::string>> list(int directory) override;
  Result<FileSystem> file_system(int descriptor) override;
  Status try_lock(int descriptor, std::uint64_t byte) noexcept override;
  Status unlock(int descriptor, std::uint64_t first, std::uint64_t count) noexcept override;
  Result<bool> lock_seen(int descriptor, std::uint64_t byte) noexcept override;
  Status try_lock_shared(int descriptor, std::uint64_t byte) noexcept override;
  Status flock(int descriptor, Flock how) noexcept override;
  Status touch(int descriptor) noexcept override;
  Result<int> duplicate(int descriptor) noexcept override;
  Status make_fifo(int at, const char* name, std::uint32_t mode) noexcept override;
  Status fifo_put(int descriptor) noexcept override;
  Result<bool> fifo_drain(int descriptor) noexcept override;
  Result<SharedWord*> map(int descriptor, std::size_t words) noexcept override;
  void unmap(SharedWord* mapped, std::size_t words) noexcept override;
  std::uint64_t load(const SharedWord& word) noexcept override;
  void store(SharedWord& word, std::uint64_t value) noexcept override;
  bool compare_exchange(SharedWord& word, std::uint64_t expected, std::uint64_t desired) noexcept override;

  std::int64_t process_id() noexcept override;
  std::int64_t thread_id() noexcept override;
  Caller caller() noexcept override;
  Result<int> open_process(std::int64_t pid) noexcept override;
  Result<bool> readable(int descriptor) noexcept override;
  bool process_exists(std::int64_t pid) noexcept override;
  Result<std::uint64_t> process_start(std::int64_t pid) noexcept override;

  Result<std::string> boot_id() override;
  std::string host_name() override;
  Result<std::uint64_t> pid_namespace() noexcept override;
  Result<std::uint64_t> time_namespace() noexcept override;
  std::string program_name() override;
  Result<std::string> current_directory() override;
  std::uint64_t random() noexcept override;

  Result<int> notify_open() noexcept override;
  Result<int> notify_add(int notify, int descriptor, Notice what) noexcept override;
  void notify_remove(int notify, int watch) noexcept override;
  Result<std::vector<Notification>> notify_read(int notify) override;
  Result<int> event_open() noexcept override;
  void event_set(int event) noexcept override;
  void event_clear(int event) noexcept override;
  Status wait(std::span<Waitable> on, std::optional<std::chrono::steady_clock::time_point> deadline) noexcept override;

  std::chrono::steady_clock::time_point now() noexcept override;
  std::chrono::nanoseconds since_boot() noexcept override;
  std::string local_time(std::chrono::system_clock::time_point when) override;

  void lock(Mutex& mutex) noexcept override;
  void unlock(Mutex& mutex) noexcept override;
  [[noreturn]] void fatal(std::string_view message) noexcept override;
};

/// Once per program: see `Unshared`.
void install_fork_handlers();

}  // namespace lockfile::os
