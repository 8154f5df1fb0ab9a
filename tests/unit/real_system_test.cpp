// The real system where it refuses, which the other tests replace by one that refuses in its place. What no argument
// brings about is refused by a filter (seccomp(2)) of one thread, and of the processes that this thread makes.
#include "os/posix.hpp"
#include "support/peer.hpp"
#include "support/scratch.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <thread>
#include <utility>

namespace lockfile::os {
namespace {

using testing::Scratch;

struct Argument {
  unsigned position;
  std::uint32_t value;
};

// Makes this thread's `calls` fail with `error`, or only those with that argument.
bool refuse(std::initializer_list<long> calls, int error, std::optional<Argument> only = {}) {
  std::vector<sock_filter> program;
  const auto load = [&](std::size_t offset) {
    program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset)));
  };
  const auto skip_unless = [&](std::uint32_t value, std::uint8_t skipped) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skipped));
  };
  for (const long call : calls) {
    load(offsetof(seccomp_data, nr));
    skip_unless(static_cast<std::uint32_t>(call), only ? 3 : 1);
    if (only) {
      load(offsetof(seccomp_data, args) + 8 * only->position);  // the lower half, on a little-endian machine
      skip_unless(only->value, 1);
    }
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(error)));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  sock_fprog filter = {static_cast<unsigned short>(program.size()), program.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) == 0;
}

constexpr std::initializer_list<long> stat_calls = {SYS_newfstatat, SYS_fstat};
#if defined(SYS_poll)
constexpr std::initializer_list<long> poll_calls = {SYS_poll, SYS_ppoll};
#else
constexpr std::initializer_list<long> poll_calls = {SYS_ppoll};
#endif

class RefusingSystem : public ::testing::Test {
 protected:
  // What `call` gives in a thread of its own, whose `calls` are refused. Other threads are not concerned.
  template <class Call>
  auto where_refused(std::initializer_list<long> calls, int error, Call call, std::optional<Argument> only = {}) {
    decltype(call()) result{};
    bool refused = false;
    std::thread([&] {
      refused = refuse(calls, error, only);
      if (refused) result = call();
    }).join();
    EXPECT_TRUE(refused) << "this kernel has no filters of system calls";
    return result;
  }

  System& system_ = real_system();
  Scratch scratch_;
};

std::size_t open_descriptors() {
  std::size_t count = 0;
  for (const auto& each : std::filesystem::directory_iterator("/proc/self/fd")) count += each.path().empty() ? 0U : 1U;
  return count;
}

TEST_F(RefusingSystem, a_descriptor_that_is_none_is_an_error_for_every_call) {
  std::array<char, 4> buffer{};
  EXPECT_EQ(system_.read(-1, buffer, 0).error, EBADF);
  EXPECT_EQ(system_.write(-1, "x", 0).error, EBADF);
  EXPECT_EQ(system_.sync(-1), EBADF);
  EXPECT_EQ(system_.stat(-1).error, EBADF);
  EXPECT_EQ(system_.set_mode(-1, 0600), EBADF);
  EXPECT_EQ(system_.list(-1).error, EBADF);
  EXPECT_EQ(system_.file_system(-1).error, EBADF);
  EXPECT_EQ(system_.try_lock(-1, 0), EBADF);
  EXPECT_EQ(system_.unlock(-1, 0, 1), EBADF);
  EXPECT_EQ(system_.lock_seen(-1, 0).error, EBADF);
  EXPECT_EQ(system_.duplicate(-1).error, EBADF);
  EXPECT_EQ(system_.fifo_put(-1), EBADF);
  EXPECT_EQ(system_.fifo_drain(-1).error, EBADF);
  EXPECT_EQ(system_.notify_read(-1).error, EBADF);
  EXPECT_EQ(system_.notify_add(-1, -1, Notice::file).error, EBADF);
  EXPECT_EQ(system_.open(-1, "x", Open::look, 0).error, EBADF);
}

TEST_F(RefusingSystem, a_directory_that_cannot_be_listed_is_an_error_and_leaks_no_descriptor) {
  testing::write_file(scratch_ / "a", "");
  const int directory = ::open(scratch_.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  ASSERT_GE(directory, 0);
  const std::size_t before = open_descriptors();
  EXPECT_EQ(system_.list(directory).value.size(), 1U);
  EXPECT_EQ(where_refused({SYS_getdents64}, EIO, [&] { return system_.list(directory); }).error, EIO);
  EXPECT_EQ(where_refused({SYS_fcntl}, ENOMEM, [&] { return system_.list(directory); }).error, ENOMEM);
  EXPECT_EQ(open_descriptors(), before);
  ::close(directory);
}

TEST_F(RefusingSystem, a_file_system_that_is_not_known_counts_as_elsewhere) {
  const int proc = ::open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
  ASSERT_GE(proc, 0);
  const auto seen = system_.file_system(proc);
  ::close(proc);
  ASSERT_TRUE(seen.ok());
  EXPECT_EQ(seen.value.name, "type 0x9fa0");
  EXPECT_FALSE(seen.value.local);
  EXPECT_FALSE(seen.value.locks_reach);
}

TEST_F(RefusingSystem, a_file_system_that_cannot_be_looked_at_closely_counts_as_elsewhere) {
  const int directory = ::open(scratch_.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  ASSERT_GE(directory, 0);
  ASSERT_TRUE(system_.file_system(directory).value.local) << "TMPDIR is to be on a local file system";
  const auto seen = where_refused(stat_calls, EIO, [&] { return system_.file_system(directory); });
  ::close(directory);
  ASSERT_TRUE(seen.ok());
  EXPECT_TRUE(seen.value.name.ends_with(" from elsewhere")) << seen.value.name;
  EXPECT_FALSE(seen.value.local);
  EXPECT_FALSE(seen.value.locks_reach);
}

TEST_F(RefusingSystem, what_the_host_does_not_say_is_unknown) {
  EXPECT_EQ(where_refused({SYS_uname}, EPERM, [&] { return system_.host_name(); }), "");
  EXPECT_EQ(where_refused({SYS_getcwd}, ENOENT, [&] { return system_.current_directory(); }).error, ENOENT);
  EXPECT_EQ(where_refused({SYS_openat}, EACCES, [&] { return system_.boot_id(); }).error, EACCES);
  EXPECT_EQ(where_refused({SYS_openat}, EACCES, [&] { return system_.program_name(); }), "");
  EXPECT_EQ(where_refused(stat_calls, EACCES, [&] { return system_.pid_namespace(); }).error, EACCES);
  EXPECT_EQ(where_refused(stat_calls, EACCES, [&] { return system_.time_namespace(); }).error, EACCES);
}

TEST_F(RefusingSystem, a_small_file_that_cannot_be_read_is_an_error) {
  std::array<char, 8> buffer{};
  EXPECT_EQ(read_small_file((scratch_ / "missing").c_str(), buffer).error, ENOENT);
  EXPECT_EQ(read_small_file(scratch_.path().c_str(), buffer).error, EISDIR);
  EXPECT_EQ(system_.process_start(4194305).error, ENOENT);  // beyond the largest pid
}

TEST_F(RefusingSystem, a_wait_that_cannot_be_is_an_error_and_an_interrupted_one_ends) {
  std::vector<System::Waitable> many(65);
  EXPECT_EQ(system_.wait(many, system_.now()), EINVAL);
  std::array<System::Waitable, 1> none{};
  EXPECT_EQ(where_refused({SYS_ppoll}, ENOMEM, [&] { return system_.wait(none, {}); }), ENOMEM);
  EXPECT_EQ(where_refused({SYS_ppoll}, EINTR, [&] { return system_.wait(none, {}); }), 0);
  EXPECT_EQ(where_refused(poll_calls, ENOMEM, [&] { return system_.readable(0); }).error, ENOMEM);
}

TEST_F(RefusingSystem, what_waits_are_made_of_can_be_refused) {
  EXPECT_EQ(where_refused({SYS_inotify_init1}, EMFILE, [&] { return system_.notify_open(); }).error, EMFILE);
  EXPECT_EQ(where_refused({SYS_eventfd2}, EMFILE, [&] { return system_.event_open(); }).error, EMFILE);
  EXPECT_EQ(where_refused({SYS_pidfd_open}, ENOSYS, [&] { return system_.open_process(::getpid()); }).error, ENOSYS);
}

TEST_F(RefusingSystem, no_random_numbers_no_locks) {
  ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_DEATH(
      {
        if (refuse({SYS_getrandom}, ENOSYS)) (void)system_.random();
      },
      "this kernel has no getrandom");
}

// Linux before 4.14: every verb asks the kernel for the pid.
TEST_F(RefusingSystem, a_kernel_without_pages_that_forks_wipe_makes_no_difference) {
  const std::string path = scratch_ / "a";
  const auto answers = where_refused(
      {SYS_madvise}, EINVAL,
      [&] {
        testing::Peer peer({path, "link"});
        std::vector<std::string> said = {peer.ask("acquire 0"), peer.ask("holder"), peer.ask("release")};
        said[1].resize(std::string("held by pid ").size() + std::to_string(peer.pid()).size());
        said[1] = said[1] == "held by pid " + std::to_string(peer.pid()) ? "itself" : said[1];
        return said;
      },
      Argument{2, MADV_WIPEONFORK});
  EXPECT_EQ(answers, (std::vector<std::string>{"held", "itself", "released"}));
}

}  // namespace
}  // namespace lockfile::os
