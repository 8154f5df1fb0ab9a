// The command line: every one is understood or refused with a message, and reading it does nothing.
#include "arguments.hpp"
#include "duration.hpp"
#include "fuzz/law.hpp"
#include "text.hpp"

#include <lockfile/version.hpp>

namespace {

using lockctl::read_arguments;
using lockctl::Request;
using lockfile::fuzz::Allowed;
using lockfile::fuzz::is_text;
using lockfile::fuzz::law;
using Arguments = std::vector<std::string>;

std::string joined(const Arguments& arguments) {
  std::string text;
  for (const std::string& each : arguments) text += each + "\n";
  return text;
}

Request read_by_the_rules(const Arguments& arguments) {
  const std::string all = joined(arguments);
  Request request = read_arguments(arguments);
  const int answers =
      (request.action ? 1 : 0) + (request.output.empty() ? 0 : 1) + (request.complaints.empty() ? 0 : 1);
  law(answers == 1, "a command line is understood, answered or refused", all);
  law(is_text(request.output, Allowed::harmless, true), "help is harmless on a terminal", request.output);
  for (const std::string& complaint : request.complaints) {
    law(!complaint.empty() && is_text(complaint, Allowed::harmless), "a complaint is harmless on a terminal",
        complaint);
    law(lockctl::escape(complaint) == complaint, "a complaint is printed as it is", complaint);
  }
  return request;
}

bool same_answer(const Request& one, const Request& other) {
  return (one.action != nullptr) == (other.action != nullptr) && one.output == other.output &&
         one.complaints == other.complaints;
}

}  // namespace

// One argument in each line.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t enough = 40;
  Arguments arguments = lockfile::fuzz::lines(lockfile::fuzz::view(data, size));
  arguments.resize(std::min(arguments.size(), enough));
  const std::string all = joined(arguments);
  const Request request = read_by_the_rules(arguments);
  const auto dashes = std::find(arguments.begin(), arguments.end(), "--");
  if (!arguments.empty() && arguments.front() == "run") {
    // The command is no argument of lockctl's: any other one gives the same answer.
    Arguments other(arguments.begin(), dashes);
    if (dashes == arguments.end() || dashes + 1 == arguments.end()) {
      law(!request.action, "no command, nothing to run", all);
    } else {
      other.insert(other.end(), {"--", "--help", "--no-such-option", "\x1b[31m"});
      law(same_answer(request, read_by_the_rules(other)), "what stands behind the dashes is the command's", all);
    }
  }
  // The text of an option goes through its own reader.
  if (arguments.size() == 1) {
    const Arguments timed{"wait", "path", "--timeout=" + arguments.front()};
    const bool taken = read_by_the_rules(timed).action != nullptr;
    law(taken == lockctl::parse_duration(arguments.front()).has_value(), "a timeout is a duration", arguments.front());
  }
  return 0;
}
