// An SQLite database with locks in it, as one process has it open: its connection, the guard beside it, and the
// transactions by which everything is done.
//
// Files: DATABASE, DATABASE-wal and DATABASE-shm are SQLite's, and nothing here ever opens or closes them: a close of
// any descriptor of a file drops the POSIX locks that the process has on it (fcntl(2)), and with them SQLite's, and the
// next one who closes the database deletes -wal and -shm beneath us, and our COMMIT still says that all is well. Ours
// is the directory DATABASE.d: `guard`, a file for byte locks, and the FIFOs by which waiters are woken.
//
// ENTRY, a byte of the guard, is locked around each transaction that writes. SQLite has its own lock for that, but
// whoever finds it taken can only sleep and try again, for milliseconds that no deadline of ours ends. And whoever has
// ENTRY says so in the file, so that a process that was stopped in the middle of a transaction has a name.
//
// LIVE, a byte for each process that takes part, is locked as long as it has the database open: by it the others tell
// whether it lives, as by the guard of a lock file (claim/judge.hpp).
//
// SQLite cannot be used by a forked child of a process that has a database open, not even with a connection of its own:
// it keeps the locks of a file in variables of the program (sqlite.org/howtocorrupt.html, 2.6). It is refused there.
#pragma once

#include "claim/directory.hpp"
#include "claim/judge.hpp"
#include "claim/record.hpp"
#include "claim/wake.hpp"
#include "os/process.hpp"

#include <lockfile/holder.hpp>
#include <lockfile/inspect.hpp>
#include <lockfile/options.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

struct sqlite3;
struct sqlite3_stmt;

namespace lockfile::schemes::sqlite {

/// Why something was refused.
struct Refusal {
  std::error_code why;
  std::string what;
  bool busy = false;         ///< somebody is writing; it passes: look again a little later
  std::int64_t writer = 0;   ///< the process that is; 0: not known
  std::uint64_t writes = 0;  ///< how many there have been: others come and go, if it changes
  [[nodiscard]] bool refused() const noexcept { return busy || static_cast<bool>(why); }
};

/// Thrown within this component only; no verb of an attempt or scheme lets it out.
class Refused final : public std::exception {
 public:
  explicit Refused(Refusal refusal) noexcept : refusal_(std::move(refusal)) {}
  [[nodiscard]] const Refusal& refusal() const noexcept { return refusal_; }

 private:
  Refusal refusal_;
};

/// What the database is asked, each prepared once.
enum class Sql : std::uint8_t {
  begin,
  begin_look,
  commit,
  rollback,
  last_number,
  set_number,
  process,
  process_by_pid,
  add_process,
  end_process,
  idle_processes,
  is_idle,
  holds,
  one_hold,
  granted,
  add_hold,
  end_hold,
  wake_hold,
  line,
  before,
  in_line,
  hold_of_fifo,
  add_place,
  end_place,
  names,
  count,  ///< how many there are
};

class Database;

/// One statement on its way.
class Query {
 public:
  Query(Database& database, Sql sql);
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;
  ~Query();

  // In the order of the statement's parameters. A text must live as long as the query.
  Query& with(std::int64_t value);
  Query& with(std::string_view text);
  /// True: a row is there. Throws `Refused`.
  bool next();
  /// To its end.
  void run() {
    while (next()) {
    }
  }
  /// To its end, of one that changes rows: did it change any?
  bool changes();
  [[nodiscard]] std::int64_t number(int column) const noexcept;
  [[nodiscard]] std::string text(int column) const;

 private:
  Database& database_;
  sqlite3_stmt* statement_;
  int parameters_ = 0;
};

/// A process that takes part, as the table says.
struct Participant {
  std::int64_t id = 0;
  bool known = false;
  claim::Record record;
};

class Database {
 public:
  enum class For : std::uint8_t {
    taking_part,  ///< makes the database where it is missing
    looking,      ///< makes nothing
  };
  struct Opened {
    std::shared_ptr<Database> database;  ///< null: refused, or, for looking, not there
    Refusal refusal;
  };
  /// One that this process has open already is shared, by whatever name it is asked for.
  [[nodiscard]] static Opened open(os::Process& process, const std::string& path, Access access, For what);

  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;
  ~Database();

  /// Was it opened to take part, if that is wanted?
  [[nodiscard]] bool will_do(For what) const noexcept { return what == For::looking || set_up_; }
  /// Does `path` still name this database?
  [[nodiscard]] bool is_at(const std::string& path) const noexcept;

  /// A transaction that writes. Left without `commit`, nothing has happened.
  class Write {
   public:
    enum class Patience : std::uint8_t {
      moment,   ///< looks for a fraction of a millisecond, and never sleeps
      longer,   ///< likewise, for some milliseconds: who only tries does not come again
      leaving,  ///< sleeps in between, until nobody has come or gone for a second
      release,  ///< likewise, for ten: what is over must not stay
    };
    /// Throws `Refused`.
    Write(Database& database, Patience patience);
    Write(const Write&) = delete;
    Write& operator=(const Write&) = delete;
    ~Write();
    void commit();

   private:
    Database& database_;
    bool open_ = false;
  };
  /// Several looks at one state. Throws `Refused`; waits for nobody but threads of this process.
  class Look {
   public:
    explicit Look(Database& database);
    Look(const Look&) = delete;
    Look& operator=(const Look&) = delete;
    ~Look();

   private:
    Database& database_;
  };

  // The rest within a transaction only.

  [[nodiscard]] std::uint64_t next_number();
  /// The number of this process in the table; it is written there when it writes for the first time.
  [[nodiscard]] std::int64_t self();
  [[nodiscard]] bool is_self(std::int64_t id) const noexcept { return id != 0 && id == self_; }
  [[nodiscard]] Participant participant(std::int64_t id);
  struct Seen {
    claim::Judgement judgement{Verdict::unknown, {}};
    claim::ProcessesSeen processes;
    bool this_process = false;
  };
  [[nodiscard]] Seen judge(const Participant& who) const;
  /// As `judge`, for those whose watches are not wanted: two calls of the system for one that lives.
  [[nodiscard]] bool is_dead(std::int64_t id);

  /// Whoever is writing just now, where it can be told. Outside of transactions.
  [[nodiscard]] std::optional<Holder> writer(std::int64_t pid);

  /// For people. Throws `Refused`.
  void examine(Examination& seen);

  /// For waiters. Null: there can be none here. Outside of transactions.
  [[nodiscard]] std::unique_ptr<claim::WakeFifo> take_fifo();
  void give_back(std::unique_ptr<claim::WakeFifo> fifo) noexcept;
  /// For who is known to wait: one that is there already, or null.
  [[nodiscard]] std::unique_ptr<claim::WakeFifo> take_kept_fifo() noexcept;
  struct Token {
    std::uint64_t fifo = 0;  ///< 0: it cannot be woken
    std::uint32_t uid = 0;
  };
  /// Only after the COMMIT of what it is to be woken for: else it would look, see nothing and sleep again. Those whose
  /// FIFO is gone: they wait no more, and could not say so.
  [[nodiscard]] std::vector<Token> wake(const std::vector<Token>& tokens);

  /// A place or hold that its attempt could not take out of the tables: done by the next transaction of this process.
  struct Orphan {
    std::string name;
    std::int64_t kind = 0;
    std::uint64_t number = 0;
    bool is_place = false;
  };
  void orphan(Orphan orphan) noexcept;
  [[nodiscard]] std::vector<Orphan> take_orphans() noexcept;

  /// Places of threads of this process that wait: a hold of that place is not known yet to its thread.
  void waits(std::uint64_t place);
  void waits_no_more(std::uint64_t place) noexcept;
  [[nodiscard]] bool is_waiting(std::uint64_t place) noexcept;

  [[nodiscard]] os::Process& process() const noexcept { return directory_->process(); }
  [[nodiscard]] os::System& system() const noexcept { return directory_->system(); }
  [[nodiscard]] std::uint32_t uid() const noexcept { return info_.uid; }

 private:
  friend class Query;
  Database(std::shared_ptr<claim::Directory> directory, std::string name, const os::FileInfo& info, Access access)
      : directory_(std::move(directory)), name_(std::move(name)), info_(info), access_(access) {}

  void connect(const std::string& path);
  void disconnect() noexcept;
  [[nodiscard]] bool check_whose();
  void open_guard(const std::string& path, For what);
  void set_up();
  void raise_epoch();
  [[nodiscard]] std::int64_t add_process();
  void remove_dead_fifos() noexcept;
  void written(bool committed) noexcept;
  void check_usable() const;
  void enter(std::chrono::nanoseconds patience);
  void leave() noexcept;
  void roll_back() noexcept;
  void execute(const char* sql);
  [[nodiscard]] std::int64_t value_of(const char* sql);
  [[nodiscard]] std::string text_of(const char* sql);
  [[nodiscard]] sqlite3_stmt* prepared(Sql sql);
  [[noreturn]] void refuse(int code) const;
  [[nodiscard]] std::string quoted() const;

  std::shared_ptr<claim::Directory> directory_;  // that the database is in
  std::string name_;
  os::FileInfo info_;
  Access access_;
  std::shared_ptr<claim::Directory> beside_;  // DATABASE.d
  os::Unshared guard_;
  os::FileInfo guard_info_;
  bool guard_is_for_looks_ = false;  // open for reading: no byte of it can be locked
  os::SharedWord* words_ = nullptr;
  sqlite3* connection_ = nullptr;
  std::array<sqlite3_stmt*, static_cast<std::size_t>(Sql::count)> statements_{};
  bool counted_ = false;
  std::atomic<bool> set_up_ = false;  // else it was opened to look
  std::int64_t self_ = 0;
  bool self_is_new_ = false;  // written by the transaction that is open

  os::Mutex mutex_;        // the connection's
  os::Mutex small_mutex_;  // of the rest
  std::set<std::uint64_t> waiting_;
  std::vector<std::unique_ptr<claim::WakeFifo>> fifos_;
  std::vector<Orphan> orphans_;
};

/// Those that a process has open.
class Databases {
 public:
  explicit Databases(os::Process& /*process*/) noexcept {}
  Databases(const Databases&) = delete;
  Databases& operator=(const Databases&) = delete;

 private:
  friend class Database;
  [[nodiscard]] std::shared_ptr<Database> find(const os::FileInfo& inode);
  os::Mutex mutex_;
  std::vector<std::pair<os::FileInfo, std::weak_ptr<Database>>> open_;
};

}  // namespace lockfile::schemes::sqlite
