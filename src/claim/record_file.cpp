// Reading records and gathering evidence.
#include "claim/record_file.hpp"

#include "claim/names.hpp"
#include "claim/trial.hpp"

#include <array>
#include <cerrno>
#include <span>
#include <utility>

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
    const bool all = got.value == 0 || size == buffer.size() || is_complete({buffer.data(), size});
    if (all) return {std::string(buffer.data(), size), 0};
  }
  return {{}, EINTR};  // not what was read so far: half a record is somebody unknown, who is waited for
}

// Only a file that bears the mark of the kernel schemes is opened: closing any other one would drop the byte locks that
// this program itself may have on it by fcntl(2), as mail programs do that want a lock file too.
os::Result<std::string> kernel_lock_at(const Directory& directory, const std::string& name) {
  os::System& system = directory.system();
  const auto none_or = [](os::Status error) {
    const bool is_missing = os::cause_of(os::Call::stat_at, error) == os::Cause::missing;
    return os::Result<std::string>{{}, is_missing ? 0 : error};
  };
  const auto info = system.stat_at(directory.descriptor(), name.c_str(), os::Links::keep);
  if (!info.ok()) return none_or(info.error);
  if (info.value.type != os::FileType::regular || (info.value.mode & os::sticky) == 0) return {};
  const auto opened = system.open(directory.descriptor(), name.c_str(), os::Open::look, 0);
  if (!opened.ok()) return none_or(opened.error);
  const os::File file(system, opened.value);
  const auto bytes = read_record_bytes(system, file.get());
  if (!bytes.ok()) return none_or(bytes.error);
  std::string scheme = scheme_of(bytes.value);
  return {scheme == "kernel" || scheme == "flock" ? std::move(scheme) : std::string(), 0};
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
                         ProcessesSeen& processes, const KnownProcesses* known, std::uint64_t byte) {
  Evidence seen;
  seen.reading = reading;
  seen.local = directory.local();
  if (guard_usable(directory)) {
    const auto locked = directory.system().lock_seen(descriptor, byte);
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
