// Writing a fenced file: raise the newest fence on the disk, then replace the file, both under one kernel lock.
//
//   writer 5:                                           lock   newest is 7: refused
//   writer 7: lock   newest := 7   replace the file   unlock
//
// The number goes first: cut off in between, the file is old and older writers are refused all the same. The other way
// round a writer with a smaller number could follow a file that is newer.
#include <lockfile/fenced_file.hpp>

#include "claim/claim.hpp"
#include "claim/directory.hpp"
#include "claim/guard.hpp"
#include "claim/record.hpp"
#include "claim/record_file.hpp"
#include "core/path.hpp"
#include "core/waiting.hpp"
#include "os/backoff.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <new>
#include <optional>

namespace lockfile {
namespace {

using claim::Directory;

struct Written {
  std::error_code code;
  std::string what;
  std::uint64_t newest = 0;
};

Written failure(os::Status error, std::string what) { return {os::code_of(error), std::move(what), 0}; }

// Two slots of one line each, far enough apart for two sectors of a disk: a line that a power cut has torn leaves the
// other one, which is older, and nobody has replaced the file by the torn one's right.
constexpr std::uint64_t slot_distance = 512;
constexpr std::size_t slot_size = 30;
constexpr std::size_t digits = 20;

std::uint32_t check_of(std::string_view text) noexcept {  // FNV-1a, 32 bits
  std::uint32_t hash = 2166136261U;
  for (const char byte : text) hash = (hash ^ static_cast<unsigned char>(byte)) * 16777619U;
  return hash;
}

std::array<char, slot_size + 1> slot_for(std::uint64_t number) noexcept {
  std::array<char, digits + 1> text{};
  std::snprintf(text.data(), text.size(), "%020llu", static_cast<unsigned long long>(number));
  std::array<char, slot_size + 1> slot{};
  std::snprintf(slot.data(), slot.size(), "%s %08x\n", text.data(), check_of({text.data(), digits}));
  return slot;
}

// 0: none. No fence is 0.
std::uint64_t number_in(std::string_view slot) noexcept {
  std::uint64_t number = 0;
  const auto parsed = std::from_chars(slot.data(), slot.data() + std::min(slot.size(), digits), number);
  const auto expected = slot_for(number);
  if (parsed.ec != std::errc{} || slot != std::string_view(expected.data(), slot_size)) return 0;
  return number;
}

// What `<file>.fence-seen` says.
struct Seen {
  std::uint64_t newest = 0;
  int free_slot = 0;  ///< where the next number goes: not over the newest
  int error = 0;
};

Seen read_seen(os::System& system, int descriptor) {
  const auto got = claim::read_record_bytes(system, descriptor);
  if (!got.ok()) return {.error = got.error};
  const std::string_view text = got.value;
  const auto first = number_in(text.substr(0, std::min(text.size(), slot_size)));
  const auto second = text.size() > slot_distance ? number_in(text.substr(slot_distance, slot_size)) : 0;
  // Nothing that could be read, and yet it is not empty: the one number that was there may have been cut off while it
  // was written. Nobody has written by it, but a damaged file looks the same.
  const bool untouched = std::all_of(text.begin(), text.end(), [](char byte) { return byte == '\0'; });
  if (first == 0 && second == 0 && !untouched) return {.error = EBADMSG};
  return {.newest = std::max(first, second), .free_slot = first > second ? 1 : 0};
}

class Writer {
 public:
  Writer(std::shared_ptr<Directory> directory, const std::string& name, Access access)
      : directory_(std::move(directory)), name_(name), access_(access) {}

  Written write(std::uint64_t fence, std::string_view bytes, const Wait& wait) {
    if (!directory_->local() && !directory_->locks_reach()) {
      return failure(ENOLCK, "kernel locks do not reach all who use the file system");
    }
    if (auto failed = open_and_lock(wait)) return *std::move(failed);
    const Seen seen = read_seen(system(), seen_.get());
    if (seen.error == EBADMSG) return failure(EBADMSG, "no fence in '" + seen_name() + "'");
    if (seen.error != 0) return failure(seen.error, "cannot read '" + seen_name() + "'");
    if (fence < seen.newest) return {errc::stale_fence, {}, seen.newest};
    if (fence > seen.newest) {
      if (auto failed = raise(fence, seen)) return *std::move(failed);
    }
    const os::Status error = replace(bytes);
    if (error != 0) {
      if (new_stands_) (void)system().unlink(at(), new_name().c_str());  // the next writer begins by removing it
      return failure(error, "cannot replace the file");
    }
    return {};
  }

  [[nodiscard]] std::string seen_name() const { return name_ + ".fence-seen"; }

 private:
  [[nodiscard]] std::string new_name() const { return name_ + ".fence-new"; }
  [[nodiscard]] os::System& system() const noexcept { return directory_->system(); }
  [[nodiscard]] int at() const noexcept { return directory_->descriptor(); }

  // Opened anew if somebody has removed it meanwhile: a lock of a file that has no name excludes nobody.
  std::optional<Written> open_and_lock(const Wait& wait) {
    const core::Limit limit(system(), wait);
    os::Backoff moments(std::chrono::milliseconds(1), std::chrono::milliseconds(20));
    constexpr int most_exchanged = 64;  // each needs somebody who removes the file just now
    for (int exchanged = 0; exchanged < most_exchanged;) {
      if (wait.stop().stop_requested()) return Written{errc::stopped, "another writer is at work", 0};
      if (!seen_.is_open()) {
        const os::Status error = open_seen();
        if (error == EEXIST) {  // made by another just now
          ++exchanged;
          continue;
        }
        if (error != 0) return failure(error, "cannot open '" + seen_name() + "'");
      }
      const os::Status locked = system().try_lock(seen_.get(), claim::live_byte);
      if (locked == 0) {
        const auto same = directory_->refers_to(seen_name().c_str(), info_);
        if (!same.ok()) return failure(same.error, "cannot look at '" + seen_name() + "'");
        if (same.value) return std::nullopt;
        seen_.close();
        ++exchanged;
        continue;
      }
      const os::Cause cause = os::cause_of(os::Call::try_lock, locked);
      if (cause != os::Cause::contention && cause != os::Cause::transient) {
        return failure(locked, "cannot lock '" + seen_name() + "'");
      }
      if (limit.at_once() || limit.is_over(system())) return Written{errc::timed_out, "another writer is at work", 0};
      // No event tells of an unlocked byte, and two writers at once are rare: one of them has lost its lock.
      auto until = moments.next(system());
      if (limit.deadline()) until = std::min(until, *limit.deadline());
      core::sleep_until(directory_->process(), until);
    }
    // Not reached by tests.
    return failure(EBUSY, "cannot keep '" + seen_name() + "' open: somebody removes it again and again");
  }

  os::Status open_seen() {
    const std::uint32_t wider = claim::mode_for(access_, os::FileType::regular);
    auto opened = system().open(at(), seen_name().c_str(), os::Open::update, 0);
    const bool made = opened.error == ENOENT;
    if (made) opened = system().open(at(), seen_name().c_str(), os::Open::create, wider != 0 ? wider : 0666);
    if (!opened.ok()) return opened.error;
    os::File file(system(), opened.value);
    if (made && wider != 0) {
      if (const os::Status error = system().set_mode(file.get(), wider)) return error;
    }
    const auto info = system().stat(file.get());
    if (!info.ok()) return info.error;
    if (info.value.type != os::FileType::regular) return EINVAL;
    info_ = info.value;
    seen_ = std::move(file);
    return 0;
  }

  std::optional<Written> raise(std::uint64_t fence, const Seen& seen) {
    const auto slot = slot_for(fence);
    const std::string what = "cannot write '" + seen_name() + "'";
    const auto put = system().write(seen_.get(), {slot.data(), slot_size},
                                    static_cast<std::uint64_t>(seen.free_slot) * slot_distance);
    if (!put.ok()) return failure(put.error, what);
    if (put.value != slot_size) return failure(ENOSPC, what);
    os::Status error = system().sync(seen_.get());
    // Its name, before the file's own: a file without what it has seen would take every writer.
    if (error == 0 && seen.newest == 0) error = directory_->sync();
    if (error != 0) return failure(error, what);
    return std::nullopt;
  }

  os::Status replace(std::string_view bytes) {
    const std::string fresh = new_name();
    // Of a writer that was killed: we have the lock.
    if (const os::Status error = system().unlink(at(), fresh.c_str()); error != 0 && error != ENOENT) return error;
    const auto now = system().stat_at(at(), name_.c_str(), os::Links::keep);
    const bool keep_mode = now.ok() && now.value.type == os::FileType::regular;
    const std::uint32_t mode = keep_mode ? now.value.mode & 0777U : claim::mode_for(access_, os::FileType::regular);
    // Created as narrow as it is to be: nobody reads what is not for them.
    const auto opened = system().open(at(), fresh.c_str(), os::Open::create, keep_mode || mode != 0 ? mode : 0666U);
    if (!opened.ok()) return opened.error;
    new_stands_ = true;
    const os::File file(system(), opened.value);
    if (keep_mode || mode != 0) {
      if (const os::Status error = system().set_mode(file.get(), mode)) return error;
    }
    for (std::size_t done = 0; done < bytes.size();) {
      const auto put = system().write(file.get(), bytes.substr(done), done);
      if (!put.ok()) return put.error;
      if (put.value == 0) return ENOSPC;
      done += put.value;
    }
    if (const os::Status error = system().sync(file.get())) return error;
    os::Status error = system().rename(at(), fresh.c_str(), at(), name_.c_str());
    if (error == ENOENT) error = directory_->arrived(error, at(), name_.c_str(), system().stat(file.get()).value);
    if (error != 0) return error;
    new_stands_ = false;
    return directory_->sync();
  }

  std::shared_ptr<Directory> directory_;
  const std::string& name_;
  Access access_;
  os::File seen_;
  os::FileInfo info_;
  bool new_stands_ = false;
};

[[noreturn]] void raise(const std::string& verb, const std::string& path, std::uint64_t fence, Written written) {
  std::string text = "cannot " + verb + " '" + claim::printable(path) + "': ";
  if (written.code == errc::stale_fence) {
    text += "the fence " + std::to_string(fence) + " is older than " + std::to_string(written.newest) +
            ", which has written already";
    throw StaleFence(text, path, fence, written.newest);
  }
  if (!written.what.empty()) text += written.what + ": ";
  throw Error(written.code, text + written.code.message(), path, std::nullopt);
}

Written write_to(const std::string& directory, const std::string& name, Access access, std::uint64_t fence,
                 std::string_view bytes, const Wait& wait) {
  if (fence == 0) return failure(EINVAL, "0 is no fence");
  if (!wait.valid()) return failure(EINVAL, "the time to wait is not a number");
  auto opened = Directory::open(os::Process::current(), directory);
  if (!opened.ok()) return failure(opened.error, "cannot open directory '" + claim::printable(directory) + "'");
  return Writer(std::move(opened.value), name, access).write(fence, bytes, wait);
}

Written newest_of(const std::string& directory, const std::string& name) {
  os::System& system = os::Process::current().system();
  const auto opened = Directory::open(os::Process::current(), directory);
  if (!opened.ok()) return failure(opened.error, "cannot open directory '" + claim::printable(directory) + "'");
  const std::string seen_name = name + ".fence-seen";
  const auto file = system.open(opened.value->descriptor(), seen_name.c_str(), os::Open::look, 0);
  if (file.error == ENOENT) return {};
  if (!file.ok()) return failure(file.error, "cannot open '" + claim::printable(seen_name) + "'");
  const os::File closes(system, file.value);
  const Seen seen = read_seen(system, file.value);
  if (seen.error != 0) return failure(seen.error, "no fence in '" + claim::printable(seen_name) + "'");
  return {{}, {}, seen.newest};
}

}  // namespace

FencedFile::FencedFile(std::string_view path, Access access) : access_(access) {
  auto made = core::absolute_path(os::Process::current(), path);
  if (!made.ok()) {
    raise("name", std::string(path), 0, failure(made.error, made.error == EINVAL ? "the path names no file" : ""));
  }
  path_ = core::to_string(made.value);
  directory_ = std::move(made.value.directory);
  name_ = std::move(made.value.name);
}

void FencedFile::write(std::uint64_t fence, std::string_view bytes, const Wait& wait) {
  Written written = write_to(directory_, name_, access_, fence, bytes, wait);
  if (written.code) raise("write", path_, fence, std::move(written));
}

bool FencedFile::write(std::uint64_t fence, std::string_view bytes, const Wait& wait, std::error_code& ec) noexcept {
  try {
    ec = write_to(directory_, name_, access_, fence, bytes, wait).code;
  } catch (const std::bad_alloc&) {
    ec = std::make_error_code(std::errc::not_enough_memory);
  }
  return !ec;
}

std::uint64_t FencedFile::newest() const {
  Written seen = newest_of(directory_, name_);
  if (seen.code) raise("tell the newest fence of", path_, 0, std::move(seen));
  return seen.newest;
}

std::uint64_t FencedFile::newest(std::error_code& ec) const noexcept {
  try {
    const Written seen = newest_of(directory_, name_);
    ec = seen.code;
    return seen.newest;
  } catch (const std::bad_alloc&) {
    ec = std::make_error_code(std::errc::not_enough_memory);
    return 0;
  }
}

}  // namespace lockfile
