// What can go wrong: the founding document's exceptions, and the codes that the noexcept forms give.
#pragma once

#include <lockfile/holder.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <system_error>

namespace lockfile {

/// The outcomes of this library's own. Any other code is the system's cause of a `LockFailed`. The values are stable.
enum class errc {
  already_locked = 1,  ///< somebody else holds it, and the caller did not want to wait
  timed_out = 2,       ///< somebody else still holds it, and the time is over
  stopped = 3,         ///< the stop request came first
  not_locked = 4,      ///< nobody holds it
  not_my_lock = 5,     ///< somebody else, or another thread, holds it
  foreign = 6,         ///< another program's lock: broken only when the caller says so
  cannot_break = 7,    ///< there is no way to break this lock safely: on this file system, or by this scheme
  stale_fence = 8,     ///< a later holder has written already: this writer's hold is over
};

/// The category of `errc`; its name is "lockfile".
[[nodiscard]] const std::error_category& lockfile_category() noexcept;
[[nodiscard]] std::error_code make_error_code(errc code) noexcept;

/// Root of all exceptions of this library. `what()` names the path, the cause and, where there is one, the holder:
/// `cannot lock 'a.lock': held by pid 4711 on build-7 since 12:03:11 (alive)`.
class Error : public std::system_error {
 public:
  Error(std::error_code code, std::string message, std::string path, std::optional<Holder> holder);
  [[nodiscard]] const char* what() const noexcept override;
  /// The path that the lock object was given, made absolute.
  [[nodiscard]] const std::string& path() const noexcept;
  /// Who held it at the last look, where somebody did.
  [[nodiscard]] const std::optional<Holder>& holder() const noexcept;

 private:
  struct Details;
  std::shared_ptr<const Details> details_;  // shared: copying an exception must not throw
};

/// The lock could not be acquired.
class LockError : public Error {
  using Error::Error;
};
/// It was not free before the time was over.
class LockTimeout : public LockError {
  using LockError::LockError;
};
/// It is not free, and the caller did not want to wait.
class AlreadyLocked : public LockError {
  using LockError::LockError;
};
/// It could not even be tried: a missing directory, no permission, no space, a deadlock with oneself ...
class LockFailed : public LockError {
  using LockError::LockError;
};
/// The stop request came before the lock was free.
class LockStopped : public LockError {
  using LockError::LockError;
};

/// The lock could not be released.
class UnlockError : public Error {
  using Error::Error;
};
/// Nobody holds it.
class NotLocked : public UnlockError {
  using UnlockError::UnlockError;
};
/// Somebody else, or another thread, holds it.
class NotMyLock : public UnlockError {
  using UnlockError::UnlockError;
};

/// A write was refused because somebody with a larger fence has written before: the hold of this writer is over, and a
/// later holder is at work. See `Lock::fence` and `FencedFile`.
class StaleFence : public Error {
 public:
  StaleFence(std::string message, std::string path, std::uint64_t fence, std::uint64_t newest);
  /// The number that came too late.
  [[nodiscard]] std::uint64_t fence() const noexcept { return fence_; }
  /// The largest that was seen before.
  [[nodiscard]] std::uint64_t newest() const noexcept { return newest_; }

 private:
  std::uint64_t fence_;
  std::uint64_t newest_;
};

}  // namespace lockfile

template <>
struct std::is_error_code_enum<lockfile::errc> : std::true_type {};
