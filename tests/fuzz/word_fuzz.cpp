// Whatever bytes stand where a holder's record should be: a lock is taken, broken or cleared away only where the record
// proves its holder dead; otherwise nothing of it is touched.
#include "claim/names.hpp"
#include "claim/record.hpp"
#include "fuzz/fuzz_directory.hpp"
#include "fuzz/law.hpp"
#include "fuzz/right_check.hpp"
#include "os/process.hpp"

#include <lockfile/lockfile.hpp>

#include <sys/stat.h>

#include <chrono>

namespace {

using namespace lockfile::claim;
using namespace std::chrono_literals;
using lockfile::Verdict;
using lockfile::fuzz::Allowed;
using lockfile::fuzz::FuzzDirectory;
using lockfile::fuzz::is_text;
using lockfile::fuzz::law;

const FuzzDirectory& directory() {
  static const FuzzDirectory made;
  return made;
}

// Where a record can stand, docs/on-disk-format.md: W itself, W/holder, W/holder/holder.
constexpr std::array<std::string_view, 3> places = {"a.lock", "a.lock/holder", "a.lock/holder/holder"};

void plant(std::string_view place, std::string_view bytes) {
  directory().clear();
  for (std::size_t slash = place.find('/'); slash != std::string_view::npos; slash = place.find('/', slash + 1)) {
    law(::mkdir((directory() / place.substr(0, slash)).c_str(), 0755) == 0, "a directory can be made");
  }
  directory().write(place, bytes);
}

// What is seen, and that what is said of it is fit to be printed.
Verdict look(const lockfile::Lock& lock, bool ours, std::string_view bytes) {
  const auto holder = lock.holder();
  law(holder.has_value(), "what stands there holds", bytes);
  law(holder->foreign != ours, "what is no record of a lock file is a stranger's", bytes);
  if (holder->foreign) law(holder->verdict == Verdict::unknown, "nothing is proved of a stranger", bytes);
  law(is_text(holder->describe(), Allowed::printable), "a holder is described in printable text", bytes);
  law(!holder->this_process || holder->verdict == Verdict::alive, "this process lives", bytes);
  return holder->verdict;
}

void touches_only_the_dead(std::string_view place, std::string_view bytes) {
  Record record;
  const bool ours = parse(bytes, record) == Reading::record && is_lock_file_scheme(record.scheme);
  std::error_code error;
  const auto untouched = [&] { return directory().read(place) == bytes; };
  Verdict verdict{};
  {
    plant(place, bytes);
    lockfile::FileLock lock(directory() / "a");
    verdict = look(lock, ours, bytes);
    const bool dead = verdict == Verdict::dead;
    const auto standing = lockfile::list_locks(directory().path(), error);
    law(!error && standing.size() == 1 && standing[0].holder.verdict == verdict, "a lock that stands is listed", bytes);
    law(untouched(), "a look touches nothing", bytes);

    const bool acquired = lock.acquire(0s, error);
    law(acquired == dead, "a lock is taken over if its holder is dead, and only then", bytes);
    law(acquired || untouched(), "a lock that was not taken over is untouched", bytes);
    if (acquired) lock.release();
  }
  {
    plant(place, bytes);
    lockfile::FileLock lock(directory() / "a");
    const bool broken = lock.break_stale(error);
    law(broken == (verdict == Verdict::dead), "a lock is broken if its holder is dead, and only then", bytes);
    law(broken || untouched(), "a lock that was not broken is untouched", bytes);
    const auto holder = lock.holder(error);
    law(!error && holder.has_value() != broken, "a lock that was broken is free", bytes);
  }
}

// A group of readers whose directory is not there is nobody's hold; one with another name there is a stranger's.
void closes_only_what_is_a_group(std::string_view bytes, std::string_view members) {
  const auto side = parse_side_name(members);
  const bool closed =
      side && side->suffix.ends_with(suffix::members) && members == Names("a").side(side->nonce, side->suffix);
  plant(places[0], bytes);
  lockfile::FileLock lock(directory() / "a");
  const auto holder = lock.holder();
  law(holder.has_value() != closed, "a closed group holds nothing, and a stranger's file does", bytes);
  law(directory().read(places[0]) == bytes, "a look touches nothing", bytes);
  std::error_code error;
  const bool acquired = lock.acquire(0s, error);
  law(acquired == closed, "a closed group is taken over, and nothing else", bytes);
  law(acquired || directory().read(places[0]) == bytes, "a stranger's file is untouched", bytes);
}

void clears_only_the_dead(std::string_view bytes) {
  Record record;
  const Reading reading = parse(bytes, record);
  const std::string nonce = reading == Reading::record ? record.nonce : std::string(nonce_length, '7');
  const std::string name = Names("a").side(nonce);
  plant(name, bytes);
  std::error_code error;
  const auto left = lockfile::leftovers(directory().path(), lockfile::Clean::remove_dead, error);
  law(!error && left.size() == 1, "a claim is found by its name", bytes);
  law(!left[0].removed || left[0].maker == Verdict::dead, "only what the dead have left is cleared away", bytes);
  law(left[0].removed || directory().read(name) == bytes, "what is not cleared away is untouched", bytes);
  // Without a byte the guard and the name tell: a claim that was never finished, a record that a power cut took.
  const bool strange = reading == Reading::foreign || reading == Reading::newer;
  if (strange) law(!left[0].removed, "what is no record stays", bytes);
}

void obeys_the_laws(std::string_view bytes) {
  if (const auto members = parse_group(bytes)) {
    closes_only_what_is_a_group(bytes, *members);
    return;
  }
  // One place for each input: a search tries many of about the same bytes, and reaches all.
  touches_only_the_dead(places[bytes.size() % places.size()], bytes);
  clears_only_the_dead(bytes);
}

// The same record as if it had been written in this boot and pid namespace, by a process that can be looked up.
std::string from_here(Record record) {
  const lockfile::os::Identity& self = lockfile::os::Process::current().identity();
  record.boot = self.boot;
  record.nonce = make_nonce(self.boot, record.number);
  record.pid_namespace = self.pid_namespace;
  record.time_namespace = self.time_namespace;
  if (record.pid % 2 == 0) record.pid = self.pid;
  if (record.start % 2 == 0) record.start = self.start;
  return format(record);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string bytes = lockfile::fuzz::with_right_check(lockfile::fuzz::view(data, size));
  obeys_the_laws(bytes);
  Record record;
  if (parse(bytes, record) == Reading::record) {
    const std::string here = from_here(record);
    if (here.size() <= longest_record) obeys_the_laws(here);
  }
  return 0;
}
