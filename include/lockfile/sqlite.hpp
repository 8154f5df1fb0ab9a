// Locks in an SQLite database: `SQLiteFileLock`. Needs the component `lockfile::sqlite`.
#pragma once

#include <lockfile/lock.hpp>

namespace lockfile {

/// A lock on the object that `path` names, held by a row in the database `.lockfile.db` of the same directory, which is
/// made where it is missing, and stays.
///
///     lockfile::SQLiteFileLock lock("/srv/backup");      // the same lock as
///     lockfile::open("sqlite:/srv/.lockfile.db#backup") std::scoped_lock guard(lock);
///
/// All locks of a directory are in one database. Shared and exclusive; whoever releases hands the lock to the next
/// waiter, in the order in which they came; `fence()` is a number at every exclusive hold, whether it was asked for or
/// not. For the processes of one host: a network file system is refused (`std::errc::operation_not_supported`), and so
/// is a database of another program (`errc::foreign`) or a damaged one (`std::errc::bad_message`), and it stays as it
/// is. docs/schemes/sqlite.md has the rest.
///
/// Fork: a child that was forked while any SQLite database was open by this library cannot use such locks before exec:
/// `std::errc::operation_not_permitted`.
class SQLiteFileLock : public Lock {
 public:
  /// Throws as `FileLock`.
  explicit SQLiteFileLock(std::string_view path, const Options& options = {});
};

}  // namespace lockfile
