// What only a shared-memory lock promises: about its file, which stays and may be anybody's work.
#include "shared_memory/fixture.hpp"
#include "support/layered_system.hpp"
#include "support/peer.hpp"
#include "support/variants.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace lockfile::testing {
namespace {

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
      {with(shm::header::used, 5000), std::errc::bad_message, "damaged"},
      {with(shm::header::word, 7), std::errc::bad_message, "damaged"},
      {with(shm::header::word, shm::LockWord{.state = shm::LockWord::State::exclusive, .slot = 700}.encode()),
       std::errc::bad_message, "damaged"},
  };
  for (const Case& each : cases) {
    write_file(word(), each.bytes);
    SharedMemoryLock lock(path_);
    EXPECT_EQ(code_of([&] { lock.acquire(1ms); }), each.code) << &each - cases.data();
    EXPECT_EQ(code_of([&] { (void)lock.holder(); }), each.code) << &each - cases.data();
    EXPECT_EQ(code_of([&] { (void)lock.break_lock(); }), each.code) << &each - cases.data();
    const std::string message = message_of(lock);
    EXPECT_NE(message.find(each.says), std::string::npos) << message;
    EXPECT_NE(message.find("'a.lock'"), std::string::npos) << message;
  }
}

// Who looks for readers holds nothing yet, and nobody enters meanwhile.
TEST_F(SharedMemoryFiles, in_which_somebody_looks_for_readers_are_free_and_keep_others_out) {
  Peer peer({path_, "shm"});
  ASSERT_EQ(peer.ask("acquire 0"), "held");
  set(shm::header::word, shm::LockWord{.state = shm::LockWord::State::draining, .slot = 0, .number = 1}.encode());
  SharedMemoryLock lock(path_);
  EXPECT_FALSE(lock.is_locked());
  EXPECT_FALSE(lock.break_lock());
  EXPECT_EQ(code_of([&] { lock.acquire(0s); }), errc::already_locked);
  EXPECT_EQ(code_of([&] { lock.acquire(Mode::shared, 0s); }), errc::already_locked);
  peer.kill();
  lock.acquire(0s);
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
  EXPECT_EQ(code_of([&] { (void)lock.holder(); }), std::errc::operation_not_supported);
  std::filesystem::remove(word());
  std::filesystem::create_symlink(scratch_ / "elsewhere", word());
  EXPECT_EQ(code_of([&] { lock.acquire(0s); }), std::errc::too_many_symbolic_link_levels);
  EXPECT_FALSE(std::filesystem::exists(scratch_ / "elsewhere"));
  std::filesystem::remove(word());
  ASSERT_EQ(::mkfifo(word().c_str(), 0600), 0);
  EXPECT_EQ(code_of([&] { lock.acquire(0s); }), std::errc::invalid_argument);
}

TEST_F(SharedMemoryFiles, are_handed_over_to_a_child_only_while_it_runs) {
  Peer ended({path_, "shm"});
  Peer child({path_, "shm"});
  const std::int64_t gone = ended.pid();
  ended.kill();
  {
    SharedMemoryLock lock(path_);
    lock.acquire(0s);
    EXPECT_EQ(code_of([&] { lock.hand_over(gone); }), std::errc::no_such_process);
    EXPECT_TRUE(lock.i_am_locking());
    lock.hand_over(child.pid());
    child.kill();
  }
  EXPECT_FALSE(SharedMemoryLock(path_).is_locked()) << "nobody was there to keep it for";
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

TEST_F(SharedMemoryFiles, have_room_for_so_many_and_no_more) {
  make();
  std::filesystem::resize_file(word(), shm::words_for(shm::most_slots) * 8);
  set(shm::header::capacity, shm::most_slots);
  set(shm::header::used, shm::most_slots);
  const int crowd = ::open(word().c_str(), O_RDWR | O_CLOEXEC);
  struct flock all = {};
  all.l_type = F_WRLCK;
  all.l_start = static_cast<off_t>(shm::slot_byte(0));
  all.l_len = static_cast<off_t>(shm::most_slots);
  ASSERT_EQ(::fcntl(crowd, F_OFD_SETLK, &all), 0);
  SharedMemoryLock lock(path_);
  EXPECT_EQ(code_of([&] { lock.acquire(0s); }), std::errc::no_lock_available);
  EXPECT_NE(message_of(lock).find("'a.lock' has no more room"), std::string::npos) << message_of(lock);
  ::close(crowd);
  lock.acquire(0s);
}

// A disk that becomes full, and a file that a descriptor does not name any more.
class FailsToGrow final : public LayeredSystem {
 public:
  FailsToGrow() : LayeredSystem(os::real_system()) {}
  os::Result<std::size_t> write(int descriptor, std::string_view bytes, std::uint64_t offset) noexcept override {
    return LayeredSystem::write(descriptor, full ? bytes.substr(0, 100) : bytes, offset);
  }
  os::Result<os::FileInfo> stat(int descriptor) noexcept override {
    auto info = LayeredSystem::stat(descriptor);
    if (another_inode && info.value.type == os::FileType::regular) ++info.value.inode;
    return info;
  }
  bool full = false;
  bool another_inode = false;
};

TEST_F(SharedMemoryFiles, that_cannot_grow_are_refused_and_do_not_say_that_they_did) {
  std::vector<std::unique_ptr<SharedMemoryLock>> crowd;
  for (std::uint64_t i = 0; i < shm::first_slots; ++i) {
    crowd.push_back(std::make_unique<SharedMemoryLock>(path_));
    crowd.back()->acquire(0s);
    crowd.back()->release();
  }
  FailsToGrow system;
  os::Process process(system);
  os::Process::set_current(&process);
  {
    SharedMemoryLock lock(path_);
    system.full = true;
    EXPECT_EQ(code_of([&] { lock.acquire(0s); }), std::errc::no_space_on_device);
    system.full = false;
    EXPECT_EQ(get(shm::header::capacity), shm::first_slots);
    // Each call in turn is refused.
    std::error_code code;
    int refused = 0;
    bool reached = true;
    for (int at = 1; reached; ++at) {
      SharedMemoryLock another(path_);
      std::filesystem::resize_file(word(), shm::words_for(shm::first_slots) * 8);
      set(shm::header::capacity, shm::first_slots);
      set(shm::header::used, shm::first_slots);
      int calls = 0;
      system.before = [&](os::Call) { return ++calls == at ? EIO : 0; };
      another.acquire(0s, code);
      system.before = nullptr;
      reached = calls >= at;
      EXPECT_TRUE(!code || code == std::errc::io_error) << code.message();
      if (code) ++refused;
      if (!code) another.release();
      if (code) {
        EXPECT_EQ(get(shm::header::used), shm::first_slots);
      }
    }
    EXPECT_GT(refused, 3);
  }
  os::Process::set_current(nullptr);
}

TEST_F(SharedMemoryFiles, that_have_become_another_are_not_mapped_again) {
  FailsToGrow system;
  os::Process process(system);
  os::Process::set_current(&process);
  {
    SharedMemoryLock lock(path_);
    lock.acquire(0s);
    lock.release();
    std::vector<std::unique_ptr<SharedMemoryLock>> crowd;
    for (std::uint64_t i = 0; i < shm::first_slots; ++i) {
      crowd.push_back(std::make_unique<SharedMemoryLock>(path_));
      crowd.back()->acquire(Mode::shared, 0s);
      crowd.back()->release();
    }
    system.another_inode = true;  // of its own descriptor, which has mapped fewer slots than there are by now
    EXPECT_EQ(code_of([&] { lock.acquire(0s); }), std::errc::bad_message);
    system.another_inode = false;
    lock.acquire(0s);
  }
  os::Process::set_current(nullptr);
}

// Several threads with one lock object have a slot each, by one descriptor.
TEST_F(SharedMemoryFiles, are_opened_anew_where_the_name_or_the_descriptor_may_be_anothers) {
  FailsToGrow system;
  os::Process process(system);
  os::Process::set_current(&process);
  int looks = 0;
  const std::vector<std::function<void()>> all = {
      [&] {
        // The directory first, and then the name.
        system.before = [&](os::Call call) { return call == os::Call::stat_at && ++looks == 2 ? EIO : 0; };
      },
      [&] { system.another_inode = true; },
      [&] { std::filesystem::remove(word()); },
  };
  for (const auto& meanwhile : all) {
    SharedMemoryLock lock(path_);
    lock.acquire(Mode::shared, 0s);
    std::thread([&] {
      os::Process::set_current(&process);
      meanwhile();
      EXPECT_EQ(code_of([&] { lock.acquire(Mode::shared, 0s); }), std::error_code());
      EXPECT_TRUE(lock.i_am_locking());
      lock.release();
    }).join();
    system.before = nullptr;
    system.another_inode = false;
    lock.release();
  }
  EXPECT_GE(looks, 2);
  os::Process::set_current(nullptr);
}

TEST_F(SharedMemoryFiles, are_left_when_the_path_leads_to_another_directory) {
  std::filesystem::create_directory(scratch_ / "before");
  SharedMemoryLock lock(scratch_ / "before/a");
  lock.acquire(0s);
  lock.release();
  std::filesystem::rename(scratch_ / "before", scratch_ / "after");
  std::filesystem::create_directory(scratch_ / "before");
  EXPECT_FALSE(lock.is_locked());
  SharedMemoryLock other(scratch_ / "after/a");
  other.acquire(0s);
  EXPECT_EQ(other.holder().value().number, 4U);
  lock.acquire(0s);
  EXPECT_EQ(lock.holder().value().number, 2U) << "of a file of its own";
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
