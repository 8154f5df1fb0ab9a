// What only a shared-memory lock promises: about its file, which stays and may be anybody's work.
#include "schemes/shared_memory/layout.hpp"
#include "support/code_of.hpp"
#include "support/layered_system.hpp"
#include "support/peer.hpp"
#include "support/scratch.hpp"
#include "support/variants.hpp"

#include <lockfile/lockfile.hpp>

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <thread>
#include <vector>

namespace lockfile::testing {
namespace {

using namespace std::chrono_literals;
namespace shm = schemes::shared_memory;

class SharedMemoryFiles : public ::testing::Test {
 protected:
  [[nodiscard]] std::string word() const { return path_ + ".lock"; }
  [[nodiscard]] static std::string message_of(Lock& lock) {
    try {
      lock.acquire(0s);
    } catch (const Error& error) {
      return error.what();
    }
    return "granted";
  }
  /// Makes the file, and nobody has it.
  void make() const {
    SharedMemoryLock lock(path_);
    lock.acquire();
  }
  void set(std::size_t at, std::uint64_t value) const {
    const int file = ::open(word().c_str(), O_WRONLY | O_CLOEXEC);
    ASSERT_EQ(::pwrite(file, &value, sizeof value, static_cast<off_t>(at * sizeof value)), ssize_t{sizeof value});
    ::close(file);
  }
  [[nodiscard]] std::uint64_t get(std::size_t at) const {
    std::uint64_t value = 0;
    const int file = ::open(word().c_str(), O_RDONLY | O_CLOEXEC);
    EXPECT_EQ(::pread(file, &value, sizeof value, static_cast<off_t>(at * sizeof value)), ssize_t{sizeof value});
    ::close(file);
    return value;
  }

  Scratch scratch_;
  const std::string path_ = scratch_ / "a";
};

TEST_F(SharedMemoryFiles, stay_and_are_complete) {
  make();
  EXPECT_EQ(scratch_.names(), std::vector<std::string>{"a.lock"});
  EXPECT_TRUE(read_file(word()).starts_with(shm::first_line));
  EXPECT_EQ(std::filesystem::file_size(word()), shm::words_for(shm::first_slots) * 8);
  SharedMemoryLock lock(path_);
  EXPECT_EQ(lock.scheme(), "shm");
  EXPECT_FALSE(lock.is_locked());
  lock.acquire(0s);
}

TEST_F(SharedMemoryFiles, of_one_scheme_are_refused_by_every_other_with_both_names) {
  make();
  for (const std::string scheme : {"link", "mkdir", "auto"}) {
    FileLock lock(path_, {.scheme = scheme});
    const std::string message = message_of(lock);
    EXPECT_NE(message.find("'a.lock' is a lock of scheme 'shm', not '"), std::string::npos) << message;
    EXPECT_EQ(code_of([&] { lock.acquire(0s); }), std::errc::operation_not_supported);
    EXPECT_EQ(code_of([&] { (void)lock.break_lock(BreakWhat::foreign); }), std::errc::operation_not_supported);
  }
  for (const std::string scheme : {"kernel", "flock"}) {
    KernelFileLock lock(word(), {.scheme = scheme});
    const std::string message = message_of(lock);
    EXPECT_NE(message.find("'a.lock' is a lock of scheme 'shm', not '" + scheme + "'"), std::string::npos) << message;
  }
}

TEST_F(SharedMemoryFiles, are_not_made_of_another_schemes) {
  SharedMemoryLock lock(path_);
  {
    LinkFileLock link(path_);
    link.acquire();
    EXPECT_NE(message_of(lock).find("'a.lock' is a lock of scheme 'link', not 'shm'"), std::string::npos);
  }
  {
    MkdirFileLock mkdir(path_);
    mkdir.acquire();
    EXPECT_NE(message_of(lock).find("a lock of scheme 'mkdir', not 'shm'"), std::string::npos);
  }
  {
    KernelFileLock kernel(word());
    kernel.acquire();
    EXPECT_NE(message_of(lock).find("'a.lock' is a lock of scheme 'kernel', not 'shm'"), std::string::npos);
    FileLock link(path_);
    EXPECT_NE(message_of(link).find("'a.lock' is a lock of scheme 'kernel', not '"), std::string::npos);
  }
}

TEST_F(SharedMemoryFiles, that_are_damaged_or_foreign_are_refused_with_the_reason) {
  make();
  const std::string good = read_file(word());
  struct Case {
    std::string bytes;
    std::errc code;
    std::string says;
  };
  const auto with = [&](std::size_t at, std::uint64_t value) {
    std::string bytes = good;
    std::memcpy(bytes.data() + at * 8, &value, sizeof value);
    return bytes;
  };
  const std::vector<Case> cases = {
      {"", std::errc::operation_not_supported, "another program's file"},
      {"4711\n", std::errc::operation_not_supported, "another program's file"},
      {"lockfile shm 9\n" + good.substr(15), std::errc::operation_not_supported, "another version"},
      {good.substr(0, 100), std::errc::bad_message, "shorter than it says"},
      {good.substr(0, good.size() - 1), std::errc::bad_message, "shorter than it says"},
      {with(shm::header::layout, 1), std::errc::bad_message, "its layout"},
      {with(shm::header::capacity, 5'000'000), std::errc::bad_message, "5000000 slots"},
      {with(shm::header::used, 900), std::errc::bad_message, "damaged"},
      {with(shm::header::word, 7), std::errc::bad_message, "damaged"},
      {with(shm::header::word, shm::LockWord{.state = shm::LockWord::State::exclusive, .slot = 700}.encode()),
       std::errc::bad_message, "damaged"},
  };
  for (const Case& each : cases) {
    write_file(word(), each.bytes);
    SharedMemoryLock lock(path_);
    EXPECT_EQ(code_of([&] { lock.acquire(1ms); }), each.code) << &each - cases.data();
    const std::string message = message_of(lock);
    EXPECT_NE(message.find(each.says), std::string::npos) << message;
    EXPECT_NE(message.find("'a.lock'"), std::string::npos) << message;
  }
}

TEST_F(SharedMemoryFiles, with_a_hold_of_a_slot_that_nobody_has_are_free_again) {
  make();
  set(shm::header::word, shm::LockWord{.state = shm::LockWord::State::exclusive, .slot = 0, .number = 9}.encode());
  set(shm::slot_at(0) + shm::slot::state, 2);
  SharedMemoryLock lock(path_);
  EXPECT_EQ(code_of([&] { lock.acquire(0s); }), std::error_code()) << "whoever gets the slot clears what stands there";
}

TEST_F(SharedMemoryFiles, that_are_no_files_are_refused) {
  SharedMemoryLock lock(path_);
  std::filesystem::create_directory(word());
  EXPECT_EQ(code_of([&] { lock.acquire(0s); }), std::errc::operation_not_supported);
  std::filesystem::remove(word());
  std::filesystem::create_symlink(scratch_ / "elsewhere", word());
  EXPECT_EQ(code_of([&] { lock.acquire(0s); }), std::errc::too_many_symbolic_link_levels);
  EXPECT_FALSE(std::filesystem::exists(scratch_ / "elsewhere"));
  std::filesystem::remove(word());
  ASSERT_EQ(::mkfifo(word().c_str(), 0600), 0);
  EXPECT_EQ(code_of([&] { lock.acquire(0s); }), std::errc::invalid_argument);
}

TEST_F(SharedMemoryFiles, of_an_earlier_boot_are_set_back_and_their_holder_is_dead) {
  make();
  const std::uint64_t number = 4711;
  set(shm::header::word, shm::LockWord{.state = shm::LockWord::State::exclusive, .number = number}.encode());
  set(shm::slot_at(0) + shm::slot::mark, 3);
  set(shm::header::boot, 4711);
  SharedMemoryLock lock(path_);
  EXPECT_FALSE(lock.is_locked());
  std::thread([&] {
    SharedMemoryLock later(path_);
    later.acquire(0s);
    EXPECT_TRUE(later.previous_holder_died());
    EXPECT_GT(shm::LockWord::decode(get(shm::header::word)).number, number);
    later.release();
    later.acquire(0s);
    EXPECT_FALSE(later.previous_holder_died());
    later.release();
  }).join();
}

TEST_F(SharedMemoryFiles, grow_when_more_lock_objects_come_than_they_have_room_for) {
  std::vector<std::unique_ptr<SharedMemoryLock>> all;
  for (int i = 0; i < 70; ++i) {
    all.push_back(std::make_unique<SharedMemoryLock>(path_));
    all.back()->acquire(0s);
    all.back()->release();
  }
  EXPECT_EQ(get(shm::header::used), 70U);
  EXPECT_GE(get(shm::header::capacity), 70U);
  all.front()->acquire(0s);
  std::thread([&] { EXPECT_FALSE(all.back()->try_lock()); }).join();
  all.front()->release();
  all.clear();
  make();
  EXPECT_EQ(get(shm::header::used), 70U) << "what has been left is used again";
}

// Somebody enlarges the file before the n-th call of one who comes, or who looks, for each n.
TEST_F(SharedMemoryFiles, may_grow_under_whoever_opens_them) {
  for (const bool looks : {false, true}) {
    int calls = 0;
    for (int grows_at = 1, last = 1; grows_at <= last; ++grows_at) {
      const std::string path = path_ + std::to_string(grows_at) + (looks ? "l" : "t");
      std::vector<std::unique_ptr<SharedMemoryLock>> crowd;
      for (std::uint64_t i = 0; i < shm::first_slots; ++i) {
        crowd.push_back(std::make_unique<SharedMemoryLock>(path));
        crowd.back()->acquire(0s);
        crowd.back()->release();
      }
      Peer peer({path, "shm"});
      LayeredSystem system(os::real_system());
      os::Process process(system);
      os::Process::set_current(&process);
      {
        SharedMemoryLock lock(path);
        calls = 0;
        system.before = [&](os::Call) {
          if (++calls == grows_at && peer.ask("acquire 0") == "held") peer.ask("release");
          return 0;
        };
        const std::string said = looks ? code_of([&] { EXPECT_FALSE(lock.is_locked()); }).message() : message_of(lock);
        EXPECT_EQ(said, looks ? std::error_code().message() : "granted") << "before call " << grows_at;
        last = calls;
        system.before = nullptr;
      }
      os::Process::set_current(nullptr);
      EXPECT_GE(std::filesystem::file_size(path + ".lock"), shm::words_for(2 * shm::first_slots) * 8);
    }
    EXPECT_GT(calls, 5);
  }
}

TEST_F(SharedMemoryFiles, name_their_holder) {
  SharedMemoryLock lock(path_, {.reason = "a reason of some length, longer than a word"});
  lock.acquire();
  SharedMemoryLock other(path_);
  const Holder holder = other.holder().value();
  EXPECT_EQ(holder.pid, ::getpid());
  EXPECT_EQ(holder.reason, "a reason of some length, longer than a word");
  EXPECT_EQ(holder.scheme, "shm");
  EXPECT_EQ(holder.thread, ::gettid());
  EXPECT_TRUE(holder.this_process);
  EXPECT_FALSE(holder.host.empty());
  EXPECT_TRUE(holder.program.starts_with("shared_memory_t"));
  std::error_code code;
  const auto standing = list_locks(scratch_.path().string(), code);
  ASSERT_EQ(standing.size(), 1U);
  EXPECT_EQ(standing[0].holder.nonce, holder.nonce);
  lock.release();
  EXPECT_TRUE(list_locks(scratch_.path().string(), code).empty());
}

TEST_F(SharedMemoryFiles, tell_readers_too_that_the_writer_died) {
  Peer peer({path_, "shm"});
  ASSERT_EQ(peer.ask("acquire"), "held");
  peer.kill();
  SharedMemoryLock lock(path_);
  lock.lock_shared();
  EXPECT_TRUE(lock.previous_holder_died());
  lock.unlock_shared();
  lock.lock();
  EXPECT_TRUE(lock.previous_holder_died());
  lock.unlock();
  lock.lock_shared();
  EXPECT_FALSE(lock.previous_holder_died());
}

class OnTheNetwork final : public LayeredSystem {
 public:
  OnTheNetwork() : LayeredSystem(os::real_system()) {}
  os::Result<os::FileSystem> file_system(int) override { return {{"nfs", false, true}, 0}; }
};

TEST_F(SharedMemoryFiles, are_refused_on_a_network) {
  OnTheNetwork system;
  os::Process process(system);
  os::Process::set_current(&process);
  {
    SharedMemoryLock lock(path_);
    const std::string message = message_of(lock);
    EXPECT_NE(message.find("'a.lock' is on a file system of type nfs"), std::string::npos) << message;
  }
  os::Process::set_current(nullptr);
  EXPECT_TRUE(scratch_.names().empty());
}

}  // namespace
}  // namespace lockfile::testing
