// One line a scheme.
#include "schemes/catalogue.hpp"

#include "schemes/kernel/scheme.hpp"
#include "schemes/lock_file/scheme.hpp"

#include <algorithm>
#include <array>

namespace lockfile::schemes {
namespace {

template <Publish publish>
std::unique_ptr<Scheme> lock_file(FilePath path, const Options& options) {
  return std::make_unique<LockFileScheme>(std::move(path), publish, options);
}

template <KernelLock lock>
std::unique_ptr<Scheme> kernel_file(FilePath path, const Options& options) {
  return std::make_unique<KernelFileScheme>(std::move(path), lock, options);
}

}  // namespace

std::span<const CatalogueEntry> catalogue() noexcept {
  static constexpr std::array entries = {
      CatalogueEntry{"auto", lock_file<Publish::automatic>, "link where a trial of the file system passes, else mkdir"},
      CatalogueEntry{"link", lock_file<Publish::link>, "a lock file, made by a hard link"},
      CatalogueEntry{"mkdir", lock_file<Publish::mkdir>, "a lock directory, for file systems without hard links"},
      CatalogueEntry{"kernel", kernel_file<KernelLock::byte>, "a byte-range lock on the file itself, which stays",
                     false},
      CatalogueEntry{"flock", kernel_file<KernelLock::whole>, "flock(2) on the file itself, as flock(1) does", false},
  };
  return entries;
}

const CatalogueEntry* find_scheme(std::string_view name) noexcept {
  const auto all = catalogue();
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const CatalogueEntry& each) { return each.name == name; });
  return found == all.end() ? nullptr : &*found;
}

}  // namespace lockfile::schemes
