// A call is refused, once or from then on, with each error number it can give: the verb gives a clear error or
// succeeds all the same, never reports a hold that is none, and leaves nothing behind.
#include "support/scratch.hpp"
#include "support/variants.hpp"

#include <lockfile/lockfile.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <iostream>
#include <thread>

namespace lockfile::testing {
namespace {

using namespace std::chrono_literals;

// What any call on a file may give; which number belongs to which call is more than a caller may rely on.
constexpr std::array errors = {EACCES, EPERM,  ENOENT, EEXIST, EINTR,   EIO,    ENOMEM,    ENOSPC,      EDQUOT,
                               EROFS,  EMFILE, ENFILE, ELOOP,  EINVAL,  ENOSYS, ESTALE,    EOPNOTSUPP,  ENOLCK,
                               EAGAIN, EBUSY,  EMLINK, EXDEV,  ENOTDIR, EISDIR, ENOTEMPTY, ENAMETOOLONG};

struct Fault {
  long at = 0;  // the call that is refused
  int error = 0;
  bool once = true;  // or every call of that kind from there on
};

class Faults : public ::testing::TestWithParam<Variant> {
 protected:
  // Refuses calls as `fault` says; counts all.
  void arm(InVariant& in, const Fault& fault) {
    made_ = 0;
    refused_.reset();
    in.system().before = [this, fault](os::Call call) -> int {
      const long number = made_++;
      if (call == os::Call::close || call == os::Call::notify_remove) return 0;  // cannot be refused
      if (number == fault.at) refused_ = call;
      const bool hit = fault.once ? number == fault.at : refused_ == call;
      return hit ? fault.error : 0;
    };
  }

  // One life of a lock under a fault. False: the fault was never reached.
  bool live_with(const Fault& fault) {
    const std::string path = scratch_ / "a";
    {
      InVariant in(GetParam());
      FileLock lock(path, {.scheme = std::string(GetParam().scheme)});
      arm(in, fault);
      std::error_code ec;
      const bool held = lock.acquire(0s, ec);
      const bool believed = held && lock.i_am_locking();
      const std::string what = describe(fault);
      in.system().before = nullptr;
      EXPECT_EQ(held, !ec) << what;
      if (held) {
        expect_excluded(path, what);
      } else {
        // Some numbers are not failures but statements, and this one was a lie: something stands at that name.
        const bool a_lie = fault.error == EEXIST || fault.error == ENOENT || fault.error == ENOTEMPTY ||
                           fault.error == ENOTDIR || fault.error == EISDIR || fault.error == ELOOP;
        EXPECT_TRUE(a_lie || ec != errc::already_locked) << what << ": nobody else was there";
        EXPECT_FALSE(ec.message().empty());
      }
      if (believed) {
        EXPECT_TRUE(lock.i_am_locking()) << what;
      }
      arm_rest(in, fault);
      if (held) lock.release(ec);
      in.system().before = nullptr;
    }
    expect_usable(path, describe(fault));
    expect_clean(fault);
    return refused_.has_value();
  }

  // The fault goes on counting where acquire left off.
  void arm_rest(InVariant& in, const Fault& fault) {
    in.system().before = [this, fault](os::Call call) -> int {
      const long number = made_++;
      if (call == os::Call::close || call == os::Call::notify_remove) return 0;
      if (number == fault.at) refused_ = call;
      const bool hit = fault.once ? number == fault.at : refused_ == call;
      return hit ? fault.error : 0;
    };
  }

  void expect_excluded(const std::string& path, const std::string& what) {
    std::thread([&] {
      InVariant in(GetParam());
      FileLock other(path, {.scheme = std::string(GetParam().scheme)});
      std::error_code ec;
      EXPECT_FALSE(other.acquire(0s, ec)) << what << ": a hold that was none";
    }).join();
  }

  // Without faults: whatever the last life left, the lock is to be had and the directory clean afterwards.
  void expect_usable(const std::string& path, const std::string& what) {
    {
      InVariant in(GetParam());
      FileLock lock(path, {.scheme = std::string(GetParam().scheme)});
      std::error_code ec;
      lock.acquire(0s, ec);
      if (ec && GetParam().missing.marks) {
        lock.break_lock(BreakWhat::foreign, ec);
        lock.acquire(0s, ec);
      }
      EXPECT_FALSE(ec) << what << ": " << ec.message();
    }
  }

  // Nothing stays behind, but where it was the removal itself that was refused: that is left for doctor, which clears
  // it once this process has ended.
  void expect_clean(const Fault& fault) {
    const bool of_a_removal = refused_ == os::Call::unlink || refused_ == os::Call::remove_directory ||
                              refused_ == os::Call::rename || refused_ == os::Call::rename_new;
    if (!of_a_removal) {
      EXPECT_EQ(scratch_.names(), std::vector<std::string>()) << describe(fault);
    }
    std::filesystem::remove_all(scratch_.path());
    std::filesystem::create_directory(scratch_.path());
  }

  [[nodiscard]] std::string describe(const Fault& fault) const {
    const std::string call = refused_ ? std::string(os::to_string(*refused_)) : "no call";
    return call + " (number " + std::to_string(fault.at) + ") refused with " + std::to_string(fault.error) + " " +
           os::code_of(fault.error).message() + (fault.once ? " once" : " from then on");
  }

  Scratch scratch_;
  long made_ = 0;
  std::optional<os::Call> refused_;
};

INSTANTIATE_TEST_SUITE_P(every, Faults, ::testing::ValuesIn(variants().begin(), variants().end()),
                         [](const auto& each) { return std::string(each.param.name); });

TEST_P(Faults, of_every_call_with_every_number_give_a_clear_error_and_never_a_hold) {
  long lives = 0;
  for (const bool once : {true, false}) {
    for (const int error : errors) {
      for (long at = 0; at < 500 && live_with({at, error, once}); ++at) {
        ++lives;
        if (HasNonfatalFailure()) return;
      }
    }
  }
  EXPECT_GT(lives, 500);
  std::cout << "lived through " << lives << " faults\n";
}

}  // namespace
}  // namespace lockfile::testing
