// Looking at a lock, breaking it, and making attempts.
#include "schemes/etcd/scheme.hpp"

#include "claim/judge.hpp"
#include "schemes/engines.hpp"
#include "schemes/etcd/attempt.hpp"

#include <lockfile/error.hpp>

#include <algorithm>
#include <new>
#include <utility>

lockfile::Scheme* lockfile_make_etcd(const lockfile::schemes::FilePath& place, const lockfile::Options& options) {
  namespace etcd = lockfile::schemes::etcd;
  return new etcd::Scheme(etcd::place_of(place, options), options.reason, options.lease.count() != 0);
}

namespace lockfile::schemes::etcd {

using namespace std::chrono_literals;

bool wait_for(const Pending& pending, Event& event, os::System& system, std::chrono::nanoseconds limit) noexcept {
  const auto until = system.now() + limit;
  for (;;) {
    event.clear();
    if (pending.done) return true;
    if (system.now() >= until) return false;
    event.wait_until(until);
  }
}

Scheme::Scheme(Place place, std::string reason, bool leased, std::size_t units, std::size_t wanted)
    : place_(std::move(place)), reason_(std::move(reason)), leased_(leased), units_(units), wanted_(wanted) {}

Traits Scheme::traits() const noexcept {
  Traits mine = etcd_traits;
  mine.queues = true;
  return mine;
}

std::unique_ptr<lockfile::Attempt> Scheme::attempt(const Request& request) {
  return std::make_unique<Attempt>(*this, request);
}

std::unique_ptr<lockfile::Scheme> Scheme::semaphore(std::size_t units, std::size_t wanted) {
  return std::make_unique<Scheme>(place_, reason_, leased_, units, wanted);
}

std::shared_ptr<Session> Scheme::session(std::error_code& why, std::string& what) {
  if (!session_ || !session_->process().is_caller()) {
    session_ = os::Process::current().part<Sessions>().get(place_.cluster, why, what);
  }
  return session_;
}

std::string Scheme::new_key(Mode mode) const {
  auto& sessions = session_->process().part<Sessions>();
  const std::string nonce = sessions.nonce() + "-" + std::to_string(sessions.next_number());
  return is_semaphore() ? unit_key_for(place_.root, wanted_, nonce) : key_for(place_.root, mode, nonce);
}

std::string Scheme::new_value(const Request& request, const Lease& lease) const {
  os::Process& process = session_->process();
  claim::Record record = claim::record_of(process.identity());
  record.mode = request.mode;
  record.thread = request.thread;
  record.lease = lease.ttl;
  record.scheme = name();
  record.nonce = process.part<Sessions>().nonce();
  record.reason = reason_;
  return value_of(record, std::chrono::system_clock::now());
}

Range Scheme::all_keys() const { return below(is_semaphore() ? unit_keys(place_.root) : lock_keys(place_.root)); }

std::size_t Scheme::holding_of(const std::vector<Key>& keys) const {
  return is_semaphore() ? holding_units(keys, units_) : holding(keys);
}

std::vector<Key> Scheme::look(std::error_code& why, std::int64_t most) {
  Range keys = all_keys();
  keys.limit = most;
  return look(std::move(keys), why);
}

std::vector<Key> Scheme::look(Range range, std::error_code& why) {
  why.clear();
  std::string ignored;
  const auto session = this->session(why, ignored);
  if (!session) return {};
  os::System& system = session->process().system();
  const auto event = std::make_shared<Event>(system);
  Transaction looking;
  looking.then.push_back({.range = std::move(range)});
  const auto limit = unanswered_ ? std::chrono::milliseconds(20) : session->patience();
  const auto how = unanswered_ ? Session::How::later : Session::How::at_once;
  const auto pending = session->begin(looking, nullptr, event, limit, how);
  if (!wait_for(*pending, *event, system, limit + 1s)) {  // the session's thread stands still; not reached by tests
    why = std::make_error_code(std::errc::host_unreachable);
    return {};
  }
  why = pending->answer.why;
  if (!why && pending->answer.ranges.empty()) why = std::make_error_code(std::errc::protocol_error);
  if (why) return {};
  return std::move(pending->answer.ranges.front());
}

std::vector<Holder> Scheme::holders(std::error_code& why) {
  // Who hold are the first ones, and mostly few.
  constexpr std::int64_t enough = 64;
  std::vector<Key> keys = look(why, enough);
  std::size_t holding = holding_of(keys);
  if (holding == static_cast<std::size_t>(enough)) {  // as many readers as one look gives
    keys = look(why, 0);
    holding = holding_of(keys);
  }
  std::vector<Holder> all;
  for (std::size_t i = 0; i < holding; ++i) {
    const std::size_t times = is_semaphore() ? author_of(keys[i]).weight : 1;
    Holder holder = holder_of(keys[i], session_->process());
    if (waiting_.contains(keys[i].name)) {
      holder.waits = true;
      holder.thread = 0;  // its thread has nothing that it could wait for itself
    }
    all.insert(all.end(), times, holder);
  }
  std::stable_partition(all.begin(), all.end(), [](const Holder& each) { return each.verdict != Verdict::dead; });
  return all;
}

std::vector<Waiter> Scheme::waiters(std::error_code& why) {
  const std::vector<Key> keys = look(why, 0);
  std::vector<Waiter> all;
  constexpr std::size_t longest_program = 16;
  for (std::size_t i = holding_of(keys); i < keys.size(); ++i) {
    Holder who = holder_of(keys[i], session_->process());
    os::System& system = session_->process().system();
    Waiter waiter;
    waiter.mode = who.mode;
    waiter.host = std::move(who.host);
    waiter.pid = who.pid;
    waiter.thread = who.thread;
    waiter.program = who.program.substr(0, longest_program);
    waiter.this_process = who.this_process;
    // By the wall clock of its own host.
    waiter.since = system.now();
    if (who.since) {
      waiter.since -= std::chrono::duration_cast<std::chrono::steady_clock::duration>(
          std::max(std::chrono::system_clock::now() - *who.since, std::chrono::system_clock::duration::zero()));
    }
    all.push_back(std::move(waiter));
  }
  return all;
}

std::error_code Scheme::break_hold(const Holder& hold, Proof proof) noexcept {
  try {
    if (proof == Proof::foreign) return errc::not_locked;
    std::error_code why;
    const std::vector<Key> keys = look(why, 0);
    if (why) return why;
    const auto end = keys.begin() + static_cast<std::ptrdiff_t>(holding_of(keys));
    const auto held = std::find_if(keys.begin(), end, [&](const Key& each) {
      return each.created == static_cast<std::int64_t>(hold.number) && author_of(each).nonce == hold.nonce;
    });
    if (held == end) return errc::not_locked;
    os::Process& process = session_->process();
    // While one of several lives, the lock is not stale.
    if (proof == Proof::stale && !std::all_of(keys.begin(), end, [&](const Key& each) {
          return holder_of(each, process).verdict == Verdict::dead;
        })) {
      return errc::not_locked;
    }
    Transaction removing;
    removing.when.push_back({.from = held->name, .created = held->created});
    removing.then.push_back({.kind = Operation::Kind::erase, .range = {.from = held->name}});
    const auto event = std::make_shared<Event>(process.system());
    const auto pending = session_->begin(removing, nullptr, event, session_->patience());
    if (!wait_for(*pending, *event, process.system(), session_->patience() + 1s)) {  // likewise
      return std::make_error_code(std::errc::host_unreachable);
    }
    const Answer& answer = pending->answer;
    if (answer.why) return answer.why;
    return answer.succeeded || answer.sent_before ? std::error_code() : errc::not_locked;
  } catch (const std::bad_alloc&) {  // not reached by tests: see session.hpp
    return std::make_error_code(std::errc::not_enough_memory);
  }
}

Examination Scheme::examine(std::error_code& why) {
  why.clear();
  Examination seen;
  std::string what;
  const auto session = this->session(why, what);
  if (!session) return seen;
  session->examine(seen);
  if (seen.file_system.empty()) why = std::make_error_code(std::errc::host_unreachable);
  const bool works = std::none_of(seen.findings.begin(), seen.findings.end(),
                                  [](const Finding& each) { return each.result == Finding::Result::fails; });
  seen.scheme = seen.file_system.empty() ? "" : "etcd";
  seen.why = works ? "every member answers" : "see what fails";
  return seen;
}

std::vector<std::string> Scheme::locked_names(std::error_code& why, std::string& /*what*/) {
  // Some at a time: other programs may have any number of keys there.
  constexpr std::size_t at_a_time = 1000;
  constexpr int most_times = 10'000;
  const std::string prefix = prefix_of(place_.root);
  Range range = place_keys(prefix);
  range.limit = static_cast<std::int64_t>(at_a_time);
  std::vector<std::string> all;
  for (int i = 0; i < most_times; ++i) {
    const std::vector<Key> keys = look(range, why);
    if (why) return {};
    for (const Key& each : keys) {
      auto name = lock_of(prefix, each.name);
      if (name && (all.empty() || all.back() != *name)) all.push_back(*std::move(name));
    }
    if (keys.size() < at_a_time) return all;
    range.from = keys.back().name + '\0';  // the next one
  }
  why = std::make_error_code(std::errc::value_too_large);  // not reached by tests: ten million keys
  return {};
}

}  // namespace lockfile::schemes::etcd
