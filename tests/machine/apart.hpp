// The body of a test in a process, a mount namespace and a pid namespace of its own: what it mounts and whatever it
// starts goes away with it, also when it fails, and nothing outside ever sees it.
#pragma once

#include <chrono>
#include <functional>
#include <stdexcept>
#include <string>

namespace machine {

/// After so long a thing that should happen does not happen any more.
inline constexpr std::chrono::seconds stuck{10};
/// Who has said nothing for so long waits.
inline constexpr std::chrono::milliseconds quiescent{10};

/// Something that this machine does not have, or does not let us have: the test is skipped, with this reason.
class Unavailable : public std::runtime_error {
  using std::runtime_error::runtime_error;
};
[[noreturn]] void unavailable(const std::string& what, int error);

/// Runs `body` as pid 1 of a pid namespace of its own, with a /proc that shows it. `ground` is an empty directory on a
/// tmpfs of its own, which every user may enter. Failures and skips of googletest's macros in `body` become the
/// test's. To be the last statement of a test.
void apart(const std::function<void(const std::string& ground)>& body);

}  // namespace machine
