// The seam: everything the library asks of the operating system, one virtual call each. Nothing above src/os names a
// system call, reads a clock or learns a pid in another way, so a test can fail, pause, kill at or simulate any step.
//
// A call gives a value and an error number (errno(3); 0: none). Numbers are turned into a `Cause` by `cause_of`, in
// one place, because what a number means depends on the call (EPERM from link is not EPERM from unlink).
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace lockfile::os {

template <class T>
struct Result {
  T value{};
  int error = 0;

  [[nodiscard]] bool ok() const noexcept { return error == 0; }
};

/// 0, or an error number.
using Status = int;

/// The calls by name, for tests that fail or stop one of them.
enum class Call : std::uint8_t {
  open,
  close,
  read,
  write,
  sync,
  stat,
  stat_at,
  link,
  link_temporary,
  unlink,
  make_directory,
  remove_directory,
  rename,
  rename_new,
  make_symlink,
  set_mode,
  list,
  file_system,
  try_lock,
  unlock,
  lock_seen,
  try_lock_shared,
  flock,
  touch,
  duplicate,
  make_fifo,
  fifo_put,
  fifo_drain,
  map,
  unmap,
  load,
  store,
  compare_exchange,
  process_id,
  thread_id,
  open_process,
  readable,
  process_exists,
  process_start,
  boot_id,
  host_name,
  pid_namespace,
  time_namespace,
  program_name,
  current_directory,
  random,
  notify_open,
  notify_add,
  notify_remove,
  notify_read,
  event_open,
  event_set,
  event_clear,
  wait,
  now,
  since_boot,
  local_time,
  mutex_lock,
  mutex_unlock,
};
[[nodiscard]] std::string_view to_string(Call call) noexcept;

/// What an error number means for the protocol.
enum class Cause : std::uint8_t {
  none,
  contention,   ///< somebody else was first
  missing,      ///< the name, or a directory on the way, is not there
  transient,    ///< try again, boundedly
  unsupported,  ///< this file system or kernel cannot do it: choose another way or say so
  other,        ///< permission, no space, read-only, name too long ...: reported as it is
};
[[nodiscard]] Cause cause_of(Call call, int error) noexcept;

/// `error` as a code that compares equal to `std::errc`.
[[nodiscard]] inline std::error_code code_of(int error) noexcept { return {error, std::generic_category()}; }

/// Relative to no directory: an absolute path, or the current directory (AT_FDCWD).
inline constexpr int no_directory = -100;

enum class Open : std::uint8_t {
  look,       ///< to read; never follows a link, never blocks on a FIFO
  update,     ///< to read and write; likewise
  create,     ///< to read and write; must not be there yet
  temporary,  ///< a file without a name in that directory (O_TMPFILE)
  directory,  ///< to work in: follows links, needs no read permission (O_PATH)
  wake,       ///< a FIFO, to write: ENXIO when nobody reads it; never follows a link, never blocks
};

enum class FileType : std::uint8_t { regular, directory, symlink, fifo, other };

struct FileInfo {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t links = 0;
  FileType type = FileType::other;
  std::uint32_t mode = 0;  ///< permission bits, the sticky bit included
  std::uint32_t uid = 0;
  std::uint64_t size = 0;
  std::chrono::system_clock::time_point changed;  ///< st_ctime

  /// Compare only while a descriptor of one of them is open: ext4 gives a freed number out again at once.
  [[nodiscard]] bool same_inode(const FileInfo& that) const noexcept {
    return device == that.device && inode == that.inode;
  }
};

inline constexpr std::uint32_t sticky = 01000;

struct FileSystem {
  std::string name;    ///< "ext4", or the number where it is not known
  bool local = false;  ///< a known type that lives on this host alone
  /// Byte-range locks taken here are seen by all who use it: by other hosts too, where there are any.
  bool locks_reach = false;
  /// For so long at most what is read here may be what another host has changed since.
  std::chrono::milliseconds stale_for{0};
};

enum class Links : std::uint8_t { keep, follow };

/// What to watch an inode for.
enum class Notice : std::uint8_t {
  file,      ///< a regular file: attributes and link count, content, close after writing, deletion
  word,      ///< a directory that is itself the lock: moved, deleted
  contents,  ///< a directory: names that come and go
  lock,      ///< a file with kernel locks on it: attributes, deletion, and every close, since a close unlocks
};

/// What to do with the flock(2) lock of an open file description.
enum class Flock : std::uint8_t { exclusive, shared, release };

struct Notification {
  int watch = -1;
  bool everything = false;  ///< the queue overflowed: anything may have happened
};

/// Not a mutex of the platform's directly: a simulation must be able to schedule it.
class Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

 private:
  friend class RealSystem;
  std::mutex mutex_;
};

/// A word of memory that several processes have mapped. Other programs may have another libc, so it is never anything
/// but one lock-free atomic number; touched through the `System` only, so that a simulation can schedule it.
using SharedWord = std::atomic<std::uint64_t>;
static_assert(SharedWord::is_always_lock_free && sizeof(SharedWord) == 8);

class System {
 public:
  System() = default;
  System(const System&) = delete;
  System& operator=(const System&) = delete;
  virtual ~System() = default;

  // Files. `at` is a descriptor of a directory or `no_directory`. Names are not resolved through links, except where
  // `Links::follow` or `Open::directory` says so.
  virtual Result<int> open(int at, const char* name, Open how, std::uint32_t mode) noexcept = 0;
  virtual void close(int descriptor) noexcept = 0;
  virtual Result<std::size_t> read(int descriptor, std::span<char> into, std::uint64_t offset) noexcept = 0;
  virtual Result<std::size_t> write(int descriptor, std::string_view bytes, std::uint64_t offset) noexcept = 0;
  virtual Status sync(int descriptor) noexcept = 0;
  virtual Result<FileInfo> stat(int descriptor) noexcept = 0;
  virtual Result<FileInfo> stat_at(int at, const char* name, Links links) noexcept = 0;
  virtual Status link(int from_at, const char* from, int to_at, const char* to) noexcept = 0;
  /// Gives an `Open::temporary` file its first name.
  virtual Status link_temporary(int descriptor, int at, const char* name) noexcept = 0;
  virtual Status unlink(int at, const char* name) noexcept = 0;
  virtual Status make_directory(int at, const char* name, std::uint32_t mode) noexcept = 0;
  virtual Status remove_directory(int at, const char* name) noexcept = 0;
  /// Replaces a file or an empty directory at `to`.
  virtual Status rename(int from_at, const char* from, int to_at, const char* to) noexcept = 0;
  /// Replaces nothing (renameat2(2), RENAME_NOREPLACE).
  virtual Status rename_new(int from_at, const char* from, int to_at, const char* to) noexcept = 0;
  virtual Status make_symlink(const char* target, int at, const char* name) noexcept = 0;
  virtual Status set_mode(int descriptor, std::uint32_t mode) noexcept = 0;
  /// The names in a directory, without `.` and `..`.
  virtual Result<std::vector<std::string>> list(int directory) = 0;
  virtual Result<FileSystem> file_system(int descriptor) = 0;
  // Exclusive byte locks of the open file description (F_OFD_SETLK, fcntl(2), Linux 3.15). Never block.
  virtual Status try_lock(int descriptor, std::uint64_t byte) noexcept = 0;
  virtual Status unlock(int descriptor, std::uint64_t first, std::uint64_t count) noexcept = 0;
  /// Does another description hold it? Takes nothing.
  virtual Result<bool> lock_seen(int descriptor, std::uint64_t byte) noexcept = 0;
  /// The same lock, shared: a descriptor to read is enough.
  virtual Status try_lock_shared(int descriptor, std::uint64_t byte) noexcept = 0;
  /// flock(2), of the whole file and never blocking. Byte locks and it do not see each other on a local file system.
  virtual Status flock(int descriptor, Flock how) noexcept = 0;
  /// Sets the file's times to now (futimens(3)): an event for those who watch it. Unlocking gives none.
  virtual Status touch(int descriptor) noexcept = 0;
  /// A second descriptor of the same description, closed on exec.
  virtual Result<int> duplicate(int descriptor) noexcept = 0;

  // FIFOs by which one process wakes another (fifo(7)). The reader opens its own with `Open::update`, which never
  // blocks and never sees an end of file. `Open::wake` tells whether anybody reads; whoever puts a token in opens with
  // `Open::update` too, or a reader that dies in between would raise SIGPIPE in it.
  virtual Status make_fifo(int at, const char* name, std::uint32_t mode) noexcept = 0;
  /// Puts one byte in. Full: it is readable already, which is all that was wanted.
  virtual Status fifo_put(int descriptor) noexcept = 0;
  /// Reads until it is empty. True: something was in it.
  virtual Result<bool> fifo_drain(int descriptor) noexcept = 0;

  // Memory shared between processes: the beginning of a file, mapped (mmap(2), MAP_SHARED). Each access is a full
  // barrier among those that map it. Touching a page that the file has lost by truncation ends the process (SIGBUS):
  // look at the file's size before.
  virtual Result<SharedWord*> map(int descriptor, std::size_t words) noexcept = 0;
  virtual void unmap(SharedWord* mapped, std::size_t words) noexcept = 0;
  virtual std::uint64_t load(const SharedWord& word) noexcept = 0;
  virtual void store(SharedWord& word, std::uint64_t value) noexcept = 0;
  /// Stores `desired` if the word is `expected`, and says whether it did.
  virtual bool compare_exchange(SharedWord& word, std::uint64_t expected, std::uint64_t desired) noexcept = 0;

  // Processes.
  virtual std::int64_t process_id() noexcept = 0;
  virtual std::int64_t thread_id() noexcept = 0;
  /// Both at once.
  struct Caller {
    std::int64_t process = 0;
    std::int64_t thread = 0;
  };
  virtual Caller caller() noexcept { return {process_id(), thread_id()}; }
  /// A descriptor that polls readable once the process has ended (pidfd_open(2), Linux 5.3).
  virtual Result<int> open_process(std::int64_t pid) noexcept = 0;
  virtual Result<bool> readable(int descriptor) noexcept = 0;
  /// False: surely not there. True: there, or not to be told (kill(2), signal 0).
  virtual bool process_exists(std::int64_t pid) noexcept = 0;
  /// In clock ticks since boot: field 22 of /proc/PID/stat, proc(5).
  virtual Result<std::uint64_t> process_start(std::int64_t pid) noexcept = 0;

  // The host.
  virtual Result<std::string> boot_id() = 0;
  virtual std::string host_name() = 0;
  virtual Result<std::uint64_t> pid_namespace() noexcept = 0;
  virtual Result<std::uint64_t> time_namespace() noexcept = 0;
  virtual std::string program_name() = 0;
  virtual Result<std::string> current_directory() = 0;
  virtual std::uint64_t random() noexcept = 0;

  // Waiting.
  virtual Result<int> notify_open() noexcept = 0;
  virtual Result<int> notify_add(int notify, int descriptor, Notice what) noexcept = 0;
  virtual void notify_remove(int notify, int watch) noexcept = 0;
  /// What has been noticed since; empty: nothing. Never blocks.
  virtual Result<std::vector<Notification>> notify_read(int notify) = 0;
  virtual Result<int> event_open() noexcept = 0;
  /// Makes it readable. Async-signal-safe.
  virtual void event_set(int event) noexcept = 0;
  virtual void event_clear(int event) noexcept = 0;
  /// Sleeps until a descriptor is readable or the deadline has come; sets `fired` accordingly. An interrupted sleep
  /// is a wake-up without a cause.
  struct Waitable {
    int descriptor = -1;
    bool fired = false;
  };
  virtual Status wait(std::span<Waitable> on,
                      std::optional<std::chrono::steady_clock::time_point> deadline) noexcept = 0;

  // Clocks. `now` is CLOCK_MONOTONIC; the wall clock is for people only.
  virtual std::chrono::steady_clock::time_point now() noexcept = 0;
  /// CLOCK_BOOTTIME: counts the time that the machine sleeps as well, which `now` does not.
  virtual std::chrono::nanoseconds since_boot() noexcept = 0;
  virtual std::string local_time(std::chrono::system_clock::time_point when) = 0;

  virtual void lock(Mutex& mutex) noexcept = 0;
  virtual void unlock(Mutex& mutex) noexcept = 0;

  /// For a broken precondition: says it on standard error and ends the program (abort(3)).
  [[noreturn]] virtual void fatal(std::string_view message) noexcept = 0;
};

/// The system of this program.
[[nodiscard]] System& real_system() noexcept;

class MutexGuard {
 public:
  MutexGuard(System& system, Mutex& mutex) noexcept : system_(system), mutex_(mutex) { system_.lock(mutex_); }
  MutexGuard(const MutexGuard&) = delete;
  MutexGuard& operator=(const MutexGuard&) = delete;
  ~MutexGuard() { system_.unlock(mutex_); }

 private:
  System& system_;
  Mutex& mutex_;
};

/// A descriptor that closes itself.
class File {
 public:
  File() = default;
  File(System& system, int descriptor) noexcept : system_(&system), descriptor_(descriptor) {}
  File(File&& from) noexcept : system_(from.system_), descriptor_(from.release()) {}
  File& operator=(File&& from) noexcept {
    if (this != &from) {
      close();
      system_ = from.system_;
      descriptor_ = from.release();
    }
    return *this;
  }
  ~File() { close(); }

  [[nodiscard]] int get() const noexcept { return descriptor_; }
  [[nodiscard]] bool is_open() const noexcept { return descriptor_ >= 0; }
  void close() noexcept {
    if (descriptor_ >= 0) system_->close(release());
  }
  int release() noexcept {
    const int descriptor = descriptor_;
    descriptor_ = -1;
    return descriptor;
  }

 private:
  System* system_ = nullptr;
  int descriptor_ = -1;
};

}  // namespace lockfile::os
