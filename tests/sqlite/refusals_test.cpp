// What the system refuses: each call that the library makes, and each that SQLite makes, in turn and once. Whatever it
// is, the verb says so or does without; nobody is told of a hold that he has not; and afterwards the database is whole
// and every lock in it is to be had.
#include "conformance/fixture.hpp"
#include "sqlite/connection.hpp"
#include "support/sanitizers.hpp"

#include <lockfile/lockfile.hpp>
#include <lockfile/open.hpp>

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstdlib>
#include <functional>
#include <future>
#include <iostream>
#include <memory>

#ifdef UNDER_ASAN
#include <sanitizer/lsan_interface.h>
#endif

namespace lockfile::testing {
namespace {

// A connection whose descriptors cannot be looked at is left as it is: it may be another file's by now
// (Database::disconnect). LeakSanitizer would tell of it.
#ifdef UNDER_ASAN
using LeftOnPurpose = __lsan::ScopedDisabler;
#else
struct LeftOnPurpose {};
#endif

// The call of that number is refused, of those that this thread makes while it is on.
class Refusal {
 public:
  Refusal(long at, int error) noexcept : at_(at), error_(error) {}
  /// An error number, or 0.
  int next() noexcept {
    if (made_++ != at_) return 0;
    reached_ = true;
    return error_;
  }
  [[nodiscard]] bool reached() const noexcept { return reached_; }

 private:
  long at_;
  int error_;
  long made_ = 0;
  bool reached_ = false;
};

// SQLite's own seam: its table of system calls. They are refused to one thread only.
namespace of_sqlite {

thread_local Refusal* refusal = nullptr;

bool is_refused() noexcept {
  const int error = refusal != nullptr ? refusal->next() : 0;
  if (error != 0) errno = error;
  return error != 0;
}

template <class Result>
Result failure() noexcept {
  return static_cast<Result>(-1);
}
template <>
void* failure<void*>() noexcept {
  return MAP_FAILED;
}

template <class Signature, int number>
struct Call;
template <class Result, class... Arguments, int number>
struct Call<Result(Arguments...), number> {
  static inline Result (*real)(Arguments...) = nullptr;
  static Result refusable(Arguments... arguments) { return is_refused() ? failure<Result>() : real(arguments...); }
  static void put(const char* name) {
    sqlite3_vfs* const vfs = sqlite3_vfs_find(nullptr);
    const auto there = vfs->xGetSystemCall(vfs, name);
    if (there == nullptr) return;  // this SQLite does without
    real = reinterpret_cast<Result (*)(Arguments...)>(there);
    vfs->xSetSystemCall(vfs, name, reinterpret_cast<sqlite3_syscall_ptr>(&refusable));
  }
};

// Unlocking is not refused: Linux does not.
int fcntl_refusable(int descriptor, int command, ...) {
  va_list more;
  va_start(more, command);
  void* const argument = va_arg(more, void*);
  va_end(more);
  const bool unlocks = command == F_SETLK && static_cast<const struct flock*>(argument)->l_type == F_UNLCK;
  return !unlocks && is_refused() ? -1 : ::fcntl(descriptor, command, argument);
}

void put_all() {
  static const bool once = [] {
    sqlite3_initialize();
    Call<int(const char*, int, int), 0>::put("open");
    Call<int(const char*, struct stat*), 1>::put("stat");
    Call<int(int, struct stat*), 2>::put("fstat");
    Call<int(int, off_t), 3>::put("ftruncate");
    Call<ssize_t(int, void*, std::size_t), 4>::put("read");
    Call<ssize_t(int, void*, std::size_t, off_t), 5>::put("pread");
    Call<ssize_t(int, void*, std::size_t, off_t), 6>::put("pread64");
    Call<ssize_t(int, const void*, std::size_t), 7>::put("write");
    Call<ssize_t(int, const void*, std::size_t, off_t), 8>::put("pwrite");
    Call<ssize_t(int, const void*, std::size_t, off_t), 9>::put("pwrite64");
    Call<void*(void*, std::size_t, int, int, int, off_t), 10>::put("mmap");
    sqlite3_vfs* const vfs = sqlite3_vfs_find(nullptr);
    vfs->xSetSystemCall(vfs, "fcntl", reinterpret_cast<sqlite3_syscall_ptr>(&fcntl_refusable));
    return true;
  }();
  (void)once;
}

}  // namespace of_sqlite

// Whatever can fail. Not `unlock`: on Linux it does not, of a byte with no neighbours; not `wait` either, which is a
// sleep that is shorter.
bool can_be_refused(os::Call call) {
  using os::Call;
  constexpr std::array all = {
      Call::open,         Call::read,           Call::write,     Call::sync,       Call::stat,        Call::stat_at,
      Call::unlink,       Call::make_directory, Call::rename,    Call::set_mode,   Call::list,        Call::file_system,
      Call::try_lock,     Call::lock_seen,      Call::make_fifo, Call::fifo_put,   Call::map,         Call::boot_id,
      Call::open_process, Call::process_start,  Call::readable,  Call::event_open, Call::notify_open, Call::fifo_drain};
  return std::find(all.begin(), all.end(), call) != all.end();
}

class SQLiteRefusals : public ::testing::Test {
 protected:
  using Life = std::function<void(const std::string& database)>;

  [[nodiscard]] static std::string address(const std::string& database, const std::string& name) {
    return "sqlite:" + database + "#" + name;
  }

  // In a process of its own, as far as the library can tell.
  static void elsewhere(const std::function<void()>& what) {
    std::thread([&] {
      const InVariant mine(variant_named("sqlite"));
      what();
    }).join();
  }

  [[nodiscard]] static std::error_code another_tries(const std::string& database, const std::string& name) {
    std::error_code code;
    elsewhere([&] { open(address(database, name))->acquire(0s, code); });
    return code;
  }

  // An acquire, and what there is to see of its hold while it lasts.
  static void hold_for_a_moment(const std::string& database, Mode mode, const Options& options) {
    const auto lock = open(address(database, "a"), options);
    std::error_code code;
    if (!lock->acquire(mode, 0s, code)) {
      EXPECT_TRUE(code);
      return;
    }
    EXPECT_EQ(another_tries(database, "a"), errc::already_locked);
    (void)lock->holder(code);
    (void)lock->i_am_locking();
    lock->release(code);
    if (!code) {
      EXPECT_FALSE(another_tries(database, "a"));
    }
  }

  // Everybody has left, and nothing is refused.
  static void expect_well(const std::string& database, bool refused) {
    for (const std::string name : {"a", "b"}) {
      EXPECT_FALSE(another_tries(database, name)) << name;
    }
    elsewhere([&] {
      EXPECT_EQ(open_semaphore(address(database, "s"), 2).acquire(2, 0s).size(), 2U);
      std::error_code code;
      EXPECT_TRUE(open(address(database, "a"))->waiters(code).empty());
    });
    EXPECT_EQ(Connection(database).ask("PRAGMA integrity_check"), "ok") << (refused ? "" : "nothing was refused");
  }

  // `begin` makes the refusal count from now on, in this thread.
  void refuse_each(const Life& life, const std::function<void(InVariant&, Refusal&)>& begin, int error) {
    constexpr long most = 3000;
    bool refused = true;
    long at = 0;
    for (; refused && !HasFailure(); at += one_call_in) {
      ASSERT_LT(at, most);
      SCOPED_TRACE("call " + std::to_string(at) + ", error " + std::to_string(error));
      const Scratch place;
      const std::string database = place / "locks.db";
      std::thread([&] {
        [[maybe_unused]] const LeftOnPurpose not_told_of;
        Refusal refusal(at, error);
        {
          InVariant subject(variant_named("sqlite"));
          begin(subject, refusal);
          life(database);
          subject.system().before = nullptr;
          of_sqlite::refusal = nullptr;
        }
        refused = refusal.reached();
      }).join();
      expect_well(database, refused);
    }
    std::cout << "refused one in " << one_call_in << " of " << at << " calls\n";
  }
  void refuse_each_of_ours(const Life& life, int error) {
    refuse_each(
        life,
        [](InVariant& subject, Refusal& refusal) {
          subject.system().before = [&refusal](os::Call call) { return can_be_refused(call) ? refusal.next() : 0; };
        },
        error);
  }
  void refuse_each_of_sqlites(const Life& life, int error) {
    of_sqlite::put_all();
    refuse_each(
        life, [](InVariant& /*subject*/, Refusal& refusal) { of_sqlite::refusal = &refusal; }, error);
  }

  static void alone(const std::string& database) {
    hold_for_a_moment(database, Mode::exclusive, {.access = Access::everyone});
    hold_for_a_moment(database, Mode::shared, {});
    Semaphore semaphore = open_semaphore(address(database, "s"), 2);
    std::error_code code;
    Semaphore::Units units = semaphore.acquire(1, 0s, code);
    EXPECT_EQ(units.size(), code ? 0U : 1U);
    units.release(code);
  }

  // Another process has it, and the database.
  static void beside_a_holder(const std::string& database) {
    std::thread holder;
    Semaphore::Units units;
    std::promise<void> held;
    std::promise<void> over;
    holder = std::thread([&] {
      const InVariant other(variant_named("sqlite"));
      const auto lock = open(address(database, "a"));
      const auto broken = open(address(database, "b"));
      lock->acquire(0s);
      broken->acquire(0s);
      held.set_value();
      over.get_future().wait();
      EXPECT_TRUE(lock->i_am_locking());
      lock->release();
    });
    held.get_future().wait();
    {
      const auto lock = open(address(database, "a"));
      std::error_code code;
      EXPECT_FALSE(lock->is_locked(code) && code);
      (void)lock->holder(code);
      (void)lock->waiters(code);
      EXPECT_FALSE(lock->break_stale(code));
      EXPECT_FALSE(lock->acquire(0s, code));
      EXPECT_FALSE(lock->acquire(1ms, code));
      (void)open(address(database, "b"))->break_lock(BreakWhat::ours, code);
      (void)examine_place("sqlite:" + database, code);
      (void)list_place("sqlite:" + database, code);
    }
    over.set_value();
    holder.join();
  }
};

TEST_F(SQLiteRefusals, of_each_call_while_a_database_is_made_are_told) {
  for (const int error : {EIO, EEXIST}) refuse_each_of_ours(alone, error);
}

TEST_F(SQLiteRefusals, of_each_call_beside_a_holder_are_told) {
  for (const int error : {EIO, EACCES}) refuse_each_of_ours(beside_a_holder, error);
}

TEST_F(SQLiteRefusals, of_each_call_of_sqlite_while_a_database_is_made_are_told) {
  for (const int error : {EIO, ENOSPC}) refuse_each_of_sqlites(alone, error);
}

TEST_F(SQLiteRefusals, of_each_call_of_sqlite_beside_a_holder_are_told) {
  for (const int error : {EIO, EACCES}) refuse_each_of_sqlites(beside_a_holder, error);
}

// Until there is enough.
TEST_F(SQLiteRefusals, of_memory_to_sqlite_are_told) {
  constexpr std::int64_t a_little = 2000;
  int refused = 0;
  std::error_code code;
  do {
    const Scratch place;
    const std::string database = place / "locks.db";
    elsewhere([&] {
      const auto lock = open(address(database, "a"));
      sqlite3_hard_heap_limit64(sqlite3_memory_used() + (refused + 1) * a_little);
      lock->acquire(0s, code);
      sqlite3_hard_heap_limit64(0);
    });
    ASSERT_TRUE(!code || code == std::errc::not_enough_memory) << code.message();
    expect_well(database, static_cast<bool>(code));
    if (code) ++refused;
  } while (code);
  EXPECT_GT(refused, 1);
}

}  // namespace
}  // namespace lockfile::testing
