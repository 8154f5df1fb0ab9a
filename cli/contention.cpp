// Several processes lock at once: see contention.hpp.
#include "contention.hpp"

#include <lockfile/lockfile.hpp>

#include <fmt/format.h>

#include <poll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <exception>
#include <filesystem>
#include <new>
#include <stop_token>
#include <system_error>
#include <thread>

namespace lockctl {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

// Lives in memory that all of them share and no file system has a part in: it must not err with the lock.
struct Board {
  std::atomic<bool> stop{false};
  std::atomic<int> inside{0};
  std::atomic<std::int64_t> acquisitions{0};
  std::atomic<std::int64_t> overlaps{0};
  std::atomic<std::int64_t> failures{0};
  std::array<char, 512> first_failure{};
};
static_assert(std::atomic<std::int64_t>::is_always_lock_free, "the board is shared between processes");

class SharedBoard {
 public:
  SharedBoard() : memory_(::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) {
    if (memory_ == MAP_FAILED) {
      throw std::system_error(errno, std::system_category(), "cannot share memory");
    }
    board_ = new (memory_) Board;
  }
  SharedBoard(const SharedBoard&) = delete;
  SharedBoard& operator=(const SharedBoard&) = delete;
  ~SharedBoard() { ::munmap(memory_, sizeof(Board)); }
  Board& operator*() const { return *board_; }
  Board* operator->() const { return board_; }

 private:
  void* memory_;
  Board* board_ = nullptr;
};

void note_failure(Board& board, const char* what) {
  if (board.failures.fetch_add(1) == 0) {
    std::strncpy(board.first_failure.data(), what, board.first_failure.size() - 1);
  }
}

void enter_and_leave(Board& board) {
  if (board.inside.fetch_add(1) != 0) {
    ++board.overlaps;
  }
  std::this_thread::yield();  // an invitation to whoever is let in wrongly
  board.inside.fetch_sub(1);
  ++board.acquisitions;
}

// One process's part. Returns normally, so that the lock object takes its files away.
void work(Board& board, const std::string& path, Clock::time_point end) {
  // Others get their turn or give up in time: nobody waits for a worker that somebody has stopped.
  const auto patience = end + 2s;
  try {
    lockfile::FileLock lock(path, {.reason = "lockctl doctor"});
    while (!board.stop && Clock::now() < end) {
      if (!lock.try_lock_until(patience)) {
        note_failure(board, "a worker did not get its turn in time");
        return;
      }
      enter_and_leave(board);
      lock.release();
    }
  } catch (const std::exception& error) {
    note_failure(board, error.what());
  }
}

std::string random_name() {
  std::uint64_t number = 0;
  if (::getrandom(&number, sizeof number, 0) != static_cast<ssize_t>(sizeof number)) {
    throw std::system_error(errno, std::system_category(), "cannot draw a name");
  }
  return fmt::format("lockctl-doctor-{}-{:016x}", ::getpid(), number);
}

// Whatever bears our random name is ours.
std::vector<std::string> remove_all_of(const std::string& directory, const std::string& name) {
  std::vector<std::string> removed;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().filename().string().find(name) != std::string::npos) {
      removed.push_back(entry->path().filename().string());
    }
  }
  for (const std::string& left : removed) {
    std::filesystem::remove_all(std::filesystem::path(directory) / left, error);
  }
  return removed;
}

// The first signal that comes while the workers work, or 0. They are waited for in any case.
int wait_for_all(Board& board, const std::vector<pid_t>& workers, const BlockedSignals& signals) {
  int interrupted_by = 0;
  std::vector<pid_t> left = workers;
  while (!left.empty()) {
    pollfd event{signals.descriptor(), POLLIN, 0};
    ::poll(&event, 1, 20);
    if (const auto caught = signals.next(); caught && interrupted_by == 0) {
      interrupted_by = caught->signal;
      board.stop = true;
    }
    std::erase_if(left, [&](pid_t pid) {
      int wait_status = 0;
      const pid_t ended = ::waitpid(pid, &wait_status, WNOHANG);
      if (ended == pid && !(WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0)) {
        note_failure(board, "a worker was killed");
      }
      return ended == pid || (ended < 0 && errno == ECHILD);
    });
  }
  return interrupted_by;
}

}  // namespace

Contention contend(const std::string& directory, int processes, std::chrono::milliseconds length,
                   const BlockedSignals& signals) {
  const SharedBoard board;
  const std::string name = random_name();
  const std::string path = (std::filesystem::path(directory) / name).string();
  const auto begin = Clock::now();
  std::vector<pid_t> workers;
  for (int i = 0; i < processes; ++i) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      work(*board, path, begin + length);
      ::_exit(0);  // what lockctl has to write or to destroy is lockctl's
    }
    if (pid < 0) {
      note_failure(*board, "a process could not be started");
      break;
    }
    workers.push_back(pid);
  }
  Contention result;
  result.interrupted_by = wait_for_all(*board, workers, signals);
  result.lasted = Clock::now() - begin;
  result.processes = static_cast<int>(workers.size());
  result.acquisitions = board->acquisitions;
  result.overlaps = board->overlaps;
  result.failures = board->failures;
  result.first_failure = board->first_failure.data();
  result.left_behind = remove_all_of(directory, name);
  return result;
}

}  // namespace lockctl
