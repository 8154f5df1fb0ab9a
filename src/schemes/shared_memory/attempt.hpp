// One attempt on a shared-memory lock, then the hold.
#pragma once

#include "os/backoff.hpp"
#include "schemes/shared_memory/scheme.hpp"

#include <memory>
#include <optional>
#include <utility>

namespace lockfile::schemes::shared_memory {

class Attempt final : public FileAttempt {
 public:
  Attempt(Scheme& scheme, const Request& request) : scheme_(scheme), request_(request) {}

  Step step() noexcept override;
  std::optional<Blocked> withdraw() noexcept override;
  std::error_code release() noexcept override;
  Step convert(Mode to) noexcept override;
  void end_conversion() noexcept override;
  bool still_held(std::error_code& why) noexcept override;
  void abandon() noexcept override;
  bool reuse(const Request& request) noexcept override;
  bool enter(const Request& request) noexcept override;
  bool leave() noexcept override;
  bool seemed_to_hold() noexcept override { return std::exchange(marked_in_vain_, false); }
  std::error_code hand_over(std::int64_t child) noexcept override;
  std::optional<int> share_guard(std::error_code& why) noexcept override;
  bool outlives_us() noexcept override;

 private:
  [[nodiscard]] Step try_step();
  /// Nothing: look again at once.
  [[nodiscard]] std::optional<Step> try_once();
  [[nodiscard]] std::optional<Step> take_word(LockWord::State state);
  [[nodiscard]] std::optional<Step> drain(LockWord seen);
  [[nodiscard]] std::optional<Step> share();
  /// What stands in the way; a dead one is cleared away.
  [[nodiscard]] std::optional<Step> react(std::optional<Standing> standing);
  [[nodiscard]] std::optional<Step> react_to_word();
  struct Reader {
    bool damaged = false;
    std::optional<Standing> standing;
  };
  [[nodiscard]] Reader find_reader();
  [[nodiscard]] Step granted(const LockWord& word) noexcept;
  [[nodiscard]] Step blocked(Standing& by);
  [[nodiscard]] Step damaged() const;
  [[nodiscard]] Blocked in_turn();
  void take_mark_back() noexcept;
  [[nodiscard]] bool enter_alone(std::uint64_t raw) noexcept;
  [[nodiscard]] bool enter_after_readers(std::uint64_t raw) noexcept;
  [[nodiscard]] bool enter_shared(std::uint64_t raw) noexcept;
  void open_door() noexcept;
  [[nodiscard]] Step upgrade();
  [[nodiscard]] Step weaken(Mode to);
  /// Changes the word as `change` says, while it is our hold. False: it is not.
  template <class Change>
  bool change_own(Change change) noexcept;
  [[nodiscard]] bool is_own(const LockWord& word) const noexcept {
    return !word.is_free() && word.slot == participant_->slot && word.number == number_;
  }
  [[nodiscard]] std::uint64_t load_word() const noexcept { return file().load(header::word); }
  [[nodiscard]] File& file() const noexcept { return *participant_->file; }
  [[nodiscard]] os::System& system() const noexcept { return file().system(); }

  Scheme& scheme_;
  Request request_;
  std::unique_ptr<Participant> participant_;
  bool by_mark_ = false;  // the hold is a mark
  bool marked_in_vain_ = false;
  std::uint64_t number_ = 0;   // of the hold: the word's, or the mark's
  std::uint64_t entered_ = 0;  // the word as `enter` left it
  std::int64_t child_ = 0;
  std::uint64_t child_start_ = 0;
  claim::KnownProcesses known_;
  os::Backoff unwatched_ = looks_;
  static constexpr os::Backoff looks_{std::chrono::milliseconds(1), std::chrono::milliseconds(20)};
};

}  // namespace lockfile::schemes::shared_memory
