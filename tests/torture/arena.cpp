// Who is in, and whether it may be.
#include "torture/arena.hpp"

#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <new>
#include <stdexcept>

namespace lockfile::torture {
namespace {

std::size_t place_of(Hold hold) { return hold >> 56U; }
std::size_t thread_index_of(Hold hold) { return hold >> 48U & 0xffU; }
std::uint32_t process_of(Hold hold) { return hold >> 24U & 0xffffffU; }

// Has no thread of that process any memory left? Whoever is killed loses that before its descriptors, and so before its
// kernel locks, and all that before a pidfd tells of its end (do_exit in the kernel, 6.1).
bool has_no_memory(pid_t pid) noexcept {
  std::error_code ec;
  std::filesystem::directory_iterator thread("/proc/" + std::to_string(pid) + "/task", ec);
  while (!ec && thread != std::filesystem::directory_iterator()) {
    std::error_code none;
    (void)std::filesystem::read_symlink(thread->path() / "exe", none);
    if (!none) return false;
    thread.increment(ec);
  }
  return true;
}

}  // namespace

Hold make_hold(int place, int thread, std::uint32_t process, std::uint32_t serial) noexcept {
  return static_cast<Hold>(place) << 56U | static_cast<Hold>(thread) << 48U | static_cast<Hold>(process) << 24U |
         serial;
}

std::string who(Hold hold) {
  return "process " + std::to_string(process_of(hold)) + " (thread " + std::to_string(thread_index_of(hold)) + ")";
}

std::string lock_name(int lock) { return {static_cast<char>('a' + lock)}; }

ThreadState& Arena::thread_of(Hold hold) noexcept { return place.at(place_of(hold)).thread.at(thread_index_of(hold)); }

// Dead: no instruction of it runs any more. The tormentor writes a death down before it reaps, so a number that has
// come to mean another process meanwhile is found out by the second look.
bool Arena::is_dead(Hold hold) noexcept {
  const Place& at = place.at(place_of(hold));
  const auto written_down = [&] { return at.reaped >= process_of(hold); };
  if (written_down()) return true;
  const pid_t pid = at.pid;
  const auto process = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  pollfd end = {process, POLLIN, 0};
  const bool ended = process < 0 ? ::kill(pid, 0) != 0 : ::poll(&end, 1, 0) == 1;
  if (process >= 0) ::close(process);
  return ended || has_no_memory(pid) || written_down();
}

void Arena::enter(int lock, Hold me) {
  ++holds;
  const Hold before = holder_.at(static_cast<std::size_t>(lock)).exchange(me);
  if (before == 0 || is_condemned(before)) return;
  if (is_dead(before)) {
    ++taken_over;
  } else {
    fail(Law::overlap, who(me) + " held '" + lock_name(lock) + "' while " + who(before) + ", alive, held it");
  }
}

void Arena::leave(int lock, Hold me) {
  Hold found = me;
  if (holder_.at(static_cast<std::size_t>(lock)).compare_exchange_strong(found, 0) || is_condemned(me)) return;
  fail(Law::overlap, who(me) + " was about to release '" + lock_name(lock) + "' and found " +
                         (found == 0 ? "that somebody had been there" : who(found) + " in it"));
}

void Arena::condemn(Hold hold) noexcept { condemned_.at(condemned_count_++ % condemned_.size()) = hold; }

bool Arena::is_condemned(Hold hold) const noexcept {
  return std::find(condemned_.begin(), condemned_.end(), hold) != condemned_.end();
}

void Arena::fail(Law law, const std::string& sentence) noexcept {
  ++failures_.at(static_cast<std::size_t>(law));
  const std::size_t n = sentence_count_++;
  if (n >= sentences_.size()) return;
  auto& text = sentences_.at(n);
  sentence.copy(text.data(), text.size() - 1);
}

std::vector<std::string> Arena::sentences() const {
  std::vector<std::string> all;
  for (const auto& each : sentences_) {
    if (each.front() != 0) all.emplace_back(each.data());
  }
  if (sentence_count_ > all.size()) all.push_back("and " + std::to_string(sentence_count_ - all.size()) + " more");
  return all;
}

SharedArena::SharedArena() {
  void* const memory = ::mmap(nullptr, sizeof(Arena), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("no shared memory");
  arena_ = new (memory) Arena;
}

SharedArena::~SharedArena() { ::munmap(arena_, sizeof(Arena)); }

}  // namespace lockfile::torture
