// The table of verdicts, row by row.
#include "claim/judge.hpp"

#include <gtest/gtest.h>

#include <unistd.h>

namespace lockfile::claim {
namespace {

// A holder of this boot and pid namespace on a local file system, whose guard is held.
Evidence here() {
  Evidence seen;
  seen.guard = Guard::held;
  seen.reading = Reading::record;
  seen.guarded = seen.boots_known = seen.same_boot = seen.same_host = seen.same_pid_namespace = seen.local = true;
  return seen;
}

Verdict verdict(Evidence seen) { return judge(seen).verdict; }

TEST(Verdict, guard_held) {
  Evidence seen = here();
  EXPECT_EQ(verdict(seen), Verdict::alive);
  seen.processes = Processes::ended;  // only forked copies keep the guard
  EXPECT_EQ(verdict(seen), Verdict::dead);
  seen.local = false;
  EXPECT_EQ(verdict(seen), Verdict::alive);
  seen = here();
  seen.processes = Processes::ended;
  seen.same_pid_namespace = false;  // its pid means nothing here
  EXPECT_EQ(verdict(seen), Verdict::alive);
  seen = here();
  seen.same_boot = false;
  EXPECT_EQ(verdict(seen), Verdict::alive);
}

TEST(Verdict, guard_free_and_released) {
  Evidence seen = here();
  seen.guard = Guard::free;
  seen.released = true;
  EXPECT_EQ(verdict(seen), Verdict::dead);
}

TEST(Verdict, guard_free_in_the_same_pid_namespace) {
  Evidence seen = here();
  seen.guard = Guard::free;
  EXPECT_EQ(verdict(seen), Verdict::alive);  // it closed its descriptors
  seen.processes = Processes::ended;
  EXPECT_EQ(verdict(seen), Verdict::dead);
}

TEST(Verdict, guard_free_elsewhere_on_a_local_file_system) {
  Evidence seen = here();
  seen.guard = Guard::free;
  seen.same_pid_namespace = false;
  EXPECT_EQ(verdict(seen), Verdict::dead);  // the guard is the witness
  seen.same_boot = false;
  EXPECT_EQ(verdict(seen), Verdict::dead);  // a previous boot
  seen.boots_known = false;
  EXPECT_EQ(verdict(seen), Verdict::unknown);
  // Its maker came by another way (FUSE, a virtual machine), on which its guard does not reach us.
  seen = here();
  seen.guard = Guard::free;
  seen.guarded = seen.same_pid_namespace = false;
  EXPECT_EQ(verdict(seen), Verdict::unknown);
  seen.same_boot = false;
  EXPECT_EQ(verdict(seen), Verdict::unknown);
}

TEST(Verdict, a_network_file_system_proves_nothing_about_other_hosts) {
  for (const auto& elsewhere : {&Evidence::same_boot, &Evidence::same_host, &Evidence::same_pid_namespace}) {
    Evidence seen = here();
    seen.local = false;
    seen.guard = Guard::free;
    seen.processes = Processes::ended;
    seen.*elsewhere = false;
    EXPECT_EQ(verdict(seen), Verdict::unknown);
  }
  Evidence seen = here();
  seen.local = false;
  seen.guard = Guard::free;
  EXPECT_EQ(verdict(seen), Verdict::alive);
  seen.processes = Processes::ended;
  EXPECT_EQ(verdict(seen), Verdict::dead);
}

TEST(Verdict, without_usable_guards_only_visible_processes_count) {
  Evidence seen = here();
  seen.guard = Guard::unusable;
  EXPECT_EQ(verdict(seen), Verdict::alive);
  seen.processes = Processes::ended;
  EXPECT_EQ(verdict(seen), Verdict::dead);
  seen.same_pid_namespace = false;
  EXPECT_EQ(verdict(seen), Verdict::unknown);
  seen = here();
  seen.guard = Guard::unusable;
  seen.same_boot = false;
  EXPECT_EQ(verdict(seen), Verdict::unknown);
}

TEST(Verdict, a_record_that_cannot_be_read_is_unknown) {
  for (const Guard guard : {Guard::held, Guard::free, Guard::unusable}) {
    for (const Reading reading : {Reading::empty, Reading::newer, Reading::foreign}) {
      Evidence seen = here();
      seen.guard = guard;
      seen.reading = reading;
      seen.processes = Processes::ended;
      EXPECT_EQ(verdict(seen), Verdict::unknown);
    }
  }
}

TEST(Verdict, a_power_cut_is_a_death) {
  Evidence seen = here();
  seen.guard = Guard::free;
  seen.reading = Reading::empty;
  seen.earlier_boot_by_name = true;
  EXPECT_EQ(verdict(seen), Verdict::dead);
  seen.local = false;
  EXPECT_EQ(verdict(seen), Verdict::unknown);
  seen.local = true;
  seen.guard = Guard::held;
  EXPECT_EQ(verdict(seen), Verdict::unknown);
  seen.guard = Guard::free;
  seen.reading = Reading::foreign;
  EXPECT_EQ(verdict(seen), Verdict::unknown);
}

TEST(Processes, a_reused_pid_is_another_process) {
  os::System& system = os::real_system();
  const auto start = system.process_start(::getpid());
  ASSERT_TRUE(start.ok());
  EXPECT_FALSE(has_ended(system, ::getpid(), start.value));
  EXPECT_TRUE(has_ended(system, ::getpid(), start.value - 1));
  EXPECT_FALSE(has_ended(system, ::getpid(), 0));
  EXPECT_TRUE(has_ended(system, 4194305, 0));  // beyond the largest pid
}

}  // namespace
}  // namespace lockfile::claim
