// The schemes that a name can ask for.
#pragma once

#include "schemes/file_path.hpp"

#include <lockfile/options.hpp>
#include <lockfile/scheme.hpp>

#include <memory>
#include <span>
#include <string_view>

namespace lockfile::schemes {

struct CatalogueEntry {
  SchemeDescription described;
  std::unique_ptr<Scheme> (*make)(FilePath path, const Options& options);

  /// The lock is a file beside the path, `PATH.lock`; else the very path.
  [[nodiscard]] constexpr bool beside() const noexcept { return described.locks != "PATH"; }
};

[[nodiscard]] std::span<const CatalogueEntry> catalogue() noexcept;
/// Null: no such scheme.
[[nodiscard]] const CatalogueEntry* find_scheme(std::string_view name) noexcept;

}  // namespace lockfile::schemes
