// Reading records and gathering evidence.
#include "claim/record_file.hpp"

#include "claim/names.hpp"
#include "claim/trial.hpp"

#include <array>
#include <cerrno>
#include <span>

namespace lockfile::claim {

os::Result<std::string> read_record_bytes(os::System& system, int descriptor) {
  std::array<char, longest_record + 1> buffer{};
  std::size_t size = 0;
  constexpr int interruptions = 64;
  for (int i = 0; i < interruptions;) {
    const auto got = system.read(descriptor, std::span(buffer).subspan(size), size);
    if (!got.ok() && got.error != EINTR) return {{}, got.error};
    if (got.error == EINTR) {
      ++i;
      continue;
    }
    size += got.value;
    if (got.value == 0 || size == buffer.size()) return {std::string(buffer.data(), size), 0};
  }
  return {{}, EINTR};  // not what was read so far: half a record is somebody unknown, who is waited for
}

bool guard_usable(const Directory& directory) {
  Trial trial;
  if (directory.trials().find(directory, trial)) return trial.guard_works;
  return directory.local();
}

bool nonce_of_earlier_boot(const Directory& directory, std::string_view nonce) {
  const std::string& boot = directory.process().identity().boot;
  return !boot.empty() && !nonce_is_of_boot(nonce, boot) && !nonce_is_of_boot(nonce, {});
}

Evidence gather_evidence(const Directory& directory, int descriptor, Reading reading, const Record& record,
                         ProcessesSeen& processes, const KnownProcesses* known) {
  Evidence seen;
  seen.reading = reading;
  seen.local = directory.local();
  if (guard_usable(directory)) {
    const auto locked = directory.system().lock_seen(descriptor, live_byte);
    if (locked.ok()) seen.guard = locked.value ? Guard::held : Guard::free;
  }
  if (reading != Reading::record) return seen;
  const os::Identity& self = directory.process().identity();
  seen.released = record.released;
  seen.guarded = record.guarded;
  seen.boots_known = !self.boot.empty() && !record.boot.empty();
  seen.same_boot = self.boot == record.boot;
  seen.same_host = self.host == record.host;
  seen.same_pid_namespace = self.pid_namespace != 0 && self.pid_namespace == record.pid_namespace;
  if (seen.processes_visible()) {
    processes = see_processes(directory.process(), record, known);
    seen.processes = processes.state;
  }
  return seen;
}

}  // namespace lockfile::claim
