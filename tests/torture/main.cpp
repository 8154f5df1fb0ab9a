// torture: the long form, for an evening or a night. Prints a row for each course and a last line of totals.
#include "torture/torture.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>

namespace lockfile::torture {
namespace {

constexpr const char* about =
    R"(Tortures the locks: processes of one to three threads acquire, try, wait for a while, release, look, break what is
stale and, in the courses that say so, break by force. They kill and stop themselves at random system calls, and are
killed and stopped from outside at random instants. Each holder enters a slot in shared memory and must find it empty or
left by a process that is proved dead; it must find itself there when it leaves. Every 50 kills the living must all
finish, with no 10 s in which nobody gets on; a last caller must obtain every lock; and the directory must be empty
after a cleaning, the last time by 'lockctl doctor --clean'.)";
constexpr const char* further =
    R"(The seed fixes the plan (who tries what, who dies at which call, whom the tormentor hits when), not what the machine
makes of it: a failure comes again with the same seed often, not always.
Exit status: 0 nothing failed; 1 something did, in a sentence on standard error; 2 it could not be asked for like that.

Examples:
  torture --kills 10000
        all courses, 10,000 kills together
  torture --kills 2000 --variants link,mkdir_forced --seed 7
        two courses, a thousand kills each
  torture --self-test
        locks that are wrong on purpose: each must be found out
  TMPDIR=/mnt/xfs torture --kills 10000
        on another file system)";

void print_header() {
  std::printf("%-36s %9s %7s %7s %7s %7s %8s %6s %6s %9s %6s %8s\n", "course", "holds", "kills", "stops", "breaks",
              "forced", "overlaps", "lost", "stuck", "leftovers", "errors", "seconds");
}

void print_row(const std::string& name, const Report& report) {
  std::printf("%-36s %9ld %7ld %7ld %7ld %7ld %8ld %6ld %6ld %9ld %6ld %8.1f\n", name.c_str(), report.holds,
              report.kills, report.stops, report.taken_over, report.forced, report.count(Law::overlap),
              report.count(Law::lost), report.count(Law::stuck), report.count(Law::leftover), report.count(Law::error),
              report.seconds);
  std::fflush(stdout);
  for (const std::string& each : report.sentences) std::fprintf(stderr, "%s: %s\n", name.c_str(), each.c_str());
}

void add(Report& total, const Report& one) {
  total.holds += one.holds;
  total.kills += one.kills;
  total.stops += one.stops;
  total.taken_over += one.taken_over;
  total.forced += one.forced;
  total.seconds += one.seconds;
  for (std::size_t law = 0; law < laws; ++law) total.failures.at(law) += one.failures.at(law);
}

bool self_test(long kills, std::uint64_t seed) {
  bool all_found = true;
  for (const WrongCourse& wrong : wrong_courses()) {
    const Report report =
        torture(wrong.course, {.kills = kills, .seed = seed, .stuck = std::chrono::seconds(1), .until = wrong.breaks});
    const bool found = report.count(wrong.breaks) > 0;
    std::printf("%-20s %s after %ld kills\n", wrong.course.name.c_str(), found ? "found out" : "NOT FOUND OUT",
                report.kills);
    for (const std::string& each : report.sentences) std::printf("  %s\n", each.c_str());
    all_found = all_found && found;
  }
  return all_found;
}

int run(int argc, char** argv) {
  CLI::App app(about, "torture");
  app.footer(further);
  app.set_help_flag("-h,--help", "print this help and exit");
  std::vector<std::string> names;
  for (const Course& each : courses()) names.push_back(each.name);
  long kills = 10000;
  std::uint64_t seed = std::random_device()();
  std::vector<std::string> chosen = names;
  bool wrong_ones = false;
  app.add_option("--kills", kills, "how many, over all courses (10000)")->check(CLI::PositiveNumber);
  app.add_option("--seed", seed, "of the plan; by chance when left out, and printed");
  app.add_option("--variants", chosen, "courses: " + CLI::detail::join(names, ", ") + "; all when left out")
      ->delimiter(',')
      ->option_text("COURSE,...")
      ->check(CLI::IsMember(names));
  app.add_flag("--self-test", wrong_ones, "torture locks that are wrong on purpose, each with that many kills at most");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }

  const auto count = static_cast<long>(chosen.size());
  const Settings settings{.kills = (kills + count - 1) / count, .seed = seed, .by_command = true};
  std::printf("seed %llu; %d processes of 1 to %d threads, %d locks, in %s\n", static_cast<unsigned long long>(seed),
              places, threads, locks, std::filesystem::temp_directory_path().c_str());
  if (wrong_ones) return self_test(kills, seed) ? 0 : 1;
  print_header();
  Report total;
  for (const Course& each : courses()) {
    if (std::find(chosen.begin(), chosen.end(), each.name) == chosen.end()) continue;
    const Report report = torture(each, settings);
    print_row(each.name, report);
    add(total, report);
  }
  print_row("total", total);
  const bool failed = std::any_of(total.failures.begin(), total.failures.end(), [](long n) { return n > 0; });
  return failed ? 1 : 0;
}

}  // namespace
}  // namespace lockfile::torture

int main(int argc, char** argv) { return lockfile::torture::run(argc, argv); }
