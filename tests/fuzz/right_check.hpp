// A fuzzer does not guess a check of 32 bits: this puts the right one into what looks like a record, so that what
// stands behind it is reached.
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace lockfile::fuzz {

[[nodiscard]] inline std::string with_right_check(std::string_view bytes) {
  constexpr std::string_view key = "\ncheck: ";
  std::string text(bytes);
  const std::size_t at = text.find(key);
  if (at == std::string::npos || text.size() < at + key.size() + 8) return text;
  std::uint32_t sum = 2166136261U;  // FNV-1a, docs/on-disk-format.md
  for (const char byte : text.substr(0, at + 1)) sum = (sum ^ static_cast<unsigned char>(byte)) * 16777619U;
  std::array<char, 9> digits{};
  std::snprintf(digits.data(), digits.size(), "%08x", static_cast<unsigned>(sum));
  return text.replace(at + key.size(), 8, digits.data());
}

}  // namespace lockfile::fuzz
