// Addresses, as users write them: each text is one address or a complaint with a place in it, and what is written of an
// address is read as the same one.
#include "fuzz/law.hpp"

#include <lockfile/open.hpp>

namespace {

using lockfile::fuzz::law;

// What no address may be taken for: a path that begins with a word and a colon.
bool begins_like_an_address(std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos || colon < 2) return false;
  const std::string_view word = text.substr(0, colon);
  constexpr std::string_view letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  return letters.find(word.front()) != std::string_view::npos &&
         word.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.") ==
             std::string_view::npos;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = lockfile::fuzz::view(data, size);
  const auto result = lockfile::parse_address(text);
  if (const auto* const bad = std::get_if<lockfile::BadAddress>(&result)) {
    law(bad->position <= text.size(), "a complaint is about a place in the text", text);
    law(!bad->reason.empty(), "a complaint has a reason", text);
    law(lockfile::fuzz::is_text(bad->reason, lockfile::fuzz::Allowed::printable), "a reason can be shown on a terminal",
        text);
    return 0;
  }
  const auto& address = std::get<lockfile::Address>(result);
  law(!address.place.empty() || address.scheme == "postgresql", "an address has a place", text);
  law(begins_like_an_address(text) || (address.scheme == "auto" && address.place == text && address.name.empty()),
      "what does not begin like an address is a path, as it stands", text);
  law(!begins_like_an_address(text) || text.starts_with(address.scheme + ":"), "the scheme is what is written", text);
  law(lockfile::locks_a_name(address.scheme) || address.name.empty(), "a path has no lock inside", text);
  law(address.place.find('\0') == std::string::npos && address.name.find('\0') == std::string::npos,
      "no zero byte gets through", text);

  const std::string written = lockfile::to_string(address);
  const auto again = lockfile::parse_address(written);
  law(std::holds_alternative<lockfile::Address>(again), "what is written can be read", written);
  law(std::get<lockfile::Address>(again) == address, "what is written is the same address", written);
  return 0;
}
