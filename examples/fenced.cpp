// What a lock cannot do and a fence can: a holder that was broken by force, and does not know it, writes late and is
// refused. The two threads stand for two programs.
#include <lockfile/lockfile.hpp>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

int main() {
  const std::string path = "fenced-example";
  const lockfile::Options fenced{.fence = true};
  lockfile::FencedFile pages(path);

  lockfile::FileLock slow(path, fenced);
  slow.acquire();
  pages.write(slow.fence(), "by the first holder");

  // The first one is stopped for too long, and somebody decides that it must be dead.
  std::thread([&] {
    lockfile::FileLock next(path, fenced);
    next.break_lock();
    next.acquire();
    pages.write(next.fence(), "by the next holder");
    next.release();
  }).join();

  bool refused = false;
  try {
    pages.write(slow.fence(), "by the first holder, too late");
  } catch (const lockfile::StaleFence& stale) {
    refused = stale.fence() < stale.newest();
    std::puts(stale.what());
  }
  std::string now;
  std::getline(std::ifstream(path), now);
  for (const char* left : {"", ".fence-seen", ".lock.fence"}) std::filesystem::remove(path + left);
  return refused && now == "by the next holder" ? 0 : 1;
}
