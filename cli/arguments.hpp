// From the words of a command line to what they ask for. Nothing of it is done here, so that a wrong argument never has
// half an effect.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace lockctl {

/// What a subcommand does; gives the exit status.
using Action = std::function<int()>;

/// What arguments ask for: one of the three is there.
struct Request {
  Action action;                        ///< what is to be done
  std::string output;                   ///< of --help and --version, for standard output
  std::vector<std::string> complaints;  ///< wrong usage: messages for `say`
  /// Schemes of databases and clusters that addresses among the arguments name.
  std::vector<std::string> engines = {};
};

/// Reads what stands behind the program's name.
[[nodiscard]] Request read_arguments(std::vector<std::string> arguments);

}  // namespace lockctl
