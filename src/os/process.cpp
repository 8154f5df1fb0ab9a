// The per-process object, and which one is the caller's.
#include "os/process.hpp"

#include "os/real.hpp"
#include "os/sleeper.hpp"

#include <atomic>

namespace lockfile::os {
namespace {

Identity identify(System& system) {
  Identity self;
  self.pid = system.process_id();
  if (auto boot = system.boot_id(); boot.ok()) self.boot = std::move(boot.value);
  self.host = system.host_name();
  if (auto space = system.pid_namespace(); space.ok()) self.pid_namespace = space.value;
  if (auto space = system.time_namespace(); space.ok()) self.time_namespace = space.value;
  if (auto start = system.process_start(self.pid); start.ok()) self.start = start.value;
  self.program = system.program_name();
  return self;
}

thread_local Process* simulated = nullptr;

// Never destroyed: lock objects with static storage may outlive any static of ours. A forked child makes its own and
// leaves its parent's where it is, for its mutexes may be locked by threads that the child does not have.
std::atomic<Process*> real_process = nullptr;

}  // namespace

Process::Process(System& system)
    : system_(system), identity_(identify(system)), notifier_(std::make_unique<Notifier>(system)) {}

Process::~Process() = default;

Process& Process::current() {
  if (simulated != nullptr) return *simulated;
  Process* process = real_process.load(std::memory_order_acquire);
  if (process == nullptr || !process->is_caller()) {
    install_fork_handlers();
    auto mine = std::make_unique<Process>(real_system());
    mine->parents_ = process;
    if (real_process.compare_exchange_strong(process, mine.get(), std::memory_order_acq_rel)) {
      process = mine.release();
    }
  }
  return *process;
}

Process* Process::real() noexcept { return real_process.load(std::memory_order_acquire); }

void Process::set_current(Process* process) noexcept { simulated = process; }

void Process::after_fork_in_child() noexcept {
  for (Unshared* each = unshared_.first(); each != nullptr; each = each->next) {
    system_.close(each->descriptor_);
    each->descriptor_ = -1;
    each->process_ = nullptr;
  }
  unshared_.forget_all();
  system_.unlock(unshared_mutex_);
}

void Unshared::open(Process& process, int descriptor) noexcept {
  close();
  const MutexGuard guard(process.system_, process.unshared_mutex_);
  process_ = &process;
  descriptor_ = descriptor;
  process.unshared_.add(*this);
}

void Unshared::leave_list() noexcept {
  Process& process = *process_;
  // In a child that did not run the at-fork handlers the list's mutex may be locked by a thread that the child does not
  // have; its list is its parent's and of no use to it.
  if (process.is_caller()) {
    const MutexGuard guard(process.system_, process.unshared_mutex_);
    process.unshared_.remove(*this);
  }
  process_ = nullptr;
}

void Unshared::close() noexcept {
  if (process_ == nullptr) return;
  System& system = process_->system_;
  leave_list();
  system.close(descriptor_);
  descriptor_ = -1;
}

void Unshared::forget() noexcept {
  if (process_ == nullptr) return;
  leave_list();
  descriptor_ = -1;
}

std::shared_ptr<void>& Process::part_slot(std::type_index type, const std::function<std::shared_ptr<void>()>& make) {
  const MutexGuard guard(system_, mutex_);
  std::shared_ptr<void>& slot = parts_[type];
  if (!slot) slot = make();
  return slot;
}

}  // namespace lockfile::os
