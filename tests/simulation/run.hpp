// One run of a scenario: participants that run the library's own code on fibers, faults that strike, and somebody who
// chooses, before each step, who goes next. A step is one call of the system and the code after it up to the next.
#pragma once

#include "os/process.hpp"
#include "simulation/fiber.hpp"
#include "simulation/line_oracle.hpp"
#include "simulation/oracle.hpp"
#include "simulation/system.hpp"
#include "simulation/world.hpp"

#include <lockfile/file_lock.hpp>
#include <lockfile/inspect.hpp>
#include <lockfile/semaphore.hpp>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lockfile::simulation {

class Run;
class Script;
struct Scenario;

/// Who may go next: a bit for each actor.
using Actors = std::uint32_t;

/// Decides the order of a run.
class Chooser {
 public:
  Chooser() = default;
  Chooser(const Chooser&) = delete;
  Chooser& operator=(const Chooser&) = delete;
  virtual ~Chooser() = default;
  /// One of `can`, or -1: there is nothing new to see on this way. `last` went before, if anybody did. `clock`: time.
  virtual int choose(Actors can, int last, int clock) = 0;
  /// The step of the one that was chosen has done this. `alone`: it could only happen because nobody else could go on.
  virtual void stepped(int actor, const Footprint& footprint, bool alone) = 0;
};

/// A process of the simulated world and the library's idea of it.
struct SimulatedProcess {
  SimulatedProcess(Run& run, Process& process);
  Process& process;
  SimulatedSystem system;
  std::unique_ptr<os::Process> library;
  int threads = 0;
};

/// Something that runs a script: a thread of a process.
struct Participant {
  std::string name;
  int number = 0;
  SimulatedProcess* process = nullptr;
  std::function<void(Script&)> script;
  std::unique_ptr<Fiber> fiber;
  enum class State : std::uint8_t { ready, asleep, at_mutex, ended, gone };
  State state = State::ready;
  bool begun = false;
  bool abandoned = false;  // in the middle of a call that does not return
  bool stopped = false;
  std::optional<std::chrono::steady_clock::time_point> suspended_at;  // stopped with its whole machine
  // Asleep:
  std::vector<int> waits_for;
  std::optional<std::chrono::steady_clock::time_point> wakes_at;
  const os::Mutex* mutex = nullptr;
  std::optional<std::chrono::steady_clock::time_point> deadline;  // of the verb it is in
  std::string_view verb;                                          // that it is in; empty: none
  Mode mode = Mode::exclusive;                                    // that it asks for
  std::optional<std::size_t> breaks;                              // the break of whoever holds that it is at
  std::size_t published = 0;                                      // the step in which it last made W its own
  std::size_t asked = 0;                                          // the step in which its verb began
  std::size_t admitted = 0;                                       // the step since which W itself is its own
  bool removes = false;                                           // it has begun to
  std::uint64_t line_seen = 0;                                    // the inode that it last found under the line's name
};

/// Something that happens to them, in one or several steps.
struct Fault {
  std::string name;
  Participant* victim = nullptr;
  std::vector<std::function<void()>> steps;
  std::size_t done = 0;
  std::optional<std::chrono::steady_clock::time_point> from;  // not before that
};

/// What one run showed.
struct Outcome {
  std::string violation;  ///< a sentence; empty: none
  std::size_t steps = 0;
  bool given_up = false;
  std::vector<int> choices;
  std::vector<std::string> trace;
};

/// How scenarios are put on the stage.
class Run {
 public:
  Run(const Scenario& scenario, Chooser& chooser, bool tracing);
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;
  ~Run();

  Outcome execute();

  // For scenarios.
  Host& host(std::string name = "h");
  SimulatedProcess& process(Host& host, std::string name, std::uint64_t space = 1, std::int64_t pid = 0);
  Participant& participant(SimulatedProcess& process, std::string name, std::function<void(Script&)> script);
  Participant& participant(std::string name, std::function<void(Script&)> script);
  /// Runs before everything else, without a choice, and then its process dies if it is to.
  enum class Then : std::uint8_t { lives_on, dies, dies_and_pid_is_reused };
  SimulatedProcess& earlier(SimulatedProcess& process, std::string name, std::function<void(Script&)> script,
                            Then then);
  void kill(Participant& victim);
  void kill_process(SimulatedProcess& victim);
  /// For several threads of one process.
  [[nodiscard]] std::shared_ptr<Lock> shared_lock(SimulatedProcess& process, const std::string& scheme);
  /// Keeps a lock object beyond its script.
  void keep(std::shared_ptr<Lock> lock) { kept_.push_back(std::move(lock)); }
  void kill_and_reuse_pid(Participant& victim);
  void stop(Participant& victim);
  /// The fault that was added last does not strike before so much time has passed; and then before any more passes.
  void only_after(std::chrono::milliseconds time) { faults_.back().from = began_ + time; }
  /// The host's machine sleeps for a while.
  void suspend(Host& host);
  void fail(Participant& victim, int error);
  void lose_reply(Participant& victim);
  void close_descriptors(Participant& victim);
  void fork(Participant& victim, bool child_stays);
  void power_cut(Host& host);
  /// At once, while the stage is set.
  void power_cut_now(Host& here);
  void server_drops_locks(Host& host);

  [[nodiscard]] World& world() noexcept { return world_; }
  [[nodiscard]] Oracle& oracle() noexcept { return oracle_; }
  [[nodiscard]] LineOracle& line_oracle() noexcept { return line_oracle_; }
  [[nodiscard]] const Scenario& scenario() const noexcept { return scenario_; }
  [[nodiscard]] Participant* current() noexcept { return current_; }
  [[nodiscard]] std::size_t steps() const noexcept { return steps_; }
  /// Since the stage was set.
  [[nodiscard]] std::chrono::steady_clock::duration time() const noexcept { return world_.peek_now() - began_; }

  // For the simulated system.
  /// The caller is about to make a step: others may go first. An error: what the step gives instead of being done.
  os::Status before_step();
  os::Status wait(SimulatedProcess& process, std::span<os::System::Waitable> on,
                  std::optional<std::chrono::steady_clock::time_point> deadline);
  void lock(SimulatedProcess& process, const os::Mutex& mutex);
  void unlock(SimulatedProcess& process, const os::Mutex& mutex);
  /// True once the run is over, and for those who died: what still runs then only unwinds.
  [[nodiscard]] bool over() const noexcept { return over_; }
  [[nodiscard]] bool tracing() const noexcept { return tracing_; }
  void say(std::string what);
  void violated(std::string sentence);
  /// That nobody has had the right to be admitted to the semaphore since before this one asked for units.
  void check_passed_by(const Participant& served);
  /// The caller has just made W mean its own hold, or moved into it.
  void oracle_published() noexcept {
    if (current_ != nullptr) current_->published = steps_;
  }
  /// In shared memory a hold is one of the word or of a mark, which have numbers of their own: a conversion changes it.
  void oracle_renumbered() noexcept {
    if (current_ != nullptr) oracle_.renumbered(*current_, steps_);
  }
  /// The caller has just made W mean its own hold, or has taken it away.
  void oracle_word(bool taken) noexcept {
    if (current_ != nullptr) current_->admitted = taken ? steps_ : 0;
  }
  /// W itself was made, by a link or a rename.
  void word_made();
  /// A word of a file that is mapped was changed by compare-and-exchange.
  void mapped_word_changed(const os::SharedWord& changed, std::uint64_t before, std::uint64_t after);
  /// W was found to be there.
  void looked_at_word();
  void opens_for_removal();
  /// That inode was found under the line's name.
  void looked_at_line(std::uint64_t inode);
  /// What has the line's name is about to be removed.
  void removes_line(std::uint64_t inode);
  [[nodiscard]] bool nobody_else_is_busy(const Participant& self) const;
  std::size_t begin_verb() noexcept { return ++verbs_; }
  [[nodiscard]] std::size_t verbs() const noexcept { return verbs_; }
  [[noreturn]] void ended_by(std::string_view message) noexcept;

  static constexpr std::string_view directory = "/d";
  static constexpr std::string_view path = "/d/f";
  static constexpr std::string_view word = "f.lock";

 private:
  enum class Phase : std::uint8_t { setting, exploring, closing };

  Participant& add(std::deque<Participant>& list, SimulatedProcess& process, std::string name,
                   std::function<void(Script&)> script);
  void add_fault(std::string name, Participant* victim, std::vector<std::function<void()>> steps);
  void explore();
  void close_up();
  void unwind();
  void die(Participant& victim, int deed);
  [[nodiscard]] Actors who_can();
  [[nodiscard]] bool can_go(const Participant& one);
  [[nodiscard]] bool finished(const Participant& one) const noexcept;
  void finish_step();
  Participant* next();
  void strike(Fault& fault);
  void tick();
  void let_all_go_on();
  [[nodiscard]] std::optional<std::chrono::steady_clock::time_point> next_tick();
  [[nodiscard]] bool somebody_looks_soon_for(const Participant& sleeper) const;
  void check_sleepers();
  void check_rest();
  void switch_to(Participant* to);
  void touch_self(Participant& one);
  [[nodiscard]] std::uint64_t key_of(const Participant& one) const noexcept;
  [[nodiscard]] int clock_number() const noexcept { return static_cast<int>(participants_.size() + faults_.size()); }

  const Scenario& scenario_;
  Chooser& chooser_;
  bool tracing_;
  World world_;
  Oracle oracle_;
  LineOracle line_oracle_;
  Phase phase_ = Phase::setting;
  std::deque<SimulatedProcess> processes_;
  std::deque<Participant> participants_;
  std::deque<Participant> others_;  // who ran before, and the last caller
  std::deque<Fault> faults_;
  std::map<const os::Mutex*, std::pair<std::uint64_t, const Participant*>> mutexes_;
  std::vector<std::shared_ptr<Lock>> kept_;
  Participant* current_ = nullptr;
  int actor_ = -1;  // whose step is being made
  bool alone_ = false;
  bool every_step_matters_ = false;  // some fault strikes between any two steps of its victim
  bool over_ = false;
  bool given_up_ = false;
  std::size_t steps_ = 0;
  std::size_t alone_steps_ = 0;
  std::size_t verbs_ = 0;
  std::size_t ticks_ = 0;
  int early_ticks_ = 0;
  const std::chrono::steady_clock::time_point began_;
  std::string violation_;
  std::vector<int> choices_;
  std::vector<std::string> trace_;
};

/// A story: who takes part, what may happen, and what may be expected.
struct Scenario {
  std::string name;
  std::string says;
  std::function<void(Run&)> set;
  FileSystemKind kind = {};
  /// Nobody may sleep beside a free lock: every change can be seen by an event here.
  bool wakes_by_events = true;
  /// A verb may fail for another reason than that somebody holds: something was made to fail.
  bool errors_allowed = false;
  /// The last caller must be granted, whatever happened.
  bool last_caller_enters = true;
  /// With the doctor's help, or without, nothing is left.
  enum class Leaves : std::uint8_t { nothing, nothing_after_doctor, unknown };
  Leaves leaves = Leaves::nothing_after_doctor;
  /// Waits whose time comes while others could still go on.
  int early_ticks = 0;
  /// The last caller asks for a fence too, and the file with the last number stays.
  bool fenced = false;
  /// Too large for every order.
  bool by_chance = false;
  /// How the last caller locks.
  Options last_caller = {};
  /// A semaphore of so many, all of which the last caller asks for instead; 0: none.
  std::size_t units = 0;
  /// Nobody breaks the right to be admitted to it: whoever has it is served before those who ask later.
  bool right_stands = true;
};

/// What a participant does. Each verb tells the oracles.
class Script {
 public:
  Script(Run& run, Participant& self) : run_(run), self_(self) {}

  struct Gone {};  ///< thrown to unwind a script whose process is gone

  /// The lock object of that name; made at the first use.
  void use(Options options) { options_ = std::move(options); }
  bool acquire() { return acquire_as("acquire", for_ever, std::nullopt); }
  bool acquire_for(std::chrono::milliseconds limit) { return acquire_as("timed acquire", limit, limit); }
  /// Acquires and never lets go: the lock object stays when the script has ended.
  bool acquire_and_keep();
  void hand_over(SimulatedProcess& child);
  bool try_acquire() { return acquire_as("try", std::chrono::milliseconds(0), std::nullopt); }
  /// What is acquired from now on.
  void in_mode(Mode mode) { self_.mode = mode; }
  void release();
  /// Renews the lease. True: it lasts anew.
  bool renew();
  /// As `acquire` and the like.
  bool upgrade() { return upgrade_as("upgrade", for_ever, std::nullopt); }
  bool upgrade_for(std::chrono::milliseconds limit) { return upgrade_as("timed upgrade", limit, limit); }
  bool try_upgrade() { return upgrade_as("upgrade at once", std::chrono::milliseconds(0), std::nullopt); }
  /// False: refused, and as before; a scheme or file system that cannot, too.
  bool downgrade(Mode to);
  void pair() {
    if (acquire()) release();
  }
  /// Looks who holds and breaks that hold by force.
  void look_and_break();
  void break_whoever();
  void break_stale();
  [[nodiscard]] std::optional<Holder> look();
  void break_this(const Holder& hold, std::size_t seen_at);
  [[nodiscard]] bool i_am_locking();
  /// A step in which nothing happens but that others may go on.
  void pause();
  /// Lets time pass.
  void sleep(std::chrono::nanoseconds how_long);
  [[nodiscard]] os::System& system() { return self_.process->system; }
  [[nodiscard]] Lock& lock();
  void drop_lock() { lock_.reset(); }
  [[nodiscard]] const std::shared_ptr<Lock>& kept() const noexcept { return lock_; }
  [[nodiscard]] Run& run() noexcept { return run_; }
  [[nodiscard]] Participant& self() noexcept { return self_; }
  /// As a program that knows nothing but mkdir: true if it got the lock.
  bool plain_mkdir();
  void plain_rmdir();
  /// Two threads of a process use one lock object.
  void share_lock(std::shared_ptr<Lock> lock) { lock_ = std::move(lock); }
  [[nodiscard]] std::shared_ptr<Lock> make_lock();
  void clean();
  /// Of the scenario's semaphore, waiting for them; given back by `give_back`.
  bool acquire_units(std::size_t wanted, const Wait& wait = for_ever);
  void give_back();
  /// As flock(1): opens the file to read, makes it where it is missing, and tries. True if it got the lock.
  bool plain_flock();
  enum class Leave : std::uint8_t { by_close, by_unlock, by_unlock_alone };
  void plain_unflock(Leave how);

 private:
  bool upgrade_as(std::string_view verb, const Wait& wait, std::optional<std::chrono::milliseconds> limit);
  bool acquire_as(std::string_view verb, const Wait& wait, std::optional<std::chrono::milliseconds> limit);
  void begin(std::string_view verb);
  void end(const std::error_code& error, bool expected);
  void in_section(const std::function<void()>& note);
  void check_gone() const {
    if (run_.over()) throw Gone{};
  }

  Run& run_;
  Participant& self_;
  Options options_;
  std::shared_ptr<Lock> lock_;
  Semaphore::Units units_;
  bool undisturbed_ = false;
  std::size_t verbs_before_ = 0;
  int plain_ = -1;
};

}  // namespace lockfile::simulation
