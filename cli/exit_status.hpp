// What lockctl's exit statuses mean. Scripts depend on these numbers: they do not change, and each has one meaning.
#pragma once

#include <string_view>

namespace lockctl {

/// The numbers are those of sysexits.h and, for what concerns the command, of the shell; conflict and "cannot create"
/// are as in lockf(1), the timeout as in timeout(1).
enum class Exit : int {
  ok = 0,
  usage = 64,
  unavailable = 69,
  internal = 70,
  system = 71,
  cannot_create = 73,
  cannot_look = 74,
  conflict = 75,
  timed_out = 124,
  cannot_execute = 126,
  not_found = 127,
  signal = 128,
};

constexpr int status(Exit code) noexcept { return static_cast<int>(code); }
constexpr int status_of_signal(int signal) noexcept { return status(Exit::signal) + signal; }

/// The table of `lockctl --help`; docs/man/lockctl.1.md has the same rows.
inline constexpr std::string_view exit_status_table =
    R"(Exit statuses:
  0        done; status, wait: the lock is free (a stale one counts as free)
  64       wrong usage
  69       the directory cannot be locked in (doctor), or gives no way to break (break)
  70       an error inside lockctl
  71       the system refused a process, a pipe or the like; lockctl-postgresql or lockctl-etcd is not installed
  73       the lock cannot be created: missing directory, no permission, no space
  74       the lock or the directory cannot be looked at or changed, or the output cannot be written
  75       conflict: somebody else holds it (run --try, a nested run, status, break)
  124      timed out: somebody else still holds it (run, wait)
  126      the command cannot be executed
  127      the command was not found
  128+N    signal N ended the command, or lockctl while it waited
  other    run: the exit status of the command
With run, --conflict-exit-code N takes the place of 75 and of 124.
)";

}  // namespace lockctl
