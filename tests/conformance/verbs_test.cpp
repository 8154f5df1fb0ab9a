// The verbs as a caller sees them: the standard's guards, limits of time, error codes, messages, paths.
#include "conformance/fixture.hpp"

#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <mutex>

namespace lockfile::testing {
namespace {

class Verbs : public Law {};
LOCKFILE_FOR_ALL_SCHEMES(Verbs);

// What speaks of paths.
class PathVerbs : public Law {};
LOCKFILE_FOR_ALL_FILES(PathVerbs);

class LockFileVerbs : public Law {};
LOCKFILE_FOR_ALL_VARIANTS(LockFileVerbs);

class BreakVerbs : public Law {};
LOCKFILE_FOR_BREAKABLE_SCHEMES(BreakVerbs);
LOCKFILE_FOR_ENGINES(BreakVerbs);

TEST_P(PathVerbs, a_guard_is_shared_by_who_holds) {
  FileLock lock(path(), options());
  EXPECT_EQ(code_of([&] { (void)lock.share_guard(); }), errc::not_locked);
  lock.acquire();
  const int guard = lock.share_guard();
  EXPECT_GE(guard, 0);
  ::close(guard);
  EXPECT_TRUE(lock.i_am_locking());
  if (!is_kernel(GetParam()) && !is_memory(GetParam())) return;
  // As if this program had closed its descriptors: the number may be another file's.
  in_.system().before = [](os::Call call) { return call == os::Call::stat ? EBADF : 0; };
  EXPECT_EQ(code_of([&] { (void)lock.share_guard(); }), errc::not_my_lock);
  in_.system().before = nullptr;
}

TEST_P(Verbs, the_guards_of_the_standard_work) {
  TestLock lock(path(), options());
  TestLock other(scratch_ / "b", options());
  {
    const std::scoped_lock both(lock, other);
    EXPECT_TRUE(lock.i_am_locking());
    EXPECT_TRUE(other.i_am_locking());
  }
  {
    std::unique_lock guard(lock, std::defer_lock);
    EXPECT_TRUE(guard.try_lock_for(1s));
    guard.unlock();
    EXPECT_TRUE(guard.try_lock_until(std::chrono::system_clock::now() + 1s));
    guard.unlock();
    EXPECT_TRUE(guard.try_lock_until(std::chrono::steady_clock::now() - 1s));
  }
  std::lock(lock, other);
  lock.unlock();
  other.unlock();
  EXPECT_EQ(lock.last_error(), std::error_code());
}

TEST_P(Verbs, try_lock_says_false_where_acquire_throws) {
  TestLock lock(path(), options());
  lock.acquire();
  in_another_thread([&] {
    TestLock other(path(), options());
    EXPECT_FALSE(other.try_lock());
    EXPECT_FALSE(other.try_lock_for(1ms));
    EXPECT_FALSE(other.try_lock_until(std::chrono::steady_clock::now() + 1ms));
    EXPECT_FALSE(other.try_lock_until(std::chrono::system_clock::now() + 1ms));
    std::stop_source stop;
    stop.request_stop();
    EXPECT_FALSE(other.try_lock_for(stuck, stop.get_token()));
    EXPECT_THROW(other.lock(stop.get_token()), LockStopped);
  });
}

// A try is refused, as by anybody else's hold; whoever would wait for itself is told so.
TEST_P(Verbs, waiting_for_what_this_thread_holds_itself_is_a_deadlock) {
  TestLock lock(path(), options());
  lock.acquire();
  TestLock other(path(), options());
  EXPECT_FALSE(other.try_lock());
  EXPECT_EQ(code_of([&] { (void)other.try_lock_for(stuck); }), std::errc::resource_deadlock_would_occur);
  EXPECT_EQ(code_of([&] { other.acquire(stuck); }), std::errc::resource_deadlock_would_occur);
}

TEST_P(Verbs, limits_of_every_kind_are_understood) {
  TestLock lock(path(), options());
  lock.acquire(std::chrono::hours::max());
  lock.release();
  lock.acquire(std::chrono::duration<double>(std::numeric_limits<double>::infinity()));
  lock.release();
  EXPECT_EQ(code_of([&] { lock.acquire(std::chrono::duration<double>(std::nan(""))); }), std::errc::invalid_argument);
  lock.acquire(std::chrono::duration<double>(1e-12));
  in_another_thread([&] {
    EXPECT_EQ(code_of([&] { lock.acquire(-1s); }), errc::already_locked);
    EXPECT_EQ(code_of([&] { lock.acquire(std::chrono::seconds::min()); }), errc::already_locked);
    EXPECT_EQ(code_of([&] { lock.acquire(std::chrono::steady_clock::now() - 1s); }), errc::already_locked);
    EXPECT_EQ(code_of([&] { lock.acquire(std::chrono::duration<double>(1e-12)); }), errc::timed_out);
  });
}

TEST_P(Verbs, exceptions_have_the_founding_names_and_tell_the_path_the_cause_and_the_holder) {
  Options with_reason = options();
  with_reason.reason = "nightly \x1b[31m copy";
  TestLock lock(path(), with_reason);
  lock.acquire();
  in_another_thread([&] {
    TestLock other(path(), options());
    try {
      other.acquire(0s);
      FAIL() << "acquired";
    } catch (const AlreadyLocked& error) {
      const std::string text = error.what();
      EXPECT_NE(text.find("cannot lock '" + (is_engine(GetParam()) ? shown() : word()) + "': held by pid " +
                          std::to_string(::getpid())),
                std::string::npos)
          << text;
      EXPECT_NE(text.find("(alive)"), std::string::npos) << text;
      EXPECT_NE(text.find("reason: nightly \\x1b[31m copy"), std::string::npos) << text;
      EXPECT_EQ(error.path(), shown());
      EXPECT_EQ(error.holder().value().reason, with_reason.reason);
      EXPECT_EQ(error.code(), std::errc::resource_unavailable_try_again);
    }
    EXPECT_THROW(other.acquire(1ms), LockTimeout);
    EXPECT_THROW(other.release(), NotMyLock);
    EXPECT_THROW(other.release(), UnlockError);
  });
  lock.release();
  EXPECT_THROW(lock.release(), NotLocked);
  EXPECT_THROW(lock.release(), Error);
}

TEST_P(Verbs, the_forms_with_a_code_do_not_throw) {
  TestLock lock(path(), options());
  std::error_code ec = std::make_error_code(std::errc::io_error);
  EXPECT_TRUE(lock.acquire(0s, ec));
  EXPECT_FALSE(ec);
  EXPECT_TRUE(lock.is_locked(ec));
  EXPECT_EQ(lock.holder(ec).value().pid, ::getpid());
  in_another_thread([&] {
    std::error_code code;
    EXPECT_FALSE(lock.acquire(0s, code));
    EXPECT_EQ(code, errc::already_locked);
    lock.release(code);
    EXPECT_EQ(code, errc::not_my_lock);
    lock.hand_over(::getpid(), code);
    EXPECT_EQ(code, errc::not_my_lock);
    EXPECT_FALSE(lock.break_stale(code));
    EXPECT_FALSE(code);
  });
  lock.release(ec);
  EXPECT_FALSE(ec);
  lock.release(ec);
  EXPECT_EQ(ec, errc::not_locked);
  EXPECT_FALSE(lock.break_lock(BreakWhat::ours, ec));
  EXPECT_FALSE(ec);
}

TEST_P(PathVerbs, a_directory_that_is_missing_is_an_error_and_nothing_is_locked_there) {
  TestLock nowhere(scratch_ / "missing/x", options());
  EXPECT_THROW(nowhere.acquire(), LockFailed);
  std::error_code ec;
  EXPECT_FALSE(nowhere.acquire(for_ever, ec));
  EXPECT_EQ(ec, std::errc::no_such_file_or_directory);
  EXPECT_FALSE(nowhere.is_locked(ec));
  EXPECT_FALSE(ec);
}

TEST_P(BreakVerbs, unlock_of_a_lost_hold_is_noted_and_ends_nothing) {
  TestLock lock(path(), options());
  {
    const std::lock_guard guard(lock);
    EXPECT_TRUE(lock.break_lock());
  }
  EXPECT_EQ(lock.last_error(), errc::not_locked);
  lock.lock();
  lock.unlock();
  EXPECT_EQ(lock.last_error(), std::error_code());
}

// As often as it was locked: one unlock more would end the program.
TEST_P(BreakVerbs, holds_that_were_lost_one_after_the_other_may_all_be_unlocked) {
  TestLock lock(path(), options());
  lock.lock();
  EXPECT_TRUE(lock.break_lock());
  lock.lock();
  EXPECT_TRUE(lock.break_lock());
  lock.lock();
  lock.unlock();
  EXPECT_EQ(lock.last_error(), std::error_code());
  for (int i = 0; i < 2; ++i) {
    lock.unlock();
    EXPECT_EQ(lock.last_error(), errc::not_locked);
  }
}

TEST_P(Verbs, unlock_of_what_this_thread_never_held_ends_the_program) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(
      {
        TestLock lock(path(), options());
        lock.unlock();
      },
      "unlock of a lock that this thread does not hold: '.*a(.lock)?'");
}

TEST_P(PathVerbs, a_path_that_names_no_file_is_refused) {
  for (const std::string_view bad : {"", "/", "//", ".", "..", "x/.", "x/..", "x/../"}) {
    EXPECT_EQ(code_of([&] { const TestLock lock(bad, options()); }), std::errc::invalid_argument) << bad;
  }
  EXPECT_EQ(code_of([&] { const TestLock lock(std::string_view("a\0b", 3), options()); }), std::errc::invalid_argument);
}

TEST_P(PathVerbs, a_relative_path_is_refused_where_there_is_no_current_directory) {
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::create_directory(scratch_ / "gone");
  std::filesystem::current_path(scratch_ / "gone");
  std::filesystem::remove(scratch_ / "gone");
  EXPECT_EQ(code_of([&] { const TestLock lock("x", options()); }), std::errc::no_such_file_or_directory);
  EXPECT_EQ(code_of([&] { const Semaphore units("x", 2); }), std::errc::no_such_file_or_directory);
  EXPECT_EQ(code_of([&] { const FencedFile file("x"); }), std::errc::no_such_file_or_directory);
  std::error_code ec;
  wait_until_free("x", 0s, ec, GetParam().scheme);
  EXPECT_EQ(ec, std::errc::no_such_file_or_directory);
  std::filesystem::current_path(before);
}

TEST_P(PathVerbs, a_relative_path_is_made_absolute_when_the_object_is_made) {
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(scratch_.path());
  TestLock lock("x", options());
  std::filesystem::current_path(before);
  EXPECT_EQ(lock.path(), scratch_ / "x");
  lock.acquire();
  EXPECT_TRUE(std::filesystem::exists(scratch_ / (is_kernel(GetParam()) ? "x" : "x.lock")));
}

TEST_P(PathVerbs, naming_is_not_opening) {
  const TestLock lock(scratch_ / "missing/x", options());
  EXPECT_EQ(lock.scheme(), GetParam().scheme);  // of `auto` nobody can tell yet which
  EXPECT_FALSE(lock.is_locked());
  EXPECT_FALSE(lock.i_am_locking());
  std::ofstream(scratch_ / "file") << "no directory";
  const TestLock below(scratch_ / "file/x", options());
  EXPECT_FALSE(below.is_locked());
  std::error_code ec = std::make_error_code(std::errc::io_error);
  EXPECT_FALSE(below.is_locked(ec));
  EXPECT_FALSE(ec);
}

TEST_P(PathVerbs, nothing_expires_that_has_no_lease) {
  TestLock lock(path(), options());
  EXPECT_FALSE(lock.break_expired());
  lock.acquire();
  TestLock other(path(), options());
  EXPECT_FALSE(other.break_expired());
  EXPECT_TRUE(lock.i_am_locking());
}

TEST_P(LockFileVerbs, the_locked_path_may_be_a_directory) {
  std::filesystem::create_directory(path());
  TestLock lock(path(), options());
  lock.acquire();
  EXPECT_TRUE(std::filesystem::exists(word()));
  lock.release();
  TestLock slashed(path() + "/", options());
  EXPECT_EQ(slashed.path(), path());
}

TEST_P(LockFileVerbs, long_names_work_as_long_as_the_lock_files_own_name_fits) {
  const std::string longest(255 - std::string_view(".lock").size(), 'n');
  {
    TestLock lock(scratch_ / longest, options());
    lock.acquire();
    in_another_thread([&] {
      TestLock other(scratch_ / longest, options());
      EXPECT_EQ(code_of([&] { other.acquire(1ms); }), errc::timed_out);
    });
    lock.release();
    lock.acquire(0s);
  }
  EXPECT_EQ(scratch_.names(), std::vector<std::string>());
  {
    TestLock too_long(scratch_ / (longest + "n"), options());
    EXPECT_EQ(code_of([&] { too_long.acquire(0s); }), std::errc::filename_too_long);
  }
  EXPECT_EQ(scratch_.names(), std::vector<std::string>());
}

TEST_P(Verbs, an_unknown_scheme_and_a_long_reason_are_refused) {
  EXPECT_EQ(code_of([&] { const TestLock lock(path(), {.scheme = "carrier pigeon"}); }), std::errc::invalid_argument);
  Options wordy = options();
  wordy.reason = std::string(401, 'r');
  EXPECT_EQ(code_of([&] { const TestLock lock(path(), wordy); }), std::errc::invalid_argument);
  if (!is_engine(GetParam())) {
    EXPECT_EQ(code_of([&] { const Semaphore units(path(), 2, wordy); }), std::errc::invalid_argument);
  }
  wordy.reason = std::string(400, '\n');
  TestLock lock(path(), wordy);
  lock.acquire();
  EXPECT_EQ(lock.holder().value().reason, wordy.reason);
}

TEST_P(PathVerbs, waiting_until_free_takes_nothing) {
  std::error_code ec;
  wait_until_free(path(), 0s, ec, GetParam().scheme);
  EXPECT_FALSE(ec);
  TestLock lock(path(), options());
  lock.acquire();
  wait_until_free(path(), 0s, ec, GetParam().scheme);
  EXPECT_EQ(ec, errc::already_locked);
  wait_until_free(path(), 1ms, ec, GetParam().scheme);
  EXPECT_EQ(ec, errc::timed_out);
  Peer peer(peer_arguments());
  lock.release();
  ASSERT_EQ(peer.ask("acquire"), "held");
  auto waiter = thread([&] {
    std::error_code code = std::make_error_code(std::errc::io_error);
    wait_until_free(path(), stuck, code, GetParam().scheme);
    EXPECT_FALSE(code);
  });
  ASSERT_EQ(peer.ask("release"), "released");
  waiter.join();
}

TEST_P(PathVerbs, waiting_until_free_is_over_when_the_holder_is_dead) {
  Peer peer(peer_arguments());
  ASSERT_EQ(peer.ask("acquire"), "held");
  peer.kill();
  std::error_code ec = std::make_error_code(std::errc::io_error);
  wait_until_free(path(), stuck, ec, GetParam().scheme);
  EXPECT_FALSE(ec);
}

TEST_P(PathVerbs, waiting_until_free_refuses_what_it_does_not_understand) {
  std::error_code ec;
  wait_until_free(path(), std::chrono::duration<double>(std::nan("")), ec, GetParam().scheme);
  EXPECT_EQ(ec, std::errc::invalid_argument);
  wait_until_free(path(), 0s, ec, "carrier pigeon");
  EXPECT_EQ(ec, std::errc::invalid_argument);
  wait_until_free("..", 0s, ec, GetParam().scheme);
  EXPECT_EQ(ec, std::errc::invalid_argument);
}

}  // namespace
}  // namespace lockfile::testing
