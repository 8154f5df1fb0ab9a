// The schemes that a name can ask for.
#pragma once

#include "schemes/file_path.hpp"

#include <lockfile/options.hpp>
#include <lockfile/scheme.hpp>

#include <cstdint>
#include <memory>
#include <string_view>

namespace lockfile::schemes {

struct CatalogueEntry {
  SchemeDescription described;
  std::unique_ptr<Scheme> (*make)(FilePath path, const Options& options);

  /// The lock is a file beside the path, `PATH.lock`; else the very path.
  [[nodiscard]] constexpr bool beside() const noexcept { return described.locks != "PATH"; }
};

/// What stands behind the scheme's name in an address (include/lockfile/open.hpp has the grammar).
enum class Syntax : std::uint8_t {
  path,      ///< the path that is locked
  database,  ///< a file, and `#` and the name of a lock in it
  server,    ///< `//` and a location, and `#` and the name
  cluster,   ///< `//`, hosts, and a key whose last part is the name
};

/// A scheme that locks a name inside of a place, a database or a cluster: a component with a library of its own.
struct EngineEntry {
  SchemeDescription described;
  Syntax syntax;
  /// See engines.hpp. Null: the component is not built in.
  Scheme* (*make)(const FilePath& place, const Options& options);
};

/// Null: no such scheme.
[[nodiscard]] const CatalogueEntry* find_scheme(std::string_view name) noexcept;
/// Null: no such engine is known by name.
[[nodiscard]] const EngineEntry* find_engine(std::string_view name) noexcept;

}  // namespace lockfile::schemes
