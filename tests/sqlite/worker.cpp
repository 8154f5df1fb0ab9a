// A program that is going to be killed: sqlite_worker DATABASE LEDGER SEED. Holds and waits for a few names, in every
// way, for ever, and complains (exit status 3) when two are in at once or a fence is not larger than all before.
//
// The ledger is memory that all workers have mapped. For each name: the largest fence that a write came with (the
// receiver of protected writes: a write with a smaller one is refused), who is in, and what was counted.
#include "sqlite/ledger.hpp"

#include <lockfile/lockfile.hpp>
#include <lockfile/open.hpp>

#include <cstdlib>
#include <iostream>
#include <random>
#include <string>

namespace {

using namespace lockfile::testing;
using namespace std::chrono_literals;

[[noreturn]] void complain(const std::string& what) {
  std::cerr << "sqlite_worker: " << what << std::endl;
  std::_Exit(3);
}

void hold_exclusively(lockfile::Lock& lock, Ledger::Entry& entry, std::mt19937& random) {
  const std::uint64_t fence = lock.fence();
  // Whoever is in does not know of us; whoever is dead does not mind. So the last in writes, and looks again later.
  std::uint64_t before = entry.fence.load();
  if (before >= fence) complain("a write with fence " + std::to_string(fence) + " after " + std::to_string(before));
  if (!entry.fence.compare_exchange_strong(before, fence)) complain("two write at once");
  for (auto spin = random() % 2000; spin > 0; --spin) {
    if (entry.fence.load() != fence) complain("somebody was granted it while we held it");
  }
  ++entry.rounds;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 64;
  Ledger ledger(argv[2]);
  std::mt19937 random(static_cast<unsigned>(std::strtoul(argv[3], nullptr, 10)));
  std::array<std::unique_ptr<lockfile::Lock>, Ledger::names> locks;
  for (std::size_t i = 0; i < locks.size(); ++i) {
    locks.at(i) = lockfile::open("sqlite:" + std::string(argv[1]) + "#" + std::to_string(i));
  }
  std::cout << "ready" << std::endl;
  for (;;) {
    const std::size_t which = random() % locks.size();
    lockfile::Lock& lock = *locks.at(which);
    std::error_code ec;
    const auto kind = random() % 8;
    if (kind == 0) {
      (void)lock.acquire(lockfile::Mode::shared, std::chrono::microseconds(random() % 3000), ec);
    } else if (kind == 1) {
      (void)lock.acquire(0s, ec);
    } else {
      (void)lock.acquire(std::chrono::microseconds(random() % 5000), ec);
    }
    if (ec == lockfile::errc::timed_out || ec == lockfile::errc::already_locked) continue;
    if (ec) complain("cannot acquire: " + ec.message());
    if (kind != 0) hold_exclusively(lock, ledger.at(which), random);
    lock.release(ec);
    if (ec) complain("cannot release: " + ec.message());
  }
}
