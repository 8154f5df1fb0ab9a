// Memory that several processes have mapped: what protected writes came with.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace lockfile::testing {

class Ledger {
 public:
  static constexpr std::size_t names = 3;
  struct Entry {
    std::atomic<std::uint64_t> fence;   ///< the largest so far
    std::atomic<std::uint64_t> rounds;  ///< exclusive holds that were written under
  };

  explicit Ledger(const std::string& path) {
    const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0 || ::ftruncate(file, size) != 0) throw std::runtime_error("no ledger");
    void* const mapped = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    ::close(file);
    if (mapped == MAP_FAILED) throw std::runtime_error("no ledger");
    entries_ = static_cast<Entry*>(mapped);
  }
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;
  ~Ledger() { ::munmap(entries_, size); }

  [[nodiscard]] Entry& at(std::size_t which) { return entries_[which]; }

 private:
  static constexpr std::size_t size = 4096;
  Entry* entries_ = nullptr;
};

}  // namespace lockfile::testing
