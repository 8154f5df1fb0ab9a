// The lock object by its own name.
#include <lockfile/sqlite.hpp>

#include "core/open.hpp"
#include "core/path.hpp"
#include "os/process.hpp"

#include <lockfile/open.hpp>

#include <cerrno>

namespace lockfile {
namespace {

constexpr std::string_view database_name = ".lockfile.db";

// A path that names no file is refused as every scheme refuses it, by an address that says so.
std::string address_of(std::string_view path) {
  auto file = core::absolute_path(os::Process::current(), path);
  if (!file.ok()) {
    const std::error_code code = os::code_of(file.error);
    throw LockFailed(code, "cannot lock '" + std::string(path) + "': the path names no file", std::string(path), {});
  }
  Address address{"sqlite", file.value.directory, file.value.name};
  if (!address.place.ends_with('/')) address.place += '/';
  address.place += database_name;
  return to_string(address);
}

}  // namespace

SQLiteFileLock::SQLiteFileLock(std::string_view path, const Options& options)
    : Lock(core::named_engine(address_of(path), options)) {}

}  // namespace lockfile
