// The deeds of the simulated kernel.
#include "simulation/world.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>

namespace lockfile::simulation {
namespace {

enum Thing : std::uint64_t {
  a_name = 1,
  a_listing,
  content,
  meta,
  byte_locks,
  watchers,
  a_queue,
  a_process,
  clock,
  numbers,
  memory,
  a_token,
  a_mapped_word,
  a_reader,
  flocks
};

// What inotify(7) reports.
enum Events : unsigned {
  attrib = 1,
  delete_self = 2,
  move_self = 4,
  close_write = 8,
  modify = 16,
  create = 32,
  removed = 64,
  moved = 128,
  close_nowrite = 256,
};

unsigned mask_of(os::Notice what) noexcept {
  switch (what) {
    case os::Notice::file:
      return attrib | delete_self | move_self | close_write | modify;
    case os::Notice::lock:
      return attrib | delete_self | move_self | close_write | close_nowrite;
    case os::Notice::word:
    case os::Notice::contents:
      break;
  }
  return attrib | delete_self | move_self | create | removed | moved;
}

std::uint64_t mix(std::uint64_t value) noexcept {
  value += 0x9E37'79B9'7F4A'7C15U;
  value = (value ^ (value >> 30U)) * 0xBF58'476D'1CE4'E5B9U;
  value = (value ^ (value >> 27U)) * 0x94D0'49BB'1331'11EBU;
  return value ^ (value >> 31U);
}

constexpr int most_descriptors = 1024;

}  // namespace

bool disturb(const Footprint& one, const Footprint& other) noexcept {
  return std::any_of(one.begin(), one.end(), [&](const Touch& mine) {
    return std::any_of(other.begin(), other.end(), [&](const Touch& yours) {
      return mine.what == yours.what && (mine.how == Touch::How::change || mine.how != yours.how);
    });
  });
}

World::World(const FileSystemKind& kind) : kind_(kind) { root_ = &new_node(os::FileType::directory, 0755); }

void World::touch(std::uint64_t kind, std::uint64_t id, Touch::How how) {
  const std::uint64_t what = mix(kind * 0x1'0000'0000U + id);
  for (Touch& each : touched_) {
    if (each.what != what) continue;
    if (each.how != how) each.how = Touch::How::change;
    return;
  }
  touched_.push_back({what, how});
}

void World::touch_name(const Node& directory, std::string_view name, Touch::How how) {
  touch(a_name, mix(directory.id) ^ std::hash<std::string_view>{}(name), how);
  if (how == Touch::How::change) touch(a_listing, directory.id, Touch::How::add);
}

Host& World::add_host(std::string name) {
  Host& host = hosts_.emplace_back();
  host.id = next_id_++;
  host.name = std::move(name);
  host.boot = "boot-1-of-" + host.name;
  host.boots = 1;
  return host;
}

Process& World::add_process(Host& host, std::string name, std::uint64_t space, std::int64_t pid) {
  Process& process = processes_.emplace_back();
  process.name = std::move(name);
  process.host = &host;
  process.space = space;
  process.pid = pid != 0 ? pid : next_pid_++;
  process.start = 1000 + processes_.size();
  process.id = next_id_++;
  return process;
}

Node& World::new_node(os::FileType type, std::uint32_t mode) {
  Node& node = nodes_.emplace_back();
  node.id = next_id_++;
  node.type = type;
  node.mode = mode;
  touch(numbers, 0, Touch::How::change);
  if (free_numbers_.empty()) {
    node.number = next_number_++;
  } else {
    node.number = free_numbers_.back();
    free_numbers_.pop_back();
  }
  return node;
}

void World::free_if_unused(Node& node) {
  if (node.links > 0 || node.opened > 0 || node.freed || node.mapped) return;  // a mapping keeps it
  notice(node, delete_self);
  for (const Watcher& each : node.watchers) tell(each);  // IN_IGNORED
  touch(watchers, node.id, Touch::How::change);
  node.watchers.clear();
  node.freed = true;
  touch(numbers, 0, Touch::How::change);
  free_numbers_.push_back(node.number);
}

void World::notice(Node& node, unsigned events) {
  touch(watchers, node.id, Touch::How::look);
  for (const Watcher& each : node.watchers) {
    if ((mask_of(each.what) & events) != 0) tell(each);
  }
}

void World::tell(const Watcher& watcher) {
  if (kind_.network && watcher.queue->host != acting_) return;
  touch(a_queue, watcher.queue->id, Touch::How::add);
  watcher.queue->notices.push_back(watcher.number);
}

void World::enter(Node& directory, std::string_view name, Node& node) {
  touch_name(directory, name, Touch::How::change);
  directory.entries.emplace(name, &node);
  ++node.links;
  touch(meta, node.id, Touch::How::add);
}

void World::leave(Node& directory, std::string_view name, Node& node) {
  touch_name(directory, name, Touch::How::change);
  directory.entries.erase(directory.entries.find(name));
  --node.links;
  touch(meta, node.id, Touch::How::add);
}

Node* World::find(Process& by, Node& directory, std::string_view name, bool fresh) {
  if (name == ".") return &directory;
  const auto entry = directory.entries.find(name);
  Node* const now = entry == directory.entries.end() ? nullptr : entry->second;
  if (!kind_.network) {
    touch_name(directory, name, Touch::How::look);
    return now;
  }
  auto& remembered = by.host->remembered;
  const std::pair<std::uint64_t, std::string> key(directory.id, name);
  touch(memory, mix(by.host->id) ^ mix(directory.id) ^ std::hash<std::string_view>{}(name), Touch::How::change);
  const auto before = remembered.find(key);
  if (!fresh && before != remembered.end() && (before->second == nullptr || !before->second->freed)) {
    return before->second;
  }
  touch_name(directory, name, Touch::How::look);
  remembered[key] = now;
  return now;
}

Description* World::description(Process& by, int number) {
  const auto found = by.descriptors.find(number);
  return found == by.descriptors.end() ? nullptr : found->second;
}

Description& World::new_description(Process& by, Description::Kind kind, int& number) {
  number = 3;
  while (by.descriptors.contains(number)) ++number;
  Description& made = descriptions_.emplace_back();
  made.kind = kind;
  made.references = 1;
  made.id = next_id_++;
  made.host = by.host;
  by.descriptors[number] = &made;
  return made;
}

os::FileInfo World::info_of(const Node& node) {
  os::FileInfo info;
  info.device = 1;
  info.inode = node.number;
  info.links = node.links;
  info.type = node.type;
  info.mode = node.mode;
  info.size = node.bytes.size();
  return info;
}

os::Result<Node*> World::look_up_directory(Process& by, Node* at, std::string_view name) {
  Node* const node = find(by, *at, name, false);
  if (node == nullptr) return {nullptr, ENOENT};
  if (node->type == os::FileType::directory) return {node, 0};
  return {nullptr, node->type == os::FileType::symlink ? ELOOP : ENOTDIR};
}

os::Result<int> World::open(Process& by, Node* at, std::string_view name, os::Open how, std::uint32_t mode) {
  if (static_cast<int>(by.descriptors.size()) >= most_descriptors) return {-1, EMFILE};
  Node* node = nullptr;
  if (how == os::Open::temporary) {
    if (!kind_.unnamed_files) return {-1, EOPNOTSUPP};
    node = &new_node(os::FileType::regular, mode & 0777U);
  } else {
    node = find(by, *at, name, true);
    if (how == os::Open::create) {
      if (node != nullptr) return {-1, EEXIST};
      if (at->freed || (at != root_ && at->links == 0)) return {-1, ENOENT};
      node = &new_node(os::FileType::regular, mode & 0777U);
      enter(*at, name, *node);
      notice(*at, create);
      if (kind_.network) by.host->remembered[{at->id, std::string(name)}] = node;
    } else if (node == nullptr) {
      return {-1, ENOENT};
    } else if (node->type == os::FileType::symlink) {
      return {-1, ELOOP};
    } else if (how == os::Open::directory && node->type != os::FileType::directory) {
      return {-1, ENOTDIR};
    } else if (how == os::Open::update && node->type == os::FileType::directory) {
      return {-1, EISDIR};
    } else if (how == os::Open::wake) {
      if (node->type == os::FileType::directory) return {-1, EISDIR};
      if (node->type == os::FileType::fifo) {
        touch(a_reader, node->id, Touch::How::look);
        if (node->readers == 0) return {-1, ENXIO};
      }
    }
  }
  int number = -1;
  Description& made = new_description(by, Description::Kind::file, number);
  made.node = node;
  made.writable = how != os::Open::look && how != os::Open::directory;
  if (node->type == os::FileType::fifo && how != os::Open::wake) {
    touch(a_reader, node->id, Touch::How::change);
    made.reads_fifo = true;
    ++node->readers;
  }
  ++node->opened;
  return {number, 0};
}

void World::drop_locks(Node& node, const Description& by) {
  std::erase_if(node.locks, [&](const ByteLock& each) {
    if (each.by != &by) return false;
    for (std::uint64_t block = each.first >> 16U; block <= (each.end - 1) >> 16U; ++block) {
      touch(byte_locks, mix(node.id) ^ block, Touch::How::change);
    }
    return true;
  });
}

// What its last close is reported as; 0: nothing that anybody watches for.
unsigned World::closing(const Description& made) noexcept {
  if (made.kind != Description::Kind::file || made.node->type != os::FileType::regular) return 0;
  return made.writable ? close_write : close_nowrite;
}

void World::drop(Description& made) {
  if (made.kind == Description::Kind::file) {
    Node& node = *made.node;
    drop_locks(node, made);
    if (std::erase_if(node.flocks, [&](const FlockLock& each) { return each.by == &made; }) > 0) {
      touch(flocks, node.id, Touch::How::change);
    }
    --node.opened;
    if (made.reads_fifo) {
      touch(a_reader, node.id, Touch::How::change);
      --node.readers;
    }
    if (node.silly.first != nullptr && node.opened == 0) {
      auto [directory, name] = node.silly;
      node.silly = {};
      leave(*directory, name, node);
      notice(*directory, removed);
    }
    free_if_unused(node);
  } else if (made.kind == Description::Kind::queue) {
    for (Node& node : nodes_) {
      const auto gone = std::erase_if(node.watchers, [&](const Watcher& each) { return each.queue == made.queue; });
      if (gone > 0) touch(watchers, node.id, Touch::How::change);
    }
  }
}

bool World::close_begins(Process& by, int number) {
  Description* const made = description(by, number);
  if (made == nullptr) return false;
  if (made->references == 1 && made->kind == Description::Kind::file) {
    const auto& locks = made->node->locks;
    const auto& flocks = made->node->flocks;
    const bool locked =
        std::any_of(locks.begin(), locks.end(), [&](const ByteLock& each) { return each.by == made; }) ||
        std::any_of(flocks.begin(), flocks.end(), [&](const FlockLock& each) { return each.by == made; });
    const unsigned event = closing(*made);
    if (event == close_write || (event != 0 && (locked || kind_.every_close_is_seen))) notice(*made->node, event);
    if (locked && !made->node->watchers.empty()) return true;
  }
  close_finally(by, number);
  return false;
}

void World::close_finally(Process& by, int number) {
  Description* const made = description(by, number);
  if (made == nullptr) return;
  by.descriptors.erase(number);
  if (--made->references == 0) drop(*made);
}

// The bytes of a file that somebody has mapped are those of the words.
std::size_t World::read_mapped(const Node& node, std::span<char> into, std::uint64_t offset) {
  std::size_t got = 0;
  for (; got < into.size() && offset + got < node.bytes.size(); ++got) {
    const std::size_t at = static_cast<std::size_t>(offset) + got;
    const std::size_t number = at / sizeof(std::uint64_t);
    if (at % sizeof(std::uint64_t) == 0) touch(a_mapped_word, mix(node.id) ^ number, Touch::How::look);
    const std::uint64_t value = node.mapped[number].load();
    std::array<char, sizeof value> bytes{};
    std::memcpy(bytes.data(), &value, sizeof value);
    into[got] = bytes[at % sizeof value];
  }
  return got;
}

// Whole words: the library writes nothing else into a file that is mapped.
os::Result<std::size_t> World::write_mapped(Node& node, std::string_view bytes, std::uint64_t offset) {
  constexpr std::size_t size = sizeof(std::uint64_t);
  if (offset % size != 0 || bytes.size() % size != 0 || offset + bytes.size() > node.mapped_room() * size)
    return {0, EIO};
  for (std::size_t at = 0; at < bytes.size(); at += size) {
    const std::size_t number = (static_cast<std::size_t>(offset) + at) / size;
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data() + at, size);
    touch(a_mapped_word, mix(node.id) ^ number, Touch::How::change);
    node.mapped[number].store(value);
  }
  const std::size_t end = static_cast<std::size_t>(offset) + bytes.size();
  if (end > node.bytes.size()) {
    node.bytes.resize(end);
    touch(meta, node.id, Touch::How::change);
  }
  return {bytes.size(), 0};
}

os::Result<std::size_t> World::read(Process& by, int descriptor, std::span<char> into, std::uint64_t offset) {
  Description* const made = description(by, descriptor);
  if (made == nullptr || made->kind != Description::Kind::file) return {0, EBADF};
  Node& node = *made->node;
  if (node.type == os::FileType::directory) return {0, EISDIR};
  touch(content, node.id, Touch::How::look);
  if (node.mapped) return {read_mapped(node, into, offset), 0};
  const std::string& bytes = bytes_for(*by.host, node);
  if (offset >= bytes.size()) return {0, 0};
  return {bytes.copy(into.data(), into.size(), offset), 0};
}

const std::string& World::bytes_for(const Host& reader, Node& node) {
  if (kind_.stale_for.count() == 0 || node.writer == &reader) return node.bytes;
  auto [at, is_new] = node.cached.try_emplace(&reader, now_, node.bytes);
  if (!is_new && now() >= at->second.first + kind_.stale_for) at->second = {now_, node.bytes};
  return at->second.second;
}

os::Result<std::size_t> World::write(Process& by, int descriptor, std::string_view bytes, std::uint64_t offset) {
  Description* const made = description(by, descriptor);
  if (made == nullptr || made->kind != Description::Kind::file || !made->writable) return {0, EBADF};
  Node& node = *made->node;
  touch(content, node.id, Touch::How::change);
  if (node.mapped) return write_mapped(node, bytes, offset);
  if (node.bytes.size() < offset + bytes.size()) {
    node.bytes.resize(offset + bytes.size());
    touch(meta, node.id, Touch::How::change);  // its size: the line and a sweep ask for it
  }
  node.bytes.replace(offset, bytes.size(), bytes);
  node.writer = by.host;
  notice(node, modify);
  return {bytes.size(), 0};
}

os::Status World::sync(Process& by, int descriptor) {
  Description* const made = description(by, descriptor);
  if (made == nullptr || made->kind != Description::Kind::file) return EBADF;
  touch(content, made->node->id, Touch::How::change);
  made->node->synced = made->node->bytes;
  if (kind_.forgets_names && made->node->type == os::FileType::directory) {
    touch(a_listing, made->node->id, Touch::How::look);
    made->node->synced_entries = made->node->entries;
  }
  return 0;
}

os::Result<os::FileInfo> World::stat(Process& by, int descriptor) {
  Description* const made = description(by, descriptor);
  if (made == nullptr) return {{}, EBADF};
  if (made->kind != Description::Kind::file) return {{}, 0};
  touch(meta, made->node->id, Touch::How::look);
  return {info_of(*made->node), 0};
}

os::Result<os::FileInfo> World::stat_at(Process& by, Node* at, std::string_view name, os::Links) {
  const Node* const node = find(by, *at, name, false);
  if (node == nullptr) return {{}, ENOENT};
  touch(meta, node->id, Touch::How::look);
  return {info_of(*node), 0};
}

// Runs a deed that changes names; where its reply is lost, the client's retry runs it again and gets that answer.
template <class Deed>
os::Status World::answered(Process& by, Deed deed) {
  const os::Status first = deed();
  if (!by.lose_next_reply || first != 0) return first;
  by.lose_next_reply = false;
  return deed();
}

os::Status World::link(Process& by, Node* from_at, std::string_view from, Node* to_at, std::string_view to) {
  if (!kind_.hard_links) return EPERM;
  // A client that remembers the name does not ask.
  if (kind_.network && find(by, *to_at, to, false) != nullptr) return EEXIST;
  return answered(by, [&]() -> os::Status {
    Node* const node = find(by, *from_at, from, true);
    if (node == nullptr) return ENOENT;
    if (node->type == os::FileType::directory) return EPERM;
    if (find(by, *to_at, to, true) != nullptr) return EEXIST;
    touch(meta, to_at->id, Touch::How::look);
    if (to_at != root_ && to_at->links == 0) return ENOENT;
    enter(*to_at, to, *node);
    if (kind_.network) by.host->remembered[{to_at->id, std::string(to)}] = node;
    notice(*node, attrib);
    notice(*to_at, create);
    return 0;
  });
}

os::Status World::link_temporary(Process& by, int descriptor, Node* at, std::string_view name) {
  Description* const made = description(by, descriptor);
  if (made == nullptr || made->kind != Description::Kind::file) return EBADF;
  if (find(by, *at, name, true) != nullptr) return EEXIST;
  if (at != root_ && at->links == 0) return ENOENT;
  enter(*at, name, *made->node);
  if (kind_.network) by.host->remembered[{at->id, std::string(name)}] = made->node;
  notice(*at, create);
  return 0;
}

os::Status World::unlink(Process& by, Node* at, std::string_view name) {
  return answered(by, [&]() -> os::Status {
    Node* const node = find(by, *at, name, true);
    if (node == nullptr) return ENOENT;
    if (node->type == os::FileType::directory) return EISDIR;
    leave(*at, name, *node);
    if (kind_.network) by.host->remembered[{at->id, std::string(name)}] = nullptr;
    notice(*at, removed);
    const bool open_here = std::any_of(descriptions_.begin(), descriptions_.end(), [&](const Description& each) {
      return each.references > 0 && each.node == node && each.host == by.host;
    });
    if (kind_.network && node->links == 0 && open_here) {
      // The client renames what it has open instead of removing it.
      node->silly = {at, ".nfs" + std::to_string(node->id)};
      enter(*at, node->silly.second, *node);
    }
    notice(*node, attrib);
    free_if_unused(*node);
    return 0;
  });
}

os::Status World::make_directory(Process& by, Node* at, std::string_view name, std::uint32_t mode) {
  return answered(by, [&]() -> os::Status {
    if (find(by, *at, name, true) != nullptr) return EEXIST;
    if (at != root_ && at->links == 0) return ENOENT;
    Node& node = new_node(os::FileType::directory, mode);
    enter(*at, name, node);
    if (kind_.network) by.host->remembered[{at->id, std::string(name)}] = &node;
    notice(*at, create);
    return 0;
  });
}

os::Status World::remove_directory(Process& by, Node* at, std::string_view name) {
  return answered(by, [&]() -> os::Status {
    Node* const node = find(by, *at, name, true);
    if (node == nullptr) return ENOENT;
    if (node->type != os::FileType::directory) return ENOTDIR;
    touch(a_listing, node->id, Touch::How::look);
    if (!node->entries.empty()) return ENOTEMPTY;
    leave(*at, name, *node);
    if (kind_.network) by.host->remembered[{at->id, std::string(name)}] = nullptr;
    notice(*at, removed);
    // No event on the directory itself while anybody has it open.
    free_if_unused(*node);
    return 0;
  });
}

os::Status World::rename(Process& by, Node* from_at, std::string_view from, Node* to_at, std::string_view to,
                         bool replace) {
  if (!replace && !kind_.rename_new) return EINVAL;
  return answered(by, [&]() -> os::Status {
    Node* const node = find(by, *from_at, from, true);
    if (node == nullptr) return ENOENT;
    Node* const there = find(by, *to_at, to, true);
    if (there != nullptr && !replace) return EEXIST;
    touch(meta, to_at->id, Touch::How::look);
    if (to_at != root_ && to_at->links == 0) return ENOENT;
    if (there == node) return 0;
    if (there != nullptr) {
      const bool directory = node->type == os::FileType::directory;
      if (there->type == os::FileType::directory) {
        touch(a_listing, there->id, Touch::How::look);
        if (!directory) return EISDIR;
        if (!there->entries.empty()) return ENOTEMPTY;
      } else if (directory) {
        return ENOTDIR;
      }
      leave(*to_at, to, *there);
    }
    leave(*from_at, from, *node);
    enter(*to_at, to, *node);
    if (kind_.network) {
      by.host->remembered[{from_at->id, std::string(from)}] = nullptr;
      by.host->remembered[{to_at->id, std::string(to)}] = node;
    }
    notice(*from_at, moved);
    if (to_at != from_at) notice(*to_at, moved);
    notice(*node, move_self);
    if (there != nullptr) {
      if (there->type != os::FileType::directory) notice(*there, attrib);
      free_if_unused(*there);
    }
    return 0;
  });
}

os::Status World::make_symlink(Process& by, std::string_view target, Node* at, std::string_view name) {
  if (find(by, *at, name, true) != nullptr) return EEXIST;
  Node& node = new_node(os::FileType::symlink, 0777);
  node.target = target;
  enter(*at, name, node);
  notice(*at, create);
  return 0;
}

os::Status World::set_mode(Process& by, int descriptor, std::uint32_t mode) {
  Description* const made = description(by, descriptor);
  if (made == nullptr || made->kind != Description::Kind::file) return EBADF;
  made->node->mode = mode;
  touch(meta, made->node->id, Touch::How::change);
  notice(*made->node, attrib);
  return 0;
}

os::Result<std::vector<std::string>> World::list(Process& by, int descriptor) {
  Description* const made = description(by, descriptor);
  if (made == nullptr || made->kind != Description::Kind::file) return {{}, EBADF};
  if (made->node->type != os::FileType::directory) return {{}, ENOTDIR};
  touch(a_listing, made->node->id, Touch::How::look);
  os::Result<std::vector<std::string>> names;
  for (const auto& [name, node] : made->node->entries) names.value.push_back(name);
  return names;
}

bool World::overlaps(const ByteLock& lock, Process& by, std::uint64_t first, std::uint64_t end) const {
  const bool seen = lock.seen_on == by.host || (lock.seen_on == nullptr && !by.host->locks_stay_here);
  return seen && lock.first < end && first < lock.end;
}

os::Status World::try_lock(Process& by, int descriptor, std::uint64_t byte) {
  return lock_as(by, descriptor, byte, false);
}

os::Status World::try_lock_shared(Process& by, int descriptor, std::uint64_t byte) {
  return lock_as(by, descriptor, byte, true);
}

os::Status World::lock_as(Process& by, int descriptor, std::uint64_t byte, bool shared) {
  if (!kind_.byte_locks) return ENOLCK;
  Description* const made = description(by, descriptor);
  if (made == nullptr || made->kind != Description::Kind::file || (!made->writable && !shared)) return EBADF;
  Node& node = *made->node;
  const bool taken = std::any_of(node.locks.begin(), node.locks.end(), [&](const ByteLock& each) {
    return each.by != made && !(shared && each.shared) && overlaps(each, by, byte, byte + 1);
  });
  touch(byte_locks, mix(node.id) ^ (byte >> 16U), taken ? Touch::How::look : Touch::How::change);
  if (taken) return EAGAIN;
  const auto mine = std::find_if(node.locks.begin(), node.locks.end(), [&](const ByteLock& each) {
    return each.by == made && each.first <= byte && byte < each.end;
  });
  // Only single bytes are ever shared, so a lock of several bytes need not be cut to change its mode.
  if (mine != node.locks.end()) {
    mine->shared = shared;
  } else {
    node.locks.push_back({byte, byte + 1, made, by.host->locks_stay_here ? by.host : nullptr, shared});
  }
  return 0;
}

os::Status World::flock(Process& by, int descriptor, os::Flock how) {
  Description* const made = description(by, descriptor);
  if (made == nullptr || made->kind != Description::Kind::file) return EBADF;
  Node& node = *made->node;
  const bool shared = how == os::Flock::shared;
  const bool taken = how != os::Flock::release &&
                     std::any_of(node.flocks.begin(), node.flocks.end(),
                                 [&](const FlockLock& each) { return each.by != made && !(shared && each.shared); });
  // A conversion gives the old lock up first, and a refused one has lost it (flock(2)).
  const bool had = std::erase_if(node.flocks, [&](const FlockLock& each) { return each.by == made; }) > 0;
  touch(flocks, node.id, taken && !had ? Touch::How::look : Touch::How::change);
  if (taken) return EAGAIN;
  if (how != os::Flock::release) node.flocks.push_back({made, shared});
  return 0;
}

os::Status World::touch_file(Process& by, int descriptor) {
  Description* const made = description(by, descriptor);
  if (made == nullptr || made->kind != Description::Kind::file) return EBADF;
  if (!made->writable) return EACCES;
  notice(*made->node, attrib);
  return 0;
}

os::Status World::unlock(Process& by, int descriptor, std::uint64_t first, std::uint64_t count) {
  if (!kind_.byte_locks) return ENOLCK;
  Description* const made = description(by, descriptor);
  if (made == nullptr || made->kind != Description::Kind::file) return EBADF;
  Node& node = *made->node;
  const std::uint64_t end = first + count;
  for (std::uint64_t block = first >> 16U; block <= (end - 1) >> 16U; ++block) {
    touch(byte_locks, mix(node.id) ^ block, Touch::How::change);
  }
  std::vector<ByteLock> kept;
  for (const ByteLock& each : node.locks) {
    if (each.by != made || each.end <= first || end <= each.first) {
      kept.push_back(each);
      continue;
    }
    if (each.first < first) kept.push_back({each.first, first, made, each.seen_on, each.shared});
    if (end < each.end) kept.push_back({end, each.end, made, each.seen_on, each.shared});
  }
  node.locks = std::move(kept);
  return 0;
}

os::Result<bool> World::lock_seen(Process& by, int descriptor, std::uint64_t byte) {
  if (!kind_.byte_locks) return {false, ENOLCK};
  Description* const made = description(by, descriptor);
  if (made == nullptr || made->kind != Description::Kind::file) return {false, EBADF};
  touch(byte_locks, mix(made->node->id) ^ (byte >> 16U), Touch::How::look);
  const auto& locks = made->node->locks;
  return {std::any_of(locks.begin(), locks.end(),
                      [&](const ByteLock& each) { return each.by != made && overlaps(each, by, byte, byte + 1); }),
          0};
}

os::Result<int> World::duplicate(Process& by, int descriptor) {
  Description* const made = description(by, descriptor);
  if (made == nullptr) return {-1, EBADF};
  int number = 3;
  while (by.descriptors.contains(number)) ++number;
  by.descriptors[number] = made;
  ++made->references;
  return {number, 0};
}

Process* World::process_seen(Process& by, std::int64_t pid) {
  Process* found = nullptr;
  for (Process& each : processes_) {
    if (each.host == by.host && each.space == by.space && each.pid == pid && each.state != Process::State::reaped) {
      found = &each;
    }
  }
  touch(a_process, mix(by.space) ^ static_cast<std::uint64_t>(pid), Touch::How::look);
  return found;
}

os::Result<int> World::open_process(Process& by, std::int64_t pid) {
  Process* const seen = process_seen(by, pid);
  if (seen == nullptr) return {-1, ESRCH};
  int number = -1;
  new_description(by, Description::Kind::process, number).process = seen;
  return {number, 0};
}

os::Result<bool> World::readable(Process& by, int descriptor) {
  const Description* const made = description(by, descriptor);
  if (made == nullptr) return {false, EBADF};
  if (made->kind == Description::Kind::process) {
    touch(a_process, mix(made->process->space) ^ static_cast<std::uint64_t>(made->process->pid), Touch::How::look);
  } else if (made->kind == Description::Kind::queue) {
    touch(a_queue, made->queue->id, Touch::How::look);
  } else if (made->node->type == os::FileType::fifo) {
    touch(a_token, made->node->id, Touch::How::look);
  }
  return {would_fire(by, descriptor), 0};
}

bool World::would_fire(Process& by, int descriptor) {
  const Description* const made = description(by, descriptor);
  if (made == nullptr) return true;  // POLLNVAL
  switch (made->kind) {
    case Description::Kind::process:
      return made->process->state == Process::State::zombie || made->process->state == Process::State::reaped;
    case Description::Kind::queue:
      return made->queue->set || !made->queue->notices.empty();
    case Description::Kind::file:
      break;
  }
  return made->node->type != os::FileType::fifo || made->node->token;
}

os::Status World::make_fifo(Process& by, Node* at, std::string_view name, std::uint32_t mode) {
  if (!kind_.lines) return EPERM;
  if (find(by, *at, name, true) != nullptr) return EEXIST;
  if (at != root_ && at->links == 0) return ENOENT;
  Node& node = new_node(os::FileType::fifo, mode);
  enter(*at, name, node);
  notice(*at, create);
  return 0;
}

os::Status World::fifo_put(Process& by, int descriptor) {
  Description* const made = description(by, descriptor);
  if (made == nullptr || made->kind != Description::Kind::file || made->node->type != os::FileType::fifo) return EBADF;
  touch(a_token, made->node->id, Touch::How::change);
  made->node->token = true;
  return 0;
}

os::Result<bool> World::fifo_drain(Process& by, int descriptor) {
  Description* const made = description(by, descriptor);
  if (made == nullptr || made->kind != Description::Kind::file || made->node->type != os::FileType::fifo) {
    return {false, EBADF};
  }
  touch(a_token, made->node->id, Touch::How::change);
  return {std::exchange(made->node->token, false), 0};
}

os::Result<os::SharedWord*> World::map(Process& by, int descriptor, std::size_t words) {
  Description* const made = description(by, descriptor);
  if (made == nullptr || made->kind != Description::Kind::file || !made->writable) return {nullptr, EBADF};
  Node& node = *made->node;
  if (words * sizeof(std::uint64_t) > node.bytes.size()) return {nullptr, EFAULT};  // the kernel would end its reader
  if (!node.mapped) {
    touch(content, node.id, Touch::How::change);
    node.mapped_words = words;
    node.mapped = std::make_unique<os::SharedWord[]>(node.mapped_room());
    for (std::size_t i = 0; i < node.mapped_room() && (i + 1) * sizeof(std::uint64_t) <= node.bytes.size(); ++i) {
      std::uint64_t value = 0;
      std::memcpy(&value, node.bytes.data() + i * sizeof value, sizeof value);
      node.mapped[i] = value;
    }
  }
  return {node.mapped.get(), 0};
}

std::pair<Node*, std::size_t> World::mapped_at(const os::SharedWord& word) const {
  for (const Node& node : nodes_) {
    const os::SharedWord* const first = node.mapped.get();
    if (first == nullptr || std::less<>{}(&word, first) || !std::less<>{}(&word, first + node.mapped_room())) continue;
    return {const_cast<Node*>(&node), static_cast<std::size_t>(&word - first)};
  }
  return {nullptr, 0};
}

void World::touch_word(const os::SharedWord& word, Touch::How how) {
  const auto [node, number] = mapped_at(word);
  if (node == nullptr) return;
  touch(a_mapped_word, mix(node->id) ^ number, how);
  // Whoever reads the bytes of the file reads this too.
  if (how != Touch::How::look) touch(content, node->id, Touch::How::add);
}

std::optional<std::size_t> World::number_in(const Node* node, const os::SharedWord& word) const {
  const auto [found, number] = mapped_at(word);
  if (node == nullptr || found != node) return std::nullopt;
  return number;
}

std::optional<std::size_t> World::word_of_file(const os::SharedWord& word, std::size_t words) const {
  const auto [node, number] = mapped_at(word);
  if (node == nullptr || node->mapped_words != words) return std::nullopt;
  return number;
}

bool World::has_name(const os::SharedWord& word) const {
  const auto [node, number] = mapped_at(word);
  return node != nullptr && node->links > 0;
}

std::string World::name_of(const os::SharedWord& word) const {
  const auto [node, number] = mapped_at(word);
  return "word " + std::to_string(number) + " of inode " + std::to_string(node != nullptr ? node->number : 0);
}

std::uint64_t World::load(const os::SharedWord& word) {
  touch_word(word, Touch::How::look);
  return word.load();
}

void World::store(os::SharedWord& word, std::uint64_t value) {
  touch_word(word, Touch::How::change);
  word.store(value);
}

bool World::compare_exchange(os::SharedWord& word, std::uint64_t expected, std::uint64_t desired) {
  const bool done = word.load() == expected;
  touch_word(word, done && expected != desired ? Touch::How::change : Touch::How::look);
  if (done) word.store(desired);
  return done;
}

bool World::process_exists(Process& by, std::int64_t pid) { return process_seen(by, pid) != nullptr; }

os::Result<std::uint64_t> World::process_start(Process& by, std::int64_t pid) {
  const Process* const seen = process_seen(by, pid);
  if (seen == nullptr) return {0, ENOENT};
  return {seen->start, 0};
}

std::uint64_t World::random(Process& by) { return mix(by.id * 1'000'003 + ++by.drawn); }

os::Result<int> World::notify_open(Process& by) {
  if (!kind_.notices) return {-1, EMFILE};
  return event_open(by);
}

os::Result<int> World::event_open(Process& by) {
  int number = -1;
  Description& made = new_description(by, Description::Kind::queue, number);
  made.queue = &queues_.emplace_back();
  made.queue->id = next_id_++;
  made.queue->host = by.host;
  return {number, 0};
}

os::Result<int> World::notify_add(Process& by, int notify, int descriptor, os::Notice what) {
  Description* const on = description(by, notify);
  Description* const made = description(by, descriptor);
  if (on == nullptr || on->kind != Description::Kind::queue) return {-1, EBADF};
  if (made == nullptr || made->kind != Description::Kind::file) return {-1, ENOENT};
  touch(watchers, made->node->id, Touch::How::change);
  for (const Watcher& each : made->node->watchers) {
    if (each.queue == on->queue && each.what == what) return {each.number, 0};
  }
  const int number = on->queue->next_watch++;
  made->node->watchers.push_back({on->queue, number, what});
  return {number, 0};
}

void World::notify_remove(Process& by, int notify, int watch) {
  Description* const on = description(by, notify);
  if (on == nullptr || on->kind != Description::Kind::queue) return;
  for (Node& node : nodes_) {
    const auto gone = std::erase_if(
        node.watchers, [&](const Watcher& each) { return each.queue == on->queue && each.number == watch; });
    if (gone == 0) continue;
    touch(watchers, node.id, Touch::How::change);
    touch(a_queue, on->queue->id, Touch::How::add);
    on->queue->notices.push_back(watch);  // IN_IGNORED
  }
}

os::Result<std::vector<os::Notification>> World::notify_read(Process& by, int notify) {
  Description* const on = description(by, notify);
  if (on == nullptr || on->kind != Description::Kind::queue) return {{}, EBADF};
  touch(a_queue, on->queue->id, Touch::How::change);
  os::Result<std::vector<os::Notification>> got;
  for (const int watch : on->queue->notices) got.value.push_back({watch, false});
  on->queue->notices.clear();
  return got;
}

void World::event_set(Process& by, int event) {
  Description* const on = description(by, event);
  if (on == nullptr || on->kind != Description::Kind::queue) return;
  touch(a_queue, on->queue->id, Touch::How::add);
  on->queue->set = true;
}

void World::event_clear(Process& by, int event) {
  Description* const on = description(by, event);
  if (on == nullptr || on->kind != Description::Kind::queue) return;
  touch(a_queue, on->queue->id, Touch::How::change);
  on->queue->set = false;
}

std::chrono::steady_clock::time_point World::now() {
  touch(clock, 0, Touch::How::look);
  return now_;
}

std::chrono::nanoseconds World::since_boot(const Host& host) {
  touch(clock, 0, Touch::How::look);
  return peek_since_boot(host);
}

// No host was booted when another was.
std::chrono::nanoseconds World::peek_since_boot(const Host& host) const noexcept {
  const auto passed = now_.time_since_epoch() - std::chrono::hours(1);
  return std::chrono::hours(static_cast<std::int64_t>(host.id) + 1) + passed + passed / 1'000'000 * host.drift_ppm;
}

void World::advance_to(std::chrono::steady_clock::time_point when) {
  touch(clock, 0, Touch::How::change);
  now_ = std::max(now_, when);
  // A client believes its memory for some seconds at most.
  if (kind_.network) forget_remembered();
}

void World::forget_remembered() {
  for (Host& each : hosts_) each.remembered.clear();
}

void World::die_begins(Process& process) {
  process.state = Process::State::exiting;
  for (const auto& [number, made] : process.descriptors) {
    if (made->references != 1 || made->kind != Description::Kind::file) continue;
    const unsigned event = closing(*made);
    if (event == close_write || (event != 0 && kind_.every_close_is_seen)) notice(*made->node, event);
  }
}

void World::die_closes(Process& process) { close_all(process); }

void World::close_all(Process& process) {
  while (!process.descriptors.empty()) close_finally(process, process.descriptors.begin()->first);
}

void World::die_ends(Process& process) {
  process.state = Process::State::zombie;
  touch(a_process, mix(process.space) ^ static_cast<std::uint64_t>(process.pid), Touch::How::change);
}

Process& World::reuse_pid(Process& dead) {
  dead.state = Process::State::reaped;
  touch(a_process, mix(dead.space) ^ static_cast<std::uint64_t>(dead.pid), Touch::How::change);
  return add_process(*dead.host, "a stranger with the pid of " + dead.name, dead.space, dead.pid);
}

Process& World::fork(Process& parent) {
  Process& child = add_process(*parent.host, "child of " + parent.name, parent.space);
  child.descriptors = parent.descriptors;
  for (const auto& [number, made] : child.descriptors) {
    ++made->references;
    if (made->kind == Description::Kind::file) touch(meta, made->node->id, Touch::How::add);
  }
  return child;
}

void World::forget_names(Node& directory) {
  const auto names = directory.entries;
  for (const auto& [name, node] : names) {
    const auto synced = directory.synced_entries.find(name);
    if (synced != directory.synced_entries.end() && synced->second == node) continue;
    leave(directory, name, *node);
    if (node->links == 0) {
      // A directory that is not on the disk has nothing in it.
      const auto inside = node->entries;
      for (const auto& [inner, child] : inside) {
        leave(*node, inner, *child);
        free_if_unused(*child);
      }
    }
    free_if_unused(*node);
  }
  std::map<const Node*, Node*> back;  // several names may have been one file's
  for (auto& [name, node] : directory.synced_entries) {
    if (directory.entries.contains(name)) continue;
    if (node->freed && !back.contains(node)) {
      Node& again = new_node(node->type, node->mode);
      again.bytes = node->synced;
      again.synced = node->synced;
      back[node] = &again;
    }
    if (node->freed) node = back[node];
    enter(directory, name, *node);
  }
}

void World::power_cut(Host& host) {
  for (Process& each : processes_) {
    if (each.host != &host || each.state == Process::State::reaped) continue;
    close_all(each);
    die_ends(each);
    each.state = Process::State::reaped;
  }
  for (Node& node : nodes_) {
    if (node.writer != &host || node.bytes == node.synced) continue;
    touch(content, node.id, Touch::How::change);
    node.bytes = node.synced;
  }
  if (kind_.forgets_names) {
    const std::size_t all = nodes_.size();  // what is made meanwhile is as the disk has it
    for (std::size_t i = 0; i < all; ++i) {
      Node& each = nodes_[i];
      if (each.type == os::FileType::directory && &each != root_ && each.links > 0) forget_names(each);
    }
  }
  host.remembered.clear();
  host.boot = "boot-" + std::to_string(++host.boots) + "-of-" + host.name;
}

void World::drop_locks_of(Host& host) {
  for (Node& node : nodes_) {
    for (const Description& each : descriptions_) {
      if (each.host == &host && each.node == &node) drop_locks(node, each);
    }
  }
}

Node* World::peek(std::string_view directory, std::string_view name) const {
  const auto at = root_->entries.find(directory);
  if (at == root_->entries.end()) return nullptr;
  const auto found = at->second->entries.find(name);
  return found == at->second->entries.end() ? nullptr : found->second;
}

std::vector<std::string> World::peek_list(std::string_view directory) const {
  std::vector<std::string> names;
  const auto at = root_->entries.find(directory);
  if (at == root_->entries.end()) return names;
  for (const auto& [name, node] : at->second->entries) names.push_back(name);
  return names;
}

}  // namespace lockfile::simulation
