// The record that a holder leaves in its claim: who holds, since which boot, in which pid namespace. Strangers can
// write such files, so reading one never trusts it. docs/on-disk-format.md describes the bytes.
#pragma once

#include <lockfile/holder.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lockfile::claim {

struct Record {
  // The head: of fixed size, written in place, in one write, at the beginning of each hold.
  bool released = false;  ///< given up by its maker, for good
  Mode mode = Mode::exclusive;
  std::uint64_t number = 0;
  std::int64_t thread = 0;
  std::int64_t child = 0;  ///< the process it was handed to; 0: none
  std::uint64_t child_start = 0;

  // The lease, where it has one: a line of fixed size after the head, written in place by each renewal.
  std::chrono::milliseconds lease{0};  ///< its ttl, which never changes; 0: the hold does not end by itself
  std::uint64_t renewals = 0;          ///< of this claim: never the same again

  // The rest never changes.
  std::string scheme;
  std::string nonce;
  std::string boot;
  std::string host;
  std::uint64_t pid_namespace = 0;
  std::uint64_t time_namespace = 0;
  /// Its guard was seen to work by its maker, on a local file system: only then does a guard that looks free say
  /// anything to those who reach the same file in another way (beneath a FUSE mount, on the host of a virtual machine).
  bool guarded = false;
  /// On a network file system: its maker's byte locks reach other hosts. Those of another host tell nothing of it: each
  /// client has its own way of mounting.
  bool reaches = false;
  std::int64_t pid = 0;
  std::uint64_t start = 0;
  std::string program;
  std::string reason;

  /// The same hold: what names it, and what a hand-over changes.
  [[nodiscard]] bool operator==(const Record&) const = default;
};

/// Version 2 is version 1 with a lease. A reader of version 1 takes it for held, by somebody unknown.
inline constexpr int record_version = 2;
/// A record is at most this long; a longer file is not one.
inline constexpr std::size_t longest_record = 4096;
inline constexpr std::size_t longest_reason = 400;

inline constexpr std::size_t head_size = 145;
[[nodiscard]] std::array<char, head_size> format_head(const Record& record) noexcept;

/// What fits the ten digits of its line.
inline constexpr std::chrono::milliseconds longest_lease{9'999'999'999};
inline constexpr std::size_t lease_size = 48;
[[nodiscard]] std::array<char, lease_size> format_lease(const Record& record) noexcept;

[[nodiscard]] std::string format(const Record& record);

enum class Reading : std::uint8_t {
  record,
  empty,    ///< no byte, or only zero bytes: the file system lost them in a power cut, or a claim is not finished
  newer,    ///< ours, of a later version
  foreign,  ///< anything else: torn, huge, another program's
};
/// Reads `bytes` into `record`, which is meaningful only when the answer is `Reading::record`.
[[nodiscard]] Reading parse(std::string_view bytes, Record& record);

/// Do they end as records and group files do, or with the zero bytes that fill up the place of a longer record?
[[nodiscard]] bool is_complete(std::string_view bytes) noexcept;

/// A group file stands at W while several readers hold: it names the directory in which each of them has an entry.
[[nodiscard]] std::string format_group(std::string_view directory);
/// The directory's name, not judged yet; nothing: not a group file.
[[nodiscard]] std::optional<std::string> parse_group(std::string_view bytes);

/// The first bytes of a shared-memory lock's file, of whatever version (schemes/shared_memory/layout.hpp).
inline constexpr std::string_view shared_memory_beginning = "lockfile shm ";

/// The schemes whose records stand at W and obey its protocol. They exclude each other and need not be agreed on.
[[nodiscard]] constexpr bool is_lock_file_scheme(std::string_view scheme) noexcept {
  return scheme == "link" || scheme == "mkdir";
}
/// By its bytes, the scheme whose file it is, whoever holds or does not hold it; empty: none of ours.
[[nodiscard]] std::string scheme_of(std::string_view bytes);

/// What a terminal can show without being told anything: control characters and what is not UTF-8 become `\xNN`.
[[nodiscard]] std::string printable(std::string_view text);

}  // namespace lockfile::claim
