// The tormented: a process whose threads acquire, hold, release, look and break until they are killed or may end.
#include "torture/torture.hpp"

#include <lockfile/lockfile.hpp>

#include <sched.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <thread>

namespace lockfile::torture {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t calls_for_a_stop = 200;

using Locks = std::array<std::unique_ptr<Lock>, locks>;

class Worker {
 public:
  Worker(Arena& arena, const Course& course, const Life& life, const std::string& directory, Locks& shared, int thread)
      : arena_(arena),
        course_(course),
        life_(life),
        directory_(directory),
        shared_(shared),
        thread_(thread),
        state_(arena.place.at(static_cast<std::size_t>(life.place)).thread.at(static_cast<std::size_t>(thread))) {}

  void work() {
    for (int turn = 0; turn < life_.turns && !arena_.closing; ++turn) {
      random_ = Random(life_.seed, thread_, turn);  // whatever came of the turns before
      take_turn(static_cast<int>(random_.below(locks)));
      // Now and then a moment in which the lock may be free.
      spin(random_.once_in(4) ? 20000 : 200);
      ++arena_.progress;
    }
    doing(Doing::dropping, 0);
    for (auto& each : own_) each.reset();
    doing(Doing::nothing, 0);
  }

 private:
  void doing(Doing what, int lock) {
    state_.lock = lock;
    state_.doing = what;
  }

  void spin(std::uint64_t most) {
    for (std::uint64_t i = random_.below(most); i > 0; --i) std::atomic_signal_fence(std::memory_order_seq_cst);
  }

  void complain(Law law, int lock, const std::string& what, const std::error_code& why) {
    arena_.fail(law, who(me_) + " " + what + " '" + lock_name(lock) + "'" + (why ? ": " + why.message() : ""));
  }

  // An object of this thread, or the one that the threads of the process share.
  Lock& object(int lock) {
    const auto at = static_cast<std::size_t>(lock);
    std::unique_ptr<Lock>& own = own_.at(at);
    if (random_.once_in(2)) return *shared_.at(at);
    if (own == nullptr) own = course_.make_lock(directory_ + "/" + lock_name(lock), *life_.variant);
    return *own;
  }

  void take_turn(int lock) {
    std::error_code ec;
    me_ = make_hold(life_.place, thread_, life_.number, ++serial_);
    switch (random_.below(16)) {
      case 0:
        doing(Doing::dropping, lock);
        own_.at(static_cast<std::size_t>(lock)).reset();
        break;
      case 1:
        (void)object(lock).is_locked(ec);
        if (ec && ec != std::errc::operation_not_supported) complain(Law::error, lock, "could not look at", ec);
        break;
      case 2:
        doing(Doing::breaking, lock);
        (void)object(lock).break_stale(ec);
        // Another breaker, who may be stopped, is at it.
        if (ec && ec != std::errc::resource_unavailable_try_again && ec != std::errc::operation_not_supported &&
            ec != errc::cannot_break) {
          complain(Law::error, lock, "could not break a stale", ec);
        }
        break;
      case 3:
      case 4:
        if (course_.forced) {
          break_by_force(object(lock), lock);
          break;
        }
        [[fallthrough]];
      default:
        hold(object(lock), lock);
    }
    doing(Doing::nothing, lock);
  }

  void hold(Lock& object, int lock) {
    doing(Doing::acquiring, lock);
    std::error_code ec;
    const std::uint64_t patience = random_.below(4);
    const Wait wait = patience == 0   ? Wait(0s)
                      : patience == 1 ? Wait(std::chrono::microseconds(random_.below(20000)))
                                      : Wait(for_ever);
    if (!object.acquire(wait, ec)) {
      const bool may_be = patience < 2 && (ec == errc::already_locked || ec == errc::timed_out);
      if (!may_be) complain(Law::error, lock, "could not acquire", ec);
      return;
    }
    const Hold me = me_;
    arena_.enter(lock, me);
    doing(Doing::holding, lock);
    if (course_.forced) {
      show_key(object);
      // Now and then long enough for a breaker to come.
      for (auto i = random_.once_in(2) ? random_.below(1000) : 0; i > 0 && state_.broken != me; --i) ::sched_yield();
    }
    spin(random_.once_in(4) ? 5000 : 50);
    if (random_.once_in(50)) ::raise(SIGKILL);  // few calls are made here, at which it could die
    // Always in that order, so that nobody waits in a circle.
    if (lock + 1 < locks && random_.once_in(8)) take_turn(lock + 1);
    if (random_.once_in(2)) look_whether_held(object, lock, me);
    me_ = me;
    state_.key = 0;
    const bool must_learn = state_.broken == me;
    arena_.leave(lock, me);
    doing(Doing::releasing, lock);
    object.release(ec);
    const bool learned = ec == errc::not_locked || ec == errc::not_my_lock;
    if (learned && !arena_.is_condemned(me)) complain(Law::lost, lock, "had lost, though nobody broke it,", ec);
    if (ec && !learned) complain(Law::error, lock, "could not release", ec);
    if (!ec && must_learn) complain(Law::lost, lock, "was broken by force and was not told when it released", ec);
  }

  void look_whether_held(const Lock& object, int lock, Hold me) {
    const bool broken = state_.broken == me;
    const bool held = object.i_am_locking();
    if (!held && !arena_.is_condemned(me)) complain(Law::lost, lock, "no longer held, though nobody broke it,", {});
    if (held && broken) complain(Law::lost, lock, "was broken by force and still believed to hold", {});
  }

  static std::uint64_t key_of(const Holder& holder) {
    return std::hash<std::string>()(holder.nonce + "." + std::to_string(holder.number)) | 1U;
  }

  // From now on breakers can tell which hold in the arena the one in the lock file is.
  void show_key(const Lock& object) {
    std::error_code ec;
    const auto seen = object.holder(ec);
    if (seen && seen->pid == ::getpid() && seen->thread == ::gettid()) state_.key = key_of(*seen);
  }

  // First the lock file, then the arena: a hold that is seen in both under one key is one and the same, and what is in
  // the arena does not leave and come back under that key.
  void break_by_force(Lock& object, int lock) {
    doing(Doing::breaking, lock);
    std::error_code ec;
    const auto seen = object.holder(ec);
    if (!seen) return;
    const Hold inside = arena_.inside(lock);
    if (inside == 0 || arena_.thread_of(inside).key != key_of(*seen)) return;
    arena_.condemn(inside);
    if (object.break_lock(*seen, ec)) {
      ++arena_.forced;
      arena_.thread_of(inside).broken = inside;
    }
    if (ec && ec != std::errc::resource_unavailable_try_again) complain(Law::error, lock, "could not break", ec);
  }

  Arena& arena_;
  const Course& course_;
  const Life& life_;
  const std::string& directory_;
  Locks& shared_;
  int thread_;
  ThreadState& state_;
  Random random_;
  Locks own_;
  std::uint32_t serial_ = 0;
  Hold me_ = 0;
};

}  // namespace

std::unique_ptr<Lock> make_file_lock(const std::string& path, const Variant& variant) {
  if (variant.scheme == "link") return std::make_unique<LinkFileLock>(path);
  if (variant.scheme == "mkdir") return std::make_unique<MkdirFileLock>(path);
  return std::make_unique<FileLock>(path, Options{.scheme = std::string(variant.scheme)});
}

void live(Arena& arena, const Course& course, const Life& life, const std::string& directory) {
  Place& place = arena.place.at(static_cast<std::size_t>(life.place));
  place.pid = ::getpid();
  {
    testing::InVariant in(*life.variant);
    in.system().before = [&](os::Call /*call*/) {
      const std::uint64_t call = ++place.calls;
      if (call == life.dies_at) ::raise(SIGKILL);
      // Between a look and what is done upon it the others get time to change everything.
      if (!arena.closing && Random(life.seed, call).once_in(calls_for_a_stop)) ::raise(SIGSTOP);
      return 0;
    };
    Locks shared;
    for (int lock = 0; lock < locks; ++lock) {
      shared.at(static_cast<std::size_t>(lock)) = course.make_lock(directory + "/" + lock_name(lock), *life.variant);
    }
    std::vector<std::thread> all;
    for (int thread = 0; thread < life.thread_count; ++thread) {
      all.emplace_back([&, thread] {
        in.enter();
        Worker(arena, course, life, directory, shared, thread).work();
      });
    }
    for (std::thread& each : all) each.join();
  }
  ::_exit(0);
}

}  // namespace lockfile::torture
