// One attempt on a lock file: a claim on its way to W, then the hold.
#pragma once

#include "os/backoff.hpp"
#include "schemes/lock_file/scheme.hpp"

#include <optional>
#include <string>

namespace lockfile::schemes {

/// What to sleep on while `look` stands in the way; the looks to take besides, where events do not reach.
class Waits {
 public:
  [[nodiscard]] Blocked blocked_by(const claim::Word& word, claim::Look& look);
  /// Somebody else is removing W just now: no event tells when REMOVE is given back.
  [[nodiscard]] Blocked in_turn(os::System& system, std::optional<Holder> by);
  [[nodiscard]] const claim::KnownProcesses& known() const noexcept { return known_; }

 private:
  // After a close event LIVE may still be seen held for a moment: look again soon, three times.
  void settle(os::System& system, const Holder& by, Blocked& blocked);

  claim::KnownProcesses known_;
  os::Backoff remote_{std::chrono::milliseconds(2), std::chrono::milliseconds(250)};
  std::string settling_;  // the hold that is looked at
  int looks_ = 0;
  std::optional<std::chrono::steady_clock::time_point> settle_at_;
};

class LockFileAttempt final : public FileAttempt {
 public:
  LockFileAttempt(LockFileScheme& scheme, const Request& request) : scheme_(scheme), request_(request) {}

  Step step() noexcept override;
  Step step_before_line() noexcept override;
  std::optional<Blocked> withdraw() noexcept override;
  std::error_code release() noexcept override;
  Step convert(Mode to) noexcept override;
  void end_conversion() noexcept override;
  bool still_held(std::error_code& why) noexcept override;
  void abandon() noexcept override;
  std::error_code hand_over(std::int64_t child) noexcept override;
  std::optional<int> share_guard(std::error_code& why) noexcept override;
  bool outlives_us() noexcept override;
  bool reuse(const Request& request) noexcept override;
  std::error_code renew() noexcept override;
  std::optional<std::chrono::nanoseconds> lease_end() const noexcept override;
  std::span<const Watch> lost() noexcept override;
  bool pass_to(std::int64_t thread) noexcept override;

 private:
  enum class Published : std::uint8_t { yes, no, failed };

  [[nodiscard]] Step try_step();
  [[nodiscard]] std::optional<Failed> prepare();
  [[nodiscard]] std::optional<Failed> find_claim();
  [[nodiscard]] Published publish(Failed& failed);
  [[nodiscard]] Published publish_link(Failed& failed);
  [[nodiscard]] Published publish_shared(Failed& failed);
  [[nodiscard]] Published publish_mkdir(Failed& failed);
  [[nodiscard]] Published publish_marked(Failed& failed);
  [[nodiscard]] Published answer(os::Call call, os::Status error, std::string what, Failed& failed);
  [[nodiscard]] Published own_name_refused(os::Status error, Failed& failed);
  [[nodiscard]] Published move_in(os::File word, Failed& failed);
  [[nodiscard]] std::optional<Step> react(claim::Look& look, Failed& failed);
  [[nodiscard]] bool may_be_lone_reader() const noexcept;
  [[nodiscard]] bool enter_open_group();
  /// Nothing: no reader to go in with; the look tells what to do.
  [[nodiscard]] std::optional<Step> enter_readers(claim::Look& look, Failed& failed, bool& changed);
  [[nodiscard]] std::optional<Step> enter_as_upgradable(claim::Look& look, Failed& failed, bool& changed);
  [[nodiscard]] std::optional<Step> go_in(const claim::Look& look, const claim::Removal& made, Failed& failed,
                                          bool& changed);
  [[nodiscard]] Step try_upgrade();
  [[nodiscard]] Step try_downgrade(Mode to);
  [[nodiscard]] Step answer(claim::Conversion made);
  [[nodiscard]] std::optional<Step> held_by_us(Failed& failed);
  [[nodiscard]] std::optional<Step> drop_unknown_beginning(Failed& failed);
  [[nodiscard]] bool lease_is_over() const noexcept;
  [[nodiscard]] std::error_code whose_it_is() const noexcept;
  void sweep_once() noexcept;
  [[nodiscard]] std::error_code end_hold() noexcept;
  os::Status give_up_claim() noexcept;
  void rest() noexcept;
  void lose_claim() noexcept;
  [[nodiscard]] os::System& system() const noexcept { return claim_->directory().system(); }
  [[nodiscard]] const char* word_name() const noexcept { return scheme_.names_.word().c_str(); }

  LockFileScheme& scheme_;
  Request request_;
  std::unique_ptr<claim::Claim> claim_;
  std::optional<claim::Word> word_;
  bool brief_ = false;      // the step is one before the line
  bool numbered_ = false;   // this attempt's number is in the record
  bool may_stand_ = false;  // W, or an entry in a group, may be our claim, though nobody has been told
  bool broke_stale_ = false;
  bool previous_holder_died_ = false;  // it was an exclusive hold
  claim::Held held_;
  std::chrono::nanoseconds lease_end_{0};  // by our clock; of the hold, or of the one that is being published
  std::vector<Watch> lost_;
  claim::Upgrading upgrading_;
  Waits waits_;
  std::string passed_;  // the nonce under which its thread is noted; empty: it was not passed on
};

}  // namespace lockfile::schemes
