// What stands in the database, and what a session is asked: all SQL of this scheme.
#pragma once

#include "schemes/postgresql/connection.hpp"

#include <string>

namespace lockfile::schemes::postgresql {

/// Of schema `lockfile`; the table `lockfile.meta` has it.
inline constexpr int schema_version = 1;
inline constexpr int oldest_server = 120000;

/// Makes the schema where it is missing: one transaction.
[[nodiscard]] const std::string& schema_text();

/// The first question of every session: its process, whether the server is a standby, the timeline, when the process
/// began; the version of the schema, and up to which number has been reserved, 0 after a crash.
[[nodiscard]] const char* greeting() noexcept;
[[nodiscard]] const char* greeting_without_schema() noexcept;

/// After a crash: what `Statement::reserve` does, before the first number is drawn.
[[nodiscard]] const char* reserving() noexcept;

/// Names and numbers of what is locked or waited for in the database just now, where the numbers have names.
[[nodiscard]] const char* named_locks() noexcept;

/// The settings of a session, its statements, and its record. `record`: `(..)`, quoted.
[[nodiscard]] std::string settling(int server_version, const std::string& server_options, const std::string& record);
[[nodiscard]] const char* name_of(Statement statement) noexcept;

}  // namespace lockfile::schemes::postgresql
