// Runs bodies of tests apart.
#include "apart.hpp"

#include "mounts.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

namespace machine {
namespace {

// A report is a row of fields, each ended by a zero byte: kind, file, line, message; and `end` when it is complete.
constexpr std::string_view kind_failure = "failure";
constexpr std::string_view kind_skip = "skip";
constexpr std::string_view kind_end = "end";

void write_all(int to, std::string_view text) {
  while (!text.empty()) {
    const ssize_t put = ::write(to, text.data(), text.size());
    if (put <= 0) return;  // nobody reads any more
    text.remove_prefix(static_cast<std::size_t>(put));
  }
}

void report(int to, std::string_view kind, std::string_view file, int line, std::string_view message) {
  std::string text;
  for (const std::string& field : {std::string(kind), std::string(file), std::to_string(line), std::string(message)}) {
    text.append(field).push_back('\0');
  }
  write_all(to, text);
}

[[noreturn]] void end_report(int to) {
  report(to, kind_end, "", 0, "");
  ::_exit(0);
}

void report_parts(int to, int first) {
  const testing::TestResult& result = *testing::UnitTest::GetInstance()->current_test_info()->result();
  for (int i = first; i < result.total_part_count(); ++i) {
    const testing::TestPartResult& part = result.GetTestPartResult(i);
    if (part.passed()) continue;
    report(to, part.skipped() ? kind_skip : kind_failure, part.file_name() != nullptr ? part.file_name() : "",
           part.line_number(), part.message());
  }
}

// Pid 1 of the new namespaces. When it ends, the kernel ends whatever it has started and undoes its mounts.
[[noreturn]] void run_body(int to, const std::string& ground, const std::function<void(const std::string&)>& body) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  // What fails here is told by the process that the runner knows; twice would be confusing.
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  delete listeners.Release(listeners.default_result_printer());
  const int first = testing::UnitTest::GetInstance()->current_test_info()->result()->total_part_count();
  try {
    mount("none", "/", "", MS_REC | MS_PRIVATE);
    mount("proc", "/proc", "proc");
    mount("ground", ground, "tmpfs", 0, "mode=0755,size=256m");
    ::umask(022);
    body(ground);
  } catch (const Unavailable& missing) {
    report(to, kind_skip, "", 0, missing.what());
  } catch (const std::exception& error) {
    report(to, kind_failure, "", 0, std::string("the test threw: ") + error.what());
  }
  report_parts(to, first);
  end_report(to);
}

[[noreturn]] void run_outer(int to, const std::string& ground, const std::function<void(const std::string&)>& body) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::unshare(CLONE_NEWNS | CLONE_NEWPID) != 0) {
    report(to, kind_skip, "", 0, std::string("cannot have namespaces of its own: ") + std::strerror(errno));
    end_report(to);
  }
  const pid_t child = ::fork();
  if (child == 0) run_body(to, ground, body);
  ::close(to);
  ::waitpid(child, nullptr, 0);
  ::_exit(0);
}

// All that comes until the other end is closed; a test that hangs in spite of its own limits is given up.
std::string read_report(int from) {
  constexpr int limit_ms = 50'000;
  const auto begin = std::chrono::steady_clock::now();
  std::string text;
  for (;;) {
    const auto passed = std::chrono::steady_clock::now() - begin;
    const auto left = limit_ms - std::chrono::duration_cast<std::chrono::milliseconds>(passed).count();
    pollfd one = {from, POLLIN, 0};
    const int got = ::poll(&one, 1, left > 0 ? static_cast<int>(left) : 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return text;
    std::array<char, 4096> buffer{};
    const ssize_t size = ::read(from, buffer.data(), buffer.size());
    if (size <= 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(size));
  }
}

std::vector<std::string> fields_of(std::string_view text) {
  std::vector<std::string> fields;
  for (std::size_t end = text.find('\0'); end != std::string_view::npos; end = text.find('\0')) {
    fields.emplace_back(text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  return fields;
}

// Makes the parts of the report parts of this test.
void take_over(std::string_view text) {
  const std::vector<std::string> fields = fields_of(text);
  bool ended = false;
  std::string skipped;
  for (std::size_t i = 0; i + 3 < fields.size(); i += 4) {
    if (fields[i] == kind_end) {
      ended = true;
    } else if (fields[i] == kind_skip) {
      skipped = fields[i + 3];
    } else {
      ADD_FAILURE_AT(fields[i + 1].c_str(), std::atoi(fields[i + 2].c_str())) << fields[i + 3];
    }
  }
  if (!ended) ADD_FAILURE() << "the process of the test died or hung";
  if (!skipped.empty()) GTEST_SKIP() << skipped;
}

}  // namespace

void unavailable(const std::string& what, int error) { throw Unavailable(what + ": " + std::strerror(error)); }

void apart(const std::function<void(const std::string&)>& body) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root may make namespaces and mounts";
  std::string ground = testing::TempDir() + "lockfile-machine-XXXXXX";
  ASSERT_NE(::mkdtemp(ground.data()), nullptr) << std::strerror(errno);
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0) << std::strerror(errno);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0) << std::strerror(errno);
  if (child == 0) {
    ::close(ends[0]);
    run_outer(ends[1], ground, body);
  }
  ::close(ends[1]);
  const std::string text = read_report(ends[0]);
  ::close(ends[0]);
  ::kill(child, SIGKILL);  // one that hangs; the others have ended
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(::rmdir(ground.c_str()), 0) << std::strerror(errno);
  take_over(text);
}

}  // namespace machine
