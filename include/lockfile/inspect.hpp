// Looking at directories rather than at one lock: what a file system supports, which locks stand in a directory, what
// dead claims have left there. `lockctl doctor` and `lockctl list` are made of these.
#pragma once

#include <lockfile/holder.hpp>
#include <lockfile/wait.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace lockfile {

/// One thing that was tried in a directory.
struct Finding {
  enum class Result : std::uint8_t { works, fails, note };
  std::string what;  ///< "hard links"
  Result result = Result::note;
  std::string detail;  ///< what was seen: "two names show one inode", or the error
};

/// What `examine` saw in one directory.
struct Examination {
  std::string file_system;  ///< "ext4"
  bool local = false;       ///< false: network, FUSE, cluster or unknown: deaths are not proved from outside the host
  std::vector<Finding> findings;
  std::string scheme;  ///< what "auto" takes here: "link", "mkdir", or "" when neither works
  std::string why;
};

/// Tries out, in that directory, everything the schemes rest on; leaves nothing behind. Blocks for some milliseconds.
/// A call that failed is a finding; `ec` is set only when the directory cannot be worked in at all.
[[nodiscard]] Examination examine(std::string_view directory, std::error_code& ec);

/// A lock that stands in a directory.
struct Standing {
  std::string name;  ///< of the lock file in the directory: "a.lock"
  Holder holder;
};

/// The lock files (`*.lock`) that stand in a directory, by name, one for each holder. Reads only. One that cannot be
/// looked at is there too, as foreign, with the cause as its note.
[[nodiscard]] std::vector<Standing> list_locks(std::string_view directory, std::error_code& ec);

/// Waits until nobody holds the lock on `path` (an address, where `scheme` locks names), by a lock file or by `scheme`,
/// and takes nothing: when it returns, somebody else may have it already (flock(2) cannot be asked: where nobody holds
/// it exclusively, it is taken for an instant). A stale lock counts as free. Needs no right to write. `ec`:
/// `errc::timed_out` (zero or negative: `errc::already_locked`), `errc::stopped`, or the cause why it cannot be told.
void wait_until_free(std::string_view path, const Wait& wait, std::error_code& ec,
                     std::string_view scheme = "auto") noexcept;

/// Something that a claim left in a directory besides its lock file.
struct Leftover {
  std::string name;
  Verdict maker = Verdict::unknown;  ///< only what the dead left is cleaned
  bool removed = false;
  std::string note;
};

enum class Clean : std::uint8_t { look_only, remove_dead };

/// Finds the side files of claims in a directory and, if asked to, removes those whose maker is proved dead. Never
/// touches a lock file that somebody may hold.
[[nodiscard]] std::vector<Leftover> leftovers(std::string_view directory, Clean clean, std::error_code& ec);

}  // namespace lockfile
