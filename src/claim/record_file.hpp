// A file that may hold a record, open: its bytes, and what can be seen of its holder.
#pragma once

#include "claim/directory.hpp"
#include "claim/guard.hpp"
#include "claim/judge.hpp"
#include "claim/record.hpp"

#include <string>

namespace lockfile::claim {

/// The whole file, up to one byte more than a record may have. What a read gave at once and ends as a record does is
/// the whole: a file system that cuts reads short elsewhere is asked for the rest.
[[nodiscard]] os::Result<std::string> read_record_bytes(os::System& system, int descriptor);

/// What is seen of the holder that `record` names. Takes nothing, so a live holder never notices. `processes` tells
/// what became of its processes, where they can be seen from here. `byte` is the guard.
[[nodiscard]] Evidence gather_evidence(const Directory& directory, int descriptor, Reading reading,
                                       const Record& record, ProcessesSeen& processes,
                                       const KnownProcesses* known = nullptr, std::uint64_t byte = live_byte);

/// The kernel scheme that has made the file of that name; empty: none.
[[nodiscard]] os::Result<std::string> kernel_lock_at(const Directory& directory, const std::string& name);

/// Do guards work in this directory? As the trial said; without one (a reader that has no claim) they do where the
/// file system is local.
[[nodiscard]] bool guard_usable(const Directory& directory);

/// Is that the nonce of a boot other than ours? False where either is not known.
[[nodiscard]] bool nonce_of_earlier_boot(const Directory& directory, std::string_view nonce);

}  // namespace lockfile::claim
