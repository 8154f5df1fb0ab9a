// Texts of /proc in which strangers have a say: the name of a program, the place of a mount. Whatever the name is, the
// numbers behind it are found; and whatever the text is, it is a number or none.
#include "caller.hpp"
#include "fuzz/law.hpp"
#include "os/posix.hpp"

#include <sstream>

namespace {

namespace os = lockfile::os;
using lockfile::fuzz::law;

// As the kernel writes it, proc(5): the name with whatever it has inside.
void a_program_does_not_choose_its_numbers(std::string_view name, std::uint64_t start, std::int64_t parent) {
  std::string stat = "4711 (";
  stat.append(name).append(") S ").append(std::to_string(parent));
  for (int field = 5; field < 22; ++field) stat += field % 3 == 0 ? " -1" : " 18446744073709551615";
  stat += " " + std::to_string(start) + " 0 0\n";
  const auto got = os::start_in(stat);
  law(got.ok() && got.value == start, "a program's name does not change its start time", stat);
  law(lockctl::parent_in(stat) == parent, "a program's name does not change its parent", stat);
}

// In mountinfo the kernel writes space, tab, newline and backslash in octal.
std::string mangled(std::string_view text) {
  std::string written;
  for (const char byte : text) {
    switch (byte) {
      case ' ':
        written += "\\040";
        break;
      case '\t':
        written += "\\011";
        break;
      case '\n':
        written += "\\012";
        break;
      case '\\':
        written += "\\134";
        break;
      default:
        written += byte;
    }
  }
  return written;
}

void a_mount_does_not_choose_its_type(std::string_view place) {
  const std::string line = "36 35 98:0 /" + mangled(place) + " /mnt/" + mangled(place) + " rw,noatime master:1 - nfs " +
                           mangled(place) + "x rw,vers=3";
  std::istringstream mounts("35 1 8:1 / / rw - ext4 /dev/root rw,nobrl\n" + line + "\n360 1 0:1 / /a rw - ext4 a rw\n");
  const std::string found = os::line_of_mount(mounts, "36");
  law(found == line + ",", "a mount's line is found by its number", place);
  law(os::is_mount_of(found, "nfs"), "a mount is of its type", place);
  for (const char* const type : {"ext4", "tmpfs", "overlay"}) {
    law(!os::is_mount_of(found, type), "a mount's place does not change its type", place);
  }
  law(os::locks_stay_here(found + "nolock,"), "locks stay where an option says so", place);
  law(!os::locks_stay_here(found) || place.find(',') != std::string_view::npos, "no option, no effect", place);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = lockfile::fuzz::view(data, size);
  // Any text.
  const auto start = os::start_in(text);
  if (start.ok()) {
    law(text.find(std::to_string(start.value)) != std::string_view::npos, "a start time is a number in the text", text);
  }
  (void)lockctl::parent_in(text);
  std::istringstream mounts{std::string(text)};
  const std::string line = os::line_of_mount(mounts, "36");
  law(line.empty() || (line.starts_with("36 ") && text.find(line.substr(0, line.size() - 1)) != std::string_view::npos),
      "a mount's line is a line of the text", text);

  std::string name(text);
  std::erase(name, '\0');
  a_program_does_not_choose_its_numbers(name, size * 0x9E3779B97F4A7C15U, static_cast<std::int64_t>(size));
  a_mount_does_not_choose_its_type(name);
  return 0;
}
