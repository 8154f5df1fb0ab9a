// An attempt, step by step; the head of scheme.hpp has the protocol.
#include "schemes/etcd/attempt.hpp"

#include "claim/judge.hpp"
#include "os/watch.hpp"

#include <lockfile/error.hpp>

#include <algorithm>
#include <new>
#include <utility>

namespace lockfile::schemes::etcd {

using namespace std::chrono_literals;
using Kind = Operation::Kind;

namespace {

// An answer mostly comes within a fraction of it: cheaper waited for than slept for.
constexpr std::chrono::milliseconds answer_soon = 20ms;
constexpr std::chrono::milliseconds look_later = 200ms;
// So long a caller who gives up stays to see its key removed; it is removed anyway.
constexpr std::chrono::milliseconds longest_leaving = 250ms;

Failed incomplete() { return {std::make_error_code(std::errc::protocol_error), "an answer is incomplete", {}}; }

}  // namespace

Step Attempt::step() noexcept {
  try {
    constexpr int rounds = 32;  // more: what is in the way changes as fast as it is looked at
    for (int i = 0; i < rounds; ++i) {
      if (auto step = go_on()) return *std::move(step);
    }
    // Not reached by tests.
    return Blocked{{}, os::Process::current().system().now() + answer_soon, {}};
  } catch (const std::bad_alloc&) {  // not reached by tests: see session.hpp
    return Failed{std::make_error_code(std::errc::not_enough_memory), {}, {}};
  }
}

std::optional<Step> Attempt::go_on() {
  switch (state_) {
    case State::idle:
      return begin();
    case State::leasing:
      return leased();
    case State::asking:
      return asked();
    case State::waiting:
      return wait();
    case State::looking:
      return looked();
    case State::burying:
      return buried();
    case State::held:  // not reached by tests: who has it asks no more
      return Granted{static_cast<std::uint64_t>(created_)};
    case State::leaving:
      break;  // nor is this: who withdraws does so to the end before it asks again
  }
  if (!answered()) return not_answered();
  state_ = State::idle;
  return std::nullopt;
}

// --- waiting for answers ---

bool Attempt::answered() noexcept {
  const bool done =
      wait_for(*pending_, *event_, system(), request_.may_queue ? answer_soon : session_->patience() + 1s);
  scheme_.set_unanswered(!done);
  return done;
}

Step Attempt::not_answered() {
  Blocked blocked;
  if (event_->is_open()) {
    blocked.on.push_back(event_->watch());
  } else {  // no descriptor was to be had
    blocked.look_again = system().now() + answer_soon;
  }
  return blocked;
}

Blocked Attempt::blocked() const {
  Blocked blocked;
  if (event_->is_open()) blocked.on.push_back(event_->watch());
  blocked.on.insert(blocked.on.end(), processes_.begin(), processes_.end());
  if (look_again_ || !event_->is_open()) blocked.look_again = system().now() + look_later;
  blocked.by = by_;
  return blocked;
}

// --- the way to a key ---

std::optional<Step> Attempt::begin() {
  std::error_code why;
  std::string what;
  session_ = scheme_.session(why, what);
  if (!session_) return Failed{why, std::move(what), {}};
  if (!event_) event_ = std::make_shared<Event>(system());
  by_.reset();
  has_waited_ = false;
  look_again_ = false;
  lease_ = session_->lease();
  if (lease_) {
    ask();
  } else {
    pending_ = session_->ask_for_lease(event_);
    state_ = State::leasing;
  }
  return std::nullopt;
}

std::optional<Step> Attempt::leased() {
  if (!answered()) return not_answered();
  const Answer& answer = pending_->answer;
  state_ = State::idle;
  if (answer.why) return Failed{answer.why, answer.what, {}};
  return std::nullopt;
}

// What is older than a key of ours and in its way; `made_by` 0: of any age, and itself.
Range Attempt::older(std::int64_t made_by) const {
  const bool readers_too = request_.mode == Mode::exclusive;
  Range range = scheme_.is_semaphore() || readers_too ? scheme_.all_keys() : below(exclusive_keys(scheme_.root()));
  range.created_by = made_by;
  // Of units all are needed, of locks the last one before ours.
  range.newest_first = !scheme_.is_semaphore();
  range.limit = scheme_.is_semaphore() ? 0 : 1;
  return range;
}

void Attempt::ask() {
  // Servers keep the names of keys that are gone until they compact, and count past them: a lock that is acquired often
  // has few names. A request that is still on its way might make an old name stand again.
  if (!key_serves_again_ || mode_of_key_ != request_.mode) key_ = scheme_.new_key(request_.mode);
  mode_of_key_ = request_.mode;
  key_serves_again_ = false;
  scheme_.note_waiting(key_);
  value_ = scheme_.new_value(request_, *lease_);
  created_ = 0;
  const Operation put{.kind = Kind::put, .range = {.from = key_}, .value = value_};
  Range first = scheme_.all_keys();
  first.limit = 1;
  Transaction asking;
  asking.when.push_back({.from = key_});
  asking.then.push_back(put);
  asking.otherwise.push_back({.range = {.from = key_}});
  if (request_.may_queue || scheme_.is_semaphore()) {
    // Is it alone? Who is before it is asked for afterwards: sorting keys would hold the servers' writers up.
    Range others = older(0);
    others.limit = 0;
    others.count = true;
    asking.then.push_back({.range = others});
  } else {
    // Nothing is written when it is busy.
    const Range in_the_way = older(0);
    asking.when.push_back({.from = in_the_way.from, .to = in_the_way.to});
    asking.otherwise.push_back({.range = first});
  }
  pending_ = session_->begin(asking, lease_, event_, session_->patience());
  state_ = State::asking;
}

std::optional<Step> Attempt::asked() {
  if (!answered()) return not_answered();
  const Answer& answer = pending_->answer;
  if (answer.why) {
    Failed failed{answer.why, answer.what, {}};
    const bool lease_gone = answer.lease_gone;
    begin_anew();  // it may have been done
    if (lease_gone) return std::nullopt;
    return failed;
  }
  key_serves_again_ = !answer.sent_before;
  if (!answer.succeeded) return tried(answer);
  created_ = answer.revision;
  if (created_ == 0) {  // nobody could say which hold is the newer one
    begin_anew();
    return incomplete();
  }
  const bool only_tried = !request_.may_queue && !scheme_.is_semaphore();
  const bool counts_itself = scheme_.is_semaphore() || request_.mode == Mode::exclusive;
  if (only_tried || answer.count == (counts_itself ? 1 : 0)) return grant();
  look();
  return std::nullopt;
}

// The own key stood already, from an earlier sending; or it was only tried, and somebody is in the way.
std::optional<Step> Attempt::tried(const Answer& answer) {
  if (!answer.ranges.empty() && !answer.ranges[0].empty()) {
    created_ = answer.ranges[0].front().created;
    look();
    return std::nullopt;
  }
  state_ = State::idle;
  scheme_.end_waiting(key_);
  if (answer.ranges.size() < 2 || answer.ranges[1].empty()) return incomplete();
  const Key& first = answer.ranges[1].front();
  by_ = holder_of(first, session_->process());
  if (by_->verdict == Verdict::dead) return bury(first);
  return Blocked{{}, system().now() + look_later, by_};
}

// --- in the queue ---

// 3 of the protocol: nothing but the answer to this says that it is held.
void Attempt::look() {
  if (before_) {
    before_->fired = false;
    before_->look = false;
  }
  if (own_) own_->look = false;
  look_again_ = false;
  Transaction looking;
  looking.when.push_back({.from = key_, .created = created_});
  looking.then.push_back({.range = older(scheme_.is_semaphore() ? created_ : created_ - 1)});
  if (!has_waited_) {
    Range first = scheme_.all_keys();  // who holds
    first.limit = 1;
    looking.then.push_back({.range = first});
  }
  pending_ = session_->begin(looking, lease_, event_, session_->patience());
  state_ = State::looking;
}

std::optional<Step> Attempt::looked() {
  if (!answered()) return not_answered();
  const Answer& answer = pending_->answer;
  if (answer.why) {
    if (!stands() || !request_.may_queue || answer.why != std::errc::host_unreachable) {
      Failed failed{answer.why, answer.what, {}};
      begin_anew();
      return failed;
    }
    // The key stands for as long as the lease does: the servers may come back in time.
    state_ = State::waiting;
    look_again_ = true;
    return blocked();
  }
  if (!answer.succeeded) {
    begin_anew();  // it was broken, or its lease was over, in the same moment
    return std::nullopt;
  }
  return judge_place(answer);
}

std::optional<Step> Attempt::judge_place(const Answer& answer) {
  if (answer.ranges.empty()) return incomplete();
  const std::vector<Key>& keys = answer.ranges[0];
  if (scheme_.is_semaphore()) {
    const std::size_t holding = holding_units(keys, scheme_.units());
    const auto own = static_cast<std::size_t>(
        std::find_if(keys.begin(), keys.end(), [&](const Key& each) { return each.name == key_; }) - keys.begin());
    if (own < holding) return grant();
    by_.reset();
    // The first who waits is behind all who hold.
    const bool first = own == holding;
    // Not reached by tests: our own key is among them, and the first of all holds.
    if (own == 0) return behind({}, true, answer.revision);
    return behind(keys[own - 1], first, answer.revision);
  }
  const auto blocker = std::find_if(keys.begin(), keys.end(), [&](const Key& each) { return each.name != key_; });
  if (blocker == keys.end()) return grant();
  by_.reset();
  if (answer.ranges.size() > 1 && !answer.ranges[1].empty() && answer.ranges[1].front().name != key_) {
    by_ = holder_of(answer.ranges[1].front(), session_->process());
  }
  return behind(*blocker, false, answer.revision);
}

// `watch_all`: any unit that is given back counts.
std::optional<Step> Attempt::behind(const Key& blocker, bool watch_all, std::int64_t revision) {
  if (!blocker.name.empty()) {
    const Holder who = holder_of(blocker, session_->process());
    if (who.verdict == Verdict::dead) return bury(blocker);
    processes_.clear();
    if (who.verdict == Verdict::alive && !who.this_process) {
      processes_ = claim::see_processes(session_->process(), author_of(blocker).record, nullptr).watches;
    }
  }
  state_ = State::waiting;
  if (!request_.may_queue) return blocked();
  const Range all = scheme_.all_keys();
  const std::string& from = watch_all ? all.from : blocker.name;
  if (!before_ || before_->from != from) {
    session_->end_watch(before_);
    before_ =
        session_->watch(from, watch_all ? all.to : "", scheme_.is_semaphore() && !watch_all, revision, lease_, event_);
  }
  if (!own_) own_ = session_->watch(key_, "", false, revision, lease_, event_);
  has_waited_ = true;
  return std::nullopt;
}

std::optional<Step> Attempt::wait() {
  event_->clear();
  if (!stands()) {
    begin_anew();
    return std::nullopt;
  }
  if (!request_.may_queue) return blocked();
  const bool died = std::any_of(processes_.begin(), processes_.end(), [&](const Watch& each) {
    const auto over = system().readable(each.source().descriptor());
    return over.ok() && over.value;
  });
  // One look for both that began late: the own key's watch was begun after the other one, and says so too. Where the
  // first look was not answered there are no watches yet.
  const auto changed = [&] { return before_->fired || (before_->look && own_->began != 0) || own_->look; };
  if (!look_again_ && !died && !changed()) return blocked();
  look();
  return std::nullopt;
}

// Proved dead, on this host: its key need not stand until its lease is over.
std::optional<Step> Attempt::bury(const Key& dead) {
  Transaction removing;
  removing.when.push_back({.from = dead.name, .created = dead.created});
  removing.then.push_back({.kind = Kind::erase, .range = {.from = dead.name}});
  pending_ = session_->begin(removing, nullptr, event_, session_->patience());
  processes_.clear();
  state_ = State::burying;
  return std::nullopt;
}

std::optional<Step> Attempt::buried() {
  if (!answered()) return not_answered();
  const Answer& answer = pending_->answer;
  if (answer.why && created_ == 0) {
    state_ = State::idle;
    return Failed{answer.why, answer.what, {}};
  }
  if (created_ == 0) {
    state_ = State::idle;  // it was only tried
  } else {
    look();
  }
  return std::nullopt;
}

std::optional<Step> Attempt::grant() {
  if (!stands()) {
    begin_anew();  // the answer came too late to count
    return std::nullopt;
  }
  session_->end_watch(before_);
  scheme_.end_waiting(key_);
  processes_.clear();
  by_.reset();
  if (scheme_.is_semaphore() && has_waited_) announce();
  state_ = State::held;
  return Granted{request_.mode == Mode::exclusive ? static_cast<std::uint64_t>(created_) : 0};
}

// Whoever waits behind this key has seen it wait, and watches it. It is sent until it is answered; who looks meanwhile
// sees by the order of the keys that it holds.
void Attempt::announce() {
  Transaction holding;
  holding.when.push_back({.from = key_, .created = created_});
  holding.then.push_back({.kind = Kind::put, .range = {.from = key_}, .value = value_});
  (void)session_->begin(holding, lease_, nullptr, std::chrono::nanoseconds(lease_->end.load()) - system().since_boot(),
                        Session::How::later);
}

bool Attempt::stands() const noexcept { return lease_->stands(system()) && (!own_ || !own_->fired); }

void Attempt::end_watches() noexcept {
  if (!session_) return;
  session_->end_watch(before_);
  session_->end_watch(own_);
  processes_.clear();
}

// The key is given up, wherever it may be.
void Attempt::begin_anew() noexcept {
  end_watches();
  scheme_.end_waiting(key_);
  key_serves_again_ = false;
  try {
    (void)session_->forget(key_, pending_, lease_, nullptr);
  } catch (const std::bad_alloc&) {  // not reached by tests: see session.hpp
    // It stays until the lease is over.
  }
  scheme_.set_unanswered(false);
  state_ = State::idle;
}

std::optional<Blocked> Attempt::withdraw() noexcept {
  scheme_.set_unanswered(false);
  scheme_.end_waiting(key_);
  try {
    // Not reached by tests: who only tries stays until the dead one's removal is answered, or was given up.
    const bool only_tries = state_ == State::burying && created_ == 0;
    if (state_ == State::idle || state_ == State::leasing || only_tries) {
      state_ = State::idle;
      return std::nullopt;
    }
    if (state_ != State::leaving) {
      key_serves_again_ = false;
      end_watches();
      pending_ = session_->forget(key_, state_ == State::asking ? pending_ : nullptr, lease_, event_);
      leave_by_ = system().now() + longest_leaving;
      state_ = State::leaving;
    }
    if (!wait_for(*pending_, *event_, system(), answer_soon) && system().now() < leave_by_ && event_->is_open()) {
      return Blocked{{event_->watch()}, leave_by_, {}};
    }
  } catch (const std::bad_alloc&) {  // not reached by tests: see session.hpp
    // The key stays until the lease is over.
  }
  state_ = State::idle;
  return std::nullopt;
}

// --- the hold ---

std::error_code Attempt::release() noexcept {
  std::error_code error;
  try {
    error = end_hold();
  } catch (const std::bad_alloc&) {  // not reached by tests: see session.hpp
    error = std::make_error_code(std::errc::not_enough_memory);
  }
  end_watches();
  state_ = State::idle;
  return error;
}

std::error_code Attempt::end_hold() {
  if (state_ != State::held) return errc::not_locked;
  const bool stood = stands();
  const bool served_well = std::exchange(key_serves_again_, false);
  Range first = scheme_.all_keys();
  first.limit = 1;
  Transaction ending;
  ending.when.push_back({.from = key_, .created = created_});
  ending.then.push_back({.kind = Kind::erase, .range = {.from = key_}});
  ending.otherwise.push_back({.range = first});
  // It goes on being sent when the caller has stopped to wait: the key must not stand for as long as this process does.
  const auto until_end = std::chrono::nanoseconds(lease_->end.load()) - system().since_boot();
  const auto pending =
      session_->begin(ending, lease_, event_, std::max<std::chrono::nanoseconds>(until_end, session_->patience()));
  const auto limit = stood ? session_->patience() : std::chrono::milliseconds(1000);
  if (!wait_for(*pending, *event_, system(), limit)) {
    return stood ? std::make_error_code(std::errc::host_unreachable) : make_error_code(errc::not_locked);
  }
  const Answer& answer = pending->answer;
  if (answer.why) return stood ? answer.why : make_error_code(errc::not_locked);
  key_serves_again_ = served_well && answer.succeeded && !answer.sent_before;
  if (answer.succeeded || (answer.sent_before && stood)) {
    return stood ? std::error_code() : make_error_code(errc::not_locked);
  }
  const bool another = !answer.ranges.empty() && !answer.ranges[0].empty();
  return another ? errc::not_my_lock : errc::not_locked;
}

bool Attempt::still_held(std::error_code& why) noexcept {
  why.clear();
  if (state_ != State::held) return false;
  try {
    return look_at_own(why);
  } catch (const std::bad_alloc&) {  // not reached by tests: see session.hpp
    why = std::make_error_code(std::errc::not_enough_memory);
    return false;
  }
}

bool Attempt::look_at_own(std::error_code& why) {
  event_->clear();
  if (!stands()) return false;
  Transaction looking;
  looking.then.push_back({.range = {.from = key_}});
  const auto until_end = std::chrono::nanoseconds(lease_->end.load()) - system().since_boot();
  const auto limit = std::min<std::chrono::nanoseconds>(session_->patience(), until_end);
  const auto pending = session_->begin(looking, lease_, event_, limit);
  const bool done = wait_for(*pending, *event_, system(), limit);
  if (!stands()) return false;
  if (!done || pending->answer.why) {  // not done: mostly the lease is over by then; not reached by tests
    why = done ? pending->answer.why : std::make_error_code(std::errc::host_unreachable);
    return false;
  }
  const auto& ranges = pending->answer.ranges;
  if (ranges.empty()) {
    why = incomplete().why;
    return false;
  }
  return !ranges[0].empty() && ranges[0].front().created == created_;
}

std::span<const Watch> Attempt::lost() noexcept {
  try {
    if (state_ != State::held || !event_->is_open()) return {};
    if (!own_) own_ = session_->watch(key_, "", false, created_, lease_, event_);
    if (lost_.empty()) lost_.push_back(event_->watch());
    return lost_;
  } catch (const std::bad_alloc&) {  // not reached by tests: see session.hpp
    return {};
  }
}

std::error_code Attempt::renew() noexcept {
  try {
    if (state_ != State::held) return errc::not_locked;
    const auto begun = system().since_boot();
    const auto until = system().now() + session_->patience();
    while (stands() && lease_->renewed.load() < begun.count()) {
      if (system().now() >= until) return std::make_error_code(std::errc::host_unreachable);
      event_->clear();
      session_->renew(event_);
      event_->wait_until(std::min(until, system().now() + look_later));
    }
    std::error_code why;
    if (look_at_own(why)) return {};
    return why ? why : make_error_code(errc::not_locked);
  } catch (const std::bad_alloc&) {  // not reached by tests: see session.hpp
    return std::make_error_code(std::errc::not_enough_memory);
  }
}

std::optional<std::chrono::nanoseconds> Attempt::lease_end() const noexcept {
  if (!scheme_.leased() || !lease_) return std::nullopt;
  return std::chrono::nanoseconds(lease_->end.load());
}

void Attempt::abandon() noexcept {
  pending_.reset();
  own_.reset();
  before_.reset();
  lease_.reset();
  session_.reset();
  event_.reset();
  lost_.clear();
  processes_.clear();
  key_serves_again_ = false;
  state_ = State::idle;
}

bool Attempt::reuse(const Request& request) noexcept {
  if (state_ != State::idle) return false;
  request_ = request;
  return true;
}

}  // namespace lockfile::schemes::etcd
