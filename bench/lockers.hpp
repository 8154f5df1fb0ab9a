// What is measured: every scheme of the library, and the floors beside them.
#pragma once

#include <lockfile/scheme.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "driver.hpp"

namespace bench {

/// Something that can be held by one process at a time. Made in the process that uses it.
class Locker {
 public:
  Locker() = default;
  Locker(const Locker&) = delete;
  Locker& operator=(const Locker&) = delete;
  virtual ~Locker() = default;
  virtual void acquire() = 0;
  virtual void release() = 0;
  /// Together with others who do so. Released as any hold.
  virtual void acquire_shared() { fail("no shared holds"); }
};

/// The schemes that a name can ask for, "auto" aside: every question is asked of each, as they come.
[[nodiscard]] std::vector<std::string> schemes();
[[nodiscard]] bool is_scheme(std::string_view name);
/// Does the scheme promise it?
[[nodiscard]] bool promised(std::string_view scheme, bool lockfile::Traits::*promise);

// The floors.
/// flock(2), blocking: the kernel's own queue.
inline constexpr std::string_view raw_flock = "flock(2)";
/// fcntl(2), F_OFD_SETLKW.
inline constexpr std::string_view raw_byte = "fcntl(2)";
/// A mutex of three states on futex(2) in a mapped file.
inline constexpr std::string_view raw_futex = "futex(2)";
/// Tickets on futex(2): the same, but in the order in which they came.
inline constexpr std::string_view raw_ticket = "fair futex(2)";
/// link(2) and inotify(7) and nothing else.
inline constexpr std::string_view raw_link = "link + inotify";

[[nodiscard]] std::unique_ptr<Locker> make_locker(std::string_view contestant, const WorkDirectory& directory);
/// A scheme's, on a path of the caller's choice.
[[nodiscard]] std::unique_ptr<Locker> make_locker_on(std::string_view scheme, const std::string& path);

}  // namespace bench
