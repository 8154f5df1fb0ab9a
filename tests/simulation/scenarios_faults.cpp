// Calls that fail, processes that are stopped, descriptors that are closed behind the library's back: held is never
// said that is not, and the next one gets the lock.
#include "simulation/scenarios.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <span>

namespace lockfile::simulation {

using namespace std::chrono_literals;

void add_faults(std::vector<Scenario>& all) {
  // Of each cause that the code tells apart (os::cause_of), and each number that it names; those that tell of another
  // world than there is (ENOENT, EEXIST) are not failures of a call. tests/fault has every number of every call.
  static constexpr std::array everywhere = {EIO, ENOSPC, EINTR, EACCES};
  static constexpr std::array all_errors = {EIO,    ENOSPC, EINTR, EACCES, EPERM,      ENOMEM,
                                            EMFILE, ENFILE, EROFS, ENOLCK, ENOSYS,     EDQUOT,
                                            EMLINK, EXDEV,  EBADF, EINVAL, EOPNOTSUPP, ENAMETOOLONG};
  for (const Form& form : forms()) {
    const bool main = form.name == "link" || form.name == "mkdir";
    const std::span<const int> errors = main ? std::span<const int>(all_errors) : std::span<const int>(everywhere);
    for (const int error : errors) {
      all.push_back({.name = std::string("call_fails/") + form.name + "/" + ::strerrorname_np(error),
                     .says = "any one call of one of two processes fails",
                     .set =
                         [form, error](Run& run) {
                           Participant& a = run.participant("A", by(form, [](Script& me) {
                                                              if (me.acquire()) me.release();
                                                            }));
                           run.participant("B", by(form, try_once));
                           run.fail(a, error);
                         },
                     .kind = form.kind,
                     .wakes_by_events = false,
                     .errors_allowed = true,
                     .last_caller_enters = false,
                     .leaves = Scenario::Leaves::unknown});
    }
  }
  for (const Form& form : main_forms()) {
    const auto named = [&](const char* name) { return std::string(name) + "/" + form.name; };
    all.push_back({.name = named("holder_stopped"),
                   .says = "a process is stopped anywhere, and goes on much later; another gives up in time",
                   .set =
                       [form](Run& run) {
                         Participant& a = run.participant("A", by(form, pair));
                         run.participant("B", by(form, [](Script& me) {
                                           if (me.acquire_for(20ms)) me.release();
                                         }));
                         run.stop(a);
                       },
                   .kind = form.kind});
    all.push_back({.name = named("descriptors_closed"),
                   .says = "a process closes all its descriptors anywhere, as one that becomes a daemon does",
                   .set =
                       [form](Run& run) {
                         Participant& a = run.participant("A", by(form, try_once));
                         run.participant("B", by(form, try_once));
                         run.close_descriptors(a);
                       },
                   .kind = form.kind,
                   .wakes_by_events = false,
                   .errors_allowed = true,
                   .last_caller_enters = false,
                   .leaves = Scenario::Leaves::unknown});
    all.push_back({.name = named("forked"),
                   .says = "a process forks anywhere, by a bare clone; the child keeps every descriptor and lives on",
                   .set =
                       [form](Run& run) {
                         Participant& a = run.participant("A", by(form, pair));
                         run.participant("B", by(form, pair));
                         run.fork(a, true);
                       },
                   .kind = form.kind});
  }
}

}  // namespace lockfile::simulation
