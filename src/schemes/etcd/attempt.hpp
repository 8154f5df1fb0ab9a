// One attempt on a key, then the hold. It never sleeps for long: what it has asked the cluster is answered while others
// go on, and its event wakes whoever waits. Only who tries without waiting stays for the answer.
#pragma once

#include "schemes/etcd/scheme.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <vector>

namespace lockfile::schemes::etcd {

class Attempt final : public lockfile::Attempt {
 public:
  Attempt(Scheme& scheme, const Request& request) : scheme_(scheme), request_(request) {}

  Step step() noexcept override;
  std::optional<Blocked> withdraw() noexcept override;
  std::error_code release() noexcept override;
  bool still_held(std::error_code& why) noexcept override;
  [[nodiscard]] std::span<const Watch> lost() noexcept override;
  std::error_code renew() noexcept override;
  [[nodiscard]] std::optional<std::chrono::nanoseconds> lease_end() const noexcept override;
  void abandon() noexcept override;
  bool reuse(const Request& request) noexcept override;

 private:
  enum class State : std::uint8_t {
    idle,     ///< no key
    leasing,  ///< asks for a lease of this process
    asking,   ///< the key is being made
    waiting,  ///< the key stands, and somebody is before it
    looking,  ///< asks whether it is first by now
    burying,  ///< removes the key of somebody dead who is before it
    held,
    leaving,  ///< removes its key
  };

  // Each: nothing: go on with the next step.
  [[nodiscard]] std::optional<Step> go_on();
  [[nodiscard]] std::optional<Step> begin();
  [[nodiscard]] std::optional<Step> leased();
  [[nodiscard]] std::optional<Step> asked();
  [[nodiscard]] std::optional<Step> tried(const Answer& answer);
  [[nodiscard]] std::optional<Step> looked();
  [[nodiscard]] std::optional<Step> buried();
  [[nodiscard]] std::optional<Step> wait();
  [[nodiscard]] std::optional<Step> judge_place(const Answer& answer);
  [[nodiscard]] std::optional<Step> behind(const Key& blocker, bool watch_all, std::int64_t revision);
  [[nodiscard]] std::optional<Step> bury(const Key& dead);
  [[nodiscard]] std::optional<Step> grant();

  void ask();
  void look();
  [[nodiscard]] Range older(std::int64_t made_by) const;
  [[nodiscard]] bool answered() noexcept;
  [[nodiscard]] Step not_answered();
  [[nodiscard]] Blocked blocked() const;
  void announce();
  void begin_anew() noexcept;
  void end_watches() noexcept;
  [[nodiscard]] bool stands() const noexcept;
  [[nodiscard]] std::error_code end_hold();
  [[nodiscard]] bool look_at_own(std::error_code& why);
  [[nodiscard]] os::System& system() const noexcept { return session_->process().system(); }

  Scheme& scheme_;
  Request request_;
  State state_ = State::idle;
  std::shared_ptr<Session> session_;
  std::shared_ptr<Event> event_;
  std::shared_ptr<Lease> lease_;
  std::shared_ptr<Pending> pending_;
  std::shared_ptr<Watching> own_;
  std::shared_ptr<Watching> before_;  // what is in the way
  std::vector<Watch> processes_;      // who is in the way, on this host
  std::optional<Holder> by_;
  std::string key_;
  std::string value_;
  Mode mode_of_key_ = Mode::exclusive;
  bool key_serves_again_ = false;  // all that was ever sent of it was answered at its first sending
  std::int64_t created_ = 0;
  bool has_waited_ = false;
  bool look_again_ = false;  // the last look was not answered
  std::chrono::steady_clock::time_point leave_by_;
  std::vector<Watch> lost_;
};

}  // namespace lockfile::schemes::etcd
