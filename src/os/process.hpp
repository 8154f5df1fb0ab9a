// What belongs to one process and is shared by all its lock objects: who it is, its inotify instance, what trials of
// file systems showed, its lines of waiting threads. It hangs off one object and not off statics, so that a simulation
// can have several processes in one address space.
#pragma once

#include "os/linked_list.hpp"
#include "os/system.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <typeindex>
#include <unordered_map>

namespace lockfile::os {

class Notifier;

/// Who a process is, as written into records.
struct Identity {
  std::string boot;  ///< empty: unknown (no /proc)
  std::string host;
  std::uint64_t pid_namespace = 0;   ///< 0: unknown
  std::uint64_t time_namespace = 0;  ///< 0: unknown
  std::int64_t pid = 0;
  std::uint64_t start = 0;  ///< 0: unknown
  std::string program;
};

class Process;

/// A descriptor that a forked child must not keep, since its copy would prolong a kernel lock or read our events. The
/// child's copy is closed by an at-fork handler; a child that was made without running it (clone(2)) keeps its copy
/// until it ends or execs.
class Unshared : private Linked<Unshared> {
 public:
  Unshared() = default;
  Unshared(const Unshared&) = delete;
  Unshared& operator=(const Unshared&) = delete;
  ~Unshared() { close(); }

  void open(Process& process, int descriptor) noexcept;
  void close() noexcept;
  /// Lets go of the number without closing it.
  void forget() noexcept;
  [[nodiscard]] int get() const noexcept { return descriptor_; }

 private:
  friend class Process;
  friend class LinkedList<Unshared>;
  void leave_list() noexcept;
  Process* process_ = nullptr;
  int descriptor_ = -1;
};

class Process {
 public:
  explicit Process(System& system);
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process();

  /// The process of the caller: the real one, or the one that a simulation has set for this thread. After a fork it is
  /// a new object.
  [[nodiscard]] static Process& current();
  /// The real one if it has been made yet, else null; for the at-fork handlers.
  [[nodiscard]] static Process* real() noexcept;
  /// Makes `current()` of this thread give that one; null: the real one again. For tests.
  static void set_current(Process* process) noexcept;

  [[nodiscard]] System& system() const noexcept { return system_; }
  /// False in a forked child that still has an object of its parent's.
  [[nodiscard]] bool is_caller() const noexcept { return system_.process_id() == identity_.pid; }
  [[nodiscard]] const Identity& identity() const noexcept { return identity_; }
  [[nodiscard]] Notifier& notifier() const noexcept { return *notifier_; }

  // Around fork(2), called by the at-fork handlers of the real process and by simulations. The mutex is held for a few
  // list operations at a time, so a fork never waits for file steps.
  void before_fork() noexcept { system_.lock(unshared_mutex_); }
  void after_fork_in_parent() noexcept { system_.unlock(unshared_mutex_); }
  void after_fork_in_child() noexcept;

  /// The one `Part` of this process, made at its first use. Layers above keep what is theirs here.
  template <class Part>
  [[nodiscard]] Part& part() {
    std::shared_ptr<void>& slot = part_slot(typeid(Part), [this] { return std::make_shared<Part>(*this); });
    return *static_cast<Part*>(slot.get());
  }

 private:
  friend class Unshared;
  std::shared_ptr<void>& part_slot(std::type_index type, const std::function<std::shared_ptr<void>()>& make);

  Process* parents_ = nullptr;  // the object that a fork left behind; kept, see current()
  System& system_;
  Identity identity_;
  std::unique_ptr<Notifier> notifier_;
  Mutex unshared_mutex_;
  LinkedList<Unshared> unshared_;
  Mutex mutex_;
  std::unordered_map<std::type_index, std::shared_ptr<void>> parts_;
};

}  // namespace lockfile::os
