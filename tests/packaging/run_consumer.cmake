# One step of the packaging tests, run by `cmake -P`: installs the library to `work`/prefix (step install), removes
# `work` (step remove), or configures, builds and runs the consumer named by `step` from a copy outside the tree.
# CMake rather than shell, so that the same script can serve the next platform.
cmake_minimum_required(VERSION 3.25)

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "status ${status}: ${command}\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

set(prefix ${work}/prefix)
set(build ${work}/build/${step})
# Nobody debugs these.
set(common -G Ninja -D CMAKE_CXX_COMPILER=${compiler} -D CMAKE_BUILD_TYPE=Debug -D CMAKE_CXX_FLAGS_DEBUG=)
if(linkage STREQUAL "shared")
  list(APPEND common -D BUILD_SHARED_LIBS=ON)
else()
  list(APPEND common -D BUILD_SHARED_LIBS=OFF)
endif()

# The library is built four times. The static one that is installed is built as a package of it would be, each file with
# the headers that it includes itself; the others quickly, and all files of a library as one, which a project may want too.
if(NOT (step STREQUAL "install" AND linkage STREQUAL "static"))
  list(APPEND common -D CMAKE_UNITY_BUILD=ON -D CMAKE_UNITY_BUILD_BATCH_SIZE=0)
endif()

if(step STREQUAL "remove")
  file(REMOVE_RECURSE ${work})
  return()
endif()

if(step STREQUAL "install")
  file(REMOVE_RECURSE ${work})
  run(${CMAKE_COMMAND} -S ${source} -B ${build} ${common} -D CMAKE_INSTALL_PREFIX=${work}/elsewhere
    -D LOCKFILE_BUILD_CLI=OFF -D LOCKFILE_BUILD_TESTS=OFF -D LOCKFILE_BUILD_EXAMPLES=OFF)
  run(${CMAKE_COMMAND} --build ${build})
  run(${CMAKE_COMMAND} --install ${build})
  # Moved after the installation: nothing in it may name the place where it was first.
  file(RENAME ${work}/elsewhere ${prefix})
  file(GLOB_RECURSE texts ${prefix}/*.cmake ${prefix}/*.pc)
  list(LENGTH texts count)
  if(count LESS 5)
    message(FATAL_ERROR "only ${count} package files were installed: ${texts}")
  endif()
  foreach(text ${texts})
    file(READ ${text} content)
    foreach(place ${work} ${source})
      string(FIND "${content}" "${place}" found)
      if(NOT found EQUAL -1)
        message(FATAL_ERROR "'${text}' names '${place}'")
      endif()
    endforeach()
  endforeach()
  return()
endif()

file(REMOVE_RECURSE ${build} ${work}/consumer/${step})
file(COPY ${source}/tests/packaging/${step} ${source}/tests/packaging/consumer.cpp DESTINATION ${work}/consumer)
if(step MATCHES "find_package|components")
  set(found_by -D CMAKE_PREFIX_PATH=${prefix})
elseif(step STREQUAL "pkg_config")
  # lib or lib64 or lib/<triplet>: wherever GNUInstallDirs put it.
  file(GLOB_RECURSE pc ${prefix}/*lockfile.pc)
  get_filename_component(pc_dir ${pc} DIRECTORY)
  set(ENV{PKG_CONFIG_PATH} ${pc_dir})
elseif(step STREQUAL "fetchcontent")
  # The sources are at hand: no test of ours needs a network.
  set(found_by -D FETCHCONTENT_SOURCE_DIR_LOCKFILE=${source})
else()
  set(found_by -D LOCKFILE_SOURCE=${source})
endif()
run(${CMAKE_COMMAND} -S ${work}/consumer/${step} -B ${build} ${common} ${found_by})
run(${CMAKE_COMMAND} --build ${build} --target consumer)  # and of the library what that one needs

if(step MATCHES "find_package|components|pkg_config" AND linkage STREQUAL "shared")
  # pkg-config gives no run path, as for any library outside the system's directories.
  file(GLOB_RECURSE library ${prefix}/*liblockfile.so)
  get_filename_component(library_dir ${library} DIRECTORY)
  set(ENV{LD_LIBRARY_PATH} ${library_dir})
endif()
file(MAKE_DIRECTORY ${build}/locks)
run(${build}/consumer ${build}/locks/a)
if(NOT output MATCHES "^held and released, lockfile ${version}\n$")
  message(FATAL_ERROR "the consumer said: ${output}")
endif()
file(GLOB left ${build}/locks/*)
if(left AND NOT step STREQUAL "components")
  message(FATAL_ERROR "the consumer left behind: ${left}")
endif()
