# What most files include is read once for a target and not once for each of its files, which takes half as long. Only in
# some presets: the others, and the builds of tests/packaging, see whether a file includes what it uses.
include_guard()
option(LOCKFILE_PRECOMPILE "Precompile what most files include" OFF)

# A target, and what most of its files include beside the standard library.
function(lockfile_precompile target)
  if(LOCKFILE_PRECOMPILE)
    target_precompile_headers(${target} PRIVATE <algorithm> <array> <atomic> <cerrno> <chrono> <cstdint> <functional>
      <map> <memory> <mutex> <optional> <span> <stop_token> <string> <string_view> <system_error> <thread> <utility>
      <variant> <vector> ${ARGN})
  endif()
endfunction()
