// From an address to a lock object.
#include <lockfile/file_lock.hpp>
#include <lockfile/open.hpp>

#include "claim/record.hpp"
#include "core/engine.hpp"
#include "core/path.hpp"
#include "schemes/catalogue.hpp"

#include <utility>

namespace lockfile {
namespace {

using core::Verb;

class OpenedLock final : public Lock {
 public:
  explicit OpenedLock(std::unique_ptr<core::Engine> engine) noexcept : Lock(std::move(engine)) {}
};

[[noreturn]] void refuse(std::string_view address, std::errc code, std::string what) {
  core::raise(Verb::lock, claim::printable(address), std::string(address),
              {std::make_error_code(code), std::move(what), {}});
}

Address address_or_throw(std::string_view text) {
  auto parsed = parse_address(text);
  if (const auto* const bad = std::get_if<BadAddress>(&parsed)) {
    refuse(text, std::errc::invalid_argument, "at position " + std::to_string(bad->position) + ": " + bad->reason);
  }
  return std::get<Address>(std::move(parsed));
}

std::unique_ptr<Lock> open_name(std::string_view text, Address address, const Options& options) {
  const schemes::EngineEntry& entry = *schemes::find_engine(address.scheme);
  if (address.name.empty()) {
    refuse(text, std::errc::invalid_argument,
           "at position " + std::to_string(text.size()) + ": the lock's name is missing, as in '" +
               claim::printable(text) + "#nightly'");
  }
  if (entry.make == nullptr) {
    refuse(text, std::errc::operation_not_supported, "scheme '" + address.scheme + "' is not built in");
  }
  if (options.reason.size() > claim::longest_reason) {
    refuse(text, std::errc::invalid_argument, "the reason is longer than 400 bytes");
  }
  if (entry.syntax == schemes::Syntax::database) {
    auto file = core::absolute_path(os::Process::current(), address.place);
    if (!file.ok()) refuse(text, static_cast<std::errc>(file.error), "cannot tell the current directory");
    address.place = core::to_string(file.value);
  }
  auto scheme = entry.make({address.place, address.name}, options);
  return std::make_unique<OpenedLock>(
      std::make_unique<core::Engine>(to_string(address), claim::printable(text), std::move(scheme), options));
}

}  // namespace

std::unique_ptr<Lock> open(std::string_view text, const Options& options) {
  Address address = address_or_throw(text);
  if (locks_a_name(address.scheme)) return open_name(text, std::move(address), options);
  Options with_scheme = options;
  if (address.scheme != "auto") with_scheme.scheme = address.scheme;
  return std::make_unique<FileLock>(address.place, with_scheme);
}

}  // namespace lockfile
