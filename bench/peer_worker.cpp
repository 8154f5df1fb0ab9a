// One process of bench/peers, for the locks that C++ programs can use: peer_worker LOCK PATH ACTION ARGUMENTS...
// bench/peers has the same in Python, for those of Python, and says what the actions are. `peer_worker --schemes`:
// which of ours there are.
#include <fcntl.h>
#include <lockfile.h>
#include <sys/mman.h>
#include <unistd.h>

#include <QLockFile>
#include <boost/interprocess/sync/file_lock.hpp>
#include <boost/interprocess/sync/named_mutex.hpp>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "lockers.hpp"

namespace {

class QtLocker : public bench::Locker {
 public:
  explicit QtLocker(const std::string& path) : lock_(QString::fromStdString(path)) {}
  void acquire() override {
    if (!lock_.lock()) bench::fail("QLockFile");
  }
  void release() override { lock_.unlock(); }

 private:
  QLockFile lock_;
};

class BoostFileLocker : public bench::Locker {
 public:
  explicit BoostFileLocker(const std::string& path) {
    std::ofstream(path, std::ios::app).flush();
    lock_ = boost::interprocess::file_lock(path.c_str());
  }
  void acquire() override { lock_.lock(); }
  void release() override { lock_.unlock(); }

 private:
  boost::interprocess::file_lock lock_;
};

// Its name is the host's, not a path: bench/peers removes it.
class BoostNamedLocker : public bench::Locker {
 public:
  explicit BoostNamedLocker(const std::string& path)
      : mutex_(boost::interprocess::open_or_create, path.substr(path.rfind('/') + 1).c_str()) {}
  void acquire() override { mutex_.lock(); }
  void release() override { mutex_.unlock(); }

 private:
  boost::interprocess::named_mutex mutex_;
};

class LiblockfileLocker : public bench::Locker {
 public:
  explicit LiblockfileLocker(std::string path) : path_(std::move(path)) {}
  void acquire() override {
    if (lockfile_create(path_.c_str(), many, L_PID) != L_SUCCESS) bench::fail("lockfile_create");
  }
  void release() override {
    if (lockfile_remove(path_.c_str()) != 0) bench::fail("lockfile_remove");
  }

 private:
  static constexpr int many = 10'000;  // tries; with the largest number it gives up at once
  std::string path_;
};

std::unique_ptr<bench::Locker> make(const std::string& name, const std::string& path) {
  if (name == "QLockFile") return std::make_unique<QtLocker>(path);
  if (name == "Boost file_lock") return std::make_unique<BoostFileLocker>(path);
  if (name == "Boost named_mutex") return std::make_unique<BoostNamedLocker>(path);
  if (name == "liblockfile") return std::make_unique<LiblockfileLocker>(path);
  return bench::make_locker_on(name, path);
}

void print(const std::vector<double>& values) {
  std::printf("[");
  for (std::size_t i = 0; i < values.size(); ++i) std::printf("%s%.1f", i == 0 ? "" : ", ", values[i]);
  std::printf("]\n");
}

void pair(bench::Locker& lock, int rounds, int batch) {
  std::vector<double> ns;
  for (int round = 0; round < rounds; ++round) {
    const std::int64_t begin = bench::now_ns();
    for (int i = 0; i < batch; ++i) {
      lock.acquire();
      lock.release();
    }
    ns.push_back(static_cast<double>(bench::now_ns() - begin) / batch);
  }
  print(ns);
}

// The frame: when each began its last release, and whether each has arrived.
void alternate(bench::Locker& lock, const char* frame_file, std::size_t me, int holds,
               std::chrono::microseconds length) {
  using Word = std::atomic<std::int64_t>;
  const int file = open(frame_file, O_RDWR | O_CLOEXEC);
  void* const mapped = mmap(nullptr, 4 * sizeof(Word), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (file < 0 || mapped == MAP_FAILED) bench::fail("mmap");
  Word* const release_began = static_cast<Word*>(mapped);
  Word* const arrived = release_began + 2;
  lock.acquire();
  lock.release();
  arrived[me] = 1;
  bench::wait_until([&] { return arrived[1 - me].load() != 0; }, "the other one does not come");
  std::vector<double> us;
  for (int i = 0; i < holds; ++i) {
    const std::int64_t began = bench::now_ns();
    lock.acquire();
    const std::int64_t got = bench::now_ns();
    const std::int64_t released = release_began[1 - me].load();
    if (released > began) us.push_back(static_cast<double>(got - released) / 1000);
    bench::spin_for(length);
    release_began[me] = bench::now_ns();
    lock.release();
    bench::spin_for(length);
  }
  print(us);
}

void contend(bench::Locker& lock, std::int64_t go_ns, std::int64_t end_ns, std::chrono::microseconds length) {
  lock.acquire();
  lock.release();
  bench::wait_until([&] { return bench::now_ns() >= go_ns; }, "time");
  const std::int64_t slept = bench::sleeps();
  int holds = 0;
  while (bench::now_ns() < end_ns) {
    lock.acquire();
    if (bench::now_ns() < end_ns) ++holds;
    bench::spin_for(length);
    lock.release();
  }
  print({static_cast<double>(holds), static_cast<double>(bench::sleeps() - slept)});
}

void say(const char* what) {
  std::printf("%s\n", what);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> all(argv, argv + argc);
  if (argc == 2 && all[1] == "--schemes") {
    for (const std::string& scheme : bench::schemes()) say(scheme.c_str());
    return 0;
  }
  if (argc < 4) return 64;
  const auto lock = make(all[1], all[2]);
  const auto argument = [&](std::size_t i) { return std::atoll(all.at(i).c_str()); };
  const auto us = [&](std::size_t i) { return std::chrono::microseconds(argument(i)); };
  const std::string& action = all[3];
  if (action == "pair") {
    pair(*lock, static_cast<int>(argument(4)), static_cast<int>(argument(5)));
  } else if (action == "alternate") {
    alternate(*lock, all.at(4).c_str(), static_cast<std::size_t>(argument(5)), static_cast<int>(argument(6)), us(7));
  } else if (action == "contend") {
    contend(*lock, argument(4), argument(5), us(6));
  } else if (action == "hold") {
    lock->acquire();
    say("held");
    while (std::getchar() != EOF) {
    }
    lock->release();
  } else if (action == "wait") {
    say("waiting");
    lock->acquire();
    print({static_cast<double>(bench::now_ns()) / 1e6});
    lock->release();
  } else {
    return 64;
  }
}
