// For programs that tests kill. In builds that count what is run (the preset coverage) nothing of what they did would
// be counted, for it is written down at the end.
#pragma once

#ifdef LOCKFILE_COVERAGE
extern "C" void lockfile_count_so_far();
#endif

namespace lockfile::testing {

/// To be called before whoever may kill this program is told of anything.
inline void count_so_far() {
#ifdef LOCKFILE_COVERAGE
  lockfile_count_so_far();
#endif
}

}  // namespace lockfile::testing
