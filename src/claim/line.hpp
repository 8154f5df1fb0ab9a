// The line of a lock: a file beside it, `W.<boot>.line`, in which the processes of this host that wait for it stand in
// the order in which they came. Made by whoever first has to wait, gone with the last who waited. It excludes nobody:
// who holds is told by the lock alone, so a line that is lost, damaged or not to be had costs order and nothing else.
//
// The file is a header of one page and a queue (claim/queue.hpp), and is mapped. It keeps its size for ever, and every
// block of it is written when it is made: a page that the file has lost, or that the disk has no room for, would end
// whoever touches it (SIGBUS). So everybody looks at the size before each use. Nobody cuts a line short but by mistake.
// The look is by name and no descriptor stays open: the mapping keeps the inode, so its number is not given out again.
//
// The last one to leave removes it. That nobody comes in meanwhile is seen to by the header's word `state`:
//
//   leaver: nobody has a slot   state = retired   nobody still: unlink
//   comer:                                                        takes a slot   state: retired: leaves, makes another
//
// Either the comer sees `retired`, or the leaver sees the comer's slot and takes its word back. A leaver that is killed
// there leaves a retired line: the next one takes the removal over.
#pragma once

#include "claim/directory.hpp"
#include "claim/names.hpp"
#include "claim/queue.hpp"

#include <lockfile/options.hpp>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lockfile::claim {

class Line {
 public:
  /// `kind`: which of the locks on one path it is the line of; empty: the lock files. Touches nothing.
  Line(Names names, std::string_view kind, Access access);
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;
  /// Unmaps.
  ~Line() { close(); }

  /// The line that stands in that directory, mapped; null: there is none, or none that can be used.
  [[nodiscard]] Queue* find(const std::shared_ptr<Directory>& directory);
  /// Makes it where there is none.
  [[nodiscard]] Queue* find_or_make(const std::shared_ptr<Directory>& directory);
  /// Was it found unretired, after the caller had taken a slot? Then it stays while the slot is taken.
  [[nodiscard]] bool stays() noexcept;
  /// Can there be one at all, as far as is known?
  [[nodiscard]] bool can_be_in(const std::shared_ptr<Directory>& directory) { return prepare(directory); }
  /// The queue that is mapped, if it still is whole; no other one is looked for.
  [[nodiscard]] Queue* mapped_in(const Directory& directory) noexcept {
    return mapped_ != nullptr && directory_.get() == &directory && is_whole() ? &*queue_ : nullptr;
  }
  /// Removes it if nobody has a slot in it.
  void leave() noexcept;
  /// In a forked child.
  void abandon() noexcept { close(); }

  [[nodiscard]] const Names& names() const noexcept { return names_; }

  /// Who stands in the line, in order. Reads only, and maps nothing.
  [[nodiscard]] std::vector<Queue::Written> read(const Directory& directory) const;

  /// For the sweep: what is in a file of that name?
  enum class Content : std::uint8_t {
    used,     ///< somebody who can be woken has a slot in it
    unused,   ///< nobody has, or it is damaged
    newer,    ///< of another version: not to be judged
    unknown,  ///< it cannot be looked at
  };
  /// Looks, and removes what is unused if `clean`.
  [[nodiscard]] static Content look(const std::shared_ptr<Directory>& directory, const Names& names,
                                    const std::string& name, bool clean, bool& removed);

  static constexpr std::size_t header_words = 512;
  static constexpr std::size_t words = header_words + Queue::words;

 private:
  enum class State : std::uint8_t { usable, absent, damaged, newer, refused };

  /// Where lines can be in that directory: `name_` is this boot's.
  [[nodiscard]] bool prepare(const std::shared_ptr<Directory>& directory);
  [[nodiscard]] State open(const std::shared_ptr<Directory>& directory, const std::string& name);
  [[nodiscard]] os::Status make();
  [[nodiscard]] os::Status make_named(std::uint32_t mode, std::string_view bytes);
  [[nodiscard]] bool is_whole() const noexcept;
  [[nodiscard]] bool is_retired() const noexcept;
  /// False: somebody came in.
  bool retire_and_remove(const Queue::IsGone& is_gone) noexcept;
  bool remove_if_it_is(const os::FileInfo& info) noexcept;
  void close() noexcept;
  [[nodiscard]] os::System& system() const noexcept { return directory_->system(); }

  Names names_;
  std::string kind_;
  Access access_;
  std::shared_ptr<Directory> directory_;  // where `name_` is
  std::string name_;
  os::FileInfo info_;  // of the mapped one, or of one that is damaged
  os::SharedWord* mapped_ = nullptr;
  std::optional<Queue> queue_;
  std::weak_ptr<Directory> refused_in_;  // a directory that can have no lines: not tried again
};

}  // namespace lockfile::claim
