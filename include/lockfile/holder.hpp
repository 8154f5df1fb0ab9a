// Who holds a lock, as the holder wrote it down, and how sure we are that it still does.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lockfile {

/// How a lock is held.
enum class Mode : std::uint8_t {
  exclusive,   ///< alone
  shared,      ///< together with other shared holders, and one upgradable one
  upgradable,  ///< together with shared holders; the only one of them that may become exclusive
};
/// May a hold of `one` and a hold of `other` not stand at the same time?
[[nodiscard]] constexpr bool excludes(Mode one, Mode other) noexcept {
  return one == Mode::exclusive || other == Mode::exclusive || (one == Mode::upgradable && other == Mode::upgradable);
}

[[nodiscard]] std::string_view to_string(Mode mode) noexcept;

/// What can be proved about a holder.
enum class Verdict : std::uint8_t {
  alive,    ///< it runs, or a kernel lock of its claim is held
  dead,     ///< it is proved gone: the lock is stale, and the next caller takes it over
  unknown,  ///< neither can be proved from here: counts as held
};

[[nodiscard]] std::string_view to_string(Verdict verdict) noexcept;

/// Who held a lock at the moment of a look. A hold is (`nonce`, `number`): the same claim serves many holds, one at
/// a time, and numbers them.
struct Holder {
  /// Another program's lock, or a record that this version cannot read: nothing but `uid`, `since` and `note` is known.
  bool foreign = false;
  Verdict verdict = Verdict::unknown;
  std::string note;  ///< why the verdict is what it is, or what kind of thing a foreign lock is

  Mode mode = Mode::exclusive;
  std::string scheme;
  std::string nonce;         ///< names the claim
  std::uint64_t number = 0;  ///< numbers its holds
  std::string host;
  std::int64_t pid = 0;
  std::int64_t handed_to = 0;  ///< the child that the hold was handed over to; 0: none
  std::int64_t thread = 0;     ///< the kernel's id of the thread that acquired
  std::string program;
  std::string reason;
  std::uint32_t uid = 0;  ///< owner of the lock file
  /// When the lock file was linked, by the file system's clock. For people; never compared.
  std::optional<std::chrono::system_clock::time_point> since;
  /// It ends by itself, unless it is renewed, after so long; 0: it has no lease. See `Options::lease`.
  std::chrono::milliseconds lease{0};
  /// The lease is over, by what this lock object has seen of it: the next caller takes the lock over.
  bool expired = false;
  /// How long it lasts yet unless it is renewed, and at most: counted from the first look of this lock object that
  /// showed its last renewal. Nothing: no lease, or not looked at by a lock object.
  std::optional<std::chrono::nanoseconds> lease_left;
  bool this_process = false;  ///< it is a hold of the very process that looked
  /// It does not hold: nobody does, but it is first in line, and who only tries does not pass it.
  bool waits = false;

  /// `held by pid 4711 on build-7 (rsync) since 12:03:11 (alive)`
  [[nodiscard]] std::string describe() const;
  /// `pid 4711 on build-7 (rsync)`: who, without since when and how sure.
  [[nodiscard]] std::string who() const;
};

/// Who waits for a lock in the line of this host, in the order of the line.
struct Waiter {
  Mode mode = Mode::exclusive;  ///< that it asks for
  std::string host;
  std::int64_t pid = 0;
  std::int64_t thread = 0;
  std::string program;                          ///< the first 16 bytes of its name
  std::chrono::steady_clock::time_point since;  ///< by the monotonic clock of this host
  bool passed = false;                          ///< it was stopped, and those behind it went past
  bool this_process = false;
};

}  // namespace lockfile
