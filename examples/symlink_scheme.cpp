// A locking scheme of one's own: Emacs's. The lock of `dir/name` is a symbolic link `dir/.#name` whose target says who
// holds it, `user@host.pid`; symlink(2) fails when the name is there, which is the whole protocol. Two functions,
// `try_once` and `release`, and every verb of lockfile::Lock works with it: timeouts, stop requests, re-entry, guards.
//
// What it cannot do: a holder that was killed leaves its lock for a person to remove, since `unlink` by name could
// remove somebody's lock that is newer than the look. That is why the library's own schemes have claims and guards.
#include <unistd.h>
#include <lockfile/lockfile.hpp>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

namespace {

class SymlinkScheme : public lockfile::SimpleScheme {
 public:
  explicit SymlinkScheme(const std::filesystem::path& path)
      : lock_(path.parent_path() / (".#" + path.filename().string())) {
    char host[256] = "";
    ::gethostname(host, sizeof host - 1);
    me_ = std::to_string(::getuid()) + "@" + host + "." + std::to_string(::getpid());
  }

  [[nodiscard]] std::string_view name() const noexcept override { return "symlink"; }

  lockfile::Step try_once() noexcept override {
    if (::symlink(me_.c_str(), lock_.c_str()) == 0) return lockfile::Granted{};
    if (errno != EEXIST) return lockfile::Failed{last_error(), "cannot create '" + lock_.string() + "'", {}};
    return lockfile::Blocked{{}, {}, who()};
  }

  // Between the look and the unlink nobody else can get the name: only its holder removes it.
  std::error_code release() noexcept override {
    const std::string holder = target();
    if (holder.empty()) return lockfile::errc::not_locked;
    if (holder != me_) return lockfile::errc::not_my_lock;
    return ::unlink(lock_.c_str()) == 0 ? std::error_code() : last_error();
  }

  bool still_held() noexcept override { return target() == me_; }

  [[nodiscard]] std::vector<lockfile::Holder> holders(std::error_code& why) override {
    why.clear();
    const auto holder = who();
    return holder ? std::vector{*holder} : std::vector<lockfile::Holder>();
  }

 private:
  static std::error_code last_error() { return {errno, std::system_category()}; }

  // Empty: the lock is free.
  [[nodiscard]] std::string target() const {
    char text[512];
    const ssize_t length = ::readlink(lock_.c_str(), text, sizeof text);
    return length > 0 ? std::string(text, static_cast<std::size_t>(length)) : std::string();
  }

  [[nodiscard]] std::optional<lockfile::Holder> who() const {
    const std::string holder = target();
    const std::size_t at = holder.find('@');
    const std::size_t dot = holder.rfind('.');
    if (at == std::string::npos || dot == std::string::npos || dot < at) return std::nullopt;
    lockfile::Holder found;
    found.scheme = "symlink";
    found.host = holder.substr(at + 1, dot - at - 1);
    found.pid = std::strtoll(holder.c_str() + dot + 1, nullptr, 10);
    return found;
  }

  std::filesystem::path lock_;
  std::string me_;
};

}  // namespace

int main() {
  const std::string path =
      (std::filesystem::temp_directory_path() / ("symlink-scheme-" + std::to_string(getpid()))).string();
  lockfile::Lock first(path, std::make_unique<SymlinkScheme>(path));
  lockfile::Lock second(path, std::make_unique<SymlinkScheme>(path));
  first.acquire();
  try {
    second.acquire(std::chrono::milliseconds(50));
    return std::puts("two holders at once"), 1;
  } catch (const lockfile::LockError& refused) {
    std::printf("the second is refused: %s\n", refused.what());
  }
  first.release();
  second.acquire(std::chrono::milliseconds(50));
  second.release();
  std::puts("after the release it is served");
}
