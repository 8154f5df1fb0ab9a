# Is what is installed of lockctl all that it needs, also when the tree was moved? Installs `build` to a directory below
# `work`, moves that, and asks lockctl for an address of each engine that has a program of its own (`programs`).
cmake_minimum_required(VERSION 3.25)

# What it says, on both outputs.
function(lockctl)
  execute_process(COMMAND ${work}/prefix/${bin}/lockctl ${ARGN} OUTPUT_VARIABLE output ERROR_VARIABLE output)
  set(output "${output}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE ${work})
execute_process(COMMAND ${CMAKE_COMMAND} --install ${build} --prefix ${work}/elsewhere
  RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "it cannot be installed:\n${output}")
endif()
file(RENAME ${work}/elsewhere ${work}/prefix)
set(ENV{LD_LIBRARY_PATH} ${work}/prefix/${lib})  # of a build with shared libraries

lockctl(--version)
if(NOT output STREQUAL "lockctl ${version}\n")
  message(FATAL_ERROR "lockctl --version said: ${output}")
endif()
foreach(program IN LISTS programs)
  # The component itself refuses to have a password or a user in the address.
  lockctl(status "${program}://user:secret@host/a#b")
  if(NOT output MATCHES "^lockctl: cannot lock .*(password|ETCDCTL_USER)")
    message(FATAL_ERROR "lockctl said of an address of ${program}: ${output}")
  endif()
endforeach()
file(REMOVE_RECURSE ${work})
