// Making FIFOs and putting tokens in.
#include "claim/wake.hpp"

#include "claim/claim.hpp"

#include <cerrno>
#include <new>
#include <utility>

namespace lockfile::claim {
namespace {

std::string name_for(const Directory& directory, const Names& names, std::uint64_t id, std::string_view suffix) {
  return names.side(make_nonce(directory.process().identity().boot, id), suffix);
}

// Open as `how` says, if it is what it should be.
Woken open_to_wake(const Directory& directory, const Names& names, const SlotOwner& owner, os::Open how,
                   os::File& into) noexcept {
  try {
    os::System& system = directory.system();
    const std::string name = name_for(directory, names, owner.id, suffix::wake);
    const auto opened = system.open(directory.descriptor(), name.c_str(), how, 0);
    if (opened.error == ENXIO || opened.error == ENOENT) return Woken::gone;
    if (!opened.ok()) return Woken::refused;
    into = os::File(system, opened.value);
    // Its owner says in its slot whose it is: another user's FIFO under that name belongs to another program. That
    // there is one under a random name, or that it cannot be opened, is not reached by tests.
    const auto info = system.stat(into.get());
    const bool it_is = info.ok() && info.value.type == os::FileType::fifo && info.value.uid == owner.uid;
    return it_is ? Woken::yes : Woken::refused;
  } catch (const std::bad_alloc&) {
    return Woken::refused;  // not reached by tests: memory that is missing to whoever wakes others
  }
}

}  // namespace

WakeFifo::Made WakeFifo::make(std::shared_ptr<Directory> directory, const Names& names, Access access) {
  os::System& system = directory->system();
  const int at = directory->descriptor();
  Made made;
  constexpr int tries = 3;
  for (int i = 0; i < tries; ++i) {
    const std::uint64_t id = system.random();
    if (id == 0) continue;
    const std::string unready = name_for(*directory, names, id, suffix::fifo);
    // All that needs memory comes first.
    std::unique_ptr<WakeFifo> fifo(new WakeFifo(directory, id, name_for(*directory, names, id, suffix::wake)));
    const std::uint32_t wider = mode_for(access, os::FileType::regular);
    made.error = system.make_fifo(at, unready.c_str(), wider != 0 ? wider : 0666);
    if (made.error != 0) return made;
    const auto opened = system.open(at, unready.c_str(), os::Open::update, 0);
    made.error = opened.error;
    if (!opened.ok()) {
      (void)system.unlink(at, unready.c_str());
      if (opened.error == ENOENT) continue;  // a cleaner took it for left over
      return made;
    }
    fifo->file_.open(directory->process(), opened.value);
    if (wider != 0) (void)system.set_mode(opened.value, wider);  // the umask has narrowed it
    const auto info = system.stat(opened.value);
    made.error = info.error;
    if (info.ok()) made.error = system.rename(at, unready.c_str(), at, fifo->name_.c_str());
    if (made.error == 0) {
      fifo->info_ = info.value;
      made.fifo = std::move(fifo);
      return made;
    }
    (void)system.unlink(at, unready.c_str());
    if (made.error != ENOENT) return made;
  }
  return made;
}

bool WakeFifo::is_usable() const noexcept {
  if (file_.get() < 0) return false;
  const auto now = directory_->system().stat(file_.get());
  // What cannot be looked at now counts as there. Were it gone, the slow look would still wake us.
  if (!now.ok()) return now.error != EBADF;
  return now.value.same_inode(info_) && now.value.links > 0;
}

void WakeFifo::drop() noexcept {
  if (!directory_->process().is_caller()) return abandon();
  // What cannot be removed now is removed by doctor: nobody has it open any more.
  (void)directory_->system().unlink(directory_->descriptor(), name_.c_str());
  if (is_descriptor_of(directory_->system(), file_.get(), info_)) {
    file_.close();
  } else {
    file_.forget();
  }
}

Woken wake(const Directory& directory, const Names& names, const SlotOwner& owner) noexcept {
  os::File into;
  // To read as well: a reader that dies before the token is in must not raise SIGPIPE in us.
  const Woken can = open_to_wake(directory, names, owner, os::Open::update, into);
  if (can != Woken::yes) return can;
  return directory.system().fifo_put(into.get()) == 0 ? Woken::yes : Woken::gone;
}

Woken can_be_woken(const Directory& directory, const Names& names, const SlotOwner& owner) noexcept {
  os::File ignored;
  return open_to_wake(directory, names, owner, os::Open::wake, ignored);
}

}  // namespace lockfile::claim
