// See driver.hpp.
#include "driver.hpp"

#include <fcntl.h>
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
  const std::int64_t end = now_ns() + 120'000'000'000;
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

AtEnd::AtEnd(const std::string& command) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) fail("pipe2");
  std::fflush(nullptr);
  child_ = fork();
  if (child_ < 0) fail("fork");
  if (child_ == 0) {
    // A group of its own: what ends the benchmark's does not end this.
    if (setpgid(0, 0) != 0) _exit(1);
    close(ends[1]);
    char nothing = 0;
    while (read(ends[0], &nothing, 1) < 0 && errno == EINTR) {
    }
    execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
    _exit(127);
  }
  close(ends[0]);
  alive_ = ends[1];
}

AtEnd::~AtEnd() {
  close(alive_);
  waitpid(child_, nullptr, 0);
}

void Crew::end(pid_t pid) {
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
  std::erase(pids_, pid);
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

std::int64_t sleeps() noexcept {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_nvcsw;
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

std::string json_text(std::string_view plain) {
  std::string text = "\"";
  for (const char c : plain) {
    if (c == '"' || c == '\\') text += '\\';
    text += c;
  }
  return text + "\"";
}

std::string list_of(const std::vector<std::string>& cells) {
  std::string text = "[";
  for (const std::string& cell : cells) text += (text.size() > 1 ? ", " : "") + json_text(cell);
  return text + "]";
}

void append(std::string& list, const std::string& item) { list += (list.empty() ? "\n" : ",\n") + item; }

}  // namespace

Report::Report(const std::string& question, const Arguments& arguments, const WorkDirectory& directory)
    : json_file_(arguments.json) {
  std::printf("%s (%s)\n", question.c_str(), directory.file_system().c_str());
  head_ = "{\"question\": " + json_text(question) + ", \"file_system\": " + json_text(directory.file_system()) +
          ", \"quick\": " + (arguments.quick ? "true" : "false");
}

Report::~Report() {
  std::printf("\n");
  if (json_file_.empty()) return;
  if (in_table_) tables_ += "]}";
  const std::string json =
      head_ + ",\n\"tables\": [" + tables_ + "],\n\"reaches\": [" + reaches_ + "],\n\"series\": [" + series_ + "]}\n";
  std::FILE* file = std::fopen(json_file_.c_str(), "we");
  if (file == nullptr) fail("open '" + json_file_ + "'");
  if (std::fwrite(json.data(), 1, json.size(), file) != json.size() || std::fclose(file) != 0) fail("write");
}

void Report::print(const std::vector<std::string>& cells) const {
  for (std::size_t i = 0; i < cells.size(); ++i) std::printf(i == 0 ? "  %-38s" : "%14s", cells[i].c_str());
  std::printf("\n");
  std::fflush(stdout);
}

void Report::table(const std::vector<std::string>& columns) {
  print(columns);
  if (in_table_) tables_ += "]}";
  append(tables_, "{\"columns\": " + list_of(columns) + ", \"rows\": [");
  in_table_ = true;
}

void Report::row(const std::vector<std::string>& cells) {
  print(cells);
  tables_ += (tables_.ends_with('[') ? "\n" : ",\n") + list_of(cells);
}

void Report::say_reach(std::string_view what, std::string_view quantity, double value, double limit, bool at_least) {
  const bool met = at_least ? value >= limit : value <= limit;
  std::printf("  %.*s: %.*s %.2f (reach: %.2f%s)%s\n", static_cast<int>(what.size()), what.data(),
              static_cast<int>(quantity.size()), quantity.data(), value, limit, at_least ? " or more" : "",
              met ? "" : " NOT MET");
  append(reaches_, "{\"what\": " + json_text(what) + ", \"quantity\": " + json_text(quantity) +
                       ", \"value\": " + text("%.4g", value) + ", \"limit\": " + text("%.4g", limit) +
                       ", \"at_least\": " + (at_least ? "true" : "false") + ", \"met\": " + (met ? "true" : "false") +
                       "}");
}

void Report::reach(std::string_view what, std::string_view quantity, double value, double limit) {
  say_reach(what, quantity, value, limit, false);
}

void Report::reach_at_least(std::string_view what, std::string_view quantity, double value, double limit) {
  say_reach(what, quantity, value, limit, true);
}

void Report::raw(std::string_view name, std::string_view unit, const std::vector<double>& values) {
  if (json_file_.empty()) return;
  std::string item = "{\"name\": " + json_text(name) + ", \"unit\": " + json_text(unit) + ", \"values\": [";
  for (std::size_t i = 0; i < values.size(); ++i) item += (i == 0 ? "" : ", ") + text("%.4g", values[i]);
  append(series_, item + "]}");
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
