// `explore`: runs the library's own code in simulated worlds, in every order or in many by chance, and shows what it
// found.
#include "simulation/explore.hpp"
#include "simulation/scenarios.hpp"

#include <chrono>
#include <cstdio>
#include <string>

namespace {

using namespace lockfile::simulation;

}  // namespace

int main(int argc, char** argv) {
  int failed = 0;
  for (const Scenario& each : scenarios()) {
    if (argc > 1 && each.name != argv[1]) continue;
    const auto begin = std::chrono::steady_clock::now();
    const Explored seen = argc > 3 ? explore_random(each, std::stoull(argv[2]), std::stoull(argv[3]), 3)
                                   : explore_all(each, argc > 2 ? std::stoull(argv[2]) : 100'000);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    std::printf("%-40s %9llu schedules %9llu pruned %10llu steps, longest %4zu, %s, %.1f s\n", each.name.c_str(),
                static_cast<unsigned long long>(seen.schedules), static_cast<unsigned long long>(seen.pruned),
                static_cast<unsigned long long>(seen.steps), seen.longest,
                seen.exhausted ? "exhausted" : "not exhausted", seconds);
    if (seen.violation.empty()) continue;
    ++failed;
    const auto shortest = shrink(each, seen.choices);
    const Outcome shown = replay(each, shortest, true);
    for (const std::string& line : shown.trace) std::printf("  %s\n", line.c_str());
    std::printf("  %s\n", shown.violation.c_str());
  }
  return failed == 0 ? 0 : 1;
}
