// What a lock object is inside: its hold, the identity of who holds it, and its verbs. Each form of a public verb is
// one call of a verb here, which says what happened and throws nothing but bad_alloc.
#pragma once

#include "core/holdings.hpp"
#include "core/lines.hpp"
#include "core/trust.hpp"
#include "core/waiting.hpp"
#include "os/process.hpp"

#include <lockfile/error.hpp>
#include <lockfile/options.hpp>
#include <lockfile/scheme.hpp>
#include <lockfile/wait.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace lockfile::core {

/// What came of a verb.
struct Outcome {
  std::error_code code;      ///< none: done
  std::string what;          ///< the step that failed, where one did
  std::optional<Holder> by;  ///< who holds, where somebody does

  Outcome() noexcept {}  // NOLINT(modernize-use-equals-default): else each one is cleared from end to end before
  Outcome(std::error_code why, std::string step, std::optional<Holder> holder) noexcept
      : code(why), what(std::move(step)), by(std::move(holder)) {}

  [[nodiscard]] bool ok() const noexcept { return !code; }
};

/// Which verb failed, for the message and the type of exception.
enum class Verb : std::uint8_t {
  lock,
  release,
  upgrade,
  downgrade,
  tell,
  break_it,
  hand_over,
  renew,
  initialise,
  list
};
[[noreturn]] void raise(Verb verb, const std::string& display, const std::string& path, Outcome outcome);

/// Does one of them hold: may it live, and has its lease not run out?
[[nodiscard]] bool any_lives(const std::vector<Holder>& holders) noexcept;

/// So that the next so many fit in without needing memory.
template <class T>
void make_room(std::vector<T>& table, std::size_t more) {
  if (table.capacity() - table.size() < more) table.reserve(2 * table.size() + more);
}

class Engine {
 public:
  /// `display` is what messages call the lock.
  Engine(std::string path, std::string display, std::unique_ptr<Scheme> scheme, const Options& options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// The short way, for the lock that nobody else wants, by what the last hold has left. True: held, as after an
  /// `acquire`. False: nothing has changed; whatever is not as usual is left to `acquire`.
  [[nodiscard]] bool enter(Mode mode) noexcept;
  /// And out again. False: nothing has changed, and `release` will tell.
  [[nodiscard]] bool leave() noexcept;
  [[nodiscard]] Outcome acquire(Mode mode, const Wait& wait);
  [[nodiscard]] Outcome release();
  /// As `release`, says whether this thread had a hold to release at all, and keeps the code as `last_error`.
  [[nodiscard]] Outcome unlock(bool& had_one);
  /// Changes how the calling thread holds it; `had_one` as in `unlock`. In conversion.cpp.
  [[nodiscard]] Outcome convert(Mode to, const Wait& wait, bool& had_one);
  /// As `convert`, to a weaker mode only.
  [[nodiscard]] Outcome downgrade(Mode to, const Wait& wait, bool& had_one);
  [[nodiscard]] bool i_am_locking() noexcept;
  [[nodiscard]] Outcome holders(std::vector<Holder>& into);
  [[nodiscard]] Outcome waiters(std::vector<Waiter>& into);
  /// Breaks by force the hold that stands now, and no later one. `broken`: whether a hold was removed.
  [[nodiscard]] Outcome break_whoever(BreakWhat what, bool& broken);
  /// `broken`: whether a hold was removed.
  [[nodiscard]] Outcome break_hold(const Holder& hold, Proof proof, bool& broken);
  [[nodiscard]] Outcome hand_over(std::int64_t child);
  [[nodiscard]] Outcome share_guard(int& descriptor);
  [[nodiscard]] std::uint64_t fence() noexcept;
  [[nodiscard]] bool previous_holder_died() noexcept;

  // Leases, and being told of a loss: in trust.cpp.
  [[nodiscard]] Outcome renew();
  /// Nothing: the calling thread holds nothing, or without a lease.
  [[nodiscard]] std::optional<std::chrono::nanoseconds> lease_left() noexcept;
  /// Of the hold of the calling thread; where there is none, a request has been made already.
  [[nodiscard]] std::stop_token lost();
  /// A hold, for somebody who watches over it from another thread.
  struct Watched {
    std::int64_t identity = 0;
    std::shared_ptr<Trust> trust;
    std::chrono::milliseconds lease{0};
  };
  [[nodiscard]] Outcome watch_over(Watched& into);
  enum class Kept : std::uint8_t {
    yes,
    unsure,  ///< it could not be looked at, or not renewed, and may go on
    lost,
    ended,  ///< by its holder, or it was told to be lost before
  };
  /// Looks whether it still is held, and renews it if `renew`. `on`: what to sleep on until the next look.
  [[nodiscard]] Kept look_after(const Watched& watched, bool renew, std::vector<Watch>& on);
  [[nodiscard]] os::Process& process() const noexcept { return state_->process; }

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] const std::string& display() const noexcept { return display_; }
  [[nodiscard]] std::string_view scheme() noexcept;
  [[nodiscard]] std::error_code last_error() noexcept;
  void set_last_error(std::error_code error) noexcept;
  [[nodiscard]] os::System& system() noexcept { return state().process.system(); }

 private:
  struct Hold {
    std::int64_t identity = 0;
    Mode mode = Mode::exclusive;
    std::size_t count = 1;
    std::uint64_t fence = 0;
    bool previous_holder_died = false;
    std::unique_ptr<Attempt> attempt;
    std::shared_ptr<Trust> trust = nullptr;  // null: nobody wants to be told when it is lost
  };
  /// Holds that were broken, and how often their identity will still release them.
  struct Lost {
    std::int64_t identity = 0;
    std::size_t count = 0;
  };
  /// One acquire on its way: what it asks for, and its attempt once it has one.
  struct Asking {
    Request request;
    std::unique_ptr<Attempt> attempt;
    bool lines_up = false;    // not tried, for others of this process wait already, or hold
    bool behind_own = false;  // another thread of this object holds
    bool is_heir = false;     // in line, and takes what this object passes on
    std::optional<std::chrono::steady_clock::time_point> patience;  // until then it relies on being woken
  };

  /// What belongs to one process. A forked child starts with an empty one and leaves its parent's where it is: its
  /// mutex may be locked by a thread that the child does not have.
  struct State {
    explicit State(os::Process& its_process)
        : process(its_process), lines(its_process.part<Lines>()), count(its_process.part<Holdings>()) {}
    void holds_changed() noexcept { count.set(holds.size()); }
    os::Process& process;
    Lines& lines;
    Line* line = nullptr;  // entered by the first acquire
    os::Mutex mutex;       // covers every step of every attempt of this object
    // One for each identity (the thread, or 0 where all threads are one). Few, and their memory is kept: a hold costs
    // none.
    std::vector<Hold> holds;  // after each change of how many: `holds_changed`
    Holdings::Count count;
    std::vector<Lost> lost;
    std::array<std::unique_ptr<Attempt>, 2> kept;  // for the next holds: one more where threads take turns
    // An exclusive hold between the hands of two threads of this object: see passing.cpp.
    std::unique_ptr<Attempt> passed;
    std::size_t passes = 0;     // how often it has been passed on since it was acquired,
    std::size_t overtaken = 0;  // and past the first in line
    std::chrono::steady_clock::time_point passing_since;
    std::size_t inherited = 0;  // in a forked child: how often its parent's guards will unlock
    std::error_code last_error;
    std::shared_ptr<os::Notifier::Instance> instance;
    std::shared_ptr<Trust> to_tell;  // of holds that were found lost
    std::unique_ptr<State> parents;
  };

  /// Locks the object's mutex, and after unlocking it tells those whose holds were found lost: what they do then may
  /// be a verb of this object.
  class Locked {
   public:
    explicit Locked(State& state) noexcept : state_(state) { state_.process.system().lock(state_.mutex); }
    Locked(const Locked&) = delete;
    Locked& operator=(const Locked&) = delete;
    ~Locked();

   private:
    State& state_;
  };

  [[nodiscard]] State& state();
  [[nodiscard]] State* state_or_null() noexcept;
  [[nodiscard]] std::int64_t identity_of(std::int64_t thread) const noexcept { return threaded_ ? thread : 0; }
  /// The hold of that identity; null: none.
  [[nodiscard]] static Hold* hold_of(State& state, std::int64_t identity) noexcept;
  [[nodiscard]] static Lost* lost_of(State& state, std::int64_t identity) noexcept;
  /// The hold of the calling thread; null: none.
  [[nodiscard]] Hold* my_hold(State& state) const noexcept;
  /// Takes a hold out of the table.
  [[nodiscard]] static Hold take(State& state, Hold& hold) noexcept;
  [[nodiscard]] Line* line_of(State& state) const;
  [[nodiscard]] bool can(Mode mode) const noexcept;
  [[nodiscard]] Outcome refused(Mode mode);
  [[nodiscard]] std::optional<Step> re_enter(State& state, const Request& request);
  [[nodiscard]] static bool still_held(const Hold& hold, std::error_code& why) noexcept;
  static void tell_lost(State& state, Hold& hold) noexcept;
  [[nodiscard]] static Trust& trust_of(Hold& hold);
  [[nodiscard]] static Outcome renew_hold(State& state, Hold& hold);
  static void note_lost(State& state, Hold& hold);
  static void note_all_lost_to(State& state, Mode granted, std::int64_t identity);
  [[nodiscard]] Step first_try(State& state, Asking& asking, bool at_once);
  [[nodiscard]] Step step_and_keep(State& state, Asking& asking);
  [[nodiscard]] Step step_again(State& state, Asking& asking);
  [[nodiscard]] Outcome wait_for_it(State& state, Asking& asking, Blocked blocked, const Limit& limit,
                                    const std::stop_token& stop);
  [[nodiscard]] std::unique_ptr<Attempt> attempt_for(State& state, const Request& request);
  static void keep(State& state, std::unique_ptr<Attempt> attempt) noexcept;
  [[nodiscard]] static Outcome outcome_of(Failed failed);
  [[nodiscard]] static Outcome outcome_of(Waited waited, const Limit& limit);
  [[nodiscard]] bool is_deadlock(const std::optional<Holder>& by, std::int64_t thread) const noexcept;
  /// As it, by a further look. Under the object's mutex.
  [[nodiscard]] bool is_deadlock_still(const std::optional<Holder>& by, std::int64_t thread);
  [[nodiscard]] Outcome release_in(State& state, bool& had_one);
  [[nodiscard]] Outcome end_hold(State& state, Hold& hold);
  [[nodiscard]] Outcome nothing_to_release();
  [[nodiscard]] std::optional<Outcome> begin_conversion(State& state, std::int64_t identity, Mode to, bool& had_one);
  [[nodiscard]] Step convert_step(State& state, std::int64_t identity, Mode to);
  void end_conversion(State& state, std::int64_t identity) noexcept;
  [[nodiscard]] std::optional<Holder> look_for_holder(State& state);
  [[nodiscard]] std::optional<Holder> who_is_in_the_way(State& state, std::optional<Holder> met, std::int64_t thread);
  void withdraw(State& state, std::unique_ptr<Attempt>& attempt) noexcept;
  // In passing.cpp.
  [[nodiscard]] bool is_passed_on(Mode mode) const noexcept;
  [[nodiscard]] static bool holds_exclusively(const State& state) noexcept;
  [[nodiscard]] static bool pass_on(State& state, Hold& ended);
  [[nodiscard]] bool take_passed(State& state, const Asking& asking);
  [[nodiscard]] bool overtake(State& state, const Asking& asking);
  [[nodiscard]] bool is_patient(State& state, Asking& asking) const;
  static void end_passing(State& state) noexcept;
  static void wake_heir(State& state) noexcept;
  void settle_passed(State& state) noexcept;

  std::string path_;
  std::string display_;
  bool threaded_;
  bool fence_;
  std::chrono::milliseconds lease_;
  std::unique_ptr<Scheme> scheme_;
  Traits traits_;        // the scheme's
  bool opens_sessions_;  // as it
  std::unique_ptr<State> state_;
};

}  // namespace lockfile::core
