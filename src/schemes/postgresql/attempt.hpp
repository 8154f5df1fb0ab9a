// One attempt in a session of its own, then the hold.
#pragma once

#include "os/backoff.hpp"
#include "schemes/postgresql/scheme.hpp"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace lockfile::schemes::postgresql {

/// What attempts on a lock and on a semaphore do alike: everything but the questions.
class SessionAttempt : public lockfile::Attempt {
 public:
  SessionAttempt(SessionScheme& scheme, const Request& request) noexcept : scheme_(scheme), request_(request) {}
  ~SessionAttempt() override;

  Step step() noexcept override;
  std::optional<Blocked> withdraw() noexcept override;
  std::error_code release() noexcept override;
  bool still_held(std::error_code& why) noexcept override;
  [[nodiscard]] std::span<const Watch> lost() noexcept override;
  void abandon() noexcept override;
  bool reuse(const Request& request) noexcept override;

 protected:
  enum class State : std::uint8_t {
    idle,       // without a session
    pausing,    // the server was lost while it was waited for: until `again_at_`
    opening,    // the session is being made
    telling,    // its record gets another reason
    naming,     // is the name that has our key ours?
    adding,     // nobody's: made ours
    trying,     // the lock is asked for
    looking,    // busy: by whom?
    waiting,    // in the server's queue
    reserving,  // ours, but its number must not be told yet
    own,        // of the derived class: more of its own questions follow
    listening,  // nothing is asked; the server may tell something
    held,
    failed,  // to be withdrawn
    // Withdrawing:
    cancelling,  // in another session
    ending,      // until what was cancelled has answered
    clearing,    // whatever it answered, nothing is to be held
  };

  virtual void ask_try(Connection& session) = 0;
  /// Was it had?
  [[nodiscard]] virtual bool tried(Connection& session) = 0;
  /// Of the hold that was had, as its fence has it; 0: it has none.
  [[nodiscard]] virtual std::int64_t number(const Connection& /*session*/) const noexcept { return 0; }
  virtual void ask_wait(Connection& session) = 0;
  /// What was waited for is ours. Nothing: go on.
  virtual std::optional<Step> waited(Connection& session) = 0;
  /// The answer to an own question.
  virtual std::optional<Step> own_answer(Connection& session);
  /// The server may have told something, or a moment is over.
  virtual std::optional<Step> heard(Connection& session);
  virtual void ask_release(Connection& session) = 0;
  /// Nothing to wait for is left after `tried`: so `waited` is called at once.
  [[nodiscard]] virtual bool is_admitted() const noexcept { return false; }
  virtual void begin_anew() noexcept {}

  [[nodiscard]] Step held(Granted granted);
  /// As `held`, once numbers up to this one are reserved. Nothing: not yet, go on.
  [[nodiscard]] std::optional<Step> held_with(std::int64_t number);
  void go_to(State state) noexcept { state_ = state; }
  [[nodiscard]] const Request& request() const noexcept { return request_; }
  [[nodiscard]] std::int64_t key() const noexcept { return scheme_.first_key(); }
  [[nodiscard]] std::string& channel() noexcept { return channel_; }
  [[nodiscard]] Blocked blocked(const Connection& session, Connection::Progress progress) const;

 private:
  [[nodiscard]] Step try_step();
  void begin();
  [[nodiscard]] std::optional<Step> next();
  [[nodiscard]] std::optional<Step> set_up();
  [[nodiscard]] std::optional<Step> named();
  [[nodiscard]] std::optional<Step> busy();
  [[nodiscard]] std::optional<Step> looked();
  [[nodiscard]] bool is_in_a_cycle();
  [[nodiscard]] std::optional<Step> session_lost();
  [[nodiscard]] Step fail(Trouble trouble);
  void ask_for_it();
  void await_answer() noexcept;
  void answered() noexcept;
  void begin_hold();
  void end_hold() noexcept;
  [[nodiscard]] bool is_withdrawing() const noexcept { return state_ >= State::cancelling; }
  void begin_withdrawal();
  [[nodiscard]] std::optional<Blocked> withdraw_further();
  void drop() noexcept;
  void clear();
  [[nodiscard]] std::error_code code_of_lost() noexcept;

  SessionScheme& scheme_;
  Request request_;
  State state_ = State::idle;
  std::unique_ptr<Connection> session_;
  std::unique_ptr<Connection> canceller_;
  bool canceller_was_idle_ = false;
  bool was_idle_ = false;      // the session comes out of the pool: it may have ended long ago
  bool looked_ = false;        // who is in the way has been asked
  std::int64_t holds_as_ = 0;  // the session, while `Pool` knows that it holds
  std::int64_t number_ = 0;    // of a hold that is ours and not told yet
  bool awaited_ = false;       // counted in `SessionScheme::unanswered`
  int clearings_ = 0;
  Time answer_by_;
  Time again_at_;
  std::optional<Time> server_back_by_;
  std::optional<Time> look_for_cycle_at_;  // nothing: this thread holds nothing that others could wait for
  std::chrono::milliseconds looks_for_cycle_every_{1000};
  os::Backoff pauses_{std::chrono::milliseconds(50), std::chrono::milliseconds(500)};
  std::optional<Holder> by_;
  std::string channel_;  // that the session listens on; empty: none
  std::vector<Watch> lost_;
};

class LockAttempt final : public SessionAttempt {
 public:
  using SessionAttempt::SessionAttempt;

 private:
  void ask_try(Connection& session) override;
  [[nodiscard]] bool tried(Connection& session) override;
  void ask_wait(Connection& session) override;
  std::optional<Step> waited(Connection& session) override;
  void ask_release(Connection& session) override;
  [[nodiscard]] std::int64_t number(const Connection& session) const noexcept override;
};

}  // namespace lockfile::schemes::postgresql
