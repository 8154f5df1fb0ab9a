// The variants.
#include "support/variants.hpp"

#include "schemes/catalogue.hpp"

#include <lockfile/open.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <ostream>

namespace lockfile::testing {

std::span<const Variant> variants() {
  static constexpr std::array all = {
      Variant{"link", "link", {}},
      Variant{"link_without_unnamed_files", "link", {.unnamed_files = true}},
      Variant{"link_without_inotify", "link", {.inotify = true}},
      Variant{"link_without_pidfds", "link", {.pidfds = true}},
      Variant{"link_without_fifos", "link", {.fifos = true}},
      Variant{"mkdir", "mkdir", {}},
      Variant{"mkdir_without_inotify", "mkdir", {.inotify = true}},
      Variant{"mkdir_with_mark", "mkdir", {.rename_new = true}},
      Variant{"mkdir_with_mark_without_hard_links", "mkdir", {.hard_links = true, .rename_new = true}},
      Variant{"mkdir_without_mark", "mkdir", {.hard_links = true, .rename_new = true, .marks = true}},
      Variant{"auto", "auto", {}},
      Variant{"auto_without_hard_links", "auto", {.hard_links = true}},
  };
  return all;
}

std::span<const Variant> kernel_variants() {
  static constexpr std::array all = {
      Variant{"kernel", "kernel", {}},
      Variant{"kernel_without_unnamed_files", "kernel", {.unnamed_files = true}},
      Variant{"kernel_without_inotify", "kernel", {.inotify = true}},
      Variant{"kernel_without_fifos", "kernel", {.fifos = true}},
      Variant{"flock", "flock", {}},
      Variant{"flock_without_inotify", "flock", {.inotify = true}},
  };
  return all;
}

std::span<const Variant> memory_variants() {
  static constexpr std::array all = {
      Variant{"shm", "shm", {}},
      Variant{"shm_without_unnamed_files", "shm", {.unnamed_files = true}},
      Variant{"shm_without_pidfds", "shm", {.pidfds = true}},
  };
  return all;
}

namespace {

constexpr std::array all_engines = {
    Variant{"sqlite", "sqlite", {}},
    Variant{"sqlite_without_inotify", "sqlite", {.inotify = true}},
    Variant{"sqlite_without_pidfds", "sqlite", {.pidfds = true}},
    Variant{"postgresql", "postgresql", {}},
    Variant{"etcd", "etcd", {}},
};

}  // namespace

std::vector<Variant> engine_variants() {
  std::vector<Variant> built_in;
  std::copy_if(all_engines.begin(), all_engines.end(), std::back_inserter(built_in),
               [](const Variant& each) { return schemes::find_engine(each.scheme)->make != nullptr; });
  return built_in;
}

std::vector<Variant> local_engine_variants() {
  std::vector<Variant> local = engine_variants();
  std::erase_if(local, [](const Variant& each) { return each.scheme != "sqlite"; });
  return local;
}

std::vector<Variant> breakable_variants() {
  std::vector<Variant> all(variants().begin(), variants().end());
  all.insert(all.end(), memory_variants().begin(), memory_variants().end());
  return all;
}

std::vector<Variant> all_variants() {
  std::vector<Variant> all = breakable_variants();
  all.insert(all.end(), kernel_variants().begin(), kernel_variants().end());
  return all;
}

bool is_kernel(const Variant& variant) { return variant.scheme == "kernel" || variant.scheme == "flock"; }

bool is_memory(const Variant& variant) { return variant.scheme == "shm"; }

bool is_engine(const Variant& variant) { return schemes::find_engine(variant.scheme) != nullptr; }

std::string address_of(std::string_view scheme, const std::string& path) {
  const std::filesystem::path lock(path);
  Address address{std::string(scheme), {}, lock.filename().string()};
  if (scheme == "sqlite") {
    address.place = (lock.parent_path() / "locks.db").string();
  } else {
    const char* const place = std::getenv(scheme == "etcd" ? "LOCKFILE_TEST_ETCD" : "LOCKFILE_TEST_POSTGRESQL");
    if (place == nullptr || *place == '\0') return {};
    address.place = std::string(place).substr(scheme.size() + std::string_view("://").size());
    address.name = lock.parent_path().filename().string() + "-" + address.name;
  }
  return to_string(address);
}

const Variant& variant_named(std::string_view name) {
  for (const auto all : {variants(), kernel_variants(), memory_variants(), std::span<const Variant>(all_engines)}) {
    const auto found = std::find_if(all.begin(), all.end(), [&](const Variant& each) { return each.name == name; });
    if (found != all.end()) return *found;
  }
  throw std::invalid_argument("no variant " + std::string(name));
}

os::Result<int> CrippledSystem::open(int at, const char* name, os::Open how, std::uint32_t mode) noexcept {
  if (missing_.unnamed_files && how == os::Open::temporary) return {-1, EOPNOTSUPP};
  return LayeredSystem::open(at, name, how, mode);
}

os::Status CrippledSystem::link(int from_at, const char* from, int to_at, const char* to) noexcept {
  return missing_.hard_links ? EPERM : LayeredSystem::link(from_at, from, to_at, to);
}

os::Status CrippledSystem::rename_new(int from_at, const char* from, int to_at, const char* to) noexcept {
  return missing_.rename_new ? EINVAL : LayeredSystem::rename_new(from_at, from, to_at, to);
}

os::Status CrippledSystem::make_directory(int at, const char* name, std::uint32_t mode) noexcept {
  return LayeredSystem::make_directory(at, name, missing_.marks ? mode & ~os::sticky : mode);
}

os::Status CrippledSystem::set_mode(int descriptor, std::uint32_t mode) noexcept {
  return LayeredSystem::set_mode(descriptor, missing_.marks ? mode & ~os::sticky : mode);
}

os::Result<int> CrippledSystem::notify_open() noexcept {
  return missing_.inotify ? os::Result<int>{-1, EMFILE} : LayeredSystem::notify_open();
}

os::Result<int> CrippledSystem::open_process(std::int64_t pid) noexcept {
  return missing_.pidfds ? os::Result<int>{-1, ENOSYS} : LayeredSystem::open_process(pid);
}

os::Status CrippledSystem::make_fifo(int at, const char* name, std::uint32_t mode) noexcept {
  return missing_.fifos ? EPERM : LayeredSystem::make_fifo(at, name, mode);
}

InVariant::InVariant(const Variant& variant) : system_(os::real_system(), variant.missing), process_(system_) {
  enter();
}

InVariant::~InVariant() { os::Process::set_current(nullptr); }

void PrintTo(const Variant& variant, std::ostream* out) { *out << variant.name; }

}  // namespace lockfile::testing
