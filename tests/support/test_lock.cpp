// Lock objects of variants.
#include "support/test_lock.hpp"

#include "core/open.hpp"
#include "schemes/catalogue.hpp"
#include "support/variants.hpp"

#include <lockfile/open.hpp>

namespace lockfile::testing {

TestLock::TestLock(std::string_view path, const Options& options)
    : Lock(schemes::find_engine(options.scheme) != nullptr
               ? core::named_engine(address_of(options.scheme, std::string(path)), options)
               : core::file_engine(path, options)) {}

Semaphore test_semaphore(const std::string& path, std::size_t units, const Options& options) {
  if (schemes::find_engine(options.scheme) == nullptr) return {path, units, options};
  return open_semaphore(address_of(options.scheme, path), units, options);
}

}  // namespace lockfile::testing
