// What the tormented processes share: who holds which lock, who has died, how far everybody is, what went wrong. It
// lies in memory that outlives each of them.
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace lockfile::torture {

inline constexpr int places = 6;   ///< processes at a time
inline constexpr int threads = 3;  ///< at most, in each of them
inline constexpr int locks = 2;    ///< 'a' and 'b', in one directory

/// Names one hold, as its holder saw it: which place, which thread there, the how manieth process of the run, the how
/// manieth hold of that thread. Never 0, and never used again.
using Hold = std::uint64_t;
[[nodiscard]] Hold make_hold(int place, int thread, std::uint32_t process, std::uint32_t serial) noexcept;
[[nodiscard]] std::string who(Hold hold);
[[nodiscard]] std::string lock_name(int lock);

/// What can go wrong.
enum class Law : std::uint8_t {
  overlap,   ///< two holders at once
  lost,      ///< a hold was gone that nobody had broken, or a broken one was not told
  stuck,     ///< a lock that was not to be had
  leftover,  ///< something that `lockctl doctor --clean` did not remove
  error,     ///< a call failed, or a process ended, as it should not
};
inline constexpr std::size_t laws = 5;

/// Where a thread is, so that deaths can be aimed.
enum class Doing : std::uint8_t { nothing, acquiring, holding, releasing, breaking, dropping };
inline constexpr std::uint64_t doings = 6;

struct ThreadState {
  std::atomic<Doing> doing{Doing::nothing};
  std::atomic<int> lock{0};
  std::atomic<std::uint64_t> key{0};  ///< of the hold that it is in, for breakers by force; 0: none
  std::atomic<Hold> broken{0};        ///< the last one of its holds that a forced break has broken
};

struct Place {
  std::atomic<pid_t> pid{0};
  std::atomic<std::uint32_t> process{0};
  std::atomic<std::uint32_t> reaped{0};  ///< processes of this place up to that number are dead
  std::atomic<std::uint64_t> calls{0};   ///< that its process has made of the system
  std::array<ThreadState, threads> thread;
};

class Arena {
 public:
  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// To be called by who has acquired, and by who is about to release.
  void enter(int lock, Hold me);
  void leave(int lock, Hold me);

  /// Says that this hold is about to be broken by force: from now on it overlaps with others.
  void condemn(Hold hold) noexcept;
  [[nodiscard]] bool is_condemned(Hold hold) const noexcept;
  /// The hold that is in there; 0: none.
  [[nodiscard]] Hold inside(int lock) const noexcept { return holder_.at(static_cast<std::size_t>(lock)); }
  [[nodiscard]] ThreadState& thread_of(Hold hold) noexcept;

  void fail(Law law, const std::string& sentence) noexcept;
  [[nodiscard]] long failures(Law law) const noexcept { return failures_.at(static_cast<std::size_t>(law)); }
  [[nodiscard]] std::size_t failures() const noexcept { return sentence_count_; }
  [[nodiscard]] std::vector<std::string> sentences() const;

  std::array<Place, places> place;
  std::atomic<long> holds{0};
  std::atomic<long> taken_over{0};  ///< holds that followed one of a dead process
  std::atomic<long> forced{0};
  std::atomic<std::uint64_t> progress{0};  ///< things that some thread has finished
  std::atomic<bool> closing{false};        ///< the living finish what they are at, and end

 private:
  [[nodiscard]] bool is_dead(Hold hold) noexcept;

  std::array<std::atomic<Hold>, locks> holder_{};
  // A ring: whoever meets one of them does so soon.
  std::array<std::atomic<Hold>, 4096> condemned_{};
  std::atomic<std::size_t> condemned_count_{0};
  std::array<std::atomic<long>, laws> failures_{};
  std::array<std::array<char, 400>, 8> sentences_{};
  std::atomic<std::size_t> sentence_count_{0};
};
static_assert(std::atomic<Hold>::is_always_lock_free && std::atomic<Doing>::is_always_lock_free);

/// An arena in memory that forked children share.
class SharedArena {
 public:
  SharedArena();
  SharedArena(const SharedArena&) = delete;
  SharedArena& operator=(const SharedArena&) = delete;
  ~SharedArena();
  [[nodiscard]] Arena& operator*() const noexcept { return *arena_; }

 private:
  Arena* arena_;
};

/// Numbers that follow from where they begin: the same plan for the same seed, on every machine (splitmix64).
class Random {
 public:
  template <class... Parts>
  explicit Random(Parts... parts) {
    ((state_ = mix(state_ ^ static_cast<std::uint64_t>(parts))), ...);
  }
  /// 0 to `bound` - 1.
  std::uint64_t below(std::uint64_t bound) { return mix(state_ += step) % bound; }
  bool once_in(std::uint64_t n) { return below(n) == 0; }

 private:
  static constexpr std::uint64_t step = 0x9e3779b97f4a7c15;
  static constexpr std::uint64_t mix(std::uint64_t z) {
    z = ((z + step) ^ (z >> 30U)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111eb;
    return z ^ (z >> 31U);
  }
  std::uint64_t state_ = 0;
};

}  // namespace lockfile::torture
