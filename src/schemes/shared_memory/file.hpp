// The file of a shared-memory lock, open and mapped: its making, its validation, and who the participants in it are.
//
// Whatever stands in it may have been written by a stranger: no number in it is used as a place before it was compared
// with what is mapped, and no loop runs longer than the slots that are.
#pragma once

#include "claim/directory.hpp"
#include "claim/judge.hpp"
#include "claim/record.hpp"
#include "os/process.hpp"
#include "schemes/shared_memory/layout.hpp"

#include <lockfile/holder.hpp>
#include <lockfile/options.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace lockfile::schemes::shared_memory {

/// Why something was refused. `again`: it passes; look again a little later.
struct Refusal {
  std::error_code why;
  std::string what;
  bool again = false;

  [[nodiscard]] bool refused() const noexcept { return static_cast<bool>(why) || again; }
};

/// Who has a slot, as it says.
struct Occupant {
  bool there = false;
  std::uint64_t state = 0;
  claim::Record record;
  claim::Judgement judgement{Verdict::unknown, {}};
  claim::ProcessesSeen processes;
  bool processes_visible = false;
};

class File {
 public:
  enum class For : std::uint8_t {
    taking_part,  ///< makes the file where it is missing; maps it
    looking,      ///< changes nothing: a copy of what stands there now
  };
  struct Opened {
    std::shared_ptr<File> file;  ///< null: refused, or, for looking, not there
    Refusal refusal;
  };
  /// `room`: for the copy, so that not every look asks the system for memory.
  [[nodiscard]] static Opened open(std::shared_ptr<claim::Directory> directory, const std::string& name, Access access,
                                   For what, std::vector<std::uint64_t> room = {});
  /// Of the copy, which is gone then.
  [[nodiscard]] std::vector<std::uint64_t> take_room() noexcept { return std::move(copy_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File();

  // The words. `at` is less than `words_for(mapped())`.
  [[nodiscard]] std::uint64_t load(std::size_t at) const noexcept {
    return mapped_ != nullptr ? system().load(mapped_[at]) : copy_[at];
  }
  void store(std::size_t at, std::uint64_t value) noexcept { system().store(mapped_[at], value); }
  [[nodiscard]] bool change(std::size_t at, std::uint64_t expected, std::uint64_t desired) noexcept {
    return system().compare_exchange(mapped_[at], expected, desired);
  }
  [[nodiscard]] std::uint64_t mapped_slots() const noexcept { return mapped_slots_; }

  /// How many slots may be looked at: those that have ever been used. Maps more of the file where it has grown. Error:
  /// the file says what cannot be.
  [[nodiscard]] os::Result<std::uint64_t> used_slots();
  /// May another slot than that be marked? Not judged, and true where it cannot be told.
  [[nodiscard]] bool any_mark_but(std::uint64_t own) const noexcept;
  /// Room for one more slot.
  [[nodiscard]] Refusal enlarge();

  /// What slot `number` says now; not judged.
  [[nodiscard]] Occupant read_slot(std::uint64_t number) const;
  /// And what can be proved about it.
  void judge_slot(std::uint64_t number, Occupant& who, const claim::KnownProcesses* known) const;
  [[nodiscard]] Holder holder_from(const Occupant& who, Mode mode, std::uint64_t number) const;
  /// Writes who we are. Only with the slot's byte locked.
  void write_slot(std::uint64_t number, const claim::Record& record);

  /// Does the name still mean this file? It is never removed by us.
  [[nodiscard]] os::Result<bool> still_there() const noexcept { return directory_->refers_to(name_.c_str(), info_); }
  [[nodiscard]] bool descriptor_is_ours() const noexcept {
    return claim::is_descriptor_of(system(), file_.get(), info_);
  }
  /// Closes and forgets the descriptor without touching anything; the mapping stays until the end.
  void abandon() noexcept;

  [[nodiscard]] Refusal damaged(const std::string& how) const;
  [[nodiscard]] int descriptor() const noexcept { return file_.get(); }
  [[nodiscard]] claim::Directory& directory() const noexcept { return *directory_; }
  [[nodiscard]] os::System& system() const noexcept { return directory_->system(); }

 private:
  File(std::shared_ptr<claim::Directory> directory, std::string name)
      : directory_(std::move(directory)), name_(std::move(name)) {}
  [[nodiscard]] Refusal open_once(Access access, For what, bool& again);
  [[nodiscard]] Refusal make(Access access, bool& again);
  [[nodiscard]] os::Status fill(int descriptor, Access access) const;
  [[nodiscard]] os::Status make_named(Access access, std::uint32_t mode) const;
  [[nodiscard]] Refusal learn();
  [[nodiscard]] Refusal look_at_beginning();
  [[nodiscard]] Refusal take_copy();
  [[nodiscard]] Refusal map(std::uint64_t slots);
  [[nodiscard]] Refusal reset_if_of_another_boot();
  [[nodiscard]] Refusal failed(os::Status error, const std::string& deed) const;
  [[nodiscard]] std::uint64_t boot_mark() const noexcept;
  [[nodiscard]] std::string quoted() const { return "'" + name_ + "'"; }

  std::shared_ptr<claim::Directory> directory_;
  std::string name_;
  os::Unshared file_;
  os::FileInfo info_;
  os::SharedWord* mapped_ = nullptr;
  std::uint64_t mapped_slots_ = 0;
  std::vector<std::uint64_t> copy_;
};

}  // namespace lockfile::schemes::shared_memory
