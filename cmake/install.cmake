# What `cmake --install` puts where, and how other projects find it: find_package(lockfile), pkg-config lockfile.
include(CMakePackageConfigHelpers)
set(_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/lockfile)
set(_generated ${PROJECT_BINARY_DIR}/package)

install(TARGETS lockfile EXPORT lockfileTargets)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/lockfile TYPE INCLUDE FILES_MATCHING PATTERN "*.hpp")

install(EXPORT lockfileTargets NAMESPACE lockfile:: DESTINATION ${_package_dir})

# Components: an export file each, so that whoever does not ask for one need not have what it needs.
get_property(_components GLOBAL PROPERTY LOCKFILE_COMPONENTS)
foreach(_component IN LISTS _components)
  install(TARGETS lockfile_${_component} EXPORT lockfile-${_component})
  install(EXPORT lockfile-${_component} NAMESPACE lockfile:: DESTINATION ${_package_dir})
endforeach()
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/lockfileConfig.cmake.in ${_generated}/lockfileConfig.cmake
  INSTALL_DESTINATION ${_package_dir} NO_SET_AND_CHECK_MACRO)
# Before 1.0 a new minor version may change the interface (and the soname does).
write_basic_package_version_file(${_generated}/lockfileConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${_generated}/lockfileConfig.cmake ${_generated}/lockfileConfigVersion.cmake DESTINATION ${_package_dir})

# The .pc file finds its prefix from where it lies, so that an installed tree can be moved; that needs the way up
# from its directory. Absolute directories (as distributions like to pass) are written as they are.
set(_pc_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
if(IS_ABSOLUTE ${CMAKE_INSTALL_LIBDIR})
  set(_pc_prefix ${CMAKE_INSTALL_PREFIX})
else()
  file(RELATIVE_PATH _up /${_pc_dir} /)
  string(REGEX REPLACE "/$" "" _up ${_up})
  set(_pc_prefix "\${pcfiledir}/${_up}")
endif()
cmake_path(APPEND _pc_libdir "\${prefix}" ${CMAKE_INSTALL_LIBDIR})
cmake_path(APPEND _pc_includedir "\${prefix}" ${CMAKE_INSTALL_INCLUDEDIR})
configure_file(${PROJECT_SOURCE_DIR}/cmake/lockfile.pc.in ${_generated}/lockfile.pc @ONLY)
install(FILES ${_generated}/lockfile.pc DESTINATION ${_pc_dir})
