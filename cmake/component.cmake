# Components: parts of the library that need somebody else's library. Each has an option LOCKFILE_<NAME>: AUTO builds it
# where what it needs is there, ON fails where it is not, OFF leaves it out.

# lockfile_component(<name> FOUND <is what it needs there> NEEDS <where its locks are, for people> PACKAGES <Debian's>): sets
# `build_component`.
macro(lockfile_component name)
  cmake_parse_arguments(_component "" "FOUND;NEEDS;PACKAGES" "" ${ARGN})
  string(TOUPPER ${name} _component_upper)
  set(LOCKFILE_${_component_upper} AUTO CACHE STRING "Locks in ${_component_NEEDS}: AUTO, ON or OFF")
  set_property(CACHE LOCKFILE_${_component_upper} PROPERTY STRINGS AUTO ON OFF)
  set(build_component OFF)
  if(LOCKFILE_${_component_upper} STREQUAL "AUTO" AND NOT _component_FOUND)
    message(STATUS "lockfile: without ${name}: its client library was not found (${_component_PACKAGES})")
  elseif(LOCKFILE_${_component_upper})
    if(NOT _component_FOUND)
      message(FATAL_ERROR "lockfile: LOCKFILE_${_component_upper} is ${LOCKFILE_${_component_upper}}, and "
                          "its client library was not found (${_component_PACKAGES})")
    endif()
    set(build_component ON)
  endif()
endmacro()

# lockfile_add_component(<name> <sources>...): the library lockfile_<name>, known as lockfile::<name>, that
# `lockfile::open` finds in every program that links it.
function(lockfile_add_component name)
  add_library(lockfile_${name} ${ARGN})
  add_library(lockfile::${name} ALIAS lockfile_${name})
  target_link_libraries(lockfile_${name} PUBLIC lockfile::lockfile PRIVATE $<BUILD_INTERFACE:lockfile_warnings>)
  target_include_directories(lockfile_${name} PRIVATE ${PROJECT_SOURCE_DIR}/src)
  # The core refers to this function weakly, and a weak reference takes nothing out of an archive.
  target_link_options(lockfile_${name} INTERFACE "LINKER:-u,lockfile_make_${name}")
  # And a shared library to which nothing else refers is left out by linkers that are set to (--as-needed).
  get_target_property(_type lockfile_${name} TYPE)
  if(_type STREQUAL "SHARED_LIBRARY")
    target_link_options(lockfile_${name} INTERFACE "LINKER:--no-as-needed")
  endif()
  set_target_properties(lockfile_${name} PROPERTIES
    EXPORT_NAME ${name} VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
    POSITION_INDEPENDENT_CODE ON)
  # Inside of another project it is built when something there links it.
  if(NOT PROJECT_IS_TOP_LEVEL)
    set_target_properties(lockfile_${name} PROPERTIES EXCLUDE_FROM_ALL ON)
  endif()
  set_property(GLOBAL APPEND PROPERTY LOCKFILE_COMPONENTS ${name})
endfunction()
