// A process that runs out of descriptors, at every number that it may have left, by the kernel's own limit; and reads
// and writes that come back short, as a full disk or a slow network may do.
#include "fault/stage.hpp"

#include <fcntl.h>
#include <sys/resource.h>

#include <cerrno>
#include <iostream>

namespace lockfile::testing {
namespace {

// Only so many more descriptors can be opened (setrlimit(2), RLIMIT_NOFILE).
class FewDescriptors final : public Trouble {
 public:
  explicit FewDescriptors(std::size_t left) : left_(left) {
    ::getrlimit(RLIMIT_NOFILE, &usual_);
    few_ = usual_;
  }
  ~FewDescriptors() override { end(); }

  void begin() override {
    if (!begun_) few_.rlim_cur = limit_that_leaves(left_);
    begun_ = true;
    ::setrlimit(RLIMIT_NOFILE, &few_);
  }
  void end() override { ::setrlimit(RLIMIT_NOFILE, &usual_); }
  [[nodiscard]] bool explains(int error) const override {
    if (error == EMFILE) ++refused_;
    return error == EMFILE;
  }
  /// So many verbs failed because of it.
  [[nodiscard]] long refused() const noexcept { return refused_; }
  [[nodiscard]] std::string describe() const override { return "with " + std::to_string(left_) + " descriptors left"; }

 private:
  static rlim_t limit_that_leaves(std::size_t left) {
    int limit = 0;
    for (std::size_t free = 0; free < left || ::fcntl(limit, F_GETFD) >= 0; ++limit) {
      if (::fcntl(limit, F_GETFD) < 0) ++free;
    }
    return static_cast<rlim_t>(limit);
  }

  std::size_t left_;
  bool begun_ = false;
  mutable long refused_ = 0;
  rlimit usual_{};
  rlimit few_{};
};

class ShortTransfers final : public Trouble {
 public:
  ShortTransfers(os::Call which, std::size_t bytes) : which_(which), bytes_(bytes) {}

  [[nodiscard]] std::size_t cut(os::Call call) const override { return call == which_ ? bytes_ : all_bytes; }
  [[nodiscard]] bool explains(int error) const override { return which_ == os::Call::write && error == ENOSPC; }
  [[nodiscard]] std::string describe() const override {
    return "with each " + std::string(os::to_string(which_)) + " cut to " + std::to_string(bytes_) + " bytes";
  }

 private:
  os::Call which_;
  std::size_t bytes_;
};

// One of the writes, so that those before it succeed.
class ShortWrite final : public Trouble {
 public:
  explicit ShortWrite(std::size_t at) : at_(at) {}

  int before(os::Call call) override {
    if (call == os::Call::write) ++writes_;
    return 0;
  }
  [[nodiscard]] std::size_t cut(os::Call call) const override {
    return call == os::Call::write && writes_ == at_ + 1 ? 5 : all_bytes;
  }
  [[nodiscard]] bool was_reached() const noexcept { return writes_ > at_; }
  [[nodiscard]] bool explains(int error) const override { return error == ENOSPC; }
  [[nodiscard]] std::string describe() const override {
    return "with write " + std::to_string(at_) + " cut to 5 bytes";
  }

 private:
  std::size_t at_;
  std::size_t writes_ = 0;
};

class Shortage : public Lives {};
FAULT_IN_EVERY_SETTING(Shortage);

TEST_P(Shortage, of_descriptors_gives_a_clear_error_or_none_and_never_a_hold) {
  constexpr std::size_t beside = 2;  // what is open for a moment besides: a directory that is read, a file of /proc
  std::size_t lives = 0;
  long refused = 0;
  for (const Scenario& scenario : scenarios_of(GetParam())) {
    Trouble none;
    ASSERT_TRUE(live(scenario, none));
    const std::size_t enough = most_open_ + beside;
    for (std::size_t left = 0; left <= enough; ++left, ++lives) {
      FewDescriptors few(left);
      live(scenario, few);
      refused += few.refused();
    }
  }
  EXPECT_GT(lives, scenarios_of(GetParam()).size());
  EXPECT_GT(refused, 0);
  std::cout << "lived through " << lives << " shortages, told of them " << refused << " times\n";
}

TEST_P(Shortage, of_bytes_that_are_read_changes_nothing) {
  for (const Scenario& scenario : scenarios_of(GetParam())) {
    for (const std::size_t bytes : {1UL, 7UL, 100UL}) {
      ShortTransfers short_reads(os::Call::read, bytes);
      live(scenario, short_reads);
    }
  }
}

TEST_P(Shortage, of_bytes_that_are_written_is_no_space) {
  for (const Scenario& scenario : scenarios_of(GetParam())) {
    for (const std::size_t bytes : {0UL, 1UL, 144UL}) {
      ShortTransfers short_writes(os::Call::write, bytes);
      live(scenario, short_writes);
    }
    bool more = true;
    for (std::size_t at = 0; more; ++at) {
      ShortWrite write(at);
      live(scenario, write);
      more = write.was_reached();
    }
  }
}

}  // namespace
}  // namespace lockfile::testing
