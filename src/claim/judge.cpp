// Judging holders.
#include "claim/judge.hpp"

#include "os/watch.hpp"

#include <cerrno>
#include <optional>

namespace lockfile::claim {

Judgement judge(const Evidence& seen) noexcept {
  const bool ended = seen.processes == Processes::ended;
  if (seen.reading == Reading::empty && seen.earlier_boot_by_name && seen.guard == Guard::free && seen.local) {
    return {Verdict::dead, "a power cut took its record"};
  }
  switch (seen.reading) {
    case Reading::record:
      break;
    case Reading::empty:
      return {Verdict::unknown, "its record is empty"};
    case Reading::newer:
      return {Verdict::unknown, "its record is of a newer version"};
    case Reading::foreign:
      return {Verdict::unknown, "not a record of this program"};
  }
  if (seen.guard == Guard::held) {
    // A forked worker that outlives its parent keeps a copy of the guard; the parent's hold ended with the parent.
    if (seen.local && seen.processes_visible() && ended) return {Verdict::dead, "its process has ended"};
    return {Verdict::alive, "its guard is held"};
  }
  // Written by the maker alone, after it gave its guard up.
  if (seen.released) return {Verdict::dead, "given up by its holder"};
  if (seen.processes_visible()) {
    // A process that closed all its descriptors has lost its guard and still holds.
    return ended ? Judgement{Verdict::dead, "its process has ended"} : Judgement{Verdict::alive, "its process runs"};
  }
  if (seen.guard == Guard::unusable) return {Verdict::unknown, "its process cannot be seen from here"};
  if (!seen.boots_known) return {Verdict::unknown, "the boot id is not known"};
  if (!seen.local) return {Verdict::unknown, "its host cannot be asked"};
  if (!seen.guarded) return {Verdict::unknown, "it could not guard its claim"};
  if (!seen.same_boot) return {Verdict::dead, "of an earlier boot"};
  return {Verdict::dead, "its guard is free"};
}

namespace {

struct ProcessSeen {
  bool ended = false;
  std::optional<Watch> watch;
};

ProcessSeen see_process(os::System& system, std::int64_t pid, std::uint64_t start) {
  // The descriptor first, the start time second: whatever process the start time is of, it was there no earlier than
  // the one that the descriptor is of. So an equal start time says that the descriptor is of the recorded process.
  const auto opened = system.open_process(pid);
  if (opened.error == ESRCH) return {.ended = true, .watch = {}};
  os::File process;
  if (opened.ok()) {
    process = os::File(system, opened.value);
    if (const auto over = system.readable(process.get()); over.ok() && over.value) return {.ended = true, .watch = {}};
  } else if (!system.process_exists(pid)) {
    return {.ended = true, .watch = {}};
  }
  if (start != 0) {
    // Not readable (a hidden /proc) proves nothing: it counts as running.
    if (const auto now = system.process_start(pid); now.ok() && now.value != start) return {.ended = true, .watch = {}};
  }
  if (!process.is_open()) return {};
  return {.ended = false, .watch = os::WatchSource::process(std::move(process), pid, start)};
}

}  // namespace

const Watch* KnownProcesses::find(std::int64_t pid, std::uint64_t start) const noexcept {
  for (const Watch& each : known_) {
    if (each.source().pid() == static_cast<std::uint64_t>(pid) && each.source().start() == start) return &each;
  }
  return nullptr;
}

Record record_of(const os::Identity& self) {
  Record record;
  record.boot = self.boot;
  record.host = self.host;
  record.pid_namespace = self.pid_namespace;
  record.time_namespace = self.time_namespace;
  record.pid = self.pid;
  record.start = self.start;
  record.program = self.program;
  return record;
}

bool is_of_process(const Record& record, const os::Identity& self) noexcept {
  return record.pid == self.pid && (record.start == self.start || record.time_namespace != self.time_namespace);
}

bool has_ended(os::System& system, std::int64_t pid, std::uint64_t start) {
  return see_process(system, pid, start).ended;
}

ProcessesSeen see_processes(const os::Process& self, const Record& record, const KnownProcesses* known) {
  // Start times are shifted by the time namespace in which they are read (time_namespaces(7)).
  const bool comparable = record.time_namespace != 0 && record.time_namespace == self.identity().time_namespace;
  ProcessesSeen seen;
  seen.state = Processes::ended;
  const auto look_at = [&](std::int64_t pid, std::uint64_t start) {
    start = comparable ? start : 0;
    ProcessSeen one;
    if (const Watch* const before = known != nullptr ? known->find(pid, start) : nullptr) {
      const auto over = self.system().readable(before->source().descriptor());
      one.ended = over.ok() && over.value;
      one.watch = *before;
    } else {
      one = see_process(self.system(), pid, start);
    }
    if (one.ended) return;
    seen.state = Processes::running;
    if (one.watch) {
      seen.watches.push_back(*std::move(one.watch));
    } else {
      seen.all_watched = false;
    }
  };
  look_at(record.pid, record.start);
  if (record.child != 0) look_at(record.child, record.child_start);
  return seen;
}

}  // namespace lockfile::claim
