// Two hosts over one file system, played by two processes of this one: what is proved about a holder on another host,
// and which breaks are refused.
#include "support/layered_system.hpp"
#include "support/scratch.hpp"

#include "claim/lease.hpp"
#include "os/process.hpp"

#include <lockfile/lockfile.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string>

namespace lockfile::testing {
namespace {

using namespace std::chrono_literals;

// A host, from the making of this object to its end, as far as the lock objects made in it can tell.
class Host {
 public:
  Host(const std::string& name, const os::FileSystem& mounted)
      : system_(os::real_system()), process_((system_.host = name, system_.mounted = mounted, system_)) {
    system_.boot_clock = [this] { return clock_; };
  }
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;
  ~Host() { os::Process::set_current(nullptr); }

  void enter() { os::Process::set_current(&process_); }
  [[nodiscard]] LayeredSystem& system() noexcept { return system_; }
  /// By its own clock, which nobody else's goes by.
  void pass(std::chrono::nanoseconds time) { clock_ += time; }

 private:
  std::chrono::nanoseconds clock_{0};
  LayeredSystem system_;
  os::Process process_;
};

const os::FileSystem locks_reach{"nfs", false, true};
const os::FileSystem locks_stay{"nfs", false, false};
const os::FileSystem local{"ext4", true, true};
constexpr std::chrono::milliseconds ttl = 1s;

// Two hosts with a lock object each; whoever acts is entered first. The one there holds.
class OtherHost : public ::testing::TestWithParam<std::string_view> {
 protected:
  void begin(const os::FileSystem& seen_there, const os::FileSystem& seen_here, const std::string& name_here = "here",
             std::chrono::milliseconds lease = 0ms) {
    there_.emplace("there", seen_there);
    here_.emplace(name_here, seen_here);
    there_->pass(24h);  // it was booted at another time
    there_->enter();
    Options leased = options();
    leased.lease = lease;
    theirs_.emplace(path_, leased);
    theirs_->acquire();
    here_->enter();
    ours_.emplace(path_, options());
  }
  Options options() const { return {.scheme = std::string(GetParam())}; }

  Scratch scratch_;
  std::string path_ = scratch_ / "a";
  std::optional<Host> there_;
  std::optional<Host> here_;
  std::optional<FileLock> theirs_;
  std::optional<FileLock> ours_;
};
INSTANTIATE_TEST_SUITE_P(both, OtherHost, ::testing::Values("link", "mkdir"),
                         [](const auto& each) { return std::string(each.param); });

// Readers beside an upgradable hold are kept apart by a byte that all hosts must see.
TEST_P(OtherHost, is_not_let_in_as_a_reader_where_locks_stay_at_home) {
  begin(locks_stay, locks_stay);
  there_->enter();
  for (const Mode to : {Mode::shared, Mode::upgradable}) {
    std::error_code why;
    theirs_->downgrade(to, 0s, why);
    EXPECT_EQ(why, std::errc::operation_not_supported);
    EXPECT_TRUE(theirs_->i_am_locking());
  }
  here_->enter();
  EXPECT_FALSE(ours_->try_lock_shared());
}

TEST_P(OtherHost, its_holder_is_never_proved_dead_and_excludes) {
  begin(locks_reach, locks_reach);
  std::error_code ec;
  EXPECT_FALSE(ours_->acquire(2ms, ec));
  EXPECT_EQ(ec, errc::timed_out);
  EXPECT_NE(ours_->holder().value().verdict, Verdict::dead);
  EXPECT_FALSE(ours_->break_stale());
  there_->enter();
  theirs_->release();
  here_->enter();
  ours_->acquire(0s);
}

TEST_P(OtherHost, its_hold_is_broken_by_force_where_locks_reach_it) {
  begin(locks_reach, locks_reach);
  EXPECT_TRUE(ours_->break_lock());
  there_->enter();
  std::error_code ec;
  theirs_->release(ec);
  EXPECT_EQ(ec, errc::not_locked);
}

TEST_P(OtherHost, its_hold_is_not_broken_by_force_where_locks_stay_on_one_host) {
  begin(locks_stay, locks_stay);
  std::error_code ec;
  EXPECT_FALSE(ours_->break_lock(BreakWhat::ours, ec));
  EXPECT_EQ(ec, errc::cannot_break);
  there_->enter();
  EXPECT_TRUE(theirs_->i_am_locking());
  // Its own host may.
  FileLock beside(path_, options());
  EXPECT_TRUE(beside.break_lock());
}

TEST_P(OtherHost, its_lease_runs_out_and_the_lock_is_taken_over_where_locks_reach_it) {
  begin(locks_reach, locks_reach, "here", ttl);
  std::error_code ec;
  EXPECT_FALSE(ours_->acquire(0s, ec));
  here_->pass(claim::lease_margin(ttl, locks_reach) + ttl - 1ns);
  EXPECT_FALSE(ours_->acquire(0s, ec));
  EXPECT_EQ(ec, errc::already_locked);
  here_->pass(1ns);
  ours_->acquire(0s);
  EXPECT_TRUE(ours_->i_am_locking());
  there_->enter();
  EXPECT_FALSE(theirs_->i_am_locking());
  theirs_->release(ec);
  EXPECT_EQ(ec, errc::not_my_lock);
}

// Readers of there and of here are a group; each is broken by itself.
TEST_P(OtherHost, its_shared_hold_is_broken_by_force_only_where_its_locks_reach_too) {
  for (const os::FileSystem& seen_there : {locks_stay, locks_reach}) {
    theirs_.reset();
    ours_.reset();
    begin(seen_there, locks_reach);
    there_->enter();
    theirs_->release();
    theirs_->acquire(Mode::shared);
    here_->enter();
    FileLock beside(path_, options());
    beside.acquire(Mode::shared, 0s);
    const auto holders = ours_->holders();
    const auto their_hold =
        std::find_if(holders.begin(), holders.end(), [](const Holder& each) { return each.host == "there"; });
    ASSERT_NE(their_hold, holders.end());
    std::error_code ec;
    const bool broken = ours_->break_lock(*their_hold, ec);
    EXPECT_EQ(broken, seen_there.locks_reach);
    EXPECT_EQ(ec, seen_there.locks_reach ? std::error_code() : make_error_code(errc::cannot_break));
    there_->enter();
    EXPECT_EQ(theirs_->i_am_locking(), !broken);
    here_->enter();
    EXPECT_TRUE(beside.i_am_locking());
  }
}

// Whoever takes the lock over is told which call was refused, or has it; and has it at the next try.
TEST_P(OtherHost, its_expired_hold_is_taken_over_or_the_error_is_told_whichever_call_is_refused) {
  const auto time_to_live = claim::lease_margin(ttl, locks_reach) + ttl;
  bool more = true;
  for (std::size_t at = 0; more; ++at) {
    theirs_.reset();
    ours_.reset();
    begin(locks_reach, locks_reach, "here", ttl);
    std::error_code ec;
    EXPECT_FALSE(ours_->acquire(0s, ec));
    here_->pass(time_to_live);
    std::size_t calls = 0;
    here_->system().before = [&](os::Call call) {
      const bool counts = call == os::Call::open || call == os::Call::read || call == os::Call::write ||
                          call == os::Call::stat || call == os::Call::stat_at || call == os::Call::unlink ||
                          call == os::Call::rename || call == os::Call::try_lock || call == os::Call::sync;
      return counts && calls++ == at ? EIO : 0;
    };
    const bool held = ours_->acquire(0s, ec);
    here_->system().before = nullptr;
    more = calls > at;
    EXPECT_EQ(held, ours_->i_am_locking()) << "call " << at;
    EXPECT_TRUE(held || ec == std::errc::io_error || ec == errc::already_locked)
        << "call " << at << ": " << ec.message();
    if (held) ours_->release();
    ours_->acquire(0s, ec);
    EXPECT_FALSE(ec) << "after call " << at << ": " << ec.message();
  }
}

TEST_P(OtherHost, its_lease_lasts_as_long_as_looks_may_be_old) {
  const os::FileSystem old_looks{"cifs", false, true, 60s};
  begin(old_looks, old_looks, "here", ttl);
  std::error_code ec;
  EXPECT_FALSE(ours_->acquire(0s, ec));
  here_->pass(ttl + 60s);
  EXPECT_FALSE(ours_->acquire(0s, ec));
  here_->pass(claim::lease_margin(ttl, old_looks) - 60s);
  ours_->acquire(0s);
}

TEST_P(OtherHost, its_lease_runs_out_and_nobody_takes_the_lock_over_where_locks_stay_on_one_host) {
  begin(locks_stay, locks_stay, "here", ttl);
  std::error_code ec;
  EXPECT_FALSE(ours_->acquire(0s, ec));
  here_->pass(ttl + claim::lease_margin(ttl, locks_stay));
  try {
    ours_->acquire();
    FAIL() << "taken over";
  } catch (const LockFailed& refused) {
    EXPECT_EQ(refused.code(), errc::cannot_break);
    EXPECT_NE(std::string(refused.what()).find("whose lease has expired: byte locks do not reach its host"),
              std::string::npos)
        << refused.what();
  }
  there_->pass(ttl);
  there_->enter();
  EXPECT_FALSE(theirs_->i_am_locking());
  theirs_->release(ec);
  EXPECT_EQ(ec, errc::not_locked);
  here_->enter();
  ours_->acquire(0s);
}

// Each host mounts in its own way: what is true of the breaker's locks is not of the holder's.
TEST_P(OtherHost, its_hold_is_not_broken_by_force_where_its_own_locks_stay_at_home) {
  begin(locks_stay, locks_reach);
  std::error_code ec;
  EXPECT_FALSE(ours_->break_lock(BreakWhat::ours, ec));
  EXPECT_EQ(ec, errc::cannot_break);
  there_->enter();
  EXPECT_TRUE(theirs_->i_am_locking());
}

// One host, and two ways to one file system.
TEST_P(OtherHost, a_hold_that_came_by_another_way_is_not_broken_by_force_beneath) {
  begin(locks_stay, local, "there");
  std::error_code ec;
  EXPECT_FALSE(ours_->break_lock(BreakWhat::ours, ec));
  EXPECT_EQ(ec, errc::cannot_break);
  there_->enter();
  theirs_->release();
}

// A directory that a virtual machine has of its host by a pass-through file system, which has no unnamed files.
// Beneath, a cleaner whose byte locks do not meet the maker's removes the file before anything is written to it, and
// one of the maker's next calls does not find it: the n-th.
class PassThrough final : public LayeredSystem {
 public:
  PassThrough(int removed_at, os::Status told)
      : LayeredSystem(os::real_system()), removed_at_(removed_at), told_(told) {
    mounted = os::FileSystem{"fuse", false, false};
    before = [this](os::Call) { return made_.empty() || calls_++ != removed_at_ ? 0 : remove(); };
  }

  os::Result<int> open(int at, const char* name, os::Open how, std::uint32_t mode) noexcept override {
    if (how == os::Open::temporary) return {-1, EOPNOTSUPP};
    auto opened = LayeredSystem::open(at, name, how, mode);
    if (how != os::Open::create || !opened.ok() || removed()) return opened;
    at_ = at;
    made_ = name;
    if (calls_++ != removed_at_ || remove() == 0) return opened;
    close(opened.value);
    return {-1, told_};
  }
  os::Result<os::FileInfo> stat(int descriptor) noexcept override {
    auto info = LayeredSystem::stat(descriptor);
    made_.clear();  // that was the last call that makes it
    return info;
  }
  [[nodiscard]] bool removed() const noexcept { return removed_; }

 private:
  int remove() noexcept {
    removed_ = below().unlink(at_, made_.c_str()) == 0;
    made_.clear();
    return told_;
  }

  int removed_at_;
  os::Status told_;
  int calls_ = 0;
  int at_ = -1;
  std::string made_;
  bool removed_ = false;
};

TEST(PassThroughMaker, goes_on_with_another_file_when_a_cleaner_has_removed_its_own) {
  // Told so, or not before it looks how many names the file has.
  for (const os::Status told : {ENOENT, ESTALE, 0}) {
    int removed_at = 0;
    for (bool removed = true; removed; ++removed_at) {
      const Scratch scratch;
      PassThrough system(removed_at, told);
      os::Process process(system);
      os::Process::set_current(&process);
      FileLock lock(scratch / "a");
      std::error_code ec;
      EXPECT_TRUE(lock.acquire(0s, ec)) << "removed at call " << removed_at << ": " << ec.message();
      lock.release(ec);
      removed = system.removed();
      os::Process::set_current(nullptr);
    }
    EXPECT_GT(removed_at, 5) << "open, lock, write, sync, look";
  }
}

}  // namespace
}  // namespace lockfile::testing
