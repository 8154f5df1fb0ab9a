// The whole public API. Each part has a header of its own beside this one.
#pragma once

#include <lockfile/error.hpp>
#include <lockfile/fenced_file.hpp>
#include <lockfile/file_lock.hpp>
#include <lockfile/holder.hpp>
#include <lockfile/inspect.hpp>
#include <lockfile/kernel_file_lock.hpp>
#include <lockfile/lease_keeper.hpp>
#include <lockfile/lock.hpp>
#include <lockfile/lock_all.hpp>
#include <lockfile/open.hpp>
#include <lockfile/options.hpp>
#include <lockfile/scheme.hpp>
#include <lockfile/semaphore.hpp>
#include <lockfile/shared_memory_lock.hpp>
#include <lockfile/version.hpp>
#include <lockfile/wait.hpp>
