// What stands at the lock's name and is not ours: busy, never broken on a guess, never followed, never harmed.
#include "claim/names.hpp"
#include "conformance/fixture.hpp"

#include <sys/stat.h>

#include <filesystem>

namespace lockfile::testing {
namespace {

class Records : public Law {
 protected:
  void expect_busy(FileLock& lock) {
    EXPECT_EQ(code_of([&] { lock.acquire(0s); }), errc::already_locked);
    EXPECT_EQ(code_of([&] { lock.acquire(2ms); }), errc::timed_out);
    EXPECT_TRUE(lock.is_locked());
    const Holder holder = lock.holder().value();
    EXPECT_TRUE(holder.foreign);
    EXPECT_EQ(holder.verdict, Verdict::unknown);
    EXPECT_FALSE(holder.note.empty());
    EXPECT_FALSE(lock.break_stale());
    EXPECT_EQ(code_of([&] { lock.break_lock(); }), errc::foreign);
  }
};
LOCKFILE_FOR_ALL_VARIANTS(Records);

std::string a_real_record(const Scratch& scratch) {
  FileLock lock(scratch / "model", {.scheme = "link"});
  lock.acquire();
  return read_file(scratch / "model.lock");
}

TEST_P(Records, empty_torn_foreign_huge_and_newer_records_are_held_by_somebody_unknown) {
  const std::string record = [] {
    // By the real system: a variant without hard links could not make the model.
    os::Process* const none = nullptr;
    os::Process::set_current(none);
    const Scratch apart;
    return a_real_record(apart);
  }();
  in_.enter();
  std::string newer = record;
  newer.replace(newer.find("lockfile 1"), 10, "lockfile 3");
  std::string forged_nonce = record;
  forged_nonce.replace(forged_nonce.find("nonce: ") + 7, 10, "../../etc/");
  const std::vector<std::string> all = {"",
                                        std::string(100, '\0'),
                                        "4711\n",
                                        record.substr(0, 60),
                                        record.substr(0, record.size() - 4),
                                        record + "more\n",
                                        record + std::string(8192, '\n'),
                                        newer,
                                        forged_nonce,
                                        std::string(1 << 20, 'x')};
  FileLock lock(path(), options());
  for (const std::string& bytes : all) {
    write_file(word(), bytes);
    expect_busy(lock);
    EXPECT_EQ(read_file(word()), bytes);
    EXPECT_TRUE(lock.break_lock(BreakWhat::foreign));
    EXPECT_FALSE(lock.is_locked());
  }
}

TEST_P(Records, a_plain_mkdir_lockers_directory_is_busy_until_it_goes) {
  std::filesystem::create_directory(word());
  FileLock lock(path(), options());
  expect_busy(lock);
  EXPECT_TRUE(std::filesystem::is_directory(word()));
  Peer peer(peer_arguments());
  peer.tell("acquire");
  EXPECT_TRUE(peer.is_silent());
  std::filesystem::remove(word());
  EXPECT_EQ(peer.answer(), "held");
}

TEST_P(Records, a_foreign_file_is_busy_until_it_goes) {
  write_file(word(), "4711\n");
  Peer peer(peer_arguments());
  peer.tell("acquire");
  EXPECT_TRUE(peer.is_silent());
  std::filesystem::remove(word());
  EXPECT_EQ(peer.answer(), "held");
}

TEST_P(Records, a_foreign_directory_with_something_inside_is_never_emptied) {
  std::filesystem::create_directory(word());
  write_file(word() + "/precious", "data");
  FileLock lock(path(), options());
  expect_busy(lock);
  EXPECT_EQ(code_of([&] { lock.break_lock(BreakWhat::foreign); }), std::errc::directory_not_empty);
  EXPECT_EQ(read_file(word() + "/precious"), "data");
}

TEST_P(Records, a_symbolic_link_at_the_locks_name_is_somebody_elses_lock_and_not_followed) {
  write_file(scratch_ / "target", "data");
  for (const std::string target : {"target", "nowhere"}) {
    std::filesystem::create_symlink(scratch_ / target, word());
    FileLock lock(path(), options());
    expect_busy(lock);
    EXPECT_EQ(read_file(scratch_ / "target"), "data");
    EXPECT_FALSE(std::filesystem::exists(scratch_ / "nowhere"));
    std::filesystem::remove(word());
  }
}

TEST_P(Records, symbolic_links_planted_at_every_side_name_are_not_followed) {
  // Names that can be foreseen: in life they hold 64 random bits.
  std::uint64_t next = 0;
  in_.system().random_source = [&] { return next++; };
  const std::string target = scratch_ / "target";
  write_file(target, "data");
  const claim::Names names("a");
  for (std::uint64_t number = 0; number < 8; ++number) {
    const std::string nonce = claim::make_nonce(in_.process().identity().boot, number);
    for (const std::string_view end : {std::string_view(), claim::suffix::trial, claim::suffix::directory,
                                       claim::suffix::entry, std::string_view(".1.gone")}) {
      // Every other nonce is planted at only some of its names, so that each name is come to.
      if (number % 2 == 1 && end.empty()) continue;
      std::filesystem::create_symlink(number % 4 < 2 ? target : scratch_ / "nowhere",
                                      scratch_ / names.side(nonce, end));
    }
  }
  for (int i = 0; i < 8; ++i) {
    FileLock lock(path(), options());
    std::error_code ec;
    if (lock.acquire(0s, ec)) {
      EXPECT_TRUE(lock.i_am_locking());
      lock.release(ec);
    }
  }
  EXPECT_EQ(read_file(target), "data");
  EXPECT_FALSE(std::filesystem::exists(scratch_ / "nowhere"));
  in_.system().random_source = nullptr;
  FileLock lock(path(), options());
  lock.acquire(0s);
}

TEST_P(Records, a_waiter_sees_a_symbolic_link_go) {
  std::filesystem::create_symlink("nowhere", word());
  Peer peer(peer_arguments());
  peer.tell("acquire");
  EXPECT_TRUE(peer.is_silent());
  std::filesystem::remove(word());
  EXPECT_EQ(peer.answer(), "held");
}

TEST_P(Records, a_fifo_at_the_locks_name_holds_nobody_up) {
  ASSERT_EQ(::mkfifo(word().c_str(), 0600), 0);
  FileLock lock(path(), options());
  expect_busy(lock);
}

TEST_P(Records, an_empty_marked_directory_is_taken_over) {
  if (GetParam().missing.marks) GTEST_SKIP() << "unavoidable: no marks in this variant";
  // What a locker leaves that is killed between its mkdir and its moving in.
  ASSERT_EQ(::mkdir(word().c_str(), 01755), 0);
  ASSERT_EQ(::chmod(word().c_str(), 01755), 0);
  FileLock lock(path(), options());
  EXPECT_FALSE(lock.is_locked());
  lock.acquire(0s);
  EXPECT_TRUE(lock.i_am_locking());
  lock.release();
  EXPECT_FALSE(lock.is_locked());
}

TEST_P(Records, locks_are_listed_and_examined_without_leaving_anything) {
  FileLock lock(path(), options());
  lock.acquire();
  write_file(scratch_ / "b.lock", "4711\n");
  write_file(scratch_ / "unlocked", "");
  std::error_code ec;
  const auto standing = list_locks(scratch_.path().string(), ec);
  ASSERT_FALSE(ec);
  ASSERT_EQ(standing.size(), 2U);
  EXPECT_EQ(standing[0].name, "a.lock");
  EXPECT_EQ(standing[0].holder.verdict, Verdict::alive);
  EXPECT_TRUE(standing[1].holder.foreign);
  const auto before = scratch_.names();
  const Examination seen = examine(scratch_.path().string(), ec);
  EXPECT_FALSE(ec);
  EXPECT_FALSE(seen.scheme.empty());
  EXPECT_EQ(scratch_.names(), before);
}

}  // namespace
}  // namespace lockfile::testing
