// What a lock object is inside: its hold, the identity of who holds it, and its verbs. Each form of a public verb is
// one call of a verb here, which says what happened and throws nothing but bad_alloc.
#pragma once

#include "core/lines.hpp"
#include "core/waiting.hpp"
#include "os/process.hpp"

#include <lockfile/error.hpp>
#include <lockfile/options.hpp>
#include <lockfile/scheme.hpp>
#include <lockfile/wait.hpp>

#include <map>
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

  [[nodiscard]] bool ok() const noexcept { return !code; }
};

/// Which verb failed, for the message and the type of exception.
enum class Verb : std::uint8_t { lock, release, upgrade, downgrade, tell, break_it, hand_over };
[[noreturn]] void raise(Verb verb, const std::string& display, const std::string& path, Outcome outcome);

/// Does one of them live, or may?
[[nodiscard]] bool any_lives(const std::vector<Holder>& holders) noexcept;

class Engine {
 public:
  /// `display` is what messages call the lock.
  Engine(std::string path, std::string display, std::unique_ptr<Scheme> scheme, const Options& options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  [[nodiscard]] Outcome acquire(Mode mode, const Wait& wait);
  [[nodiscard]] Outcome release();
  /// As `release`, and says whether this thread had a hold to release at all.
  [[nodiscard]] Outcome unlock(bool& had_one);
  /// Changes how the calling thread holds it; `had_one` as in `unlock`. In conversion.cpp.
  [[nodiscard]] Outcome convert(Mode to, const Wait& wait, bool& had_one);
  /// As `convert`, to a weaker mode only.
  [[nodiscard]] Outcome downgrade(Mode to, const Wait& wait, bool& had_one);
  [[nodiscard]] bool i_am_locking() noexcept;
  [[nodiscard]] Outcome holders(std::vector<Holder>& into);
  /// Breaks by force the hold that stands now, and no later one. `broken`: whether a hold was removed.
  [[nodiscard]] Outcome break_whoever(BreakWhat what, bool& broken);
  /// `broken`: whether a hold was removed.
  [[nodiscard]] Outcome break_hold(const Holder& hold, Proof proof, bool& broken);
  [[nodiscard]] Outcome hand_over(std::int64_t child);
  [[nodiscard]] Outcome share_guard(int& descriptor);
  [[nodiscard]] std::uint64_t fence() noexcept;

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] const std::string& display() const noexcept { return display_; }
  [[nodiscard]] std::string_view scheme() noexcept;
  [[nodiscard]] std::error_code last_error() noexcept;
  void set_last_error(std::error_code error) noexcept;
  [[nodiscard]] os::System& system() noexcept { return state().process.system(); }

 private:
  struct Hold {
    std::unique_ptr<Attempt> attempt;
    Mode mode = Mode::exclusive;
    std::size_t count = 1;
    std::uint64_t fence = 0;
  };
  /// By identity: the thread, or 0 where all threads are one.
  using Holds = std::map<std::int64_t, Hold>;

  /// What belongs to one process. A forked child starts with an empty one and leaves its parent's where it is: its
  /// mutex may be locked by a thread that the child does not have.
  struct State {
    explicit State(os::Process& its_process) : process(its_process), lines(its_process.part<Lines>()) {}
    os::Process& process;
    Lines& lines;
    os::Mutex mutex;  // covers every step of every attempt of this object
    Holds holds;
    std::map<std::int64_t, std::size_t> lost;  // holds that were broken, and how often they will still be released
    std::size_t inherited = 0;                 // in a forked child: how often its parent's guards will unlock
    std::error_code last_error;
    std::shared_ptr<os::Notifier::Instance> instance;
    std::unique_ptr<State> parents;
  };

  [[nodiscard]] State& state();
  [[nodiscard]] State* state_or_null() noexcept;
  [[nodiscard]] std::int64_t identity_of(std::int64_t thread) const noexcept { return threaded_ ? thread : 0; }
  /// The hold of the calling thread; null: none.
  [[nodiscard]] Hold* my_hold(State& state) const noexcept;
  [[nodiscard]] std::optional<Step> re_enter(State& state, std::int64_t identity, Mode mode);
  void note_lost(State& state, Holds::iterator hold);
  void note_all_lost_to(State& state, Mode granted);
  [[nodiscard]] Step step_and_keep(State& state, std::unique_ptr<Attempt>& attempt, const Request& request);
  [[nodiscard]] static Outcome outcome_of(Failed failed);
  [[nodiscard]] static Outcome outcome_of(Waited waited, const Limit& limit);
  [[nodiscard]] bool is_deadlock(const std::optional<Holder>& by, std::int64_t thread) const noexcept;
  [[nodiscard]] Outcome release_in(State& state, bool& had_one);
  [[nodiscard]] Outcome end_hold(State& state, Holds::iterator hold);
  [[nodiscard]] Outcome nothing_to_release();
  [[nodiscard]] std::optional<Outcome> begin_conversion(State& state, std::int64_t identity, Mode to, bool& had_one);
  [[nodiscard]] Step convert_step(State& state, std::int64_t identity, Mode to);
  void end_conversion(State& state, std::int64_t identity) noexcept;
  [[nodiscard]] std::optional<Holder> look_for_holder(State& state);
  void withdraw(State& state, std::unique_ptr<Attempt>& attempt);

  std::string path_;
  std::string display_;
  bool threaded_;
  bool fence_;
  std::unique_ptr<Scheme> scheme_;
  std::unique_ptr<State> state_;
};

}  // namespace lockfile::core
