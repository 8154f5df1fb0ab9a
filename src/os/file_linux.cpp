// Files: what is Linux's own (O_TMPFILE, O_PATH, renameat2, open-file-description locks, types of file systems).
#include "os/posix.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <string>

namespace lockfile::os {
namespace {

struct KnownFileSystem {
  std::uint64_t type;
  const char* name;
  bool local;
  bool locks_reach = true;
  bool coherent = false;  // whoever opens a file reads what others had written and closed or synced before
};

// "Local" means: one kernel sees everything that happens on it, byte-range locks work through every name of a file,
// and no other host can mount it at the same time in the ordinary way. What is not listed counts as network.
constexpr std::array known_file_systems = {
    KnownFileSystem{0xEF53, "ext4", true},                     // also ext2 and ext3
    KnownFileSystem{0x58465342, "xfs", true},                  //
    KnownFileSystem{0x9123683E, "btrfs", true},                //
    KnownFileSystem{0x01021994, "tmpfs", true},                //
    KnownFileSystem{0x858458F6, "ramfs", true},                //
    KnownFileSystem{0x794C7630, "overlay", true},              //
    KnownFileSystem{0xF2F52010, "f2fs", true},                 //
    KnownFileSystem{0x2FC12FC1, "zfs", true},                  //
    KnownFileSystem{0xCA451A4E, "bcachefs", true},             //
    KnownFileSystem{0x52654973, "reiserfs", true},             //
    KnownFileSystem{0x3153464A, "jfs", true},                  //
    KnownFileSystem{0x4D44, "vfat", true},                     //
    KnownFileSystem{0x2011BAB0, "exfat", true},                //
    KnownFileSystem{0x65735546, "fuse", false, false},         //
    KnownFileSystem{0x6969, "nfs", false, true, true},         //
    KnownFileSystem{0xFF534D42, "cifs", false},                //
    KnownFileSystem{0xFE534D42, "smb2", false},                //
    KnownFileSystem{0x01021997, "9p", false, false},           // passes the host's own type through on some servers
    KnownFileSystem{0x00C36400, "ceph", false, true, true},    //
    KnownFileSystem{0x7461636F, "ocfs2", false, true, true},   //
    KnownFileSystem{0x01161970, "gfs2", false, true, true},    //
    KnownFileSystem{0x0BD00BD0, "lustre", false, true, true},  //
    KnownFileSystem{0x5346414F, "afs", false, false},          //
};

// For how long a client may believe its memory of a file's attributes, and with them of its bytes: nfs(5), acregmax.
// Others have shorter limits.
constexpr std::chrono::milliseconds longest_cached = std::chrono::seconds(60);

// A lock of one byte, for the descriptions' own calls of fcntl(2).
struct flock byte_range(short type, std::uint64_t byte) noexcept {
  struct flock range = {};
  range.l_type = type;
  range.l_whence = SEEK_SET;
  range.l_start = static_cast<off_t>(byte);
  range.l_len = 1;
  return range;  // l_pid must be 0 for the F_OFD commands
}

// The line of /proc/self/mountinfo for the mount that a descriptor is on; empty: cannot be found out.
std::string mount_of(int descriptor) {
  try {
    // A stream keeps what is thrown in it to itself, unless it is told not to: missing memory is no answer.
    std::ifstream descriptor_info("/proc/self/fdinfo/" + std::to_string(descriptor));
    descriptor_info.exceptions(std::ios_base::badbit);
    std::string id;
    for (std::string key; descriptor_info >> key;) {
      if (key == "mnt_id:" && descriptor_info >> id) break;
    }
    if (id.empty()) return {};
    std::ifstream mounts("/proc/self/mountinfo");
    mounts.exceptions(std::ios_base::badbit);
    return line_of_mount(mounts, id);
  } catch (const std::ios_base::failure&) {
    return {};  // it cannot be read; not reached by tests
  }
}

// 9p and virtiofs may show the type of the file system that the other side has. Such a mount has no disk of its own,
// and its line tells what it is.
bool is_what_it_says(const KnownFileSystem& known, int descriptor) {
  struct stat mounted = {};
  if (::fstat(descriptor, &mounted) < 0) return false;
  if (major(mounted.st_dev) != 0) return true;
  return is_mount_of(mount_of(descriptor), known.name);
}

int flags_of(Open how) noexcept {
  // O_NONBLOCK: a FIFO or a leased file planted at one of our names must not hold us up.
  constexpr int always = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  switch (how) {
    case Open::look:
      return always | O_NOFOLLOW | O_RDONLY;
    case Open::update:
      return always | O_NOFOLLOW | O_RDWR;
    case Open::create:
      return always | O_NOFOLLOW | O_RDWR | O_CREAT | O_EXCL;
    case Open::temporary:
      return always | O_RDWR | O_TMPFILE;
    case Open::wake:
      // ENXIO where nobody has it open to read (fifo(7)). Whoever writes opens it for reading as well, `Open::update`:
      // a reader that dies before the write must not raise SIGPIPE in us.
      return always | O_NOFOLLOW | O_WRONLY;
    case Open::directory:
      break;
  }
  return O_CLOEXEC | O_PATH | O_DIRECTORY;
}

}  // namespace

std::string line_of_mount(std::istream& mountinfo, std::string_view id) {
  const std::string beginning = std::string(id) + ' ';
  for (std::string line; std::getline(mountinfo, line);) {
    if (line.starts_with(beginning)) return line + ',';
  }
  return {};
}

bool is_mount_of(std::string_view line, std::string_view type) {
  // Spaces inside of the fields before it are written as \040.
  return line.find(std::string(" - ").append(type).append(" ")) != std::string_view::npos;
}

bool locks_stay_here(std::string_view line) {
  constexpr std::array<std::string_view, 4> options = {",nolock,", ",local_lock=all,", ",local_lock=posix,", ",nobrl,"};
  return line.empty() || std::any_of(options.begin(), options.end(), [&](std::string_view option) {
           return line.find(option) != std::string_view::npos;
         });
}

// Of network file systems, as what follows `known.local` below: not reached by tests on the real kernel.
bool looks_are_fresh(std::string_view line) { return !line.empty() && line.find(",nocto,") == std::string_view::npos; }

Result<int> RealSystem::open(int at, const char* name, Open how, std::uint32_t mode) noexcept {
  return descriptor_result(::openat(at, name, flags_of(how), mode));
}

Status RealSystem::link_temporary(int descriptor, int at, const char* name) noexcept {
  // AT_EMPTY_PATH would need a capability before Linux 6.10; open(2) recommends this way.
  std::array<char, 40> path{};
  std::snprintf(path.data(), path.size(), "/proc/self/fd/%d", descriptor);
  if (::linkat(AT_FDCWD, path.data(), at, name, AT_SYMLINK_FOLLOW) == 0) return 0;
  const int error = errno;
  if (error != ENOENT && error != EACCES && error != EPERM) return error;
  // Perhaps /proc is not there, or hides itself.
  return ::linkat(descriptor, "", at, name, AT_EMPTY_PATH) == 0 ? 0 : error;
}

Status RealSystem::rename_new(int from_at, const char* from, int to_at, const char* to) noexcept {
  return status(::renameat2(from_at, from, to_at, to, RENAME_NOREPLACE));
}

Result<FileSystem> RealSystem::file_system(int descriptor) {
  struct statfs got = {};
  if (::fstatfs(descriptor, &got) < 0) return {{}, errno};
  const auto type = static_cast<std::uint64_t>(got.f_type) & 0xFFFFFFFFU;
  for (const KnownFileSystem& known : known_file_systems) {
    if (known.type != type) continue;
    if (known.local && is_what_it_says(known, descriptor)) return {{known.name, true, true}, 0};
    if (known.local) return {{std::string(known.name) + " from elsewhere", false, false, longest_cached}, 0};
    // Of these tests reach FUSE only, for no other network file system can be mounted here; the rest of the library
    // meets them by the seam.
    const std::string mount = mount_of(descriptor);
    const bool fresh = known.coherent && looks_are_fresh(mount);
    return {{known.name, false, known.locks_reach && !locks_stay_here(mount),
             fresh ? std::chrono::milliseconds::zero() : longest_cached},
            0};
  }
  std::array<char, 32> number{};
  std::snprintf(number.data(), number.size(), "type 0x%llx", static_cast<unsigned long long>(type));
  return {{number.data(), false, false, longest_cached}, 0};
}

Status RealSystem::try_lock(int descriptor, std::uint64_t byte) noexcept {
  struct flock range = byte_range(F_WRLCK, byte);
  return status(::fcntl(descriptor, F_OFD_SETLK, &range));
}

Status RealSystem::try_lock_shared(int descriptor, std::uint64_t byte) noexcept {
  struct flock range = byte_range(F_RDLCK, byte);
  return status(::fcntl(descriptor, F_OFD_SETLK, &range));
}

Status RealSystem::unlock(int descriptor, std::uint64_t first, std::uint64_t count) noexcept {
  struct flock range = byte_range(F_UNLCK, first);
  range.l_len = static_cast<off_t>(count);
  return status(::fcntl(descriptor, F_OFD_SETLK, &range));
}

Result<bool> RealSystem::lock_seen(int descriptor, std::uint64_t byte) noexcept {
  struct flock range = byte_range(F_WRLCK, byte);
  if (::fcntl(descriptor, F_OFD_GETLK, &range) < 0) return {false, errno};
  return {range.l_type != F_UNLCK, 0};
}

}  // namespace lockfile::os
