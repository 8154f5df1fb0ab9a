// From an address to a lock object.
#include <lockfile/file_lock.hpp>
#include <lockfile/open.hpp>

#include "claim/record.hpp"
#include "core/open.hpp"
#include "core/path.hpp"
#include "schemes/catalogue.hpp"

#include <algorithm>
#include <utility>

namespace lockfile {
namespace {

using core::refuse;
using core::Verb;

class OpenedLock final : public Lock {
 public:
  explicit OpenedLock(std::unique_ptr<core::Engine> engine) noexcept : Lock(std::move(engine)) {}
};

// What a scheme says when it cannot be made, without the cause, which the code has.
std::string what_of(const std::system_error& error) {
  std::string what = error.what();
  const std::string cause = ": " + error.code().message();
  if (what.ends_with(cause)) what.resize(what.size() - cause.size());
  return what;
}

Address address_or_throw(std::string_view text) {
  auto parsed = parse_address(text);
  if (const auto* const bad = std::get_if<BadAddress>(&parsed)) {
    refuse(text, std::errc::invalid_argument, "at position " + std::to_string(bad->position) + ": " + bad->reason);
  }
  return std::get<Address>(std::move(parsed));
}

// The scheme of an address that locks a name, and the address as it was understood. Places that need no name are given
// one all the same: nothing is locked by it.
std::unique_ptr<Scheme> scheme_of(std::string_view text, Address& address, const Options& options) {
  const schemes::EngineEntry& entry = *schemes::find_engine(address.scheme);
  if (address.name.empty()) {
    const std::string_view before = entry.syntax == schemes::Syntax::cluster ? "" : "#";
    refuse(text, std::errc::invalid_argument,
           "at position " + std::to_string(text.size()) + ": the lock's name is missing, as in '" +
               claim::printable(text) + std::string(before) + "nightly'");
  }
  if (entry.make == nullptr) {
    refuse(text, std::errc::operation_not_supported, "scheme '" + address.scheme + "' is not built in");
  }
  if (options.reason.size() > claim::longest_reason) {
    refuse(text, std::errc::invalid_argument, "the reason is longer than 400 bytes");
  }
  if (entry.syntax == schemes::Syntax::database) {
    auto file = core::absolute_path(os::Process::current(), address.place);
    // Not reached by tests, but in the same words of paths.
    if (!file.ok()) refuse(text, static_cast<std::errc>(file.error), "cannot tell the current directory");
    address.place = core::to_string(file.value);
  }
  try {
    return std::unique_ptr<Scheme>(entry.make({address.place, address.name}, options));
  } catch (const std::system_error& error) {
    core::raise(Verb::lock, claim::printable(text), std::string(text), {error.code(), what_of(error), {}});
  }
}

// Of a place in which nothing is locked.
std::unique_ptr<Scheme> scheme_of_place(std::string_view text) {
  Address address = address_or_throw(text);
  if (!locks_a_name(address.scheme)) {
    refuse(text, std::errc::operation_not_supported, "scheme '" + address.scheme + "' locks files");
  }
  if (address.name.empty()) address.name = "*";
  return scheme_of(text, address, {});
}

std::unique_ptr<core::Engine> engine_of(std::string_view text, Address address, const Options& options) {
  auto scheme = scheme_of(text, address, options);
  return std::make_unique<core::Engine>(to_string(address), claim::printable(text), std::move(scheme), options);
}

}  // namespace

void core::refuse(std::string_view path, std::errc code, std::string what) {
  core::raise(Verb::lock, claim::printable(path), std::string(path), {std::make_error_code(code), std::move(what), {}});
}

std::unique_ptr<core::Engine> core::named_engine(std::string_view text, const Options& options) {
  return engine_of(text, address_or_throw(text), options);
}

std::unique_ptr<Scheme> core::named_scheme(std::string_view text) {
  Address address = address_or_throw(text);
  if (!locks_a_name(address.scheme)) refuse(text, std::errc::invalid_argument, "it names no lock in a database");
  return scheme_of(text, address, {});
}

std::unique_ptr<Lock> open(std::string_view text, const Options& options) {
  Address address = address_or_throw(text);
  if (locks_a_name(address.scheme)) {
    return std::make_unique<OpenedLock>(engine_of(text, std::move(address), options));
  }
  Options with_scheme = options;
  if (address.scheme != "auto") with_scheme.scheme = address.scheme;
  return std::make_unique<FileLock>(address.place, with_scheme);
}

Semaphore open_semaphore(std::string_view text, std::size_t units, const Options& options) {
  Address address = address_or_throw(text);
  if (!locks_a_name(address.scheme)) {
    Options with_scheme = options;
    if (address.scheme != "auto") with_scheme.scheme = address.scheme;
    return {address.place, units, with_scheme};
  }
  auto scheme = scheme_of(text, address, options);
  if (units == 0) refuse(text, std::errc::invalid_argument, "a semaphore of no units");
  if (scheme->semaphore(units, 1) == nullptr) {
    // Not reached by tests: each of the engines has them.
    refuse(text, std::errc::operation_not_supported, "scheme '" + address.scheme + "' has no semaphores");
  }
  return {std::move(scheme), to_string(address), claim::printable(text), units, options};
}

void initialise(std::string_view address) {
  std::string what;
  const std::error_code code = scheme_of_place(address)->initialise(what);
  if (code) core::raise(Verb::initialise, claim::printable(address), std::string(address), {code, std::move(what), {}});
}

Examination examine_place(std::string_view address, std::error_code& ec) {
  return scheme_of_place(address)->examine(ec);
}

namespace {

std::vector<NamedLock> listed(std::string_view text, std::error_code& ec, std::string& what) {
  const std::unique_ptr<Scheme> place = scheme_of_place(text);  // what it has open serves all the looks
  std::vector<std::string> names = place->locked_names(ec, what);
  std::sort(names.begin(), names.end());
  std::vector<NamedLock> all;
  const Address address = address_or_throw(text);
  for (std::string& name : names) {
    if (ec) break;  // the server went meanwhile; not reached by tests
    Address named{address.scheme, address.place, std::move(name)};
    NamedLock each{to_string(named), {}, {}};
    const std::unique_ptr<Scheme> scheme = scheme_of(each.address, named, {});
    each.holders = scheme->holders(ec);
    if (!ec) each.waiters = scheme->waiters(ec);
    if (!each.holders.empty() || !each.waiters.empty()) all.push_back(std::move(each));
  }
  if (ec) all.clear();
  return all;
}

}  // namespace

std::vector<NamedLock> list_place(std::string_view text) {
  std::error_code code;
  std::string what;
  std::vector<NamedLock> all = listed(text, code, what);
  if (code) core::raise(Verb::list, claim::printable(text), std::string(text), {code, std::move(what), {}});
  return all;
}

std::vector<NamedLock> list_place(std::string_view text, std::error_code& ec) {
  std::string ignored;  // more than the code has
  return listed(text, ec, ignored);
}

}  // namespace lockfile
