// lockctl as a test of faults needs it: run under something that makes the kernel refuse, then looked at from outside.
#pragma once

#include "cli/support.hpp"

#include <string>
#include <vector>

namespace lockfile::testing {

/// A directory with a lock `x`, and a command that leaves `ran` there.
class Place {
 public:
  explicit Place(std::string scheme) : scheme_(std::move(scheme)) {}

  [[nodiscard]] const cli_test::Directory& directory() const { return directory_; }
  /// `lockctl run`, for `wrapper` to run; `options` before the command.
  [[nodiscard]] std::vector<std::string> run_by(std::vector<std::string> wrapper,
                                                const std::vector<std::string>& options = {}) const;
  /// To its end.
  [[nodiscard]] cli_test::Result run(const std::vector<std::string>& arguments) const;

  /// What has to be true when lockctl has ended, however it has: the command has run if and only if lockctl says so, a
  /// failure names the lock and one of the causes, the lock is to be had, and nothing stays.
  void expect_told_and_clean(const cli_test::Result& result, const std::vector<std::string>& causes);
  /// The command has run, and the same.
  void expect_ran_and_clean();
  /// The same, when it was killed: whether the command has run is open.
  void expect_clean();

 private:
  std::string scheme_;
  cli_test::Directory directory_;
};

/// Names that come into a directory from now on: a waiter's claim says that it is there.
class NewNames {
 public:
  explicit NewNames(const cli_test::Directory& directory);
  NewNames(const NewNames&) = delete;
  NewNames& operator=(const NewNames&) = delete;
  ~NewNames();
  void expect_one() const;

 private:
  int events_;
};

}  // namespace lockfile::testing
