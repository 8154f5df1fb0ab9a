// The laws of the line: who waits in several processes enters in order, whatever becomes of those ahead.
#include "conformance/fixture.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <thread>

namespace lockfile::testing {
namespace {

class Line : public Law {
 protected:
  void SetUp() override {
    if (!GetParam().missing.fifos) return;
    // Where no waiter can be woken the law is that there is no order, and no trace of a line.
    FileLock lock(path(), options());
    lock.acquire();
    in_another_thread([&] {
      FileLock other(path(), options());
      EXPECT_EQ(code_of([&] { other.acquire(1ms); }), errc::timed_out);
    });
    EXPECT_TRUE(lock.waiters().empty());
    EXPECT_EQ(line_file(), "");
    told_ = true;
  }

  [[nodiscard]] std::unique_ptr<Peer> peer() const { return std::make_unique<Peer>(peer_arguments()); }

  // Until so many stand in line.
  void see_waiting(std::size_t count) {
    FileLock look(path(), options());
    const auto give_up = std::chrono::steady_clock::now() + stuck;
    while (look.waiters().size() != count) {
      ASSERT_LT(std::chrono::steady_clock::now(), give_up) << look.waiters().size() << " wait, and not " << count;
      std::this_thread::yield();
    }
  }
  // A peer that waits, as the `count`-th in line.
  [[nodiscard]] std::unique_ptr<Peer> waiting_peer(std::size_t count, const std::string& verb = "acquire") {
    auto made = peer();
    made->tell(verb);
    see_waiting(count);
    return made;
  }

  // Stopped while it sleeps, so not in the middle of a look at the line's memory: what touches a page that is cut away
  // then and there is killed by SIGBUS (docs/decisions/0018-the-line-of-processes.md).
  static void stop_asleep(Peer& sleeper) {
    const std::string process = "/proc/" + std::to_string(sleeper.pid());
    const auto give_up = std::chrono::steady_clock::now() + stuck;
    for (;;) {
      sleeper.signal(SIGSTOP);
      int status = 0;
      ASSERT_EQ(::waitpid(sleeper.pid(), &status, WUNTRACED), sleeper.pid());
      ASSERT_TRUE(WIFSTOPPED(status));
      // The one that it is in; proc(5). A look at once is a poll(2), which goes on as SYS_restart_syscall when it was
      // stopped: not sleep.
      long call = -1;
      std::ifstream(process + "/syscall") >> call;
      if (call == SYS_ppoll) return;
      sleeper.signal(SIGCONT);
      ASSERT_LT(std::chrono::steady_clock::now(), give_up) << "it never sleeps, but is in " << call;
      std::this_thread::yield();
    }
  }

  [[nodiscard]] std::string line_file() const {
    for (const std::string& each : scratch_.names()) {
      if (each.ends_with(".line")) return scratch_ / each;
    }
    return {};
  }
  // Of those who wait, and of those who have.
  [[nodiscard]] std::vector<std::string> fifos() const {
    std::vector<std::string> all = scratch_.names();
    std::erase_if(all, [](const std::string& each) { return !each.ends_with(".wake"); });
    return all;
  }
  [[nodiscard]] bool can_share() const { return !GetParam().missing.hard_links || !GetParam().missing.rename_new; }

  bool told_ = false;
};
LOCKFILE_FOR_ALL_FILES(Line);

#define IF_ORDERED \
  if (told_) return

TEST_P(Line, is_kept_in_the_order_in_which_they_came) {
  IF_ORDERED;
  FileLock lock(path(), options());
  lock.acquire();
  std::vector<std::unique_ptr<Peer>> peers;
  for (std::size_t i = 1; i <= 4; ++i) peers.push_back(waiting_peer(i));
  lock.release();
  for (std::size_t i = 0; i < peers.size(); ++i) {
    EXPECT_EQ(peers[i]->answer(), "held") << i;
    for (std::size_t other = i + 1; other < peers.size(); ++other) EXPECT_TRUE(peers[other]->is_silent()) << other;
    EXPECT_EQ(peers[i]->ask("release"), "released");
  }
}

// Whoever is on its way is overtaken by all who come meanwhile.
TEST_P(Line, is_entered_without_a_look_at_each_reader) {
  IF_ORDERED;
  if (!can_share()) return;
  const auto opened_on_the_way = [&](std::size_t readers) {
    std::vector<std::unique_ptr<FileLock>> together;
    for (std::size_t i = 0; i < readers; ++i) {
      together.push_back(std::make_unique<FileLock>(path(), options()));
      together.back()->lock_shared();
    }
    int opened = 0;
    std::optional<int> on_the_way;
    in_.system().before = [&](os::Call call) {
      if (call == os::Call::make_fifo && !on_the_way) on_the_way = opened;
      if (call == os::Call::open) ++opened;
      return 0;
    };
    in_another_thread([&] {
      FileLock writer(path(), options());
      EXPECT_EQ(code_of([&] { writer.acquire(1ms); }), errc::timed_out);
    });
    in_.system().before = nullptr;
    return on_the_way.value_or(-1);
  };
  (void)opened_on_the_way(2);  // what a file system can do is tried out once
  const int with_two = opened_on_the_way(2);
  EXPECT_GE(with_two, 0) << "it never lined up";
  EXPECT_EQ(opened_on_the_way(12), with_two);
}

TEST_P(Line, tells_who_waits) {
  IF_ORDERED;
  FileLock lock(path(), options());
  lock.acquire();
  EXPECT_TRUE(lock.waiters().empty());
  const auto before = std::chrono::steady_clock::now();
  const auto one = waiting_peer(1);
  const auto two = waiting_peer(2, can_share() ? "share" : "acquire");
  const auto waiters = lock.waiters();
  ASSERT_EQ(waiters.size(), 2U);
  EXPECT_EQ(waiters[0].pid, one->pid());
  EXPECT_EQ(waiters[0].mode, Mode::exclusive);
  EXPECT_EQ(waiters[0].program, "lock_peer");
  EXPECT_EQ(waiters[0].host, os::real_system().host_name());
  EXPECT_FALSE(waiters[0].passed);
  EXPECT_FALSE(waiters[0].this_process);
  EXPECT_GE(waiters[0].since, before);
  EXPECT_LE(waiters[0].since, waiters[1].since);
  EXPECT_EQ(waiters[1].pid, two->pid());
  EXPECT_EQ(waiters[1].mode, can_share() ? Mode::shared : Mode::exclusive);
}

TEST_P(Line, is_not_held_up_by_the_dead) {
  IF_ORDERED;
  FileLock lock(path(), options());
  lock.acquire();
  const auto one = waiting_peer(1);
  const auto two = waiting_peer(2);
  const auto three = waiting_peer(3);
  one->kill();
  EXPECT_EQ(lock.waiters().size(), 2U);
  lock.release();
  EXPECT_EQ(two->answer(), "held");
  EXPECT_EQ(two->ask("release"), "released");
  EXPECT_EQ(three->answer(), "held");
}

TEST_P(Line, is_not_held_up_by_the_stopped) {
  IF_ORDERED;
  FileLock lock(path(), options());
  lock.acquire();
  const auto one = waiting_peer(1);
  const auto two = waiting_peer(2);
  one->signal(SIGSTOP);
  lock.release();
  EXPECT_EQ(two->answer(), "held");
  EXPECT_TRUE(two->ask("waiters") == "1") << "it is stopped, and waits still";
  one->signal(SIGCONT);
  EXPECT_TRUE(one->is_silent());
  EXPECT_EQ(two->ask("release"), "released");
  EXPECT_EQ(one->answer(), "held");
}

TEST_P(Line, lets_nobody_try_past_who_waits_unless_it_is_stopped) {
  IF_ORDERED;
  FileLock lock(path(), options());
  lock.acquire();
  const auto one = waiting_peer(1);
  one->signal(SIGSTOP);
  lock.release();
  try {
    lock.acquire(0s);
    ADD_FAILURE() << "it passed one that waits";
  } catch (const AlreadyLocked& busy) {
    ASSERT_TRUE(busy.holder());
    EXPECT_TRUE(busy.holder()->waits);
    EXPECT_EQ(busy.holder()->pid, one->pid());
    EXPECT_NE(std::string(busy.what()).find("first in line"), std::string::npos) << busy.what();
  }
  const auto give_up = std::chrono::steady_clock::now() + stuck;
  while (!lock.try_lock()) ASSERT_LT(std::chrono::steady_clock::now(), give_up);
  lock.unlock();
  one->signal(SIGCONT);
  EXPECT_EQ(one->answer(), "held");
}

TEST_P(Line, is_passed_by_who_asks_for_throughput) {
  IF_ORDERED;
  FileLock lock(path(), options());
  lock.acquire();
  const auto one = waiting_peer(1);
  one->signal(SIGSTOP);
  lock.release();
  Options greedy = options();
  greedy.order = Order::throughput;
  FileLock fast(path(), greedy);
  EXPECT_TRUE(fast.try_lock());
  one->signal(SIGCONT);
  EXPECT_TRUE(one->is_silent());
  fast.unlock();
  EXPECT_EQ(one->answer(), "held");
}

TEST_P(Line, comes_before_who_releases_and_acquires_again) {
  IF_ORDERED;
  FileLock lock(path(), options());
  lock.acquire();
  const auto one = waiting_peer(1);
  lock.release();
  EXPECT_FALSE(lock.try_lock());
  EXPECT_EQ(one->answer(), "held");
}

TEST_P(Line, is_left_by_who_gives_up) {
  IF_ORDERED;
  FileLock lock(path(), options());
  lock.acquire();
  const auto one = waiting_peer(1, "acquire_until_told");
  const auto two = waiting_peer(2);
  EXPECT_EQ(one->ask("give up").substr(0, 5), "error");
  EXPECT_EQ(lock.waiters().size(), 1U);
  lock.release();
  EXPECT_EQ(two->answer(), "held");
}

// Somebody has removed its FIFO: it stands in nobody's way, and lines up anew.
TEST_P(Line, goes_past_who_cannot_be_woken) {
  IF_ORDERED;
  FileLock lock(path(), options());
  lock.acquire();
  const auto one = waiting_peer(1, "acquire_until_told");
  const auto before = fifos();
  const auto two = waiting_peer(2);
  auto after = fifos();
  ASSERT_EQ(after.size(), before.size() + 1);
  std::erase_if(after,
                [&](const std::string& each) { return std::find(before.begin(), before.end(), each) != before.end(); });
  const auto three = waiting_peer(3);
  std::filesystem::remove(scratch_ / after.front());
  EXPECT_EQ(one->ask("give up").substr(0, 5), "error");
  lock.release();
  EXPECT_EQ(three->answer(), "held");
  EXPECT_EQ(three->ask("release"), "released");
  EXPECT_EQ(two->answer(), "held");
}

// What a lock object keeps from its last wait may be gone at the next.
TEST_P(Line, is_joined_again_by_who_was_robbed_of_its_fifo) {
  IF_ORDERED;
  const auto holder = peer();
  EXPECT_EQ(holder->ask("acquire"), "held");
  FileLock lock(path(), options());
  EXPECT_EQ(code_of([&] { lock.acquire(1ms); }), errc::timed_out);
  for (const std::string& each : fifos()) std::filesystem::remove(scratch_ / each);
  std::thread waits = thread([&] { EXPECT_NO_THROW(lock.acquire(stuck)); });
  see_waiting(1);
  EXPECT_EQ(holder->ask("release"), "released");
  waits.join();
}

// Its place is in the line of the directory that the path named before.
TEST_P(Line, is_left_by_who_finds_another_directory_there) {
  IF_ORDERED;
  if (is_memory(GetParam())) return;  // whoever has mapped a file goes on in it
  for (const char* const each : {"d", "other"}) std::filesystem::create_directory(scratch_ / each);
  FileLock before(scratch_ / "d/a", options());
  before.acquire();
  Peer there({scratch_ / "other/a", std::string(GetParam().name)});
  EXPECT_EQ(there.ask("acquire"), "held");
  Peer waiter({scratch_ / "d/a", std::string(GetParam().name)});
  waiter.tell("acquire");
  const auto give_up = std::chrono::steady_clock::now() + stuck;
  while (before.waiters().size() != 1) ASSERT_LT(std::chrono::steady_clock::now(), give_up);
  ASSERT_EQ(::renameat2(AT_FDCWD, (scratch_ / "d").c_str(), AT_FDCWD, (scratch_ / "other").c_str(), RENAME_EXCHANGE),
            0);
  before.release();
  EXPECT_TRUE(waiter.is_silent()) << "it locked what the path does not name any more";
  EXPECT_EQ(there.ask("release"), "released");
  EXPECT_EQ(waiter.answer(), "held");
  EXPECT_TRUE(FileLock(scratch_ / "d/a", options()).is_locked());
}

// What a child has of its parent's seat is the parent's.
TEST_P(Line, is_nothing_of_a_child_that_was_forked) {
  IF_ORDERED;
  const auto holder = peer();
  EXPECT_EQ(holder->ask("acquire"), "held");
  FileLock lock(path(), options());
  EXPECT_EQ(code_of([&] { lock.acquire(1ms); }), errc::timed_out);
  const auto kept = fifos();
  EXPECT_FALSE(kept.empty());
  const pid_t child = fork();
  if (child == 0) {
    InVariant anew(GetParam());
    ::_exit(code_of([&] { lock.acquire(1ms); }) == errc::timed_out ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  for (const std::string& each : kept) EXPECT_TRUE(std::filesystem::exists(scratch_ / each)) << each;
}

TEST_P(Line, of_a_directory_that_is_missing_cannot_be_told) {
  FileLock lock(scratch_ / "missing/a", options());
  EXPECT_EQ(code_of([&] { (void)lock.waiters(); }), std::errc::no_such_file_or_directory);
}

TEST_P(Line, of_a_writer_is_not_passed_by_readers) {
  IF_ORDERED;
  if (!can_share()) return;
  FileLock lock(path(), options());
  lock.lock_shared();
  const auto writer = waiting_peer(1);
  const auto reader = waiting_peer(2, "share");
  EXPECT_TRUE(reader->is_silent());
  lock.unlock_shared();
  EXPECT_EQ(writer->answer(), "held");
  EXPECT_TRUE(reader->is_silent());
  EXPECT_EQ(writer->ask("release"), "released");
  EXPECT_EQ(reader->answer(), "held");
}

TEST_P(Line, lets_readers_that_stand_together_in_together) {
  IF_ORDERED;
  if (!can_share()) return;
  FileLock lock(path(), options());
  lock.acquire();
  std::vector<std::unique_ptr<Peer>> readers;
  for (std::size_t i = 1; i <= 3; ++i) readers.push_back(waiting_peer(i, "share"));
  const auto writer = waiting_peer(4);
  lock.release();
  for (const auto& each : readers) EXPECT_EQ(each->answer(), "held");
  EXPECT_TRUE(writer->is_silent());
  for (const auto& each : readers) EXPECT_EQ(each->ask("release"), "released");
  EXPECT_EQ(writer->answer(), "held");
}

TEST_P(Line, goes_on_after_a_forced_break) {
  IF_ORDERED;
  if (is_kernel(GetParam()) || (GetParam().missing.marks && GetParam().missing.hard_links)) return;  // no such breaks
  const auto holder = peer();
  EXPECT_EQ(holder->ask("acquire"), "held");
  holder->signal(SIGSTOP);
  const auto one = waiting_peer(1);
  FileLock lock(path(), options());
  EXPECT_TRUE(lock.break_lock());
  EXPECT_EQ(one->answer(), "held");
}

TEST_P(Line, that_is_damaged_costs_order_and_nothing_else) {
  IF_ORDERED;
  const std::vector<std::function<void(const std::string&)>> damages = {
      [](const std::string& line) { ASSERT_EQ(::truncate(line.c_str(), 0), 0); },
      [](const std::string& line) { ASSERT_EQ(::truncate(line.c_str(), 4096), 0); },
      [](const std::string& line) { write_file(line, std::string(std::filesystem::file_size(line), '\xA5')); },
      [](const std::string& line) { write_file(line, "lf-line2 is not known yet"); },
      [](const std::string& line) { std::filesystem::remove(line); },
      [](const std::string& line) {
        std::filesystem::remove(line);
        std::filesystem::create_directory(line);
      },
      [](const std::string& line) {
        std::filesystem::remove(line);
        ASSERT_EQ(::mkfifo(line.c_str(), 0600), 0);
      },
  };
  for (std::size_t i = 0; i < damages.size(); ++i) {
    FileLock lock(path(), options());
    lock.acquire();
    const auto one = waiting_peer(1);
    const auto two = waiting_peer(2);
    for (Peer* const each : {one.get(), two.get()}) stop_asleep(*each);
    damages[i](line_file());
    EXPECT_TRUE(lock.waiters().empty()) << i;
    for (Peer* const each : {one.get(), two.get()}) each->signal(SIGCONT);
    EXPECT_TRUE(one->is_silent()) << i;
    EXPECT_TRUE(two->is_silent()) << i;
    lock.release();
    // Whichever is first.
    const auto give_up = std::chrono::steady_clock::now() + stuck;
    while (one->is_silent() && two->is_silent()) ASSERT_LT(std::chrono::steady_clock::now(), give_up) << i;
    Peer& first = one->is_silent() ? *two : *one;
    Peer& second = &first == one.get() ? *two : *one;
    EXPECT_EQ(first.answer(), "held") << i;
    EXPECT_TRUE(second.is_silent()) << i;
    EXPECT_EQ(first.ask("release"), "released") << i;
    EXPECT_EQ(second.answer(), "held") << i;
    EXPECT_EQ(second.ask("release"), "released") << i;
    // What is of a newer version, or no file at all, is left alone.
    if (!line_file().empty()) std::filesystem::remove(line_file());
  }
}

TEST_P(Line, that_nobody_can_use_is_cleaned_by_doctor_unless_it_is_of_a_newer_version) {
  IF_ORDERED;
  std::string line;
  {
    FileLock lock(path(), options());
    lock.acquire();
    const auto one = waiting_peer(1);
    line = line_file();
    lock.release();
    EXPECT_EQ(one->answer(), "held");
    EXPECT_EQ(one->ask("release"), "released");
    EXPECT_EQ(one->ask("drop"), "dropped");
  }
  const auto seen = [&](Clean clean) {
    std::error_code ec;
    Leftover found;
    for (Leftover& each : leftovers(scratch_.path().string(), clean, ec)) {
      if (each.name == std::filesystem::path(line).filename()) found = std::move(each);
    }
    EXPECT_FALSE(ec);
    return found;
  };
  write_file(line, "damaged");
  EXPECT_EQ(seen(Clean::look_only).maker, Verdict::dead);
  EXPECT_TRUE(seen(Clean::remove_dead).removed);
  EXPECT_FALSE(std::filesystem::exists(line));
  write_file(line, "lf-line2 is not known yet");
  EXPECT_EQ(seen(Clean::remove_dead).maker, Verdict::unknown);
  EXPECT_TRUE(std::filesystem::exists(line));
  std::filesystem::remove(line);
  std::filesystem::create_directory(line);
  EXPECT_EQ(seen(Clean::remove_dead).maker, Verdict::unknown);
  std::filesystem::remove(line);
  // Of an earlier boot: nobody of it waits any more.
  const std::size_t boot = line.find(".lock.") + std::string_view(".lock.").size();
  line.replace(boot, 8, line.substr(boot, 8) == "00000000" ? "00000001" : "00000000");
  write_file(line, "");
  EXPECT_EQ(seen(Clean::look_only).maker, Verdict::dead);
  EXPECT_TRUE(seen(Clean::remove_dead).removed);
  EXPECT_FALSE(std::filesystem::exists(line));
}

TEST_P(Line, of_a_lock_for_everyone_is_for_everyone) {
  IF_ORDERED;
  const ::mode_t umask = ::umask(077);
  Options everyone = options();
  everyone.access = Access::everyone;
  FileLock lock(path(), everyone);
  lock.acquire();
  Peer other({path(), std::string(GetParam().name), "kill-at", "-1", "everyone"});
  ::umask(umask);
  other.tell("acquire");
  see_waiting(1);
  if (!line_file().empty()) {  // shared memory keeps it in the lock's own file
    struct stat info = {};
    ASSERT_EQ(::stat(line_file().c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777U, 0666U);
  }
  lock.release();
  EXPECT_EQ(other.answer(), "held");
  EXPECT_EQ(other.ask("release"), "released");
}

TEST_P(Line, leaves_nothing_behind_when_all_have_left) {
  IF_ORDERED;
  {
    FileLock lock(path(), options());
    lock.acquire();
    const auto one = waiting_peer(1);
    const auto two = waiting_peer(2);
    EXPECT_NE(line_file(), "");
    lock.release();
    EXPECT_EQ(one->answer(), "held");
    EXPECT_EQ(one->ask("release"), "released");
    EXPECT_EQ(two->answer(), "held");
    EXPECT_EQ(two->ask("release"), "released");
    EXPECT_EQ(one->ask("drop"), "dropped");
    EXPECT_EQ(two->ask("drop"), "dropped");
  }
  EXPECT_EQ(scratch_.names(), what_stays());
}

TEST_P(Line, of_the_killed_is_cleaned_by_doctor) {
  IF_ORDERED;
  {
    FileLock lock(path(), options());
    lock.acquire();
    const auto one = waiting_peer(1);
    std::error_code ec;
    (void)leftovers(scratch_.path().string(), Clean::remove_dead, ec);
    EXPECT_EQ(lock.waiters().size(), 1U) << "who waits is left in peace";
    one->kill();
    lock.release();
  }
  std::error_code ec;
  for (const Leftover& each : leftovers(scratch_.path().string(), Clean::remove_dead, ec)) {
    EXPECT_TRUE(each.removed) << each.name << ": " << each.note;
  }
  EXPECT_EQ(scratch_.names(), what_stays());
}

}  // namespace
}  // namespace lockfile::testing
