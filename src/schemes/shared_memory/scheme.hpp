// Scheme shm, for the processes of one host: the lock is a number in a mapped file, and whoever holds is named by that
// very number. Two processes A and B, W the word:
//
//   1. A: opens and maps the file (made where it is missing); locks the byte of a slot; writes there who it is
//   2. A: W free -> exclusive, slot A, number 7: A holds            B: the same with a slot of its own
//   3.                                                              B: W exclusive: reads slot A, asks whether it lives
//   4.                                                              B: lines up; W: somebody waits; looks once more
//   5. A: W exclusive, A, 7 -> free; sees that somebody waits, and tells it
//   6.                                                              B: W free -> exclusive, slot B, number 8: B holds
//
// A killed after 2: B finds out by A's pidfd, judges slot A dead, and changes W from exactly "exclusive, A, 7" to free,
// with the mark that its holder died. A number stands for one hold only, so that step can end no other.
//
// Readers are marks in their slots, so that each can be told from the others when it dies:
//
//   1. R: marks its slot           looks at W: free: R holds (sets `readers` in W first, where it is not set)
//   2.                                                  B: `readers` is set: W free -> draining, slot B; looks at marks
//   1. R: marks its slot                                B: W free -> draining
//   2. R: looks at W: draining: takes its mark back     B: looks at the marks: R's: gives W back; or none: exclusive
//
// The mark before the look and W before the marks, each a full barrier: one of the two sees the other.
//
// The line is that of all schemes, a file of its own (schemes/lined); W has the sign that somebody stands in it, so
// that a release without waiters makes no call. The sign goes when a release finds the line empty, and only if nobody
// has come since: each who comes changes the turn in W.
//
//   B: lines up                                      A: W -> free; the sign is there: looks at the line: B: tells it
//   B: leaves the line                               A: looks at the line: empty
//   C: lines up; W: the sign, turn 5 -> 6            A: takes away the sign of turn 5: it is 6: left
//
// What it costs: a file stays (never remove it while anybody may use it: a mapping is not a name).
// Whoever truncates it ends those who have it mapped (SIGBUS). Only for processes of one boot of one host, on a local
// file system.
#pragma once

#include "schemes/file_path.hpp"
#include "schemes/file_scheme.hpp"
#include "schemes/kept.hpp"
#include "schemes/shared_memory/file.hpp"

#include "claim/names.hpp"

#include <lockfile/options.hpp>
#include <lockfile/scheme.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace lockfile::schemes::shared_memory {

inline constexpr Traits traits = {.shared = true,
                                  .upgradable = true,
                                  .fair = true,
                                  .crash_recovery = true,
                                  .forced_break = true,
                                  .event_wait = true,
                                  .handed_over = true,
                                  .short_way = true};

/// A slot of ours.
struct Participant {
  std::shared_ptr<File> file;
  std::uint64_t slot = 0;
  std::int64_t thread = 0;      // as the slot says
  std::uint64_t last_mark = 0;  // the number of its last shared hold

  [[nodiscard]] std::size_t at(std::size_t word) const noexcept { return slot_at(slot) + word; }
};

/// A hold that stands, with what the slot says of its holder.
struct Standing {
  Occupant who;
  Mode mode = Mode::exclusive;
  std::uint64_t number = 0;  ///< as in `Holder`
  std::uint64_t slot = 0;
  bool is_mark = false;
  std::uint64_t raw = 0;  ///< what the word, or the mark, was
};

class Scheme final : public FileScheme {
 public:
  Scheme(FilePath path, const Options& options);
  ~Scheme() override;

  [[nodiscard]] std::string_view name() const noexcept override { return "shm"; }
  [[nodiscard]] Traits traits() const noexcept override { return shared_memory::traits; }
  [[nodiscard]] std::unique_ptr<FileAttempt> file_attempt(const Request& request) override;
  [[nodiscard]] std::vector<Holder> holders(std::error_code& why) override;
  std::error_code break_hold(const Holder& hold, Proof proof) noexcept override;
  void abandon() noexcept override;

  [[nodiscard]] os::Result<std::shared_ptr<claim::Directory>> resolve() override;
  [[nodiscard]] std::shared_ptr<claim::Directory> directory() const noexcept override { return directory_; }
  [[nodiscard]] bool has_sign() const noexcept override { return true; }
  [[nodiscard]] std::uint64_t sign_of_waiters() noexcept override;
  void give_sign() noexcept override;
  void take_sign_away(std::uint64_t seen) noexcept override;

 private:
  friend class Attempt;

  [[nodiscard]] Refusal find_directory();
  /// A kept slot, or a new one. `refusal` says why there is none.
  [[nodiscard]] std::unique_ptr<Participant> take(const Request& request, Refusal& refusal);
  void keep(std::unique_ptr<Participant> participant) noexcept;
  /// The slot that `take` would give that thread, where nothing is to be written into it; null: none.
  [[nodiscard]] Participant* kept_of(std::int64_t thread) const noexcept {
    Participant* const last = kept_.last();
    return last != nullptr && last->thread == thread ? last : nullptr;
  }
  /// That very slot. There is room to keep it again.
  [[nodiscard]] std::unique_ptr<Participant> take_kept() noexcept { return kept_.take(); }
  void leave(Participant& participant) noexcept;
  void give_back(std::uint64_t slot) noexcept;
  /// The file is not W any more, or its descriptor not ours: begin anew.
  void forget() noexcept;
  [[nodiscard]] Refusal join(Participant& participant);
  [[nodiscard]] Refusal try_slot(Participant& participant, std::uint64_t number, bool& taken);
  [[nodiscard]] bool count_slot(std::uint64_t slot) noexcept;
  [[nodiscard]] claim::Record new_record(std::int64_t thread) const;
  [[nodiscard]] bool is_own(std::uint64_t slot) const noexcept;
  [[nodiscard]] std::error_code break_in(File& file, const Holder& hold, Proof proof);

  FilePath path_;
  std::string name_;  // of W
  Access access_;
  std::string reason_;
  std::shared_ptr<claim::Directory> directory_;
  std::shared_ptr<File> file_;
  Kept<Participant> kept_;
  std::vector<std::uint64_t> own_;  // every slot whose byte our descriptor has
  std::vector<std::uint64_t> room_of_copies_;
};

// What stands in the file.
/// Who holds by the word, judged; nothing: nobody, or only somebody who looks for readers, which `drainers` asks for
/// too.
enum class Word : std::uint8_t { holders, holders_and_drainers };
/// Failed: the file is damaged.
[[nodiscard]] os::Result<std::optional<Standing>> standing_in_word(File& file, Word what,
                                                                   const claim::KnownProcesses* known);
/// The shared hold of that slot.
[[nodiscard]] std::optional<Standing> standing_in_slot(const File& file, std::uint64_t slot,
                                                       const claim::KnownProcesses* known);
[[nodiscard]] os::Result<std::vector<Standing>> all_standing(File& file);
/// Ends it: by its death, or by force. False: it had ended.
enum class End : std::uint8_t { died, by_force };
bool end_hold(File& file, const Standing& hold, End how) noexcept;

/// Waits until nobody holds, and takes nothing.
[[nodiscard]] std::unique_ptr<lockfile::Attempt> free_wait(Scheme& scheme);

}  // namespace lockfile::schemes::shared_memory
