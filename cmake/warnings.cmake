# The warnings that every target of this project compiles with.
add_library(lockfile_warnings INTERFACE)
target_compile_options(lockfile_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wold-style-cast
  $<$<BOOL:${LOCKFILE_WARNINGS_ARE_ERRORS}>:-Werror>)
