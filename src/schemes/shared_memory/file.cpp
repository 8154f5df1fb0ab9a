// Making, opening, validating and resetting the file; reading and writing slots.
#include "schemes/shared_memory/file.hpp"

#include "claim/claim.hpp"
#include "claim/names.hpp"
#include "claim/record_file.hpp"

#include <lockfile/error.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

namespace lockfile::schemes::shared_memory {
namespace {

std::uint64_t hash_of(std::string_view text) noexcept {  // FNV-1a, 64 bits
  std::uint64_t hash = 14695981039346656037ULL;
  for (const char byte : text) hash = (hash ^ static_cast<unsigned char>(byte)) * 1099511628211ULL;
  return hash;
}

std::string bytes_of(std::span<const std::uint64_t> words) {
  std::string bytes(words.size() * sizeof(std::uint64_t), '\0');
  std::memcpy(bytes.data(), words.data(), bytes.size());
  return bytes;
}

std::uint64_t word_of(std::string_view bytes, std::size_t at) noexcept {
  std::array<char, sizeof(std::uint64_t)> raw{};
  bytes.substr(std::min(at, bytes.size())).copy(raw.data(), raw.size());
  std::uint64_t word = 0;
  std::memcpy(&word, raw.data(), raw.size());
  return word;
}

std::uint64_t number_from_hex(std::string_view text) noexcept {
  std::uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number, 16);
  return number;
}

constexpr std::size_t high_digits = claim::nonce_length - 16;

std::string nonce_from(std::uint64_t high, std::uint64_t low) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text(claim::nonce_length, '0');
  for (std::size_t i = 0; i < 16; ++i) text[claim::nonce_length - 1 - i] = digits[(low >> (4 * i)) & 15U];
  for (std::size_t i = 0; i < high_digits; ++i) text[high_digits - 1 - i] = digits[(high >> (4 * i)) & 15U];
  return text;
}

// A file that is somebody else's: which one's, for the message.
Refusal refusal_of_content(const std::string& quoted, std::string_view bytes) {
  const auto another = [&](std::string_view scheme) {
    return Refusal{std::make_error_code(std::errc::operation_not_supported),
                   quoted + " is a lock of scheme '" + claim::printable(scheme) + "', not 'shm'"};
  };
  if (const std::string scheme = claim::scheme_of(bytes); !scheme.empty()) return another(scheme);
  return {std::make_error_code(std::errc::operation_not_supported),
          quoted + " is no lock of scheme 'shm': another program's file"};
}

}  // namespace

File::~File() {
  if (mapped_ != nullptr) system().unmap(mapped_, words_for(mapped_slots_));
  abandon();
}

void File::abandon() noexcept {
  if (file_.get() >= 0 && directory_->process().is_caller() && !descriptor_is_ours()) file_.forget();
  file_.close();
}

Refusal File::failed(os::Status error, const std::string& deed) const {
  return {os::code_of(error), "cannot " + deed + " " + quoted()};
}

Refusal File::damaged(const std::string& how) const {
  return {std::make_error_code(std::errc::bad_message), quoted() + " is damaged: " + how};
}

std::uint64_t File::boot_mark() const noexcept {
  const std::string& boot = directory_->process().identity().boot;
  return boot.empty() ? 0 : hash_of(boot) | 1U;
}

File::Opened File::open(std::shared_ptr<claim::Directory> directory, const std::string& name, Access access, For what,
                        std::vector<std::uint64_t> room) {
  Opened opened;
  std::shared_ptr<File> file(new File(std::move(directory), name));
  file->copy_ = std::move(room);
  const claim::Directory& in = *file->directory_;
  if (!in.local()) {
    opened.refusal = {std::make_error_code(std::errc::operation_not_supported),
                      file->quoted() + " is on a file system of type " + claim::printable(in.file_system().name) +
                          ", whose memory other hosts may not share"};
    return opened;
  }
  if (file->boot_mark() == 0) {
    opened.refusal = {std::make_error_code(std::errc::operation_not_supported), "the boot id is not known"};
    return opened;
  }
  constexpr int tries = 16;  // each further one needs somebody who makes or removes the file meanwhile
  for (int i = 0; i < tries; ++i) {
    bool again = false;
    opened.refusal = file->open_once(access, what, again);
    const bool passes = os::cause_of(os::Call::open, opened.refusal.why.value()) == os::Cause::transient;
    if (again || (opened.refusal.why.category() == std::generic_category() && passes)) continue;
    if (!opened.refusal.refused() && file->file_.get() >= 0) opened.file = std::move(file);
    return opened;
  }
  opened.refusal.again = !opened.refusal.why;
  return opened;
}

Refusal File::open_once(Access access, For what, bool& again) {
  file_.close();
  const os::Open how = what == For::looking ? os::Open::look : os::Open::update;
  const auto opened = system().open(directory_->descriptor(), name_.c_str(), how, 0);
  if (opened.error == ENOENT) return what == For::looking ? Refusal{} : make(access, again);
  if (opened.error == EISDIR) {
    return {std::make_error_code(std::errc::operation_not_supported),
            quoted() + " is a directory, a lock of scheme 'mkdir', not 'shm'"};
  }
  if (!opened.ok()) return failed(opened.error, "open");
  file_.open(directory_->process(), opened.value);
  if (auto refusal = learn(); refusal.refused()) return refusal;
  if (auto refusal = look_at_beginning(); refusal.refused()) return refusal;
  if (what == For::looking) return take_copy();
  if (auto refusal = map(first_slots); refusal.refused()) return refusal;
  return reset_if_of_another_boot();
}

Refusal File::learn() {
  const auto info = system().stat(file_.get());
  if (!info.ok()) {
    file_.close();  // later it could not be told from another file's
    return failed(info.error, "look at");
  }
  info_ = info.value;
  if (info_.type == os::FileType::regular) return {};
  const bool directory = info_.type == os::FileType::directory;
  return {std::make_error_code(directory ? std::errc::operation_not_supported : std::errc::invalid_argument),
          quoted() + (directory ? " is a directory, a lock of scheme 'mkdir', not 'shm'" : " is not a regular file")};
}

// What is read here is not believed later: what counts is looked at again in what is mapped.
Refusal File::look_at_beginning() {
  const auto bytes = claim::read_record_bytes(system(), file_.get());
  if (!bytes.ok()) return failed(bytes.error, "read");
  if (!bytes.value.starts_with(first_line)) {
    if (bytes.value.starts_with(claim::shared_memory_beginning)) {
      return {std::make_error_code(std::errc::operation_not_supported),
              quoted() + " is a lock of scheme 'shm' of another version"};
    }
    return refusal_of_content(quoted(), bytes.value);
  }
  if (word_of(bytes.value, header::layout * 8) != layout_mark) {
    return damaged("its layout is another machine's or nobody's");
  }
  const std::uint64_t capacity = word_of(bytes.value, header::capacity * 8);
  if (capacity < first_slots || capacity > most_slots) {
    return damaged("it says that it has " + std::to_string(capacity) + " slots");
  }
  if (info_.size >= words_for(capacity) * 8) return {};
  // Looked at too early, if somebody enlarges it. The size grows before the capacity says so: looked at now it is
  // enough.
  //   we: size of 16 slots                                        read: 32 slots      size again
  //   A:                      writes the further slots, capacity 32
  if (auto refusal = learn(); refusal.refused()) return refusal;
  if (info_.size < words_for(capacity) * 8) return damaged("it is shorter than it says");
  return {};
}

// Whole: with all the slots that it says are in use. More may have come since the size was looked at.
Refusal File::take_copy() {
  constexpr int tries = 16;  // each further one needs somebody who enlarges it meanwhile
  for (int i = 0; i < tries; ++i) {
    copy_.resize((std::min<std::uint64_t>(info_.size, words_for(most_slots) * 8) + 7) / 8);
    const std::span<char> bytes(reinterpret_cast<char*>(copy_.data()), copy_.size() * 8);
    std::size_t size = 0;
    for (std::size_t more = bytes.size(); more != 0 && size < bytes.size(); size += more) {
      const auto got = system().read(file_.get(), bytes.subspan(size), size);
      if (!got.ok()) return failed(got.error, "read");
      more = got.value;
    }
    copy_.resize(size / 8);
    if (copy_.size() < words_for(first_slots)) return damaged("it is shorter than it says");
    mapped_slots_ = (copy_.size() - header::words) / slot::words;
    if (copy_[header::used] <= mapped_slots_ || copy_[header::used] > most_slots) break;
    if (auto refusal = learn(); refusal.refused()) return refusal;
  }
  if (copy_[header::boot] == boot_mark()) return {};
  // Nobody of this boot has it, so nobody holds.
  std::fill(copy_.begin() + header::boot, copy_.end(), 0);
  return {};
}

Refusal File::map(std::uint64_t slots) {
  // A page that the file does not have ends whoever touches it (mmap(2)): never map what is not there.
  const auto info = system().stat(file_.get());
  if (!info.ok()) return failed(info.error, "look at");
  if (!info.value.same_inode(info_)) return failed(EBADF, "look at");
  if (info.value.size < words_for(slots) * 8) return damaged("it is shorter than it says");
  const auto mapped = system().map(file_.get(), words_for(slots));
  if (!mapped.ok()) return failed(mapped.error, "map");
  if (mapped_ != nullptr) system().unmap(mapped_, words_for(mapped_slots_));
  mapped_ = mapped.value;
  mapped_slots_ = slots;
  return {};
}

os::Result<std::uint64_t> File::used_slots() {
  const std::uint64_t used = load(header::used);
  if (used <= mapped_slots_) return {used, 0};
  if (mapped_ == nullptr || used > most_slots) return {0, EBADMSG};
  const Refusal refusal = map((used + first_slots - 1) / first_slots * first_slots);
  return {used, refusal.refused() ? EBADMSG : 0};
}

bool File::any_mark_but(std::uint64_t own) const noexcept {
  const std::uint64_t used = load(header::used);
  if (used > mapped_slots_) return true;
  for (std::uint64_t slot = 0; slot < used; ++slot) {
    if (slot != own && Mark::decode(load(slot_at(slot) + slot::mark)).stands) return true;
  }
  return false;
}

// The end of an interrupted one is found by the size: what is there is zeros, and room is what the header says.
Refusal File::enlarge() {
  if (const os::Status locked = system().try_lock(file_.get(), reset_byte)) {
    if (os::cause_of(os::Call::try_lock, locked) != os::Cause::contention) return failed(locked, "lock a byte of");
    return {{}, {}, true};
  }
  const std::uint64_t capacity = load(header::capacity);
  os::Status error = 0;
  const bool grows = capacity == mapped_slots_;
  if (grows && capacity + first_slots <= most_slots) {
    // Written, not only made longer: a hole that cannot be filled on a full disk would end whoever touches it.
    const std::string zeros(first_slots * slot::words * 8, '\0');
    const auto put = system().write(file_.get(), zeros, words_for(capacity) * 8);
    error = !put.ok() ? put.error : put.value == zeros.size() ? 0 : ENOSPC;
    if (error == 0) store(header::capacity, capacity + first_slots);
  } else if (grows) {
    error = ENOLCK;  // as many participants as there may be
  }
  (void)system().unlock(file_.get(), reset_byte, 1);
  if (error == ENOLCK) return {os::code_of(error), quoted() + " has no more room: 1024 lock objects use it"};
  if (error != 0) return failed(error, "enlarge");
  return map(mapped_slots_ + first_slots);
}

Refusal File::make(Access access, bool& again) {
  const std::uint32_t wider = claim::mode_for(access, os::FileType::regular);
  const std::uint32_t mode = wider != 0 ? wider : 0666;
  const int at = directory_->descriptor();
  again = true;  // whoever made it, it is opened like any other
  const auto unnamed = system().open(at, ".", os::Open::temporary, mode);
  os::Status error = unnamed.error;
  if (unnamed.ok()) {
    const os::File file(system(), unnamed.value);
    error = fill(file.get(), access);
    if (error == 0) error = system().link_temporary(file.get(), at, name_.c_str());
    if (error == 0 || error == EEXIST) return {};
  }
  // No unnamed files here, or no /proc to name one through; or the directory is gone, and the other way will tell.
  if (os::cause_of(os::Call::open, error) == os::Cause::unsupported || error == ENOENT)
    error = make_named(access, mode);
  if (error == 0 || error == EEXIST) return {};
  again = false;
  return failed(error, "create");
}

// Complete before W names it. A side name whose maker died is removed by whoever gets LIVE of it (claim/sweep.cpp); the
// maker looks at the link count after it has LIVE itself.
os::Status File::make_named(Access access, std::uint32_t mode) const {
  const int at = directory_->descriptor();
  const std::string side = claim::Names(name_.substr(0, name_.size() - std::string_view(".lock").size()))
                               .side(claim::make_nonce(directory_->process().identity().boot, system().random()),
                                     claim::suffix::unpublished);
  const auto opened = system().open(at, side.c_str(), os::Open::create, mode);
  if (!opened.ok()) return opened.error;
  const os::File file(system(), opened.value);
  os::Status error = system().try_lock(file.get(), claim::live_byte);
  if (os::cause_of(os::Call::try_lock, error) == os::Cause::contention) return EEXIST;  // a cleaner has it
  if (error == 0) error = fill(file.get(), access);
  const auto info = system().stat(file.get());
  if (info.ok() && info.value.links == 0) return EEXIST;
  if (error == 0) {
    error = system().link(at, side.c_str(), at, name_.c_str());
    if (os::cause_of(os::Call::link, error) == os::Cause::unsupported) {
      error = system().rename_new(at, side.c_str(), at, name_.c_str());
      if (error == 0) return 0;
    }
  }
  (void)system().unlink(at, side.c_str());
  return error;
}

// On the disk before it has the name: so a power cut leaves no name without what it stands for.
os::Status File::fill(int descriptor, Access access) const {
  if (access != Access::by_umask) {
    const os::Status error = system().set_mode(descriptor, claim::mode_for(access, os::FileType::regular));
    if (error != 0) return error;
  }
  std::vector<std::uint64_t> words(words_for(first_slots), 0);
  words[0] = word_of(first_line, 0);
  words[1] = word_of(first_line, 8);
  words[header::layout] = layout_mark;
  words[header::boot] = boot_mark();
  words[header::capacity] = first_slots;
  const std::string bytes = bytes_of(words);
  const auto put = system().write(descriptor, bytes, 0);
  if (!put.ok()) return put.error;
  if (put.value != bytes.size()) return ENOSPC;
  return system().sync(descriptor);
}

// What an earlier boot left: no process of it lives. The mark of the boot is written last, so whoever is killed in the
// middle leaves it to be done again; and until it is written nobody takes part. A hold that the power cut ended is one
// whose holder died.
Refusal File::reset_if_of_another_boot() {
  if (load(header::boot) == boot_mark()) return {};
  if (const os::Status locked = system().try_lock(file_.get(), reset_byte)) {
    if (os::cause_of(os::Call::try_lock, locked) != os::Cause::contention) return failed(locked, "lock a byte of");
    return {{}, {}, true};
  }
  if (load(header::boot) != boot_mark()) {
    const std::uint64_t slots = std::min(load(header::used), mapped_slots_);
    for (std::uint64_t i = 0; i < slots; ++i) {
      store(slot_at(i) + slot::state, 0);
      store(slot_at(i) + slot::mark, 0);
    }
    const LockWord before = LockWord::decode(load(header::word));
    LockWord after = before.bereft();
    after.readers = false;
    after.waiters = false;
    store(header::word, after.encode());
    store(header::used, 0);
    store(header::boot, boot_mark());
  }
  (void)system().unlock(file_.get(), reset_byte, 1);
  return {};
}

Occupant File::read_slot(std::uint64_t number) const {
  const std::size_t at = slot_at(number);
  Occupant who;
  constexpr int tries = 8;  // each further one needs another occupant
  for (int i = 0; i < tries; ++i) {
    who.state = load(at + slot::state);
    if ((who.state & 1U) == 0) return who;
    claim::Record& record = who.record;
    record = {};
    record.scheme = "shm";
    record.boot = directory_->process().identity().boot;
    record.guarded = true;
    record.nonce = nonce_from(load(at + slot::nonce_high), load(at + slot::nonce_low));
    record.pid = static_cast<std::int64_t>(load(at + slot::pid));
    record.start = load(at + slot::start);
    record.pid_namespace = load(at + slot::pid_namespace);
    record.time_namespace = load(at + slot::time_namespace);
    record.thread = static_cast<std::int64_t>(load(at + slot::thread));
    record.child = static_cast<std::int64_t>(load(at + slot::child));
    record.child_start = load(at + slot::child_start);
    const std::uint64_t sizes = load(at + slot::sizes);
    const std::size_t program = std::min<std::size_t>(sizes & 0xFFFFU, slot::text_bytes);
    const std::size_t host = std::min<std::size_t>((sizes >> 16U) & 0xFFFFU, slot::text_bytes - program);
    const std::size_t reason = std::min<std::size_t>((sizes >> 32U) & 0xFFFFU, slot::text_bytes - program - host);
    std::vector<std::uint64_t> words((program + host + reason + 7) / 8);
    for (std::size_t word = 0; word < words.size(); ++word) words[word] = load(at + slot::text + word);
    const std::string text = bytes_of(words);
    record.program = text.substr(0, program);
    record.host = text.substr(program, host);
    record.reason = text.substr(program + host, reason);
    if (load(at + slot::state) != who.state) continue;
    who.there = true;
    return who;
  }
  return who;  // written anew each time
}

void File::judge_slot(std::uint64_t number, Occupant& who, const claim::KnownProcesses* known) const {
  if (!who.there) {
    who.judgement = {Verdict::unknown, "its slot says nothing"};
    return;
  }
  const bool can_ask = descriptor_is_ours();
  const claim::Evidence seen = claim::gather_evidence(*directory_, can_ask ? file_.get() : -1, claim::Reading::record,
                                                      who.record, who.processes, known, slot_byte(number));
  who.processes_visible = seen.processes_visible();
  who.judgement = claim::judge(seen);
}

Holder File::holder_from(const Occupant& who, Mode mode, std::uint64_t number) const {
  Holder holder;
  holder.verdict = who.judgement.verdict;
  holder.note = who.judgement.note;
  holder.mode = mode;
  holder.number = number;
  holder.uid = info_.uid;
  const claim::Record& record = who.record;
  holder.scheme = "shm";
  holder.nonce = record.nonce;
  holder.host = record.host;
  holder.pid = record.pid;
  holder.handed_to = record.child;
  holder.thread = record.thread;
  holder.program = record.program;
  holder.reason = record.reason;
  holder.this_process = who.processes_visible && claim::is_of_process(record, directory_->process().identity());
  return holder;
}

void File::write_slot(std::uint64_t number, const claim::Record& record) {
  const std::string program = record.program.substr(0, 64);
  const std::string host = record.host.substr(0, 64);
  const std::string text = (program + host + record.reason).substr(0, slot::text_bytes);
  const std::size_t reason = text.size() - program.size() - host.size();
  const std::size_t at = slot_at(number);
  const std::uint64_t before = load(at + slot::state) | 1U;
  store(at + slot::state, before + 1);  // even: nobody
  store(at + slot::nonce_high, number_from_hex(std::string_view(record.nonce).substr(0, high_digits)));
  store(at + slot::nonce_low, number_from_hex(std::string_view(record.nonce).substr(high_digits)));
  store(at + slot::pid, static_cast<std::uint64_t>(record.pid));
  store(at + slot::start, record.start);
  store(at + slot::pid_namespace, record.pid_namespace);
  store(at + slot::time_namespace, record.time_namespace);
  store(at + slot::thread, static_cast<std::uint64_t>(record.thread));
  store(at + slot::child, 0);
  store(at + slot::child_start, 0);
  store(at + slot::sizes, program.size() | (host.size() << 16U) | (reason << 32U));
  for (std::size_t word = 0; word * 8 < text.size(); ++word) store(at + slot::text + word, word_of(text, word * 8));
  store(at + slot::state, before + 2);
}

}  // namespace lockfile::schemes::shared_memory
