// The threads of a keeper. The one that works calls the file system under the lock object's mutex. The one that reads
// the clock touches neither: a file server that is away must not keep a holder from being told that its time is over.
//
//   works:    renew: written, fsync ...                                      (a server that does not answer)
//   clock:                              end - grace: told    end: lost
#include <lockfile/lease_keeper.hpp>

#include "core/engine.hpp"
#include "os/backoff.hpp"
#include "os/sleeper.hpp"
#include "os/thread.hpp"

#include <algorithm>
#include <atomic>
#include <system_error>
#include <thread>

namespace lockfile {

using core::Engine;
using std::chrono::nanoseconds;

class LeaseKeeper::Threads {
 public:
  Threads(Engine& engine, Engine::Watched watched, nanoseconds grace)
      : engine_(engine),
        process_(engine.process()),
        watched_(std::move(watched)),
        grace_(grace),
        works_(process_),
        clock_(process_),
        also_early_(watched_.trust->lost.get_token(), Early{early_}) {
    plan_renewal();
    worker_ = os::start_thread(process_, [this] { work(); });
    if (!is_leased()) return;
    try {
      timer_ = os::start_thread(process_, [this] { watch_clock(); });
    } catch (...) {  // no second thread; not reached by tests
      end();
      throw;
    }
  }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
  ~Threads() { end(); }

  [[nodiscard]] std::stop_token lost() const { return early_.get_token(); }
  [[nodiscard]] bool is_leased() const noexcept { return watched_.lease.count() != 0; }
  [[nodiscard]] bool in_child() const noexcept { return !process_.is_caller(); }
  [[nodiscard]] nanoseconds lease_end() const noexcept { return nanoseconds(watched_.trust->lease_end.load()); }
  [[nodiscard]] nanoseconds time_left() const noexcept { return lease_end() - process_.system().since_boot(); }
  // The engine requests `lost` where it finds out, before our threads know of it: whoever is told by that and asks why
  // at once gets the answer here.
  [[nodiscard]] Loss loss() noexcept {
    if (loss_ == Loss::none && watched_.trust->lost.stop_requested()) settle(why());
    return loss_;
  }

 private:
  struct Early {
    std::stop_source& source;
    void operator()() const noexcept { source.request_stop(); }
  };

  void end() noexcept {
    ending_ = true;
    works_.wake();
    clock_.wake();
    if (worker_.joinable()) worker_.join();
    if (timer_.joinable()) timer_.join();
  }

  // A third of the ttl after the beginning of the last renewal that counted.
  void plan_renewal() noexcept { due_ = (lease_end() - nanoseconds(watched_.lease) * 2 / 3).count(); }
  [[nodiscard]] bool is_due() const noexcept {
    return is_leased() && process_.system().since_boot() >= nanoseconds(due_.load());
  }

  [[nodiscard]] Loss why() const noexcept {
    return is_leased() && time_left().count() <= 0 ? Loss::expired : Loss::broken;
  }
  // The first answer stands.
  void settle(Loss why) noexcept {
    Loss none = Loss::none;
    (void)loss_.compare_exchange_strong(none, why);
  }
  void tell(Loss why) noexcept {
    settle(why);
    watched_.trust->lost.request_stop();  // and, by `also_early_`, ours
  }

  void work() noexcept {
    try {
      while (!ending_ && turn()) {
      }
    } catch (const std::bad_alloc&) {
      // Not reached by tests, whose memory is missing to the calling thread only.
      // Nobody renews any more: the clock will tell. Without a lease nobody looks; a verb of the holder will find out.
    }
  }

  // False: there is nothing left to keep.
  bool turn() {
    constexpr int arms_in_a_row = 64;  // more: it changes faster than it can be watched
    std::optional<std::chrono::steady_clock::time_point> look_again;
    for (int i = 0; i < arms_in_a_row && !ending_; ++i) {
      const bool renew = is_due();
      const Engine::Kept kept = engine_.look_after(watched_, renew, on_);
      if (kept == Engine::Kept::lost || watched_.trust->lost.stop_requested()) {
        tell(why());
      }
      if (kept == Engine::Kept::lost || kept == Engine::Kept::ended) {
        over_ = true;
        clock_.wake();
        return false;
      }
      if (kept == Engine::Kept::yes) {
        again_ = soon();
        if (renew) {
          plan_renewal();
          clock_.wake();
        }
      } else {
        look_again = again_.next(process_.system());
      }
      const os::Sleeper::Armed armed = works_.arm(on_);
      const bool by_events = !on_.empty() && armed != os::Sleeper::Armed::not_all;
      on_.clear();
      if (!by_events && !look_again) look_again = process_.system().now() + longest_sleep;
      if (armed != os::Sleeper::Armed::anew) break;
    }
    return !ending_ && works_.sleep(look_again) == 0;
  }

  void watch_clock() noexcept {
    try {
      while (!ending_ && !over_) {
        const nanoseconds left = time_left();
        if (left.count() <= 0) {
          tell(Loss::expired);
          works_.wake();
          return;
        }
        if (left <= grace_) early_.request_stop();
        nanoseconds sleep = std::min<nanoseconds>(longest_sleep, left > grace_ ? left - grace_ : left);
        const nanoseconds until_due = nanoseconds(due_.load()) - process_.system().since_boot();
        if (until_due.count() > 0) {
          sleep = std::min(sleep, until_due);
        } else {
          works_.wake();
        }
        if (clock_.sleep(process_.system().now() + sleep) != 0) break;
      }
    } catch (const std::bad_alloc&) {
      tell(Loss::expired);  // whoever cannot be told later is told now; not reached, as above
    }
  }

  static os::Backoff soon() noexcept { return {std::chrono::milliseconds(10), std::chrono::milliseconds(1000)}; }
  // What the clock that sleeps are counted by does not know is that the machine was asleep.
  static constexpr std::chrono::seconds longest_sleep{1};

  Engine& engine_;
  os::Process& process_;
  const Engine::Watched watched_;
  const nanoseconds grace_;
  std::stop_source early_;
  std::atomic<bool> ending_{false};
  std::atomic<bool> over_{false};
  std::atomic<Loss> loss_{Loss::none};
  std::atomic<nanoseconds::rep> due_{0};
  std::vector<Watch> on_;
  os::Backoff again_ = soon();
  os::Sleeper works_;
  os::Sleeper clock_;
  std::stop_callback<Early> also_early_;
  std::thread worker_;
  std::thread timer_;
};

LeaseKeeper::LeaseKeeper(Lock& lock, std::chrono::milliseconds grace) {
  Engine& engine = *lock.engine_;
  Engine::Watched watched;
  core::Outcome outcome = engine.watch_over(watched);
  if (outcome.ok() && (grace.count() < 0 || (watched.lease.count() != 0 && grace > watched.lease / 2))) {
    outcome = {std::make_error_code(std::errc::invalid_argument), "the grace is longer than half the lease", {}};
  }
  if (!outcome.ok()) core::raise(core::Verb::renew, engine.display(), engine.path(), std::move(outcome));
  threads_ = std::make_unique<Threads>(engine, std::move(watched), grace);
}

LeaseKeeper::~LeaseKeeper() {
  if (threads_->in_child()) (void)threads_.release();  // its threads are not there to be waited for
}

std::stop_token LeaseKeeper::lost() const {
  if (!threads_->in_child()) return threads_->lost();
  std::stop_source parents_hold;
  parents_hold.request_stop();
  return parents_hold.get_token();
}

std::optional<nanoseconds> LeaseKeeper::time_left() const noexcept {
  if (!threads_->is_leased()) return std::nullopt;
  return threads_->in_child() ? nanoseconds::zero() : threads_->time_left();
}

Loss LeaseKeeper::loss() const noexcept { return threads_->loss(); }

}  // namespace lockfile
