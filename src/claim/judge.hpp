// The verdict on a holder: alive, dead or unknown, from its record, its guard and its processes. No clock takes part.
#pragma once

#include "claim/guard.hpp"
#include "claim/record.hpp"
#include "os/process.hpp"

#include <lockfile/holder.hpp>
#include <lockfile/scheme.hpp>

#include <string_view>
#include <vector>

namespace lockfile::claim {

enum class Processes : std::uint8_t {
  running,  ///< one of them at least has not ended, or may not have
  ended,    ///< all have ended
};

/// What was seen of a holder.
struct Evidence {
  Guard guard = Guard::unusable;
  Reading reading = Reading::foreign;
  bool released = false;
  bool guarded = false;      ///< its maker could use the guard, on a local file system
  bool boots_known = false;  ///< both the record's boot and ours
  bool same_boot = false;
  bool same_host = false;
  bool same_pid_namespace = false;
  bool local = false;                        ///< the file system is local
  Processes processes = Processes::running;  ///< counts only where its processes can be seen from here
  bool earlier_boot_by_name = false;         ///< no record, but the claim's own name tells of another boot

  /// Its pids mean the same to us as to the one who wrote them.
  [[nodiscard]] bool processes_visible() const noexcept {
    return reading == Reading::record && boots_known && same_boot && same_pid_namespace && (local || same_host);
  }
};

struct Judgement {
  Verdict verdict;
  std::string_view note;
};

/// The table of verdicts: the first row that fits counts.
[[nodiscard]] Judgement judge(const Evidence& evidence) noexcept;

/// What became of the processes that a record names: the recorder, and the one that the hold was handed to.
struct ProcessesSeen {
  Processes state = Processes::running;
  std::vector<Watch> watches;  ///< one for each that runs and can be watched
  bool all_watched = true;     ///< no process that runs is without a watch
};
/// Processes that were seen to run, with their descriptors: to look at one again is one poll.
class KnownProcesses {
 public:
  [[nodiscard]] const Watch* find(std::int64_t pid, std::uint64_t start) const noexcept;
  void keep(const std::vector<Watch>& seen) { known_ = seen; }

 private:
  std::vector<Watch> known_;
};
[[nodiscard]] ProcessesSeen see_processes(const os::Process& self, const Record& record, const KnownProcesses* known);

/// Of that process, which has said no more yet.
[[nodiscard]] Record record_of(const os::Identity& self);
/// Did that very process write the record, as far as it can be told by pid and start? Only where its processes are
/// visible.
[[nodiscard]] bool is_of_process(const Record& record, const os::Identity& self) noexcept;

/// Has that process ended? `start` 0: not known. A zombie has; a process whose start time cannot be read has not.
[[nodiscard]] bool has_ended(os::System& system, std::int64_t pid, std::uint64_t start);

}  // namespace lockfile::claim
