// The tormentor: bears processes, kills, stops and continues them, sees that those who live get on, and looks at what
// is left when all are dead.
#include "torture/torture.hpp"

#include "support/scratch.hpp"

#include <lockfile/inspect.hpp>
#include <lockfile/lockfile.hpp>

#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <limits>

namespace lockfile::torture {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr long deaths_in_a_round = 50;
constexpr auto patience = 2ms;  // an aim at a process that sleeps is not met: then it is hit where it sleeps

class Tormentor {
 public:
  Tormentor(const Course& course, const Settings& settings)
      : course_(course), settings_(settings), salt_(std::hash<std::string>()(course.name)) {}

  Report run() {
    const auto began = Clock::now();
    while (!is_enough() && !is_over()) {
      const long left = settings_.kills - report_.kills;
      const long goal = report_.kills + (left > 0 ? std::min(left, deaths_in_a_round) : deaths_in_a_round);
      begin_round();
      while (report_.kills < goal && !is_over()) torment();
      end_round();
      count();
      if (!is_over()) inspect(is_enough());
    }
    count();
    for (std::size_t law = 0; law < laws; ++law) report_.failures.at(law) = arena_.failures(static_cast<Law>(law));
    report_.sentences = arena_.sentences();
    report_.seconds = std::chrono::duration<double>(Clock::now() - began).count();
    return report_;
  }

 private:
  struct Victim {
    pid_t pid = 0;                  // 0: nobody is at that place
    std::uint64_t stopped_for = 0;  // events; 0: it runs
  };

  [[nodiscard]] Place& place(std::size_t at) { return arena_.place.at(at); }
  [[nodiscard]] std::string path(int lock) const { return scratch_ / lock_name(lock); }
  [[nodiscard]] bool is_over() const {
    return stuck_ || (settings_.until ? arena_.failures(*settings_.until) > 0 : arena_.failures() > 0);
  }
  [[nodiscard]] bool is_enough() const {
    return report_.kills >= settings_.kills && (shows(course_, report_) || report_.kills >= settings_.kills_at_most);
  }
  void count() {
    report_.holds = arena_.holds;
    report_.taken_over = arena_.taken_over;
    report_.forced = arena_.forced;
  }
  [[nodiscard]] bool anybody_stopped() const {
    return std::any_of(victims_.begin(), victims_.end(), [](const Victim& each) { return each.stopped_for > 0; });
  }
  [[nodiscard]] bool anybody_lives() const {
    return std::any_of(victims_.begin(), victims_.end(), [](const Victim& each) { return each.pid > 0; });
  }

  // What is left to chance is drawn from the number of the process, or of the event, alone: it does not depend on what
  // happened before.
  Life next_life(int at) {
    const std::uint32_t number = ++born_;
    Random random(settings_.seed, salt_, 1, number);
    Life life;
    life.place = at;
    life.number = number;
    life.variant = course_.variants.at(random.below(course_.variants.size()));
    life.thread_count = static_cast<int>(1 + random.below(threads));
    life.dies_at = random.once_in(4) ? 0 : 1 + random.below(random.once_in(2) ? 100 : 2000);
    life.turns = random.once_in(8) ? static_cast<int>(1 + random.below(40)) : std::numeric_limits<int>::max();
    life.seed = random.below(std::numeric_limits<std::uint64_t>::max());
    return life;
  }

  void bear(std::size_t at) {
    const Life life = next_life(static_cast<int>(at));
    Place& where = place(at);
    where.calls = 0;
    where.process = life.number;
    for (ThreadState& each : where.thread) {
      each.doing = Doing::nothing;
      each.key = 0;
    }
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) ::_exit(1);
      live(arena_, course_, life, scratch_.path().string());
    }
    where.pid = pid;
    victims_.at(at) = {pid, 0};
  }

  // Buries the dead, and sees who has stopped itself. The dead are written down before they are reaped, while their
  // numbers are still theirs.
  void bury() {
    bool somebody_died = false;
    for (std::size_t at = 0; at < victims_.size(); ++at) {
      Victim& victim = victims_.at(at);
      if (victim.pid == 0) continue;
      siginfo_t info{};
      const int events = WEXITED | WSTOPPED | WNOHANG | WNOWAIT;
      if (::waitid(P_PID, static_cast<id_t>(victim.pid), &info, events) != 0 || info.si_pid == 0) continue;
      if (info.si_code == CLD_STOPPED) {
        if (victim.stopped_for == 0) note_stop(victim);
        continue;
      }
      place(at).reaped = place(at).process.load();
      int status = 0;
      ::waitpid(victim.pid, &status, 0);
      if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
        ++report_.kills;
      } else if (status != 0) {
        arena_.fail(Law::error, "process " + std::to_string(place(at).process) + " ended " +
                                    (WIFSIGNALED(status) ? "by signal " + std::to_string(WTERMSIG(status))
                                                         : "with status " + std::to_string(WEXITSTATUS(status))));
      }
      victim = {};
      ++deaths_;
      somebody_died = true;
      if (!arena_.closing) bear(at);
    }
    if (somebody_died && course_.variants.front()->missing.marks) clear_half_made();
  }

  void begin_round() {
    arena_.closing = false;
    for (std::size_t at = 0; at < victims_.size(); ++at) bear(at);
    see_progress();
  }

  void see_progress() {
    progress_ = arena_.progress + deaths_;
    last_progress_ = Clock::now();
  }

  // One event: waits until a process has come to a random point, and kills or stops it there.
  void torment() {
    const std::uint64_t event = ++events_;
    Random random(settings_.seed, salt_, 2, event);
    const std::size_t at = random.below(places);
    const auto what = random.below(8);  // 0 to 2: kill; 3 and 4: stop; else see what they do to themselves
    const bool at_a_step = random.once_in(2);
    const auto step = static_cast<Doing>(1 + random.below(doings - 1));
    const std::uint64_t calls = place(at).calls + random.below(80);
    const pid_t pid = victims_.at(at).pid;
    const auto is_there = [&](const ThreadState& thread) { return thread.doing == step; };
    const auto arrived = [&] {
      const Place& it = place(at);
      return at_a_step ? std::any_of(it.thread.begin(), it.thread.end(), is_there) : it.calls >= calls;
    };
    const auto give_up = Clock::now() + patience;
    while (!arrived() && Clock::now() < give_up) ::sched_yield();
    if (what <= 2) {
      ::kill(pid, SIGKILL);
    } else if (what <= 4 && victims_.at(at).stopped_for == 0) {
      ::kill(pid, SIGSTOP);
      note_stop(victims_.at(at));
    }
    for (Victim& each : victims_) {
      if (each.stopped_for > 0 && --each.stopped_for == 0) ::kill(each.pid, SIGCONT);
    }
    bury();
    watch();
  }

  void note_stop(Victim& victim) {
    Random random(settings_.seed, salt_, 3, ++report_.stops);
    victim.stopped_for = 2 + random.below(8);
  }

  // Everybody goes on, finishes what he is at and ends: so everybody who waits must be served or woken.
  void end_round() {
    arena_.closing = true;
    while (anybody_lives() && !is_over()) {
      ::sched_yield();
      bury();
      for (Victim& each : victims_) {
        if (each.stopped_for > 0) ::kill(each.pid, SIGCONT);
        each.stopped_for = 0;
      }
      watch();
    }
    for (const Victim& each : victims_) {
      if (each.pid > 0) ::kill(each.pid, SIGKILL);
    }
    while (anybody_lives()) bury();
  }

  // Somebody has to get on, unless somebody is stopped, who may be in the way of all.
  void watch() {
    if (progress_ != arena_.progress + deaths_ || anybody_stopped()) see_progress();
    const auto idle = Clock::now() - last_progress_;
    if (idle <= settings_.stuck) return;
    stuck_ = true;
    for (const Place& each : arena_.place) {
      for (const ThreadState& thread : each.thread) {
        if (thread.doing == Doing::nothing || each.reaped >= each.process) continue;
        arena_.fail(Law::stuck, "a thread of process " + std::to_string(each.process) + " got no further for " +
                                    std::to_string(settings_.stuck.count()) + " s with '" + lock_name(thread.lock) +
                                    "', though nobody was stopped: " + state_of(thread.lock));
      }
    }
    if (arena_.failures(Law::stuck) == 0) arena_.fail(Law::stuck, "nobody got any further, though nobody was stopped");
  }

  [[nodiscard]] std::string state_of(int lock) {
    const testing::InVariant in(*course_.variants.front());
    const auto seen = course_.make_lock(path(lock), *course_.variants.front());
    std::error_code ec;
    const auto holder = seen->holder(ec);
    return "it is " + (holder ? holder->describe() : ec ? "not to be looked at: " + ec.message() : "free");
  }

  // Documented: where mkdir keeps no mark, a death between its two steps leaves what needs a forced break, which takes
  // whatever stands there. So everybody is stopped meanwhile: what was seen is what is broken.
  void clear_half_made() {
    for (const Victim& each : victims_) {
      if (each.pid == 0 || ::kill(each.pid, SIGSTOP) != 0) continue;
      siginfo_t info{};
      ::waitid(P_PID, static_cast<id_t>(each.pid), &info, WSTOPPED | WEXITED | WNOWAIT);
    }
    const testing::InVariant in(*course_.variants.front());
    for (int lock = 0; lock < locks; ++lock) {
      const auto mine = course_.make_lock(path(lock), *course_.variants.front());
      std::error_code ec;
      const auto seen = mine->holder(ec);
      if (!seen || !seen->foreign) continue;
      if (mine->break_lock(BreakWhat::foreign, ec)) ++arena_.forced;
      if (ec) arena_.fail(Law::error, "'" + lock_name(lock) + "' could not be broken: " + ec.message());
    }
    for (const Victim& each : victims_) {
      if (each.pid > 0 && each.stopped_for == 0) ::kill(each.pid, SIGCONT);
    }
  }

  // All are dead: the last caller obtains every lock, and the directory is empty after a cleaning.
  void inspect(bool last_time) {
    const testing::InVariant in(*course_.variants.front());
    for (int lock = 0; lock < locks; ++lock) {
      const auto mine = course_.make_lock(path(lock), *course_.variants.front());
      std::error_code ec;
      if (!mine->acquire(settings_.stuck, ec)) {
        arena_.fail(Law::stuck, "all processes are dead, and '" + lock_name(lock) +
                                    "' is not to be had: " + ec.message() + "; " + state_of(lock));
        return;
      }
      arena_.enter(lock, make_hold(0, 0, ++born_, 0));
      place(0).process = born_;
      arena_.leave(lock, make_hold(0, 0, born_, 0));
      place(0).reaped = born_;
      mine->release(ec);
      if (ec) arena_.fail(Law::error, "the last caller could not release: " + ec.message());
    }
    clean(last_time && settings_.by_command);
    for (const std::string& name : scratch_.names()) {
      if (is_lock_that_stays(name)) continue;
      arena_.fail(Law::leftover, "after " + std::to_string(report_.kills) + " kills '" + name + "' was not cleaned up");
    }
  }

  // The file of a kernel lock or of shared memory is no leftover.
  [[nodiscard]] bool is_lock_that_stays(const std::string& name) const {
    const Variant& variant = *course_.variants.front();
    if (!testing::is_kernel(variant) && !testing::is_memory(variant)) return false;
    for (int lock = 0; lock < locks; ++lock) {
      if (name == lock_name(lock) + (testing::is_memory(variant) ? ".lock" : "")) return true;
    }
    return false;
  }

  void clean(bool by_command) {
    std::error_code ec;
    if (!by_command) {
      (void)leftovers(scratch_.path().string(), Clean::remove_dead, ec);
      if (ec) arena_.fail(Law::error, "leftovers could not be looked for: " + ec.message());
      return;
    }
#ifdef LOCKCTL
    const std::string command = LOCKCTL " doctor --clean " + scratch_.path().string() + " >/dev/null";
    const int status = std::system(command.c_str());
    if (status != 0) arena_.fail(Law::error, "'lockctl doctor --clean' failed, status " + std::to_string(status));
#endif
  }

  const Course& course_;
  const Settings& settings_;
  const std::uint64_t salt_;
  testing::Scratch scratch_;
  SharedArena shared_;
  Arena& arena_ = *shared_;
  std::array<Victim, places> victims_{};
  std::uint32_t born_ = 0;
  std::uint64_t events_ = 0;
  std::uint64_t deaths_ = 0;
  std::uint64_t progress_ = 0;
  Clock::time_point last_progress_;
  bool stuck_ = false;
  Report report_;
};

}  // namespace

std::vector<Course> courses() {
  std::vector<Course> all;
  std::vector<const Variant*> mixed;
  for (const Variant& each : testing::variants()) {
    all.push_back({.name = std::string(each.name), .variants = {&each}});
    // An empty directory without a mark may not be taken over, and those with one would wait for it.
    if (!each.missing.marks) mixed.push_back(&each);
  }
  all.push_back({.name = "mixed", .variants = mixed});
  for (const char* const name : {"kernel", "flock", "shm"}) {
    all.push_back({.name = name, .variants = {&testing::variant_named(name)}});
  }
  for (const char* const name : {"link", "mkdir", "mkdir_with_mark", "shm"}) {
    all.push_back({.name = std::string(name) + "_forced", .variants = {&testing::variant_named(name)}, .forced = true});
  }
  all.push_back({.name = "mixed_forced", .variants = mixed, .forced = true});
  return all;
}

bool shows(const Course& course, const Report& report) {
  const bool half_made = course.variants.front()->missing.marks;  // many die before they hold, few as they hold
  return report.stops > 0 && report.taken_over + (half_made ? report.forced : 0) > 0 &&
         (report.forced > 0) == (course.forced || half_made);
}

Report torture(const Course& course, const Settings& settings) { return Tormentor(course, settings).run(); }

}  // namespace lockfile::torture
