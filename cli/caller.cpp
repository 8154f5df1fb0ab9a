// Is a lock held by our own caller? See caller.hpp.
#include "caller.hpp"

#include <fmt/format.h>

#include <unistd.h>

#include <array>
#include <charconv>
#include <climits>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>

namespace lockctl {
namespace {

std::string_view variable(const char* name) {
  const char* const value = std::getenv(name);
  return value != nullptr ? value : "";
}

bool holds_contain(std::string_view hold) {
  std::string_view rest = variable(holds_variable);
  while (!rest.empty()) {
    const std::size_t end = rest.find(' ');
    if (rest.substr(0, end) == hold) {
      return true;
    }
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  return false;
}

std::int64_t parent_of(std::int64_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  const std::string stat{std::istreambuf_iterator<char>(file), {}};
  return parent_in(stat);
}

bool is_ancestor(std::int64_t pid) {
  constexpr int more_than_any_tree_is_deep = 10'000;
  std::int64_t ancestor = ::getppid();
  // Process 1 is left out: every container has one, and a number is all that there is to compare.
  for (int depth = 0; ancestor > 1 && depth < more_than_any_tree_is_deep; ++depth) {
    if (ancestor == pid) {
      return true;
    }
    ancestor = parent_of(ancestor);
  }
  return false;
}

bool is_this_host(std::string_view host) {
  std::array<char, HOST_NAME_MAX + 1> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 && host == name.data();
}

bool is_our_variable(std::string_view entry) {
  for (const std::string_view name : {path_variable, held_variable, holds_variable, fence_variable}) {
    if (entry.starts_with(name) && entry.substr(name.size()).starts_with('=')) {
      return true;
    }
  }
  return false;
}

}  // namespace

std::int64_t parent_in(std::string_view stat) {
  const std::size_t name_end = stat.rfind(')');
  if (name_end == std::string_view::npos || stat.size() < name_end + 5) {
    return 0;
  }
  std::int64_t parent = 0;
  std::from_chars(stat.data() + name_end + 4, stat.data() + stat.size(), parent);
  return parent;
}

std::string hold_name(const lockfile::Holder& holder) { return fmt::format("{}.{}", holder.nonce, holder.number); }

bool held_by_caller(std::string_view path, const lockfile::Holder& holder) {
  if (holder.verdict == lockfile::Verdict::dead) {
    return false;
  }
  if (holder.nonce.empty()) {
    // The record cannot be read (another user's, say), so the name of the lock must do.
    return variable(held_variable) == "1" && variable(path_variable) == path;
  }
  if (holds_contain(hold_name(holder))) {
    return true;  // exact: also in another pid namespace, and never a mere memory, since this hold stands now
  }
  // A caller that is no lockctl, or one that clears the environment.
  return is_this_host(holder.host) &&
         (is_ancestor(holder.pid) || (holder.handed_to != 0 && is_ancestor(holder.handed_to)));
}

std::vector<std::string> environment_within(std::string_view path, const lockfile::Holder& hold, std::uint64_t fence) {
  std::vector<std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (!is_our_variable(*entry)) {
      variables.emplace_back(*entry);
    }
  }
  const std::string_view outer = variable(holds_variable);
  variables.push_back(fmt::format("{}={}", path_variable, path));
  variables.push_back(fmt::format("{}=1", held_variable));
  variables.push_back(fmt::format("{}={}{}{}", holds_variable, outer, outer.empty() ? "" : " ", hold_name(hold)));
  if (fence != 0) {
    variables.push_back(fmt::format("{}={}", fence_variable, fence));
  }
  return variables;
}

}  // namespace lockctl
