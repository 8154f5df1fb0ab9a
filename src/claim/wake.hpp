// How one process of this host wakes another that waits: a FIFO beside the lock, `W.<nonce>.wake`, made when its owner
// first has to wait. The owner has it open for reading and writing, so it never sees an end of file and a waker that
// opens it never waits.
//
// It gets its name only when it is open: whoever finds a FIFO of that name without a reader knows that its owner has
// gone, and may remove it.
//
//   owner: mkfifo W.<nonce>.fifo, open, rename to W.<nonce>.wake
//   cleaner:                              open W.<nonce>.wake to write: ENXIO: nobody has it open; unlink
#pragma once

#include "claim/directory.hpp"
#include "claim/names.hpp"
#include "claim/queue.hpp"
#include "os/process.hpp"

#include <lockfile/options.hpp>
#include <lockfile/scheme.hpp>

#include <memory>
#include <string>

namespace lockfile::claim {

class WakeFifo {
 public:
  struct Made {
    std::unique_ptr<WakeFifo> fifo;  ///< null: failed
    os::Status error = 0;
  };
  [[nodiscard]] static Made make(std::shared_ptr<Directory> directory, const Names& names, Access access);

  WakeFifo(const WakeFifo&) = delete;
  WakeFifo& operator=(const WakeFifo&) = delete;
  /// Closes. `drop` removes the name too.
  ~WakeFifo() = default;

  /// Can it be found and read? A program that closes all its descriptors closes this one too.
  [[nodiscard]] bool is_usable() const noexcept;
  /// Takes all tokens.
  void drain() noexcept { (void)directory_->system().fifo_drain(file_.get()); }
  /// Fires while there is a token.
  [[nodiscard]] Watch watch() const { return Watch::readable(file_.get()); }

  /// What others find it by.
  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  [[nodiscard]] std::uint32_t uid() const noexcept { return info_.uid; }
  [[nodiscard]] const std::shared_ptr<Directory>& shared_directory() const noexcept { return directory_; }

  /// Removes it; in a forked child it is only closed.
  void drop() noexcept;
  void abandon() noexcept { file_.close(); }

 private:
  WakeFifo(std::shared_ptr<Directory> directory, std::uint64_t id, std::string name)
      : directory_(std::move(directory)), id_(id), name_(std::move(name)) {}

  std::shared_ptr<Directory> directory_;
  std::uint64_t id_;
  std::string name_;
  os::Unshared file_;
  os::FileInfo info_;
};

/// What became of a token.
enum class Woken : std::uint8_t {
  yes,
  gone,     ///< nobody can be woken by it any more
  refused,  ///< not ours to write to, or not what it should be
};
/// Puts a token into the FIFO of whoever has that slot. Never blocks, follows no link, writes to nobody else's file. A
/// FIFO that nobody reads any more takes it as well: `Woken::gone` only where there is none.
Woken wake(const Directory& directory, const Names& names, const SlotOwner& owner) noexcept;
/// Has its owner the FIFO open? `Woken::refused` too says that it may be there.
[[nodiscard]] Woken can_be_woken(const Directory& directory, const Names& names, const SlotOwner& owner) noexcept;

}  // namespace lockfile::claim
