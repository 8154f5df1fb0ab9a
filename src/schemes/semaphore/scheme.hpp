// A semaphore of N units, made of lock files: one for each unit, and one that is the right to be admitted.
//
// Whoever wants units first acquires the right, `a.lock`, and keeps it while it collects: any free ones of `a.1.lock`
// to `a.N.lock`, as many as it wants. What is missing it waits for with the right in its hand; with the last unit it
// lets the right go. So there is one collector at a time: two who collect cannot each wait for what the other has, and
// who wants many is not passed by those who want few, for they wait for the right.
//
//   A: right  1  2                 3: done, lets the right go
//   B:               waits for the right                       right  ...
//
// Every unit is a lock of its own, so the death of a holder frees just what it held. The right may be broken by force,
// or its holder judged dead, while it collects: it looks at every turn whether it still has it, and if not gives all
// back.
#pragma once

#include "schemes/file_path.hpp"
#include "schemes/lock_file/scheme.hpp"

#include <lockfile/options.hpp>
#include <lockfile/scheme.hpp>

#include <cstddef>
#include <memory>
#include <vector>

namespace lockfile::schemes {

class SemaphoreScheme final : public Scheme {
 public:
  /// `wanted` of `units`, in each attempt. Each is a lock of the scheme that `options` name, which there is.
  SemaphoreScheme(const FilePath& path, std::size_t units, std::size_t wanted, const Options& options);

  /// Not reached by tests: it stands in no record, and no message is about it.
  [[nodiscard]] std::string_view name() const noexcept override { return "semaphore"; }
  [[nodiscard]] Traits traits() const noexcept override;
  [[nodiscard]] std::unique_ptr<Attempt> attempt(const Request& request) override;
  /// Of the units, each.
  [[nodiscard]] std::vector<Holder> holders(std::error_code& why) override;
  std::error_code break_hold(const Holder& hold, Proof proof) noexcept override;
  void abandon() noexcept override;

 private:
  friend class SemaphoreAttempt;

  std::unique_ptr<Scheme> right_;
  std::vector<std::unique_ptr<Scheme>> units_;
  std::size_t wanted_;
};

}  // namespace lockfile::schemes
