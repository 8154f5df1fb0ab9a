// Trying, holding, releasing.
#include "schemes/lock_file/attempt.hpp"

#include "claim/fence.hpp"
#include "claim/guard.hpp"
#include "claim/passed.hpp"
#include "claim/sweep.hpp"
#include "os/watch.hpp"
#include "schemes/free_wait.hpp"

#include <lockfile/error.hpp>

#include <array>
#include <cerrno>
#include <new>

namespace lockfile::schemes {

using claim::Look;

Blocked Waits::blocked_by(const claim::Word& word, Look& look) {
  os::System& system = word.directory().system();
  Blocked blocked;
  blocked.by = word.holder_of(look);
  const bool watched = look.processes_visible && look.processes.all_watched;
  const bool may_close = look.judgement.verdict == Verdict::alive && !watched;
  known_.keep(look.processes.watches);
  claim::Word::Watches watches = word.watches(look);
  blocked.on = std::move(watches.on);
  // A process that runs without a descriptor of ours being there to tell of its end, or on another host.
  const bool must_poll = !word.directory().local() || (look.processes_visible && !watched) || !watches.all;
  if (must_poll) {
    blocked.look_again = remote_.next(system);
  } else if (may_close) {
    settle(system, *blocked.by, blocked);
  }
  if (look.lease_left) {
    // Its end gives no event. A look that begins then shows whether it has been renewed.
    const auto end = system.now() + *look.lease_left;
    if (!blocked.look_again || end < *blocked.look_again) blocked.look_again = end;
  }
  return blocked;
}

void Waits::settle(os::System& system, const Holder& by, Blocked& blocked) {
  constexpr std::array<std::chrono::milliseconds, 3> after = {
      std::chrono::milliseconds(1), std::chrono::milliseconds(4), std::chrono::milliseconds(16)};
  const std::string hold = by.nonce + "." + std::to_string(by.number);
  const auto now = system.now();
  if (hold != settling_) {
    settling_ = hold;
    settle_at_.reset();  // what was planned for the hold before says nothing of this one
  }
  // A look that follows no event is followed by others too: the close event may have gone out before the watch was
  // there. So is the first look at this hold, which is the last one when the inode is watched already.
  //   holder: release; hold 2: killed, close event                    lock drops
  //   waiter:                                      arm   look: still locked            <- would have slept for ever
  const bool was_planned = settle_at_ && now >= *settle_at_;
  if (!was_planned) {
    looks_ = 0;  // woken by an event, or armed, or another hold
  } else if (looks_ < static_cast<int>(after.size())) {
    ++looks_;
  }
  settle_at_.reset();
  if (looks_ < static_cast<int>(after.size())) {
    settle_at_ = now + after[static_cast<std::size_t>(looks_)];
    blocked.look_again = settle_at_;
  }
}

Blocked Waits::in_turn(os::System& system, std::optional<Holder> by) {
  Blocked blocked;
  os::Backoff soon(std::chrono::milliseconds(2), std::chrono::milliseconds(2));
  blocked.look_again = soon.next(system);
  blocked.by = std::move(by);
  return blocked;
}

Step LockFileAttempt::step() noexcept {
  try {
    return try_step();
  } catch (const std::bad_alloc&) {
    if (may_stand_) (void)give_up_claim();  // refused, what stands is ours until this process ends
    return Failed{std::make_error_code(std::errc::not_enough_memory), {}, {}};
  }
}

Step LockFileAttempt::step_before_line() noexcept {
  brief_ = true;
  Step made = step();
  brief_ = false;
  return made;
}

// Needs no memory: whoever comes next finds the mark in what stands, if anything does, and removes it.
os::Status LockFileAttempt::give_up_claim() noexcept {
  may_stand_ = false;
  if (!claim_) return 0;  // lost just now, and no memory to say so; not reached by tests: two troubles
  const os::Status marked = claim_->give_up();
  lose_claim();
  return marked;
}

Step LockFileAttempt::try_step() {
  constexpr int rounds = 16;  // each further one needs W to have changed between the try and the look
  Failed failed;
  for (int i = 0; i < rounds; ++i) {
    may_stand_ = false;
    if (auto unprepared = prepare()) return *std::move(unprepared);
    if (request_.mode == Mode::upgradable && !word_->can_be_upgradable()) {
      return Failed{std::make_error_code(std::errc::operation_not_supported),
                    "cannot hold upgradable: byte locks do not reach all who use '" + scheme_.path_.directory + "'",
                    {}};
    }
    failed = {};
    // Before anybody can see the hold. See claim/lease.hpp.
    lease_end_ = system().since_boot() + scheme_.terms_.lease;
    may_stand_ = true;
    switch (publish(failed)) {
      case Published::yes:
        if (auto step = held_by_us(failed)) return *std::move(step);
        continue;
      case Published::failed:
        return failed;
      case Published::no:
        may_stand_ = false;
        break;
    }
    if (!claim_) continue;  // somebody cleared it: another one
    // A reader goes in without looking who is in, and a writer goes in line.
    const bool shared = request_.mode != Mode::exclusive;
    Look look = scheme_.look_at(*word_, claim_.get(), &waits_.known(),
                                shared || brief_ ? claim::Word::Into::word : claim::Word::Into::group);
    if (!shared && brief_ && look.state == Look::State::held && look.group) return Blocked{};
    may_stand_ = shared || look.own || look.state == Look::State::vacant;
    if (shared) {
      bool changed = false;
      if (auto step = enter_readers(look, failed, changed)) return *std::move(step);
      if (changed) continue;
      if (look.group) look = scheme_.look_at(*word_, claim_.get(), &waits_.known());  // it has closed
    }
    if (auto step = react(look, failed)) return *std::move(step);
  }
  // What was refused again and again for another reason than that somebody is there is a failure, not a wait.
  if (failed.why) return failed;
  return waits_.in_turn(word_->directory().system(), {});
}

// The directory, a claim in it, and this attempt's number in its record.
std::optional<Failed> LockFileAttempt::prepare() {
  constexpr int tries = 3;
  os::Status error = 0;
  for (int i = 0; i < tries; ++i) {
    if (claim_ && !claim_->directory().is_at(scheme_.path_.directory)) lose_claim();
    if (!claim_) {
      if (auto failed = find_claim()) return failed;
    }
    if (numbered_ && !claim_->number_is_used()) return std::nullopt;
    error = claim_->begin_hold(request_.mode, request_.thread);
    numbered_ = error == 0;
    if (numbered_) return std::nullopt;
    lose_claim();
    if (error != EBADF) break;
    scheme_.abandon();  // somebody closed all our descriptors: what was kept from before is of no use
  }
  return Failed{os::code_of(error), "cannot write to '" + scheme_.path_.directory + "'", {}};
}

std::optional<Failed> LockFileAttempt::find_claim() {
  const auto directory = scheme_.resolve();
  if (!directory.ok()) {
    return Failed{os::code_of(directory.error), "cannot open directory '" + scheme_.path_.directory + "'", {}};
  }
  if (scheme_.kept_.empty()) {
    if (auto another = scheme_.find_kernel_lock(*directory.value, scheme_.path_.name)) return another;
  }
  auto made = scheme_.take_claim(directory.value);
  if (!made.claim) {
    return Failed{os::code_of(made.error), "cannot create a file in '" + scheme_.path_.directory + "'", {}};
  }
  claim_ = std::move(made.claim);
  word_.emplace(directory.value, scheme_.names_);
  numbered_ = false;
  return std::nullopt;
}

LockFileAttempt::Published LockFileAttempt::publish(Failed& failed) {
  if (request_.mode == Mode::shared && enter_open_group()) return Published::yes;
  const bool by_link = scheme_.publish_ == Publish::link ||
                       (scheme_.publish_ == Publish::automatic && claim_->trial().link_scheme_works());
  if (request_.mode != Mode::exclusive && !(by_link && may_be_lone_reader())) return publish_shared(failed);
  return by_link ? publish_link(failed) : publish_mkdir(failed);
}

// A second reader must be able to link the first one's claim, which the kernel forbids for another user's
// (fs.protected_hardlinks, proc(5)): only where no other user comes.
bool LockFileAttempt::may_be_lone_reader() const noexcept {
  return claim_->directory().is_private_of(claim_->info().uid);
}

LockFileAttempt::Published LockFileAttempt::publish_shared(Failed& failed) {
  const bool by_link = claim_->trial().hard_links;
  claim::Trials& trials = claim_->directory().trials();
  const os::Call call = by_link ? os::Call::link : os::Call::rename_new;
  os::Status error = ENOSYS;
  if (by_link || trials.rename_new_works(claim_->directory())) {
    error = word_->make_group(*claim_, scheme_.terms_.access, held_);
  }
  if (os::cause_of(call, error) != os::Cause::unsupported) {
    return answer(call, error, "cannot make a group of readers in '" + scheme_.path_.directory + "'", failed);
  }
  if (!by_link) trials.rename_new_refused(claim_->directory());
  failed = Failed{
      std::make_error_code(std::errc::operation_not_supported),
      "cannot share: '" + scheme_.path_.directory + "' has neither hard links nor renaming that replaces nothing",
      {}};
  return Published::failed;
}

std::optional<Step> LockFileAttempt::enter_readers(Look& look, Failed& failed, bool& changed) {
  if (look.state != Look::State::held || look.foreign || look.own) return std::nullopt;
  if (look.group) {
    Look upgrading;
    if (word_->is_upgrading(look, &waits_.known(), upgrading)) {
      if (upgrading.foreign) return waits_.in_turn(system(), {});  // stopped outside
      return waits_.blocked_by(*word_, upgrading);
    }
    if (request_.mode == Mode::upgradable) return enter_as_upgradable(look, failed, changed);
    const os::Status error = word_->join(look, *claim_, held_);
    if (error == 0) {
      scheme_.open_group_.remember(claim_->shared_directory(), look);
      return held_by_us(failed);
    }
    if (error == ENOENT || error == ESTALE) {
      if (!claim_->cleared()) return std::nullopt;
      lose_claim();  // somebody's doctor took it for a dead one's on its way in; not reached by tests
      changed = true;
      return std::nullopt;
    }
    // Not reached by tests: a link into a group that stands is refused.
    return Failed{os::code_of(error), "cannot enter the readers of '" + scheme_.names_.word() + "'",
                  word_->holder_of(look)};
  }
  const bool with_one = look.form == claim::Form::file && !excludes(look.record.mode, request_.mode) &&
                        look.judgement.verdict == Verdict::alive && claim_->trial().link_scheme_works();
  if (!with_one) return std::nullopt;
  return go_in(look, word_->join_lone_reader(look, *claim_, scheme_.terms_.access, held_), failed, changed);
}

std::optional<Step> LockFileAttempt::go_in(const Look& look, const claim::Removal& made, Failed& failed,
                                           bool& changed) {
  switch (made.result) {
    case claim::Removal::Result::removed:
      return held_by_us(failed);
    case claim::Removal::Result::changed:
      if (claim_->cleared()) lose_claim();  // as above; not reached by tests
      changed = true;
      return std::nullopt;
    case claim::Removal::Result::in_turn:
      return waits_.in_turn(system(), word_->holder_of(look));
    case claim::Removal::Result::refused:
      break;
  }
  return Failed{made.error, made.what, word_->holder_of(look)};
}

// What a refused call means. `no`: look who is in the way; the claim may be gone by then.
LockFileAttempt::Published LockFileAttempt::answer(os::Call call, os::Status error, std::string what, Failed& failed) {
  const os::Cause cause = os::cause_of(call, error);
  if (cause == os::Cause::none) return Published::yes;
  if (cause == os::Cause::contention) return Published::no;
  failed = Failed{os::code_of(error), std::move(what), {}};
  switch (cause) {
    case os::Cause::missing:
      // Our own name was cleared, or the directory is gone; the next round finds out which.
      lose_claim();
      return Published::no;
    case os::Cause::transient:
      return Published::no;
    default:
      return Published::failed;
  }
}

// A step on names that nobody else uses was refused: nobody is in the way.
LockFileAttempt::Published LockFileAttempt::own_name_refused(os::Status error, Failed& failed) {
  failed = Failed{os::code_of(error), "cannot prepare a directory in '" + scheme_.path_.directory + "'", {}};
  const os::Cause cause = os::cause_of(os::Call::make_directory, error);
  if (cause != os::Cause::missing && cause != os::Cause::transient) return Published::failed;
  lose_claim();
  return Published::no;
}

LockFileAttempt::Published LockFileAttempt::publish_link(Failed& failed) {
  const claim::Trial& trial = claim_->trial();
  if (!trial.link_scheme_works()) {
    failed = Failed{
        trial.hard_links ? std::make_error_code(std::errc::operation_not_supported) : os::code_of(trial.link_error),
        trial.hard_links ? "cannot use hard links: two names of a file show two inodes"
                         : "cannot use hard links in '" + scheme_.path_.directory + "'",
        {}};
    return Published::failed;
  }
  const int at = claim_->directory().descriptor();
  const os::Status error = system().link(at, claim_->name().c_str(), at, word_name());
  if (error == 0) {
    held_ = {claim::Form::file, claim_->info(), {}};
    return Published::yes;
  }
  return answer(os::Call::link, error, "cannot link", failed);
}

LockFileAttempt::Published LockFileAttempt::publish_mkdir(Failed& failed) {
  claim::Trials& trials = claim_->directory().trials();
  if (claim_->directory_name().empty()) {
    if (!trials.rename_new_works(claim_->directory())) return publish_marked(failed);
    if (const os::Status error = claim_->enter_directory(scheme_.terms_.access)) {
      return own_name_refused(error, failed);
    }
  }
  const int at = claim_->directory().descriptor();
  os::Status error = system().rename_new(at, claim_->directory_name().c_str(), at, word_name());
  // Not of EEXIST: that is contention, and the look that follows it finds what is ours.
  if (error == ENOENT) error = claim_->directory().arrived(error, at, word_name(), claim_->directory_info());
  if (error == 0) {
    held_ = {claim::Form::inside, claim_->directory_info(), {}};
    return Published::yes;
  }
  if (os::cause_of(os::Call::rename_new, error) == os::Cause::unsupported) {
    trials.rename_new_refused(claim_->directory());
    if (const os::Status left = claim_->leave_directory()) return own_name_refused(left, failed);
    return publish_marked(failed);
  }
  return answer(os::Call::rename_new, error, "cannot rename a directory", failed);
}

// Where nothing can be renamed without replacing: mkdir with a mark, then the claim moves in. After our own mkdir and
// after EEXIST alike the directory is judged by a descriptor of it, never by its name and never by "my mkdir
// succeeded":
//   A: mkdir W                                                             open W: B's directory, not ours
//   B:          takes the empty marked W over, releases it;  plain mkdir W
LockFileAttempt::Published LockFileAttempt::publish_marked(Failed& failed) {
  const claim::Directory& directory = claim_->directory();
  const int at = directory.descriptor();
  const std::uint32_t wider = claim::mode_for(scheme_.terms_.access, os::FileType::directory);
  const os::Status made = system().make_directory(at, word_name(), (wider != 0 ? wider : 0777U) | os::sticky);
  if (made != 0 && made != EEXIST) {
    return answer(os::Call::make_directory, made, "cannot create a directory in '" + scheme_.path_.directory + "'",
                  failed);
  }
  const auto opened = system().open(at, word_name(), os::Open::look, 0);
  // Made a moment ago, and not to be opened: nobody is in the way. Else it is not there any more, or the look that
  // follows says what it is, or why not.
  if (made == 0 && os::cause_of(os::Call::open, opened.error) == os::Cause::other && opened.error != ELOOP) {
    return answer(os::Call::open, opened.error, "cannot open directory '" + scheme_.names_.word() + "'", failed);
  }
  if (!opened.ok()) return Published::no;
  os::File word(system(), opened.value);
  const auto info = system().stat(word.get());
  if (!info.ok()) return answer(os::Call::stat, info.error, "cannot look at '" + scheme_.names_.word() + "'", failed);
  if (info.value.type != os::FileType::directory) return Published::no;
  if ((info.value.mode & os::sticky) == 0) {
    if (made != 0) return Published::no;
    // Ours without a mark: either the file system keeps none (then nobody takes an empty directory over, and our mkdir
    // is the proof), or it is a plain locker's by now, which is not reached by tests: that one comes between two calls.
    const std::string trial = scheme_.names_.side(claim_->record().nonce, claim::suffix::trial);
    const auto stay = claim::marks_stay(directory, trial.c_str());
    if (!stay.ok()) return own_name_refused(stay.error, failed);
    if (stay.value) return Published::no;
  } else if (made == 0 && wider != 0) {
    // The umask has narrowed what mkdir was given.
    (void)system().set_mode(word.get(), wider | os::sticky);
  }
  return move_in(std::move(word), failed);
}

LockFileAttempt::Published LockFileAttempt::move_in(os::File word, Failed& failed) {
  if (!claim_->directory_name().empty()) {
    if (const os::Status left = claim_->leave_directory()) return own_name_refused(left, failed);
  }
  const os::Status error = word_->move_in(std::move(word), *claim_, held_);
  // The mark tells whose an empty directory is. Other users who may break need one that is not sticky to take it apart.
  const std::uint32_t wider = claim::mode_for(scheme_.terms_.access, os::FileType::directory);
  if (error == 0 && wider != 0) (void)system().set_mode(held_.word.get(), wider);
  return answer(os::Call::rename, error, "cannot enter directory '" + scheme_.names_.word() + "'", failed);
}

// What stands at W decides. Nothing: try again at once.
std::optional<Step> LockFileAttempt::react(Look& look, Failed& failed) {
  switch (look.state) {
    case Look::State::changing:
      // A reader that becomes exclusive just now may have been stopped in the middle of it.
      if (look.group && look.foreign) return waits_.in_turn(system(), {});
      return std::nullopt;
    case Look::State::free:
      return std::nullopt;
    case Look::State::failed:
      return Failed{os::code_of(look.error), "cannot look at '" + scheme_.names_.word() + "'", {}};
    case Look::State::vacant: {
      const Published moved = move_in(std::move(look.word), failed);
      if (moved == Published::yes) return held_by_us(failed);
      if (moved == Published::failed) return failed;
      return std::nullopt;
    }
    case Look::State::held:
      break;
  }
  if (!look.another.empty()) return scheme_.refuse(scheme_.names_.word(), look.another);
  if (look.own) {
    // Refused, and yet it is ours: the reply to the first try was lost, and the retry met our own success.
    held_ = {look.form, look.form == claim::Form::file ? claim_->info() : look.word_info, std::move(look.word)};
    return scheme_.terms_.lease.count() == 0 ? held_by_us(failed) : drop_unknown_beginning(failed);
  }
  const bool dead = look.judgement.verdict == Verdict::dead;
  if (!dead && !look.expired) {
    sweep_once();
    return waits_.blocked_by(*word_, look);
  }
  const claim::Removal removal = dead ? word_->break_stale(look) : word_->break_expired(look);
  switch (removal.result) {
    case claim::Removal::Result::removed:
      broke_stale_ = true;
      previous_holder_died_ = previous_holder_died_ || look.record.mode == Mode::exclusive;
      return std::nullopt;
    case claim::Removal::Result::changed:
      return std::nullopt;
    case claim::Removal::Result::in_turn:
      return waits_.in_turn(system(), word_->holder_of(look));
    case claim::Removal::Result::refused:
      break;
  }
  return Failed{removal.error, removal.what, word_->holder_of(look)};
}

// W is our claim. Nothing: it was lost again before it had its number; then `failed` may say why.
std::optional<Step> LockFileAttempt::held_by_us(Failed& failed) {
  claim_->hold_granted();
  Granted granted{.previous_holder_died = previous_holder_died_};
  if (scheme_.fence_ && request_.mode == Mode::exclusive) {
    claim::FenceTaken taken = claim::take_fence(*word_, *claim_, held_, scheme_.terms_.access);
    if (taken.number == 0) {
      // A hold without the number that was asked for is none. The next one has another number and other names.
      if (word_->release(*claim_, held_).claim_gone) lose_claim();
      failed = Failed{os::code_of(taken.error), std::move(taken.what), {}};
      if (taken.again) return std::nullopt;
      return failed;
    }
    granted.fence = taken.number;
  }
  if (lease_is_over()) {
    // Whoever looks may have found it expired already.
    if (word_->release(*claim_, held_).claim_gone) lose_claim();
    failed = Failed{std::make_error_code(std::errc::timed_out), "cannot acquire within the time of the lease", {}};
    return std::nullopt;
  }
  if (broke_stale_) {
    scheme_.swept_ = false;
    sweep_once();
  }
  return granted;
}

// A hold of ours that an earlier try has published, without our being told: when others saw it first is not known.
std::optional<Step> LockFileAttempt::drop_unknown_beginning(Failed& failed) {
  claim_->hold_granted();
  const claim::Word::Ending ending = word_->release(*claim_, held_);
  if (ending.claim_gone) lose_claim();  // not reached by tests: two troubles
  failed = Failed{os::code_of(ending.error), "cannot remove a hold whose reply was lost", {}};
  return std::nullopt;
}

void LockFileAttempt::sweep_once() noexcept {
  if (scheme_.swept_) return;
  scheme_.swept_ = true;
  try {
    // What cannot be cleared now is cleared by whoever comes next, or by doctor.
    (void)claim::sweep(claim_->shared_directory(), &scheme_.names_, Clean::remove_dead);
  } catch (const std::bad_alloc&) {
    scheme_.swept_ = false;
  }
}

void LockFileAttempt::lose_claim() noexcept {
  claim_->drop();
  claim_.reset();
  numbered_ = false;
}

// Nothing stays open for a next hold that may never come, but what the scheme keeps.
void LockFileAttempt::rest() noexcept {
  word_.reset();
  numbered_ = false;
  broke_stale_ = false;
  previous_holder_died_ = false;
  held_ = {};
  waits_ = {};
}

bool LockFileAttempt::reuse(const Request& request) noexcept {
  if (claim_) return false;
  request_ = request;
  return true;
}

std::optional<Blocked> LockFileAttempt::withdraw() noexcept {
  if (claim_) scheme_.keep_claim(std::move(claim_));
  rest();
  return std::nullopt;
}

std::error_code LockFileAttempt::release() noexcept {
  const std::error_code error = end_hold();
  // After the end: until then whoever looks must not take the one who acquired for the holder.
  if (!passed_.empty()) os::Process::current().part<claim::PassedOn>().forget(passed_);
  passed_.clear();
  rest();
  return error;
}

bool LockFileAttempt::pass_to(std::int64_t thread) noexcept {
  // Each hold has a fence and a lease of its own, and a child belongs to the hold that it was named in.
  const claim::Record& record = claim_->record();
  if (request_.mode != Mode::exclusive || record.mode != Mode::exclusive) return false;
  if (scheme_.fence_ || record.lease.count() != 0 || record.child != 0) return false;
  std::error_code why;
  if (!still_held(why)) return false;
  try {
    std::string nonce = record.nonce;
    os::Process::current().part<claim::PassedOn>().note(nonce, thread);
    passed_ = std::move(nonce);
    return true;
  } catch (const std::bad_alloc&) {
    return false;  // then it is released; not reached by tests
  }
}

std::error_code LockFileAttempt::end_hold() noexcept {
  may_stand_ = false;
  const bool over = lease_is_over();
  claim::Word::Ending ending;
  try {
    ending = word_->release(*claim_, held_);
    if (ending.claim_gone) {
      lose_claim();
    } else {
      scheme_.keep_claim(std::move(claim_));
    }
  } catch (const std::bad_alloc&) {
    // Nothing has been removed until here. So whether it is ours can still be told, and the mark ends it.
    const auto still = word_->still_held(*claim_, held_);
    ending.lost = still.ok() && !still.value;  // true: not reached by tests, for that is found without memory
    const os::Status marked = give_up_claim();
    ending.error = still.ok() ? marked : still.error;
  }
  if (ending.lost) return whose_it_is();
  if (ending.error != 0) return os::code_of(ending.error);
  // Also when nobody had taken it over yet: it was not ours any more.
  return over ? make_error_code(errc::not_locked) : std::error_code{};
}

// Of a hold that is not ours any more.
std::error_code LockFileAttempt::whose_it_is() const noexcept {
  try {
    const Look look = word_->look(nullptr);
    const bool nobody = look.state == Look::State::free || look.state == Look::State::vacant ||
                        (look.state == Look::State::held && look.judgement.verdict == Verdict::dead);
    return nobody ? errc::not_locked : errc::not_my_lock;
  } catch (const std::bad_alloc&) {
    return errc::not_locked;  // by us; whether somebody else has it by now cannot be told; not reached by tests
  }
}

bool LockFileAttempt::still_held(std::error_code& why) noexcept {
  const auto still = word_->still_held(*claim_, held_);
  why = os::code_of(still.error);
  if (lease_is_over()) why.clear();  // after the look, which may have taken long
  return still.value && !lease_is_over();
}

std::optional<std::chrono::nanoseconds> LockFileAttempt::lease_end() const noexcept {
  if (scheme_.terms_.lease.count() == 0) return std::nullopt;
  return lease_end_;
}

bool LockFileAttempt::lease_is_over() const noexcept {
  return scheme_.terms_.lease.count() != 0 && system().since_boot() >= lease_end_;
}

std::error_code LockFileAttempt::renew() noexcept {
  if (scheme_.terms_.lease.count() == 0) return std::make_error_code(std::errc::operation_not_supported);
  try {
    const auto began = system().since_boot();
    if (began >= lease_end_) return errc::not_locked;
    const os::Status error = claim_->renew();
    // A reply that comes after the old end confirms nothing: an observer may have found the hold expired at that end,
    // before it could see the new count, and be about to remove it.
    //   holder:   write 2   (stopped)                                    fsync done    <- must not count
    //   observer:              looked before: 1     expired   W is I, 1   unlink
    if (lease_is_over()) return errc::not_locked;
    if (error != 0) return os::code_of(error);
    const auto still = word_->still_held(*claim_, held_);
    if (!still.ok()) return os::code_of(still.error);
    if (!still.value) return whose_it_is();
    lease_end_ = began + scheme_.terms_.lease;
    if (lease_is_over()) return errc::not_locked;  // the look took so long
    return {};
  } catch (const std::bad_alloc&) {  // not reached by tests
    return std::make_error_code(std::errc::not_enough_memory);
  }
}

// W's last name gone, W renamed away, or a reader's entry removed: each is an event on what we have open.
std::span<const Watch> LockFileAttempt::lost() noexcept {
  lost_.clear();
  if (!claim_->directory().local()) return lost_;  // no event tells of what another host did
  try {
    const auto copy = system().duplicate(claim_->descriptor());
    if (copy.ok()) {
      lost_.push_back(os::WatchSource::inode(os::File(system(), copy.value), claim_->info(), os::Notice::file));
    }
  } catch (const std::bad_alloc&) {
    lost_.clear();  // then by looks; not reached by tests
  }
  return lost_;
}

void LockFileAttempt::abandon() noexcept {
  if (claim_) claim_->abandon();
  claim_.reset();
}

std::error_code LockFileAttempt::hand_over(std::int64_t child) noexcept {
  const auto start = system().process_start(child);
  if (!start.ok() && !system().process_exists(child)) return std::make_error_code(std::errc::no_such_process);
  std::error_code why;
  if (!still_held(why)) return why ? why : errc::not_my_lock;
  return os::code_of(claim_->name_child(child, start.ok() ? start.value : 0));
}

std::optional<int> LockFileAttempt::share_guard(std::error_code& why) noexcept {
  const auto copy = system().duplicate(claim_->descriptor());
  why = os::code_of(copy.error);
  return copy.ok() ? std::optional<int>(copy.value) : std::nullopt;
}

bool LockFileAttempt::outlives_us() noexcept {
  const claim::Record& record = claim_->record();
  return record.child != 0 && !claim::has_ended(system(), record.child, record.child_start);
}

// Waiting for a lock to be free, without wanting it: the same looks and the same events, and no claim.
class LockFileFreeWait final : public FreeWait {
 public:
  explicit LockFileFreeWait(LockFileScheme& scheme) : scheme_(scheme) {}

 private:
  Step look() override {
    const auto directory = scheme_.resolve();
    if (!directory.ok()) {
      return Failed{os::code_of(directory.error), "cannot open directory '" + scheme_.path_.directory + "'", {}};
    }
    const claim::Word word(directory.value, scheme_.names_);
    Look look = scheme_.look_at(word, nullptr, &waits_.known());
    switch (look.state) {
      case Look::State::free:
      case Look::State::vacant:
        return Granted{};
      case Look::State::failed:
        return Failed{os::code_of(look.error), "cannot look at '" + scheme_.names_.word() + "'", {}};
      case Look::State::changing:
        return waits_.in_turn(directory.value->system(), {});
      case Look::State::held:
        break;
    }
    if (!look.another.empty()) return scheme_.refuse(scheme_.names_.word(), look.another);
    if (look.judgement.verdict == Verdict::dead || look.expired) return Granted{};
    return waits_.blocked_by(word, look);
  }

  LockFileScheme& scheme_;
  Waits waits_;
};

std::unique_ptr<Attempt> free_wait(LockFileScheme& scheme) { return std::make_unique<LockFileFreeWait>(scheme); }

}  // namespace lockfile::schemes
