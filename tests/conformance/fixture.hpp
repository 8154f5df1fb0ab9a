// What the laws stand on: a directory, a lock's path in it, a variant, and other processes of the same variant.
#pragma once

#include "support/code_of.hpp"
#include "support/peer.hpp"
#include "support/scratch.hpp"
#include "support/test_lock.hpp"
#include "support/variants.hpp"

#include <lockfile/lockfile.hpp>

#include <gtest/gtest.h>

#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace lockfile::testing {

using namespace std::chrono_literals;

class Law : public ::testing::TestWithParam<Variant> {
 protected:
  void SetUp() override {
    if (!is_engine(GetParam()) || !shown().empty()) return;
    const char* const ci = std::getenv("CI");
    if (ci != nullptr && std::string_view(ci) == "true") FAIL() << "the environment names no server";
    GTEST_SKIP() << "the environment names no server";
  }

  [[nodiscard]] Options options() const { return {.scheme = std::string(GetParam().scheme)}; }
  [[nodiscard]] std::string path() const { return scratch_ / "a"; }
  /// What `Lock::path` says.
  [[nodiscard]] std::string shown() const {
    return is_engine(GetParam()) ? address_of(GetParam().scheme, path()) : path();
  }
  /// The lock's file.
  [[nodiscard]] std::string word() const { return path() + (is_kernel(GetParam()) ? "" : ".lock"); }
  [[nodiscard]] std::vector<std::string> peer_arguments() const { return {path(), std::string(GetParam().name)}; }

  /// What stays in the directory when everybody has left.
  [[nodiscard]] std::vector<std::string> what_stays() const {
    if (is_kernel(GetParam())) return {"a"};
    return is_memory(GetParam()) ? std::vector<std::string>{"a.lock"} : std::vector<std::string>();
  }

  /// Another thread of this process, in the same variant. Joined at once.
  void in_another_thread(const std::function<void()>& what) {
    std::thread([&] {
      in_.enter();
      what();
    }).join();
  }
  /// One that goes on.
  [[nodiscard]] std::thread thread(std::function<void()> what) {
    return std::thread([this, what = std::move(what)] {
      in_.enter();
      what();
    });
  }

  /// fork(2), with what the at-fork handlers do for the real process done for this one.
  [[nodiscard]] pid_t fork() {
    in_.process().before_fork();
    const pid_t child = ::fork();
    if (child == 0) {
      in_.process().after_fork_in_child();
    } else {
      in_.process().after_fork_in_parent();
    }
    return child;
  }

  Scratch scratch_;
  InVariant in_{GetParam()};
};

/// Those of them that the command line can choose. ctest runs each test in a program of its own, which would spend more
/// time on registering thousands of others than on its test.
[[nodiscard]] inline std::vector<Variant> chosen_of(std::span<const Variant> variants) {
  std::vector<Variant> chosen(variants.begin(), variants.end());
  const std::string filter = GTEST_FLAG_GET(filter);
  if (filter.find_first_of("*?:-") != std::string::npos) return chosen;
  const std::string one = filter.substr(filter.rfind('/') + 1);
  std::erase_if(chosen, [&](const Variant& each) { return each.name != one; });
  return chosen;
}
#define LOCKFILE_FOR_EACH_OF(variants, prefix, Suite)                               \
  INSTANTIATE_TEST_SUITE_P(prefix, Suite, ::testing::ValuesIn(chosen_of(variants)), \
                           [](const auto& each) { return std::string(each.param.name); })

/// Of every scheme, and every engine that the program was linked with.
#define LOCKFILE_FOR_ALL_SCHEMES(Suite) \
  LOCKFILE_FOR_ALL_FILES(Suite);        \
  LOCKFILE_FOR_ENGINES(Suite)

/// Of every engine. A program may be linked with none.
#define LOCKFILE_FOR_ENGINES(Suite)                     \
  GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Suite); \
  LOCKFILE_FOR_EACH_OF(engine_variants(), engines, Suite)

/// Of those engines whose dead holders are seen until they are replaced.
#define LOCKFILE_FOR_LOCAL_ENGINES(Suite) LOCKFILE_FOR_EACH_OF(local_engine_variants(), engines, Suite)

/// Of every scheme that locks a path.
#define LOCKFILE_FOR_ALL_FILES(Suite) LOCKFILE_FOR_EACH_OF(all_variants(), every, Suite)

/// Of the schemes that are lock files: what stands beside the path, what is left by the dead, breaks.
#define LOCKFILE_FOR_ALL_VARIANTS(Suite) LOCKFILE_FOR_EACH_OF(variants(), every, Suite)

/// Of the schemes whose holds can be broken and outlast their holders: lock files and shared memory.
#define LOCKFILE_FOR_BREAKABLE_SCHEMES(Suite) LOCKFILE_FOR_EACH_OF(breakable_variants(), every, Suite)

/// For what is built on a lock's verbs alone.
#define LOCKFILE_FOR_MAIN_VARIANTS(Suite) LOCKFILE_FOR_EACH_OF(main_variants(), main, Suite)
[[nodiscard]] inline std::vector<Variant> main_variants() {
  return {variant_named("link"), variant_named("mkdir"), variant_named("mkdir_with_mark"),
          variant_named("link_without_inotify")};
}

}  // namespace lockfile::testing
