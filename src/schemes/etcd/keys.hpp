// How a lock is written into a cluster: the names of its keys, and who wrote one.
//
//     PREFIX/NAME//lock/x/NONCE-NUMBER         one that holds exclusively, or waits to
//     PREFIX/NAME//lock/s/NONCE-NUMBER         shared
//     PREFIX/NAME//units/WEIGHT/NONCE-NUMBER   so many units of the semaphore of that name
//
// No part of an address is empty, so `//` ends a lock's name: no lock's keys are among those of another one whose name
// goes on behind it. NONCE names a process and NUMBER one attempt of it. Who holds and who waits is decided by the
// revisions in which the keys were made, and by nothing in them.
#pragma once

#include "claim/record.hpp"
#include "os/process.hpp"
#include "schemes/etcd/session.hpp"
#include "schemes/file_path.hpp"

#include <lockfile/holder.hpp>
#include <lockfile/options.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lockfile::schemes::etcd {

/// Where a lock is.
struct Place {
  Cluster cluster;
  std::string root;  ///< `PREFIX/NAME`
};
/// Throws `std::system_error` (`std::errc::invalid_argument`) for hosts or a prefix that cannot be.
[[nodiscard]] Place place_of(const FilePath& place, const Options& options);

inline constexpr std::chrono::seconds default_ttl{10};
inline constexpr std::chrono::seconds shortest_ttl{2};

/// All keys whose names begin so.
[[nodiscard]] Range below(std::string prefix);

[[nodiscard]] std::string lock_keys(const std::string& root);
[[nodiscard]] std::string exclusive_keys(const std::string& root);
[[nodiscard]] std::string key_for(const std::string& root, Mode mode, std::string_view nonce);
[[nodiscard]] std::string unit_keys(const std::string& root);
[[nodiscard]] std::string unit_key_for(const std::string& root, std::size_t weight, std::string_view nonce);

/// All keys of a place, as lists of names: of `PREFIX/`, that the root of a lock there begins with.
[[nodiscard]] std::string prefix_of(const std::string& root);
[[nodiscard]] Range place_keys(const std::string& prefix);
/// The name of the lock of that place that the key is of; nothing: it is of none.
[[nodiscard]] std::optional<std::string> lock_of(const std::string& prefix, std::string_view key);

/// Who made a key.
struct Author {
  bool readable = false;
  Mode mode = Mode::exclusive;
  std::size_t weight = 1;  ///< of units
  std::string nonce;       ///< with its number
  std::chrono::system_clock::time_point since;
  claim::Record record;
};
[[nodiscard]] Author author_of(const Key& key);
[[nodiscard]] std::string value_of(const claim::Record& record, std::chrono::system_clock::time_point since);

/// Whose key it is, with what can be proved of it from here: on this host, by its process.
[[nodiscard]] Holder holder_of(const Key& key, const os::Process& self);

/// The first so many of `keys`, which are in the order in which they were made, hold; the others wait.
[[nodiscard]] std::size_t holding(const std::vector<Key>& keys);
[[nodiscard]] std::size_t holding_units(const std::vector<Key>& keys, std::size_t units);

}  // namespace lockfile::schemes::etcd
