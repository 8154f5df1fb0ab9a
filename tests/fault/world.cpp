// The world of mortal processes.
#include "fault/world.hpp"

#include <algorithm>
#include <bitset>
#include <cerrno>
#include <ostream>

namespace lockfile::testing {

const std::vector<Setting>& settings() {
  static const std::vector<Setting> all = [] {
    std::vector<Setting> made;
    for (const Variant& each : variants()) made.push_back({std::string(each.name), &each, {}});
    for (const std::string_view variant : {"link", "mkdir", "mkdir_with_mark_without_hard_links"}) {
      made.push_back(
          {std::string(variant) + "_on_a_network", &variant_named(variant), os::FileSystem{"nfs", false, true}});
    }
    for (const std::string_view variant : {"kernel", "kernel_without_unnamed_files", "flock"}) {
      made.push_back({std::string(variant), &variant_named(variant), {}});
    }
    for (const std::string_view scheme : {"kernel", "flock"}) {
      made.push_back(
          {std::string(scheme) + "_on_a_network", &variant_named(scheme), os::FileSystem{"nfs", false, true}});
    }
    for (const std::string_view variant : {"shm", "shm_without_unnamed_files"}) {
      made.push_back({std::string(variant), &variant_named(variant), {}});
    }
    return made;
  }();
  return all;
}

void PrintTo(const Setting& setting, std::ostream* out) { *out << setting.name; }

// The lowest layer of one process: the kernel, but for pids and time.
class World::Member final : public LayeredSystem {
 public:
  Member(World& world, const Mortal& mortal)
      : LayeredSystem(world.real_), world_(world), mortal_(mortal), pid_(world.give_birth()) {}
  Member(const Member&) = delete;
  Member& operator=(const Member&) = delete;
  ~Member() override { world_.die(pid_); }

  void die() noexcept {
    world_.die(pid_);
    dead_ = true;
  }
  std::size_t close_all() noexcept {
    const std::size_t count = open_.count();
    for (std::size_t each = 0; each < open_.size(); ++each) {
      if (open_[each]) close(static_cast<int>(each));
    }
    return count;
  }
  [[nodiscard]] std::int64_t pid() const noexcept { return pid_; }
  [[nodiscard]] std::size_t most_open() const noexcept { return most_open_; }

  // A process that is dead is nobody: what is left of its objects takes itself for a copy in another process, as after
  // a fork, and does no more than close.
  std::int64_t process_id() noexcept override { return dead_ ? 0 : pid_; }

  // The same in every run.
  std::uint64_t random() noexcept override { return world_.random_(); }

  os::Result<int> open(int at, const char* name, os::Open how, std::uint32_t mode) noexcept override {
    return opened(LayeredSystem::open(at, name, how, mode));
  }
  os::Result<int> duplicate(int descriptor) noexcept override { return opened(LayeredSystem::duplicate(descriptor)); }
  os::Result<int> notify_open() noexcept override { return opened(LayeredSystem::notify_open()); }
  os::Result<int> event_open() noexcept override { return opened(LayeredSystem::event_open()); }
  os::Result<int> open_process(std::int64_t pid) noexcept override {
    const auto living = world_.living_.find(pid);
    if (living == world_.living_.end()) return {-1, ESRCH};
    return opened(LayeredSystem::duplicate(living->second));
  }
  bool process_exists(std::int64_t pid) noexcept override { return world_.living_.contains(pid); }
  os::Result<std::uint64_t> process_start(std::int64_t pid) noexcept override {
    if (!world_.living_.contains(pid)) return {0, ENOENT};
    return {static_cast<std::uint64_t>(pid), 0};
  }
  void close(int descriptor) noexcept override {
    if (!is_open(descriptor)) world_.closed_twice_ = true;
    mark(descriptor, false);
    LayeredSystem::close(descriptor);
  }

  os::Status make_symlink(const char* target, int at, const char* name) noexcept override {
    return replied(os::Call::make_symlink, [&] { return LayeredSystem::make_symlink(target, at, name); });
  }

  os::Result<std::size_t> read(int descriptor, std::span<char> into, std::uint64_t offset) noexcept override {
    return LayeredSystem::read(descriptor, into.first(std::min(into.size(), cut_to(os::Call::read))), offset);
  }
  os::Result<std::size_t> write(int descriptor, std::string_view bytes, std::uint64_t offset) noexcept override {
    return LayeredSystem::write(descriptor, bytes.substr(0, cut_to(os::Call::write)), offset);
  }

  os::Status link(int from_at, const char* from, int to_at, const char* to) noexcept override {
    return replied(os::Call::link, [&] { return LayeredSystem::link(from_at, from, to_at, to); });
  }
  os::Status link_temporary(int descriptor, int at, const char* name) noexcept override {
    return replied(os::Call::link_temporary, [&] { return LayeredSystem::link_temporary(descriptor, at, name); });
  }
  os::Status unlink(int at, const char* name) noexcept override {
    return replied(os::Call::unlink, [&] { return LayeredSystem::unlink(at, name); });
  }
  os::Status make_directory(int at, const char* name, std::uint32_t mode) noexcept override {
    return replied(os::Call::make_directory, [&] { return LayeredSystem::make_directory(at, name, mode); });
  }
  os::Status remove_directory(int at, const char* name) noexcept override {
    return replied(os::Call::remove_directory, [&] { return LayeredSystem::remove_directory(at, name); });
  }
  os::Status rename(int from_at, const char* from, int to_at, const char* to) noexcept override {
    return replied(os::Call::rename, [&] { return LayeredSystem::rename(from_at, from, to_at, to); });
  }
  os::Status rename_new(int from_at, const char* from, int to_at, const char* to) noexcept override {
    return replied(os::Call::rename_new, [&] { return LayeredSystem::rename_new(from_at, from, to_at, to); });
  }

  std::chrono::steady_clock::time_point now() noexcept override { return world_.now(); }
  std::chrono::nanoseconds since_boot() noexcept override { return world_.now().time_since_epoch(); }
  os::Status wait(std::span<Waitable> on,
                  std::optional<std::chrono::steady_clock::time_point> deadline) noexcept override {
    return world_.sleep(on, deadline);
  }

 private:
  os::Result<int> opened(os::Result<int> descriptor) noexcept {
    if (descriptor.ok()) mark(descriptor.value, true);
    most_open_ = std::max(most_open_, open_.count());
    return descriptor;
  }
  [[nodiscard]] bool is_open(int descriptor) const noexcept {
    const auto number = static_cast<std::size_t>(descriptor);
    return number < open_.size() && open_[number];
  }
  void mark(int descriptor, bool open) noexcept {
    const auto number = static_cast<std::size_t>(descriptor);
    if (number < open_.size()) open_[number] = open;
  }
  template <class Ask>
  [[nodiscard]] os::Status replied(os::Call call, Ask ask) const noexcept {
    const os::Status error = ask();
    return error == 0 && mortal_.loses_reply && mortal_.loses_reply(call) ? ask() : error;
  }
  [[nodiscard]] std::size_t cut_to(os::Call call) const { return mortal_.cut ? mortal_.cut(call) : all_bytes; }

  World& world_;
  const Mortal& mortal_;
  std::int64_t pid_;
  bool dead_ = false;
  std::bitset<4096> open_;  // needs no memory, which may be what is short; the kernel gives out the lowest numbers
  std::size_t most_open_ = 0;
};

World::World() : real_(os::real_system()), began_(real_.now()) {}

World::~World() {
  for (const auto& [pid, event] : living_) real_.close(event);
}

World::Clock::time_point World::now() const noexcept { return began_ + slept_; }

std::int64_t World::give_birth() {
  const auto event = real_.event_open();
  if (!event.ok()) throw std::system_error(os::code_of(event.error), "no event for a process");
  const std::int64_t pid = next_pid_++;
  living_.emplace(pid, event.value);
  return pid;
}

void World::die(std::int64_t pid) noexcept {
  const auto living = living_.find(pid);
  if (living == living_.end()) return;
  real_.event_set(living->second);
  real_.close(living->second);
  living_.erase(living);
}

os::Status World::sleep(std::span<os::System::Waitable> on, std::optional<Clock::time_point> deadline) noexcept {
  constexpr long most_sleeps = 1000;  // who has slept so often will do nothing else
  const auto woken = [&]() -> bool {
    if (real_.wait(on, real_.now()) != 0) return true;
    return std::any_of(on.begin(), on.end(), [](const os::System::Waitable& each) { return each.fired; });
  };
  const bool too_often = ++sleeps_ > most_sleeps;
  if (!too_often && woken()) return 0;
  if (!too_often && on_sleep && on_sleep() && woken()) return 0;
  if (!deadline || too_often) {
    slept_for_ever_ = true;
    return EDEADLK;
  }
  slept_ += std::max(*deadline - now(), Clock::duration::zero());
  return 0;
}

Mortal::Mortal(World& world, const Setting& setting)
    : member_(std::make_unique<World::Member>(world, *this)),
      system_(std::make_unique<CrippledSystem>(*member_, setting.variant->missing)) {
  system_->mounted = setting.mounted;
}

Mortal::~Mortal() { os::Process::set_current(nullptr); }

void Mortal::enter() {
  if (!process_) process_ = std::make_unique<os::Process>(*system_);
  os::Process::set_current(process_.get());
}

void Mortal::die() noexcept { member_->die(); }

std::size_t Mortal::close_all() noexcept { return member_->close_all(); }

std::size_t Mortal::most_open() const noexcept { return member_->most_open(); }

std::int64_t Mortal::pid() const noexcept { return member_->pid(); }

}  // namespace lockfile::testing
