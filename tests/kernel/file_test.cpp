// What only kernel locks promise: about their file, about names of holders, about descriptors that live on.
#include "schemes/kernel/file.hpp"
#include "claim/record.hpp"
#include "support/code_of.hpp"
#include "support/peer.hpp"
#include "support/scratch.hpp"
#include "support/variants.hpp"

#include <lockfile/lockfile.hpp>

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <shared_mutex>
#include <thread>

namespace lockfile::testing {
namespace {

using namespace std::chrono_literals;

class KernelFiles : public ::testing::TestWithParam<Variant> {
 protected:
  [[nodiscard]] Options options() const { return {.scheme = std::string(GetParam().scheme)}; }
  [[nodiscard]] std::vector<std::string> peer_arguments() const { return {path_, std::string(GetParam().name)}; }
  static struct stat status_of(const std::string& path) {
    struct stat status = {};
    EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
    return status;
  }

  // It acquires, and hands its hold to a child: whose pid?
  static pid_t child_that_holds(Peer& peer) {
    EXPECT_EQ(peer.ask("acquire"), "held");
    return std::stoi(peer.ask("hand_to_child"));
  }

  Scratch scratch_;
  const std::string path_ = scratch_ / "a";
  InVariant in_{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(every, KernelFiles, ::testing::ValuesIn(kernel_variants().begin(), kernel_variants().end()),
                         [](const auto& each) { return std::string(each.param.name); });

TEST_P(KernelFiles, the_very_path_is_locked_and_stays) {
  {
    KernelFileLock lock(path_, options());
    EXPECT_EQ(lock.scheme(), GetParam().scheme);
    lock.acquire();
    EXPECT_EQ(scratch_.names(), std::vector<std::string>{"a"});
    lock.release();
  }
  EXPECT_EQ(scratch_.names(), std::vector<std::string>{"a"});
}

TEST_P(KernelFiles, a_new_file_has_the_mode_of_the_umask_or_the_access) {
  const mode_t before = ::umask(027);
  KernelFileLock lock(path_, options());
  lock.acquire();
  EXPECT_EQ(status_of(path_).st_mode & 07777U, 01640U);  // the sticky bit is a mark
  Options open = options();
  open.access = Access::everyone;
  KernelFileLock for_all(scratch_ / "b", open);
  for_all.acquire();
  EXPECT_EQ(status_of(scratch_ / "b").st_mode & 07777U, 01666U);
  ::umask(before);
}

TEST_P(KernelFiles, a_strangers_file_is_locked_and_nothing_is_written_to_it) {
  const std::string precious = "somebody else's\n";
  write_file(path_, precious);
  ASSERT_EQ(::chmod(path_.c_str(), 0640), 0);
  const struct stat before = status_of(path_);
  Options removing = options();
  removing.remove_on_release = GetParam().scheme == "kernel";
  KernelFileLock lock(path_, removing);
  Peer peer(peer_arguments());
  lock.acquire();
  // This process knows whose it is; another one does not.
  EXPECT_EQ(lock.holder().value().pid, ::getpid());
  EXPECT_TRUE(peer.ask("holder").starts_with("held by an unknown holder of uid"));
  peer.tell("acquire");
  EXPECT_TRUE(peer.is_silent());
  lock.release();
  EXPECT_EQ(peer.answer(), "held");
  EXPECT_EQ(peer.ask("release"), "released");
  EXPECT_EQ(read_file(path_), precious);
  const struct stat after = status_of(path_);
  EXPECT_EQ(after.st_ino, before.st_ino);
  EXPECT_EQ(after.st_mode, before.st_mode);
  EXPECT_EQ(after.st_mtim.tv_sec, before.st_mtim.tv_sec);
  EXPECT_EQ(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
}

TEST_P(KernelFiles, a_file_that_may_only_be_read_is_locked_as_far_as_the_kernel_can) {
  write_file(path_, "read me");
  ASSERT_EQ(::chmod(path_.c_str(), 0444), 0);
  // Root may write every file: this thread is nobody for a while, as far as files are concerned (setfsuid(2)).
  constexpr uid_t nobody = 65534;
  ASSERT_EQ(::chmod(scratch_.path().c_str(), 0755), 0);
  const auto before = static_cast<uid_t>(::setfsuid(nobody));
  KernelFileLock lock(path_, options());
  for (int i = 0; i < 2; ++i) {  // the second time by the file that was kept
    EXPECT_TRUE(lock.try_lock_shared());
    lock.unlock_shared();
  }
  const std::error_code exclusive = code_of([&] { lock.acquire(0s); });
  EXPECT_EQ(exclusive,
            GetParam().scheme == "flock" ? std::error_code() : std::make_error_code(std::errc::permission_denied));
  ::setfsuid(before);
}

TEST_P(KernelFiles, a_file_that_may_not_be_written_to_is_opened_to_read_whatever_the_reason) {
  write_file(path_, "read me");
  const auto directory = claim::Directory::open(in_.process(), scratch_.path());
  ASSERT_TRUE(directory.ok());
  const bool is_whole = GetParam().scheme == "flock";
  for (const int reason : {EACCES, EPERM, EROFS, ETXTBSY}) {
    for (const Mode mode : {Mode::shared, Mode::exclusive}) {
      in_.system().before = [reason, opened = 0](os::Call call) mutable {
        return call == os::Call::open && opened++ == 0 ? reason : 0;
      };
      schemes::KernelFile file(directory.value, "a", is_whole ? schemes::KernelLock::whole : schemes::KernelLock::byte);
      const os::Status error = file.open(mode);
      in_.system().before = nullptr;
      EXPECT_EQ(error, is_whole || mode == Mode::shared ? 0 : reason);
    }
  }
}

TEST_P(KernelFiles, a_symbolic_link_a_directory_and_a_fifo_are_refused) {
  write_file(scratch_ / "target", "");
  std::filesystem::create_symlink(scratch_ / "target", path_);
  EXPECT_EQ(code_of([&] { KernelFileLock(path_, options()).acquire(0s); }), std::errc::too_many_symbolic_link_levels);
  std::filesystem::create_directory(scratch_ / "d");
  EXPECT_EQ(code_of([&] { KernelFileLock(scratch_ / "d", options()).acquire(0s); }), std::errc::is_a_directory);
  ASSERT_EQ(::mkfifo((scratch_ / "f").c_str(), 0600), 0);
  EXPECT_EQ(code_of([&] { KernelFileLock(scratch_ / "f", options()).acquire(0s); }), std::errc::invalid_argument);
  EXPECT_EQ(read_file(scratch_ / "target"), "");
  // Nor is a name that ends like a lock file's another lock for that.
  std::filesystem::create_directory(scratch_ / "d.lock");
  EXPECT_EQ(code_of([&] { KernelFileLock(scratch_ / "d.lock", options()).acquire(0s); }), std::errc::is_a_directory);
}

TEST_P(KernelFiles, a_lock_file_beside_it_is_respected_while_its_holder_lives) {
  {
    KernelFileLock lock(scratch_ / "b", options());
    lock.acquire();
  }
  Peer beside({path_, "link"});
  ASSERT_EQ(beside.ask("acquire"), "held");
  std::filesystem::rename(scratch_ / "b", path_);
  KernelFileLock lock(path_, options());
  EXPECT_EQ(code_of([&] { lock.acquire(0s); }), std::errc::operation_not_supported);
  EXPECT_FALSE(lock.is_locked());
  beside.kill();
  KernelFileLock later(path_, options());
  EXPECT_NO_THROW(later.acquire(0s));
}

TEST_P(KernelFiles, a_directory_that_was_replaced_is_found_anew) {
  std::filesystem::create_directory(scratch_ / "d");
  const auto replace = [&](const std::string& old) {
    std::filesystem::rename(scratch_ / "d", scratch_ / old);
    std::filesystem::create_directory(scratch_ / "d");
  };
  KernelFileLock lock(scratch_ / "d/a", options());
  lock.acquire();
  lock.release();
  replace("released");
  lock.acquire();  // not by the file that was kept
  EXPECT_TRUE(std::filesystem::exists(scratch_ / "d/a"));
  replace("held");
  EXPECT_TRUE(lock.i_am_locking());
  EXPECT_FALSE(lock.is_locked()) << "nobody has what is there now";
  lock.release();
  EXPECT_FALSE(std::filesystem::exists(scratch_ / "d/a"));
  lock.acquire();
  EXPECT_TRUE(std::filesystem::exists(scratch_ / "d/a"));
}

TEST_P(KernelFiles, whoever_waits_until_it_is_free_looks_into_the_directory_that_is_there_now) {
  std::filesystem::create_directory(scratch_ / "d");
  Peer peer({scratch_ / "d/a", std::string(GetParam().name)});
  ASSERT_EQ(peer.ask("acquire"), "held");
  in_.system().before = [&, waits = 0](os::Call call) mutable {
    if (call != os::Call::wait || waits++ != 0) return 0;
    std::filesystem::rename(scratch_ / "d", scratch_ / "e");
    std::filesystem::create_directory(scratch_ / "d");
    return 0;
  };
  std::error_code code;
  wait_until_free(scratch_ / "d/a", stuck, code, GetParam().scheme);
  in_.system().before = nullptr;
  EXPECT_FALSE(code) << code.message();
  EXPECT_EQ(peer.ask("i_am_locking"), "yes");
}

TEST_P(KernelFiles, a_killed_holder_is_replaced_at_once_and_was_never_stale) {
  Peer peer(peer_arguments());
  ASSERT_EQ(peer.ask("acquire"), "held");
  KernelFileLock lock(path_, options());
  EXPECT_EQ(lock.holder().value().pid, peer.pid());
  EXPECT_EQ(lock.holder().value().verdict, Verdict::alive);
  EXPECT_FALSE(lock.break_stale());
  peer.kill();
  EXPECT_FALSE(lock.holder());
  lock.acquire(0s);
}

TEST_P(KernelFiles, nobody_can_break_it) {
  Peer peer(peer_arguments());
  ASSERT_EQ(peer.ask("acquire"), "held");
  KernelFileLock lock(path_, options());
  EXPECT_EQ(code_of([&] { lock.break_lock(); }), errc::cannot_break);
  EXPECT_EQ(code_of([&] { lock.break_lock(lock.holder().value()); }), errc::cannot_break);
  EXPECT_EQ(peer.ask("i_am_locking"), "yes");
  EXPECT_EQ(peer.ask("release"), "released");
  EXPECT_FALSE(lock.break_lock());
}

TEST_P(KernelFiles, readers_share_and_a_writer_waits_for_the_last) {
  Peer one(peer_arguments());
  Peer two(peer_arguments());
  Peer writer(peer_arguments());
  ASSERT_EQ(one.ask("share"), "held");
  ASSERT_EQ(two.ask("share 0"), "held");
  KernelFileLock lock(path_, options());
  EXPECT_TRUE(lock.try_lock_shared());
  EXPECT_FALSE(lock.holders().empty());
  lock.unlock_shared();
  writer.tell("acquire");
  EXPECT_TRUE(writer.is_silent());
  EXPECT_EQ(one.ask("release"), "released");
  EXPECT_TRUE(writer.is_silent());
  // The one that is named has left: the other is somebody unknown, and not the one that has left.
  const Holder left = lock.holder().value();
  EXPECT_TRUE(left.foreign || left.pid == two.pid()) << left.describe();
  two.kill();
  EXPECT_EQ(writer.answer(), "held");
}

TEST_P(KernelFiles, a_hold_that_was_handed_over_lasts_until_the_child_has_ended) {
  Peer peer(peer_arguments());
  const pid_t child = child_that_holds(peer);
  peer.kill();
  KernelFileLock lock(path_, options());
  EXPECT_EQ(code_of([&] { lock.acquire(0s); }), errc::already_locked);
  EXPECT_EQ(lock.holder().value().handed_to, child);
  EXPECT_EQ(lock.holder().value().verdict, Verdict::alive);
  ::kill(child, SIGKILL);
  lock.acquire(stuck);
}

TEST_P(KernelFiles, a_hold_that_was_handed_over_outlasts_its_lock_object_unless_the_child_has_ended) {
  Peer peer(peer_arguments());
  const pid_t child = child_that_holds(peer);
  EXPECT_EQ(peer.ask("drop"), "dropped");
  KernelFileLock lock(path_, options());
  EXPECT_EQ(code_of([&] { lock.acquire(0s); }), errc::already_locked);
  ::kill(child, SIGKILL);
  lock.acquire(stuck);
  lock.release();
  Peer second(peer_arguments());
  ::kill(child_that_holds(second), SIGKILL);
  EXPECT_EQ(second.ask("drop"), "dropped");
  lock.acquire(stuck);
}

TEST_P(KernelFiles, a_hold_of_a_strangers_file_is_handed_over_and_nothing_is_written) {
  write_file(path_, "somebody else's\n");
  Peer peer(peer_arguments());
  const pid_t child = child_that_holds(peer);
  peer.kill();
  KernelFileLock lock(path_, options());
  EXPECT_EQ(code_of([&] { lock.acquire(0s); }), errc::already_locked);
  EXPECT_TRUE(lock.holder().value().foreign);
  ::kill(child, SIGKILL);
  lock.acquire(stuck);
  EXPECT_EQ(read_file(path_), "somebody else's\n");
}

TEST_P(KernelFiles, a_hold_is_not_handed_to_a_child_without_a_guard) {
  KernelFileLock lock(path_, options());
  lock.acquire();
  EXPECT_EQ(code_of([&] { lock.hand_over(::getpid()); }), std::errc::operation_not_supported);
  constexpr std::int64_t nobody = std::int64_t{1} << 23;  // above every pid that Linux gives out (proc(5), pid_max)
  EXPECT_EQ(code_of([&] { lock.hand_over(nobody); }), std::errc::no_such_process);
}

// A process that is nobody's child: it must not outlive the test, whatever becomes of it.
class Worker {
 public:
  explicit Worker(const std::string& pid) : pid_(std::stoi(pid)) {}
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker() { kill(); }
  void kill() {
    if (pid_ > 0) ::kill(pid_, SIGKILL);
    pid_ = 0;
  }

 private:
  pid_t pid_;
};

TEST_P(KernelFiles, a_worker_prolongs_nothing_where_the_handlers_ran_and_everything_where_not) {
  KernelFileLock lock(path_, options());
  {
    Peer peer(peer_arguments());
    ASSERT_EQ(peer.ask("acquire"), "held");
    const Worker worker(peer.ask("fork_worker_with_handlers"));
    peer.kill();
    lock.acquire(stuck);  // the worker may still be on its way through its handler
    lock.release();
  }
  Peer peer(peer_arguments());
  ASSERT_EQ(peer.ask("acquire"), "held");
  Worker worker(peer.ask("fork_worker"));
  peer.kill();
  EXPECT_EQ(code_of([&] { lock.acquire(0s); }), errc::already_locked);
  EXPECT_EQ(lock.holder().value().verdict, Verdict::unknown);
  EXPECT_NE(lock.holder().value().note.find("copy of its descriptor"), std::string::npos);
  worker.kill();
  lock.acquire(stuck);
}

TEST_P(KernelFiles, whoever_closes_its_descriptors_has_lost_the_hold_and_is_told) {
  Peer peer(peer_arguments());
  ASSERT_EQ(peer.ask("acquire"), "held");
  ASSERT_EQ(peer.ask("close_all"), "closed");
  EXPECT_EQ(peer.ask("i_am_locking"), "no");
  KernelFileLock lock(path_, options());
  lock.acquire(0s);
  EXPECT_TRUE(peer.ask("release").starts_with("error lockfile:5 "));  // NotMyLock
}

TEST_P(KernelFiles, whoever_holds_a_file_that_was_removed_has_lost_the_hold) {
  KernelFileLock lock(path_, options());
  lock.acquire();
  Peer waiter(peer_arguments());
  waiter.tell("acquire");
  EXPECT_TRUE(waiter.is_silent());
  std::filesystem::remove(path_);
  EXPECT_EQ(waiter.answer(), "held");
  EXPECT_FALSE(lock.i_am_locking());
  EXPECT_EQ(code_of([&] { lock.release(); }), errc::not_my_lock);
  EXPECT_EQ(waiter.ask("i_am_locking"), "yes");
}

TEST_P(KernelFiles, the_other_kind_is_refused_by_name) {
  KernelFileLock lock(path_, options());
  lock.acquire();
  lock.release();
  Options other = options();
  other.scheme = GetParam().scheme == "kernel" ? "flock" : "kernel";
  try {
    KernelFileLock(path_, other).acquire(0s);
    FAIL() << "acquired";
  } catch (const LockFailed& error) {
    EXPECT_EQ(error.code(), std::errc::operation_not_supported);
    const std::string text = error.what();
    EXPECT_NE(text.find("'kernel'"), std::string::npos) << text;
    EXPECT_NE(text.find("'flock'"), std::string::npos) << text;
  }
}

TEST_P(KernelFiles, removal_on_release_leaves_nothing_and_is_refused_for_flock) {
  Options removing = options();
  removing.remove_on_release = true;
  if (GetParam().scheme == "flock") {
    EXPECT_EQ(code_of([&] { const KernelFileLock lock(path_, removing); }), std::errc::invalid_argument);
    return;
  }
  KernelFileLock lock(path_, removing);
  lock.acquire();
  Peer waiter(peer_arguments());
  waiter.tell("acquire");
  EXPECT_TRUE(waiter.is_silent());
  lock.release();
  EXPECT_EQ(waiter.answer(), "held");
  EXPECT_EQ(waiter.ask("release"), "released");
  EXPECT_EQ(waiter.ask("drop"), "dropped");  // who has waited keeps its seat in the line as long as its lock object
  {
    const std::shared_lock guard(lock);
    EXPECT_EQ(scratch_.names(), std::vector<std::string>{"a"});
  }
  EXPECT_EQ(scratch_.names(), std::vector<std::string>());
}

TEST_P(KernelFiles, a_longer_record_before_and_a_torn_one_are_written_over) {
  Options wordy = options();
  wordy.reason = std::string(400, 'r');
  {
    KernelFileLock lock(path_, wordy);
    lock.acquire();
  }
  Peer peer(peer_arguments());
  ASSERT_EQ(peer.ask("acquire"), "held");
  KernelFileLock looker(path_, options());
  EXPECT_EQ(looker.holder().value().pid, peer.pid());
  EXPECT_EQ(looker.holder().value().reason, "");
  EXPECT_EQ(peer.ask("release"), "released");
  EXPECT_EQ(peer.ask("drop"), "dropped");
  std::filesystem::resize_file(path_, 100);
  looker.acquire();
  Peer second(peer_arguments());
  EXPECT_TRUE(second.ask("holder").starts_with("held by pid " + std::to_string(::getpid())));
}

// lockf(3) and fcntl(2) lock the whole file so.
TEST_P(KernelFiles, whoever_locks_the_whole_file_by_fcntl_is_respected_by_scheme_kernel) {
  if (GetParam().scheme != "kernel") return;  // flock(2) and byte locks do not see each other
  KernelFileLock lock(path_, options());
  lock.acquire();
  const int descriptor = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
  struct flock whole = {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  EXPECT_NE(::fcntl(descriptor, F_OFD_SETLK, &whole), 0);
  lock.release();
  EXPECT_EQ(::fcntl(descriptor, F_OFD_SETLK, &whole), 0);
  EXPECT_EQ(code_of([&] { lock.acquire(0s); }), errc::already_locked);
  // The record that stands there still is not the holder's.
  EXPECT_TRUE(lock.holder().value().foreign);
  ::close(descriptor);
}

TEST_P(KernelFiles, whoever_reads_the_whole_file_by_fcntl_is_a_reader_of_scheme_kernel) {
  if (GetParam().scheme != "kernel") return;
  KernelFileLock lock(path_, options());
  lock.acquire();
  lock.release();
  const int descriptor = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
  struct flock whole = {};
  whole.l_type = F_RDLCK;
  whole.l_whence = SEEK_SET;
  ASSERT_EQ(::fcntl(descriptor, F_OFD_SETLK, &whole), 0);
  EXPECT_TRUE(lock.try_lock_shared());
  lock.unlock_shared();
  EXPECT_FALSE(lock.try_lock());
  // Nobody can tell whether one of ours is upgradable.
  EXPECT_FALSE(lock.try_lock_upgrade());
  // The second look: at UPGRADING, and then whether it is the whole file.
  in_.system().before = [looks = 0](os::Call call) mutable {
    return call == os::Call::lock_seen && ++looks == 2 ? EIO : 0;
  };
  EXPECT_EQ(code_of([&] { lock.acquire(Mode::shared, 0s); }), std::errc::io_error);
  in_.system().before = nullptr;
  ::close(descriptor);
  EXPECT_TRUE(lock.try_lock_upgrade());
}

TEST_P(KernelFiles, a_record_without_a_number_names_nobody) {
  Peer peer(peer_arguments());
  ASSERT_EQ(peer.ask("acquire"), "held");
  claim::Record record;
  ASSERT_EQ(claim::parse(read_file(path_), record), claim::Reading::record);
  record.number = 0;
  write_file(path_, claim::format(record));
  KernelFileLock lock(path_, options());
  EXPECT_TRUE(lock.holder().value().foreign);
}

TEST_P(KernelFiles, a_file_longer_than_any_record_is_a_strangers) {
  const std::string precious = "lockfile 1\n" + std::string(claim::longest_record, 'x');
  write_file(path_, precious);
  KernelFileLock lock(path_, options());
  lock.acquire();
  EXPECT_EQ(read_file(path_), precious);
}

// Two readers come, and have read the same record; the first one writes its own, and is gone before the second one
// does.
//   A: reads number 0, locks the byte of 1, writes "A, 1"   unlocks                                  asks who holds
//   B: reads number 0                                                 locks the byte of 1 writes
// A sees its own name, and the byte of a number that somebody has.
TEST_P(KernelFiles, an_old_record_of_our_own_is_no_deadlock) {
  if (GetParam().scheme != "kernel") return;  // flock(2) has no bytes, so its records name nobody
  KernelFileLock lock(path_, options());
  lock.acquire();
  const std::uint64_t number = lock.holder().value().number;
  lock.release();
  const int other = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(other, 0);
  for (const std::uint64_t byte : {schemes::kernel_lock_byte, schemes::kernel_name_byte(number)}) {
    struct flock range = {};
    range.l_type = F_WRLCK;
    range.l_whence = SEEK_SET;
    range.l_start = static_cast<off_t>(byte);
    range.l_len = 1;
    ASSERT_EQ(::fcntl(other, F_OFD_SETLK, &range), 0) << byte;
  }
  EXPECT_EQ(code_of([&] { lock.acquire(10ms); }), errc::timed_out);
  EXPECT_TRUE(lock.holder().value().foreign);
  ::close(other);
  EXPECT_TRUE(lock.try_lock());
}

TEST_P(KernelFiles, a_kernel_lock_is_refused_a_fence) {
  Options fenced = options();
  fenced.fence = true;
  KernelFileLock lock(path_, fenced);
  EXPECT_EQ(code_of([&] { lock.acquire(0s); }), std::errc::operation_not_supported);
}

}  // namespace
}  // namespace lockfile::testing
