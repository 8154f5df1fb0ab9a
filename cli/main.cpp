// lockctl: locks for shells and for people. This file reads the arguments and calls one subcommand.
#include "arguments.hpp"
#include "exit_status.hpp"
#include "text.hpp"

#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>
#include <utility>
#include <vector>

namespace lockctl {
namespace {

int main_of(std::vector<std::string> arguments) {
  const Request request = read_arguments(std::move(arguments));
  for (const std::string& complaint : request.complaints) {
    say(complaint);
  }
  std::fputs(request.output.c_str(), stdout);
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
    return lockctl::main_of({argv + std::min(argc, 1), argv + argc});
  } catch (const std::exception& error) {
    lockctl::say(error.what());
    return lockctl::status(lockctl::Exit::internal);
  }
}
