// One life of a lock under some trouble, and what has to be true of it whatever the trouble: nothing is held that is
// not, nothing but contention is waited for, an error names the lock and the cause, and when the trouble is over the
// lock is to be had and the directory clean.
#pragma once

#include "fault/world.hpp"
#include "support/scratch.hpp"

#include <lockfile/lockfile.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lockfile::testing {

/// What makes the calls of one process fail.
class Trouble {
 public:
  Trouble() = default;
  Trouble(const Trouble&) = delete;
  Trouble& operator=(const Trouble&) = delete;
  virtual ~Trouble() = default;

  /// Asked before each call while it is on: an error number, or 0.
  virtual int before(os::Call /*call*/) { return 0; }
  /// To so many bytes a read or write is cut.
  [[nodiscard]] virtual std::size_t cut(os::Call /*call*/) const { return all_bytes; }
  /// Of a call that has succeeded, so that it is made again.
  virtual bool loses_reply(os::Call /*call*/) { return false; }
  virtual void begin() {}  ///< it is on again
  virtual void end() {}    ///< it is off for a while
  virtual void enter() {}  ///< from here on it is the library that runs, not the test
  virtual void leave() {}
  /// Does it say things that are not so? An error number can be a statement, "there is no such name", and a caller has
  /// to believe it. Then what is reported may be wrong, but for a hold.
  [[nodiscard]] virtual bool is_a_lie() const { return false; }
  /// Did it keep the process from removing something?
  [[nodiscard]] virtual bool hindered_a_removal() const { return false; }
  /// Does nothing work any more?
  [[nodiscard]] virtual bool is_total() const { return false; }
  /// May a verb fail with this because of it?
  [[nodiscard]] virtual bool explains(int /*error*/) const { return false; }
  [[nodiscard]] virtual std::string describe() const { return "without any trouble"; }
};

/// A lock at PATH and the processes around it. The subject has the trouble; all others have none.
class Stage {
 public:
  Stage(const Setting& setting, std::string directory, Trouble& trouble);
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;
  ~Stage();

  // --- what is there beforehand ---
  /// The other process holds the lock. False: not in that mode there.
  bool other_holds(Mode mode = Mode::exclusive);
  /// It shares the lock, where readers can be together.
  void other_reads();
  /// A third one was killed while it held. False: not in that mode there.
  bool a_dead_one_holds(Mode mode = Mode::exclusive);
  /// So that the other lets go, or dies, as soon as the subject sleeps.
  enum class Ends : std::uint8_t { releases, dies };
  void other_ends_when_waited_for(Ends how);
  /// So that somebody removes first the line and then the FIFOs when the subject sleeps, and the other lets go then.
  /// Only of memory, where who upgrades stands in line. `makes_another`: and a fourth one makes a line at once.
  void line_goes_when_waited_for(bool makes_another);
  /// A fourth one stands in line, where there is one, and does nothing more until the subject has been there.
  void one_stands_in_line();
  /// Other users may make names in the directory, so readers do without what the kernel keeps from them.
  void others_may_come();
  /// A file or directory of another program stands there.
  void a_foreign_file_stands();
  void a_foreign_directory_stands();
  /// An empty directory with the mark: somebody was killed between two steps of the mkdir scheme.
  void a_vacant_directory_stands();
  /// One of each kind of name that the dead leave beside a lock. Somebody dead holds.
  void all_sorts_are_left();
  /// Somebody who breaks was stopped in the middle of it, and keeps REMOVE of the subject's hold.
  void a_breaker_is_stuck();

  // --- what the subject does, with the trouble once it has begun ---
  void begin();
  /// It starts, asks who it is, and has a lock object.
  void open(const Options& options = {});
  bool acquire(const Wait& wait, Mode mode = Mode::exclusive);
  void upgrade(const Wait& wait);
  void downgrade(Mode to);
  void release();
  void renew();
  void break_stale();
  void break_by_force(BreakWhat what);
  void hand_over();
  void look();
  void clean(Clean how = Clean::remove_dead);
  void examine();
  void wait_until_free(const Wait& wait);
  /// The lock object is destroyed.
  void drop();

  /// What holds in the end. To be called once, last.
  void finish();
  [[nodiscard]] std::size_t most_open() const noexcept { return subject_.most_open(); }

 private:
  class Calm;
  class Inside;
  enum class Held : std::uint8_t { no, by_nobody, by_subject, by_other, by_dead, by_stranger };

  [[nodiscard]] Options options() const { return {.scheme = std::string(setting_.variant->scheme)}; }
  [[nodiscard]] bool on_the_file() const { return is_kernel(*setting_.variant); }
  [[nodiscard]] bool file_stays() const { return on_the_file() || is_memory(*setting_.variant); }
  [[nodiscard]] std::string word() const { return path_ + (on_the_file() ? "" : ".lock"); }
  void remove_file_that_stays() const;
  [[nodiscard]] bool deceived() const { return trouble_.is_a_lie(); }
  template <class Verb>
  [[nodiscard]] std::error_code run(Verb verb);
  template <class Verb>
  [[nodiscard]] std::error_code try_verb(Verb verb);
  void check_failure(std::error_code code);
  void expect_number();
  void check_conversion(std::error_code code);
  void expect_no_reader();
  bool other_ends(Ends how);
  void other_leaves();
  void the_one_in_line_leaves();
  [[nodiscard]] std::error_code bystander_tries();
  void expect_obtainable(std::string_view when);
  void note_idle_sleep();
  [[nodiscard]] std::vector<std::string> names_left() const;

  const Setting& setting_;
  std::string directory_;
  std::string path_;
  Trouble& trouble_;
  World world_;
  Mortal subject_;
  Mortal other_;
  Mortal bystander_;
  Mortal waiter_;
  std::unique_ptr<FileLock> lock_;
  std::unique_ptr<FileLock> others_;
  std::unique_ptr<os::File> breaker_;
  std::unique_ptr<Scheme> scheme_in_line_;
  std::unique_ptr<Attempt> in_line_;
  Held held_ = Held::no;
  bool other_reads_ = false;
  int count_ = 0;           // of the subject's acquires
  bool exclusive_ = false;  // by an upgrade
  std::string hold_;        // which one it is
  bool fenced_ = false;
  std::uint64_t fence_ = 0;  // of the last hold
  std::string said_;         // by the last verb that failed
  bool calm_ = true;
  long idle_sleeps_ = 0;    // of the subject, while nobody held
  bool dead_left_ = false;  // what the dead leave may be there
  bool stands_ = false;     // the subject's lock file may, after its end
};

/// A piece of a lock's life: what is there, and what the subject does.
struct Scenario {
  std::string_view name;
  void (*play)(Stage&);
  bool of_lock_files = false;  ///< speaks of what locks on a file that stays do not have
};
[[nodiscard]] std::span<const Scenario> scenarios();
/// Those that can be played there.
[[nodiscard]] std::vector<Scenario> scenarios_of(const Setting& setting);

/// A directory to be in, empty at the beginning of each life.
class Ground {
 public:
  Ground();
  Ground(const Ground&) = delete;
  Ground& operator=(const Ground&) = delete;
  ~Ground();
  [[nodiscard]] std::string path() const { return scratch_.path().string(); }
  void clear() const;

 private:
  Scratch scratch_;
  std::filesystem::path before_;
};

/// One life, with all that has to be true of it. How many descriptors did the subject have open at most?
std::size_t play(const Setting& setting, const Scenario& scenario, const Ground& ground, Trouble& trouble);

/// Tests that live through scenarios, in every setting.
class Lives : public ::testing::TestWithParam<Setting> {
 protected:
  /// False: something was not as it has to be.
  bool live(const Scenario& scenario, Trouble& trouble);

  Ground ground_;
  std::size_t most_open_ = 0;  // in the last life
};

#define FAULT_IN_EVERY_SETTING(Suite)                                     \
  INSTANTIATE_TEST_SUITE_P(every, Suite, ::testing::ValuesIn(settings()), \
                           [](const auto& each) { return each.param.name; })

}  // namespace lockfile::testing
