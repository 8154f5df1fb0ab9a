// The holds that a caller of lockctl names in the environment: a hold counts as the caller's if and only if it is in
// the list, and a list is only ever added to.
#include "caller.hpp"
#include "fuzz/law.hpp"

#include <algorithm>
#include <cstdlib>

namespace {

using lockfile::fuzz::law;

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> all(1);
  for (const char byte : text) {
    if (byte == ' ') {
      all.emplace_back();
    } else {
      all.back() += byte;
    }
  }
  return all;
}

}  // namespace

// Lines: what LOCKCTL_HOLDS is; the path of the outer lock, and that of ours.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto given = lockfile::fuzz::lines(lockfile::fuzz::view(data, size));
  given.resize(3);
  const std::string& holds = given[0];
  const std::string& outer = given[1];
  const std::string& path = given[2];
  ::setenv(lockctl::holds_variable, holds.c_str(), 1);
  ::setenv(lockctl::path_variable, outer.c_str(), 1);
  ::setenv(lockctl::held_variable, "1", 1);

  lockfile::Holder holder;
  holder.verdict = lockfile::Verdict::alive;
  holder.host = "none of this name";  // so that no process of ours can be meant
  holder.nonce = "f8aab9dd3ead276711fd6896";
  holder.number = 7;
  const auto listed = words(holds);
  const bool in_list = std::find(listed.begin(), listed.end(), lockctl::hold_name(holder)) != listed.end();
  law(lockctl::held_by_caller(path, holder) == in_list, "a hold is the caller's if its list has it", holds);
  holder.verdict = lockfile::Verdict::dead;
  law(!lockctl::held_by_caller(path, holder), "the dead call nobody", holds);

  lockfile::Holder unreadable;
  law(lockctl::held_by_caller(path, unreadable) == (path == outer), "without a record the name must do", path);

  const auto variables = lockctl::environment_within(path, holder);
  const auto value_of = [&](const std::string& name) {
    std::vector<std::string> values;
    for (const std::string& each : variables) {
      if (each.starts_with(name + "=")) values.push_back(each.substr(name.size() + 1));
    }
    law(values.size() == 1, "each of our variables is there once", name);
    return values[0];
  };
  law(value_of(lockctl::path_variable) == path, "the command finds its path", path);
  law(value_of(lockctl::held_variable) == "1", "the command finds that it runs under a lock");
  const std::string now = value_of(lockctl::holds_variable);
  law(now.starts_with(holds) && now.ends_with(lockctl::hold_name(holder)), "the list of holds grows", now);
  ::setenv(lockctl::holds_variable, now.c_str(), 1);
  holder.verdict = lockfile::Verdict::alive;
  law(lockctl::held_by_caller(path, holder), "a hold is known in the command that runs under it", now);
  return 0;
}
