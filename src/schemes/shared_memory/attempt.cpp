// Trying, holding, releasing.
#include "schemes/shared_memory/attempt.hpp"

#include "os/watch.hpp"
#include "schemes/free_wait.hpp"

#include <lockfile/error.hpp>

#include <algorithm>
#include <cerrno>
#include <new>

namespace lockfile::schemes::shared_memory {
namespace {

// Each further one needs the word to have changed between a look and a step.
constexpr int rounds = 64;

}  // namespace

template <class Change>
bool Attempt::change_own(Change change) noexcept {
  for (;;) {  // each further round needs somebody who says meanwhile that he waits, or that readers are there
    const std::uint64_t raw = load_word();
    const LockWord word = LockWord::decode(raw);
    if (!is_own(word)) return false;
    if (file().change(header::word, raw, change(word).encode())) return true;
  }
}

Step Attempt::step() noexcept {
  try {
    return try_step();
  } catch (const std::bad_alloc&) {
    if (participant_) open_door();
    return Failed{std::make_error_code(std::errc::not_enough_memory), {}, {}};
  }
}

Step Attempt::try_step() {
  for (int i = 0; i < rounds; ++i) {
    if (!participant_) {
      Refusal refusal;
      participant_ = scheme_.take(request_, refusal);
      if (refusal.again) return in_turn();
      if (!participant_) return Failed{refusal.why, std::move(refusal.what), {}};
    }
    if (auto step = try_once()) {
      if (!std::holds_alternative<Blocked>(*step)) return *std::move(step);
      // Who holds in a file that has lost its name keeps nobody out.
      const auto still = file().still_there();
      if (!still.ok() || still.value) return *std::move(step);
      scheme_.forget();
      scheme_.leave(*participant_);
      participant_.reset();
    }
  }
  return in_turn();
}

std::optional<Step> Attempt::try_once() {
  switch (request_.mode) {
    case Mode::exclusive:
      return take_word(LockWord::State::exclusive);
    case Mode::upgradable:
      return take_word(LockWord::State::upgradable);
    case Mode::shared:
      break;
  }
  return share();
}

std::optional<Step> Attempt::take_word(LockWord::State state) {
  const std::uint64_t raw = load_word();
  const LockWord word = LockWord::decode(raw);
  if (!word.is_free()) return react_to_word();
  if (state == LockWord::State::exclusive && word.readers) return drain(word);
  const LockWord mine = word.taken_by(participant_->slot, state);
  if (!file().change(header::word, raw, mine.encode())) return std::nullopt;
  by_mark_ = false;
  number_ = mine.number;
  return granted(mine);
}

// There may be readers. While nobody is seen it is looked again, with the door closed: whoever marked its slot before
// is seen then, and whoever does it later sees the door.
std::optional<Step> Attempt::drain(LockWord seen) {
  Reader reader = find_reader();
  if (reader.damaged) return damaged();
  if (reader.standing) return react(std::move(reader.standing));
  const LockWord mine = seen.taken_by(participant_->slot, LockWord::State::draining);
  if (!file().change(header::word, seen.encode(), mine.encode())) return std::nullopt;
  number_ = mine.number;
  by_mark_ = false;
  reader = find_reader();
  if (reader.damaged || reader.standing) {  // it came in between
    open_door();
    return std::nullopt;
  }
  LockWord entered;
  const bool entered_it = change_own([&](LockWord word) {
    entered = word.in_state(LockWord::State::exclusive);
    entered.readers = false;
    return entered;
  });
  if (!entered_it) return std::nullopt;
  return granted(entered);
}

// For readers, to whom `drain` has closed it.
void Attempt::open_door() noexcept {
  (void)change_own([](LockWord word) {
    return word.state == LockWord::State::draining ? word.in_state(LockWord::State::free) : word;
  });
}

std::optional<Step> Attempt::share() {
  if (!LockWord::decode(load_word()).admits_readers()) return react_to_word();
  const Mark mark{true, ++participant_->last_mark};
  file().store(participant_->at(slot::mark), mark.encode());
  for (int i = 0; i < rounds; ++i) {
    const std::uint64_t raw = load_word();
    LockWord word = LockWord::decode(raw);
    if (!word.admits_readers()) break;
    if (!word.readers) {
      word.readers = true;
      if (!file().change(header::word, raw, word.encode())) continue;
    }
    by_mark_ = true;
    number_ = mark.number;
    return granted(word);
  }
  number_ = mark.number;
  take_mark_back();
  return std::nullopt;
}

// Whoever has seen it sleeps until this reader leaves:
//   upgrader: looks: nobody   closes the door     place, sign   looks: R reads   sleeps on its FIFO
//   R:                  marks              sees the door closed                        takes it back, and the sign:
//   tells
void Attempt::take_mark_back() noexcept {
  marked_in_vain_ = true;
  const std::size_t at = participant_->at(slot::mark);
  (void)file().change(at, Mark{true, number_}.encode(), Mark{false, number_}.encode());
}

Attempt::Reader Attempt::find_reader() {
  const auto used = file().used_slots();
  if (!used.ok()) return {.damaged = true, .standing = {}};
  for (std::uint64_t slot = 0; slot < used.value; ++slot) {
    if (slot == participant_->slot) continue;
    auto hold = standing_in_slot(file(), slot, &known_);
    if (!hold) continue;
    if (hold->who.judgement.verdict != Verdict::dead) return {.damaged = false, .standing = std::move(hold)};
    (void)end_hold(file(), *hold, End::died);
  }
  return {};
}

std::optional<Step> Attempt::react_to_word() {
  auto standing = standing_in_word(file(), Word::holders_and_drainers, &known_);
  if (standing.error == EAGAIN) return in_turn();
  if (!standing.ok()) return damaged();
  return react(std::move(standing.value));
}

std::optional<Step> Attempt::react(std::optional<Standing> standing) {
  if (!standing) return std::nullopt;
  if (standing->who.judgement.verdict != Verdict::dead) return blocked(*standing);
  (void)end_hold(file(), *standing, End::died);
  return std::nullopt;
}

Step Attempt::granted(const LockWord& word) noexcept { return Granted{.previous_holder_died = word.died}; }

Step Attempt::damaged() const {
  Refusal refusal = file().damaged("what it says of its holders cannot be");
  return Failed{refusal.why, std::move(refusal.what), {}};
}

Blocked Attempt::in_turn() {
  Blocked soon;
  os::Backoff moment(std::chrono::milliseconds(2), std::chrono::milliseconds(2));
  soon.look_again = moment.next(os::Process::current().system());
  return soon;
}

Step Attempt::blocked(Standing& by) {
  Blocked blocked;
  blocked.by = file().holder_from(by.who, by.mode, by.number);
  known_.keep(by.who.processes.watches);
  blocked.on = std::move(by.who.processes.watches);
  blocked.look_again = unwatched_.next(system());
  return blocked;
}

std::optional<Blocked> Attempt::withdraw() noexcept {
  if (participant_) scheme_.keep(std::move(participant_));
  unwatched_ = looks_;
  known_.keep({});
  return std::nullopt;
}

std::error_code Attempt::release() noexcept {
  bool ended = false;
  if (by_mark_) {
    const std::size_t at = participant_->at(slot::mark);
    ended = file().change(at, Mark{true, number_}.encode(), Mark{false, number_}.encode());
  } else {
    ended = change_own([](LockWord word) { return word.released(); });
  }
  if (child_ != 0) {
    file().store(participant_->at(slot::child), 0);
    file().store(participant_->at(slot::child_start), 0);
  }
  scheme_.keep(std::move(participant_));
  if (ended) return {};
  try {
    std::error_code why;
    const auto now = scheme_.holders(why);
    const bool somebody =
        std::any_of(now.begin(), now.end(), [](const Holder& each) { return each.verdict != Verdict::dead; });
    return somebody ? errc::not_my_lock : errc::not_locked;
  } catch (const std::bad_alloc&) {
    return errc::not_locked;  // by us; whether somebody else has it by now cannot be told
  }
}

Step Attempt::convert(Mode to) noexcept {
  try {
    return to == Mode::exclusive ? upgrade() : weaken(to);
  } catch (const std::bad_alloc&) {
    return Failed{std::make_error_code(std::errc::not_enough_memory), {}, {}};
  }
}

// The door is closed while we wait for the readers to leave, so whoever is not seen now does not come in later.
Step Attempt::upgrade() {
  const Failed broken{errc::not_my_lock, {}, {}};  // by force, before or meanwhile: who converts has looked before
  if (!change_own([](LockWord word) { return word.in_state(LockWord::State::upgrading); })) return broken;
  Reader reader = find_reader();
  if (reader.damaged) return damaged();
  if (reader.standing) return blocked(*reader.standing);
  LockWord entered;
  const bool is_in = change_own([&](LockWord word) {
    entered = word.in_state(LockWord::State::exclusive);
    entered.readers = false;
    return entered;
  });
  return is_in ? granted(entered) : Step(broken);
}

// A reader's mark stands before the word is given up: nobody who comes in between finds neither.
Step Attempt::weaken(Mode to) {
  LockWord left;
  if (to == Mode::upgradable) {
    const bool done = change_own([&](LockWord word) {
      left = word.released().in_state(LockWord::State::upgradable);
      return left;
    });
    return done ? granted(left) : Step(Failed{errc::not_my_lock, {}, {}});
  }
  const Mark mark{true, ++participant_->last_mark};
  file().store(participant_->at(slot::mark), mark.encode());
  const bool done = change_own([&](LockWord word) {
    left = word.released();
    left.readers = true;
    return left;
  });
  number_ = mark.number;
  by_mark_ = true;
  if (done) return granted(left);
  take_mark_back();  // broken by force since who converts has looked
  return Failed{errc::not_my_lock, {}, {}};
}

void Attempt::end_conversion() noexcept {
  if (by_mark_) return;
  (void)change_own([](LockWord word) {
    return word.state == LockWord::State::upgrading ? word.in_state(LockWord::State::upgradable) : word;
  });
}

bool Attempt::still_held(std::error_code& why) noexcept {
  why.clear();
  if (by_mark_) return file().load(participant_->at(slot::mark)) == Mark{true, number_}.encode();
  return is_own(LockWord::decode(load_word()));
}

void Attempt::abandon() noexcept { participant_.reset(); }

bool Attempt::reuse(const Request& request) noexcept {
  if (participant_) return false;
  request_ = request;
  child_ = 0;
  return true;
}

// The short way, with a kept slot: `take_word`, `drain` and `share` for a word that is as they find it when nobody
// holds or waits, and all who held have ended it. The changes are those of the long way, in its order, so whoever is on
// that meets nothing that it does not know.
bool Attempt::enter(const Request& request) noexcept {
  if (participant_ || request.mode == Mode::upgradable || scheme_.kept_of(request.thread) == nullptr) return false;
  participant_ = scheme_.take_kept();
  const std::uint64_t raw = load_word();
  const bool is_in = LockWord::is_quiet(raw) && (request.mode == Mode::shared    ? enter_shared(raw)
                                                 : LockWord::decode(raw).readers ? enter_after_readers(raw)
                                                                                 : enter_alone(raw));
  if (!is_in) {
    scheme_.keep(std::move(participant_));
    return false;
  }
  request_ = request;
  child_ = 0;
  return true;
}

bool Attempt::enter_alone(std::uint64_t raw) noexcept {
  const LockWord mine = LockWord::decode(raw).taken_by(participant_->slot, LockWord::State::exclusive);
  entered_ = mine.encode();
  by_mark_ = false;
  number_ = mine.number;
  return file().change(header::word, raw, entered_);
}

bool Attempt::enter_after_readers(std::uint64_t raw) noexcept {
  if (file().any_mark_but(participant_->slot)) return false;
  const LockWord mine = LockWord::decode(raw).taken_by(participant_->slot, LockWord::State::draining);
  if (!file().change(header::word, raw, mine.encode())) return false;
  by_mark_ = false;
  number_ = mine.number;
  const bool entered_it = !file().any_mark_but(participant_->slot) && change_own([&](LockWord word) {
    word.state = LockWord::State::exclusive;
    word.readers = false;
    entered_ = word.encode();
    return word;
  });
  if (!entered_it) open_door();
  return entered_it;
}

// Whoever closes the door after the second look sees the mark, for `readers` is set.
bool Attempt::enter_shared(std::uint64_t raw) noexcept {
  if (!LockWord::decode(raw).readers) return false;
  by_mark_ = true;
  number_ = ++participant_->last_mark;
  file().store(participant_->at(slot::mark), Mark{true, number_}.encode());
  if (load_word() == raw) return true;
  take_mark_back();
  return false;
}

// The word is as `enter` left it; if it is not, `release` looks at what has become of it.
bool Attempt::leave() noexcept {
  if (child_ != 0) return false;
  if (by_mark_) {
    const std::size_t at = participant_->at(slot::mark);
    if (!file().change(at, Mark{true, number_}.encode(), Mark{false, number_}.encode())) return false;
  } else {
    const LockWord word = LockWord::decode(entered_);
    // What `enter` left may be of an earlier hold.
    if (!is_own(word) || !file().change(header::word, entered_, word.released().encode())) return false;
  }
  scheme_.keep(std::move(participant_));
  return true;
}

std::error_code Attempt::hand_over(std::int64_t child) noexcept {
  const auto start = system().process_start(child);
  if (!start.ok() && !system().process_exists(child)) return std::make_error_code(std::errc::no_such_process);
  std::error_code why;
  if (!still_held(why)) return errc::not_my_lock;
  child_ = child;
  child_start_ = start.ok() ? start.value : 0;
  // The time first: a pid with another's time would be one that has ended.
  file().store(participant_->at(slot::child_start), child_start_);
  file().store(participant_->at(slot::child), static_cast<std::uint64_t>(child));
  return {};
}

std::optional<int> Attempt::share_guard(std::error_code& why) noexcept {
  why.clear();
  if (!file().descriptor_is_ours()) {
    why = errc::not_my_lock;
    return std::nullopt;
  }
  const auto copy = system().duplicate(file().descriptor());
  why = os::code_of(copy.error);
  return copy.ok() ? std::optional<int>(copy.value) : std::nullopt;
}

bool Attempt::outlives_us() noexcept { return child_ != 0 && !claim::has_ended(system(), child_, child_start_); }

std::unique_ptr<lockfile::Attempt> free_wait(Scheme& scheme) {
  return std::make_unique<PollingFreeWait>(scheme, std::chrono::milliseconds(50));
}

}  // namespace lockfile::schemes::shared_memory
