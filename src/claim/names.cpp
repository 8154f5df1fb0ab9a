// Making names and taking them apart.
#include "claim/names.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <system_error>

namespace lockfile::claim {
namespace {

// The shortest limit seen is 250 bytes (fuse-overlayfs); the longest addition is `.`, a nonce and
// `.<20 digits>.members`.
constexpr std::size_t longest_name = 250;
constexpr std::size_t longest_addition = 1 + nonce_length + 1 + 20 + suffix::members.size();
constexpr std::string_view hashed_prefix = ".lf-";
constexpr std::size_t hash_length = 16;

std::uint64_t hash_of(std::string_view text) noexcept {  // FNV-1a, 64 bits
  std::uint64_t hash = 14695981039346656037ULL;
  for (const char byte : text) hash = (hash ^ static_cast<unsigned char>(byte)) * 1099511628211ULL;
  return hash;
}

std::string hex(std::uint64_t number, int digits) {
  std::array<char, 20> text{};
  std::snprintf(text.data(), text.size(), "%0*llx", digits, static_cast<unsigned long long>(number));
  return text.data();
}

bool is_hex(std::string_view text) noexcept {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string boot_part(std::string_view boot) { return hex(hash_of(boot) >> 32U, 8); }

constexpr std::array numbered_suffixes = {suffix::gone,   suffix::group, suffix::members,
                                          suffix::joined, suffix::fence, suffix::upgrade};

bool is_known_suffix(std::string_view text) {
  constexpr std::array plain = {suffix::trial, suffix::directory, suffix::entry,      suffix::wake,
                                suffix::fifo,  suffix::line,      suffix::unpublished};
  if (text.empty() || std::find(plain.begin(), plain.end(), text) != plain.end()) return true;
  std::uint64_t number = 0;
  if (std::from_chars(text.data() + 1, text.data() + text.size(), number).ec != std::errc{}) return false;
  return std::any_of(numbered_suffixes.begin(), numbered_suffixes.end(),
                     [&](std::string_view end) { return text == suffix::numbered(number, end); });
}

std::optional<LineName> line_name_at(std::string_view name, std::size_t at) {
  if (!name.ends_with(suffix::line)) return std::nullopt;
  const std::string_view prefix = name.substr(0, at);
  name = name.substr(at, name.size() - at - suffix::line.size());
  const std::string_view boot = name.substr(0, boot_part_length);
  if (boot.size() != boot_part_length || !is_hex(boot)) return std::nullopt;
  name.remove_prefix(boot_part_length);
  if (!name.empty() && name != ".kernel" && name != ".flock" && name != ".shm") return std::nullopt;
  return LineName{std::string(prefix), std::string(boot), std::string(name.substr(name.empty() ? 0 : 1))};
}

// The nonce at `at`, and what follows it.
std::optional<SideName> side_name_at(std::string_view name, std::size_t at) {
  if (name.size() < at + nonce_length) return std::nullopt;
  const std::string_view nonce = name.substr(at, nonce_length);
  const std::string_view rest = name.substr(at + nonce_length);
  if (!is_nonce(nonce) || !is_known_suffix(rest)) return std::nullopt;
  return SideName{std::string(nonce), std::string(rest)};
}

bool begins_hashed(std::string_view name) {
  if (!name.starts_with(hashed_prefix)) return false;
  name.remove_prefix(hashed_prefix.size());
  return is_hex(name.substr(0, hash_length)) && name.substr(std::min(hash_length, name.size())).starts_with('-');
}

}  // namespace

Names::Names(std::string_view locked_name) : word_(std::string(locked_name) + ".lock") {
  prefix_ = word_.size() + longest_addition <= longest_name
                ? word_ + "."
                : std::string(hashed_prefix) + hex(hash_of(word_), hash_length) + "-";
}

std::string Names::side(std::string_view nonce, std::string_view suffix) const {
  std::string name = prefix_;
  name.append(nonce).append(suffix);
  return name;
}

std::string Names::fence() const { return prefix_ + "fence"; }

Names Names::with_prefix(std::string prefix) {
  Names names;
  names.prefix_ = std::move(prefix);
  return names;
}

std::string Names::line(std::string_view boot, std::string_view kind) const {
  std::string name = prefix_ + boot_part(boot);
  if (!kind.empty()) name.append(".").append(kind);
  return name.append(suffix::line);
}

std::string suffix::taken_away(std::uint64_t number) { return numbered(number, gone); }

std::string suffix::numbered(std::uint64_t counter, std::string_view end) {
  std::string text = ".";
  text.append(std::to_string(counter)).append(end);
  return text;
}

std::string suffix::numbering(std::uint64_t number) { return numbered(number, fence); }

std::string entry_name(std::string_view nonce, std::uint64_t number) {
  return std::string(nonce) + "." + std::to_string(number);
}

std::optional<Entry> parse_entry_name(std::string_view name) {
  Entry entry{std::string(name.substr(0, nonce_length)), 0};
  if (!is_nonce(entry.nonce) || name.size() < nonce_length + 2) return std::nullopt;
  (void)std::from_chars(name.data() + nonce_length + 1, name.data() + name.size(), entry.number);
  return name == entry_name(entry.nonce, entry.number) ? std::optional<Entry>(std::move(entry)) : std::nullopt;
}

std::optional<SideName> parse_side_name(std::string_view name) {
  if (begins_hashed(name)) {
    if (auto side = side_name_at(name, hashed_prefix.size() + hash_length + 1)) return side;
  }
  // Also where the locked path's own name begins as a hashed one does.
  constexpr std::string_view end_of_word = ".lock.";
  const std::size_t word = name.rfind(end_of_word);
  return word == std::string_view::npos ? std::nullopt : side_name_at(name, word + end_of_word.size());
}

std::optional<LineName> parse_line_name(std::string_view name) {
  constexpr std::size_t hashed = hashed_prefix.size() + hash_length + 1;
  if (begins_hashed(name)) {
    if (auto line = line_name_at(name, hashed)) return line;
  }
  constexpr std::string_view end_of_word = ".lock.";
  const std::size_t word = name.rfind(end_of_word);
  return word == std::string_view::npos ? std::nullopt : line_name_at(name, word + end_of_word.size());
}

bool is_nonce(std::string_view text) noexcept { return text.size() == nonce_length && is_hex(text); }

std::string make_nonce(std::string_view boot, std::uint64_t random) { return boot_part(boot) + hex(random, 16); }

bool nonce_is_of_boot(std::string_view nonce, std::string_view boot) { return nonce.starts_with(boot_part(boot)); }

}  // namespace lockfile::claim
