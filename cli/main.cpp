// lockctl: locks for shells and for people. This file reads the arguments and calls one subcommand.
#include "arguments.hpp"
#include "exit_status.hpp"
#include "programs.hpp"
#include "text.hpp"

#include <algorithm>
#include <cstdio>
#include <exception>

namespace lockctl {
namespace {

int main_of(int argc, char** argv) {
  const Request request = read_arguments({argv + std::min(argc, 1), argv + argc});
  for (const std::string& complaint : request.complaints) {
    say(complaint);
  }
  std::fputs(request.output.c_str(), stdout);
  // Before anything is done: what has been done would be lost.
  if (const auto failed = become_program_for(request.engines, {{LOCKCTL_PROGRAMS}, LOCKCTL_PROGRAMS_DIRECTORY}, argv)) {
    return *failed;
  }
  const int result = request.action ? request.action() : status(request.complaints.empty() ? Exit::ok : Exit::usage);
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    say("cannot write to standard output");
    return result == status(Exit::ok) ? status(Exit::cannot_look) : result;
  }
  return result;
}

}  // namespace
}  // namespace lockctl

int main(int argc, char** argv) {
  try {
    return lockctl::main_of(argc, argv);
  } catch (const std::exception& error) {
    lockctl::say(error.what());
    return lockctl::status(lockctl::Exit::internal);
  }
}
