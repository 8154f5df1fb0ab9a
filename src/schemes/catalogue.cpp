// One line a scheme.
#include "schemes/catalogue.hpp"

#include "schemes/engines.hpp"
#include "schemes/kernel/scheme.hpp"
#include "schemes/lined/scheme.hpp"
#include "schemes/lock_file/scheme.hpp"
#include "schemes/shared_memory/scheme.hpp"

#include <algorithm>
#include <array>

namespace lockfile::schemes {
namespace {

template <Publish publish>
std::unique_ptr<Scheme> lock_file(FilePath path, const Options& options) {
  const std::string name = path.name;
  return std::make_unique<LinedScheme>(std::make_unique<LockFileScheme>(std::move(path), publish, options), name,
                                       std::string_view{}, options);
}

template <KernelLock lock>
std::unique_ptr<Scheme> kernel_file(FilePath path, const Options& options) {
  const std::string name = path.name;
  return std::make_unique<LinedScheme>(std::make_unique<KernelFileScheme>(std::move(path), lock, options), name,
                                       to_string(lock), options);
}

std::unique_ptr<Scheme> shared_memory_file(FilePath path, const Options& options) {
  const std::string name = path.name;
  return std::make_unique<LinedScheme>(std::make_unique<shared_memory::Scheme>(std::move(path), options), name, "shm",
                                       options);
}

constexpr std::string_view not_proved = "the death of a holder on another host cannot be proved";
constexpr std::string_view on_network =
    "across hosts where the file system carries byte locks; on a network file system waiters poll";

constexpr std::array entries = {
    CatalogueEntry{
        {"auto", "link where a trial of the file system passes, else mkdir", "PATH.lock", lock_file_traits, not_proved},
        lock_file<Publish::automatic>},
    CatalogueEntry{{"link", "a lock file, made by a hard link", "PATH.lock", lock_file_traits, not_proved},
                   lock_file<Publish::link>},
    CatalogueEntry{
        {"mkdir", "a lock directory, for file systems without hard links", "PATH.lock", lock_file_traits, not_proved},
        lock_file<Publish::mkdir>},
    CatalogueEntry{{"kernel", "a byte-range lock on the file itself, which stays", "PATH",
                    kernel_traits(KernelLock::byte), on_network},
                   kernel_file<KernelLock::byte>},
    CatalogueEntry{{"flock", "flock(2) on the file itself, as flock(1) does", "PATH", kernel_traits(KernelLock::whole),
                    on_network},
                   kernel_file<KernelLock::whole>},
    CatalogueEntry{{"shm", "a number in a mapped file, which stays", "PATH.lock", shared_memory::traits,
                    "refused on network file systems"},
                   shared_memory_file},
};

constinit const std::array engines = {
    EngineEntry{{"sqlite", "a row in an SQLite database", "NAME in a file", sqlite_traits,
                 "one host; refused on network file systems"},
                Syntax::database,
                lockfile_make_sqlite},
    EngineEntry{{"postgresql", "an advisory lock of a PostgreSQL server", "NAME in a database", postgresql_traits,
                 "a hold ends with its connection"},
                Syntax::server,
                lockfile_make_postgresql},
    EngineEntry{{"etcd", "a key in an etcd cluster", "a key in a cluster", etcd_traits,
                 "a hold ends with the lease of its process"},
                Syntax::cluster,
                lockfile_make_etcd},
};

template <class Entry, std::size_t count>
constexpr std::array<SchemeDescription, count> descriptions_of(const std::array<Entry, count>& described) {
  std::array<SchemeDescription, count> all;
  std::transform(described.begin(), described.end(), all.begin(), [](const Entry& each) { return each.described; });
  return all;
}
constexpr auto descriptions = descriptions_of(entries);
const auto engine_descriptions = descriptions_of(engines);

constexpr std::array all_promises = {
    Promise{"shared", "many readers, or one writer", &Traits::shared},
    Promise{"upgradable", "a reader becomes the writer, and nobody slips in between", &Traits::upgradable},
    Promise{"fair", "waiters of several processes of one host enter in the order in which they came", &Traits::fair},
    Promise{"fence", "a number that grows with every exclusive hold, if asked for", &Traits::fence},
    Promise{"lease", "a hold that ends by itself unless it is renewed, if asked for", &Traits::lease},
    Promise{"crash recovery", "a holder that was killed is replaced by the next caller, without an operator",
            &Traits::crash_recovery},
    Promise{"forced break", "somebody's hold can be broken by force, and no later one with it", &Traits::forced_break},
    Promise{"across hosts", "processes of several hosts exclude each other", &Traits::across_hosts},
    Promise{"event wait", "waiters sleep until the lock changes, they do not poll", &Traits::event_wait},
    Promise{"hand-over", "a hold can be handed to a child and then lasts as long as the child", &Traits::handed_over},
};
// A new member of Traits must be told to people too. Two are none: `queues` and `short_way`.
static_assert(sizeof(Traits) == all_promises.size() + 2);

}  // namespace

const CatalogueEntry* find_scheme(std::string_view name) noexcept {
  const auto found = std::find_if(entries.begin(), entries.end(),
                                  [&](const CatalogueEntry& each) { return each.described.name == name; });
  return found == entries.end() ? nullptr : &*found;
}

const EngineEntry* find_engine(std::string_view name) noexcept {
  const auto found = std::find_if(engines.begin(), engines.end(),
                                  [&](const EngineEntry& each) { return each.described.name == name; });
  return found == engines.end() ? nullptr : &*found;
}

}  // namespace lockfile::schemes

namespace lockfile {

std::span<const Promise> promises() noexcept { return schemes::all_promises; }
std::span<const SchemeDescription> describe_schemes() noexcept { return schemes::descriptions; }
std::span<const SchemeDescription> describe_engines() noexcept { return schemes::engine_descriptions; }

}  // namespace lockfile
