// Addresses, from text and to text.
#include <lockfile/open.hpp>

#include "claim/record.hpp"
#include "core/path.hpp"
#include "schemes/catalogue.hpp"

#include <optional>

namespace lockfile {
namespace {

using schemes::EngineEntry;
using schemes::Syntax;

bool is_letter(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

// "link" of "link:a"; empty: the text does not begin like an address.
std::string_view leading_word(std::string_view text) noexcept {
  std::size_t end = 0;
  while (end < text.size() && (is_letter(text[end]) || (end > 0 && (is_digit(text[end]) || text[end] == '+' ||
                                                                    text[end] == '-' || text[end] == '.')))) {
    ++end;
  }
  return end > 1 && end < text.size() && text[end] == ':' ? text.substr(0, end) : std::string_view();
}

int digit_of(char c) noexcept {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// Where it went wrong; none: decoded.
std::optional<BadAddress> decode(std::string_view text, std::size_t position, std::string& into) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      into += text[i];
      continue;
    }
    const int high = i + 1 < text.size() ? digit_of(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? digit_of(text[i + 2]) : -1;
    if (high < 0 || low < 0) {
      return BadAddress{position + i, "'%' is not followed by two hexadecimal digits; the character itself is '%25'"};
    }
    if (high == 0 && low == 0) return BadAddress{position + i, "a zero byte"};
    into += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return std::nullopt;
}

std::string encode(std::string_view text, std::string_view also) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string safe;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '%' || byte < 0x20 || byte == 0x7F || also.find(c) != std::string_view::npos) {
      safe += '%';
      safe += digits[byte >> 4];
      safe += digits[byte & 0xF];
    } else {
      safe += c;
    }
  }
  return safe;
}

std::optional<BadAddress> check_path(std::string_view path, std::size_t position) {
  if (path.empty()) return BadAddress{position, "the path is missing"};
  if (!core::names_a_file(path)) {
    return BadAddress{position, "the path '" + claim::printable(path) + "' names no file"};
  }
  return std::nullopt;
}

using Parsed = std::variant<Address, BadAddress>;

Parsed parse_path(std::string_view path, std::size_t position, std::string_view scheme) {
  if (auto bad = check_path(path, position)) return *std::move(bad);
  return Address{std::string(scheme), std::string(path), {}};
}

// What stands behind the first '#', if there is one.
std::optional<BadAddress> parse_fragment(std::string_view text, std::size_t hash, Address& into) {
  if (hash == std::string_view::npos) return std::nullopt;
  if (hash + 1 == text.size()) return BadAddress{hash + 1, "the lock's name behind '#' is missing"};
  return decode(text.substr(hash + 1), hash + 1, into.name);
}

Parsed parse_database(std::string_view text, std::size_t begin, std::string_view scheme) {
  Address address{std::string(scheme), {}, {}};
  const std::size_t hash = text.find('#', begin);
  if (auto bad =
          decode(text.substr(begin, hash == std::string_view::npos ? hash : hash - begin), begin, address.place)) {
    return *std::move(bad);
  }
  if (address.place.starts_with("//")) {
    return BadAddress{begin, "a database file is on this machine: '" + address.scheme + ":/path', without '//'"};
  }
  if (auto bad = check_path(address.place, begin)) return *std::move(bad);
  if (auto bad = parse_fragment(text, hash, address)) return *std::move(bad);
  return address;
}

Parsed parse_server(std::string_view text, std::size_t begin, const EngineEntry& entry) {
  Address address{std::string(entry.described.name), {}, {}};
  if (!text.substr(begin).starts_with("//")) {
    return BadAddress{begin, "'//' is missing, as in '" + address.scheme + "://host'"};
  }
  begin += 2;
  if (entry.syntax == Syntax::server) {
    const std::size_t hash = text.find('#', begin);
    address.place = text.substr(begin, hash == std::string_view::npos ? hash : hash - begin);
    if (auto bad = parse_fragment(text, hash, address)) return *std::move(bad);
    return address;
  }
  const std::size_t slash = text.rfind('/');
  if (slash < begin)
    return BadAddress{
        text.size(),
        "the '/' behind the hosts is missing: 'host:2379/app/nightly' is a lock, 'host:2379/app/' all locks there"};
  address.place = text.substr(begin, slash - begin);
  if (address.place.empty() || address.place.front() == '/') return BadAddress{begin, "the host is missing"};
  if (auto bad = decode(text.substr(slash + 1), slash + 1, address.name)) return *std::move(bad);
  return address;
}

}  // namespace

Parsed parse_address(std::string_view text) {
  if (text.empty()) return BadAddress{0, "it is empty"};
  if (const std::size_t zero = text.find('\0'); zero != std::string_view::npos) return BadAddress{zero, "a zero byte"};
  const std::string_view word = leading_word(text);
  if (word.empty()) return parse_path(text, 0, "auto");
  const EngineEntry* const engine = schemes::find_engine(word);
  if (engine == nullptr && schemes::find_scheme(word) == nullptr) {
    return BadAddress{
        0, "there is no scheme '" + std::string(word) + "'; a file of that name is './" + claim::printable(text) + "'"};
  }
  const std::size_t begin = word.size() + 1;
  if (engine == nullptr) return parse_path(text.substr(begin), begin, word);
  if (engine->syntax == Syntax::database) return parse_database(text, begin, word);
  return parse_server(text, begin, *engine);
}

std::string to_string(const Address& address) {
  const EngineEntry* const engine = schemes::find_engine(address.scheme);
  const Syntax syntax = engine == nullptr ? Syntax::path : engine->syntax;
  const std::string name = address.name.empty() ? "" : "#" + encode(address.name, "");
  switch (syntax) {
    case Syntax::path:
      break;
    case Syntax::database:
      return address.scheme + ":" + encode(address.place, "#") + name;
    case Syntax::server:
      return address.scheme + "://" + address.place + name;
    case Syntax::cluster:
      return address.scheme + "://" + address.place + "/" + encode(address.name, "/");
  }
  const bool plain = address.scheme == "auto" && leading_word(address.place).empty();
  return plain ? address.place : address.scheme + ":" + address.place;
}

bool locks_a_name(std::string_view scheme) noexcept { return schemes::find_engine(scheme) != nullptr; }

}  // namespace lockfile
