// Addresses on the command line: see address.hpp.
#include "address.hpp"

#include "text.hpp"

#include <lockfile/file_lock.hpp>
#include <lockfile/open.hpp>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

namespace lockctl {
namespace {

[[noreturn]] void refuse(const std::string& text, const lockfile::BadAddress& bad) {
  throw CLI::ValidationError(fmt::format("{}: at position {}: {}", quote(text), bad.position, escape(bad.reason)));
}

}  // namespace

void settle(std::string& path, std::string& scheme) {
  auto parsed = lockfile::parse_address(path);
  if (const auto* const bad = std::get_if<lockfile::BadAddress>(&parsed)) {
    refuse(path, *bad);
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
  if (const auto* const address = std::get_if<lockfile::Address>(&parsed)) {
    return lockfile::locks_a_name(address->scheme);
  }
  const std::size_t colon = text.find(':');
  if (colon == std::string::npos || !lockfile::locks_a_name(text.substr(0, colon))) {
    return false;
  }
  refuse(text, std::get<lockfile::BadAddress>(parsed));
}

void refuse_name(const std::string& text) {
  const auto address = std::get<lockfile::Address>(lockfile::parse_address(text));
  if (!address.name.empty()) {
    throw CLI::ValidationError(fmt::format(
        "{}: it names one lock, {}, of which 'lockctl status' tells; a list is of an address without a name "
        "(of a cluster: up to the last '/')",
        quote(text), quote(address.name)));
  }
}

std::unique_ptr<lockfile::Lock> open_lock(const std::string& path, const lockfile::Options& options) {
  if (lockfile::locks_a_name(options.scheme)) {
    return lockfile::open(path, options);
  }
  return std::make_unique<lockfile::FileLock>(path, options);
}

}  // namespace lockctl
