// A file that refuses writers whose time is over: the other half of `Options::fence`.
#pragma once

#include <lockfile/error.hpp>
#include <lockfile/options.hpp>
#include <lockfile/wait.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>

namespace lockfile {

/// A file that is written or replaced as a whole, and only by a writer whose fence is not older than the newest that
/// the file has seen.
///
///     lockfile::FileLock lock("ledger", {.fence = true});
///     lockfile::FencedFile ledger("ledger");
///     lock.acquire();
///     ledger.write(lock.fence(), contents);   // StaleFence, if somebody who held later has written
///
/// A lock alone cannot do this: a holder that was stopped, broken by force and continued does not know it, and would
/// write over what a later holder wrote.
///
/// Guarantees: readers, who need nothing but open(2), find the old bytes or the new ones, never a mixture; so do they
/// after a kill or a power cut at any point. Once a write with a fence has been begun on the disk, every smaller one is
/// refused, also if that write was cut off. Not guaranteed: anything against programs that write the file otherwise.
///
/// Beside the file stand `<file>.fence-seen`, the newest fence, which stays; and `<file>.fence-new` during a write.
/// Writers exclude each other by a kernel lock of `<file>.fence-seen`, for as long as a write takes. The bytes, and the
/// name, are on the disk when a write has returned (fsync(2)). The file keeps its permissions, but belongs to the
/// writer; a symbolic link at its name is replaced, not followed.
///
/// Threads: one object may be used by several at once. Fork and exec: an object has no state but its path.
class FencedFile {
 public:
  /// Names the file; opens nothing. Throws `Error` with `std::errc::invalid_argument` for a path that names no file
  /// (empty, `/`, or ending in `.` or `..`). `access`: who else may write, by what stands beside the file.
  explicit FencedFile(std::string_view path, Access access = Access::by_umask);

  /// Makes `bytes` the whole of the file. Waits for other writers at most as `wait` says. Throws `StaleFence` when a
  /// larger fence was seen before (an equal one may write again); `Error` with `errc::timed_out` or `errc::stopped`;
  /// with `std::errc::invalid_argument` for the fence 0; with `std::errc::no_lock_available` where kernel locks do not
  /// reach all who use the file system; or with the system's cause.
  void write(std::uint64_t fence, std::string_view bytes, const Wait& wait = for_ever);
  bool write(std::uint64_t fence, std::string_view bytes, const Wait& wait, std::error_code& ec) noexcept;

  /// The newest fence that the file has seen; 0: none. Takes no lock. Throws `Error`, with `std::errc::bad_message`
  /// where `<file>.fence-seen` is damaged: then nobody may write until somebody has looked at it.
  [[nodiscard]] std::uint64_t newest() const;
  [[nodiscard]] std::uint64_t newest(std::error_code& ec) const noexcept;

  /// The path that it was given, made absolute.
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
  std::string directory_;
  std::string name_;
  Access access_;
};

}  // namespace lockfile
