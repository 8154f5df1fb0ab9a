// Schemes that meet on one path, and do not exclude each other.
#include "schemes/file_scheme.hpp"

#include "claim/record_file.hpp"

namespace lockfile::schemes {

Failed FileScheme::refuse(const std::string& file, const std::string& another) const {
  return {std::make_error_code(std::errc::operation_not_supported),
          "'" + file + "' is a lock of scheme '" + another + "', not '" + std::string(name()) + "'",
          {}};
}

std::optional<Failed> FileScheme::find_kernel_lock(const claim::Directory& directory, const std::string& locked) const {
  const auto another = claim::kernel_lock_at(directory, locked);
  if (!another.ok()) {
    return Failed{os::code_of(another.error), "cannot tell whether '" + locked + "' is a kernel lock", {}};
  }
  if (another.value.empty()) return {};
  return refuse(locked, another.value);
}

}  // namespace lockfile::schemes
