// One torture: processes of some threads each acquire and release while they are killed and stopped at random
// instants, and each hold is proved through shared memory. The seed fixes the plan: what each thread tries, at which of
// its calls a process kills itself, whom the tormentor kills or stops when. What the machine makes of it differs from
// run to run.
#pragma once

#include "torture/arena.hpp"

#include "support/peer.hpp"
#include "support/variants.hpp"

#include <lockfile/lock.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace lockfile::torture {

using testing::Variant;
using MakeLock = std::unique_ptr<Lock> (*)(const std::string& path, const Variant& variant);

[[nodiscard]] std::unique_ptr<Lock> make_file_lock(const std::string& path, const Variant& variant);

/// What is tortured.
struct Course {
  std::string name;
  std::vector<const Variant*> variants;  ///< each process takes one of them
  bool forced = false;                   ///< holds are broken by force too
  MakeLock make_lock = make_file_lock;
};

/// Every variant alone, the schemes mixed, and some of these again with forced breaks.
[[nodiscard]] std::vector<Course> courses();
/// Locks that are wrong on purpose, each in one way, by the law that it breaks.
struct WrongCourse {
  Course course;
  Law breaks = Law::overlap;
};
[[nodiscard]] std::vector<WrongCourse> wrong_courses();

struct Settings {
  long kills = 100;
  long kills_at_most = 0;  ///< goes on so long until the course has shown what it is for: few kills may miss it
  std::uint64_t seed = 1;
  std::chrono::seconds stuck = testing::stuck;  ///< nobody gets on for so long, though nobody is stopped
  std::optional<Law> until = {};                ///< go on until this law is broken, whatever else is
  bool by_command = false;                      ///< at the end `lockctl doctor --clean` itself cleans
};

struct Report {
  long holds = 0;
  long kills = 0;
  long stops = 0;
  long taken_over = 0;
  long forced = 0;
  std::array<long, laws> failures{};
  double seconds = 0;
  std::vector<std::string> sentences;

  [[nodiscard]] long count(Law law) const { return failures.at(static_cast<std::size_t>(law)); }
};

/// That what the course is for did happen: stops, holds taken over from the dead, breaks by force where it has them.
[[nodiscard]] bool shows(const Course& course, const Report& report);

[[nodiscard]] Report torture(const Course& course, const Settings& settings);

// The two sides of it.

/// What a process is born to.
struct Life {
  int place = 0;
  std::uint32_t number = 0;
  const Variant* variant = nullptr;
  int thread_count = 1;
  std::uint64_t dies_at = 0;  ///< the call before which it kills itself; 0: none
  int turns = 0;              ///< after which each of its threads ends in peace
  std::uint64_t seed = 0;
};
[[noreturn]] void live(Arena& arena, const Course& course, const Life& life, const std::string& directory);

}  // namespace lockfile::torture
