// Taking a fence.
#include "claim/fence.hpp"

#include "claim/guard.hpp"
#include "claim/record_file.hpp"

#include <cerrno>
#include <charconv>
#include <chrono>
#include <limits>
#include <system_error>

namespace lockfile::claim {
namespace {

FenceTaken failed(os::Call call, os::Status error, std::string what) {
  FenceTaken taken;
  taken.error = error;
  taken.what = std::move(what);
  const os::Cause cause = os::cause_of(call, error);
  taken.again = cause == os::Cause::contention || cause == os::Cause::transient || cause == os::Cause::missing;
  return taken;
}

FenceTaken lost() {
  FenceTaken taken;
  taken.again = true;
  return taken;
}

class Numbering {
 public:
  Numbering(const Word& word, const Claim& claim, const Held& held, Access access)
      : word_(word),
        claim_(claim),
        held_(held),
        access_(access),
        fence_(word.names().fence()),
        side_(word.names().side(claim.record().nonce, suffix::numbering(claim.record().number))) {}
  Numbering(const Numbering&) = delete;
  Numbering& operator=(const Numbering&) = delete;
  // What cannot be removed now is found by a sweep.
  ~Numbering() {
    if (side_stands_) (void)system().unlink(at(), side_.c_str());
  }

  FenceTaken take() {
    std::uint64_t number = 0;
    if (auto refused = read_last(number)) return *std::move(refused);
    if (auto refused = write_side(number)) return *std::move(refused);
    if (auto refused = publish()) return *std::move(refused);
    if (auto refused = make_durable()) return *std::move(refused);
    FenceTaken taken;
    taken.number = number;
    return taken;
  }

 private:
  // `number`: the one after the last; 0: there is no last.
  std::optional<FenceTaken> read_last(std::uint64_t& number) {
    const std::string what = "cannot read the fence '" + fence_ + "'";
    const auto opened = system().open(at(), fence_.c_str(), os::Open::look, 0);
    missing_ = opened.error == ENOENT;
    if (missing_) return std::nullopt;
    if (!opened.ok()) return failed(os::Call::open, opened.error, what);
    const os::File file(system(), opened.value);
    const auto got = read_record_bytes(system(), file.get());
    if (!got.ok()) return failed(os::Call::read, got.error, what);
    // It is replaced as a whole, by a file that is on the disk: whoever reads something else reads another's, or a
    // damaged one, and a guess could be smaller than what somebody was told.
    const auto last = parse_fence(got.value);
    if (!last) return failed(os::Call::read, EBADMSG, "no number in the fence '" + fence_ + "'");
    if (*last == std::numeric_limits<std::uint64_t>::max()) return failed(os::Call::read, EOVERFLOW, what);
    number = *last + 1;
    return std::nullopt;
  }

  // The new number under a name of its own, on the disk.
  std::optional<FenceTaken> write_side(std::uint64_t& number) {
    const std::string what = "cannot write the fence '" + fence_ + "'";
    const std::uint32_t wider = mode_for(access_, os::FileType::regular);
    const auto opened = system().open(at(), side_.c_str(), os::Open::create, wider != 0 ? wider : 0666);
    if (!opened.ok()) return failed(os::Call::open, opened.error, what);
    side_stands_ = true;
    file_ = os::File(system(), opened.value);
    // Somebody who sweeps may meet it before it is guarded, as with a claim that is made under its own name.
    if (claim_.trial().guard_works) {
      if (const os::Status error = word_.lock_once(file_.get(), live_byte)) {
        return failed(os::Call::try_lock, error, what);
      }
    }
    const auto info = system().stat(file_.get());
    if (!info.ok()) return failed(os::Call::stat, info.error, what);
    if (info.value.links == 0) return lost();
    if (wider != 0) {
      if (const os::Status error = system().set_mode(file_.get(), wider)) {
        return failed(os::Call::set_mode, error, what);
      }
    }
    if (missing_) number = beginning(info.value);
    const std::string text = format_fence(number);
    const auto put = system().write(file_.get(), text, 0);
    if (!put.ok()) return failed(os::Call::write, put.error, what);
    if (put.value != text.size()) return failed(os::Call::write, ENOSPC, what);
    if (const os::Status error = system().sync(file_.get())) return failed(os::Call::sync, error, what);
    return std::nullopt;
  }

  // Where there is no last number it may have been deleted, and somebody may still have been told one: the wall clock
  // in microseconds is larger, unless a million holds a second have been numbered. It is the clock of the file system,
  // which is one clock also where several hosts use it.
  static std::uint64_t beginning(const os::FileInfo& made_now) {
    const auto since = std::chrono::duration_cast<std::chrono::microseconds>(made_now.changed.time_since_epoch());
    return since.count() > 0 ? static_cast<std::uint64_t>(since.count()) : 1;
  }

  std::optional<FenceTaken> publish() {
    const bool guarded = claim_.trial().guard_works;
    const std::uint64_t byte = remove_byte(claim_.record().number);
    const os::Status locked = guarded ? word_.lock_once(claim_.descriptor(), byte) : 0;
    if (os::cause_of(os::Call::try_lock, locked) == os::Cause::contention) return lost();  // it is being broken
    if (locked != 0) return failed(os::Call::try_lock, locked, "cannot lock '" + word_.names().word() + "'");
    const auto ours = word_.still_held(claim_, held_);
    if (!ours.ok()) return failed(os::Call::stat_at, ours.error, "cannot look at '" + word_.names().word() + "'");
    if (!ours.value) return lost();
    os::Call call = os::Call::rename;
    const os::Status error =
        missing_ ? give_first_name(call) : system().rename(at(), side_.c_str(), at(), fence_.c_str());
    // The reply may have been lost, and the retry have found the work done: then the next number is one further.
    if (error != 0) return failed(call, error, "cannot write the fence '" + fence_ + "'");
    side_stands_ = false;
    // Given back: the hold goes on, and may be broken. Refused, nobody could break it: better no hold.
    const os::Status unlocked = guarded ? system().unlock(claim_.descriptor(), byte, 1) : 0;
    if (unlocked != 0) return failed(os::Call::unlock, unlocked, "cannot unlock '" + word_.names().word() + "'");
    return std::nullopt;
  }

  // Only if there is none: that there was none may have been a network client's memory.
  os::Status give_first_name(os::Call& call) {
    os::Status error = EPERM;
    if (claim_.trial().hard_links) {
      call = os::Call::link;
      error = system().link(at(), side_.c_str(), at(), fence_.c_str());
      if (error == 0) (void)system().unlink(at(), side_.c_str());  // what stays is found by a sweep
      return error;
    }
    call = os::Call::rename_new;
    error = system().rename_new(at(), side_.c_str(), at(), fence_.c_str());
    if (os::cause_of(call, error) != os::Cause::unsupported) return error;
    call = os::Call::rename;
    return system().rename(at(), side_.c_str(), at(), fence_.c_str());
  }

  // A name is on the disk when its directory is.
  std::optional<FenceTaken> make_durable() {
    const os::Status error = word_.directory().sync();
    if (error == 0) return std::nullopt;
    return failed(os::Call::sync, error, "cannot write the directory of the fence '" + fence_ + "' to the disk");
  }

  [[nodiscard]] os::System& system() const noexcept { return word_.directory().system(); }
  [[nodiscard]] int at() const noexcept { return word_.directory().descriptor(); }

  const Word& word_;
  const Claim& claim_;
  const Held& held_;
  Access access_;
  std::string fence_;
  std::string side_;
  os::File file_;
  bool side_stands_ = false;
  bool missing_ = false;
};

}  // namespace

std::string format_fence(std::uint64_t number) { return std::to_string(number) + "\n"; }

std::optional<std::uint64_t> parse_fence(std::string_view bytes) noexcept {
  if (!bytes.ends_with('\n') || bytes.front() < '1' || bytes.front() > '9') return std::nullopt;
  std::uint64_t number = 0;
  const char* const end = bytes.data() + bytes.size() - 1;
  const auto parsed = std::from_chars(bytes.data(), end, number);
  if (parsed.ec != std::errc{} || parsed.ptr != end) return std::nullopt;
  return number;
}

FenceTaken take_fence(const Word& word, const Claim& claim, const Held& held, Access access) {
  return Numbering(word, claim, held, access).take();
}

}  // namespace lockfile::claim
