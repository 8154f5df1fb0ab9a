// What the fuzz targets share: laws that end the program where an input breaks them, an opinion of their own about what
// is harmless on a terminal, and a way to take an input apart that keeps seeds readable.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

/// What libFuzzer calls, and replay.cpp.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace lockfile::fuzz {

inline std::string_view view(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// Ends the program where the law is broken, and says what it was broken by.
inline void law(bool holds, std::string_view sentence, std::string_view by = {}) {
  if (holds) return;
  std::fprintf(stderr, "broken law: %.*s\n", static_cast<int>(sentence.size()), sentence.data());
  if (!by.empty()) {
    std::fputs("by: ", stderr);
    for (const char each : by) {
      const auto byte = static_cast<unsigned char>(each);
      std::fprintf(stderr, byte >= 0x20 && byte < 0x7F && byte != '\\' ? "%c" : "\\x%02x", byte);
    }
    std::fputs("\n", stderr);
  }
  std::abort();
}

/// The lines of an input. Where a line is to have a newline inside, the input has a zero byte, which no argument, path
/// or name can have.
inline std::vector<std::string> lines(std::string_view input) {
  std::vector<std::string> all(1);
  for (const char byte : input) {
    if (byte == '\n') {
      all.emplace_back();
    } else {
      all.back() += byte == '\0' ? '\n' : byte;
    }
  }
  if (all.back().empty()) all.pop_back();
  return all;
}

enum class Allowed : std::uint8_t {
  printable,  ///< no control character but a newline
  harmless,   ///< and none that turns the direction of writing
};

/// Is that UTF-8 (RFC 3629), and what a terminal shows without being told anything? Decodes by arithmetic and encodes
/// again, where the code under test compares bytes: they do not share their mistakes.
inline bool is_text(std::string_view text, Allowed allowed, bool newlines = false) {
  while (!text.empty()) {
    const auto byte = [&](std::size_t i) { return std::uint32_t{static_cast<unsigned char>(text[i])}; };
    const auto ones = static_cast<std::size_t>(std::countl_one(static_cast<unsigned char>(text[0])));
    if (ones == 1 || ones > 4) return false;
    const std::size_t length = std::max<std::size_t>(ones, 1);
    if (text.size() < length) return false;
    std::uint32_t code = byte(0) % (128U >> ones);
    for (std::size_t i = 1; i < length; ++i) {
      if (byte(i) / 64 != 2) return false;
      code = code * 64 + byte(i) % 64;
    }
    const std::size_t shortest = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    if (shortest != length || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return false;
    const bool control = code < 0x20 || (code >= 0x7F && code < 0xA0);
    if (control && !(newlines && code == '\n')) return false;
    const bool turns = code == 0x200E || code == 0x200F || (code >= 0x202A && code <= 0x202E) ||
                       (code >= 0x2066 && code <= 0x2069) || code == 0x2028 || code == 0x2029;
    if (turns && allowed == Allowed::harmless) return false;
    text.remove_prefix(length);
  }
  return true;
}

/// `text` with every `\xNN` taken back.
inline std::string without_escapes(std::string_view text) {
  std::string raw;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && text[i + 1] == 'x') {
      raw += static_cast<char>(std::strtoul(std::string(text.substr(i + 2, 2)).c_str(), nullptr, 16));
      i += 3;
    } else {
      raw += text[i];
    }
  }
  return raw;
}

}  // namespace lockfile::fuzz
