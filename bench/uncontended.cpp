// What does an acquire with its release cost when nobody else is there, next to the bare system calls that such a lock
// cannot do without?
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <lockfile/lockfile.hpp>

#include "driver.hpp"

namespace {

using bench::fail;

void must(int result, const char* what) {
  if (result < 0) fail(what);
}

// A byte-range lock of the open file, as the guards of a claim are.
void byte_lock(int file, short type, off_t byte) {
  struct flock range {};
  range.l_type = type;
  range.l_whence = SEEK_SET;
  range.l_start = byte;
  range.l_len = 1;
  must(fcntl(file, F_OFD_SETLK, &range), "fcntl");
}

constexpr off_t live = (off_t{1} << 62) + 1;
constexpr off_t remove_byte = (off_t{1} << 62) + 2;

// The floors, in one directory, on kept inodes.
class Raw {
 public:
  explicit Raw(const bench::WorkDirectory& directory) {
    must(directory_ = open(directory.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), "open");
    must(claim_ = openat(directory_, "claim", O_RDWR | O_CREAT | O_CLOEXEC, 0600), "open");
    must(mkdirat(directory_, "kept", 0700), "mkdir");
    must(kept_ = openat(directory_, "kept/holder", O_RDWR | O_CREAT | O_CLOEXEC, 0600), "open");
    byte_lock(claim_, F_WRLCK, live);
    byte_lock(kept_, F_WRLCK, live);
  }
  Raw(const Raw&) = delete;
  Raw& operator=(const Raw&) = delete;
  ~Raw() {
    close(kept_);
    close(claim_);
    close(directory_);
  }

  void link_unlink() const {
    must(linkat(directory_, "claim", directory_, "raw.lock", 0), "link");
    must(unlinkat(directory_, "raw.lock", 0), "unlink");
  }
  // What the protocol adds to it: the hold's number, REMOVE, and the look under it.
  void link_protocol() const {
    must(static_cast<int>(pwrite(claim_, "00000000000000000001", 20, 64)), "pwrite");
    must(linkat(directory_, "claim", directory_, "raw.lock", 0), "link");
    byte_lock(claim_, F_WRLCK, remove_byte);
    struct stat look {};
    must(fstatat(directory_, "raw.lock", &look, AT_SYMLINK_NOFOLLOW), "stat");
    must(unlinkat(directory_, "raw.lock", 0), "unlink");
    byte_lock(claim_, F_UNLCK, remove_byte);
  }
  void two_renames() const {
    must(renameat2(directory_, "kept", directory_, "rawd.lock", RENAME_NOREPLACE), "rename");
    must(renameat2(directory_, "rawd.lock", directory_, "kept", RENAME_NOREPLACE), "rename");
  }
  void mkdir_rmdir() const {
    must(mkdirat(directory_, "rawm.lock", 0700), "mkdir");
    must(unlinkat(directory_, "rawm.lock", AT_REMOVEDIR), "rmdir");
  }
  void mkdir_protocol() const {
    must(static_cast<int>(pwrite(kept_, "00000000000000000001", 20, 64)), "pwrite");
    must(renameat2(directory_, "kept", directory_, "rawd.lock", RENAME_NOREPLACE), "rename");
    byte_lock(kept_, F_WRLCK, remove_byte);
    struct stat look {};
    must(fstatat(directory_, "rawd.lock/holder", &look, AT_SYMLINK_NOFOLLOW), "stat");
    must(renameat2(directory_, "rawd.lock", directory_, "kept", RENAME_NOREPLACE), "rename");
    byte_lock(kept_, F_UNLCK, remove_byte);
  }

 private:
  int directory_ = -1;
  int claim_ = -1;
  int kept_ = -1;
};

struct Series {
  const char* name;
  std::function<void()> pair;
  std::vector<double> ns{};
};

}  // namespace

int main(int argc, char** argv) {
  const bench::Arguments arguments(argc, argv);
  const bench::WorkDirectory directory(arguments.directory);
  bench::Report report("an uncontended acquire with its release", arguments, directory);

  const Raw raw(directory);
  lockfile::LinkFileLock link(directory.file("link"));
  lockfile::MkdirFileLock mkdir(directory.file("mkdir"));
  enum { raw_link, raw_link_protocol, the_link, raw_renames, raw_mkdir, raw_mkdir_protocol, the_mkdir };
  std::vector<Series> all{
      {"raw link + unlink", [&] { raw.link_unlink(); }},
      {"  all bare calls of the protocol", [&] { raw.link_protocol(); }},
      {"link scheme",
       [&] {
         link.acquire();
         link.release();
       }},
      {"raw rename + rename", [&] { raw.two_renames(); }},
      {"raw mkdir + rmdir", [&] { raw.mkdir_rmdir(); }},
      {"  all bare calls of the protocol", [&] { raw.mkdir_protocol(); }},
      {"mkdir scheme",
       [&] {
         mkdir.acquire();
         mkdir.release();
       }},
  };

  // Short batches, so that neighbours in time see the same machine; the order turns, so that nobody always comes
  // after the same one.
  constexpr int batch = 100;
  const int rounds = arguments.rounds(500);
  for (int round = -5; round < rounds; ++round) {  // the first few only warm up
    for (std::size_t i = 0; i < all.size(); ++i) {
      Series& series = all[(i + static_cast<std::size_t>(round + 5)) % all.size()];
      const std::int64_t begin = bench::now_ns();
      for (int k = 0; k < batch; ++k) series.pair();
      const std::int64_t end = bench::now_ns();
      if (round >= 0) series.ns.push_back(static_cast<double>(end - begin) / batch);
    }
  }

  report.row({"ns per pair, by batches of 100", "p10", "p50", "p90", "to its floor"});
  const auto line = [&](int which, int floor) {
    const Series& s = all[static_cast<std::size_t>(which)];
    report.row({s.name, bench::text("%.0f", bench::percentile(s.ns, 10)), bench::text("%.0f", bench::median(s.ns)),
                bench::text("%.0f", bench::percentile(s.ns, 90)),
                bench::text("%.2f", bench::median_ratio(s.ns, all[static_cast<std::size_t>(floor)].ns))});
    report.raw(s.name, "ns", s.ns);
  };
  for (const int which : {raw_link, raw_link_protocol, the_link}) line(which, raw_link);
  for (const int which : {raw_renames, raw_mkdir, raw_mkdir_protocol, the_mkdir}) line(which, raw_renames);
  const double link_ratio = bench::median_ratio(all[the_link].ns, all[raw_link].ns);
  if (directory.file_system() == "tmpfs") {
    // A link is so cheap there that the number, the look and two byte locks weigh more; and no directory needs to be
    // kept where making one costs less than renaming it, so the mkdir scheme has no target.
    report.reach("link scheme to raw link + unlink", "ratio", link_ratio, 2.1);
    return 0;
  }
  report.reach("link scheme to raw link + unlink", "ratio", link_ratio, 2.0);
  report.reach("mkdir scheme to two raw renames", "ratio", bench::median_ratio(all[the_mkdir].ns, all[raw_renames].ns),
               1.5);
  report.reach("mkdir scheme to raw mkdir + rmdir", "ratio", bench::median_ratio(all[the_mkdir].ns, all[raw_mkdir].ns),
               1.0);
}
