// A scheme that does not order its waiters, behind a line that does (claim/line.hpp, claim/turn.hpp). Who is granted is
// the inner scheme's matter alone; the line says who tries when, and wakes it.
//
//   step: does anybody stand in line? (looked at with the last release, or now)
//         nobody: the inner step; granted: done, as if there were no line
//                                 busy: take a place, before it is known who is in the way
//         somebody: take a place (Order::fair)
//   in line: first: the inner step; granted: drop the place
//            else: sleep
//   release: the inner release, then a look at the line and a token to the first in it
//
// What it costs where nobody waits: one look for the line's name with each release, and one with the first acquire of
// an object and each shared one. A newcomer to write that has not looked since may overtake who lines up meanwhile:
// once an object, for its next release looks. Where the lock itself has a sign that somebody waits
// (FileScheme::sign_of_waiters), it is looked for instead.
//
// Where there can be no line (a network file system, no FIFOs, a directory where one may not write, a full line)
// waiters sleep as the inner scheme says, in no order.
#pragma once

#include "claim/line.hpp"
#include "claim/turn.hpp"
#include "schemes/file_path.hpp"
#include "schemes/file_scheme.hpp"

#include <lockfile/options.hpp>
#include <lockfile/scheme.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

namespace lockfile::schemes {

class LinedScheme final : public Scheme {
 public:
  /// `name`: of the locked path; `kind`: as in `claim::Line`.
  LinedScheme(std::unique_ptr<FileScheme> inner, std::string_view name, std::string_view kind, const Options& options);
  ~LinedScheme() override;

  [[nodiscard]] std::string_view name() const noexcept override { return inner_->name(); }
  [[nodiscard]] Traits traits() const noexcept override { return inner_->traits(); }
  [[nodiscard]] std::unique_ptr<Attempt> attempt(const Request& request) override;
  [[nodiscard]] std::vector<Holder> holders(std::error_code& why) override { return inner_->holders(why); }
  [[nodiscard]] std::vector<Waiter> waiters(std::error_code& why) override;
  std::error_code break_hold(const Holder& hold, Proof proof) noexcept override;
  void abandon() noexcept override;

 private:
  friend class LinedAttempt;

  /// The queue in the directory that was found last; null: none.
  [[nodiscard]] claim::Queue* queue();
  /// Is anybody in line who was not passed? True where it cannot be told.
  [[nodiscard]] bool anyone_stands() noexcept;
  /// The lock has changed: whoever is first in line is told. With `Sign::needed` only if there is a sign that anybody
  /// is.
  enum class Sign : std::uint8_t { needed, not_needed };
  void tell_first(Sign sign) noexcept;
  [[nodiscard]] std::unique_ptr<claim::Seat> take_seat(const std::shared_ptr<claim::Directory>& directory);
  void keep_seat(std::unique_ptr<claim::Seat> seat) noexcept;
  void drop_seat(std::unique_ptr<claim::Seat> seat) noexcept;
  /// Would nobody who holds keep out whoever asks for that mode? By a look that takes nothing.
  [[nodiscard]] bool would_enter(Mode mode);
  [[nodiscard]] claim::QueueAt at(claim::Queue& queue, const claim::Directory& directory) const noexcept {
    return {queue, directory, line_.names()};
  }

  std::unique_ptr<FileScheme> inner_;
  Access access_;
  Order order_;
  claim::Line line_;
  bool nobody_waited_ = false;  // at the last release; good for one acquire
  std::vector<std::unique_ptr<claim::Seat>> seats_;
  std::weak_ptr<claim::Directory> no_fifo_in_;
};

}  // namespace lockfile::schemes
