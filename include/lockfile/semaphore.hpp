// A semaphore: at most N units of something are in use, among threads, processes and hosts.
#pragma once

#include <lockfile/error.hpp>
#include <lockfile/holder.hpp>
#include <lockfile/options.hpp>
#include <lockfile/wait.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace lockfile {

namespace core {
class Engine;
}
class Scheme;

/// N units beside `path`: the lock files `path.1.lock` to `path.N.lock`, and `path.lock`, the right to be admitted.
/// With `Options::scheme` `kernel` or `flock`: the files `path.1` to `path.N`, and `path`.
///
///     lockfile::Semaphore licences("/var/lib/app/licence", 5);
///     auto two = licences.acquire(2, 30s);
///     ...                                    // given back when `two` goes
///
/// Every program must say the same N. Who asks for many is not passed by those who ask for few. A holder that dies
/// gives back what it held, as a lock file does. One that is stopped while it is being admitted holds everybody else
/// up, as a stopped holder would; deadlines are kept.
///
/// Threads: every verb may be called from several threads at once, and any thread may give units back. Fork: a child
/// holds nothing.
class Semaphore {
 public:
  /// What was acquired; given back, in silence, when it goes.
  class Units {
   public:
    Units() noexcept;
    Units(Units&& from) noexcept;
    Units& operator=(Units&& from) noexcept;
    ~Units();

    /// How many; 0: none.
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] explicit operator bool() const noexcept { return size_ != 0; }
    /// Are all still ours? A fresh look: false after a break.
    [[nodiscard]] bool i_am_locking() const noexcept;
    /// Gives them back. Throws `NotLocked` or `NotMyLock` when one of them had been broken, `UnlockError` when the file
    /// system refused.
    void release();
    void release(std::error_code& ec) noexcept;

   private:
    friend class Semaphore;
    Units(std::unique_ptr<core::Engine> engine, std::size_t size) noexcept;

    std::unique_ptr<core::Engine> engine_;
    std::size_t size_ = 0;
  };

  /// Names the semaphore; opens nothing. Throws `LockFailed` with `std::errc::invalid_argument` for no units at all and
  /// for what `FileLock` refuses. `options.scheme` and `options.threaded` are not used.
  Semaphore(std::string_view path, std::size_t units, const Options& options = {});

  /// Waits until that many are ours together, or `wait` is over. Throws as `Lock::acquire`; for no unit, or more than
  /// there are, `LockFailed` with `std::errc::invalid_argument`.
  [[nodiscard]] Units acquire(std::size_t units = 1, const Wait& wait = for_ever);
  /// Empty when they could not be had; `ec` says why.
  [[nodiscard]] Units acquire(std::size_t units, const Wait& wait, std::error_code& ec) noexcept;

  /// Who holds units now, one for each unit that is held, the dead among them. Throws `LockFailed` when it cannot tell.
  [[nodiscard]] std::vector<Holder> holders() const;
  [[nodiscard]] std::size_t units() const noexcept { return units_; }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  friend Semaphore open_semaphore(std::string_view address, std::size_t units, const Options& options);
  /// Of a scheme that has semaphores of its own.
  Semaphore(std::shared_ptr<Scheme> named, std::string path, std::string display, std::size_t units,
            const Options& options);
  [[nodiscard]] std::unique_ptr<core::Engine> engine(std::size_t wanted) const;

  std::string path_;
  std::string display_;
  std::size_t units_;
  Options options_;
  std::shared_ptr<Scheme> named_;  // null: files
};

}  // namespace lockfile
