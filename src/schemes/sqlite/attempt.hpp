// One attempt on a name, then the hold.
#pragma once

#include "os/backoff.hpp"
#include "schemes/sqlite/scheme.hpp"

#include <chrono>
#include <memory>
#include <optional>
#include <vector>

namespace lockfile::schemes::sqlite {

class Attempt final : public lockfile::Attempt {
 public:
  Attempt(Scheme& scheme, const Request& request) : scheme_(scheme), request_(request) {}
  ~Attempt() override;

  Step step() noexcept override;
  std::optional<Blocked> withdraw() noexcept override;
  std::error_code release() noexcept override;
  bool still_held(std::error_code& why) noexcept override;
  [[nodiscard]] std::span<const Watch> lost() noexcept override;
  void abandon() noexcept override;
  bool reuse(const Request& request) noexcept override;

 private:
  [[nodiscard]] Step try_step();
  /// Of one that waits. Nothing: something has to be changed.
  [[nodiscard]] std::optional<Step> look();
  [[nodiscard]] Step change();
  void enter_or_line_up(Change& change, bool others_wait, std::optional<Step>& step);
  [[nodiscard]] Step granted(const Hold& hold);
  /// Who is in the way and what to sleep on; nothing: nobody who lives.
  [[nodiscard]] std::optional<Blocked> blocked_by(const std::vector<Hold>& holds);
  [[nodiscard]] std::optional<Blocked> blocked();
  void watch(Blocked& blocked, const Database::Seen& seen);
  [[nodiscard]] Step busy(const Refusal& refusal);
  void leave_line() noexcept;
  [[nodiscard]] Wanted wanted() const noexcept { return {request_.mode, scheme_.units_, scheme_.most_}; }
  [[nodiscard]] os::System& system() const noexcept { return database_->system(); }

  Scheme& scheme_;
  Request request_;
  std::shared_ptr<Database> database_;
  std::unique_ptr<claim::WakeFifo> fifo_;
  bool waited_ = false;       // the last time
  bool no_fifo_ = false;      // none can be had: it looks now and then
  std::uint64_t place_ = 0;   // in the line
  std::uint64_t number_ = 0;  // of the hold
  bool watched_ = false;      // the FIFO says whether the hold is lost
  std::vector<Watch> lost_;
  std::int64_t writer_ = 0;  // that was met in a transaction the last time, and since when
  std::uint64_t writes_ = 0;
  std::chrono::steady_clock::time_point writer_since_;
  os::Backoff looks_{std::chrono::milliseconds(2), std::chrono::milliseconds(50)};
};

}  // namespace lockfile::schemes::sqlite
