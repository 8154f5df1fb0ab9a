// The laws of fenced files: nobody writes after one with a larger fence, and readers find the old bytes or the new.
#include "conformance/fixture.hpp"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <filesystem>

namespace lockfile::testing {
namespace {

class FencedFiles : public ::testing::Test {
 protected:
  [[nodiscard]] std::string path() const { return scratch_ / "pages"; }
  [[nodiscard]] std::string seen() const { return path() + ".fence-seen"; }

  Scratch scratch_;
  InVariant in_{variants().front()};
};

TEST_F(FencedFiles, a_write_with_an_older_fence_is_refused_and_both_numbers_are_named) {
  FencedFile file(path());
  EXPECT_EQ(file.newest(), 0U);
  file.write(5, "five");
  file.write(7, "seven");
  file.write(7, "seven again");
  try {
    file.write(6, "six");
    ADD_FAILURE() << "an older writer was let in";
  } catch (const StaleFence& error) {
    EXPECT_EQ(error.code(), errc::stale_fence);
    EXPECT_EQ(error.fence(), 6U);
    EXPECT_EQ(error.newest(), 7U);
    const std::string said = error.what();
    EXPECT_NE(said.find("pages': the fence 6 is older than 7, which has written already"), std::string::npos) << said;
  }
  EXPECT_EQ(read_file(path()), "seven again");
  EXPECT_EQ(FencedFile(path()).newest(), 7U);
  EXPECT_EQ(scratch_.names(), (std::vector<std::string>{"pages", "pages.fence-seen"}));
  std::error_code ec;
  EXPECT_FALSE(file.write(1, "one", for_ever, ec));
  EXPECT_EQ(ec, errc::stale_fence);
  EXPECT_EQ(code_of([&] { file.write(0, "none"); }), std::errc::invalid_argument);
  EXPECT_EQ(code_of([&] { file.write(9, "nine", std::chrono::duration<double>(std::nan(""))); }),
            std::errc::invalid_argument);
}

TEST_F(FencedFiles, a_holder_that_was_broken_writes_no_more_once_a_later_one_has_written) {
  FencedFile file(path());
  FileLock broken(path(), {.fence = true});
  broken.acquire();
  file.write(broken.fence(), "before");
  std::thread([&] {
    in_.enter();
    FileLock later(path(), {.fence = true});
    ASSERT_TRUE(later.break_lock());
    later.acquire(0s);
    file.write(later.fence(), "later");
  }).join();
  EXPECT_EQ(code_of([&] { file.write(broken.fence(), "too late"); }), errc::stale_fence);
  EXPECT_EQ(read_file(path()), "later");
}

TEST_F(FencedFiles, writers_exclude_each_other_and_waits_end_in_time) {
  FencedFile file(path());
  file.write(1, "one");
  bool inside = false;
  in_.system().before = [&](os::Call call) {
    if (call != os::Call::rename || inside) return 0;
    inside = true;
    std::thread([&] {
      const InVariant elsewhere(variants().front());
      EXPECT_EQ(code_of([&] { file.write(3, "three", 0s); }), errc::timed_out);
      EXPECT_EQ(code_of([&] { file.write(3, "three", 2ms); }), errc::timed_out);
      std::stop_source stop;
      stop.request_stop();
      EXPECT_EQ(code_of([&] { file.write(3, "three", {for_ever, stop.get_token()}); }), errc::stopped);
    }).join();
    return 0;
  };
  file.write(2, "two");
  in_.system().before = nullptr;
  EXPECT_TRUE(inside);
  EXPECT_EQ(read_file(path()), "two");
}

TEST_F(FencedFiles, many_writers_leave_the_newest) {
  constexpr std::uint64_t writers = 8;
  std::vector<std::thread> threads;
  for (std::uint64_t fence = 1; fence <= writers; ++fence) {
    threads.emplace_back([this, fence] {
      const InVariant own(variants().front());
      std::error_code ec;
      FencedFile(path()).write(fence, std::to_string(fence), for_ever, ec);
      EXPECT_TRUE(!ec || ec == errc::stale_fence) << ec.message();
    });
  }
  for (std::thread& each : threads) each.join();
  EXPECT_EQ(read_file(path()), std::to_string(writers));
  EXPECT_EQ(FencedFile(path()).newest(), writers);
}

TEST_F(FencedFiles, a_death_at_any_call_leaves_the_old_bytes_or_the_new_and_no_way_back) {
  long n = 0;
  for (bool died = true; died; ++n) {
    ASSERT_LT(n, 100);
    const auto fence = static_cast<std::uint64_t>(2 * n + 1);
    FencedFile file(path());
    file.write(fence, "old");
    const pid_t child = ::fork();
    if (child == 0) {
      long made = 0;
      in_.system().before = [&](os::Call) {
        if (made++ == n) ::_exit(9);
        return 0;
      };
      std::error_code ec;
      ::_exit(file.write(fence + 1, "new", for_ever, ec) ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    died = WEXITSTATUS(status) == 9;
    EXPECT_TRUE(died || WEXITSTATUS(status) == 0) << n;
    const std::string bytes = read_file(path());
    EXPECT_TRUE(bytes == "old" || bytes == "new") << "after a death at call " << n << ": " << bytes;
    EXPECT_TRUE(bytes == "old" || file.newest() == fence + 1) << "new bytes, and the older writer may come";
    file.write(fence + 1, "next");
    EXPECT_EQ(scratch_.names(), (std::vector<std::string>{"pages", "pages.fence-seen"})) << n;
  }
  EXPECT_GT(n, 10);
}

TEST_F(FencedFiles, a_refused_call_is_an_error_and_the_old_bytes_stay_or_the_new_are_there) {
  long n = 0;
  for (bool refused = true; refused; ++n) {
    ASSERT_LT(n, 100);
    const auto fence = static_cast<std::uint64_t>(2 * n + 1);
    FencedFile file(path());
    file.write(fence, "old");
    long made = 0;
    refused = false;
    in_.system().before = [&](os::Call call) {
      if (made++ != n) return 0;
      refused = true;
      return call == os::Call::close ? 0 : EIO;
    };
    std::error_code ec;
    const bool written = file.write(fence + 1, "new", for_ever, ec);
    in_.system().before = nullptr;
    EXPECT_TRUE(written || ec == std::errc::io_error) << ec.message();
    const std::string bytes = read_file(path());
    EXPECT_TRUE(bytes == "new" || (bytes == "old" && !written)) << "call " << n << ": " << bytes;
    file.write(fence + 1, "next");
    EXPECT_EQ(scratch_.names(), (std::vector<std::string>{"pages", "pages.fence-seen"})) << n;
  }
  EXPECT_GT(n, 10);
}

TEST_F(FencedFiles, a_torn_number_leaves_the_one_before_and_damage_is_an_error) {
  FencedFile file(path());
  file.write(5, "five");
  file.write(6, "six");
  std::string bytes = read_file(seen());
  const std::string second = bytes.substr(512);
  write_file(seen(), bytes.substr(0, 512) + second.substr(0, 19) + "9" + second.substr(20));
  EXPECT_EQ(file.newest(), 5U) << "the check tells";
  write_file(seen(), "6\n");
  EXPECT_EQ(code_of([&] { (void)file.newest(); }), std::errc::bad_message);
  EXPECT_EQ(code_of([&] { file.write(7, "seven"); }), std::errc::bad_message);
  EXPECT_EQ(read_file(path()), "six");
}

TEST_F(FencedFiles, permissions_stay_and_links_are_not_followed) {
  write_file(path(), "by hand");
  ASSERT_EQ(::chmod(path().c_str(), 0640), 0);
  FencedFile file(path());
  file.write(1, "one");
  EXPECT_EQ(std::filesystem::status(path()).permissions(), std::filesystem::perms(0640));
  write_file(scratch_ / "elsewhere", "not this");
  std::filesystem::remove(path());
  std::filesystem::create_symlink(scratch_ / "elsewhere", path());
  file.write(2, "two");
  EXPECT_EQ(read_file(scratch_ / "elsewhere"), "not this");
  EXPECT_EQ(read_file(path()), "two");
  std::filesystem::remove(seen());
  std::filesystem::create_symlink(scratch_ / "elsewhere", seen());
  EXPECT_EQ(code_of([&] { file.write(3, "three"); }), std::errc::too_many_symbolic_link_levels);
}

TEST_F(FencedFiles, whose_newest_fence_would_be_in_no_file_are_an_error) {
  ASSERT_EQ(::mkfifo(seen().c_str(), 0600), 0);
  FencedFile file(path());
  EXPECT_EQ(code_of([&] { file.write(1, "one"); }), std::errc::invalid_argument);
  EXPECT_FALSE(std::filesystem::exists(path()));
}

TEST_F(FencedFiles, what_was_seen_is_opened_anew_where_somebody_removes_or_makes_it_meanwhile) {
  FencedFile file(path());
  file.write(1, "one");
  bool removed = false;
  in_.system().before = [&](os::Call call) {
    if (call == os::Call::try_lock && !std::exchange(removed, true)) std::filesystem::remove(seen());
    return 0;
  };
  file.write(2, "two");
  EXPECT_EQ(file.newest(), 2U);
  std::filesystem::remove(seen());
  bool made = false;
  int opened = 0;
  in_.system().before = [&](os::Call call) {
    // The directory, then the file, which is not there, and then to make it.
    if (call == os::Call::open && ++opened == 3 && !std::exchange(made, true)) write_file(seen(), "");
    return 0;
  };
  file.write(3, "three");
  in_.system().before = nullptr;
  EXPECT_TRUE(removed && made);
  EXPECT_EQ(file.newest(), 3U);
  EXPECT_EQ(read_file(path()), "three");
}

TEST_F(FencedFiles, are_refused_where_kernel_locks_reach_nobody_else_or_nobody_may_be_let_in) {
  in_.system().before = [](os::Call call) { return call == os::Call::set_mode ? EPERM : 0; };
  EXPECT_EQ(code_of([&] { FencedFile(path(), Access::everyone).write(1, "one"); }), std::errc::operation_not_permitted);
  in_.system().before = nullptr;
  in_.system().mounted = os::FileSystem{"fuse", false, false};
  EXPECT_EQ(code_of([&] { FencedFile(path()).write(1, "one"); }), std::errc::no_lock_available);
  EXPECT_FALSE(std::filesystem::exists(path()));
}

TEST_F(FencedFiles, a_path_that_names_no_file_and_a_directory_that_is_not_there_are_errors) {
  EXPECT_EQ(code_of([] { const FencedFile file(""); }), std::errc::invalid_argument);
  FencedFile nowhere(scratch_ / "no/where");
  EXPECT_EQ(code_of([&] { nowhere.write(1, "one"); }), std::errc::no_such_file_or_directory);
  EXPECT_EQ(code_of([&] { (void)nowhere.newest(); }), std::errc::no_such_file_or_directory);
}

// One call of a writer goes wrong: refused, cut short, or its reply lost.
class OneBadCall final : public LayeredSystem {
 public:
  OneBadCall(std::size_t at, os::Status error) : LayeredSystem(os::real_system()), at_(at), error_(error) {
    before = [this](os::Call call) { return can_be_refused(call) && calls_++ == at_ ? error_ : 0; };
  }
  [[nodiscard]] bool was_reached() const noexcept { return calls_ > at_; }

  os::Result<std::size_t> write(int descriptor, std::string_view bytes, std::uint64_t offset) noexcept override {
    const bool is_short = error_ == 0 && calls_ == at_;
    return LayeredSystem::write(descriptor, is_short ? bytes.substr(0, 0) : bytes, offset);
  }
  os::Status rename(int from_at, const char* from, int to_at, const char* to) noexcept override {
    const bool is_lost = error_ == 0 && calls_ == at_;
    const os::Status error = LayeredSystem::rename(from_at, from, to_at, to);
    return is_lost ? LayeredSystem::rename(from_at, from, to_at, to) : error;
  }

 private:
  static bool can_be_refused(os::Call call) {
    constexpr std::array calls = {os::Call::open,     os::Call::read,     os::Call::write,      os::Call::sync,
                                  os::Call::stat,     os::Call::stat_at,  os::Call::unlink,     os::Call::rename,
                                  os::Call::set_mode, os::Call::try_lock, os::Call::file_system};
    return std::find(calls.begin(), calls.end(), call) != calls.end();
  }

  std::size_t at_;
  os::Status error_;
  std::size_t calls_ = 0;
};

TEST_F(FencedFiles, are_old_or_new_and_the_error_is_told_whichever_call_goes_wrong) {
  for (const os::Status error : {EIO, EACCES, EINTR, 0}) {
    for (const bool first : {true, false}) {
      bool more = true;
      for (std::size_t at = 0; more; ++at) {
        const Scratch scratch;
        const std::string pages = scratch / "pages";
        const Access access = first ? Access::everyone : Access::by_umask;
        if (!first) FencedFile(pages).write(1, "old");
        std::error_code told;
        {
          OneBadCall system(at, error);
          os::Process process(system);
          os::Process::set_current(&process);
          told = code_of([&] {
            FencedFile file(pages, access);
            file.write(2, "new");
            (void)file.newest();
          });
          os::Process::set_current(nullptr);
          more = system.was_reached();
        }
        const std::string where = std::to_string(error) + " at call " + std::to_string(at);
        EXPECT_TRUE(!told || told.value() == error || (error == 0 && told == std::errc::no_space_on_device)) << where;
        const std::string stands = std::filesystem::exists(pages) ? read_file(pages) : "";
        EXPECT_TRUE(stands == "new" || (told && stands == (first ? "" : "old"))) << where << ": " << stands;
        FencedFile(pages).write(3, "newer");
        EXPECT_EQ(read_file(pages), "newer") << where;
        EXPECT_EQ(scratch.names(), (std::vector<std::string>{"pages", "pages.fence-seen"})) << where;
      }
    }
  }
}

}  // namespace
}  // namespace lockfile::testing
