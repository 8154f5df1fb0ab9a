// The stories that are explored. Each names what it shows; those of one theme are in one file.
#pragma once

#include "simulation/run.hpp"

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lockfile::simulation {

/// Every scenario, in the order in which they are reported.
[[nodiscard]] const std::vector<Scenario>& scenarios();
/// Null: there is none of that name.
[[nodiscard]] const Scenario* scenario_named(std::string_view name);

/// One way for a claim to become the lock: a scheme on a kind of file system.
struct Form {
  std::string name;
  std::string scheme;
  FileSystemKind kind = {};
};
[[nodiscard]] std::span<const Form> forms();
/// Link and mkdir, on a file system that can do everything.
[[nodiscard]] std::span<const Form> main_forms();

/// A script that first chooses the scheme.
[[nodiscard]] std::function<void(Script&)> by(const Form& form, std::function<void(Script&)> script);

/// Scripts of most stories.
inline void pair(Script& me) { me.pair(); }
inline void try_once(Script& me) {
  if (me.try_acquire()) me.release();
}
inline void read(Script& me) {
  me.in_mode(Mode::shared);
  me.pair();
}

void add_exclusive(std::vector<Scenario>& all);
void add_deaths(std::vector<Scenario>& all);
void add_breaks(std::vector<Scenario>& all);
void add_faults(std::vector<Scenario>& all);
void add_network(std::vector<Scenario>& all);
void add_readers(std::vector<Scenario>& all);
void add_fences(std::vector<Scenario>& all);
void add_chance(std::vector<Scenario>& all);
void add_findings(std::vector<Scenario>& all);
void add_leases(std::vector<Scenario>& all);
void add_kernel(std::vector<Scenario>& all);
void add_semaphores(std::vector<Scenario>& all);
void add_shared_memory(std::vector<Scenario>& all);
void add_upgrades(std::vector<Scenario>& all);
void add_line(std::vector<Scenario>& all);
void add_turns(std::vector<Scenario>& all);
void add_threads(std::vector<Scenario>& all);

}  // namespace lockfile::simulation
