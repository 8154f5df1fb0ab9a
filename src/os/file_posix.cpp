// Files: the calls that every POSIX system has.
#include "os/posix.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <memory>

namespace lockfile::os {
namespace {

FileInfo info_of(const struct stat& from) noexcept {
  FileInfo info;
  info.device = from.st_dev;
  info.inode = from.st_ino;
  info.links = from.st_nlink;
  info.type = S_ISREG(from.st_mode)    ? FileType::regular
              : S_ISDIR(from.st_mode)  ? FileType::directory
              : S_ISLNK(from.st_mode)  ? FileType::symlink
              : S_ISFIFO(from.st_mode) ? FileType::fifo
                                       : FileType::other;
  info.mode = from.st_mode & 07777U;
  info.uid = from.st_uid;
  info.size = static_cast<std::uint64_t>(from.st_size);
  info.changed = std::chrono::system_clock::time_point(std::chrono::duration_cast<std::chrono::system_clock::duration>(
      std::chrono::seconds(from.st_ctim.tv_sec) + std::chrono::nanoseconds(from.st_ctim.tv_nsec)));
  return info;
}

}  // namespace

void RealSystem::close(int descriptor) noexcept { ::close(descriptor); }

Result<std::size_t> RealSystem::read(int descriptor, std::span<char> into, std::uint64_t offset) noexcept {
  const ssize_t got = ::pread(descriptor, into.data(), into.size(), static_cast<off_t>(offset));
  return got < 0 ? Result<std::size_t>{0, errno} : Result<std::size_t>{static_cast<std::size_t>(got), 0};
}

Result<std::size_t> RealSystem::write(int descriptor, std::string_view bytes, std::uint64_t offset) noexcept {
  const ssize_t put = ::pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset));
  return put < 0 ? Result<std::size_t>{0, errno} : Result<std::size_t>{static_cast<std::size_t>(put), 0};
}

Status RealSystem::sync(int descriptor) noexcept { return status(::fsync(descriptor)); }

Result<FileInfo> RealSystem::stat(int descriptor) noexcept {
  struct stat got = {};
  if (::fstat(descriptor, &got) < 0) return {{}, errno};
  return {info_of(got), 0};
}

Result<FileInfo> RealSystem::stat_at(int at, const char* name, Links links) noexcept {
  struct stat got = {};
  if (::fstatat(at, name, &got, links == Links::follow ? 0 : AT_SYMLINK_NOFOLLOW) < 0) return {{}, errno};
  return {info_of(got), 0};
}

Status RealSystem::link(int from_at, const char* from, int to_at, const char* to) noexcept {
  return status(::linkat(from_at, from, to_at, to, 0));
}

Status RealSystem::unlink(int at, const char* name) noexcept { return status(::unlinkat(at, name, 0)); }

Status RealSystem::make_directory(int at, const char* name, std::uint32_t mode) noexcept {
  return status(::mkdirat(at, name, mode));
}

Status RealSystem::remove_directory(int at, const char* name) noexcept {
  return status(::unlinkat(at, name, AT_REMOVEDIR));
}

Status RealSystem::rename(int from_at, const char* from, int to_at, const char* to) noexcept {
  return status(::renameat(from_at, from, to_at, to));
}

Status RealSystem::make_symlink(const char* target, int at, const char* name) noexcept {
  return status(::symlinkat(target, at, name));
}

Status RealSystem::set_mode(int descriptor, std::uint32_t mode) noexcept { return status(::fchmod(descriptor, mode)); }

Result<std::vector<std::string>> RealSystem::list(int directory) {
  // Opened anew: `directory` may have been opened without the right to read, and has an offset of its own.
  const int descriptor = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return {{}, errno};
  DIR* const stream = ::fdopendir(descriptor);
  if (stream == nullptr) {
    const int error = errno;
    ::close(descriptor);
    return {{}, error};
  }
  const std::unique_ptr<DIR, int (*)(DIR*)> closes(stream, ::closedir);
  Result<std::vector<std::string>> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(stream);
    if (entry == nullptr) {
      names.error = errno;
      break;
    }
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.value.emplace_back(name);
  }
  return names;
}

Status RealSystem::flock(int descriptor, Flock how) noexcept {
  switch (how) {
    case Flock::exclusive:
      return status(::flock(descriptor, LOCK_EX | LOCK_NB));
    case Flock::shared:
      return status(::flock(descriptor, LOCK_SH | LOCK_NB));
    case Flock::release:
      break;
  }
  return status(::flock(descriptor, LOCK_UN));
}

Status RealSystem::touch(int descriptor) noexcept { return status(::futimens(descriptor, nullptr)); }

Result<int> RealSystem::duplicate(int descriptor) noexcept {
  return descriptor_result(::fcntl(descriptor, F_DUPFD_CLOEXEC, 3));
}

Result<std::size_t> read_small_file(const char* path, std::span<char> into) noexcept {
  const int descriptor = ::open(path, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return {0, errno};
  const ssize_t got = ::read(descriptor, into.data(), into.size());
  const int error = errno;
  ::close(descriptor);
  return got < 0 ? Result<std::size_t>{0, error} : Result<std::size_t>{static_cast<std::size_t>(got), 0};
}

}  // namespace lockfile::os
