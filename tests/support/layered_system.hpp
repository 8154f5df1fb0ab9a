// A system on top of another: every call passes `before`, which can make it fail, count it, stop there or end the
// process. What a file system cannot do is simulated by refusing the calls that would need it.
#pragma once

#include "os/system.hpp"

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <functional>

namespace lockfile::testing {

class LayeredSystem : public os::System {
 public:
  explicit LayeredSystem(os::System& below) : below_(below) {}

  /// Called before each call, with nothing locked. An error number: the call fails with it and does nothing.
  std::function<int(os::Call)> before;
  /// Instead of the host's name and its file system, before a process is made of it.
  std::string host;
  std::optional<os::FileSystem> mounted;
  /// Instead of the boot's, likewise.
  std::string boot;
  /// Instead of the system's random numbers: names that a test can foresee.
  std::function<std::uint64_t()> random_source;
  /// Instead of the time since boot: a clock that a test sets.
  std::function<std::chrono::nanoseconds()> boot_clock;
  /// Added to the times of files: a wall clock that somebody sets.
  std::atomic<std::int64_t> wall_clock_offset_s{0};
  /// By so much the monotonic clock is ahead: a test lets time pass.
  std::atomic<std::chrono::steady_clock::duration> ahead{std::chrono::steady_clock::duration::zero()};

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
  std::int64_t process_id() noexcept override { return below_.process_id(); }
  std::int64_t thread_id() noexcept override { return below_.thread_id(); }
  os::Result<int> open_process(std::int64_t pid) noexcept override;
  os::Result<bool> readable(int descriptor) noexcept override;
  bool process_exists(std::int64_t pid) noexcept override;
  os::Result<std::uint64_t> process_start(std::int64_t pid) noexcept override;
  os::Result<std::string> boot_id() override;
  std::string host_name() override { return host.empty() ? below_.host_name() : host; }
  os::Result<std::uint64_t> pid_namespace() noexcept override;
  os::Result<std::uint64_t> time_namespace() noexcept override;
  std::string program_name() override { return below_.program_name(); }
  os::Result<std::string> current_directory() override;
  std::uint64_t random() noexcept override { return random_source ? random_source() : below_.random(); }
  os::Result<int> notify_open() noexcept override;
  os::Result<int> notify_add(int notify, int descriptor, os::Notice what) noexcept override;
  void notify_remove(int notify, int watch) noexcept override;
  os::Result<std::vector<os::Notification>> notify_read(int notify) override;
  os::Result<int> event_open() noexcept override;
  void event_set(int event) noexcept override { below_.event_set(event); }
  void event_clear(int event) noexcept override { below_.event_clear(event); }
  os::Status wait(std::span<Waitable> on,
                  std::optional<std::chrono::steady_clock::time_point> deadline) noexcept override;
  std::chrono::steady_clock::time_point now() noexcept override { return below_.now() + ahead.load(); }
  std::chrono::nanoseconds since_boot() noexcept override { return boot_clock ? boot_clock() : below_.since_boot(); }
  std::string local_time(std::chrono::system_clock::time_point when) override { return below_.local_time(when); }
  void lock(os::Mutex& mutex) noexcept override { below_.lock(mutex); }
  void unlock(os::Mutex& mutex) noexcept override { below_.unlock(mutex); }
  [[noreturn]] void fatal(std::string_view message) noexcept override {
    below_.fatal(message);
    std::abort();
  }

 protected:
  [[nodiscard]] os::System& below() const noexcept { return below_; }
  [[nodiscard]] int ask(os::Call call) const { return before ? before(call) : 0; }
  [[nodiscard]] os::Result<os::FileInfo> shifted(os::Result<os::FileInfo> info) const noexcept;

 private:
  os::System& below_;
};

}  // namespace lockfile::testing
