// A consumer of components: finds each by its address alone.
#include <lockfile/lockfile.hpp>
#include <lockfile/sqlite.hpp>

#include <chrono>
#include <cstdio>
#include <memory>
#include <mutex>
#include <string>

int main(int argc, char** argv) {
  if (argc != 2) return 64;
  lockfile::SQLiteFileLock lock(argv[1]);
  {
    std::unique_lock guard(lock, std::chrono::seconds(10));
    if (!guard || !lock.i_am_locking() || lock.fence() == 0) return 1;
  }
  const auto named = lockfile::open("sqlite:" + std::string(argv[1]) + ".db#nightly");
  named->acquire(std::chrono::seconds(10));
  named->release();
#ifdef HAS_postgresql
  (void)lockfile::open("postgresql://localhost/db#nightly");
#endif
#ifdef HAS_etcd
  (void)lockfile::open("etcd://localhost:2379/nightly");
#endif
  std::printf("held and released, lockfile %d.%d.%d\n", LOCKFILE_VERSION_MAJOR, LOCKFILE_VERSION_MINOR,
              LOCKFILE_VERSION_PATCH);
}
