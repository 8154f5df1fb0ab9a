// Scheme sqlite: a lock is a name in an SQLite database, and a hold is a row. Two processes A and B, T a transaction
// that writes, which is begun under ENTRY (database.hpp):
//
//   1. A: T: nobody holds, nobody waits: row `hold`, number 7: COMMIT: A holds
//   2.                                      B: T: A holds, and lives: row `queue`, place 8, and B's FIFO: COMMIT
//   3.                                      B: sleeps on its FIFO and on A's process
//   4. A: T: row 7 away; first in the line is B, which lives: row `queue` away, row `hold`, number 9, B's: COMMIT
//   5. A: a token into B's FIFO             B: looks: a hold of its place: B holds
//
// The lock is handed over in the very transaction that ends the hold: nobody slips in between, and one waiter is woken.
// The token comes after the COMMIT; before it, B would look, see A's row and sleep for ever:
//
//   A: T: row 7 away, row 9          B: sleeps
//   A: token (too early)             B: wakes, looks at the last committed state: A holds: sleeps
//   A: COMMIT                        B: sleeps on, and holds
//
// B looks for its hold first and for its place in the line second, in one transaction: in two, A's step 4 in between
// would show neither. And until B's thread has seen its hold, the row is not told to be that thread's: it asks who is
// in its way, and would be told of a deadlock with itself.
//
// A killed after 1: its process watch wakes B; T: A's LIVE byte is free and its process has ended: row 7 away, and
// as 4. A killed between 4 and 5: B's watch on A's process wakes it, and it finds that it holds; who stands further
// back looks now and then.
//
// What it costs: every process that is stopped in the middle of a transaction (SIGSTOP) stops all changes of all locks
// in the database; deadlines are kept, and it is named. A waiter that is stopped is handed the lock all the same. For
// one host, on a local file system. A forked child cannot use it before exec.
#pragma once

#include "schemes/file_path.hpp"
#include "schemes/sqlite/database.hpp"
#include "schemes/sqlite/lock_name.hpp"

#include <lockfile/options.hpp>
#include <lockfile/scheme.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace lockfile::schemes::sqlite {

class Scheme final : public lockfile::Scheme {
 public:
  Scheme(FilePath place, const Options& options);

  [[nodiscard]] std::string_view name() const noexcept override { return "sqlite"; }
  [[nodiscard]] Traits traits() const noexcept override;
  [[nodiscard]] std::unique_ptr<lockfile::Attempt> attempt(const Request& request) override;
  [[nodiscard]] std::vector<Holder> holders(std::error_code& why) override;
  [[nodiscard]] std::vector<Waiter> waiters(std::error_code& why) override;
  std::error_code break_hold(const Holder& hold, Proof proof) noexcept override;
  void abandon() noexcept override;
  [[nodiscard]] std::unique_ptr<lockfile::Scheme> semaphore(std::size_t units, std::size_t wanted) override;
  [[nodiscard]] Examination examine(std::error_code& why) override;
  [[nodiscard]] std::vector<std::string> locked_names(std::error_code& why, std::string& what) override;

 private:
  friend class Attempt;

  /// Semaphores are made one for each acquire: what the first has opened serves the next.
  struct Shelf {
    os::Mutex mutex;
    std::shared_ptr<Database> database;
  };

  /// Null: refused, or, for looking, not there.
  [[nodiscard]] std::shared_ptr<Database> database(Database::For what, Refusal& refusal);
  [[nodiscard]] std::shared_ptr<Database> database_to_look_at(std::error_code& why);

  std::string path_;
  LockName name_;
  std::int64_t units_ = 1;  // that an attempt wants
  std::int64_t most_ = 1;
  Options options_;
  std::shared_ptr<Database> database_;
  std::shared_ptr<Shelf> shelf_ = std::make_shared<Shelf>();  // shared with those that `semaphore` has made
};

}  // namespace lockfile::schemes::sqlite
