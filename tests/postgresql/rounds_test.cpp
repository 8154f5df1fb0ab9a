// Rounds of protected writes: each carries the number of its hold, and whoever takes it refuses a smaller number than
// the largest it has seen. Holders are killed, stopped, broken, and lose their sessions; those that do not know it
// write on. No such write may be taken, and nobody may be granted the lock while somebody has it whose hold was not
// ended. LOCKFILE_TEST_ROUNDS says how many rounds (docs/schemes/postgresql.md).
#include "postgresql/support.hpp"
#include "schemes/postgresql/key.hpp"

#include <csignal>
#include <cstdlib>
#include <memory>

namespace lockfile::testing {
namespace {

class Receiver {
 public:
  bool takes(std::uint64_t fence) {
    if (fence < newest_) return false;
    newest_ = fence;
    return true;
  }

 private:
  std::uint64_t newest_ = 0;
};

class Rounds : public WithServer {
 protected:
  enum class Fault : std::uint8_t { none, killed, session_ended, stopped_and_session_ended, broken, last = broken };

  [[nodiscard]] std::unique_ptr<Peer> peer() const {
    return std::make_unique<Peer>(std::vector<std::string>{scratch_ / "a", "postgresql"});
  }
  [[nodiscard]] std::string locks(const std::string& what) const {
    return "FROM pg_locks WHERE locktype = 'advisory' AND (classid::bigint << 32 | objid::bigint) = " +
           std::to_string(schemes::postgresql::key_of(name_of("a"))) + " AND " + what;
  }
  void end_session(Sql& sql) const { (void)sql("SELECT pg_terminate_backend(pid) " + locks("granted")); }

  // One holder, one that waits, and what happens to the holder. True: the holder does not know that its hold is over.
  bool strike(Fault fault, std::unique_ptr<Peer>& holder, Sql& sql) {
    switch (fault) {
      case Fault::none:
        EXPECT_EQ(holder->ask("release"), "released");
        return false;
      case Fault::killed:
        holder->kill();
        holder = peer();
        return false;
      case Fault::session_ended:
        end_session(sql);
        return true;
      case Fault::stopped_and_session_ended:
        holder->signal(SIGSTOP);
        end_session(sql);
        return true;
      case Fault::broken: {
        const auto breaker = open(address());
        EXPECT_TRUE(breaker->break_lock());
        return true;
      }
    }
    return false;
  }
};

TEST_F(Rounds, no_write_is_taken_with_an_older_number) {
  const char* const wanted = std::getenv("LOCKFILE_TEST_ROUNDS");
  const int rounds = wanted == nullptr ? 15 : std::atoi(wanted);
  Sql sql(place());
  Receiver receiver;
  auto holder = peer();
  auto waiter = peer();
  ASSERT_EQ(holder->ask("acquire"), "held");
  int refused = 0;
  for (int round = 0; round < rounds; ++round) {
    const auto fault = static_cast<Fault>(round % (static_cast<int>(Fault::last) + 1));
    const std::uint64_t fence = std::stoull(holder->ask("fence"));
    ASSERT_TRUE(receiver.takes(fence)) << "round " << round << ": the write of the one that holds was refused";
    waiter->tell("acquire");
    sql.until("SELECT count(*) " + locks("NOT granted"), "1");
    ASSERT_TRUE(waiter->is_silent()) << "round " << round << ": granted while another one holds";
    const bool knows_nothing = strike(fault, holder, sql);
    ASSERT_EQ(waiter->answer(), "held") << "round " << round;
    const std::uint64_t next = std::stoull(waiter->ask("fence"));
    ASSERT_GT(next, fence) << "round " << round;
    ASSERT_TRUE(receiver.takes(next));
    if (knows_nothing) {
      if (fault == Fault::stopped_and_session_ended) holder->signal(SIGCONT);
      const std::uint64_t late = std::stoull(holder->ask("fence"));
      ASSERT_FALSE(receiver.takes(late)) << "round " << round << ": a late write was taken";
      ++refused;
      EXPECT_EQ(holder->ask("i_am_locking"), "no");
      EXPECT_TRUE(holder->ask("release").starts_with("error lockfile:5 ")) << "it is not its lock any more";
    }
    std::swap(holder, waiter);
  }
  RecordProperty("rounds", rounds);
  RecordProperty("late writes refused", refused);
}

}  // namespace
}  // namespace lockfile::testing
