// What is locked, and what one transaction does to it.
#pragma once

#include "schemes/sqlite/database.hpp"

#include <lockfile/holder.hpp>
#include <lockfile/scheme.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace lockfile::schemes::sqlite {

enum class Kind : std::uint8_t { lock, semaphore };

struct LockName {
  std::string name;
  Kind kind = Kind::lock;

  [[nodiscard]] std::int64_t kind_number() const noexcept { return static_cast<std::int64_t>(kind); }
};

/// Who asks, or holds.
struct Wanted {
  Mode mode = Mode::exclusive;
  std::int64_t units = 1;
  std::int64_t most = 1;  ///< of a semaphore: how many there are
};

/// A row of `hold`.
struct Hold {
  std::uint64_t number = 0;
  Mode mode = Mode::exclusive;
  std::int64_t units = 1;
  std::int64_t process = 0;
  std::int64_t thread = 0;
  std::uint64_t place = 0;  ///< in the queue, that it was let in from; 0: none
  Database::Token token;
  bool died = false;  ///< its exclusive predecessor was proved dead
  std::int64_t since_ms = 0;
  std::string reason;
};

/// A row of `queue`.
struct Waiting {
  std::uint64_t place = 0;
  Wanted wanted;
  std::int64_t process = 0;
  std::int64_t thread = 0;
  Database::Token token;
  std::int64_t since_ns = 0;
  std::string reason;
};

// Within a transaction.
/// Of all that somebody holds or waits for.
[[nodiscard]] std::vector<std::string> names_in(Database& database, Kind kind);
/// Does nobody hold it, and nobody wait? The most common case, told by one look.
[[nodiscard]] bool is_idle(Database& database, const LockName& name);
[[nodiscard]] std::vector<Hold> holds_of(Database& database, const LockName& name);
[[nodiscard]] std::optional<Waiting> first_in_line(Database& database, const LockName& name);
[[nodiscard]] std::vector<Waiting> line_of(Database& database, const LockName& name);
/// The hold that was given to that place; nothing: it waits, or is lost.
[[nodiscard]] std::optional<Hold> granted_to(Database& database, const LockName& name, std::uint64_t place);
[[nodiscard]] bool stands_in_line(Database& database, const LockName& name, std::uint64_t place);
[[nodiscard]] bool stands(Database& database, const LockName& name, std::uint64_t number);
[[nodiscard]] bool admits(const std::vector<Hold>& holds, const LockName& name, const Wanted& wanted) noexcept;
[[nodiscard]] bool is_in_the_way(const Hold& hold, const LockName& name, const Wanted& wanted) noexcept;
[[nodiscard]] Holder holder_from(Database& database, const Hold& hold, const Participant& who,
                                 const Database::Seen& seen);

/// Changes to one lock, in a transaction that writes.
class Change {
 public:
  /// `tokens`: for whom it lets in, to be woken after the COMMIT.
  Change(Database& database, const LockName& name, std::vector<Database::Token>& tokens)
      : database_(database), name_(name), tokens_(tokens) {}

  [[nodiscard]] const std::vector<Hold>& holds();
  /// It is known that there are none.
  void has_no_holds() { holds_.emplace(); }
  /// Removes the dead among those who keep `wanted` out.
  void remove_dead(const Wanted& wanted);
  /// Lets in who may enter, in the order of the line; the dead are dropped. True: somebody still waits.
  bool let_in();
  /// The number.
  std::uint64_t add(Hold hold);
  /// Ends a hold. False: it does not stand.
  bool end(std::uint64_t number);
  /// Takes somebody out of the line. False: it is not in it.
  bool end_place(std::uint64_t place);
  [[nodiscard]] bool died() const noexcept { return died_; }
  void note_death() noexcept { died_ = true; }

 private:
  Database& database_;
  const LockName& name_;
  std::optional<std::vector<Hold>> holds_;
  std::vector<Database::Token>& tokens_;
  bool died_ = false;
};

void end_orphans(Database& database, const std::vector<Database::Orphan>& orphans,
                 std::vector<Database::Token>& tokens);
/// Takes back what was given to places whose FIFO is gone, and gives it to the next. Whoever holds has its FIFO.
void end_given_to(Database& database, const std::vector<Database::Token>& gone, std::vector<Database::Token>& tokens);

/// One transaction that writes: `work` is given where to put the tokens for whom it lets in, and they are woken after
/// the COMMIT. What attempts of this process could not undo themselves is done with it. Throws `Refused`, and then
/// nothing has happened.
template <class Work>
void write(Database& database, Database::Write::Patience patience, Work work) {
  std::vector<Database::Token> tokens;
  {
    Database::Write transaction(database, patience);
    std::vector<Database::Orphan> orphans = database.take_orphans();
    try {
      end_orphans(database, orphans, tokens);
      work(tokens);
      transaction.commit();
    } catch (...) {
      for (Database::Orphan& each : orphans) database.orphan(std::move(each));
      throw;
    }
  }
  try {
    // Each further one needs somebody who could not take its place back.
    while (!tokens.empty()) {
      const std::vector<Database::Token> gone = database.wake(tokens);
      tokens.clear();
      if (gone.empty()) return;
      Database::Write transaction(database, Database::Write::Patience::release);
      end_given_to(database, gone, tokens);
      transaction.commit();
    }
  } catch (const std::exception&) {
    return;  // what was committed stands; who was not woken looks by itself in a while
  }
}

}  // namespace lockfile::schemes::sqlite
