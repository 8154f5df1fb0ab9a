// Places in shared memory.
#include "claim/queue.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace lockfile::claim {
namespace {

// A place's word: the number, then one byte.
enum State : std::uint64_t { idle = 0, asking = 1, standing = 2, passed_by = 3 };
constexpr std::uint64_t state_mask = 3;
constexpr unsigned mode_shift = 2;
constexpr std::uint64_t mode_mask = 3;
constexpr std::uint64_t born_passed = 1U << 4U;
constexpr unsigned number_shift = 8;

// The word with the highest number: the number, then the slot that it is for.
constexpr unsigned slot_bits = 16;
constexpr std::uint64_t slot_mask = (1U << slot_bits) - 1;
// 4,000 a second would take a thousand years.
constexpr std::uint64_t last_number = (1ULL << 47U) - 1;

// The fields of a slot.
enum Field : std::size_t {
  id_field,
  pid_field,  // and uid
  start_field,
  namespaces_field,
  thread_field,
  since_field,
  program_field,  // two of them
};
constexpr std::size_t program_length = 16;

// Below that many there is room enough: no need to look whose owner is gone.
constexpr std::size_t plenty = 64;
// Of more, some at a time.
constexpr std::size_t looked_at_in_one_go = 16;
// Each further one needs somebody else to have been quicker.
constexpr int most_tries = 1000;

constexpr std::uint64_t word_of(std::uint64_t number, std::uint64_t flags) noexcept {
  return number << number_shift | flags;
}
constexpr std::uint64_t number_of(std::uint64_t word) noexcept { return word >> number_shift; }
constexpr std::uint64_t state_of(std::uint64_t word) noexcept { return word & state_mask; }
constexpr bool counts(std::uint64_t word) noexcept { return state_of(word) >= standing; }

std::string program_of(std::uint64_t first, std::uint64_t second) {
  std::array<char, program_length> text{};
  std::memcpy(text.data(), &first, sizeof first);
  std::memcpy(text.data() + sizeof first, &second, sizeof second);
  return {text.data(), ::strnlen(text.data(), text.size())};
}

template <class Load>
SlotOwner owner_from(const Load& load) {
  SlotOwner owner;
  owner.id = load(id_field);
  owner.pid = static_cast<std::int64_t>(load(pid_field) & 0xFFFF'FFFFU);
  owner.uid = static_cast<std::uint32_t>(load(pid_field) >> 32U);
  owner.start = load(start_field);
  owner.namespaces = load(namespaces_field);
  owner.thread = static_cast<std::int64_t>(load(thread_field));
  owner.program = program_of(load(program_field), load(program_field + 1));
  return owner;
}

}  // namespace

Mode Place::mode() const noexcept {
  const std::uint64_t mode = word >> mode_shift & mode_mask;
  return mode > static_cast<std::uint64_t>(Mode::upgradable) ? Mode::exclusive : static_cast<Mode>(mode);
}

bool Place::passed() const noexcept { return state_of(word) == passed_by; }

bool Place::was_born_passed() const noexcept { return (word & born_passed) != 0; }

Queue::Queue(os::System& system, os::SharedWord* first) : system_(system), first_(first) { seen_.reserve(slots); }

std::size_t Queue::slots_used() noexcept {
  return static_cast<std::size_t>(std::min<std::uint64_t>(system_.load(used()), slots));
}

void Queue::write(std::uint32_t slot, const SlotOwner& owner) noexcept {
  std::array<std::uint64_t, 2> program{};
  std::memcpy(program.data(), owner.program.data(), std::min(owner.program.size(), program_length));
  const auto low = static_cast<std::uint64_t>(owner.pid) & 0xFFFF'FFFFU;
  system_.store(field(slot, pid_field), low | static_cast<std::uint64_t>(owner.uid) << 32U);
  system_.store(field(slot, start_field), owner.start);
  system_.store(field(slot, namespaces_field), owner.namespaces);
  system_.store(field(slot, thread_field), static_cast<std::uint64_t>(owner.thread));
  system_.store(field(slot, program_field), program[0]);
  system_.store(field(slot, program_field + 1), program[1]);
}

bool Queue::take_over(std::uint32_t slot, const SlotOwner& owner, const IsGone& is_gone) {
  if (counts(system_.load(place(slot)))) return false;  // dead or alive, the one behind drops it
  const SlotOwner before = owner_of(slot);
  if (before.id == 0 || !is_gone(before)) return false;
  // Another newcomer was quicker: that and the like are races, not reached by tests that count coverage.
  if (!system_.compare_exchange(field(slot, id_field), before.id, owner.id)) return false;
  // It may have died while it asked for a place, and may even get one now from somebody who helps.
  for (int i = 0; i < most_tries; ++i) {
    const std::uint64_t word = system_.load(place(slot));
    const std::uint64_t last = system_.load(highest()) >> slot_bits;
    if (state_of(word) == idle) return true;
    if (system_.compare_exchange(place(slot), word, word_of(std::max(last, number_of(word)), idle))) return true;
  }
  return false;  // others help it on each time; not reached by tests
}

std::optional<std::uint32_t> Queue::enter(const SlotOwner& owner, const IsGone& is_gone) {
  const std::size_t in_use = slots_used();
  const auto fits = [&](std::uint32_t slot) {
    return system_.load(field(slot, id_field)) == 0 && system_.compare_exchange(field(slot, id_field), 0, owner.id);
  };
  std::optional<std::uint32_t> mine;
  for (std::uint32_t slot = 0; !mine && slot < in_use; ++slot) {
    if (fits(slot)) mine = slot;
  }
  const std::size_t to_look_at = in_use < plenty ? 0 : in_use < slots ? looked_at_in_one_go : slots;
  for (std::size_t i = 0; !mine && i < to_look_at; ++i) {
    const auto slot = static_cast<std::uint32_t>((owner.id + i) % in_use);
    if (take_over(slot, owner, is_gone)) mine = slot;
  }
  for (auto slot = static_cast<std::uint32_t>(in_use); !mine && slot < slots; ++slot) {
    if (fits(slot)) mine = slot;
  }
  if (!mine) return std::nullopt;
  // Seen by every look before there is a place.
  for (int i = 0; i < most_tries; ++i) {
    const std::uint64_t now = system_.load(used());
    if (now > *mine || system_.compare_exchange(used(), now, *mine + 1)) break;
  }
  write(*mine, owner);
  return mine;
}

void Queue::leave(std::uint32_t slot, std::uint64_t id) noexcept {
  // False: it was taken for gone, and the slot is another's.
  (void)system_.compare_exchange(field(slot, id_field), id, 0);
}

void Queue::set_thread(std::uint32_t slot, std::int64_t thread) noexcept {
  system_.store(field(slot, thread_field), static_cast<std::uint64_t>(thread));
}

bool Queue::is_owned_by(std::uint32_t slot, std::uint64_t id) noexcept {
  return system_.load(field(slot, id_field)) == id;
}

bool Queue::anybody_but(const IsGone& is_gone) noexcept {
  const auto in_use = static_cast<std::uint32_t>(slots_used());
  for (std::uint32_t slot = 0; slot < in_use; ++slot) {
    if (system_.load(field(slot, id_field)) != 0 && !(is_gone && is_gone(owner_of(slot)))) return true;
  }
  return false;
}

void Queue::complete(std::uint64_t highest) noexcept {
  const std::uint64_t slot = highest & slot_mask;
  const std::uint64_t number = highest >> slot_bits;
  if (slot >= slots) return;  // damaged
  const std::uint64_t word = system_.load(place(slot));
  if (state_of(word) != asking || number_of(word) >= number) return;
  const std::uint64_t flags =
      (word & ~state_mask & ((1U << number_shift) - 1)) | ((word & born_passed) != 0 ? passed_by : standing);
  (void)system_.compare_exchange(place(slot), word, word_of(number, flags));
}

std::optional<Place> Queue::stand(std::uint32_t slot, Mode mode, std::chrono::nanoseconds since, Born born) noexcept {
  system_.store(field(slot, since_field), static_cast<std::uint64_t>(since.count()));
  const std::uint64_t last = number_of(system_.load(place(slot)));
  const std::uint64_t flags =
      static_cast<std::uint64_t>(mode) << mode_shift | (born == Born::passed ? born_passed : 0U) | asking;
  system_.store(place(slot), word_of(last, flags));
  for (int i = 0; i < most_tries; ++i) {
    const std::uint64_t now = system_.load(highest());
    const std::uint64_t number = (now >> slot_bits) + 1;
    if (number > last_number || number <= last) break;  // damaged
    complete(now);
    const std::uint64_t next = number << slot_bits | slot;
    if (!system_.compare_exchange(highest(), now, next)) continue;
    complete(next);
    const std::uint64_t state = born == Born::passed ? passed_by : standing;
    return Place{slot, word_of(number, (flags & ~state_mask) | state)};
  }
  system_.store(place(slot), word_of(last, idle));
  return std::nullopt;
}

std::optional<Place> Queue::look_at(const Place& place) noexcept {
  const std::uint64_t word = system_.load(this->place(place.slot));
  if (!counts(word) || number_of(word) != place.number()) return std::nullopt;
  return Place{place.slot, word};
}

bool Queue::drop(const Place& place) noexcept {
  const std::uint64_t free = word_of(place.number(), idle);
  if (system_.compare_exchange(this->place(place.slot), place.word, free)) return true;
  // It may have been passed since it was looked at.
  const auto now = look_at(place);
  return now && system_.compare_exchange(this->place(place.slot), now->word, free);
}

bool Queue::drop_dead(const Place& place) noexcept {
  const std::uint64_t id = system_.load(field(place.slot, id_field));
  if (!drop(place)) return false;
  leave(place.slot, id);
  return true;
}

bool Queue::pass(const Place& place) noexcept {
  if (place.passed()) return true;
  return system_.compare_exchange(this->place(place.slot), place.word, (place.word & ~state_mask) | passed_by);
}

std::span<const Place> Queue::look() noexcept {
  complete(system_.load(highest()));
  seen_.clear();
  const auto in_use = static_cast<std::uint32_t>(slots_used());
  for (std::uint32_t slot = 0; slot < in_use; ++slot) {
    const std::uint64_t word = system_.load(place(slot));
    if (counts(word)) seen_.push_back({slot, word});
  }
  return seen_;
}

bool Queue::anyone_stands() noexcept {
  complete(system_.load(highest()));
  const std::size_t in_use = slots_used();
  for (std::size_t slot = 0; slot < in_use; ++slot) {
    if (state_of(system_.load(place(slot))) == standing) return true;
  }
  return false;
}

std::chrono::nanoseconds Queue::idle_since(const Place& place, std::chrono::nanoseconds now) noexcept {
  if (system_.load(idle_place()) == place.number()) {
    return std::chrono::nanoseconds(static_cast<std::int64_t>(system_.load(idle_time())));
  }
  system_.store(idle_time(), static_cast<std::uint64_t>(now.count()));
  system_.store(idle_place(), place.number());
  return now;
}

SlotOwner Queue::owner_of(std::uint32_t slot) const {
  return owner_from([&](std::size_t number) { return system_.load(field(slot, number)); });
}

std::chrono::nanoseconds Queue::since(std::uint32_t slot) const noexcept {
  return std::chrono::nanoseconds(static_cast<std::int64_t>(system_.load(field(slot, since_field))));
}

const Place* Queue::before(std::span<const Place> places, std::uint64_t number) noexcept {
  const Place* last = nullptr;
  for (const Place& each : places) {
    if (!each.passed() && each.number() < number && (last == nullptr || last->number() < each.number())) last = &each;
  }
  return last;
}

const Place* Queue::behind(std::span<const Place> places, std::uint64_t number) noexcept {
  const Place* first = nullptr;
  for (const Place& each : places) {
    if (!each.passed() && each.number() > number && (first == nullptr || first->number() > each.number())) {
      first = &each;
    }
  }
  return first;
}

std::size_t Queue::ahead_of(std::span<const Place> places, std::uint64_t number) noexcept {
  return static_cast<std::size_t>(std::count_if(
      places.begin(), places.end(), [&](const Place& each) { return !each.passed() && each.number() < number; }));
}

std::vector<Queue::Written> Queue::read(std::string_view bytes) {
  std::vector<Written> all;
  if (bytes.size() < words * sizeof(std::uint64_t)) return all;
  const auto load = [&](std::size_t word) {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data() + word * sizeof value, sizeof value);
    return value;
  };
  for (std::uint32_t slot = 0; slot < slots; ++slot) {
    const std::uint64_t word = load(words_before + slot);
    if (!counts(word)) continue;
    const std::size_t fields = words_before + slots + slot * words_of_slot;
    Written each;
    each.place = {slot, word};
    each.owner = owner_from([&](std::size_t number) { return load(fields + number); });
    each.since = std::chrono::nanoseconds(static_cast<std::int64_t>(load(fields + since_field)));
    all.push_back(std::move(each));
  }
  std::sort(all.begin(), all.end(),
            [](const Written& one, const Written& other) { return one.place.number() < other.place.number(); });
  return all;
}

}  // namespace lockfile::claim
