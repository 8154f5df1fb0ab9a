// `explore`: runs the library's own code in simulated worlds, in every order of its steps or in many by chance, and
// shows what it found. The last line has the totals; the exit status is 1 where something was
// found.
#include "simulation/explore.hpp"
#include "simulation/scenarios.hpp"

#include <CLI/CLI.hpp>

#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

namespace {

using namespace lockfile::simulation;

struct Asked {
  std::vector<std::string> names;
  std::uint64_t most = 20'000;
  std::uint64_t random = 0;
  std::uint64_t seed = 1;
  unsigned depth = 3;
  unsigned part = 0;
  unsigned parts = 1;
  bool list = false;
  std::uint64_t at_least = 0;
  bool must_exhaust = false;
  bool expect_violation = false;
  bool quiet = false;
};

bool is_asked_for(const Asked& asked, const std::string& name) {
  if (asked.names.empty()) return true;
  for (const std::string& each : asked.names) {
    if (name == each || (each.ends_with('*') && name.starts_with(each.substr(0, each.size() - 1)))) return true;
  }
  return false;
}

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void show(const Scenario& scenario, const Explored& seen) {
  const auto shortest = shrink(scenario, seen.choices);
  const Outcome shown = replay(scenario, shortest, true);
  std::printf("\nfound: %s: %s\n", scenario.name.c_str(), shown.violation.c_str());
  if (seen.seed != 0) std::printf("seed: %llu\n", static_cast<unsigned long long>(seen.seed));
  std::printf("trace, shortened from %zu to %zu steps (%s):\n", seen.choices.size(), shown.choices.size(),
              scenario.says.c_str());
  for (const std::string& line : shown.trace) std::printf("  %s\n", line.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  Asked asked;
  CLI::App app(
      "Explores the lock protocol: the library's own code in simulated worlds, every system call a step.\n"
      "Without --random every order of steps that can make a difference is run, up to --most schedules of each "
      "scenario.");
  app.add_option("SCENARIO", asked.names, "names, or beginnings of names with a *; default: all");
  app.add_flag("--list", asked.list, "say what each scenario is, and run nothing");
  app.add_option("--most", asked.most, "schedules of one scenario at most")->capture_default_str();
  app.add_option("--random", asked.random, "so many schedules of each scenario by chance instead");
  app.add_option("--seed", asked.seed, "of the first of them; the next one's is one higher")->capture_default_str();
  app.add_option("--depth", asked.depth, "places at which priorities change")->capture_default_str();
  app.add_option("--part", asked.part, "run every n-th scenario only, this one of --parts")->capture_default_str();
  app.add_option("--parts", asked.parts, "how many processes share the work")->capture_default_str();
  app.add_flag("--must-exhaust", asked.must_exhaust, "fail where --most was reached first");
  app.add_option("--at-least", asked.at_least, "fail if fewer schedules than this were run in all");
  app.add_flag("--expect-violation", asked.expect_violation, "fail where nothing is found: for wrong variants");
  app.add_flag("--no-trace", asked.quiet, "say what was found, without the trace");
  CLI11_PARSE(app, argc, argv);

  std::uint64_t schedules = 0;
  std::uint64_t steps = 0;
  unsigned explored = 0;
  unsigned exhausted = 0;
  unsigned found = 0;
  unsigned number = 0;
  const auto begin = std::chrono::steady_clock::now();
  for (const Scenario& each : scenarios()) {
    if (!is_asked_for(asked, each.name)) continue;
    if (each.by_chance && asked.random == 0 && !asked.list) continue;
    if (number++ % asked.parts != asked.part) continue;
    if (asked.list) {
      std::printf("%-44s %s\n", each.name.c_str(), each.says.c_str());
      continue;
    }
    const auto from = std::chrono::steady_clock::now();
    const Explored seen =
        asked.random > 0 ? explore_random(each, asked.random, asked.seed, asked.depth) : explore_all(each, asked.most);
    ++explored;
    schedules += seen.schedules;
    steps += seen.steps;
    exhausted += seen.exhausted ? 1U : 0U;
    std::printf("%-44s %9llu schedules, longest %4zu steps, %s, %.1f s\n", each.name.c_str(),
                static_cast<unsigned long long>(seen.schedules), seen.longest,
                !seen.violation.empty() ? "VIOLATION"
                : seen.exhausted        ? "exhausted"
                : asked.random > 0      ? "by chance"
                                        : "not exhausted",
                seconds_since(from));
    if (!seen.violation.empty()) {
      ++found;
      if (asked.quiet) {
        std::printf("found: %s: %s\n", each.name.c_str(), seen.violation.c_str());
      } else {
        show(each, seen);
      }
    }
    std::fflush(stdout);
  }
  if (asked.list) return 0;
  std::printf("%u scenarios, %u exhausted, %llu schedules, %llu steps, %u violations, %.0f s\n", explored, exhausted,
              static_cast<unsigned long long>(schedules), static_cast<unsigned long long>(steps), found,
              seconds_since(begin));
  if (explored == 0) {
    std::fprintf(stderr, "explore: there is no such scenario; --list names them\n");
    return 64;
  }
  if (asked.expect_violation) return found > 0 ? 0 : 1;
  if (found > 0) return 1;
  if (schedules < asked.at_least) {
    std::fprintf(stderr, "explore: fewer than %llu schedules\n", static_cast<unsigned long long>(asked.at_least));
    return 2;
  }
  return asked.must_exhaust && exhausted != explored ? 2 : 0;
}
