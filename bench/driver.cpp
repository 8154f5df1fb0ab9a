// See driver.hpp.
#include "driver.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <exception>
#include <filesystem>
#include <lockfile/lockfile.hpp>
#include <new>

namespace bench {

std::int64_t now_ns() noexcept {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1'000'000'000 + t.tv_nsec;
}

void spin_for(std::chrono::nanoseconds how_long) noexcept {
  const std::int64_t end = now_ns() + how_long.count();
  while (now_ns() < end) {
  }
}

void wait_until(const std::function<bool()>& condition, std::string_view what) {
  const std::int64_t end = now_ns() + 30'000'000'000;
  while (!condition()) {
    if (now_ns() > end) fail(what);
    usleep(200);
  }
}

void fail(std::string_view what) {
  std::fprintf(stderr, "bench: %.*s: %s\n", static_cast<int>(what.size()), what.data(), std::strerror(errno));
  std::exit(1);
}

double percentile(std::vector<double> values, double which) {
  if (values.empty()) return std::nan("");
  std::sort(values.begin(), values.end());
  const auto rank = static_cast<std::size_t>(std::ceil(which / 100 * static_cast<double>(values.size())));
  return values[rank == 0 ? 0 : rank - 1];
}

double median(std::vector<double> values) { return percentile(std::move(values), 50); }

double median_ratio(const std::vector<double>& subject, const std::vector<double>& floor) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < std::min(subject.size(), floor.size()); ++i) ratios.push_back(subject[i] / floor[i]);
  return median(std::move(ratios));
}

Arguments::Arguments(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--quick") {
      quick = true;
    } else if (argument == "--dir" && i + 1 < argc) {
      directory = argv[++i];
    } else if (argument == "--json" && i + 1 < argc) {
      json = argv[++i];
    } else {
      std::fprintf(stderr, "usage: %s [--dir DIR] [--json FILE] [--quick]\n", argv[0]);
      std::exit(64);
    }
  }
}

namespace {
std::string name_of_file_system(const std::string& path) {
  struct statfs look {};
  if (statfs(path.c_str(), &look) != 0) fail("statfs");
  switch (look.f_type) {
    case 0xEF53:
      return "ext4";
    case 0x01021994:
      return "tmpfs";
    case 0x58465342:
      return "xfs";
    case 0x9123683E:
      return "btrfs";
    case 0x794C7630:
      return "overlay";
    default:
      break;
  }
  char number[32];
  std::snprintf(number, sizeof number, "0x%lx", static_cast<unsigned long>(look.f_type));
  return number;
}
}  // namespace

WorkDirectory::WorkDirectory(const std::string& inside) : maker_(getpid()) {
  path_ = inside + "/lockfile-bench-XXXXXX";
  if (mkdtemp(path_.data()) == nullptr) fail("mkdtemp");
  path_ = std::filesystem::canonical(path_).string();
  file_system_ = name_of_file_system(path_);
}

WorkDirectory::~WorkDirectory() {
  if (getpid() != maker_) return;
  std::error_code ignored;  // a benchmark that cannot clean up has still measured
  std::filesystem::remove_all(path_, ignored);
}

void* map_shared(std::size_t bytes) {
  void* where = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (where == MAP_FAILED) fail("mmap");
  return where;
}

void unmap_shared(void* where, std::size_t bytes) noexcept { munmap(where, bytes); }

Crew::~Crew() {
  for (const pid_t pid : pids_) kill(pid, SIGKILL);
  for (const pid_t pid : pids_) waitpid(pid, nullptr, 0);
}

pid_t Crew::start(const std::function<void()>& work) {
  std::fflush(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) fail("fork");
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    try {
      work();
    } catch (const std::exception& e) {
      std::fprintf(stderr, "bench: %s\n", e.what());
      _exit(1);
    }
    _exit(0);
  }
  pids_.push_back(pid);
  return pid;
}

double Crew::finish() {
  double used = 0;
  while (!pids_.empty()) {
    int status = 0;
    rusage usage{};
    if (wait4(pids_.back(), &status, 0, &usage) < 0) fail("wait4");
    pids_.pop_back();
    if (status != 0) fail("a process of the crew failed");
    for (const timeval& t : {usage.ru_utime, usage.ru_stime}) {
      used += static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_usec) * 1e3;
    }
  }
  return used;
}

char state_of(pid_t process) {
  const std::string name = "/proc/" + std::to_string(process) + "/stat";
  std::FILE* file = std::fopen(name.c_str(), "re");
  if (file == nullptr) return 'X';
  char state = 'X';
  if (std::fscanf(file, "%*d (%*[^)]) %c", &state) != 1) state = 'X';
  std::fclose(file);
  return state;
}

std::int64_t cpu_ns(pid_t process) {
  clockid_t clock{};
  timespec used{};
  if (clock_getcpuclockid(process, &clock) != 0 || clock_gettime(clock, &used) != 0) fail("clock_getcpuclockid");
  return used.tv_sec * 1'000'000'000 + used.tv_nsec;
}

namespace {

class FlockLocker : public Locker {
 public:
  explicit FlockLocker(const std::string& path) : file_(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    if (file_ < 0) fail("open");
  }
  ~FlockLocker() override { close(file_); }
  void acquire() override {
    if (flock(file_, LOCK_EX) != 0) fail("flock");
  }
  void release() override {
    if (flock(file_, LOCK_UN) != 0) fail("flock");
  }

 private:
  int file_;
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
  void release() override { lock_.release(); }

 private:
  lockfile::FileLock lock_;
};

}  // namespace

const std::vector<std::string>& contestants() {
  static const std::vector<std::string> names{"flock", "link", "mkdir"};
  return names;
}

std::unique_ptr<Locker> make_locker(std::string_view contestant, const WorkDirectory& directory) {
  if (contestant == "flock") return std::make_unique<FlockLocker>(directory.file("flock"));
  if (contestant == bare) return std::make_unique<BareLocker>(directory);
  return std::make_unique<LibraryLocker>(directory.file(contestant), contestant);
}

Report::Report(const std::string& question, const Arguments& arguments, const WorkDirectory& directory)
    : json_file_(arguments.json) {
  std::printf("%s (%s)\n", question.c_str(), directory.file_system().c_str());
  json_ = "{\"question\": \"" + question + "\", \"file_system\": \"" + directory.file_system() + "\", \"series\": [";
}

Report::~Report() {
  std::printf("\n");
  if (json_file_.empty()) return;
  json_ += "\n]}\n";
  std::FILE* file = std::fopen(json_file_.c_str(), "we");
  if (file == nullptr) fail("open '" + json_file_ + "'");
  if (std::fwrite(json_.data(), 1, json_.size(), file) != json_.size() || std::fclose(file) != 0) fail("write");
}

void Report::row(const std::vector<std::string>& cells) {
  for (std::size_t i = 0; i < cells.size(); ++i) std::printf(i == 0 ? "  %-34s" : "%14s", cells[i].c_str());
  std::printf("\n");
  std::fflush(stdout);
}

void Report::reach(std::string_view what, std::string_view quantity, double value, double limit) {
  std::printf("  %.*s: %.*s %.2f (reach: %.1f)%s\n", static_cast<int>(what.size()), what.data(),
              static_cast<int>(quantity.size()), quantity.data(), value, limit, value <= limit ? "" : " NOT MET");
}

void Report::raw(std::string_view name, std::string_view unit, const std::vector<double>& values) {
  if (json_file_.empty()) return;
  json_ += first_series_ ? "\n" : ",\n";
  first_series_ = false;
  json_ += "{\"name\": \"" + std::string(name) + "\", \"unit\": \"" + std::string(unit) + "\", \"values\": [";
  for (std::size_t i = 0; i < values.size(); ++i) json_ += (i == 0 ? "" : ", ") + text("%.1f", values[i]);
  json_ += "]}";
}

std::string text(const char* format, double value) {
  char buffer[64];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  std::snprintf(buffer, sizeof buffer, format, value);
#pragma GCC diagnostic pop
  return buffer;
}

}  // namespace bench
