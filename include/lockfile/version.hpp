// The version of this library. CMake reads it from here.
#pragma once

#define LOCKFILE_VERSION_MAJOR 0
#define LOCKFILE_VERSION_MINOR 1
#define LOCKFILE_VERSION_PATCH 0
