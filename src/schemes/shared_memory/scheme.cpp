// The scheme: its file, its slots, looks and breaks.
#include "schemes/shared_memory/scheme.hpp"

#include "claim/judge.hpp"
#include "claim/record.hpp"
#include "schemes/shared_memory/attempt.hpp"

#include <lockfile/error.hpp>

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

namespace lockfile::schemes::shared_memory {

Scheme::Scheme(FilePath path, const Options& options)
    : path_(std::move(path)),
      name_(claim::Names(path_.name).word()),
      access_(options.access),
      reason_(options.reason) {}

Scheme::~Scheme() {
  for (const auto& each : kept_) leave(*each);
}

std::unique_ptr<FileAttempt> Scheme::file_attempt(const Request& request) {
  return std::make_unique<Attempt>(*this, request);
}

Refusal Scheme::find_directory() {
  if (directory_ && !directory_->descriptor_is_ours()) directory_->forget_descriptor();
  if (directory_ && directory_->descriptor() >= 0 && directory_->is_at(path_.directory)) return {};
  auto opened = claim::Directory::open(os::Process::current(), path_.directory);
  if (!opened.ok()) return {os::code_of(opened.error), "cannot open directory '" + path_.directory + "'"};
  forget();
  directory_ = std::move(opened.value);
  return {};
}

os::Result<std::shared_ptr<claim::Directory>> Scheme::resolve() {
  const Refusal refusal = find_directory();
  if (refusal.refused()) return {nullptr, refusal.why.value()};
  return {directory_, 0};
}

std::uint64_t Scheme::sign_of_waiters() noexcept {
  if (!file_) return 1;  // of which nothing is known yet
  const LockWord word = LockWord::decode(file_->load(header::word));
  return word.waiters ? word.turn + 1 : 0;
}

void Scheme::give_sign() noexcept {
  constexpr int tries = 64;  // each further one needs somebody who changes the word
  for (int i = 0; i < tries && file_; ++i) {
    const std::uint64_t raw = file_->load(header::word);
    LockWord word = LockWord::decode(raw);
    word.waiters = true;
    word.turn = (word.turn + 1) % LockWord::turns;
    if (!LockWord::is_valid(raw) || file_->change(header::word, raw, word.encode())) return;
  }
}

void Scheme::take_sign_away(std::uint64_t seen) noexcept {
  constexpr int tries = 64;
  for (int i = 0; i < tries && file_; ++i) {
    const std::uint64_t raw = file_->load(header::word);
    LockWord word = LockWord::decode(raw);
    if (!LockWord::is_valid(raw) || !word.waiters || word.turn + 1 != seen) return;
    word.waiters = false;
    if (file_->change(header::word, raw, word.encode())) return;
  }
}

void Scheme::forget() noexcept {
  for (const auto& each : kept_) leave(*each);
  kept_.clear();
  own_.clear();
  file_.reset();
}

void Scheme::abandon() noexcept {
  if (file_) file_->abandon();
  kept_.clear();
  own_.clear();
  file_.reset();
  directory_.reset();
}

std::unique_ptr<Participant> Scheme::take(const Request& request, Refusal& refusal) {
  std::unique_ptr<Participant> participant = kept_.take();
  if (!participant) {
    participant = std::make_unique<Participant>();
    participant->thread = request.thread;
    refusal = join(*participant);
    if (refusal.refused()) return nullptr;
  }
  if (participant->thread != request.thread) {
    participant->thread = request.thread;
    participant->file->store(participant->at(slot::thread), static_cast<std::uint64_t>(request.thread));
  }
  return participant;
}

void Scheme::keep(std::unique_ptr<Participant> participant) noexcept {
  if (participant->file == file_ && kept_.has_room()) {
    kept_.put(std::move(participant));
  } else {
    leave(*participant);
  }
}

// Its owner holds nothing: nobody needs what the slot says.
void Scheme::leave(Participant& participant) noexcept {
  File& file = *participant.file;
  file.store(participant.at(slot::state), file.load(participant.at(slot::state)) + 1);
  if (participant.file == file_) give_back(participant.slot);
}

void Scheme::give_back(std::uint64_t slot) noexcept {
  if (file_->descriptor_is_ours()) (void)file_->system().unlock(file_->descriptor(), slot_byte(slot), 1);
  std::erase(own_, slot);
}

bool Scheme::is_own(std::uint64_t slot) const noexcept {
  return std::find(own_.begin(), own_.end(), slot) != own_.end();
}

claim::Record Scheme::new_record(std::int64_t thread) const {
  const os::Process& process = directory_->process();
  const os::Identity& self = process.identity();
  claim::Record record = claim::record_of(self);
  record.nonce = claim::make_nonce(self.boot, process.system().random());
  record.reason = reason_;
  record.thread = thread;
  return record;
}

Refusal Scheme::join(Participant& participant) {
  if (auto refusal = find_directory(); refusal.refused()) return refusal;
  if (file_) {
    const auto still = file_->still_there();
    if (!still.ok() || !still.value || !file_->descriptor_is_ours()) forget();
  }
  if (!file_) {
    if (auto another = find_kernel_lock(*directory_, path_.name)) return {another->why, std::move(another->what)};
    auto opened = File::open(directory_, name_, access_, File::For::taking_part);
    if (!opened.file) return opened.refusal;
    file_ = std::move(opened.file);
  }
  participant.file = file_;
  own_.reserve(own_.size() + 1);
  constexpr int tries = 16;  // each further one needs somebody who takes the very slot
  for (int i = 0; i < tries; ++i) {
    const auto used = file_->used_slots();
    if (!used.ok()) return file_->damaged("it has fewer slots than it says");
    // Beyond those in use too: somebody may have been stopped between the byte and the count.
    bool taken = false;
    for (std::uint64_t slot = 0; slot < file_->mapped_slots() && !taken; ++slot) {
      if (auto refusal = try_slot(participant, slot, taken); refusal.refused()) return refusal;
    }
    if (!taken) {
      if (auto refusal = file_->enlarge(); refusal.refused()) return refusal;
      continue;
    }
    try {
      file_->write_slot(participant.slot, new_record(participant.thread));
    } catch (const std::bad_alloc&) {
      give_back(participant.slot);  // nothing has been written there
      throw;
    }
    if (count_slot(participant.slot)) return {};
  }
  return {{}, {}, true};  // not reached by tests
}

// From here on it is looked at by whoever looks for readers.
bool Scheme::count_slot(std::uint64_t slot) noexcept {
  for (std::uint64_t i = 0; i < most_slots; ++i) {  // each further one needs somebody who counts another
    const std::uint64_t used = file_->load(header::used);
    if (used > slot || file_->change(header::used, used, slot + 1)) return true;
  }
  return false;
}

// Whoever gets the byte of a slot has the slot, unless its occupant lives without its guard: a program that has closed
// all its descriptors. What a dead one holds is cleared before anybody else has the slot, so the word never names
// another than the one it was given to.
Refusal Scheme::try_slot(Participant& participant, std::uint64_t number, bool& taken) {
  if (is_own(number)) return {};
  File& file = *file_;
  os::System& system = file.system();
  const os::Status locked = system.try_lock(file.descriptor(), slot_byte(number));
  if (os::cause_of(os::Call::try_lock, locked) == os::Cause::contention) return {};
  if (locked != 0) return {os::code_of(locked), "cannot lock a byte of '" + name_ + "'"};
  Occupant who = file.read_slot(number);
  if (who.there) {
    file.judge_slot(number, who, nullptr);
    if (who.judgement.verdict != Verdict::dead) {
      (void)system.unlock(file.descriptor(), slot_byte(number), 1);
      return {};
    }
  }
  constexpr int tries = 64;  // each further one needs somebody who changes another part of the word
  for (int i = 0; i < tries; ++i) {
    const std::uint64_t raw = file.load(header::word);
    const LockWord word = LockWord::decode(raw);
    if (!LockWord::is_valid(raw) || word.is_free() || word.slot != number) break;
    (void)file.change(header::word, raw, word.bereft().encode());
  }
  const std::size_t at = slot_at(number) + slot::mark;
  Mark mark = Mark::decode(file.load(at));
  participant.last_mark = mark.number;
  if (mark.stands) {
    const std::uint64_t raw = mark.encode();
    mark.stands = false;
    (void)file.change(at, raw, mark.encode());
  }
  participant.slot = number;
  own_.push_back(number);
  taken = true;
  return {};
}

// --- what stands there ---

os::Result<std::optional<Standing>> standing_in_word(File& file, Word what, const claim::KnownProcesses* known) {
  constexpr int tries = 100;  // a word that changes faster than it can be read is held by somebody
  for (int i = 0; i < tries; ++i) {
    Standing hold;
    hold.raw = file.load(header::word);
    const LockWord word = LockWord::decode(hold.raw);
    if (!LockWord::is_valid(hold.raw)) return {{}, EBADMSG};
    if (word.is_free() || (what == Word::holders && !word.is_held())) return {};
    const auto used = file.used_slots();
    if (!used.ok() || word.slot >= used.value) return {{}, EBADMSG};
    hold.who = file.read_slot(word.slot);
    if (file.load(header::word) != hold.raw) continue;
    // It named the slot all the time, and whoever is in a slot that is named does not leave it.
    file.judge_slot(word.slot, hold.who, known);
    hold.slot = word.slot;
    hold.mode = word.state == LockWord::State::exclusive || word.state == LockWord::State::draining ? Mode::exclusive
                                                                                                    : Mode::upgradable;
    hold.number = number_of_word(word.number);
    return {std::move(hold), 0};
  }
  return {{}, EAGAIN};
}

std::optional<Standing> standing_in_slot(const File& file, std::uint64_t slot, const claim::KnownProcesses* known) {
  const std::size_t at = slot_at(slot) + slot::mark;
  constexpr int tries = 100;  // the last one is content with what it sees
  for (int i = 1;; ++i) {
    Standing hold;
    hold.raw = file.load(at);
    const Mark mark = Mark::decode(hold.raw);
    if (!mark.stands) return std::nullopt;
    hold.who = file.read_slot(slot);
    if (file.load(at) != hold.raw && i < tries) continue;
    file.judge_slot(slot, hold.who, known);
    hold.slot = slot;
    hold.mode = Mode::shared;
    hold.is_mark = true;
    hold.number = number_of_mark(mark.number);
    return hold;
  }
}

os::Result<std::vector<Standing>> all_standing(File& file) {
  std::vector<Standing> all;
  auto by_word = standing_in_word(file, Word::holders, nullptr);
  if (!by_word.ok()) return {{}, by_word.error};
  if (by_word.value) all.push_back(*std::move(by_word.value));
  const auto used = file.used_slots();
  if (!used.ok()) return {{}, used.error};
  for (std::uint64_t slot = 0; slot < used.value; ++slot) {
    if (auto hold = standing_in_slot(file, slot, nullptr)) all.push_back(*std::move(hold));
  }
  return {std::move(all), 0};
}

bool end_hold(File& file, const Standing& hold, End how) noexcept {
  if (hold.is_mark) {
    Mark mark = Mark::decode(hold.raw);
    mark.stands = false;
    return file.change(slot_at(hold.slot) + slot::mark, hold.raw, mark.encode());
  }
  const LockWord ended = LockWord::decode(hold.raw);
  constexpr int tries = 64;  // each further one needs somebody who comes into the line
  for (int i = 0; i < tries; ++i) {
    const std::uint64_t raw = file.load(header::word);
    const LockWord word = LockWord::decode(raw);
    if (word.is_free() || word.slot != ended.slot || word.number != ended.number) return false;
    const LockWord next = how == End::died ? word.bereft() : word.in_state(LockWord::State::free);
    if (file.change(header::word, raw, next.encode())) return true;
  }
  return false;  // not reached by tests
}

std::vector<Holder> Scheme::holders(std::error_code& why) {
  why.clear();
  if (const auto refusal = find_directory(); refusal.refused()) {
    why = refusal.why;
    return {};
  }
  const auto opened = File::open(directory_, name_, access_, File::For::looking, std::exchange(room_of_copies_, {}));
  if (!opened.file) {
    why = opened.refusal.why;
    return {};
  }
  const auto all = all_standing(*opened.file);
  why = os::code_of(all.error);
  std::vector<Holder> holders;
  for (const Standing& each : all.value) {
    holders.push_back(opened.file->holder_from(each.who, each.mode, each.number));
  }
  room_of_copies_ = opened.file->take_room();
  std::stable_partition(holders.begin(), holders.end(),
                        [](const Holder& each) { return each.verdict != Verdict::dead; });
  return holders;
}

std::error_code Scheme::break_hold(const Holder& hold, Proof proof) noexcept {
  try {
    std::error_code why;
    if (holders(why).empty()) return why ? why : errc::not_locked;
    auto opened = File::open(directory_, name_, access_, File::For::taking_part);
    if (opened.refusal.again) return std::make_error_code(std::errc::resource_unavailable_try_again);
    if (!opened.file) return opened.refusal.why;
    return break_in(*opened.file, hold, proof);
  } catch (const std::bad_alloc&) {
    return std::make_error_code(std::errc::not_enough_memory);
  }
}

std::error_code Scheme::break_in(File& file, const Holder& hold, Proof proof) {
  const auto all = all_standing(file);
  if (!all.ok()) return os::code_of(all.error);
  const auto is_dead = [](const Standing& each) { return each.who.judgement.verdict == Verdict::dead; };
  // While one of several lives, the lock is not stale.
  if (proof == Proof::stale && !std::all_of(all.value.begin(), all.value.end(), is_dead)) return errc::not_locked;
  bool broken = false;
  for (const Standing& each : all.value) {
    const bool this_one = each.who.record.nonce == hold.nonce && each.number == hold.number;
    if (proof != Proof::stale && !this_one) continue;
    broken = end_hold(file, each, proof == Proof::stale ? End::died : End::by_force) || broken;
  }
  return broken ? std::error_code() : errc::not_locked;
}

}  // namespace lockfile::schemes::shared_memory
