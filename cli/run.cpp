// `lockctl run`: runs a command while holding a lock.
#include "address.hpp"
#include "caller.hpp"
#include "child.hpp"
#include "commands.hpp"
#include "exit_status.hpp"
#include "lease.hpp"
#include "options.hpp"
#include "supervise.hpp"
#include "text.hpp"
#include "waiting.hpp"

#include <lockfile/lockfile.hpp>

#include <fmt/format.h>

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>

namespace lockctl {
namespace {

struct RunOptions {
  std::string path;
  std::vector<std::string> command;
  std::optional<Seconds> timeout;
  bool try_only = false;
  bool shared = false;
  std::optional<int> conflict_status;
  OnLost on_lost = OnLost::kill;
  lockfile::Options lock;
};

lockfile::Mode mode_of(const RunOptions& options) {
  return options.shared ? lockfile::Mode::shared : lockfile::Mode::exclusive;
}

// Of several that share the lock, ours.
lockfile::Holder own_hold(const lockfile::Lock& lock) {
  try {
    std::vector<lockfile::Holder> all = lock.holders();
    const auto own = std::find_if(all.begin(), all.end(), [](const auto& each) { return each.this_process; });
    if (own != all.end()) {
      return *own;
    }
    if (!all.empty()) {
      return all.front();
    }
  } catch (const lockfile::Error&) {
    // Only a nested run is told less.
  }
  return {};
}

int status_of_conflict(const RunOptions& options, Exit otherwise) {
  return options.conflict_status.value_or(status(otherwise));
}

int status_of_failure(const lockfile::Error& error) {
  say(error.what());
  const bool wrong_argument = error.code() == std::errc::invalid_argument;
  return status(wrong_argument ? Exit::usage : Exit::cannot_create);
}

// Waits, telling the user meanwhile. Nothing: it is ours; else the exit status.
std::optional<int> wait_for(lockfile::Lock& lock, const RunOptions& options, const BlockedSignals& signals) {
  // A second object for the looks: this one is busy with waiting.
  const auto looker = open_lock(lock.path(), {.scheme = options.lock.scheme});
  Companion companion(signals, lock_file_of(options.path, options.lock.scheme), [&looker] {
    std::error_code no_look;  // the wait goes on, and reports what is wrong by itself
    return looker->holder(no_look);
  });
  std::optional<int> failed;
  try {
    if (options.timeout) {
      lock.acquire(mode_of(options), {*options.timeout, companion.stop_token()});
    } else {
      lock.acquire(mode_of(options), {lockfile::for_ever, companion.stop_token()});
    }
    companion.finish();
  } catch (const lockfile::LockStopped&) {
    companion.finish();
  } catch (const lockfile::LockFailed& error) {
    companion.finish();
    failed = status_of_failure(error);
  } catch (const lockfile::LockError& error) {
    companion.finish();
    say(error.what());
    failed = status_of_conflict(options, Exit::timed_out);
  }
  if (companion.signal() != 0) {  // also when it came together with the lock: the user wanted an end
    say(fmt::format("stopped waiting for {}: {}", quote(lock_file_of(options.path, options.lock.scheme)),
                    signal_name(companion.signal())));
    return status_of_signal(companion.signal());
  }
  return failed;
}

// Nothing: it is ours; else the exit status.
std::optional<int> acquire(lockfile::Lock& lock, const RunOptions& options, const BlockedSignals& signals) {
  try {
    lock.acquire(mode_of(options), Seconds::zero());
    return std::nullopt;
  } catch (const lockfile::LockFailed& error) {
    return status_of_failure(error);
  } catch (const lockfile::LockError& error) {
    if (error.holder() && held_by_caller(lock.path(), *error.holder())) {
      say(fmt::format("cannot lock {}: held by your own caller, {}",
                      quote(lock_file_of(options.path, options.lock.scheme)), error.holder()->who()));
      return status_of_conflict(options, Exit::conflict);
    }
    if (options.try_only || (options.timeout && *options.timeout <= Seconds::zero())) {
      say(error.what());
      return status_of_conflict(options, Exit::conflict);
    }
  }
  return wait_for(lock, options, signals);
}

bool is_unsupported(const std::error_code& error) {
  return error == std::errc::not_supported || error == std::errc::operation_not_supported ||
         error == std::errc::function_not_supported;
}

bool is_engine(const RunOptions& options) { return lockfile::locks_a_name(options.lock.scheme); }

// A hold that was lost does not change the exit status: the command has run, and its result is what it is.
void release(lockfile::Lock& lock, const RunOptions& options) {
  const std::string name = quote(lock_file_of(options.path, options.lock.scheme));
  std::error_code error;
  const auto left = lock.lease_left();
  lock.release(error);
  if (is_engine(options) && (error == lockfile::errc::not_locked || error == lockfile::errc::not_my_lock)) {
    say(fmt::format("lost {} while the command ran: it was broken, or its server is gone", name));
  } else if (left && left->count() <= 0 && error == lockfile::errc::not_locked) {
    say(fmt::format("lost {} while the command ran: its lease ran out", name));
  } else if (error == lockfile::errc::not_locked || error == lockfile::errc::not_my_lock) {
    std::error_code no_look;  // then the message goes without it
    const auto holder = lock.holder(no_look);
    say(fmt::format("lost {} while the command ran: it was broken by force{}", name,
                    holder ? fmt::format(", now {}", holder->describe()) : ""));
  } else if (error) {
    say(fmt::format("cannot release {}: {}", name, cause_of(error)));
  }
}

int status_of_command(const RunOptions& options, const Child& child, int wait_status) {
  if (const int error = child.exec_error(); error != 0) {
    say(fmt::format("cannot run {}: {}", quote(options.command.front()),
                    cause_of(std::error_code(error, std::system_category()))));
    return status(error == ENOENT ? Exit::not_found : Exit::cannot_execute);
  }
  return WIFSIGNALED(wait_status) ? status_of_signal(WTERMSIG(wait_status)) : WEXITSTATUS(wait_status);
}

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { close(); }
  [[nodiscard]] int number() const { return number_; }
  void close() {
    if (number_ >= 0) {
      ::close(number_);
    }
    number_ = -1;
  }

 private:
  int number_;
};

bool has_lease(const RunOptions& options) { return options.lock.lease.count() != 0; }

// Names the command in the record. Nothing when that failed: the command must not run then.
std::optional<OnOurDeath> hand_over(lockfile::Lock& lock, const RunOptions& options, const Child& child) {
  std::error_code error;
  lock.hand_over(child.pid(), error);
  if (!error) {
    // Without us nobody renews, and the command would go on beside the next one.
    return has_lease(options) ? OnOurDeath::dies : OnOurDeath::lives_on;
  }
  if (is_unsupported(error)) {
    if (is_engine(options)) {
      return OnOurDeath::dies;  // as `--help` says
    }
    say(fmt::format("note: the hold of {} cannot be handed over ({} scheme): the command will be killed if lockctl is",
                    quote(lock_file_of(options.path, options.lock.scheme)), lock.scheme()));
    return OnOurDeath::dies;
  }
  say(fmt::format("cannot hand over {}: {}", quote(lock_file_of(options.path, options.lock.scheme)), cause_of(error)));
  return std::nullopt;
}

int run_command(lockfile::Lock& lock, const RunOptions& options, const BlockedSignals& blocked_before) {
  Inheritance inheritance{blocked_before.mask_before(), {}};
  struct sigaction by_default {};
  by_default.sa_handler = SIG_DFL;  // where SIGCHLD is ignored there is nobody to wait for
  ::sigaction(SIGCHLD, &by_default, &inheritance.on_child_end);
  const BlockedSignals signals(supervised_signals);

  std::error_code no_guard;  // the record's pid is enough within one pid namespace, the guard is for the others
  Descriptor guard(lock.share_guard(no_guard));
  Child child(options.command, environment_within(lock.path(), own_hold(lock), lock.fence()),
              no_guard ? -1 : guard.number(), inheritance);
  guard.close();
  const auto fate = hand_over(lock, options, child);
  if (!fate) {
    return status(Exit::cannot_create);
  }
  std::optional<LeaseWatch> lease;
  if (has_lease(options) || (is_engine(options) && *fate == OnOurDeath::dies)) {
    try {
      lease.emplace(lock, options.lock.lease, options.on_lost, lock_file_of(options.path, options.lock.scheme));
    } catch (const lockfile::Error& error) {
      return status_of_failure(error);
    }
    if (lease->is_lost()) {
      say(fmt::format("lost {} before the command could start{}",
                      quote(lock_file_of(options.path, options.lock.scheme)),
                      has_lease(options) ? ": its lease ran out" : ""));
      return status(Exit::cannot_create);
    }
  }
  Terminal terminal;
  Supervisor supervisor(child, terminal, signals, lease ? &*lease : nullptr);
  supervisor.settle();
  child.let_go(*fate);
  const int wait_status = supervisor.wait_for_end();
  if (lease) {
    lease->end();
  }
  release(lock, options);
  const int result = status_of_command(options, child, wait_status);
  if (const int key = supervisor.ended_by_key(); key != 0 && ::getpgrp() != ::getpid()) {
    // Ctrl-C in a script: the terminal sent it to the command's group alone, and the script around us (its group is
    // ours) would go on with its next line. It is passed on; our own copy ends us when the mask is put back.
    ::kill(0, key);
  }
  return result;
}

// The record says which program holds, and for people that is the command: "held by pid 4711 on build-7 (rsync)". The
// library takes the name of the process at its first use, so for that moment the process bears the command's.
class BorrowedName {
 public:
  explicit BorrowedName(const std::string& command) {
    ::prctl(PR_GET_NAME, own_.data());
    ::prctl(PR_SET_NAME, std::filesystem::path(command).filename().c_str());  // cut off after 15 bytes, as every name
  }
  BorrowedName(const BorrowedName&) = delete;
  BorrowedName& operator=(const BorrowedName&) = delete;
  ~BorrowedName() { ::prctl(PR_SET_NAME, own_.data()); }

 private:
  std::array<char, 16> own_{};  // prctl(2)
};

std::unique_ptr<lockfile::Lock> make_lock(const RunOptions& options) {
  const BorrowedName name(options.command.front());
  return open_lock(options.path, options.lock);
}

int run(const RunOptions& options) {
  const BlockedSignals signals({SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE});
  try {
    const std::unique_ptr<lockfile::Lock> its_lock = make_lock(options);
    lockfile::Lock& lock = *its_lock;
    if (const auto failed = acquire(lock, options, signals)) {
      return *failed;
    }
    return run_command(lock, options, signals);
  } catch (const lockfile::LockFailed& error) {
    return status_of_failure(error);  // of the constructor: a path that names no file, a reason that is too long
  } catch (const std::system_error& error) {
    say(message_of(error));
    return status(Exit::system);
  }
}

lockfile::Access access_of(const std::string& who) {
  if (who == "everyone") {
    return lockfile::Access::everyone;
  }
  return who == "group" ? lockfile::Access::group : lockfile::Access::by_umask;
}

std::chrono::milliseconds lease_of(const std::string& text) {
  const auto time = parse_duration(text);
  constexpr Seconds shortest{0.1};
  constexpr Seconds longest{100.0 * 86400};
  if (!time || *time < shortest || *time > longest) {
    throw CLI::ValidationError(fmt::format("--lease: {} is no duration from 100ms to 100d", quote(text)));
  }
  return std::chrono::duration_cast<std::chrono::milliseconds>(*time);
}

OnLost on_lost_of(const std::string& what) {
  return what == "warn" ? OnLost::warn : what == "term" ? OnLost::term : OnLost::kill;
}

constexpr std::string_view footer =
    R"(The exit status is the command's; 128+N when signal N ended it. Others: see 'lockctl --help'.
The lock is held until the command has ended, also when lockctl is killed. The command finds LOCKCTL_HELD=1 and
LOCKCTL_PATH (the path, absolute) in its environment; with --fence also LOCKCTL_FENCE, a number that is larger in every
later run with --fence on this path: whoever gets it with each write can refuse the writes of a run that was broken.
With --lease the lock is renewed while lockctl runs. A third of DURATION before it would run out unrenewed, or when it is
broken, the command's process group gets SIGTERM, and a quarter of DURATION later SIGKILL; when lockctl is killed, so is
the command.
Of a name in a database or a cluster (sqlite:, postgresql://, etcd://) the lock is held by lockctl itself: when lockctl
is killed, so is the command (not what it has started). When the lock is broken, or its server gone, the command's process group
gets SIGTERM, and a second later SIGKILL. LOCKCTL_FENCE is always there.
SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 are passed on to its process group.

Examples:
  lockctl run /var/spool/app --timeout 1m -- ./deliver --all
  lockctl run ledger --try -- sh -c 'echo paid >> ledger'
  lockctl run catalogue --shared -- ./report        # many reports at once, none while `lockctl run catalogue` updates
  lockctl run /net/queue --lease 30s -- ./work      # taken over by another host when this one is gone for 30 s
  lockctl run postgresql://app@db.example/app#nightly -- ./nightly
  lockctl run /srv/pages --fence -- sh -c 'upload --if-newer-than "$LOCKCTL_FENCE" /srv/pages')";

}  // namespace

void add_run(CLI::App& app, Action& chosen, const std::vector<std::string>& command) {
  auto options = std::make_shared<RunOptions>();
  options->lock.threaded = false;  // whichever of its threads acquires, lockctl holds
  CLI::App* const run_app = app.add_subcommand("run", "run a command while holding a lock");
  run_app
      ->add_option("PATH", options->path,
                   "what is locked; the lock file is PATH.lock, or PATH itself with a kernel lock")
      ->required();
  CLI::Option* const timeout = add_timeout(*run_app, options->timeout);
  run_app->add_flag("--try", options->try_only, "do not wait: give up at once when somebody else holds it")
      ->excludes(timeout);
  CLI::Option* const shared =
      run_app->add_flag("--shared", options->shared,
                        "together with other runs that are --shared; a run without it waits until all have left");
  run_app
      ->add_flag("--fence", options->lock.fence,
                 "number this hold, larger than any before on PATH: LOCKCTL_FENCE; kept in PATH.lock.fence")
      ->excludes(shared);
  run_app
      ->add_option_function<std::string>(
          "--lease", [options](const std::string& text) { options->lock.lease = lease_of(text); },
          "the lock ends by itself unless renewed, which lockctl does: for holders on other hosts")
      ->excludes(shared)
      ->type_name("DURATION");
  CLI::Option* const on_lost =
      run_app
          ->add_option_function<std::string>(
              "--on-lost", [options](const std::string& what) { options->on_lost = on_lost_of(what); },
              "when the lease cannot be renewed, or the server is gone: kill the command (SIGTERM, then SIGKILL), term "
              "(SIGTERM only) or warn")
          ->check(CLI::IsMember({"kill", "term", "warn"}).description(""))
          ->type_name("WHAT");
  run_app->add_option("--reason", options->lock.reason, "shown to whoever asks who holds it; at most 400 bytes")
      ->type_name("TEXT");
  add_scheme(*run_app, options->lock.scheme);
  run_app
      ->add_option("--conflict-exit-code", options->conflict_status,
                   "exit with N instead of 75 or 124 when somebody else holds it")
      ->check(CLI::Range(0, 255).description(""))
      ->type_name("N");
  run_app
      ->add_option_function<std::string>(
          "--access", [options](const std::string& who) { options->lock.access = access_of(who); },
          "who else may take the lock over: umask, group or everyone")
      ->check(CLI::IsMember({"umask", "group", "everyone"}).description(""))
      ->type_name("WHO");
  run_app->footer(std::string(footer));
  run_app->callback([options, on_lost, &chosen, &command] {
    if (command.empty()) {
      throw CLI::ValidationError("no command: it goes behind '--', as in 'lockctl run PATH -- COMMAND'");
    }
    settle(options->path, options->lock.scheme);
    if (on_lost->count() > 0 && !has_lease(*options) && !is_engine(*options)) {
      throw CLI::RequiresError("--on-lost", "--lease");
    }
    options->command = command;
    chosen = [options] { return run(*options); };
  });
}

}  // namespace lockctl
