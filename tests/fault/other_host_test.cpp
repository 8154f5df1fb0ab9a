// Two hosts over one file system, played by two processes of this one: what is proved about a holder on another host,
// and which breaks are refused.
#include "support/layered_system.hpp"
#include "support/scratch.hpp"

#include "os/process.hpp"

#include <lockfile/lockfile.hpp>

#include <gtest/gtest.h>

namespace lockfile::testing {
namespace {

using namespace std::chrono_literals;

// A host, from the making of this object to its end, as far as the lock objects made in it can tell.
class Host {
 public:
  Host(const std::string& name, const os::FileSystem& mounted)
      : system_(os::real_system()), process_((system_.host = name, system_.mounted = mounted, system_)) {}
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;
  ~Host() { os::Process::set_current(nullptr); }

  void enter() { os::Process::set_current(&process_); }

 private:
  LayeredSystem system_;
  os::Process process_;
};

const os::FileSystem locks_reach{"nfs", false, true};
const os::FileSystem locks_stay{"nfs", false, false};
const os::FileSystem local{"ext4", true, true};

class OtherHost : public ::testing::TestWithParam<std::string_view> {
 protected:
  Options options() const { return {.scheme = std::string(GetParam())}; }
  Scratch scratch_;
  std::string path_ = scratch_ / "a";
};
INSTANTIATE_TEST_SUITE_P(both, OtherHost, ::testing::Values("link", "mkdir"),
                         [](const auto& each) { return std::string(each.param); });

TEST_P(OtherHost, its_holder_is_never_proved_dead_and_excludes) {
  Host there("there", locks_reach);
  Host here("here", locks_reach);
  there.enter();
  FileLock theirs(path_, options());
  theirs.acquire();
  here.enter();
  FileLock ours(path_, options());
  std::error_code ec;
  EXPECT_FALSE(ours.acquire(2ms, ec));
  EXPECT_EQ(ec, errc::timed_out);
  EXPECT_NE(ours.holder().value().verdict, Verdict::dead);
  EXPECT_FALSE(ours.break_stale());
  there.enter();
  theirs.release();
  here.enter();
  ours.acquire(0s);
}

TEST_P(OtherHost, its_hold_is_broken_by_force_where_locks_reach_it) {
  Host there("there", locks_reach);
  Host here("here", locks_reach);
  there.enter();
  FileLock theirs(path_, options());
  theirs.acquire();
  here.enter();
  FileLock ours(path_, options());
  EXPECT_TRUE(ours.break_lock());
  there.enter();
  std::error_code ec;
  theirs.release(ec);
  EXPECT_EQ(ec, errc::not_locked);
}

TEST_P(OtherHost, its_hold_is_not_broken_by_force_where_locks_stay_on_one_host) {
  Host there("there", locks_stay);
  Host here("here", locks_stay);
  there.enter();
  FileLock theirs(path_, options());
  theirs.acquire();
  here.enter();
  FileLock ours(path_, options());
  std::error_code ec;
  EXPECT_FALSE(ours.break_lock(BreakWhat::ours, ec));
  EXPECT_EQ(ec, errc::cannot_break);
  there.enter();
  EXPECT_TRUE(theirs.i_am_locking());
  // Its own host may.
  FileLock beside(path_, options());
  EXPECT_TRUE(beside.break_lock());
}

TEST_P(OtherHost, a_hold_that_came_by_another_way_is_not_broken_by_force_beneath) {
  Host above("host", locks_stay);
  Host beneath("host", local);
  above.enter();
  FileLock theirs(path_, options());
  theirs.acquire();
  beneath.enter();
  FileLock ours(path_, options());
  std::error_code ec;
  EXPECT_FALSE(ours.break_lock(BreakWhat::ours, ec));
  EXPECT_EQ(ec, errc::cannot_break);
  above.enter();
  theirs.release();
}

}  // namespace
}  // namespace lockfile::testing
