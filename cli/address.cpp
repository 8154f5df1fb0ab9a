// Addresses on the command line: see address.hpp.
#include "address.hpp"

#include "text.hpp"

#include <lockfile/file_lock.hpp>
#include <lockfile/open.hpp>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

namespace lockctl {

void settle(std::string& path, std::string& scheme) {
  auto parsed = lockfile::parse_address(path);
  if (const auto* const bad = std::get_if<lockfile::BadAddress>(&parsed)) {
    throw CLI::ValidationError(fmt::format("{}: at position {}: {}", quote(path), bad->position, escape(bad->reason)));
  }
  auto& address = std::get<lockfile::Address>(parsed);
  if (address.scheme == "auto") {
    path = std::move(address.place);
    return;
  }
  if (scheme != "auto" && scheme != address.scheme) {
    throw CLI::ValidationError(
        fmt::format("{}: its scheme is {}, and '--scheme {}' says another", quote(path), address.scheme, scheme));
  }
  scheme = address.scheme;
  if (!lockfile::locks_a_name(scheme)) {
    path = std::move(address.place);
  }
}

bool is_engine_address(const std::string& text) {
  const auto parsed = lockfile::parse_address(text);
  const auto* const address = std::get_if<lockfile::Address>(&parsed);
  return address != nullptr && lockfile::locks_a_name(address->scheme);
}

std::unique_ptr<lockfile::Lock> open_lock(const std::string& path, const lockfile::Options& options) {
  if (lockfile::locks_a_name(options.scheme)) {
    return lockfile::open(path, options);
  }
  return std::make_unique<lockfile::FileLock>(path, options);
}

}  // namespace lockctl
