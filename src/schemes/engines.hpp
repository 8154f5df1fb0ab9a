// Where the components that lock a name in a database or a cluster meet the catalogue. Each is a library of its own
// (lockfile::sqlite, lockfile::postgresql, lockfile::etcd), for the core depends on no database. It defines one of
// these functions; they are weak, so that the core can be linked without. Whoever links a component is made to keep its
// function (`-u`, in cmake/component.cmake), and `lockfile::open` finds it by this address alone.
#pragma once

#include "schemes/file_path.hpp"

#include <lockfile/options.hpp>
#include <lockfile/scheme.hpp>

namespace lockfile::schemes {

// What they promise: the core tells it also where they are not built in.
inline constexpr Traits sqlite_traits = {
    .shared = true, .fair = true, .fence = true, .crash_recovery = true, .forced_break = true, .event_wait = true};
inline constexpr Traits postgresql_traits = {.shared = true,
                                             .fair = true,
                                             .fence = true,
                                             .crash_recovery = true,
                                             .forced_break = true,
                                             .across_hosts = true,
                                             .event_wait = true};
inline constexpr Traits etcd_traits = {.shared = true,
                                       .fair = true,
                                       .fence = true,
                                       .lease = true,
                                       .crash_recovery = true,
                                       .forced_break = true,
                                       .across_hosts = true,
                                       .event_wait = true};

}  // namespace lockfile::schemes

extern "C" {

// `place.directory` is the database's path, or what stands behind the "://"; `place.name` is the lock's name there. The
// caller owns what is made. Throws `std::system_error` for a place that cannot be understood; connects to nothing.
[[gnu::weak]] lockfile::Scheme* lockfile_make_sqlite(const lockfile::schemes::FilePath& place,
                                                     const lockfile::Options& options);
[[gnu::weak]] lockfile::Scheme* lockfile_make_postgresql(const lockfile::schemes::FilePath& place,
                                                         const lockfile::Options& options);
[[gnu::weak]] lockfile::Scheme* lockfile_make_etcd(const lockfile::schemes::FilePath& place,
                                                   const lockfile::Options& options);
}
