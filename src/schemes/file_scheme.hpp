// A scheme that locks by a file in a directory.
#pragma once

#include "claim/directory.hpp"

#include <lockfile/scheme.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace lockfile::schemes {

class FileAttempt : public Attempt {
 public:
  /// A step of somebody who lines up when it is blocked, and then steps again: if whoever is in the way could only be
  /// told by a look at many, it is blocked without it, and without anything to sleep on. So the way into the line takes
  /// as long as ever, however many hold.
  [[nodiscard]] virtual Step step_before_line() noexcept { return step(); }
  /// Would nobody who holds keep it out? By a look that takes nothing and is no event for whoever watches the lock.
  /// Nothing: the holders tell.
  [[nodiscard]] virtual std::optional<bool> would_enter() { return std::nullopt; }
  /// Since it was asked last: was it for a moment what others may have taken for a hold, without having been granted
  /// one?
  [[nodiscard]] virtual bool seemed_to_hold() noexcept { return false; }
};

class FileScheme : public Scheme {
 public:
  [[nodiscard]] virtual std::unique_ptr<FileAttempt> file_attempt(const Request& request) = 0;
  /// Not reached: each is behind a line, or within a semaphore, which ask for the one above.
  [[nodiscard]] std::unique_ptr<Attempt> attempt(const Request& request) final { return file_attempt(request); }
  /// The directory that the path names now, opened anew only if it is another one. Error: `value` is null.
  [[nodiscard]] virtual os::Result<std::shared_ptr<claim::Directory>> resolve() = 0;
  /// The one that was found last, without a look; null: none yet.
  [[nodiscard]] virtual std::shared_ptr<claim::Directory> directory() const noexcept = 0;

  /// `file` is the file of another scheme.
  [[nodiscard]] Failed refuse(const std::string& file, const std::string& another) const;
  /// The path itself is the file of a kernel lock, or it cannot be told: nothing is excluded by a file beside it.
  [[nodiscard]] std::optional<Failed> find_kernel_lock(const claim::Directory& directory,
                                                       const std::string& locked) const;

  // A sign, in the lock itself, that somebody stands in line, for schemes that can look at it without a system call.
  // Who lines up gives the sign before it looks at the lock, and a holder looks for the sign after its release; so
  // either the one sees the lock free, or the other sees the sign.

  /// Has it one? Then who stands in line and is blocked by somebody is told of every change, and needs no looks of its
  /// own.
  [[nodiscard]] virtual bool has_sign() const noexcept { return false; }
  /// Which sign there is; 0: nobody stands in line. Schemes that have none always say that somebody may.
  [[nodiscard]] virtual std::uint64_t sign_of_waiters() noexcept { return 1; }
  /// Somebody has lined up, and `sign_of_waiters` is another one than before.
  virtual void give_sign() noexcept {}
  /// Nobody stood there after that sign was seen. Without effect when another one has been given since.
  virtual void take_sign_away(std::uint64_t /*seen*/) noexcept {}
};

}  // namespace lockfile::schemes
