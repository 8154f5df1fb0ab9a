// Writing and reading records. The parser is strict: what is not exactly a record counts as held by nobody knows whom.
#include "claim/record.hpp"

#include "claim/names.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <span>

namespace lockfile::claim {
namespace {

constexpr std::string_view magic = "lockfile ";
constexpr std::string_view last_line = "end\n";
constexpr std::string_view group_magic = "lockfile group 1\nmembers: ";

// FNV-1a, 32 bits: tells a head that was read while it was being written. Not a defence against forgery.
std::uint32_t checksum(std::string_view bytes) noexcept {
  std::uint32_t sum = 2166136261U;
  for (const char byte : bytes) sum = (sum ^ static_cast<unsigned char>(byte)) * 16777619U;
  return sum;
}

// How many bytes of valid UTF-8, that are no control character, stand at the beginning; 0: none.
std::size_t printable_prefix(std::string_view text) noexcept {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  const auto is_tail = [&](std::size_t i) { return (byte(i) & 0xC0U) == 0x80U; };
  const unsigned first = byte(0);
  if (first < 0x80) return first >= 0x20 && first != 0x7F && first != '\\' ? 1 : 0;
  if (first >= 0xC2 && first <= 0xDF) return is_tail(1) && !(first == 0xC2 && byte(1) < 0xA0) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const bool overlong = first == 0xE0 && byte(1) < 0xA0;
    const bool surrogate = first == 0xED && byte(1) > 0x9F;
    return is_tail(1) && is_tail(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const bool out_of_range = (first == 0xF0 && byte(1) < 0x90) || (first == 0xF4 && byte(1) > 0x8F);
    return is_tail(1) && is_tail(2) && is_tail(3) && !out_of_range ? 4 : 0;
  }
  return 0;
}

std::optional<std::string> unescape(std::string_view text) {
  std::string raw;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      raw += text[i];
      continue;
    }
    unsigned byte = 0;
    if (i + 3 >= text.size() || text[i + 1] != 'x') return std::nullopt;
    const char* const digits = text.data() + i + 2;
    if (std::from_chars(digits, digits + 2, byte, 16).ptr != digits + 2) return std::nullopt;
    raw += static_cast<char>(byte);
    i += 3;
  }
  return raw;
}

// Reads a text from its beginning, line by line; once something did not fit, nothing fits any more.
class Reader {
 public:
  explicit Reader(std::string_view text) : left_(text) {}

  [[nodiscard]] bool good() const noexcept { return good_; }
  [[nodiscard]] std::string_view left() const noexcept { return left_; }

  void expect(std::string_view what) {
    if (left_.starts_with(what)) {
      left_.remove_prefix(what.size());
    } else {
      good_ = false;
    }
  }
  template <class Number>
  Number number(std::string_view key, char after) {
    expect(key);
    Number value{};
    const auto got = std::from_chars(left_.data(), left_.data() + left_.size(), value);
    if (got.ec != std::errc{} || left_.starts_with('-')) {
      good_ = false;
      return {};
    }
    left_.remove_prefix(static_cast<std::size_t>(got.ptr - left_.data()));
    expect({&after, 1});
    return value;
  }
  // A line's number, without leading zeros.
  template <class Number>
  Number plain(std::string_view key) {
    expect(key);
    if (left_.starts_with('0') && !left_.starts_with("0\n")) good_ = false;
    return number<Number>("", '\n');
  }
  // A line's text, in the one form that it is written in.
  std::string text(std::string_view key) {
    expect(key);
    const std::size_t end = left_.find('\n');
    std::optional<std::string> raw;
    if (good_ && end != std::string_view::npos) raw = unescape(left_.substr(0, end));
    if (!raw || printable(*raw) != left_.substr(0, end)) {
      good_ = false;
      return {};
    }
    left_.remove_prefix(end + 1);
    return *std::move(raw);
  }

 private:
  std::string_view left_;
  bool good_ = true;
};

}  // namespace

std::string printable(std::string_view text) {
  static constexpr std::string_view hex = "0123456789abcdef";
  std::string shown;
  while (!text.empty()) {
    if (const std::size_t good = printable_prefix(text); good > 0) {
      shown += text.substr(0, good);
      text.remove_prefix(good);
      continue;
    }
    const auto byte = static_cast<unsigned char>(text.front());
    shown += "\\x";
    shown += hex[byte >> 4U];
    shown += hex[byte & 15U];
    text.remove_prefix(1);
  }
  return shown;
}

namespace {

// Fills a buffer of fixed size from its beginning. An acquire writes a head each time, and printf takes as long for it
// as the kernel for a write.
class Filler {
 public:
  explicit Filler(std::span<char> into) noexcept : into_(into) {}

  void text(std::string_view what) noexcept { at_ += what.copy(into_.data() + at_, into_.size() - at_); }
  void padded(std::string_view what, std::size_t width) noexcept {
    static constexpr std::string_view spaces = "          ";
    text(what);
    text(spaces.substr(0, width - what.size()));
  }
  template <unsigned base = 10>
  void number(std::uint64_t value, std::size_t width) noexcept {
    static constexpr std::string_view digits = "0123456789abcdef";
    static constexpr std::string_view zeros = "00000000000000000000";
    text(zeros.substr(0, width));
    for (std::size_t end = at_; value != 0; value /= base) into_[--end] = digits[value % base];
  }
  [[nodiscard]] std::string_view done() const noexcept { return {into_.data(), at_}; }

 private:
  std::span<char> into_;
  std::size_t at_ = 0;
};

}  // namespace

std::array<char, head_size> format_head(const Record& record) noexcept {
  std::array<char, head_size> head{};
  Filler out(head);
  out.text(record.lease.count() != 0 ? "lockfile 2\nstate: " : "lockfile 1\nstate: ");
  out.padded(record.released ? "released" : "live", 8);
  out.text("\nmode: ");
  out.padded(to_string(record.mode), 10);
  out.text("\nhold: ");
  out.number(record.number, 20);
  out.text("\nthread: ");
  out.number(static_cast<std::uint64_t>(record.thread), 10);
  out.text("\nchild: ");
  out.number(static_cast<std::uint64_t>(record.child), 10);
  out.text(" ");
  out.number(record.child_start, 20);
  out.text("\n");
  const std::uint32_t sum = checksum(out.done());
  out.text("check: ");
  out.number<16>(sum, 8);
  out.text("\n");
  return head;
}

std::array<char, lease_size> format_lease(const Record& record) noexcept {
  std::array<char, lease_size> line{};
  Filler out(line);
  out.text("lease: ");
  out.number(static_cast<std::uint64_t>(record.lease.count()), 10);
  out.text(" ");
  out.number(record.renewals, 20);
  const std::uint32_t sum = checksum(out.done());
  out.text(" ");
  out.number<16>(sum, 8);
  out.text("\n");
  return line;
}

std::string format(const Record& record) {
  const auto head = format_head(record);
  std::string text(head.data(), head.size());
  if (record.lease.count() != 0) {
    const auto lease = format_lease(record);
    text.append(lease.data(), lease.size());
  }
  const auto line = [&](std::string_view key, std::string_view value) {
    text.append(key).append(": ").append(printable(value)).append("\n");
  };
  line("scheme", record.scheme);
  line("nonce", record.nonce);
  line("boot", record.boot);
  line("host", record.host);
  line("pidns", std::to_string(record.pid_namespace));
  line("timens", std::to_string(record.time_namespace));
  line("guard", record.guarded ? "local" : record.reaches ? "reaches" : "none");
  line("pid", std::to_string(record.pid));
  line("start", std::to_string(record.start));
  line("program", record.program);
  line("reason", record.reason);
  text += last_line;
  return text;
}

bool is_complete(std::string_view bytes) noexcept {
  const std::size_t last = bytes.find_last_not_of('\0');
  return last != std::string_view::npos && bytes.substr(0, last + 1).ends_with(last_line);
}

std::string format_group(std::string_view directory) {
  return std::string(group_magic).append(directory).append("\n").append(last_line);
}

std::optional<std::string> parse_group(std::string_view bytes) {
  if (bytes.size() > longest_record || !bytes.starts_with(group_magic)) return std::nullopt;
  const std::string_view rest = bytes.substr(group_magic.size());
  const std::size_t end = rest.find('\n');
  if (end == std::string_view::npos || rest.substr(end + 1) != last_line) return std::nullopt;
  return std::string(rest.substr(0, end));
}

Reading parse(std::string_view bytes, Record& record) {
  if (std::all_of(bytes.begin(), bytes.end(), [](char byte) { return byte == '\0'; })) return Reading::empty;
  if (bytes.size() > longest_record) return Reading::foreign;
  Reader in(bytes);
  const int version = in.number<int>(magic, '\n');
  if (!in.good()) return Reading::foreign;
  if (version > record_version) return Reading::newer;
  record.lease = std::chrono::milliseconds(version > 1 ? 1 : 0);  // how long it is comes after the head
  record.renewals = 0;

  in.expect("state: ");
  record.released = in.left().starts_with("released");
  in.expect(record.released ? "released\n" : "live    \n");
  record.mode = in.left().starts_with("mode: s")   ? Mode::shared
                : in.left().starts_with("mode: u") ? Mode::upgradable
                                                   : Mode::exclusive;
  in.expect(record.mode == Mode::shared       ? "mode: shared    \n"
            : record.mode == Mode::upgradable ? "mode: upgradable\n"
                                              : "mode: exclusive \n");
  record.number = in.number<std::uint64_t>("hold: ", '\n');
  record.thread = in.number<std::int64_t>("thread: ", '\n');
  record.child = in.number<std::int64_t>("child: ", ' ');
  record.child_start = in.number<std::uint64_t>("", '\n');
  // The widths and the check: a head is what would be written for what was read, or none.
  const auto head = format_head(record);
  if (!in.good() || !bytes.starts_with(std::string_view(head.data(), head.size()))) return Reading::foreign;

  bytes.remove_prefix(head.size());
  if (version > 1) {
    in = Reader(bytes);
    record.lease = std::chrono::milliseconds(in.number<std::int64_t>("lease: ", ' '));
    record.renewals = in.number<std::uint64_t>("", ' ');
    if (!in.good() || record.lease.count() == 0 || record.lease > longest_lease) return Reading::foreign;
    const auto line = format_lease(record);
    if (!bytes.starts_with(std::string_view(line.data(), line.size()))) return Reading::foreign;
    bytes.remove_prefix(line.size());
  }
  in = Reader(bytes);
  record.scheme = in.text("scheme: ");
  record.nonce = in.text("nonce: ");
  record.boot = in.text("boot: ");
  record.host = in.text("host: ");
  record.pid_namespace = in.plain<std::uint64_t>("pidns: ");
  record.time_namespace = in.plain<std::uint64_t>("timens: ");
  const std::string guard = in.text("guard: ");
  record.guarded = guard == "local";
  record.reaches = guard == "reaches";
  record.pid = in.plain<std::int64_t>("pid: ");
  record.start = in.plain<std::uint64_t>("start: ");
  record.program = in.text("program: ");
  record.reason = in.text("reason: ");
  in.expect(last_line);
  // Names are made of the nonce: it must be one.
  const bool nonce_ok = is_nonce(record.nonce);
  const bool guard_ok = record.guarded || record.reaches || guard == "none";
  return in.good() && in.left().empty() && nonce_ok && guard_ok ? Reading::record : Reading::foreign;
}

std::string scheme_of(std::string_view bytes) {
  if (bytes.starts_with(shared_memory_beginning)) return "shm";
  if (bytes.size() > longest_record) return {};
  if (parse_group(bytes)) return "link";
  // In the file of a kernel lock zeros may follow: a shorter record over a longer one.
  while (bytes.ends_with('\0')) bytes.remove_suffix(1);
  Record record;
  return parse(bytes, record) == Reading::record ? printable(record.scheme) : std::string();
}

}  // namespace lockfile::claim
