// What others do between two calls of one who comes, holds, breaks or looks: before each call in turn. Nobody is told
// of a hold that he has not, what is damaged is said to be, and afterwards the lock is to be had.
#include "shared_memory/fixture.hpp"
#include "support/peer.hpp"
#include "support/variants.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

namespace lockfile::testing {
namespace {

using State = shm::LockWord::State;

class SharedMemoryMeanwhile : public SharedMemoryFiles {
 protected:
  using Deed = std::function<void()>;
  using Verb = std::function<void(SharedMemoryLock&)>;

  void change_word(const std::function<void(shm::LockWord&)>& how) const {
    shm::LockWord now = shm::LockWord::decode(get(shm::header::word));
    how(now);
    set(shm::header::word, now.encode());
  }

  // Of a lock object in a process of its own, as far as the library can tell: `begin`, then `verb`, and `meanwhile`
  // once before another one of its calls each time, at last after all, then `end`.
  void before_each_call(const Verb& begin, const Verb& verb, const Deed& meanwhile, const Verb& end,
                        const Variant& variant = variant_named("shm")) {
    bool reached = true;
    for (int at = 1; reached && !HasFailure(); ++at) {
      SCOPED_TRACE("before call " + std::to_string(at));
      InVariant mine(variant);
      SharedMemoryLock lock(path_);
      begin(lock);
      int calls = 0;
      mine.system().before = [&](os::Call) {
        if (++calls == at) meanwhile();
        return 0;
      };
      verb(lock);
      mine.system().before = nullptr;
      reached = calls >= at;
      if (!reached) meanwhile();
      end(lock);
      EXPECT_TRUE(reached || at > 1);
    }
  }

  // And so it leaves the sign that somebody waits.
  void line_up_and_leave(Peer& waiter) const {
    waiter.tell("acquire_until_told");
    const auto give_up = std::chrono::steady_clock::now() + stuck;
    while (!shm::LockWord::decode(get(shm::header::word)).waiters) {
      ASSERT_LT(std::chrono::steady_clock::now(), give_up);
      std::this_thread::yield();
    }
    EXPECT_TRUE(waiter.ask("enough").starts_with("error "));
    ASSERT_TRUE(shm::LockWord::decode(get(shm::header::word)).waiters);
  }

  static void nothing(SharedMemoryLock& /*lock*/) {}
  static void hold_once(SharedMemoryLock& lock) {
    lock.acquire(0s);
    lock.release();
  }
};

TEST_F(SharedMemoryMeanwhile, a_reader_comes_and_one_of_the_two_is_let_in) {
  Peer reader({path_, "shm"});
  std::error_code code;
  std::string said;
  for (const Verb& begin : {Verb(nothing), Verb(hold_once)}) {
    before_each_call(
        [&](SharedMemoryLock& lock) {
          begin(lock);
          ASSERT_EQ(reader.ask("share"), "held") << "from here on there may be readers";
          ASSERT_EQ(reader.ask("release"), "released");
        },
        [&](SharedMemoryLock& lock) { lock.acquire(0s, code); }, [&] { said = reader.ask("share 0"); },
        [&](SharedMemoryLock& lock) {
          EXPECT_NE(said == "held", !code) << said << ", " << code.message();
          if (!code) lock.release();
          if (said == "held") {
            EXPECT_EQ(reader.ask("release"), "released");
          }
        });
  }
}

TEST_F(SharedMemoryMeanwhile, a_stranger_frees_the_word_and_whoever_comes_looks_again) {
  Peer reader({path_, "shm"});
  for (const Verb& begin : {Verb(nothing), Verb(hold_once)}) {
    before_each_call(
        [&](SharedMemoryLock& lock) {
          begin(lock);
          ASSERT_EQ(reader.ask("share"), "held");
          ASSERT_EQ(reader.ask("release"), "released");
        },
        [&](SharedMemoryLock& lock) { EXPECT_EQ(code_of([&] { lock.acquire(0s); }), std::error_code()); },
        [&] { change_word([](shm::LockWord& word) { word.state = State::free; }); },
        [&](SharedMemoryLock& lock) {
          EXPECT_EQ(shm::LockWord::decode(get(shm::header::word)).is_free(), !lock.i_am_locking());
          EXPECT_EQ(code_of([&] { SharedMemoryLock(path_).break_lock(); }), std::error_code());
        });
  }
}

TEST_F(SharedMemoryMeanwhile, a_break_is_told_to_whoever_converts_or_hands_over) {
  Peer breaker({path_, "shm"});
  const std::vector<std::pair<Mode, Verb>> all = {
      {Mode::upgradable, [](SharedMemoryLock& lock) { lock.upgrade(0s); }},
      {Mode::exclusive, [](SharedMemoryLock& lock) { lock.downgrade(Mode::upgradable); }},
      {Mode::exclusive, [](SharedMemoryLock& lock) { lock.downgrade(Mode::shared); }},
      {Mode::exclusive, [&](SharedMemoryLock& lock) { lock.hand_over(breaker.pid()); }},
  };
  for (const auto& [mode, verb] : all) {
    std::error_code code;
    int told = 0;
    before_each_call([mode = mode](SharedMemoryLock& lock) { lock.acquire(mode, 0s); },
                     [&, verb = verb](SharedMemoryLock& lock) { code = code_of([&] { verb(lock); }); },
                     [&] { EXPECT_EQ(breaker.ask("break"), "broken"); },
                     [&](SharedMemoryLock& lock) {
                       if (code) ++told;
                       EXPECT_TRUE(!code || code == errc::not_my_lock || code == errc::not_locked) << code.message();
                       EXPECT_FALSE(lock.i_am_locking());
                       EXPECT_EQ(breaker.ask("acquire 0"), "held");
                       EXPECT_EQ(breaker.ask("release"), "released");
                     });
    EXPECT_GT(told, 0) << to_string(mode);
  }
}

TEST_F(SharedMemoryMeanwhile, a_break_spares_whoever_holds_by_then) {
  Peer holder({path_, "shm"});
  Peer next({path_, "shm"});
  for (Peer* const newcomer : {&holder, &next}) {
    Holder hold;
    int broken = 0;
    before_each_call(
        [&](SharedMemoryLock& lock) {
          ASSERT_EQ(holder.ask("acquire 0"), "held");
          hold = lock.holder().value();
        },
        [&](SharedMemoryLock& lock) { broken += lock.break_lock(hold) ? 1 : 0; },
        [&] {
          (void)holder.ask("release");  // it may have been broken
          EXPECT_EQ(newcomer->ask("acquire 0"), "held");
        },
        [&](SharedMemoryLock& /*lock*/) {
          EXPECT_EQ(newcomer->ask("i_am_locking"), "yes");
          EXPECT_EQ(newcomer->ask("release"), "released");
        });
    EXPECT_GT(broken, 0);
  }
}

TEST_F(SharedMemoryMeanwhile, what_is_written_there_is_damaged_and_told) {
  Peer other({path_, "shm"});
  std::error_code code;
  const auto end = [&](SharedMemoryLock& /*lock*/) {
    change_word([](shm::LockWord& word) { word = {}; });
    set(shm::header::used, 2);
    (void)other.ask("release");
  };
  const std::vector<std::pair<Verb, Verb>> all = {
      // Beside a holder: with a slot of before and without, with and without a line; and who looks and breaks.
      {[&](SharedMemoryLock& lock) {
         hold_once(lock);
         ASSERT_EQ(other.ask("acquire 0"), "held");
       },
       [&](SharedMemoryLock& lock) { lock.acquire(1ms, code); }},
      {[&](SharedMemoryLock& /*lock*/) { ASSERT_EQ(other.ask("share 0"), "held"); },
       [&](SharedMemoryLock& lock) { lock.acquire(1ms, code); }},
      {[&](SharedMemoryLock& /*lock*/) { ASSERT_EQ(other.ask("acquire 0"), "held"); },
       [&](SharedMemoryLock& lock) { (void)lock.holder(code); }},
      {[&](SharedMemoryLock& /*lock*/) { ASSERT_EQ(other.ask("acquire 0"), "held"); },
       [&](SharedMemoryLock& lock) { (void)lock.break_lock(BreakWhat::ours, code); }},
      // After readers; and what one who holds asks for.
      {[&](SharedMemoryLock& lock) {
         hold_once(lock);
         ASSERT_EQ(other.ask("share 0"), "held");
         ASSERT_EQ(other.ask("release"), "released");
       },
       [&](SharedMemoryLock& lock) { lock.acquire(0s, code); }},
      {[&](SharedMemoryLock& lock) {
         lock.acquire(Mode::upgradable, 0s);
         ASSERT_EQ(other.ask("share 0"), "held");
       },
       [&](SharedMemoryLock& lock) { lock.upgrade(1ms, code); }},
  };
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (const bool count : {true, false}) {
      SCOPED_TRACE(std::to_string(i) + (count ? ", more slots than there may be" : ", no word"));
      int told = 0;
      before_each_call(
          all[i].first, all[i].second,
          [&] {
            if (count) {
              set(shm::header::used, 5000);
            } else {
              set(shm::header::word, 7);
            }
          },
          [&](SharedMemoryLock& lock) {
            if (code == std::errc::bad_message || code == errc::not_my_lock) ++told;
            if (lock.i_am_locking()) lock.release(code);
            code.clear();
            end(lock);
          });
      EXPECT_GT(told, 0);
    }
  }
}

// Before each call, and not once.
TEST_F(SharedMemoryMeanwhile, a_word_that_changes_faster_than_it_is_read_is_held_by_somebody) {
  Peer holder({path_, "shm"});
  ASSERT_EQ(holder.ask("acquire 0"), "held");
  InVariant mine(variant_named("shm"));
  SharedMemoryLock lock(path_);
  mine.system().before = [&](os::Call call) {
    change_word([](shm::LockWord& word) { word.turn = (word.turn + 1) % shm::LockWord::turns; });
    if (call == os::Call::wait) mine.system().ahead = mine.system().ahead.load() + 1s;
    return 0;
  };
  EXPECT_EQ(code_of([&] { lock.acquire(0s); }), errc::already_locked);
  EXPECT_EQ(code_of([&] { lock.acquire(1ms); }), errc::timed_out);
  EXPECT_EQ(lock.holder().value().pid, holder.pid()) << "a look takes a copy";
  std::error_code code;
  EXPECT_FALSE(lock.break_lock(BreakWhat::ours, code));
  EXPECT_EQ(code, std::errc::resource_unavailable_try_again);
  mine.system().before = nullptr;
  EXPECT_EQ(holder.ask("release"), "released");
  lock.acquire(0s);
}

TEST_F(SharedMemoryMeanwhile, a_sign_stays_in_a_word_that_changes_faster_than_it_is_read) {
  Peer other({path_, "shm"});
  InVariant mine(variant_named("shm"));
  SharedMemoryLock lock(path_);
  lock.acquire(0s);
  line_up_and_leave(other);
  mine.system().before = [&](os::Call) {
    change_word([](shm::LockWord& word) { word.number += word.is_free() ? 1U : 0U; });
    return 0;
  };
  lock.release();
  EXPECT_TRUE(shm::LockWord::decode(get(shm::header::word)).waiters);
  mine.system().before = nullptr;
  EXPECT_EQ(other.ask("acquire 0"), "held");
}

TEST_F(SharedMemoryMeanwhile, a_slot_that_is_written_all_the_time_proves_nothing) {
  Peer holder({path_, "shm"});
  InVariant mine(variant_named("shm"));
  SharedMemoryLock lock(path_);
  hold_once(lock);
  for (const std::string how : {"acquire 0", "share 0"}) {
    ASSERT_EQ(holder.ask(how), "held");
    const std::size_t at = shm::slot_at(1) + (how == "share 0" ? shm::slot::mark : shm::slot::state);
    const std::uint64_t before = get(at);
    mine.system().before = [&](os::Call call) {
      if (call == os::Call::load) set(at, get(at) + 2);
      return 0;
    };
    try {
      lock.acquire(0s);
      ADD_FAILURE() << how;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(how == "share 0" ? "(alive)" : "its slot says nothing"),
                std::string::npos)
          << error.what();
    }
    mine.system().before = nullptr;
    set(at, before);
    EXPECT_EQ(holder.ask("release"), "released");
  }
}

TEST_F(SharedMemoryMeanwhile, somebody_lines_up_and_the_sign_of_it_stays) {
  Peer other({path_, "shm"});
  bool came = false;
  bool stays = false;
  before_each_call(
      [&](SharedMemoryLock& lock) {
        lock.acquire(0s);
        line_up_and_leave(other);
      },
      [](SharedMemoryLock& lock) { lock.release(); },
      [&] {
        came = shm::LockWord::decode(get(shm::header::word)).waiters;
        change_word([](shm::LockWord& word) {
          word.waiters = true;
          word.turn = (word.turn + 1) % shm::LockWord::turns;
        });
      },
      [&](SharedMemoryLock& lock) {
        stays = stays || (came && shm::LockWord::decode(get(shm::header::word)).waiters);
        hold_once(lock);
        hold_once(lock);
        EXPECT_FALSE(shm::LockWord::decode(get(shm::header::word)).waiters) << "nobody waits";
      });
  EXPECT_TRUE(stays);
}

TEST_F(SharedMemoryMeanwhile, a_file_that_is_cut_short_under_a_look_is_damaged) {
  make();
  const std::string good = read_file(word());
  std::error_code code;
  int told = 0;
  before_each_call(
      nothing, [&](SharedMemoryLock& lock) { (void)lock.is_locked(code); },
      [&] { std::filesystem::resize_file(word(), 200); },
      [&](SharedMemoryLock& /*lock*/) {
        EXPECT_TRUE(!code || code == std::errc::bad_message) << code.message();
        if (code) ++told;
        write_file(word(), good);
      });
  EXPECT_GT(told, 1);
}

TEST_F(SharedMemoryMeanwhile, a_look_that_is_refused_is_told_also_of_a_file_that_is_shorter_than_it_says) {
  make();
  const std::string good = read_file(word());
  for (const bool cut : {true, false}) {
    write_file(word(), good.substr(0, good.size() - (cut ? 1 : 0)));
    if (!cut) set(shm::header::used, 900);
    std::error_code code;
    int refused = 0;
    bool reached = true;
    for (int at = 1; reached; ++at) {
      InVariant mine(variant_named("shm"));
      SharedMemoryLock lock(path_);
      int calls = 0;
      mine.system().before = [&](os::Call) { return ++calls == at ? EIO : 0; };
      EXPECT_FALSE(lock.is_locked(code));
      mine.system().before = nullptr;
      reached = calls >= at;
      EXPECT_TRUE(code == std::errc::io_error || code == std::errc::bad_message) << at << ": " << code.message();
      if (code == std::errc::io_error) ++refused;
    }
    EXPECT_GT(refused, 3);
  }
}

TEST_F(SharedMemoryMeanwhile, a_file_that_another_boot_has_left_is_busy_while_somebody_sets_it_back) {
  Peer holder({path_, "shm"});
  ASSERT_EQ(holder.ask("acquire 0"), "held");
  const std::uint64_t boot = get(shm::header::boot);
  const int resetter = ::open(word().c_str(), O_RDWR | O_CLOEXEC);
  struct flock reset = {};
  reset.l_type = F_WRLCK;
  reset.l_start = static_cast<off_t>(shm::reset_byte);
  reset.l_len = 1;
  ASSERT_EQ(::fcntl(resetter, F_OFD_SETLK, &reset), 0);
  int waited = 0;
  bool broken = false;
  for (int at = 1; !broken; ++at) {
    InVariant mine(variant_named("shm"));
    SharedMemoryLock lock(path_);
    const Holder hold = lock.holder().value();
    int calls = 0;
    mine.system().before = [&](os::Call call) {
      if (++calls == at) set(shm::header::boot, 4711);
      if (call == os::Call::wait) ++waited;
      return 0;
    };
    broken = lock.break_lock(hold);
    mine.system().before = nullptr;
    set(shm::header::boot, boot);
  }
  EXPECT_GT(waited, 0);
  ::close(resetter);
}

// Without unnamed files it has a side name at first.
TEST_F(SharedMemoryMeanwhile, a_cleaner_or_another_maker_comes_while_the_file_is_made) {
  Variant variant = variant_named("shm_without_unnamed_files");
  for (const bool links : {true, false}) {
    variant.missing.hard_links = !links;
    for (const bool cleaner : {true, false}) {
      before_each_call([&](SharedMemoryLock& /*lock*/) { std::filesystem::remove(word()); },
                       [](SharedMemoryLock& lock) { EXPECT_EQ(code_of([&] { lock.acquire(0s); }), std::error_code()); },
                       [&] {
                         if (cleaner) {
                           std::thread([&] {
                             std::error_code code;
                             (void)leftovers(scratch_.path().string(), Clean::remove_dead, code);
                           }).join();
                         } else if (!std::filesystem::exists(word())) {
                           std::thread([&] { make(); }).join();
                         }
                       },
                       [&](SharedMemoryLock& lock) {
                         lock.release();
                         EXPECT_EQ(scratch_.names(), std::vector<std::string>{"a.lock"});
                       },
                       variant);
    }
  }
}

}  // namespace
}  // namespace lockfile::testing
