// The schemes and their fallbacks, each a variant in which every law has to hold. The list exists once.
#pragma once

#include "os/process.hpp"
#include "support/layered_system.hpp"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lockfile::testing {

/// What a kernel or file system may lack.
struct Missing {
  bool unnamed_files = false;  ///< O_TMPFILE
  bool hard_links = false;
  bool rename_new = false;  ///< RENAME_NOREPLACE
  bool marks = false;       ///< the sticky bit of mkdir
  bool inotify = false;
  bool pidfds = false;
  bool fifos = false;  ///< then waiters of several processes have no order
};

struct Variant {
  std::string_view name;
  std::string_view scheme;
  Missing missing;
};

[[nodiscard]] std::span<const Variant> variants();
/// The schemes that are kernel locks on the file itself, and their fallbacks. They keep the laws of who may hold; what
/// speaks of lock files, breaks and the dead is not theirs.
[[nodiscard]] std::span<const Variant> kernel_variants();
/// Shared memory, and its fallbacks. It keeps every law but those that speak of what is on the disk.
[[nodiscard]] std::span<const Variant> memory_variants();
/// All of them, but the engines.
[[nodiscard]] std::vector<Variant> all_variants();
/// Names in a database or cluster: those engines that this program was linked with.
[[nodiscard]] std::vector<Variant> engine_variants();
/// Of them, those that judge by this host whether a holder is dead, and go on showing it until it is replaced.
[[nodiscard]] std::vector<Variant> local_engine_variants();
/// Those whose holds can be broken, and stay when their holder dies: lock files and shared memory.
[[nodiscard]] std::vector<Variant> breakable_variants();
[[nodiscard]] bool is_kernel(const Variant& variant);
[[nodiscard]] bool is_memory(const Variant& variant);
[[nodiscard]] bool is_engine(const Variant& variant);
/// Of an engine: the address of the lock that stands for `path`. In a database beside it, or a name of its own at the
/// server that the environment names (LOCKFILE_TEST_POSTGRESQL, LOCKFILE_TEST_ETCD: an address without a name); empty:
/// it names none.
[[nodiscard]] std::string address_of(std::string_view scheme, const std::string& path);
[[nodiscard]] const Variant& variant_named(std::string_view name);

/// A system without what a variant lacks.
class CrippledSystem final : public LayeredSystem {
 public:
  CrippledSystem(os::System& below, const Missing& missing) : LayeredSystem(below), missing_(missing) {}

  os::Result<int> open(int at, const char* name, os::Open how, std::uint32_t mode) noexcept override;
  os::Status link(int from_at, const char* from, int to_at, const char* to) noexcept override;
  os::Status rename_new(int from_at, const char* from, int to_at, const char* to) noexcept override;
  os::Status make_directory(int at, const char* name, std::uint32_t mode) noexcept override;
  os::Status set_mode(int descriptor, std::uint32_t mode) noexcept override;
  os::Result<int> notify_open() noexcept override;
  os::Result<int> open_process(std::int64_t pid) noexcept override;
  os::Status make_fifo(int at, const char* name, std::uint32_t mode) noexcept override;

 private:
  Missing missing_;
};

/// Makes this thread's lock objects live in a process of their own with such a system, for as long as it lives.
class InVariant {
 public:
  explicit InVariant(const Variant& variant);
  InVariant(const InVariant&) = delete;
  InVariant& operator=(const InVariant&) = delete;
  ~InVariant();

  [[nodiscard]] CrippledSystem& system() noexcept { return system_; }
  [[nodiscard]] os::Process& process() noexcept { return process_; }
  /// For another thread of the same process.
  void enter() noexcept { os::Process::set_current(&process_); }

 private:
  CrippledSystem system_;
  os::Process process_;
};

/// googletest shows it by its name.
void PrintTo(const Variant& variant, std::ostream* out);

}  // namespace lockfile::testing
