// What lockctl prints: messages in one form, names made safe for a terminal, tables.
#pragma once

#include <lockfile/holder.hpp>

#include <chrono>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace lockctl {

/// Makes text of unknown origin safe to print: control characters, bytes that are not UTF-8 and characters that turn
/// the direction of writing become `\xNN`. Records and file names are written by strangers.
[[nodiscard]] std::string escape(std::string_view text);
/// `'a.lock'`, escaped.
[[nodiscard]] std::string quote(std::string_view text);

/// `lockctl: <message>` on standard error, escaped (what is escaped already stays as it is).
void say(std::string_view message);

/// Is the lock of that scheme a kernel lock on the path itself, and not a file beside it?
[[nodiscard]] bool is_on_the_file(std::string_view scheme);
/// Is it a lock file beside the path?
[[nodiscard]] bool is_beside(std::string_view scheme);
/// The lock file's name for a path as the user wrote it: "spool/x/" has "spool/x.lock". Any other lock is on "spool/x",
/// or is called by its address.
[[nodiscard]] std::string lock_file_of(std::string_view path, std::string_view scheme = "auto");
/// Says so when a path looks like the name of a lock file, as `lockctl list` and `ls` show it: verbs take the path
/// that is locked, and "x.lock" would be looked for at "x.lock.lock".
void hint_at_lock_file_name(std::string_view path);

/// The system's words for an error, in lower case.
[[nodiscard]] std::string cause_of(const std::error_code& error);

/// What an exception says, with its cause, the system's words, in lower case.
[[nodiscard]] std::string message_of(const std::system_error& error);

/// "free", "held" or "stale".
[[nodiscard]] std::string_view state_of(const lockfile::Holder& holder);
/// How long a hold has stood, by the clocks of people: "3m12s", or nothing where that is not known.
[[nodiscard]] std::string age_of(const lockfile::Holder& holder);
/// `pid 4711 on build-7 (rsync) waits for 3.2s, shared`
[[nodiscard]] std::string describe(const lockfile::Waiter& waiter);
/// When it began to wait, by the clock of people.
[[nodiscard]] std::chrono::system_clock::time_point began(const lockfile::Waiter& waiter);
/// "2026-11-23T12:03:11Z"
[[nodiscard]] std::string iso_time(std::chrono::system_clock::time_point time);

/// Prints rows in columns, two spaces apart. The last column is not padded.
void print_table(const std::vector<std::vector<std::string>>& rows, std::string_view indent = "");

/// Characters, not bytes: what a column or a terminal line counts.
[[nodiscard]] std::size_t width_of(std::string_view text);
/// At most so many characters of it, ending in "..." where something was left out.
[[nodiscard]] std::string shorten(std::string_view text, std::size_t width);

}  // namespace lockctl
