// Calls as steps.
#include "simulation/system.hpp"

#include "claim/names.hpp"
#include "schemes/shared_memory/layout.hpp"
#include "simulation/run.hpp"

#include <cerrno>
#include <cstring>
#include <sstream>

namespace lockfile::simulation {
namespace {

const char* shown(os::Open how) noexcept {
  switch (how) {
    case os::Open::look:
      return " to look";
    case os::Open::update:
      return " to write";
    case os::Open::create:
      return " anew";
    case os::Open::temporary:
      return " without a name";
    case os::Open::wake:
      return " to wake";
    case os::Open::directory:
      break;
  }
  return " as a directory";
}

// Whoever gives its claim that name may hold by it: W, in W, or a reader's entry in a group.
bool is_a_hold(std::string_view name) {
  return name == Run::word || name == "holder" || claim::parse_entry_name(name).has_value();
}

// `f.lock.<8 digits of the boot>.line`, and none that is only being made: that has a longer number.
bool is_a_line(std::string_view name) {
  constexpr std::size_t digits = 8;
  const std::size_t end = Run::word.size() + 1 + digits;
  return name.ends_with(claim::suffix::line) && name.size() > end && name[end] == '.';
}

}  // namespace

World& SimulatedSystem::world() const noexcept { return run_.world(); }

os::Status SimulatedSystem::step() noexcept { return run_.before_step(); }

template <class... Parts>
void SimulatedSystem::say(os::Status status, const Parts&... parts) const {
  if (!run_.tracing() || run_.over()) return;
  std::ostringstream text;
  (text << ... << parts);
  if (status != 0) text << ": " << ::strerrorname_np(status);
  run_.say(text.str());
}

std::string SimulatedSystem::shown(int descriptor) const {
  Description* const made = world().description(self_, descriptor);
  if (made == nullptr) return "descriptor " + std::to_string(descriptor) + " (closed)";
  if (made->kind != Description::Kind::file) return "descriptor " + std::to_string(descriptor);
  return "inode " + std::to_string(made->node->number);
}

// Every part of a path but the last is looked up in a step of its own, and so is the deed that follows.
os::Status SimulatedSystem::walk(int at, const char* path, Place& place) noexcept {
  if (run_.over()) return EIO;
  std::string_view left = path;
  if (at == os::no_directory) {
    place.directory = &world().root();
  } else {
    Description* const made = world().description(self_, at);
    if (made == nullptr || made->kind != Description::Kind::file) return EBADF;
    place.directory = made->node;
    if (made->node->type != os::FileType::directory) return ENOTDIR;
  }
  while (left.starts_with('/')) left.remove_prefix(1);
  for (auto slash = left.find('/'); slash != std::string_view::npos; slash = left.find('/')) {
    if (const os::Status error = step()) return error;
    const auto next = world().look_up_directory(self_, place.directory, left.substr(0, slash));
    say(next.error, "look up ", left.substr(0, slash));
    if (!next.ok()) return next.error;
    place.directory = next.value;
    left.remove_prefix(slash + 1);
  }
  place.name = left;
  return 0;
}

os::Result<int> SimulatedSystem::open(int at, const char* name, os::Open how, std::uint32_t mode) noexcept {
  Place place;
  if (const os::Status error = walk(at, name, place)) return {-1, error};
  if (const os::Status error = step()) return {-1, error};
  const auto opened = world().open(self_, place.directory, place.name, how, mode);
  say(opened.error, "open ", name, simulation::shown(how), opened.ok() ? ": " + shown(opened.value) : "");
  if (how == os::Open::update) run_.opens_for_removal();
  return opened;
}

void SimulatedSystem::close(int descriptor) noexcept {
  if (run_.over()) return;
  Description* const made = world().description(self_, descriptor);
  if (made == nullptr) return;
  // Nobody else can tell whether a descriptor is open that holds no lock, no event and no last name.
  const bool matters =
      made->kind == Description::Kind::file && made->references == 1 &&
      ((made->writable && (made->reads_fifo || made->node->type != os::FileType::fifo)) || made->node->links == 0 ||
       !made->node->locks.empty() || !made->node->flocks.empty() || world().kind().every_close_is_seen);
  if (matters && step() != 0) return;
  const std::string what = run_.tracing() && matters ? shown(descriptor) : std::string();
  if (world().close_begins(self_, descriptor)) {
    say(0, "close ", what, ": its event goes out");
    if (step() != 0) return;
    world().close_finally(self_, descriptor);
    say(0, "close ", what, ": its locks drop");
  } else if (matters) {
    say(0, "close ", what);
  }
}

os::Result<std::size_t> SimulatedSystem::read(int descriptor, std::span<char> into, std::uint64_t offset) noexcept {
  if (const os::Status error = step()) return {0, error};
  const auto got = world().read(self_, descriptor, into, offset);
  say(got.error, "read ", shown(descriptor), ": ", got.value, " bytes");
  Description* const made = world().description(self_, descriptor);
  if (got.ok() && made != nullptr && made->node != nullptr && made->node->mapped) run_.looked_at_word();
  return got;
}

os::Result<std::size_t> SimulatedSystem::write(int descriptor, std::string_view bytes, std::uint64_t offset) noexcept {
  if (const os::Status error = step()) return {0, error};
  const auto put = world().write(self_, descriptor, bytes, offset);
  say(put.error, "write ", shown(descriptor), ", ", bytes.size(), " bytes");
  return put;
}

os::Status SimulatedSystem::sync(int descriptor) noexcept {
  if (const os::Status error = step()) return error;
  const os::Status done = world().sync(self_, descriptor);
  say(done, "sync ", shown(descriptor));
  return done;
}

os::Result<os::FileInfo> SimulatedSystem::stat(int descriptor) noexcept {
  if (const os::Status error = step()) return {{}, error};
  const auto info = world().stat(self_, descriptor);
  say(info.error, "stat ", shown(descriptor), ": ", info.value.links, " links");
  return info;
}

os::Result<os::FileInfo> SimulatedSystem::stat_at(int at, const char* name, os::Links links) noexcept {
  Place place;
  if (const os::Status error = walk(at, name, place)) return {{}, error};
  if (const os::Status error = step()) return {{}, error};
  const auto info = world().stat_at(self_, place.directory, place.name, links);
  say(info.error, "stat ", name, ": inode ", info.value.inode);
  if (info.ok() && place.name == Run::word) run_.looked_at_word();
  if (info.ok() && is_a_line(place.name)) run_.looked_at_line(info.value.inode);
  return info;
}

os::Status SimulatedSystem::link(int from_at, const char* from, int to_at, const char* to) noexcept {
  Place source;
  Place target;
  if (const os::Status error = walk(from_at, from, source)) return error;
  if (const os::Status error = walk(to_at, to, target)) return error;
  if (const os::Status error = step()) return error;
  const os::Status done = world().link(self_, source.directory, source.name, target.directory, target.name);
  say(done, "link ", from, " as ", to);
  if (done == 0 && is_a_hold(target.name)) run_.oracle_published();
  if (done == 0 && target.name == Run::word) run_.oracle_word(true);
  if (done == 0 && target.name == Run::word) run_.word_made();
  return done;
}

os::Status SimulatedSystem::link_temporary(int descriptor, int at, const char* name) noexcept {
  Place place;
  if (const os::Status error = walk(at, name, place)) return error;
  if (const os::Status error = step()) return error;
  const os::Status done = world().link_temporary(self_, descriptor, place.directory, place.name);
  say(done, "name ", shown(descriptor), " ", name);
  return done;
}

os::Status SimulatedSystem::unlink(int at, const char* name) noexcept {
  Place place;
  if (const os::Status error = walk(at, name, place)) return error;
  if (const os::Status error = step()) return error;
  if (is_a_line(place.name)) {
    if (const Node* const node = world().peek("d", place.name)) run_.removes_line(node->number);
  }
  const os::Status done = world().unlink(self_, place.directory, place.name);
  say(done, "unlink ", name);
  if (done == 0 && place.name == Run::word) run_.oracle_word(false);
  return done;
}

os::Status SimulatedSystem::make_directory(int at, const char* name, std::uint32_t mode) noexcept {
  Place place;
  if (const os::Status error = walk(at, name, place)) return error;
  if (const os::Status error = step()) return error;
  const os::Status done = world().make_directory(self_, place.directory, place.name, mode);
  say(done, "mkdir ", name, (mode & os::sticky) != 0 ? " with the mark" : "");
  if (done == 0 && place.name == Run::word) run_.oracle_published();
  return done;
}

os::Status SimulatedSystem::remove_directory(int at, const char* name) noexcept {
  Place place;
  if (const os::Status error = walk(at, name, place)) return error;
  if (const os::Status error = step()) return error;
  const os::Status done = world().remove_directory(self_, place.directory, place.name);
  say(done, "rmdir ", name);
  return done;
}

os::Status SimulatedSystem::rename_as(int from_at, const char* from, int to_at, const char* to, bool replace) noexcept {
  Place source;
  Place target;
  if (const os::Status error = walk(from_at, from, source)) return error;
  if (const os::Status error = walk(to_at, to, target)) return error;
  if (const os::Status error = step()) return error;
  const os::Status done = world().rename(self_, source.directory, source.name, target.directory, target.name, replace);
  say(done, "rename ", from, " to ", to, replace ? "" : ", replacing nothing");
  if (done == 0 && is_a_hold(target.name)) run_.oracle_published();
  if (done == 0 && target.name == Run::word) run_.oracle_word(true);
  if (done == 0 && source.name == Run::word) run_.oracle_word(false);
  if (done == 0 && target.name == Run::word) run_.word_made();
  return done;
}

os::Status SimulatedSystem::rename(int from_at, const char* from, int to_at, const char* to) noexcept {
  return rename_as(from_at, from, to_at, to, true);
}

os::Status SimulatedSystem::rename_new(int from_at, const char* from, int to_at, const char* to) noexcept {
  return rename_as(from_at, from, to_at, to, false);
}

os::Status SimulatedSystem::make_symlink(const char* target, int at, const char* name) noexcept {
  Place place;
  if (const os::Status error = walk(at, name, place)) return error;
  if (const os::Status error = step()) return error;
  const os::Status done = world().make_symlink(self_, target, place.directory, place.name);
  say(done, "symlink ", name);
  return done;
}

os::Status SimulatedSystem::set_mode(int descriptor, std::uint32_t mode) noexcept {
  if (const os::Status error = step()) return error;
  const os::Status done = world().set_mode(self_, descriptor, mode);
  say(done, "chmod ", shown(descriptor));
  return done;
}

os::Result<std::vector<std::string>> SimulatedSystem::list(int directory) {
  if (const os::Status error = step()) return {{}, error};
  auto names = world().list(self_, directory);
  say(names.error, "list ", shown(directory), ": ", names.value.size(), " names");
  return names;
}

os::Result<os::FileSystem> SimulatedSystem::file_system(int) {
  if (run_.over()) return {{}, EIO};
  if (world().kind().network) return {{"nfs", false, !self_.host->locks_stay_here, world().kind().stale_for}, 0};
  return {{"ext4", true, true}, 0};
}

os::Status SimulatedSystem::try_lock(int descriptor, std::uint64_t byte) noexcept {
  if (const os::Status error = step()) return error;
  const os::Status done = world().try_lock(self_, descriptor, byte);
  say(done, "lock byte ", std::hex, byte >> 16U, ":", byte & 0xFFFFU, std::dec, " of ", shown(descriptor));
  return done;
}

os::Status SimulatedSystem::unlock(int descriptor, std::uint64_t first, std::uint64_t count) noexcept {
  if (const os::Status error = step()) return error;
  const os::Status done = world().unlock(self_, descriptor, first, count);
  say(done, "unlock byte ", std::hex, first >> 16U, ":", first & 0xFFFFU, std::dec, " of ", shown(descriptor));
  return done;
}

os::Result<bool> SimulatedSystem::lock_seen(int descriptor, std::uint64_t byte) noexcept {
  if (const os::Status error = step()) return {false, error};
  const auto seen = world().lock_seen(self_, descriptor, byte);
  say(seen.error, "is byte ", std::hex, byte >> 16U, ":", byte & 0xFFFFU, std::dec, " of ", shown(descriptor),
      " locked: ", seen.value ? "yes" : "no");
  return seen;
}

os::Status SimulatedSystem::try_lock_shared(int descriptor, std::uint64_t byte) noexcept {
  if (const os::Status error = step()) return error;
  const os::Status done = world().try_lock_shared(self_, descriptor, byte);
  say(done, "lock byte ", std::hex, byte >> 16U, ":", byte & 0xFFFFU, std::dec, " of ", shown(descriptor), ", shared");
  return done;
}

os::Status SimulatedSystem::flock(int descriptor, os::Flock how) noexcept {
  if (const os::Status error = step()) return error;
  const os::Status done = world().flock(self_, descriptor, how);
  say(done, "flock ", shown(descriptor),
      how == os::Flock::release  ? ": unlock"
      : how == os::Flock::shared ? ": shared"
                                 : ": exclusive");
  return done;
}

os::Status SimulatedSystem::touch(int descriptor) noexcept {
  if (const os::Status error = step()) return error;
  const os::Status done = world().touch_file(self_, descriptor);
  say(done, "touch ", shown(descriptor));
  return done;
}

os::Result<int> SimulatedSystem::duplicate(int descriptor) noexcept {
  if (run_.over()) return {-1, EIO};
  return world().duplicate(self_, descriptor);
}

os::Status SimulatedSystem::make_fifo(int at, const char* name, std::uint32_t mode) noexcept {
  Place place;
  if (const os::Status error = walk(at, name, place)) return error;
  if (const os::Status error = step()) return error;
  const os::Status done = world().make_fifo(self_, place.directory, place.name, mode);
  say(done, "mkfifo ", name);
  return done;
}

os::Status SimulatedSystem::fifo_put(int descriptor) noexcept {
  if (const os::Status error = step()) return error;
  const os::Status done = world().fifo_put(self_, descriptor);
  say(done, "token into ", shown(descriptor));
  return done;
}

os::Result<bool> SimulatedSystem::fifo_drain(int descriptor) noexcept {
  if (const os::Status error = step()) return {false, error};
  const auto got = world().fifo_drain(self_, descriptor);
  say(got.error, "drain ", shown(descriptor), got.value ? ": a token" : ": nothing");
  return got;
}

os::Result<os::SharedWord*> SimulatedSystem::map(int descriptor, std::size_t words) noexcept {
  if (const os::Status error = step()) return {nullptr, error};
  const auto mapped = world().map(self_, descriptor, words);
  say(mapped.error, "map ", shown(descriptor));
  return mapped;
}

// What is mapped stays as long as the world does; nobody else can tell.
void SimulatedSystem::unmap(os::SharedWord* /*mapped*/, std::size_t /*words*/) noexcept {}

std::uint64_t SimulatedSystem::load(const os::SharedWord& word) noexcept {
  if (step() != 0) return 0;
  const std::uint64_t value = world().load(word);
  say(0, "load ", world().name_of(word), ": ", value);
  return value;
}

void SimulatedSystem::store(os::SharedWord& word, std::uint64_t value) noexcept {
  if (step() != 0) return;
  world().store(word, value);
  shared_word_changed(word, 0, value);
  say(0, "store ", world().name_of(word), " = ", value);
}

bool SimulatedSystem::compare_exchange(os::SharedWord& word, std::uint64_t expected, std::uint64_t desired) noexcept {
  if (step() != 0) return false;
  const bool done = world().compare_exchange(word, expected, desired);
  if (done) shared_word_changed(word, expected, desired);
  if (done) run_.mapped_word_changed(word, expected, desired);
  say(0, "change ", world().name_of(word), " from ", expected, " to ", desired, done ? "" : ": it is another");
  return done;
}

// Has somebody become a holder by shared memory? By the lock word, or by a mark in a slot.
void SimulatedSystem::shared_word_changed(const os::SharedWord& word, std::uint64_t before,
                                          std::uint64_t after) noexcept {
  namespace shm = schemes::shared_memory;
  const auto number = world().number_in(world().peek("d", Run::word), word);
  if (!number) return;
  if (*number == shm::header::word) {
    const auto now = shm::LockWord::decode(after);
    if (now.state == shm::LockWord::decode(before).state) return;
    run_.oracle_renumbered();
    if (now.is_held()) run_.oracle_published();
  } else if (*number >= shm::header::words && (*number - shm::header::words) % shm::slot::words == shm::slot::mark) {
    if (!shm::Mark::decode(after).stands) return;
    run_.oracle_renumbered();
    run_.oracle_published();
  }
}

std::int64_t SimulatedSystem::thread_id() noexcept {
  const Participant* const one = run_.current();
  return self_.pid * 100 + (one != nullptr ? one->number : 99);
}

os::Result<int> SimulatedSystem::open_process(std::int64_t pid) noexcept {
  if (const os::Status error = step()) return {-1, error};
  const auto opened = world().open_process(self_, pid);
  say(opened.error, "open process ", pid);
  return opened;
}

os::Result<bool> SimulatedSystem::readable(int descriptor) noexcept {
  if (const os::Status error = step()) return {false, error};
  const auto ended = world().readable(self_, descriptor);
  say(ended.error, "has it ended: ", ended.value ? "yes" : "no");
  return ended;
}

bool SimulatedSystem::process_exists(std::int64_t pid) noexcept {
  if (step() != 0) return true;
  const bool exists = world().process_exists(self_, pid);
  say(0, "does process ", pid, " exist: ", exists ? "yes" : "no");
  return exists;
}

os::Result<std::uint64_t> SimulatedSystem::process_start(std::int64_t pid) noexcept {
  if (const os::Status error = step()) return {0, error};
  const auto start = world().process_start(self_, pid);
  say(start.error, "start time of process ", pid, ": ", start.value);
  return start;
}

std::uint64_t SimulatedSystem::random() noexcept { return world().random(self_); }

os::Result<int> SimulatedSystem::notify_open() noexcept {
  if (run_.over()) return {-1, EIO};
  return world().notify_open(self_);
}

os::Result<int> SimulatedSystem::notify_add(int notify, int descriptor, os::Notice what) noexcept {
  if (const os::Status error = step()) return {-1, error};
  const auto watch = world().notify_add(self_, notify, descriptor, what);
  say(watch.error, "watch ", shown(descriptor));
  return watch;
}

void SimulatedSystem::notify_remove(int notify, int watch) noexcept {
  if (step() != 0) return;
  world().notify_remove(self_, notify, watch);
  say(0, "unwatch ", watch);
}

os::Result<std::vector<os::Notification>> SimulatedSystem::notify_read(int notify) {
  if (const os::Status error = step()) return {{}, error};
  auto got = world().notify_read(self_, notify);
  say(got.error, "read ", got.value.size(), " events");
  return got;
}

os::Result<int> SimulatedSystem::event_open() noexcept {
  if (run_.over()) return {-1, EIO};
  return world().event_open(self_);
}

void SimulatedSystem::event_set(int event) noexcept {
  if (step() == 0) world().event_set(self_, event);
}

void SimulatedSystem::event_clear(int event) noexcept {
  if (step() == 0) world().event_clear(self_, event);
}

os::Status SimulatedSystem::wait(std::span<Waitable> on,
                                 std::optional<std::chrono::steady_clock::time_point> deadline) noexcept {
  if (deadline) *deadline += self_.host->asleep;
  return run_.wait(process_, on, deadline);
}

std::chrono::steady_clock::time_point SimulatedSystem::now() noexcept { return world().now() - self_.host->asleep; }
std::chrono::nanoseconds SimulatedSystem::since_boot() noexcept { return world().since_boot(*self_.host); }

void SimulatedSystem::lock(os::Mutex& mutex) noexcept { run_.lock(process_, mutex); }

void SimulatedSystem::unlock(os::Mutex& mutex) noexcept { run_.unlock(process_, mutex); }

void SimulatedSystem::fatal(std::string_view message) noexcept { run_.ended_by(message); }

}  // namespace lockfile::simulation
