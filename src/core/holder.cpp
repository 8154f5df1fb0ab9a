// Telling people who holds.
#include <lockfile/holder.hpp>

#include "claim/record.hpp"
#include "os/process.hpp"

namespace lockfile {

std::string_view to_string(Mode mode) noexcept {
  switch (mode) {
    case Mode::shared:
      return "shared";
    case Mode::upgradable:
      return "upgradable";
    case Mode::exclusive:
      break;
  }
  return "exclusive";
}

std::string_view to_string(Verdict verdict) noexcept {
  switch (verdict) {
    case Verdict::alive:
      return "alive";
    case Verdict::dead:
      return "dead";
    case Verdict::unknown:
      break;
  }
  return "unknown";
}

std::string Holder::who() const {
  if (foreign) return "an unknown holder of uid " + std::to_string(uid);
  std::string text = "pid " + std::to_string(pid);
  if (handed_to != 0) text += " and its child " + std::to_string(handed_to);
  if (!host.empty()) text += " on " + claim::printable(host);
  if (!program.empty()) text += " (" + claim::printable(program) + ")";
  return text;
}

std::string Holder::describe() const {
  if (waits) return "free, but " + who() + " is first in line for it";
  std::string text = mode == Mode::exclusive ? "held by " : "held " + std::string(to_string(mode)) + " by ";
  text += who();
  if (since) text += " since " + os::Process::current().system().local_time(*since);
  text += " (" + std::string(to_string(verdict));
  // "alive" says it all; what is less than that needs its reason.
  if (verdict != Verdict::alive && !note.empty()) text += ": " + note;
  text += ")";
  if (lease.count() != 0) {
    const bool whole = lease.count() % 1000 == 0;
    text += ", lease " + (whole ? std::to_string(lease.count() / 1000) + "s" : std::to_string(lease.count()) + "ms");
    if (expired) text += " expired";
  }
  if (!reason.empty()) text += ", reason: " + claim::printable(reason);
  return text;
}

}  // namespace lockfile
