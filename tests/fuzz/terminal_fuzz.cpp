// What lockctl prints of names and records that strangers wrote: never anything that a terminal obeys, and JSON that
// can be read.
#include "arguments.hpp"
#include "claim/record.hpp"
#include "fuzz/fuzz_directory.hpp"
#include "fuzz/law.hpp"
#include "fuzz/right_check.hpp"

#include <nlohmann/json.hpp>

#include <sys/mman.h>

#include <array>

namespace {

using lockfile::fuzz::Allowed;
using lockfile::fuzz::FuzzDirectory;
using lockfile::fuzz::is_text;
using lockfile::fuzz::law;

const FuzzDirectory& directory() {
  static const FuzzDirectory made;
  return made;
}

// Standard output or standard error, turned into a file for a while.
class Redirected {
 public:
  explicit Redirected(int which) : which_(which), kept_(::dup(which)), file_(::memfd_create("printed", MFD_CLOEXEC)) {
    ::dup2(file_, which_);
  }
  Redirected(const Redirected&) = delete;
  Redirected& operator=(const Redirected&) = delete;
  ~Redirected() {
    ::close(file_);
    ::close(kept_);
  }
  [[nodiscard]] std::string give_back() {
    ::dup2(kept_, which_);
    std::string text(static_cast<std::size_t>(::lseek(file_, 0, SEEK_END)), '\0');
    law(::pread(file_, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()),
        "what was printed can be read");
    return text;
  }

 private:
  int which_;
  int kept_;
  int file_;
};

lockctl::Action action_of(const std::vector<std::string>& arguments) {
  auto request = lockctl::read_arguments(arguments);
  law(request.action != nullptr, "the arguments are understood", arguments.back());
  return std::move(request.action);
}

// Reading arguments takes far longer than doing what they ask, so those that stay the same are read once.
struct Actions {
  lockctl::Action status = action_of({"status", directory() / "a"});
  lockctl::Action status_json = action_of({"status", "--json", directory() / "a"});
  lockctl::Action wait = action_of({"wait", "--timeout", "0", directory() / "a"});
  lockctl::Action stale_break = action_of({"break", directory() / "a"});
  lockctl::Action any_break = action_of({"break", "--force", "--foreign", directory() / "a"});
  lockctl::Action list = action_of({"list", directory().path()});
  lockctl::Action list_json = action_of({"list", "--json", directory().path()});
};

// Standard output. What is printed on either of the two is harmless.
std::string printed_by(const lockctl::Action& action) {
  Redirected output(STDOUT_FILENO);
  Redirected errors(STDERR_FILENO);
  (void)action();  // the status is not what this is about
  std::fflush(stdout);
  const std::string complaints = errors.give_back();
  std::string text = output.give_back();
  law(is_text(text, Allowed::harmless, true), "what lockctl prints is harmless on a terminal", text);
  law(is_text(complaints, Allowed::harmless, true), "what lockctl complains of is harmless on a terminal", complaints);
  return text;
}

void is_plain_json(const std::string& text, const lockfile::claim::Record* record) {
  law(std::all_of(text.begin(), text.end(), [](char byte) { return byte == '\n' || (byte >= ' ' && byte <= '~'); }),
      "JSON is in ASCII", text);
  const auto json = nlohmann::json::parse(text, nullptr, false);
  law(!json.is_discarded() && json.is_array() && json.size() == 1, "JSON can be read", text);
  const auto& lock = json[0];
  law(lock["state"] == "held" || lock["state"] == "stale", "a lock that stands is not free", text);
  const bool ours = record != nullptr && lockfile::claim::is_lock_file_scheme(record->scheme);
  law(lock["holder"]["foreign"] == !ours, "what is no record of a lock file is a stranger's", text);
  if (ours && is_text(record->reason, Allowed::printable, true)) {
    law(lock["holder"]["reason"] == record->reason, "JSON tells what was written", text);
  }
}

// A name that a directory can have.
std::string as_name(std::string_view bytes) {
  constexpr std::size_t most = 200;
  std::string name(bytes.substr(0, most));
  for (char& byte : name) {
    if (byte == '/' || byte == '\0') byte = '\n';
  }
  return name.empty() || name == "." || name == ".." ? "a" : name;
}

void prints_of_any_record(const Actions& actions, const std::string& bytes) {
  directory().clear();
  directory().write("a.lock", bytes);
  lockfile::claim::Record record;
  const bool ours = lockfile::claim::parse(bytes, record) == lockfile::claim::Reading::record;
  law(!printed_by(actions.status).empty(), "a status is said", bytes);
  law(!printed_by(actions.list).empty(), "a lock that stands is listed", bytes);
  is_plain_json(printed_by(actions.status_json), ours ? &record : nullptr);
  is_plain_json(printed_by(actions.list_json), ours ? &record : nullptr);
  (void)printed_by(actions.wait);
  (void)printed_by(actions.stale_break);
  directory().write("a.lock", bytes);
  (void)printed_by(actions.any_break);
}

void prints_of_any_name(const Actions& actions, const std::string& name) {
  directory().clear();
  directory().write(name + ".lock", "4711\n");
  law(!printed_by(actions.list).empty(), "a lock that stands is listed", name);
  is_plain_json(printed_by(actions.list_json), nullptr);
  // As it stands on the command line: as a path, and where it is an address perhaps of no scheme there is.
  (void)printed_by(action_of({"status", "--", "./" + name}));
  const auto request = lockctl::read_arguments({"status", "--", name});
  for (const std::string& line : request.complaints) {
    law(is_text(line, Allowed::harmless), "what is said of an address is harmless on a terminal", line);
  }
}

}  // namespace

// The first line: a name. The rest: what stands in a lock file.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Actions actions;
  const std::string_view input = lockfile::fuzz::view(data, size);
  const std::size_t end = std::min(input.find('\n'), input.size());
  const std::string_view name = input.substr(0, end);
  if (name != "a") prints_of_any_name(actions, as_name(name));
  prints_of_any_record(actions, lockfile::fuzz::with_right_check(input.substr(std::min(end + 1, input.size()))));
  return 0;
}
