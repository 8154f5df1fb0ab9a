// What does an acquire with its release cost when nobody else is there, next to the bare system calls that such a lock
// cannot do without?
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <functional>
#include <lockfile/lockfile.hpp>
#include <string>
#include <string_view>
#include <thread>

#include "driver.hpp"
#include "lockers.hpp"

namespace {

using bench::fail;

void must(int result, const char* what) {
  if (result < 0) fail(what);
}

// A byte-range lock of the open file, as the guards of a claim are.
void byte_lock(int file, short type, off_t byte) {
  struct flock range {};
  range.l_type = type;
  range.l_whence = SEEK_SET;
  range.l_start = byte;
  range.l_len = 1;
  must(fcntl(file, F_OFD_SETLK, &range), "fcntl");
}

constexpr off_t live = (off_t{1} << 62) + 1;
constexpr off_t remove_byte = (off_t{1} << 62) + 2;
constexpr off_t lock_byte = (off_t{1} << 62) + 3;

// The floors, in one directory, on kept inodes.
class Raw {
 public:
  explicit Raw(const bench::WorkDirectory& directory) {
    must(directory_ = open(directory.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), "open");
    must(claim_ = openat(directory_, "claim", O_RDWR | O_CREAT | O_CLOEXEC, 0600), "open");
    must(mkdirat(directory_, "kept", 0700), "mkdir");
    must(kept_ = openat(directory_, "kept/holder", O_RDWR | O_CREAT | O_CLOEXEC, 0600), "open");
    byte_lock(claim_, F_WRLCK, live);
    byte_lock(kept_, F_WRLCK, live);
  }
  Raw(const Raw&) = delete;
  Raw& operator=(const Raw&) = delete;
  ~Raw() {
    close(kept_);
    close(claim_);
    close(directory_);
  }

  void link_unlink() const {
    must(linkat(directory_, "claim", directory_, "raw.lock", 0), "link");
    must(unlinkat(directory_, "raw.lock", 0), "unlink");
  }
  // What the protocol adds to it: the hold's number, REMOVE, and the look under it.
  void link_protocol() const {
    must(static_cast<int>(pwrite(claim_, "00000000000000000001", 20, 64)), "pwrite");
    must(linkat(directory_, "claim", directory_, "raw.lock", 0), "link");
    byte_lock(claim_, F_WRLCK, remove_byte);
    struct stat look {};
    must(fstatat(directory_, "raw.lock", &look, AT_SYMLINK_NOFOLLOW), "stat");
    must(unlinkat(directory_, "raw.lock", 0), "unlink");
    byte_lock(claim_, F_UNLCK, remove_byte);
  }
  // A lock on a file that somebody may remove is worth nothing without a look whether the name still means that file.
  void byte_lock_and_look() const {
    byte_lock(claim_, F_WRLCK, lock_byte);
    struct stat look {};
    must(fstatat(directory_, "claim", &look, AT_SYMLINK_NOFOLLOW), "stat");
    byte_lock(claim_, F_UNLCK, lock_byte);
  }
  // And the holder's record: read, guarded by a byte of its own, written.
  void byte_lock_protocol() const {
    byte_lock(claim_, F_WRLCK, lock_byte);
    struct stat look {};
    must(fstatat(directory_, "claim", &look, AT_SYMLINK_NOFOLLOW), "stat");
    std::array<char, 512> record{};
    must(static_cast<int>(pread(claim_, record.data(), record.size(), 0)), "pread");
    byte_lock(claim_, F_WRLCK, lock_byte + 1);
    must(static_cast<int>(pwrite(claim_, "00000000000000000001", 20, 64)), "pwrite");
    must(fstatat(directory_, "claim", &look, AT_SYMLINK_NOFOLLOW), "stat");
    byte_lock(claim_, F_UNLCK, lock_byte + 1);
    byte_lock(claim_, F_UNLCK, lock_byte);
  }
  void two_renames() const {
    must(renameat2(directory_, "kept", directory_, "rawd.lock", RENAME_NOREPLACE), "rename");
    must(renameat2(directory_, "rawd.lock", directory_, "kept", RENAME_NOREPLACE), "rename");
  }
  void mkdir_rmdir() const {
    must(mkdirat(directory_, "rawm.lock", 0700), "mkdir");
    must(unlinkat(directory_, "rawm.lock", AT_REMOVEDIR), "rmdir");
  }
  void mkdir_protocol() const {
    must(static_cast<int>(pwrite(kept_, "00000000000000000001", 20, 64)), "pwrite");
    must(renameat2(directory_, "kept", directory_, "rawd.lock", RENAME_NOREPLACE), "rename");
    byte_lock(kept_, F_WRLCK, remove_byte);
    struct stat look {};
    must(fstatat(directory_, "rawd.lock/holder", &look, AT_SYMLINK_NOFOLLOW), "stat");
    must(renameat2(directory_, "rawd.lock", directory_, "kept", RENAME_NOREPLACE), "rename");
    byte_lock(kept_, F_UNLCK, remove_byte);
  }

 private:
  int directory_ = -1;
  int claim_ = -1;
  int kept_ = -1;
};

// A robust mutex that processes share, in memory that they share.
class RobustMutex {
 public:
  RobustMutex() {
    pthread_mutexattr_t how;
    pthread_mutexattr_init(&how);
    pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST);
    must(-pthread_mutex_init(&*mutex_, &how), "pthread_mutex_init");
    pthread_mutexattr_destroy(&how);
  }
  void pair() const {
    must(-pthread_mutex_lock(&*mutex_), "pthread_mutex_lock");
    must(-pthread_mutex_unlock(&*mutex_), "pthread_mutex_unlock");
  }

 private:
  bench::Shared<pthread_mutex_t> mutex_;
};

struct Series {
  std::string name;
  std::string floor;  // of the ratio that is shown
  std::function<void()> pair;
  std::vector<double> ns{};
};

class Contest {
 public:
  void add(std::string name, std::string floor, std::function<void()> pair) {
    all_.push_back({std::move(name), std::move(floor), std::move(pair)});
  }
  /// Short batches, so that neighbours in time see the same machine; the order turns, so that nobody always comes after
  /// the same one.
  void run(int rounds) {
    constexpr int batch = 100;
    constexpr int warm_up = 5;
    for (int round = -warm_up; round < rounds; ++round) {
      for (std::size_t i = 0; i < all_.size(); ++i) {
        Series& series = all_[(i + static_cast<std::size_t>(round + warm_up)) % all_.size()];
        const std::int64_t begin = bench::now_ns();
        for (int k = 0; k < batch; ++k) series.pair();
        const std::int64_t end = bench::now_ns();
        if (round >= 0) series.ns.push_back(static_cast<double>(end - begin) / batch);
      }
    }
  }
  [[nodiscard]] bool has(std::string_view name) const {
    return std::any_of(all_.begin(), all_.end(), [&](const Series& each) { return each.name == name; });
  }
  [[nodiscard]] double ratio(std::string_view name, std::string_view floor) const {
    return bench::median_ratio(find(name).ns, find(floor).ns);
  }
  void print(bench::Report& report) const {
    report.table({"ns per pair, by batches of 100", "p10", "p50", "p90", "to its floor"});
    for (const Series& s : all_) {
      report.row({s.name, bench::text("%.0f", bench::percentile(s.ns, 10)), bench::text("%.0f", bench::median(s.ns)),
                  bench::text("%.0f", bench::percentile(s.ns, 90)),
                  s.floor.empty() ? "" : bench::text("%.2f", ratio(s.name, s.floor))});
      report.raw(s.name, "ns", s.ns);
    }
  }

 private:
  [[nodiscard]] const Series& find(std::string_view name) const {
    const auto found = std::find_if(all_.begin(), all_.end(), [&](const Series& each) { return each.name == name; });
    if (found == all_.end()) fail("no such series");
    return *found;
  }
  std::vector<Series> all_;
};

constexpr std::string_view floor_link = "raw link + unlink";
constexpr std::string_view floor_mkdir = "raw rename + rename";
constexpr std::string_view floor_byte = "raw OFD lock + unlock";
constexpr std::string_view floor_flock = "raw flock + unlock";
constexpr std::string_view floor_mutex = "robust shared pthread mutex";

std::string_view floor_of(std::string_view scheme) {
  if (scheme == "link") return floor_link;
  if (scheme == "mkdir") return floor_mkdir;
  if (scheme == "kernel") return floor_byte;
  if (scheme == "flock") return floor_flock;
  return floor_mutex;
}

void say_reaches(const Contest& contest, bool on_disk, bench::Report& report) {
  const auto say = [&](std::string_view name, std::string_view floor, double most) {
    if (!contest.has(name)) return;
    report.reach(std::string(name) + " to " + std::string(floor), "ratio", contest.ratio(name, floor), most);
  };
  // On tmpfs a link is so cheap that the number, the look and two byte locks weigh more; and no directory needs to be
  // kept where making one costs less than renaming it, so the mkdir scheme has no target there.
  say("link", floor_link, on_disk ? 2.0 : 2.1);
  if (on_disk) say("mkdir", floor_mkdir, 1.5);
  if (on_disk) say("mkdir", "raw mkdir + rmdir", 1.0);
  say("kernel", floor_byte, 1.3);
  say("shm", floor_mutex, 3);
  say("link, a lone reader", "link", 1.3);
  say("shm, a lone reader", "shm", 1.3);
  say("link, in and out of an open group", "link", 2);
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Arguments arguments(argc, argv);
  const bench::WorkDirectory directory(arguments.directory);
  bench::Report report("an uncontended acquire with its release", arguments, directory);

  const Raw raw(directory);
  const RobustMutex mutex;
  const auto raw_byte = bench::make_locker(bench::raw_byte, directory);
  const auto raw_flock = bench::make_locker(bench::raw_flock, directory);
  Contest contest;
  const auto pair_of = [](bench::Locker& lock) {
    return [&lock] {
      lock.acquire();
      lock.release();
    };
  };
  contest.add(std::string(floor_link), "", [&] { raw.link_unlink(); });
  contest.add("  all bare calls of link", std::string(floor_link), [&] { raw.link_protocol(); });
  contest.add(std::string(floor_mkdir), "", [&] { raw.two_renames(); });
  contest.add("raw mkdir + rmdir", std::string(floor_mkdir), [&] { raw.mkdir_rmdir(); });
  contest.add("  all bare calls of mkdir", std::string(floor_mkdir), [&] { raw.mkdir_protocol(); });
  contest.add(std::string(floor_byte), "", pair_of(*raw_byte));
  contest.add("  and a look at the name", std::string(floor_byte), [&] { raw.byte_lock_and_look(); });
  contest.add("  all bare calls of kernel", std::string(floor_byte), [&] { raw.byte_lock_protocol(); });
  contest.add(std::string(floor_flock), "", pair_of(*raw_flock));
  contest.add(std::string(floor_mutex), "", [&] { mutex.pair(); });
  std::vector<std::unique_ptr<bench::Locker>> locks;
  for (const std::string& scheme : bench::schemes()) {
    bench::Locker& lock = *locks.emplace_back(bench::make_locker(scheme, directory));
    contest.add(scheme, std::string(floor_of(scheme)), pair_of(lock));
    if (!bench::promised(scheme, &lockfile::Traits::shared)) continue;
    contest.add(scheme + ", a lone reader", scheme, [&lock] {
      lock.acquire_shared();
      lock.release();
    });
    // Two readers stay in, so that the group is there and stays open.
    for (int i = 0; i < 2; ++i) {
      const auto path = directory.file(scheme + "-group");
      std::thread([&] {
        locks.push_back(bench::make_locker_on(scheme, path));
        locks.back()->acquire_shared();
      }).join();
    }
    bench::Locker& third = *locks.emplace_back(bench::make_locker_on(scheme, directory.file(scheme + "-group")));
    contest.add(scheme + ", in and out of an open group", scheme, [&third] {
      third.acquire_shared();
      third.release();
    });
  }
  contest.run(arguments.rounds(300));
  contest.print(report);
  say_reaches(contest, directory.file_system() != "tmpfs", report);
}
