// The C++ example of README.md, as a program.
#include <lockfile/lockfile.hpp>

#include <chrono>
#include <cstdio>
#include <mutex>

using namespace std::chrono_literals;

int main() {
  lockfile::FileLock lock("ledger");  // the lock file is ledger.lock, beside it
  {
    std::scoped_lock guard(lock);  // waits; whoever was killed while holding it is replaced
    // ... read, change and write the ledger: nobody else does
  }
  try {
    lock.acquire(5s);
    lock.release();
  } catch (const lockfile::LockTimeout& busy) {
    std::puts(busy.what());  // cannot lock 'ledger.lock': held by pid 4711 on build-7 since 12:03:11 (alive)
  }
}
