// One waiter's way through a queue: when it may try, what it sleeps on until then, and whom it wakes when it leaves.
// For every scheme that keeps a queue (claim/queue.hpp), whether in a line beside the lock or in a file of its own.
//
// The rules, with two waiters A and B behind a holder H (docs/decisions/0018-the-line-of-processes.md has the reasons):
//
//   A: place 1; nobody before it: tries; busy: sleeps on its FIFO and on H's process
//   B: place 2; A is before it and lives: sleeps on its FIFO and on A's process
//   H: releases; looks; a token to the lowest place, A's                    A: wakes, tries: in; drops its place
//   A: releases; looks; a token to the lowest place, B's                    B: wakes, nobody before it: tries: in
//
// 1. The FIFO is emptied before the place is seen, so a token that comes later is found by the sleep.
// 2. The token of a release goes to the lowest place, dead or alive, also when the lock has been taken again meanwhile:
//    it is for the line, not for the lock. Who gets one for nothing looks, and arms itself anew.
// 3. A dead one is dropped by the one behind, whose watch on its process has fired.
// 4. Who is in drops its place. A reader then gives a token to the place behind, if that is a reader: the readers
//    admit each other. Nobody has to be woken behind a writer: it is the process that the one behind watches already.
// 5. Who gives up drops its place and gives a token to the one behind, also when a token had come for it.
// 6. Nobody is waited for who does not move. Each behind the first looks again after (places ahead + 1) times `grace`,
//    and the first after `look_of_the_first`. If nobody ahead has moved since, and the lock would let it in, and the
//    same is seen once more after another `grace`, those ahead are stopped: they are passed. A passed place stops
//    nobody; its owner, awake again, tries as a first does. A release tells the first who has not been passed, then
//    those who have.
#pragma once

#include "claim/directory.hpp"
#include "claim/judge.hpp"
#include "claim/names.hpp"
#include "claim/queue.hpp"
#include "claim/wake.hpp"

#include <lockfile/scheme.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace lockfile::claim {

/// How long somebody who could move may keep those behind it waiting; see above for how it adds up.
inline constexpr std::chrono::milliseconds grace{250};
/// Whoever is first is told of every release. What no token tells it, it finds at a look that it takes so often: that a
/// holder was stopped between its release and its token, that the line was removed.
inline constexpr std::chrono::milliseconds look_of_the_first{1000};

/// A queue and where its waiters' FIFOs are.
struct QueueAt {
  Queue& queue;
  const Directory& directory;
  const Names& names;
};

/// To be called after each release, downgrade and forced break, when the lock has been changed: tells those whose turn
/// it may be. True: somebody stands there who has not been passed.
bool tell_first(const QueueAt& at) noexcept;

/// The first in the queue who has not been passed and has not ended; those who have are dropped on the way. Nothing:
/// nobody stands in the way of a newcomer.
[[nodiscard]] std::optional<Queue::Written> first_alive(const QueueAt& at);

/// Of what stands in a line: those who have not ended.
[[nodiscard]] std::vector<Waiter> waiters_in(const Directory& directory, const Names& names,
                                             const std::vector<Queue::Written>& written);

/// For those who only try, of a lock that nobody holds: has whoever is first there not moved for `grace`? Then it may
/// be passed. Remembered in the queue, by whoever asks.
[[nodiscard]] bool is_idle_before_a_free_lock(const QueueAt& at, const Place& place) noexcept;

/// The place of that process's thread, before a forced break of its hold: it may have been stopped between its grant
/// and the dropping of its place.
[[nodiscard]] std::optional<Place> place_of(const QueueAt& at, std::int64_t pid, std::int64_t thread);

/// What a waiter keeps between its waits: its FIFO, and its slot.
class Seat {
 public:
  explicit Seat(std::unique_ptr<WakeFifo> fifo) : fifo_(std::move(fifo)) {}
  /// Null: no FIFO is to be had.
  [[nodiscard]] static std::unique_ptr<Seat> make(std::shared_ptr<Directory> directory, const Names& names,
                                                  Access access);
  /// A slot in that queue, with that thread's name. False: it is full.
  [[nodiscard]] bool enter(const QueueAt& at, std::int64_t thread);
  /// Gives the slot back.
  void leave(Queue& queue) noexcept;

  [[nodiscard]] WakeFifo& fifo() noexcept { return *fifo_; }
  [[nodiscard]] std::optional<std::uint32_t> slot() const noexcept { return slot_; }

 private:
  std::unique_ptr<WakeFifo> fifo_;
  std::optional<std::uint32_t> slot_;
};

class Turn {
 public:
  explicit Turn(std::unique_ptr<Seat> seat) : seat_(std::move(seat)) {}

  /// Takes a place behind all others. False: it cannot be had.
  [[nodiscard]] bool line_up(const QueueAt& at, Mode mode, std::int64_t thread,
                             Queue::Born born = Queue::Born::standing);

  enum class What : std::uint8_t {
    try_now,  ///< it is our turn, or nobody's
    sleep,    ///< on what was put into `blocked`
    lost,     ///< the place is gone: line up again
  };
  /// Looks whose turn it is. `would_enter`: a look at the lock, asked for seldom: nobody holds it who keeps us out.
  [[nodiscard]] What look(const QueueAt& at, const std::function<bool()>& would_enter, Blocked& blocked);
  /// Tried, and somebody holds it: what to sleep on besides. Where whoever is in the way is of ours and its process is
  /// watched, the lock's file is not: it will tell us.
  void sleep_as_first(os::System& system, Blocked& blocked) const;

  /// In: rule 4.
  void entered(const QueueAt& at) noexcept;
  /// Rule 5.
  void give_up(const QueueAt& at) noexcept;

  /// Is its place in that queue? Another line, made since the one that it stood in was lost, may have the same numbers.
  [[nodiscard]] bool is_in(Queue& queue) noexcept;
  [[nodiscard]] Seat& seat() noexcept { return *seat_; }
  [[nodiscard]] std::unique_ptr<Seat> take_seat() noexcept {
    place_.reset();
    return std::move(seat_);
  }

 private:
  // Who is before us, as far as it was looked at.
  struct Neighbour {
    std::uint64_t number = 0;
    std::optional<Watch> process;
  };
  /// Nothing: the place has just gone.
  [[nodiscard]] std::optional<bool> has_ended(const QueueAt& at, const Place& place);
  /// A token for that place, or for the next one behind it that can be woken.
  static void tell_one(const QueueAt& at, Place place) noexcept;
  [[nodiscard]] bool is_slow(const QueueAt& at, std::span<const Place> places,
                             const std::function<bool()>& would_enter);
  void pass_those_ahead(const QueueAt& at) noexcept;

  std::unique_ptr<Seat> seat_;
  std::optional<Place> place_;
  Neighbour before_;
  bool just_lined_up_ = false;
  // The slow look.
  std::uint64_t lowest_ahead_ = 0;
  std::size_t ahead_ = 0;
  bool was_free_ = false;
  std::optional<std::chrono::steady_clock::time_point> slow_at_;
};

}  // namespace lockfile::claim
