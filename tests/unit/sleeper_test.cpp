// Threads that sleep by one inotify instance: whoever reads it notes for all the others what has happened.
#include "os/sleeper.hpp"
#include "os/process.hpp"
#include "os/watch.hpp"
#include "support/scratch.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

namespace lockfile::os {
namespace {

using testing::Scratch;

class Sleepers : public ::testing::Test {
 protected:
  static constexpr int files = 6;

  void SetUp() override {
    for (int i = 0; i < files; ++i) testing::write_file(name(i), "");
  }
  [[nodiscard]] std::string name(int file) const { return scratch_ / std::to_string(file); }
  [[nodiscard]] Watch watch(int file) {
    const auto opened = system_.open(no_directory, name(file).c_str(), Open::update, 0);
    File judged(system_, opened.value);
    const FileInfo info = system_.stat(judged.get()).value;
    return WatchSource::inode(std::move(judged), info, Notice::file);
  }
  void touch(int file) {
    const auto opened = system_.open(no_directory, name(file).c_str(), Open::update, 0);
    (void)system_.touch(opened.value);
    system_.close(opened.value);
  }

  System& system_ = real_system();
  Process process_{system_};
  Scratch scratch_;
};

// For the sanitizers: what is armed grows while another thread looks through it.
TEST_F(Sleepers, arm_one_thing_after_the_other_while_another_thread_reads_for_them) {
  constexpr int rounds = 1000;
  std::atomic<bool> over = false;
  std::thread reader([&] {
    Sleeper sleeper(process_);
    while (!over) {
      const Watch shared = watch(0);
      (void)sleeper.arm({&shared, 1});
      touch(0);
      EXPECT_EQ(sleeper.sleep(system_.now()), 0);
    }
  });
  for (int round = 0; round < rounds; ++round) {
    Sleeper sleeper(process_);
    std::vector<Watch> on;
    for (int file = 0; file < files; ++file) {
      on.push_back(watch(file));
      (void)sleeper.arm(on);
    }
  }
  over = true;
  reader.join();
}

}  // namespace
}  // namespace lockfile::os
