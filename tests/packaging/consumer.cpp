// What every consumer project builds: enough to need the headers, the library and threads.
#include <lockfile/lockfile.hpp>

#include <chrono>
#include <cstdio>
#include <mutex>

int main(int argc, char** argv) {
  if (argc != 2) return 64;
  lockfile::FileLock lock(argv[1]);
  {
    std::unique_lock guard(lock, std::chrono::seconds(1));
    if (!guard || !lock.i_am_locking()) return 1;
  }
  if (lock.is_locked()) return 1;
  std::printf("held and released, lockfile %d.%d.%d\n", LOCKFILE_VERSION_MAJOR, LOCKFILE_VERSION_MINOR,
              LOCKFILE_VERSION_PATCH);
}
