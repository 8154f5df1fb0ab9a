// What strangers wrote, on its way to people: nothing reaches a terminal raw, and what is harmless stays as it is.
#include "claim/record.hpp"
#include "fuzz/law.hpp"
#include "text.hpp"

#include <lockfile/holder.hpp>

namespace {

using lockfile::fuzz::Allowed;
using lockfile::fuzz::is_text;
using lockfile::fuzz::law;
using lockfile::fuzz::without_escapes;

void the_library_makes_it_printable(std::string_view text) {
  const std::string shown = lockfile::claim::printable(text);
  law(is_text(shown, Allowed::printable), "what the library shows is printable", text);
  law(without_escapes(shown) == text, "nothing is lost by escaping", text);
  law(shown.size() <= 4 * text.size(), "a byte becomes four at most", text);
  const bool backslashes = text.find('\\') != std::string_view::npos;
  if (is_text(text, Allowed::printable) && !backslashes) law(shown == text, "what is printable stays", text);
}

void lockctl_makes_it_harmless(std::string_view text) {
  const std::string safe = lockctl::escape(text);
  law(is_text(safe, Allowed::harmless), "what lockctl shows is harmless", text);
  law(lockctl::escape(safe) == safe, "what is escaped stays as it is", text);
  if (text.find('\\') == std::string_view::npos)
    law(without_escapes(safe) == text, "nothing is lost by escaping", text);
  if (is_text(text, Allowed::harmless)) law(safe == text, "what is harmless stays", text);
  law(lockctl::quote(text) == "'" + safe + "'", "a quoted text is escaped", text);
}

void is_shortened_to_the_width(std::string_view text, std::size_t width) {
  const std::string shown = lockctl::shorten(text, width);
  if (lockctl::width_of(text) <= width) {
    law(shown == text, "what fits is not shortened", text);
    return;
  }
  law(lockctl::width_of(shown) <= width, "what is too wide is shortened", text);
  if (is_text(text, Allowed::printable)) law(is_text(shown, Allowed::printable), "characters stay whole", text);
  const std::string_view kept(shown.data(), shown.size() - std::min<std::size_t>(width, 3));
  law(text.starts_with(kept), "the beginning is what is kept", text);
}

}  // namespace

// Lines: the host, the program, the reason of a holder.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes = lockfile::fuzz::view(data, size);
  the_library_makes_it_printable(bytes);
  lockctl_makes_it_harmless(bytes);
  for (const std::size_t width : {std::size_t{0}, std::size_t{2}, std::size_t{5}, size / 2, size}) {
    is_shortened_to_the_width(bytes, width);
  }

  auto fields = lockfile::fuzz::lines(bytes);
  fields.resize(3);
  lockfile::Holder holder;
  holder.pid = static_cast<std::int64_t>(size);
  holder.host = fields[0];
  holder.program = fields[1];
  holder.reason = fields[2];
  holder.since = std::chrono::system_clock::time_point();
  law(is_text(holder.who(), Allowed::printable), "who holds is said in printable text", bytes);
  law(is_text(holder.describe(), Allowed::printable), "a holder is described in printable text", bytes);
  law(holder.describe().find(holder.who()) != std::string::npos, "a description says who", bytes);
  return 0;
}
