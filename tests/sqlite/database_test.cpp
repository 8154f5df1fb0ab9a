// What a database may be, what is refused and stays as it is, and what SQLite's own locks have to do with it.
#include "conformance/fixture.hpp"
#include "sqlite/connection.hpp"

#include <lockfile/lockfile.hpp>
#include <lockfile/open.hpp>
#include <lockfile/sqlite.hpp>

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <utility>

namespace lockfile::testing {
namespace {

// A process with a system of its own.
class In {
 public:
  In() { process(); }
  In(const In&) = delete;
  In& operator=(const In&) = delete;
  ~In() { os::Process::set_current(nullptr); }

  /// From now on; what was set in `system` before counts.
  void process() {
    process_ = std::make_unique<os::Process>(system);
    enter();
  }
  /// For another thread of it.
  void enter() noexcept { os::Process::set_current(process_.get()); }
  LayeredSystem system{os::real_system()};

 private:
  std::unique_ptr<os::Process> process_;
};

class SQLiteDatabase : public ::testing::Test {
 protected:
  [[nodiscard]] std::string path() const { return scratch_ / "locks.db"; }
  [[nodiscard]] std::string address(const std::string& name = "a") const { return "sqlite:" + path() + "#" + name; }
  [[nodiscard]] std::unique_ptr<Lock> lock(const std::string& name = "a") const { return open(address(name)); }

  // Refused with that code, by every verb, and the bytes are as before.
  void expect_refused(const std::error_code& code, const std::string& why) {
    const std::string before = read_file(path());
    const auto lock = this->lock();
    try {
      lock->acquire(0s);
      ADD_FAILURE() << "acquired";
    } catch (const LockFailed& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_NE(std::string(error.what()).find(why), std::string::npos) << error.what();
    }
    EXPECT_EQ(code_of([&] { (void)lock->holder(); }), code);
    EXPECT_EQ(code_of([&] { (void)lock->waiters(); }), code);
    EXPECT_EQ(code_of([&] { (void)lock->break_lock(); }), code);
    EXPECT_EQ(code_of([&] { (void)lock->break_stale(); }), code);
    EXPECT_EQ(read_file(path()), before);
    EXPECT_FALSE(std::filesystem::exists(path() + ".d"));
  }

  Scratch scratch_;
  In in_;
};

TEST_F(SQLiteDatabase, is_made_by_the_first_lock_and_not_by_a_look) {
  const auto lock = this->lock();
  EXPECT_FALSE(lock->is_locked());
  EXPECT_FALSE(lock->break_lock());
  EXPECT_FALSE(lock->break_stale());
  EXPECT_TRUE(lock->waiters().empty());
  EXPECT_EQ(scratch_.names(), std::vector<std::string>());
  lock->acquire();
  EXPECT_TRUE(std::filesystem::exists(path()));
}

TEST_F(SQLiteDatabase, keeps_names_apart_whatever_bytes_they_are_made_of) {
  std::vector<std::unique_ptr<Lock>> all;
  for (const std::string name : {"a", "b", "A", "a%20", "%FF%FE", "'; DROP TABLE hold; --"}) {
    all.push_back(lock(name));
    all.back()->acquire(0s);
  }
  for (const auto& each : all) EXPECT_TRUE(each->i_am_locking());
  EXPECT_EQ(code_of([&] { (void)lock(std::string(1001, 'n')); }), std::errc::filename_too_long);
}

TEST_F(SQLiteDatabase, of_another_program_is_refused_and_stays_as_it_is) {
  { Connection(path()).ask("CREATE TABLE recipes(name TEXT)"); }
  expect_refused(make_error_code(errc::foreign), "belongs to another program");
  { Connection(path()).ask("PRAGMA journal_mode = WAL"); }
  expect_refused(make_error_code(errc::foreign), "belongs to another program");
}

TEST_F(SQLiteDatabase, that_is_damaged_is_refused_and_stays_as_it_is) {
  write_file(path(), std::string(5000, 'x'));
  expect_refused(std::make_error_code(std::errc::bad_message), "is damaged, or no database");
  std::filesystem::remove(path());
  lock()->acquire();
  { Connection(path()).ask("DROP TABLE queue"); }
  const auto refused = code_of([&] { lock()->acquire(0s); });
  EXPECT_EQ(refused, std::errc::bad_message);
  EXPECT_EQ(Connection(path()).ask("SELECT count(*) FROM sqlite_schema WHERE name = 'queue'"), "0") << "not mended";
}

TEST_F(SQLiteDatabase, that_is_damaged_while_it_is_open_is_refused) {
  const auto lock = this->lock();
  lock->acquire();
  lock->release();
  {
    Connection other(path());
    other.ask("DELETE FROM hold WHERE name = ''");
  }
  EXPECT_EQ(code_of([&] { lock->acquire(0s); }), std::errc::bad_message) << "the number of the last hold is gone";
}

TEST_F(SQLiteDatabase, that_has_lost_a_table_while_it_was_open_is_refused) {
  const auto lock = this->lock();
  lock->acquire();
  { Connection(path()).ask("DROP TABLE queue"); }
  EXPECT_EQ(code_of([&] { (void)lock->waiters(); }), std::errc::io_error);
  std::error_code code;
  EXPECT_TRUE(list_place("sqlite:" + path(), code).empty());
  EXPECT_EQ(code, std::errc::io_error);
  EXPECT_TRUE(lock->i_am_locking());
}

TEST_F(SQLiteDatabase, that_takes_no_rows_is_refused) {
  { lock()->acquire(); }
  { Connection(path()).ask("CREATE TRIGGER t BEFORE INSERT ON process BEGIN SELECT RAISE(IGNORE); END"); }
  in_.process();
  EXPECT_EQ(code_of([&] { lock()->acquire(0s); }), std::errc::bad_message);
  { Connection(path()).ask("CREATE TRIGGER u BEFORE UPDATE ON meta BEGIN SELECT RAISE(ABORT, 'no'); END"); }
  in_.system.boot = "11111111-0000-0000-0000-000000000000";
  in_.process();
  EXPECT_EQ(code_of([&] { lock()->acquire(0s); }), std::errc::io_error) << "without the epoch of this boot";
}

TEST_F(SQLiteDatabase, that_is_no_regular_file_is_refused) {
  std::filesystem::create_directory(path());
  EXPECT_EQ(code_of([&] { lock()->acquire(0s); }), std::errc::invalid_argument);
  EXPECT_EQ(code_of([&] { (void)lock()->holder(); }), std::errc::invalid_argument);
}

TEST_F(SQLiteDatabase, that_is_empty_is_anybodys) {
  write_file(path(), "");
  EXPECT_FALSE(lock()->is_locked());
  EXPECT_EQ(read_file(path()), "");
  lock()->acquire(0s);
}

TEST_F(SQLiteDatabase, in_a_directory_that_is_not_there_is_nobodys_and_cannot_be_made) {
  const auto lock = open("sqlite:" + (scratch_ / "nowhere/locks.db") + "#a");
  EXPECT_FALSE(lock->is_locked());
  EXPECT_EQ(code_of([&] { lock->acquire(0s); }), std::errc::no_such_file_or_directory);
}

TEST_F(SQLiteDatabase, has_no_leases) {
  EXPECT_EQ(code_of([&] { (void)open(address(), {.lease = 1s}); }), std::errc::operation_not_supported);
}

TEST_F(SQLiteDatabase, without_a_boot_id_is_refused) {
  in_.system.before = [](os::Call call) { return call == os::Call::boot_id ? ENOENT : 0; };
  in_.process();
  in_.system.before = nullptr;
  EXPECT_EQ(code_of([&] { lock()->acquire(0s); }), std::errc::operation_not_supported);
}

TEST_F(SQLiteDatabase, whose_guard_or_rows_are_missing_calls_nobody_dead) {
  Peer peer({scratch_ / "a", "sqlite"});
  ASSERT_EQ(peer.ask("acquire"), "held");
  std::filesystem::resize_file(path() + ".d/guard", 0);
  EXPECT_EQ(lock()->holder().value().verdict, Verdict::alive);
  for (const char* const gone : {".d/guard", ".d"}) {
    std::filesystem::remove_all(path() + gone);
    in_.process();
    EXPECT_EQ(lock()->holder().value().verdict, Verdict::unknown) << gone;
  }
  { Connection(path()).ask("DELETE FROM process"); }
  EXPECT_EQ(lock()->holder().value().verdict, Verdict::unknown);
  { Connection(path()).ask("UPDATE hold SET process = 0 WHERE name <> ''"); }
  EXPECT_EQ(lock()->holder().value().verdict, Verdict::unknown);
}

TEST_F(SQLiteDatabase, whose_rows_contradict_each_other_keeps_everybody_out) {
  Peer one({scratch_ / "a", "sqlite"});
  Peer other({scratch_ / "a", "sqlite"});
  ASSERT_EQ(one.ask("share"), "held");
  ASSERT_EQ(other.ask("share"), "held");
  // The second one's is exclusive, they say.
  { Connection(path()).ask("UPDATE hold SET mode = 0 WHERE number = (SELECT max(number) FROM hold)"); }
  const auto lock = this->lock();
  EXPECT_EQ(code_of([&] { lock->acquire(Mode::shared, 0s); }), errc::already_locked);
  EXPECT_EQ(code_of([&] { lock->acquire(0s); }), errc::already_locked);
  other.kill();
  lock->acquire(Mode::shared, 0s);
  EXPECT_TRUE(lock->previous_holder_died());
}

TEST_F(SQLiteDatabase, whose_holder_has_another_pid_namespace_is_judged_by_its_guard) {
  Peer peer({scratch_ / "a", "sqlite"});
  ASSERT_EQ(peer.ask("acquire"), "held");
  { Connection(path()).ask("UPDATE process SET pid_namespace = 1"); }
  const auto lock = this->lock();
  EXPECT_EQ(code_of([&] { lock->acquire(0s); }), errc::already_locked);
  EXPECT_FALSE(lock->break_stale());
  peer.kill();
  lock->acquire(0s);
}

TEST_F(SQLiteDatabase, a_hold_of_another_process_is_not_broken_by_its_number_alone) {
  Peer peer({scratch_ / "a", "sqlite"});
  ASSERT_EQ(peer.ask("acquire"), "held");
  const auto lock = this->lock();
  Holder holder = lock->holder().value();
  const std::string nonce = std::exchange(holder.nonce, std::string(holder.nonce.size(), '0'));
  EXPECT_FALSE(lock->break_lock(holder));
  EXPECT_EQ(peer.ask("i_am_locking"), "yes");
  holder.nonce = nonce;
  EXPECT_TRUE(lock->break_lock(holder));
}

TEST_F(SQLiteDatabase, whose_guard_is_on_a_read_only_file_system_can_be_looked_at) {
  Peer peer({scratch_ / "a", "sqlite"});
  ASSERT_EQ(peer.ask("acquire"), "held");
  class ReadOnly final : public LayeredSystem {
   public:
    ReadOnly() : LayeredSystem(os::real_system()) {}
    os::Result<int> open(int at, const char* name, os::Open how, std::uint32_t mode) noexcept override {
      const bool writes = how == os::Open::update || how == os::Open::create;
      return read_only && writes ? os::Result<int>{-1, EROFS} : LayeredSystem::open(at, name, how, mode);
    }
    bool read_only = true;
  };
  ReadOnly system;
  os::Process process(system);
  os::Process::set_current(&process);
  {
    const auto lock = this->lock();
    EXPECT_EQ(lock->holder().value().verdict, Verdict::alive);
    EXPECT_EQ(code_of([&] { lock->acquire(0s); }), std::errc::read_only_file_system);
    EXPECT_EQ(code_of([&] { lock->acquire(0s); }), std::errc::read_only_file_system);
    EXPECT_EQ(lock->holder().value().verdict, Verdict::alive);
    system.read_only = false;
    EXPECT_EQ(code_of([&] { lock->acquire(0s); }), errc::already_locked);
    EXPECT_EQ(peer.ask("release"), "released");
    lock->acquire(0s);
  }
  in_.enter();
}

TEST_F(SQLiteDatabase, what_is_wrong_with_it_is_found) {
  const auto finding = [&](const std::string& of) {
    std::error_code code;
    for (const Finding& each : examine_place(address(), code).findings) {
      if (each.what == of) return each;
    }
    ADD_FAILURE() << of << ": " << code.message();
    return Finding{};
  };
  { lock()->acquire(); }
  EXPECT_EQ(finding("write-ahead log").result, Finding::Result::works);
  EXPECT_EQ(finding("integrity").result, Finding::Result::works);
  EXPECT_EQ(finding("fences").detail, "of this boot");
  {
    Connection other(path());
    other.ask("UPDATE meta SET boot = 'another'");
    other.ask("PRAGMA journal_mode = DELETE");
  }
  EXPECT_EQ(finding("write-ahead log").result, Finding::Result::fails);
  EXPECT_NE(finding("fences").detail, "of this boot");
  {
    const auto open = lock();
    open->acquire();
    EXPECT_EQ(finding("fences").detail, "of this boot");
    { Connection(path()).ask("DELETE FROM meta"); }
    EXPECT_NE(finding("fences").detail, "of this boot") << "it says nothing";
    { Connection(path()).ask("INSERT INTO meta VALUES(1, 'another')"); }
  }
  const std::string root = Connection(path()).ask("SELECT rootpage FROM sqlite_schema WHERE name = 'queue'");
  std::string bytes = read_file(path());
  bytes.replace((std::stoul(root) - 1) * 1024, 1024, std::string(1024, 'x'));
  write_file(path(), bytes);
  EXPECT_EQ(finding("integrity").result, Finding::Result::fails);
}

TEST_F(SQLiteDatabase, of_a_later_version_is_refused) {
  lock()->acquire();
  { Connection(path()).ask("PRAGMA user_version = 2"); }
  EXPECT_EQ(code_of([&] { lock()->acquire(0s); }), std::errc::operation_not_supported);
}

TEST_F(SQLiteDatabase, on_a_network_file_system_is_refused_and_nothing_is_made) {
  for (const std::string kind : {"nfs", "cifs", "fuse", "ceph"}) {
    in_.system.mounted = os::FileSystem{kind, false, true, {}};
    in_.process();
    const auto lock = this->lock();
    try {
      lock->acquire(0s);
      ADD_FAILURE() << kind;
    } catch (const LockFailed& error) {
      EXPECT_EQ(error.code(), std::errc::operation_not_supported);
      EXPECT_NE(std::string(error.what()).find("file system of type '" + kind + "'"), std::string::npos)
          << error.what();
    }
    EXPECT_EQ(scratch_.names(), std::vector<std::string>());
  }
}

TEST_F(SQLiteDatabase, has_one_name) {
  const auto lock = this->lock();
  lock->acquire();
  std::filesystem::create_directory_symlink(scratch_.path(), scratch_ / "elsewhere");
  const auto same = open("sqlite:" + (scratch_ / "elsewhere/locks.db") + "#a");
  std::thread([&] {
    in_.enter();
    EXPECT_EQ(code_of([&] { same->acquire(0s); }), errc::already_locked) << "another way to the same directory";
  }).join();
  std::filesystem::create_symlink(path(), scratch_ / "link.db");
  EXPECT_EQ(code_of([&] { open("sqlite:" + (scratch_ / "link.db") + "#a")->acquire(0s); }),
            std::errc::too_many_symbolic_link_levels);
  std::filesystem::create_hard_link(path(), scratch_ / "twin.db");
  EXPECT_EQ(code_of([&] { open("sqlite:" + (scratch_ / "twin.db") + "#a")->acquire(0s); }), std::errc::too_many_links);
}

TEST_F(SQLiteDatabase, that_was_removed_is_made_anew_for_the_next_hold) {
  const auto lock = this->lock();
  lock->acquire();
  const std::uint64_t fence = lock->fence();
  lock->release();
  for (const char* const suffix : {"", "-wal", "-shm"}) std::filesystem::remove(path() + suffix);
  lock->acquire(stuck);
  EXPECT_TRUE(std::filesystem::exists(path()));
  EXPECT_TRUE(lock->i_am_locking());
  EXPECT_GE(lock->fence() >> 32U, fence >> 32U);
}

TEST_F(SQLiteDatabase, that_was_replaced_is_left_for_the_one_that_has_the_name_now) {
  const auto lock = this->lock();
  lock->acquire();
  lock->release();
  for (const char* const suffix : {"", "-wal", "-shm"}) std::filesystem::remove(path() + suffix);
  Peer peer({scratch_ / "a", "sqlite"});
  ASSERT_EQ(peer.ask("acquire"), "held");
  EXPECT_EQ(code_of([&] { lock->acquire(0s); }), errc::already_locked);
  EXPECT_EQ(peer.ask("release"), "released");
  lock->acquire(0s);
}

TEST_F(SQLiteDatabase, a_writer_that_is_no_program_of_ours_is_waited_for_within_the_limit) {
  const auto lock = this->lock();
  lock->acquire();
  lock->release();
  Connection other(path());
  other.ask("BEGIN IMMEDIATE");
  EXPECT_EQ(code_of([&] { lock->acquire(0s); }), errc::already_locked);
  EXPECT_EQ(code_of([&] { lock->acquire(5ms); }), errc::timed_out);
  EXPECT_FALSE(lock->is_locked()) << "a look waits for no writer";
  std::thread waiter([&] {
    const In another;
    const auto mine = this->lock();
    mine->acquire(stuck);
    EXPECT_TRUE(mine->i_am_locking());
  });
  other.ask("COMMIT");
  waiter.join();
}

TEST_F(SQLiteDatabase, a_release_that_a_writer_keeps_from_the_database_for_long_is_done_later) {
  const auto lock = this->lock();
  const auto another = this->lock("b");
  another->acquire();
  lock->acquire();
  Connection other(path());
  other.ask("BEGIN IMMEDIATE");
  in_.system.before = [&](os::Call call) {
    if (call == os::Call::wait) in_.system.ahead = in_.system.ahead.load() + 1s;
    return 0;
  };
  EXPECT_EQ(code_of([&] { lock->release(); }), std::errc::timed_out);
  in_.system.before = nullptr;
  other.ask("COMMIT");
  EXPECT_TRUE(lock->is_locked());
  another->release();
  EXPECT_FALSE(lock->is_locked()) << "by the next transaction of this process";
}

TEST_F(SQLiteDatabase, a_writer_of_this_process_is_not_told_to_itself) {
  { lock("before")->acquire(); }
  in_.process();
  int looked = 0;
  int locks = 0;
  in_.system.before = [&](os::Call call) {
    if (call != os::Call::try_lock || ++locks != 3) return 0;  // ENTRY to set up, ENTRY, LIVE
    std::thread([&] {
      const In same;
      std::error_code code;
      EXPECT_FALSE(lock("b")->acquire(0s, code));
      EXPECT_EQ(code, errc::already_locked);
      try {
        lock("b")->acquire(0s);
      } catch (const Error& error) {
        EXPECT_EQ(std::string(error.what()).find("in the middle"), std::string::npos) << error.what();
        ++looked;
      }
    }).join();
    return 0;
  };
  lock()->acquire();
  in_.system.before = nullptr;
  EXPECT_EQ(looked, 1);
}

// Does this process hold POSIX locks on that file, by the kernel's list?
bool has_posix_locks_on(const std::string& path) {
  struct stat info = {};
  if (::stat(path.c_str(), &info) != 0) return false;
  const std::string inode = ":" + std::to_string(info.st_ino) + " ";
  const std::string pid = " " + std::to_string(::getpid()) + " ";
  std::ifstream locks("/proc/locks");
  for (std::string line; std::getline(locks, line);) {
    const bool posix = line.find(" POSIX ") != std::string::npos;
    if (posix && line.find(pid) != std::string::npos && line.find(inode) != std::string::npos) return true;
  }
  return false;
}

TEST_F(SQLiteDatabase, never_loses_the_locks_that_sqlite_has_on_its_files) {
  const auto lock = this->lock();
  const auto after = [&](const char* what) { EXPECT_TRUE(has_posix_locks_on(path() + "-shm")) << what; };
  lock->acquire();
  after("acquire");
  (void)lock->holder();
  (void)lock->waiters();
  (void)lock->is_locked();
  after("looks");
  std::error_code ec;
  (void)examine_place(address(), ec);
  after("examine");
  (void)leftovers(scratch_.path().string(), Clean::remove_dead, ec);
  (void)list_locks(scratch_.path().string(), ec);
  after("looks at the directory");
  lock->release();
  {
    const auto other = this->lock("b");
    other->acquire();
    EXPECT_TRUE(other->break_lock());
    EXPECT_FALSE(other->break_stale());
  }
  after("another lock object came and went");
  {
    Semaphore semaphore = open_semaphore(address("s"), 3);
    EXPECT_TRUE(semaphore.acquire(2));
  }
  after("a semaphore");
  std::thread([&] {
    // Another process would delete -wal and -shm when it leaves, if it thought that it was the last.
    Peer peer({scratch_ / "a", "sqlite"});
    ASSERT_EQ(peer.ask("acquire"), "held");
    ASSERT_EQ(peer.ask("release"), "released");
    ASSERT_EQ(peer.ask("drop"), "dropped");
  }).join();
  after("another process came and went");
  EXPECT_TRUE(std::filesystem::exists(path() + "-wal"));
  lock->acquire();
  EXPECT_TRUE(lock->i_am_locking());
}

TEST_F(SQLiteDatabase, cannot_be_used_by_a_forked_child_before_exec) {
  const auto lock = this->lock();
  lock->acquire();
  auto semaphore = std::make_unique<Semaphore>(open_semaphore(address("s"), 2));
  { const Semaphore::Units units = semaphore->acquire(1); }
  const pid_t child = ::fork();
  if (child == 0) {
    const In anew;
    std::error_code refused;
    if (semaphore->acquire(1, 0s, refused).size() != 0 || refused != std::errc::operation_not_permitted) ::_exit(5);
    semaphore.reset();
    const auto mine = this->lock("another");
    std::error_code ec;
    if (lock->i_am_locking()) ::_exit(1);
    if (mine->acquire(0s, ec) || ec != std::errc::operation_not_permitted) ::_exit(2);
    try {
      mine->acquire(0s);
    } catch (const LockFailed& error) {
      if (std::string(error.what()).find("forked") == std::string::npos) ::_exit(3);
    }
    Peer after_exec({scratch_ / "b", "sqlite"});
    if (after_exec.ask("acquire") != "held") ::_exit(4);
    ::_exit(0);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_TRUE(lock->i_am_locking());
  EXPECT_TRUE(has_posix_locks_on(path() + "-shm")) << "the child has closed nothing";
  lock->release();
}

TEST_F(SQLiteDatabase, whose_descriptors_became_another_files_is_not_touched_any_more) {
  const std::string precious = scratch_ / "precious";
  Peer peer({scratch_ / "a", "sqlite"});
  ASSERT_EQ(peer.ask("acquire"), "held");
  ASSERT_EQ(peer.ask("close_all_and_open " + precious), "opened");
  EXPECT_EQ(peer.ask("i_am_locking"), "no") << "it cannot be told";
  EXPECT_NE(peer.ask("release").find("has closed the descriptors"), 0U);
  EXPECT_TRUE(peer.ask("acquire 0").starts_with("error "));
  ASSERT_EQ(peer.ask("drop"), "dropped");
  EXPECT_EQ(peer.ask("still_open"), "32");
  EXPECT_EQ(read_file(precious), "");
  EXPECT_EQ(lock()->holder().value().verdict, Verdict::alive) << "its process runs";
  peer.kill();
  lock()->acquire(0s);
}

// In a child process: stops itself within its first transaction, which is where it takes its LIVE byte.
[[noreturn]] void stop_in_a_transaction(const std::string& address) {
  In anew;
  int locks = 0;
  anew.system.before = [&locks](os::Call call) {
    if (call == os::Call::try_lock && ++locks == 3) ::raise(SIGSTOP);  // ENTRY to set up, ENTRY, LIVE
    return 0;
  };
  const auto lock = open(address);
  lock->acquire();
  anew.system.before = nullptr;
  ::_exit(lock->i_am_locking() ? 0 : 1);
}

TEST_F(SQLiteDatabase, a_process_that_is_stopped_in_the_middle_of_a_change_is_named_and_deadlines_are_kept) {
  { lock("before")->acquire(); }
  const pid_t child = ::fork();
  if (child == 0) stop_in_a_transaction(address());
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, WUNTRACED), child);
  ASSERT_TRUE(WIFSTOPPED(status));
  const auto lock = this->lock("other");
  try {
    lock->acquire(0s);
    ADD_FAILURE() << "acquired";
  } catch (const AlreadyLocked& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("pid " + std::to_string(child)), std::string::npos) << text;
    EXPECT_NE(text.find("in the middle of a change of the database"), std::string::npos) << text;
  }
  EXPECT_EQ(code_of([&] { lock->acquire(1ms); }), errc::timed_out);
  in_.system.before = [&](os::Call call) {
    if (call == os::Call::wait) in_.system.ahead = in_.system.ahead.load() + 100ms;
    return 0;
  };
  try {
    lock->acquire(stuck);
    ADD_FAILURE() << "acquired";
  } catch (const LockTimeout& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("pid " + std::to_string(child)), std::string::npos) << "to who waits, too: " << text;
  }
  in_.system.before = nullptr;
  EXPECT_FALSE(lock->is_locked()) << "a look waits for no writer";
  ::kill(child, SIGCONT);
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  lock->acquire(stuck);
}

TEST_F(SQLiteDatabase, fences_grow_across_boots_also_when_a_power_cut_takes_what_was_not_synced) {
  in_.system.boot = "11111111-0000-0000-0000-000000000000";
  in_.process();
  std::uint64_t last = 0;
  const auto hold = [&] {
    const auto lock = this->lock();
    lock->acquire(0s);
    EXPECT_GT(lock->fence(), last);
    last = lock->fence();
    lock->release();
  };
  hold();
  // No connection is open now: so far it has come to the disk, say.
  const std::string synced = read_file(path());
  for (int i = 0; i < 5; ++i) hold();
  for (const char* const boot : {"2", "3", "4"}) {
    for (const char* const suffix : {"-wal", "-shm"}) std::filesystem::remove(path() + suffix);
    write_file(path(), synced);
    in_.system.boot = std::string(8, *boot) + "-0000-0000-0000-000000000000";
    in_.process();
    const std::uint64_t before = last;
    hold();
    if (*boot == '2') {
      EXPECT_EQ(last >> 32U, (before >> 32U) + 1) << "an epoch for each boot";
    }
    for (int i = 0; i < 3; ++i) hold();
    // The epoch was synced; what came after it was not.
    const_cast<std::string&>(synced) = [&] {
      Connection(path()).ask("UPDATE hold SET since = since - 3 WHERE name = ''");
      return read_file(path());
    }();
  }
}

TEST_F(SQLiteDatabase, holders_of_an_earlier_boot_are_dead) {
  in_.system.boot = "11111111-0000-0000-0000-000000000000";
  in_.process();
  // Neither released nor ended: the machine went down.
  const pid_t child = ::fork();
  if (child == 0) {
    In anew;
    anew.system.boot = in_.system.boot;
    anew.process();
    lock().release()->acquire();
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  in_.system.boot = "22222222-0000-0000-0000-000000000000";
  in_.process();
  const auto lock = this->lock();
  EXPECT_EQ(lock->holder().value().verdict, Verdict::dead);
  lock->acquire(0s);
  EXPECT_TRUE(lock->previous_holder_died());
}

TEST_F(SQLiteDatabase, is_beside_the_path_for_those_who_lock_a_path) {
  SQLiteFileLock one(scratch_ / "backup");
  one.acquire();
  EXPECT_GT(one.fence(), 0U) << "always on";
  std::thread([&] {
    const In other;
    EXPECT_EQ(code_of([&] { SQLiteFileLock(scratch_ / "backup").acquire(0s); }), errc::already_locked);
    EXPECT_EQ(code_of([&] { open("sqlite:" + (scratch_ / ".lockfile.db") + "#backup")->acquire(0s); }),
              errc::already_locked);
    SQLiteFileLock(scratch_ / "another").acquire(0s);
  }).join();
  EXPECT_EQ(code_of([&] { SQLiteFileLock(".."); }), std::errc::invalid_argument);
  EXPECT_EQ(SQLiteFileLock("/backup").path(), "sqlite:/.lockfile.db#backup");
}

}  // namespace
}  // namespace lockfile::testing
