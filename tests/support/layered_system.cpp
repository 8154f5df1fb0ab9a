// Passing calls on.
#include "support/layered_system.hpp"

namespace lockfile::testing {

using os::Call;

os::Result<os::FileInfo> LayeredSystem::shifted(os::Result<os::FileInfo> info) const noexcept {
  info.value.changed += std::chrono::seconds(wall_clock_offset_s.load());
  return info;
}

os::Result<int> LayeredSystem::open(int at, const char* name, os::Open how, std::uint32_t mode) noexcept {
  if (const int error = ask(Call::open)) return {-1, error};
  return below_.open(at, name, how, mode);
}
void LayeredSystem::close(int descriptor) noexcept {
  (void)ask(Call::close);
  below_.close(descriptor);
}
os::Result<std::size_t> LayeredSystem::read(int descriptor, std::span<char> into, std::uint64_t offset) noexcept {
  if (const int error = ask(Call::read)) return {0, error};
  return below_.read(descriptor, into, offset);
}
os::Result<std::size_t> LayeredSystem::write(int descriptor, std::string_view bytes, std::uint64_t offset) noexcept {
  if (const int error = ask(Call::write)) return {0, error};
  return below_.write(descriptor, bytes, offset);
}
os::Status LayeredSystem::sync(int descriptor) noexcept {
  const int error = ask(Call::sync);
  return error != 0 ? error : below_.sync(descriptor);
}
os::Result<os::FileInfo> LayeredSystem::stat(int descriptor) noexcept {
  if (const int error = ask(Call::stat)) return {{}, error};
  return shifted(below_.stat(descriptor));
}
os::Result<os::FileInfo> LayeredSystem::stat_at(int at, const char* name, os::Links links) noexcept {
  if (const int error = ask(Call::stat_at)) return {{}, error};
  return shifted(below_.stat_at(at, name, links));
}
os::Status LayeredSystem::link(int from_at, const char* from, int to_at, const char* to) noexcept {
  const int error = ask(Call::link);
  return error != 0 ? error : below_.link(from_at, from, to_at, to);
}
os::Status LayeredSystem::link_temporary(int descriptor, int at, const char* name) noexcept {
  const int error = ask(Call::link_temporary);
  return error != 0 ? error : below_.link_temporary(descriptor, at, name);
}
os::Status LayeredSystem::unlink(int at, const char* name) noexcept {
  const int error = ask(Call::unlink);
  return error != 0 ? error : below_.unlink(at, name);
}
os::Status LayeredSystem::make_directory(int at, const char* name, std::uint32_t mode) noexcept {
  const int error = ask(Call::make_directory);
  return error != 0 ? error : below_.make_directory(at, name, mode);
}
os::Status LayeredSystem::remove_directory(int at, const char* name) noexcept {
  const int error = ask(Call::remove_directory);
  return error != 0 ? error : below_.remove_directory(at, name);
}
os::Status LayeredSystem::rename(int from_at, const char* from, int to_at, const char* to) noexcept {
  const int error = ask(Call::rename);
  return error != 0 ? error : below_.rename(from_at, from, to_at, to);
}
os::Status LayeredSystem::rename_new(int from_at, const char* from, int to_at, const char* to) noexcept {
  const int error = ask(Call::rename_new);
  return error != 0 ? error : below_.rename_new(from_at, from, to_at, to);
}
os::Status LayeredSystem::make_symlink(const char* target, int at, const char* name) noexcept {
  const int error = ask(Call::make_symlink);
  return error != 0 ? error : below_.make_symlink(target, at, name);
}
os::Status LayeredSystem::set_mode(int descriptor, std::uint32_t mode) noexcept {
  const int error = ask(Call::set_mode);
  return error != 0 ? error : below_.set_mode(descriptor, mode);
}
os::Result<std::vector<std::string>> LayeredSystem::list(int directory) {
  if (const int error = ask(Call::list)) return {{}, error};
  return below_.list(directory);
}
os::Result<os::FileSystem> LayeredSystem::file_system(int descriptor) {
  if (const int error = ask(Call::file_system)) return {{}, error};
  if (mounted) return {*mounted, 0};
  return below_.file_system(descriptor);
}
os::Status LayeredSystem::try_lock(int descriptor, std::uint64_t byte) noexcept {
  const int error = ask(Call::try_lock);
  return error != 0 ? error : below_.try_lock(descriptor, byte);
}
os::Status LayeredSystem::unlock(int descriptor, std::uint64_t first, std::uint64_t count) noexcept {
  const int error = ask(Call::unlock);
  return error != 0 ? error : below_.unlock(descriptor, first, count);
}
os::Result<bool> LayeredSystem::lock_seen(int descriptor, std::uint64_t byte) noexcept {
  if (const int error = ask(Call::lock_seen)) return {false, error};
  return below_.lock_seen(descriptor, byte);
}
os::Status LayeredSystem::try_lock_shared(int descriptor, std::uint64_t byte) noexcept {
  const int error = ask(Call::try_lock_shared);
  return error != 0 ? error : below_.try_lock_shared(descriptor, byte);
}
os::Status LayeredSystem::flock(int descriptor, os::Flock how) noexcept {
  const int error = ask(Call::flock);
  return error != 0 ? error : below_.flock(descriptor, how);
}
os::Status LayeredSystem::touch(int descriptor) noexcept {
  const int error = ask(Call::touch);
  return error != 0 ? error : below_.touch(descriptor);
}
os::Result<int> LayeredSystem::duplicate(int descriptor) noexcept {
  if (const int error = ask(Call::duplicate)) return {-1, error};
  return below_.duplicate(descriptor);
}
os::Status LayeredSystem::make_fifo(int at, const char* name, std::uint32_t mode) noexcept {
  const int error = ask(Call::make_fifo);
  return error != 0 ? error : below_.make_fifo(at, name, mode);
}
os::Status LayeredSystem::fifo_put(int descriptor) noexcept {
  const int error = ask(Call::fifo_put);
  return error != 0 ? error : below_.fifo_put(descriptor);
}
os::Result<bool> LayeredSystem::fifo_drain(int descriptor) noexcept {
  if (const int error = ask(Call::fifo_drain)) return {false, error};
  return below_.fifo_drain(descriptor);
}
os::Result<os::SharedWord*> LayeredSystem::map(int descriptor, std::size_t words) noexcept {
  if (const int error = ask(Call::map)) return {nullptr, error};
  return below_.map(descriptor, words);
}
void LayeredSystem::unmap(os::SharedWord* mapped, std::size_t words) noexcept {
  (void)ask(Call::unmap);
  below_.unmap(mapped, words);
}
std::uint64_t LayeredSystem::load(const os::SharedWord& word) noexcept {
  (void)ask(Call::load);
  return below_.load(word);
}
void LayeredSystem::store(os::SharedWord& word, std::uint64_t value) noexcept {
  (void)ask(Call::store);
  below_.store(word, value);
}
bool LayeredSystem::compare_exchange(os::SharedWord& word, std::uint64_t expected, std::uint64_t desired) noexcept {
  (void)ask(Call::compare_exchange);
  return below_.compare_exchange(word, expected, desired);
}
os::Result<int> LayeredSystem::open_process(std::int64_t pid) noexcept {
  if (const int error = ask(Call::open_process)) return {-1, error};
  return below_.open_process(pid);
}
os::Result<bool> LayeredSystem::readable(int descriptor) noexcept {
  if (const int error = ask(Call::readable)) return {false, error};
  return below_.readable(descriptor);
}
bool LayeredSystem::process_exists(std::int64_t pid) noexcept {
  return ask(Call::process_exists) != 0 || below_.process_exists(pid);
}
os::Result<std::uint64_t> LayeredSystem::process_start(std::int64_t pid) noexcept {
  if (const int error = ask(Call::process_start)) return {0, error};
  return below_.process_start(pid);
}
os::Result<std::string> LayeredSystem::boot_id() {
  if (const int error = ask(Call::boot_id)) return {{}, error};
  if (!boot.empty()) return {boot, 0};
  return below_.boot_id();
}
os::Result<std::uint64_t> LayeredSystem::pid_namespace() noexcept {
  if (const int error = ask(Call::pid_namespace)) return {0, error};
  return below_.pid_namespace();
}
os::Result<std::uint64_t> LayeredSystem::time_namespace() noexcept {
  if (const int error = ask(Call::time_namespace)) return {0, error};
  return below_.time_namespace();
}
os::Result<std::string> LayeredSystem::current_directory() {
  if (const int error = ask(Call::current_directory)) return {{}, error};
  return below_.current_directory();
}
os::Result<int> LayeredSystem::notify_open() noexcept {
  if (const int error = ask(Call::notify_open)) return {-1, error};
  return below_.notify_open();
}
os::Result<int> LayeredSystem::notify_add(int notify, int descriptor, os::Notice what) noexcept {
  if (const int error = ask(Call::notify_add)) return {-1, error};
  return below_.notify_add(notify, descriptor, what);
}
void LayeredSystem::notify_remove(int notify, int watch) noexcept {
  (void)ask(Call::notify_remove);
  below_.notify_remove(notify, watch);
}
os::Result<std::vector<os::Notification>> LayeredSystem::notify_read(int notify) {
  if (const int error = ask(Call::notify_read)) return {{}, error};
  return below_.notify_read(notify);
}
os::Result<int> LayeredSystem::event_open() noexcept {
  if (const int error = ask(Call::event_open)) return {-1, error};
  return below_.event_open();
}
os::Status LayeredSystem::wait(std::span<Waitable> on,
                               std::optional<std::chrono::steady_clock::time_point> deadline) noexcept {
  const int error = ask(Call::wait);
  if (deadline) *deadline -= ahead.load();
  return error != 0 ? error : below_.wait(on, deadline);
}

}  // namespace lockfile::testing
