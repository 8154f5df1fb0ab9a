// Engines whose client libraries are many are linked into programs of their own, beside lockctl: it becomes one of them
// when an address asks for it (docs/decisions/0028-programs-of-lockctl.md). All are made of the same files.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lockctl {

/// What this program can become: `lockctl-ENGINE` for each of `engines`, which has them and all that stand before them.
struct Programs {
  std::vector<std::string_view> engines;
  std::string_view directory;  ///< where they are installed, as seen from this program's own directory
};

/// Becomes the program that has what `schemes` name, with the same arguments and as the same process: then it does not
/// return. Nothing: this program has it. Else there is no such program: said, and the exit status.
std::optional<int> become_program_for(const std::vector<std::string>& schemes, const Programs& programs, char** argv);

}  // namespace lockctl
