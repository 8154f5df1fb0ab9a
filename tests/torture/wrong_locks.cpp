// Locks that are wrong on purpose, as lock files in the wild are: the torture has to find each of them out.
#include "torture/torture.hpp"

#include <lockfile/file_lock.hpp>
#include <lockfile/scheme.hpp>

#include "support/scratch.hpp"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

namespace lockfile::torture {
namespace {

enum class Mistake : std::uint8_t {
  looks_then_creates,  // and does not ask whether it was the one that created
  breaks_by_name,      // removes what has that name by now, not what it found dead
  never_breaks,        // the lock of a dead process stays
  releases_unseen,     // without a look whether it still is its own
};

// The classic: a file with a pid in it. The first word of its record is the pid, the rest tells the holds apart.
template <Mistake mistake>
class PidFile final : public SimpleScheme {
 public:
  explicit PidFile(const std::string& path) : file_(path + ".lock"), directory_(file_.substr(0, file_.rfind('/'))) {}

  [[nodiscard]] std::string_view name() const noexcept override { return "pid_file"; }

  Step try_once() noexcept override {
    const std::string record =
        std::to_string(::getpid()) + " " + std::to_string(::gettid()) + " " + std::to_string(++number_);
    const bool looked_free = ::access(file_.c_str(), F_OK) != 0;
    bool created = create(record) || (mistake == Mistake::looks_then_creates && looked_free);
    if (!created && mistake != Mistake::never_breaks && is_stale()) {
      ::sched_yield();
      ::unlink(file_.c_str());
      created = create(record);
    }
    if (!created) return Blocked{{}, {}, {}};
    mine_ = record;
    return Granted{};
  }

  std::error_code release() noexcept override {
    if (mistake == Mistake::releases_unseen || testing::read_file(file_) == mine_) ::unlink(file_.c_str());
    return {};
  }

  [[nodiscard]] std::vector<Holder> holders(std::error_code& why) override {
    why.clear();
    Holder holder;
    holder.nonce = testing::read_file(file_);
    if (holder.nonce.empty()) return {};
    char* rest = nullptr;
    holder.pid = std::strtoll(holder.nonce.c_str(), &rest, 10);
    holder.thread = std::strtoll(rest, nullptr, 10);
    return {holder};
  }

  std::error_code break_hold(const Holder& hold, Proof proof) noexcept override {
    if (proof == Proof::stale || testing::read_file(file_) != hold.nonce) return errc::not_locked;
    ::unlink(file_.c_str());
    return {};
  }

 private:
  // The whole record at once, and nothing beside it: an unnamed file that gets its name when it is written.
  [[nodiscard]] bool create(const std::string& record) const {
    const int file = ::open(directory_.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
    if (file < 0) return false;
    const std::string unnamed = "/proc/self/fd/" + std::to_string(file);
    const bool created = ::write(file, record.data(), record.size()) == static_cast<ssize_t>(record.size()) &&
                         ::linkat(AT_FDCWD, unnamed.c_str(), AT_FDCWD, file_.c_str(), AT_SYMLINK_FOLLOW) == 0;
    ::close(file);
    return created;
  }
  [[nodiscard]] bool is_stale() const {
    const auto pid = static_cast<pid_t>(std::strtol(testing::read_file(file_).c_str(), nullptr, 10));
    return pid > 0 && ::kill(pid, 0) != 0;
  }

  std::string file_;
  std::string directory_;
  std::string mine_;
  std::uint64_t number_ = 0;
};

template <Mistake mistake>
std::unique_ptr<Lock> make_pid_file(const std::string& path, const Variant& /*variant*/) {
  return std::make_unique<Lock>(path, std::make_unique<PidFile<mistake>>(path));
}

// The library's own lock, in a program that forgets a file.
std::unique_ptr<Lock> make_with_litter(const std::string& path, const Variant& variant) {
  testing::write_file(path + ".litter", "");
  return make_file_lock(path, variant);
}

}  // namespace

std::vector<WrongCourse> wrong_courses() {
  const std::vector<const Variant*> any = {&testing::variant_named("link")};
  return {
      {{"looks_then_creates", any, false, make_pid_file<Mistake::looks_then_creates>}, Law::overlap},
      {{"breaks_by_name", any, false, make_pid_file<Mistake::breaks_by_name>}, Law::overlap},
      {{"never_breaks", any, false, make_pid_file<Mistake::never_breaks>}, Law::stuck},
      {{"releases_unseen", any, true, make_pid_file<Mistake::releases_unseen>}, Law::lost},
      {{"litters", any, false, make_with_litter}, Law::leftover},
  };
}

}  // namespace lockfile::torture
