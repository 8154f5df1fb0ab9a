// Every call is refused, at each place where it is made: once, from there on, or with all others from there on, with
// the error numbers that its manual page documents.
//
// At each place some of the numbers take their turn, so that each number of each call is tried in every setting. Two
// settings that make the very same calls are one. LOCKFILE_FAULTS=every in the environment: every number at every place
// in every setting, which takes some minutes; LOCKFILE_FAULTS=sample, in builds with sanitizers, and in settings that
// lack a call that another one makes: one fault at each place. A failure names the life that it was:
// LOCKFILE_FAULTS='life 12 5 once' lives it again alone.
#include "fault/stage.hpp"
#include "support/sanitizers.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <iomanip>
#include <iostream>
#include <map>
#include <sstream>

namespace lockfile::testing {
namespace {

using os::Call;

// What the manual pages give for each call, besides EFAULT, and what network and FUSE file systems add (EIO, ESTALE,
// EINTR). EBADF is what a program gets that has closed our descriptors.
const std::map<Call, std::vector<int>>& documented() {
  static const std::map<Call, std::vector<int>> all = {
      {Call::open, {EACCES,  EBADF, EBUSY,      EDQUOT,       EEXIST, EFBIG,  EINTR,  EINVAL,  EIO,
                    EISDIR,  ELOOP, EMFILE,     ENAMETOOLONG, ENFILE, ENODEV, ENOENT, ENOMEM,  ENOSPC,
                    ENOTDIR, ENXIO, EOPNOTSUPP, EOVERFLOW,    EPERM,  EROFS,  ESTALE, ETXTBSY, EAGAIN}},
      {Call::read, {EAGAIN, EBADF, EINTR, EINVAL, EIO, EISDIR, ENXIO, EOVERFLOW, ESTALE}},
      {Call::write, {EAGAIN, EBADF, EDQUOT, EFBIG, EINTR, EINVAL, EIO, ENOSPC, EPERM, ESTALE}},
      {Call::sync, {EBADF, EDQUOT, EINTR, EINVAL, EIO, ENOSPC, EROFS}},
      {Call::stat, {EBADF, EIO, ENOENT, ENOMEM, EOVERFLOW, ESTALE}},
      {Call::stat_at, {EACCES, EBADF, EIO, ELOOP, ENAMETOOLONG, ENOENT, ENOMEM, ENOTDIR, EOVERFLOW, ESTALE}},
      {Call::link,
       {EACCES, EBADF, EDQUOT, EEXIST, EINVAL, EIO, ELOOP, EMLINK, ENAMETOOLONG, ENOENT, ENOMEM, ENOSPC, ENOTDIR,
        EOPNOTSUPP, EPERM, EROFS, ESTALE, EXDEV}},
      {Call::link_temporary,
       {EACCES, EBADF, EDQUOT, EEXIST, EINVAL, EIO, ELOOP, EMLINK, ENAMETOOLONG, ENOENT, ENOMEM, ENOSPC, ENOTDIR,
        EOPNOTSUPP, EPERM, EROFS, ESTALE, EXDEV}},
      {Call::unlink,
       {EACCES, EBADF, EBUSY, EINTR, EINVAL, EIO, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOMEM, ENOTDIR, EPERM, EROFS,
        ESTALE}},
      {Call::make_directory,
       {EACCES, EBADF, EDQUOT, EEXIST, EINVAL, EIO, ELOOP, EMLINK, ENAMETOOLONG, ENOENT, ENOMEM, ENOSPC, ENOTDIR, EPERM,
        EROFS, ESTALE}},
      {Call::remove_directory,
       {EACCES, EBADF, EBUSY, EEXIST, EINVAL, EIO, ELOOP, ENAMETOOLONG, ENOENT, ENOMEM, ENOTDIR, ENOTEMPTY, EPERM,
        EROFS, ESTALE}},
      {Call::rename, {EACCES,       EBADF,  EBUSY,  EDQUOT, EEXIST,  EINVAL,    EIO,   EISDIR, ELOOP,  EMLINK,
                      ENAMETOOLONG, ENOENT, ENOMEM, ENOSPC, ENOTDIR, ENOTEMPTY, EPERM, EROFS,  ESTALE, EXDEV}},
      {Call::rename_new,
       {EACCES, EBADF,  EBUSY,  EDQUOT, EEXIST,  EINVAL,    EIO,   EISDIR, ELOOP,  EMLINK, ENAMETOOLONG,
        ENOENT, ENOMEM, ENOSPC, ENOSYS, ENOTDIR, ENOTEMPTY, EPERM, EROFS,  ESTALE, EXDEV}},
      {Call::make_symlink,
       {EACCES, EBADF, EDQUOT, EEXIST, EIO, ELOOP, ENAMETOOLONG, ENOENT, ENOMEM, ENOSPC, ENOTDIR, EPERM, EROFS,
        ESTALE}},
      {Call::set_mode, {EBADF, EIO, ENOENT, ENOMEM, ENOTDIR, EOPNOTSUPP, EPERM, EROFS, ESTALE}},
      {Call::list, {EACCES, EBADF, EIO, EMFILE, ENFILE, ENOENT, ENOMEM, ENOTDIR, ESTALE}},
      {Call::file_system, {EACCES, EBADF, EINTR, EIO, ENOMEM, ENOSYS, EOVERFLOW, ESTALE}},
      {Call::try_lock, {EACCES, EAGAIN, EBADF, EINTR, EINVAL, EIO, ENOLCK, ENOSYS, EOPNOTSUPP, EOVERFLOW, ESTALE}},
      {Call::unlock, {EBADF, EINTR, EINVAL, EIO, ENOLCK, ENOSYS, EOPNOTSUPP, EOVERFLOW, ESTALE}},
      {Call::lock_seen, {EBADF, EINTR, EINVAL, EIO, ENOLCK, ENOSYS, EOPNOTSUPP, EOVERFLOW, ESTALE}},
      {Call::try_lock_shared,
       {EACCES, EAGAIN, EBADF, EINTR, EINVAL, EIO, ENOLCK, ENOSYS, EOPNOTSUPP, EOVERFLOW, ESTALE}},
      {Call::flock, {EAGAIN, EBADF, EINTR, EINVAL, EIO, ENOLCK, ENOSYS, EOPNOTSUPP, ESTALE}},
      {Call::touch, {EACCES, EBADF, EIO, ENOSYS, EPERM, EROFS, ESTALE}},
      {Call::duplicate, {EBADF, EINVAL, EMFILE}},
      {Call::make_fifo,
       {EACCES, EBADF, EDQUOT, EEXIST, EINVAL, EIO, ELOOP, ENAMETOOLONG, ENOENT, ENOMEM, ENOSPC, ENOTDIR, EOPNOTSUPP,
        EPERM, EROFS, ESTALE}},
      {Call::fifo_put, {EBADF, EIO, EPIPE}},
      {Call::fifo_drain, {EBADF, EIO, EISDIR}},
      {Call::map, {EACCES, EAGAIN, EBADF, EINVAL, ENFILE, ENODEV, ENOMEM, EOVERFLOW, EPERM}},
      // Not ESRCH: it is the proof that the process has ended.
      {Call::open_process, {EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, ENOSYS, EPERM}},
      {Call::readable, {EINTR, EINVAL, ENOMEM}},
      {Call::process_exists, {EPERM}},
      {Call::process_start, {EACCES, EINVAL, EIO, EMFILE, ENFILE, ENOENT, ENOMEM, EPERM, ESRCH}},
      {Call::boot_id, {EACCES, EIO, EMFILE, ENFILE, ENOENT, ENOMEM}},
      {Call::pid_namespace, {EACCES, ENOENT, ENOMEM, ENOTDIR}},
      {Call::time_namespace, {EACCES, ENOENT, ENOMEM, ENOTDIR}},
      {Call::current_directory, {EACCES, ENAMETOOLONG, ENOENT, ENOMEM}},
      {Call::notify_open, {EINVAL, EMFILE, ENFILE, ENOMEM, ENOSYS}},
      {Call::notify_add, {EACCES, EBADF, EINVAL, ENAMETOOLONG, ENOENT, ENOMEM, ENOSPC, ENOTDIR}},
      {Call::notify_read, {EBADF, EINVAL, EIO}},
      {Call::event_open, {EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, ENOSYS}},
      {Call::wait, {EINVAL, ENOMEM}},
  };
  return all;
}

// Calls that give no error: to close, to ask for what is always there, the clock, locks between threads.
constexpr std::array cannot_be_refused = {
    Call::unmap,        Call::load,        Call::store,         Call::compare_exchange,
    Call::close,        Call::process_id,  Call::thread_id,     Call::host_name,
    Call::program_name, Call::random,      Call::notify_remove, Call::event_set,
    Call::event_clear,  Call::now,         Call::since_boot,    Call::local_time,
    Call::mutex_lock,   Call::mutex_unlock};

// The numbers that the code above the seam names.
constexpr std::array named = {EACCES, EAGAIN, EBADF,   EEXIST,    EINTR, EISDIR,     ELOOP, ENODEV, ENOENT,
                              ENOMEM, ENOSPC, ENOTDIR, ENOTEMPTY, ENXIO, EOPNOTSUPP, EPERM, ESRCH,  ESTALE};

// What tells two numbers of one call apart.
int kind_of(Call call, int error) {
  const bool is_named = std::find(named.begin(), named.end(), error) != named.end();
  return is_named ? error : -static_cast<int>(os::cause_of(call, error));
}

enum class Reach : std::uint8_t { once, this_call_from_then_on, every_call_from_then_on };
constexpr std::array reaches = {Reach::once, Reach::this_call_from_then_on, Reach::every_call_from_then_on};

std::string_view to_string(Reach reach) {
  return reach == Reach::once ? "once" : reach == Reach::this_call_from_then_on ? "from-then-on" : "all-from-then-on";
}

bool can_be_refused(Call call) { return documented().contains(call); }

// A refusal of one of the calls, counted from the beginning.
class Refusal final : public Trouble {
 public:
  Refusal() = default;  // only looks which calls there are
  Refusal(std::size_t at, int error, Reach reach) : at_(at), error_(error), reach_(reach) {}

  int before(Call call) override {
    if (!can_be_refused(call)) return 0;
    const std::size_t number = made_.size();
    made_.push_back(call);
    const bool refused_too = reach_ == Reach::every_call_from_then_on ||
                             (reach_ == Reach::this_call_from_then_on && number > at_ && call == refused());
    if (number != at_ && (number < at_ || !refused_too)) return 0;
    // Not for ever: whoever looks now and then has to get there in the end.
    if (++refusals_ > most_refusals) return 0;
    removal_hindered_ = removal_hindered_ || is_a_removal(call);
    return error_;
  }

  [[nodiscard]] const std::vector<Call>& made() const noexcept { return made_; }
  [[nodiscard]] bool was_reached() const noexcept { return made_.size() > at_; }
  [[nodiscard]] Call refused() const { return made_.at(at_); }

  [[nodiscard]] bool is_a_lie() const override {
    if (!was_reached()) return false;
    switch (error_) {
      case EEXIST:
      case ELOOP:
      case ENOENT:
      case ENOTDIR:
      case ENOTEMPTY:
      case EISDIR:
        return true;
      case EACCES:
        return is_lock(refused());
      case EAGAIN:  // somebody has it locked, or has a lease on it
        return is_lock(refused()) || refused() == Call::open;
      case ESTALE:  // what was opened, or was to be opened, is gone
        return refused() == Call::read || refused() == Call::stat || refused() == Call::stat_at ||
               refused() == Call::open || refused() == Call::list;
      case EBADF:  // the program has closed our descriptor, and nobody knows whose the number is
        return refused() == Call::stat;
      default:
        return false;
    }
  }
  [[nodiscard]] bool hindered_a_removal() const override { return removal_hindered_; }
  [[nodiscard]] bool is_total() const override { return was_reached() && reach_ == Reach::every_call_from_then_on; }
  [[nodiscard]] bool explains(int error) const override { return error == error_; }
  [[nodiscard]] std::string describe() const override {
    const std::string call = was_reached() ? std::string(os::to_string(refused())) : "no call";
    return std::to_string(at_) + " " + std::to_string(error_) + " " + std::string(to_string(reach_)) + ": " + call +
           " refused with " + os::code_of(error_).message();
  }

 private:
  static bool is_lock(Call call) {
    return call == Call::try_lock || call == Call::try_lock_shared || call == Call::flock;
  }
  static constexpr long most_refusals = 300;
  static bool is_a_removal(Call call) {
    return call == Call::unlink || call == Call::remove_directory || call == Call::rename || call == Call::rename_new;
  }

  std::size_t at_ = static_cast<std::size_t>(-1);
  int error_ = 0;
  Reach reach_ = Reach::once;
  std::vector<Call> made_;
  long refusals_ = 0;
  bool removal_hindered_ = false;
};

class Faults : public Lives {
 protected:
  // As a failure names it.
  void live_one(const std::string& name) {
    std::istringstream words(name);
    std::string scenario;
    std::string reach;
    std::size_t at = 0;
    int error = 0;
    words >> scenario >> at >> error >> reach;
    const auto known = scenarios();
    const auto found =
        std::find_if(known.begin(), known.end(), [&](const Scenario& each) { return each.name == scenario; });
    const auto how = std::find_if(reaches.begin(), reaches.end(), [&](Reach each) { return to_string(each) == reach; });
    ASSERT_TRUE(found != known.end() && how != reaches.end()) << "LOCKFILE_FAULTS: SCENARIO PLACE ERROR REACH";
    Refusal refusal(at, error, *how);
    live(*found, refusal);
  }

  // What to try at one place.
  std::vector<std::pair<int, Reach>> faults_for(Call call) {
    const std::vector<int>& all = documented().at(call);
    const std::size_t turn = places_[call]++;
    std::vector<std::pair<int, Reach>> chosen = {{turn % 2 == 0 ? EIO : ENOMEM, Reach::every_call_from_then_on}};
    if (every_) {
      for (const int error : all) chosen.emplace_back(error, Reach::once);
      for (const int error : all) chosen.emplace_back(error, Reach::this_call_from_then_on);
    } else if (turn == 0 && !sample_) {
      for (const int error : all) chosen.emplace_back(error, Reach::once);
    } else {
      const std::vector<int> kinds = one_of_each_kind(call, turn);
      chosen.emplace_back(kinds[turn % kinds.size()], Reach::once);
      chosen.emplace_back(kinds[(turn + kinds.size() / 2) % kinds.size()], Reach::this_call_from_then_on);
    }
    if (sample_) chosen = {chosen[turn % chosen.size()]};
    return chosen;
  }

  static std::vector<int> one_of_each_kind(Call call, std::size_t turn) {
    std::map<int, std::vector<int>> kinds;
    for (const int error : documented().at(call)) kinds[kind_of(call, error)].push_back(error);
    std::vector<int> chosen;
    for (const auto& [kind, members] : kinds) chosen.push_back(members[turn % members.size()]);
    return chosen;
  }

  // Does an earlier setting make the very same calls? Then it is not gone through again.
  bool is_known(const Scenario& scenario, const std::vector<Call>& calls) {
    for (const Setting& each : settings()) {
      if (each.name == GetParam().name) return false;
      Refusal none;
      play(each, scenario, ground_, none);
      if (none.made() == calls) return true;
    }
    return false;
  }

  std::map<Call, std::size_t> places_;
  // What the environment asks for: every number, or one life.
  static std::string wanted() {
    const char* const given = std::getenv("LOCKFILE_FAULTS");
    return given != nullptr ? given : (one_call_in > 1 ? "sample" : "");
  }
  const bool every_ = wanted() == "every";
  const bool sample_ =
      wanted() == "sample" || (wanted().empty() && GetParam().name.find("_without_") != std::string::npos);
};

FAULT_IN_EVERY_SETTING(Faults);

TEST_P(Faults, of_every_call_give_a_clear_error_or_none_and_never_a_hold) {
  if (!wanted().empty() && !every_ && !sample_) return live_one(wanted());
  long lives = 0;
  for (const Scenario& scenario : scenarios_of(GetParam())) {
    Refusal none;
    if (!live(scenario, none)) continue;
    const std::vector<Call> calls = none.made();
    // flock(2) cannot be upgraded: what asks for that is refused before any call.
    EXPECT_TRUE(!calls.empty() || GetParam().variant->scheme == "flock") << scenario.name << " makes no call";
    if (!every_ && is_known(scenario, calls)) continue;
    long here = 0;
    for (std::size_t at = 0; at < calls.size(); ++at) {
      for (const auto& [error, reach] : faults_for(calls[at])) {
        Refusal refusal(at, error, reach);
        ++here;
        const bool well = live(scenario, refusal);
        EXPECT_TRUE(refusal.was_reached() || !well) << scenario.name << " " << refusal.describe();
      }
    }
    lives += here;
    std::cout << std::setw(32) << scenario.name << ": " << std::setw(4) << calls.size() << " places, " << std::setw(6)
              << here << " faults" << std::endl;
  }
  std::cout << "lived through " << lives << " faults\n";
}

// What the tests above refuse, and that it is everything.
TEST(FaultMatrix, has_every_call_that_can_be_refused) {
  const Ground ground;
  std::map<Call, std::size_t> places;
  std::size_t lives = 0;
  std::size_t lock_file_scenarios = 0;
  for (const Scenario& scenario : scenarios()) lock_file_scenarios += scenario.of_lock_files ? 1U : 0U;
  std::size_t other_settings = 0;
  for (const Setting& setting : settings()) {
    other_settings += is_kernel(*setting.variant) || is_memory(*setting.variant) ? 1U : 0U;
  }
  for (const Setting& setting : settings()) {
    for (const Scenario& scenario : scenarios_of(setting)) {
      Refusal none;
      play(setting, scenario, ground, none);
      for (const Call call : none.made()) ++places[call];
      ++lives;
    }
  }
  ASSERT_EQ(lives, settings().size() * scenarios().size() - other_settings * lock_file_scenarios);
  std::size_t all_places = 0;
  std::size_t all_errors = 0;
  for (int i = 0; i <= static_cast<int>(Call::mutex_unlock); ++i) {
    const auto call = static_cast<Call>(i);
    const bool exempt = std::find(cannot_be_refused.begin(), cannot_be_refused.end(), call) != cannot_be_refused.end();
    ASSERT_NE(can_be_refused(call), exempt) << os::to_string(call) << " is in both lists or in none";
    if (exempt) continue;
    EXPECT_GT(places[call], 0U) << os::to_string(call) << " is never made";
    const std::size_t errors = documented().at(call).size();
    std::cout << std::setw(20) << os::to_string(call) << ": " << std::setw(2) << errors << " errors, made at "
              << places[call] << " places\n";
    all_places += places[call];
    all_errors += errors;
  }
  EXPECT_GT(all_places, 0U);
  std::cout << settings().size() << " settings, " << scenarios().size() << " scenarios, " << documented().size()
            << " calls with " << all_errors << " errors, at " << all_places << " places\n";
}

}  // namespace
}  // namespace lockfile::testing
