// What processes share beside locks: mapped files, and FIFOs to wake each other.
#include "os/posix.hpp"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>

namespace lockfile::os {

Status RealSystem::make_fifo(int at, const char* name, std::uint32_t mode) noexcept {
  return status(::mkfifoat(at, name, mode));
}

// Neither end blocks, so that no signal interrupts: EINTR, of this and the next one, is not reached by tests.
Status RealSystem::fifo_put(int descriptor) noexcept {
  const char token = 1;
  ssize_t put = -1;
  do {
    put = ::write(descriptor, &token, 1);
  } while (put < 0 && errno == EINTR);
  return put < 0 && errno != EAGAIN ? errno : 0;
}

Result<bool> RealSystem::fifo_drain(int descriptor) noexcept {
  bool something = false;
  std::array<char, 4096> tokens{};
  for (;;) {
    const ssize_t got = ::read(descriptor, tokens.data(), tokens.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno != EAGAIN) return {something, errno};
    if (got <= 0) return {something, 0};
    something = true;
    if (static_cast<std::size_t>(got) < tokens.size()) return {something, 0};
  }
}

Result<SharedWord*> RealSystem::map(int descriptor, std::size_t words) noexcept {
  void* const mapped = ::mmap(nullptr, words * sizeof(SharedWord), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (mapped == MAP_FAILED) return {nullptr, errno};
  // The bytes of the file are the words: an atomic number that is always lock-free is nothing else in memory.
  return {static_cast<SharedWord*>(mapped), 0};
}

void RealSystem::unmap(SharedWord* mapped, std::size_t words) noexcept {
  ::munmap(static_cast<void*>(mapped), words * sizeof(SharedWord));
}

std::uint64_t RealSystem::load(const SharedWord& word) noexcept { return word.load(std::memory_order_seq_cst); }

void RealSystem::store(SharedWord& word, std::uint64_t value) noexcept { word.store(value, std::memory_order_seq_cst); }

bool RealSystem::compare_exchange(SharedWord& word, std::uint64_t expected, std::uint64_t desired) noexcept {
  return word.compare_exchange_strong(expected, desired, std::memory_order_seq_cst);
}

}  // namespace lockfile::os
