// See lockers.hpp.
#include "lockers.hpp"

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <lockfile/lockfile.hpp>

namespace bench {
namespace {

class FlockLocker : public Locker {
 public:
  explicit FlockLocker(const std::string& path) : file_(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    if (file_ < 0) fail("open");
  }
  ~FlockLocker() override { close(file_); }
  void acquire() override { take(LOCK_EX); }
  void acquire_shared() override { take(LOCK_SH); }
  void release() override { take(LOCK_UN); }

 private:
  void take(int how) const {
    if (flock(file_, how) != 0) fail("flock");
  }
  int file_;
};

class ByteLocker : public Locker {
 public:
  explicit ByteLocker(const std::string& path) : file_(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    if (file_ < 0) fail("open");
  }
  ~ByteLocker() override { close(file_); }
  void acquire() override { take(F_WRLCK); }
  void acquire_shared() override { take(F_RDLCK); }
  void release() override { take(F_UNLCK); }

 private:
  void take(short type) const {
    struct flock range {};
    range.l_type = type;
    range.l_whence = SEEK_SET;
    range.l_len = 1;
    if (fcntl(file_, F_OFD_SETLKW, &range) != 0) fail("fcntl");
  }
  int file_;
};

// The beginning of a file as a T, which is zeros at first.
template <class T>
T* map_file(const std::string& path) {
  const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0 || ftruncate(file, sizeof(T)) != 0) fail("open");
  void* const where = mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (where == MAP_FAILED) fail("mmap");
  close(file);
  return static_cast<T*>(where);
}

// 0: free; 1: held; 2: held, and somebody may sleep. It knows nothing of dead holders, so it is a floor and no lock.
class FutexLocker : public Locker {
 public:
  explicit FutexLocker(const std::string& path) : word_(map_file<Word>(path)) {}
  ~FutexLocker() override { munmap(word_, sizeof(Word)); }
  void acquire() override {
    std::uint32_t seen = 0;
    if (word_->compare_exchange_strong(seen, 1)) return;
    if (seen != 2) seen = word_->exchange(2);
    while (seen != 0) {
      syscall(SYS_futex, word_, FUTEX_WAIT, 2, nullptr, nullptr, 0);
      seen = word_->exchange(2);
    }
  }
  void release() override {
    if (word_->exchange(0) == 2) syscall(SYS_futex, word_, FUTEX_WAKE, 1, nullptr, nullptr, 0);
  }

 private:
  using Word = std::atomic<std::uint32_t>;
  Word* word_;
};

// Tickets: each waits for its turn on a word of its own, so each hold goes to whoever has waited longest. It knows
// nothing of dead holders, so it is a floor and no lock.
class TicketLocker : public Locker {
 public:
  explicit TicketLocker(const std::string& path) : shared_(map_file<Shared>(path)) {}
  ~TicketLocker() override { munmap(shared_, sizeof(Shared)); }
  void acquire() override {
    const std::uint32_t ticket = shared_->next.fetch_add(1);
    Word& turn = shared_->turns[ticket % most];
    for (;;) {
      const std::uint32_t seen = turn.load();
      if (shared_->serving.load() == ticket) return;
      syscall(SYS_futex, &turn, FUTEX_WAIT, seen, nullptr, nullptr, 0);
    }
  }
  void release() override {
    const std::uint32_t ticket = shared_->serving.load() + 1;
    shared_->serving.store(ticket);
    Word& turn = shared_->turns[ticket % most];
    turn.fetch_add(1);
    if (shared_->next.load() != ticket) syscall(SYS_futex, &turn, FUTEX_WAKE, 1, nullptr, nullptr, 0);
  }

 private:
  using Word = std::atomic<std::uint32_t>;
  static constexpr std::size_t most = 1024;  // that wait at once
  struct Shared {
    Word next;
    Word serving;
    std::array<Word, most> turns;
  };
  Shared* shared_;
};

// The least that a lock file with events can be: link(2) of a kept inode, and inotify(7) on the inode that is in the
// way. Watch, look again, sleep. It knows nothing of dead holders, so it is a floor and no lock.
class BareLocker : public Locker {
 public:
  explicit BareLocker(const bench::WorkDirectory& directory)
      : word_(directory.file("bare.lock")),
        claim_(directory.file("bare." + std::to_string(getpid()))),
        notify_(inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) {
    const int file = open(claim_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 || notify_ < 0) fail("open");
    close(file);
  }
  ~BareLocker() override {
    unlink(claim_.c_str());
    close(notify_);
  }
  void acquire() override {
    while (link(claim_.c_str(), word_.c_str()) != 0) {
      if (errno != EEXIST) fail("link");
      const int file = open(word_.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
      if (file < 0) continue;
      sleep_on(file);
    }
  }
  void release() override {
    if (unlink(word_.c_str()) != 0) fail("unlink");
  }

 private:
  void sleep_on(int file) const {
    const std::string by_descriptor = "/proc/self/fd/" + std::to_string(file);
    const int watch = inotify_add_watch(notify_, by_descriptor.c_str(), IN_ATTRIB | IN_DELETE_SELF);
    struct stat held {};
    struct stat now {};
    const bool same = watch >= 0 && fstat(file, &held) == 0 && lstat(word_.c_str(), &now) == 0 &&
                      held.st_ino == now.st_ino && held.st_dev == now.st_dev;
    close(file);
    if (same) {
      pollfd on{.fd = notify_, .events = POLLIN, .revents = 0};
      poll(&on, 1, -1);
    }
    if (watch >= 0) inotify_rm_watch(notify_, watch);
    // Last, since the removal too leaves an event behind (IN_IGNORED), and the next sleep must not find it.
    std::array<char, 4096> events;
    while (read(notify_, events.data(), events.size()) > 0) {
    }
  }

  std::string word_;
  std::string claim_;
  int notify_;
};

lockfile::Options by_scheme(std::string_view name) {
  lockfile::Options options;
  options.scheme = name;
  return options;
}

class LibraryLocker : public Locker {
 public:
  LibraryLocker(const std::string& path, std::string_view scheme) : lock_(path, by_scheme(scheme)) {}
  void acquire() override { lock_.acquire(); }
  void acquire_shared() override { lock_.acquire(lockfile::Mode::shared); }
  void release() override { lock_.release(); }

 private:
  lockfile::FileLock lock_;
};

}  // namespace

std::vector<std::string> schemes() {
  std::vector<std::string> all;
  for (const auto& each : lockfile::describe_schemes()) {
    if (each.name != "auto") all.emplace_back(each.name);
  }
  return all;
}

bool is_scheme(std::string_view name) {
  const auto all = lockfile::describe_schemes();
  return std::any_of(all.begin(), all.end(), [&](const auto& each) { return each.name == name; });
}

bool promised(std::string_view scheme, bool lockfile::Traits::*promise) {
  const auto all = lockfile::describe_schemes();
  return std::any_of(all.begin(), all.end(),
                     [&](const auto& each) { return each.name == scheme && each.promises.*promise; });
}

std::unique_ptr<Locker> make_locker(std::string_view contestant, const WorkDirectory& directory) {
  if (contestant == raw_flock) return std::make_unique<FlockLocker>(directory.file("raw-flock"));
  if (contestant == raw_byte) return std::make_unique<ByteLocker>(directory.file("raw-byte"));
  if (contestant == raw_futex) return std::make_unique<FutexLocker>(directory.file("raw-futex"));
  if (contestant == raw_ticket) return std::make_unique<TicketLocker>(directory.file("raw-ticket"));
  if (contestant == raw_link) return std::make_unique<BareLocker>(directory);
  return make_locker_on(contestant, directory.file(contestant));
}

std::unique_ptr<Locker> make_locker_on(std::string_view scheme, const std::string& path) {
  return std::make_unique<LibraryLocker>(path, scheme);
}

}  // namespace bench
