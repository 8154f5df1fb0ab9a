// Making, mapping and removing lines.
#include "claim/line.hpp"

#include "claim/claim.hpp"
#include "claim/wake.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

namespace lockfile::claim {
namespace {

// The header's words.
constexpr std::size_t magic_word = 0;
constexpr std::size_t size_word = 1;  // of the whole file, in words
constexpr std::size_t state_word = 2;
// Even: in use; odd: retired. It only grows, so that whoever takes a removal over, from one that may have been killed
// in the middle, takes the right to give it up as well.
constexpr bool means_retired(std::uint64_t state) noexcept { return state % 2 != 0; }

constexpr std::size_t bytes_of_line = Line::words * sizeof(std::uint64_t);

// The same bytes on every machine, so that one of another byte order is not taken for damaged.
constexpr std::array<char, 8> line_magic = {'l', 'f', '-', 'l', 'i', 'n', 'e', '1'};
constexpr std::size_t magic_without_version = line_magic.size() - 1;

Queue::IsGone is_gone_in(const Directory& directory, const Names& names) {
  return [&](const SlotOwner& owner) { return can_be_woken(directory, names, owner) == Woken::gone; };
}

std::string empty_line() {
  std::string bytes(bytes_of_line, '\0');
  const std::uint64_t size = Line::words;
  std::memcpy(bytes.data() + magic_word * sizeof size, line_magic.data(), line_magic.size());
  std::memcpy(bytes.data() + size_word * sizeof size, &size, sizeof size);
  return bytes;
}

}  // namespace

Line::Line(Names names, std::string_view kind, Access access)
    : names_(std::move(names)), kind_(kind), access_(access) {}

void Line::close() noexcept {
  queue_.reset();
  if (mapped_ != nullptr) system().unmap(std::exchange(mapped_, nullptr), words);
}

bool Line::prepare(const std::shared_ptr<Directory>& directory) {
  if (directory == directory_) return refused_in_.lock() != directory;
  const std::string& boot = directory->process().identity().boot;
  // A mapping is one memory on one host only, and a line without a boot would outlive those who stand in it.
  if (!directory->local() || boot.empty() || refused_in_.lock() == directory) return false;
  close();
  directory_ = directory;
  name_ = names_.line(boot, kind_);
  return true;
}

bool Line::is_whole() const noexcept {
  const auto now = system().stat_at(directory_->descriptor(), name_.c_str(), os::Links::keep);
  // What cannot be looked at now counts as there: whoever stands in it could not leave it otherwise.
  if (!now.ok()) return os::cause_of(os::Call::stat_at, now.error) != os::Cause::missing;
  return now.value.same_inode(info_) && now.value.size == bytes_of_line;
}

bool Line::is_retired() const noexcept { return means_retired(system().load(mapped_[state_word])); }

Line::State Line::open(const std::shared_ptr<Directory>& directory, const std::string& name) {
  os::System& system = directory->system();
  const auto opened = system.open(directory->descriptor(), name.c_str(), os::Open::update, 0);
  if (opened.error == ENOENT) return State::absent;
  if (!opened.ok()) return State::refused;
  const os::File file(system, opened.value);
  const auto info = system.stat(file.get());
  if (!info.ok() || info.value.type != os::FileType::regular) return State::refused;
  info_ = info.value;
  std::array<char, line_magic.size()> start{};
  if (info.value.size >= start.size()) (void)system.read(file.get(), start, 0);
  const bool ours = std::memcmp(start.data(), line_magic.data(), magic_without_version) == 0;
  if (ours && start != line_magic) return State::newer;
  if (!ours || info.value.size != bytes_of_line) return State::damaged;
  const auto mapped = system.map(file.get(), words);
  if (!mapped.ok()) return State::refused;
  mapped_ = mapped.value;
  if (system.load(mapped_[size_word]) != words) {
    system.unmap(std::exchange(mapped_, nullptr), words);
    return State::damaged;  // by one who kept magic and size; not reached by tests
  }
  try {
    queue_.emplace(system, mapped_ + header_words);
  } catch (const std::bad_alloc&) {
    close();  // else what is mapped would be taken for a queue
    throw;
  }
  return State::usable;
}

Queue* Line::find(const std::shared_ptr<Directory>& directory) {
  if (!prepare(directory)) return nullptr;
  if (mapped_ != nullptr) {
    if (is_whole()) return &*queue_;
    close();
  }
  return open(directory_, name_) == State::usable ? &*queue_ : nullptr;
}

Queue* Line::find_or_make(const std::shared_ptr<Directory>& directory) {
  constexpr int tries = 5;  // each further one needs somebody to have made or removed it meanwhile
  for (int i = 0; i < tries; ++i) {
    if (!prepare(directory)) return nullptr;
    if (mapped_ != nullptr && !is_whole()) close();
    switch (mapped_ != nullptr ? State::usable : open(directory_, name_)) {
      case State::usable:
        if (!is_retired()) return &*queue_;
        // Its remover is at it, or died in the middle; or gives it up, since somebody came in.
        if (!retire_and_remove(is_gone_in(*directory_, names_))) return nullptr;  // not reached by tests: just come in
        close();
        break;
      case State::absent:
        if (const os::Status error = make(); error != 0 && error != EEXIST && error != ENOENT) {
          refused_in_ = directory_;
          return nullptr;
        }
        break;
      case State::damaged:
        (void)remove_if_it_is(info_);
        break;
      case State::newer:
      case State::refused:
        return nullptr;
    }
  }
  return nullptr;
}

os::Status Line::make() {
  const std::uint32_t wider = mode_for(access_, os::FileType::regular);
  const std::uint32_t mode = wider != 0 ? wider : 0666;
  const std::string bytes = empty_line();
  const auto opened = system().open(directory_->descriptor(), ".", os::Open::temporary, mode);
  if (!opened.ok()) {
    return os::cause_of(os::Call::open, opened.error) == os::Cause::unsupported ? make_named(mode, bytes)
                                                                                : opened.error;
  }
  const os::File file(system(), opened.value);
  const auto put = system().write(file.get(), bytes, 0);
  if (!put.ok()) return put.error;
  if (put.value != bytes.size()) return ENOSPC;
  if (wider != 0) (void)system().set_mode(file.get(), wider);
  return system().link_temporary(file.get(), directory_->descriptor(), name_.c_str());
}

// Where there are no unnamed files: complete under another name first.
os::Status Line::make_named(std::uint32_t mode, std::string_view bytes) {
  const int at = directory_->descriptor();
  const std::string nonce = make_nonce(directory_->process().identity().boot, system().random());
  const std::string unready = names_.side(nonce, suffix::line);
  const auto opened = system().open(at, unready.c_str(), os::Open::create, mode);
  if (!opened.ok()) return opened.error;
  const os::File file(system(), opened.value);
  const auto put = system().write(file.get(), bytes, 0);
  os::Status error = put.ok() && put.value != bytes.size() ? ENOSPC : put.error;
  if (const std::uint32_t wider = mode_for(access_, os::FileType::regular); wider != 0) {
    (void)system().set_mode(file.get(), wider);
  }
  if (error == 0) error = system().rename_new(at, unready.c_str(), at, name_.c_str());
  if (os::cause_of(os::Call::rename_new, error) == os::Cause::unsupported) {
    error = system().link(at, unready.c_str(), at, name_.c_str());
    (void)system().unlink(at, unready.c_str());
  } else if (error != 0) {
    (void)system().unlink(at, unready.c_str());
  }
  return error;
}

bool Line::stays() noexcept { return mapped_ != nullptr && !is_retired(); }

// The name may be another line's by the time of the removal, which asks nobody; it is so only if whoever looks stands
// still in between, for others can take the removal over:
//   A: retires, looks: its own line                                                 unlinks: the second line
//   B:                              finds it retired: unlinks it, makes a second one, stands in it
// B has lost its order, as in a line that was damaged, and finds that out at its next look (look_of_the_first). A lock
// around the removal would cost every wait three calls more, and leave everybody without a line while A stands still.
bool Line::remove_if_it_is(const os::FileInfo& info) noexcept {
  const int at = directory_->descriptor();
  const auto now = system().stat_at(at, name_.c_str(), os::Links::keep);
  if (now.error == ENOENT) return true;
  return now.ok() && now.value.same_inode(info) && system().unlink(at, name_.c_str()) == 0;
}

bool Line::retire_and_remove(const Queue::IsGone& is_gone) noexcept {
  const auto is_empty = [&] { return !queue_->anybody_but(is_gone); };
  if (!is_empty()) return false;
  const std::uint64_t before = system().load(mapped_[state_word]);
  const std::uint64_t mine = before + (means_retired(before) ? 2 : 1);
  if (!system().compare_exchange(mapped_[state_word], before, mine)) return false;
  if (is_empty() && remove_if_it_is(info_)) return true;
  (void)system().compare_exchange(mapped_[state_word], mine, mine + 1);
  return false;
}

void Line::leave() noexcept {
  if (mapped_ == nullptr || !directory_->process().is_caller()) return;
  if (is_whole()) (void)retire_and_remove(is_gone_in(*directory_, names_));
  close();
}

std::vector<Queue::Written> Line::read(const Directory& directory) const {
  os::System& system = directory.system();
  const std::string name = names_.line(directory.process().identity().boot, kind_);
  const auto opened = system.open(directory.descriptor(), name.c_str(), os::Open::look, 0);
  if (!opened.ok()) return {};
  const os::File file(system, opened.value);
  std::string bytes(bytes_of_line, '\0');
  const auto got = system.read(file.get(), bytes, 0);
  if (!got.ok() || got.value != bytes.size() ||
      !bytes.starts_with(std::string_view(line_magic.data(), line_magic.size()))) {
    return {};
  }
  return Queue::read(std::string_view(bytes).substr(header_words * sizeof(std::uint64_t)));
}

Line::Content Line::look(const std::shared_ptr<Directory>& directory, const Names& names, const std::string& name,
                         bool clean, bool& removed) {
  Line line(names, {}, Access::by_umask);
  line.directory_ = directory;
  line.name_ = name;
  removed = false;
  switch (line.open(directory, name)) {
    case State::usable:
      break;
    case State::damaged:
      if (clean) removed = line.remove_if_it_is(line.info_);
      return Content::unused;
    case State::newer:
      return Content::newer;
    case State::absent:
    case State::refused:
      return Content::unknown;
  }
  const Queue::IsGone is_gone = is_gone_in(*directory, names);
  if (line.queue_->anybody_but(is_gone)) return Content::used;
  if (clean) removed = line.retire_and_remove(is_gone);
  return Content::unused;
}

}  // namespace lockfile::claim
