// What a mounted file system was seen to do, tried once per process with its first claim there. Guards and hard links
// are used only where they were seen to work: path-based FUSE file systems keep one lock domain per name, and some
// show another inode through each name.
#pragma once

#include "claim/directory.hpp"
#include "os/process.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <utility>

namespace lockfile::claim {

struct Trial {
  bool hard_links = false;   ///< a file can be given a second name
  bool one_inode = false;    ///< and both names show the same inode
  bool guard_works = false;  ///< LIVE is seen through the other name and survives the closing of another descriptor
  int link_error = 0;        ///< why there are no hard links
  std::string guard_note;    ///< why the guard is not used

  [[nodiscard]] bool link_scheme_works() const noexcept { return hard_links && one_inode; }
};

/// Tries out `directory` with a file of our own there: `own_name`, open as `descriptor`, LIVE locked if it could be.
/// Other names are made under `trial_name` and removed again. On failure nothing is known.
[[nodiscard]] os::Result<Trial> try_out(const Directory& directory, int descriptor, const char* own_name,
                                        const char* trial_name, bool live_locked);

/// Does mkdir keep the sticky bit there? Made and removed under `trial_name`.
[[nodiscard]] os::Result<bool> marks_stay(const Directory& directory, const char* trial_name);

/// What is known in one process, by device and type of file system: the number of a device without a disk is given out
/// again when it is unmounted. A `Process::part`.
class Trials {
 public:
  explicit Trials(os::Process& process) : system_(process.system()) {}

  /// Does renaming without replacing work there? Tried by using it; it is supposed to until it was refused.
  [[nodiscard]] bool rename_new_works(const Directory& directory);
  void rename_new_refused(const Directory& directory);

  [[nodiscard]] bool find(const Directory& directory, Trial& trial);
  void remember(const Directory& directory, const Trial& trial);

 private:
  struct Known {
    bool tried = false;
    bool rename_new = true;
    Trial trial;
  };

  [[nodiscard]] Known& known(const Directory& directory);

  os::System& system_;
  os::Mutex mutex_;
  std::map<std::pair<std::uint64_t, std::string>, Known> known_;
};

}  // namespace lockfile::claim
