// What lockctl prints: messages in one form, names made safe for a terminal, tables.
#include "text.hpp"

#include "duration.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <filesystem>

namespace lockctl {
namespace {

// One character of UTF-8: its length, 0 where the bytes are none.
struct Character {
  std::size_t length = 0;
  std::uint32_t code = 0;
};

Character decode(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i])); };
  const std::uint32_t lead = byte(0);
  if (lead < 0x80) {
    return {1, lead};
  }
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) {
    return {};
  }
  std::uint32_t code = lead & (0xFFU >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) {
      return {};
    }
    code = code << 6 | (byte(i) & 0x3F);
  }
  const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  return overlong || surrogate || code > 0x10FFFF ? Character{} : Character{length, code};
}

bool harmless(std::uint32_t code) {
  const auto within = [&](std::uint32_t from, std::uint32_t to) { return code >= from && code <= to; };
  return !within(0, 0x1F) && !within(0x7F, 0x9F) && !within(0x200E, 0x200F) && !within(0x2028, 0x202E) &&
         !within(0x2066, 0x2069);
}

}  // namespace

std::string escape(std::string_view text) {
  std::string safe;
  while (!text.empty()) {
    const Character next = decode(text);
    const std::size_t length = std::max<std::size_t>(next.length, 1);
    if (next.length > 0 && harmless(next.code)) {
      safe += text.substr(0, length);
    } else {
      for (const char c : text.substr(0, length)) {
        safe += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
      }
    }
    text.remove_prefix(length);
  }
  return safe;
}

std::string quote(std::string_view text) { return "'" + escape(text) + "'"; }

void say(std::string_view message) {
  // One write: lines of several processes on one terminal stay whole. That nobody reads them is no reason to stop.
  const std::string line = fmt::format("lockctl: {}\n", escape(message));
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
}

bool is_on_the_file(std::string_view scheme) { return scheme == "kernel" || scheme == "flock"; }

bool is_beside(std::string_view scheme) { return scheme == "auto" || scheme == "link" || scheme == "mkdir"; }

std::string lock_file_of(std::string_view path, std::string_view scheme) {
  while (path.size() > 1 && path.ends_with('/')) {
    path.remove_suffix(1);
  }
  return std::string(path) + (is_beside(scheme) ? ".lock" : "");
}

void hint_at_lock_file_name(std::string_view path) {
  constexpr std::string_view ending = ".lock";
  std::error_code ignored;  // a hint that cannot be given is not missed
  if (path.size() > ending.size() && path.ends_with(ending) &&
      !std::filesystem::exists(std::filesystem::symlink_status(lock_file_of(path), ignored))) {
    say(fmt::format("note: {} is looked up as {}; for the lock file {} itself, give {}", quote(path),
                    quote(lock_file_of(path)), quote(path), quote(path.substr(0, path.size() - ending.size()))));
  }
}

std::string cause_of(const std::error_code& error) {
  std::string cause = error.message();
  if (!cause.empty()) {
    cause[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(cause[0])));
  }
  return cause;
}

std::string message_of(const std::system_error& error) {
  std::string message = error.what();
  if (const std::string cause = error.code().message(); message.ends_with(cause)) {
    message.replace(message.size() - cause.size(), cause.size(), cause_of(error.code()));
  }
  return message;
}

std::string_view state_of(const lockfile::Holder& holder) {
  return holder.verdict == lockfile::Verdict::dead ? "stale" : "held";
}

std::string age_of(const lockfile::Holder& holder) {
  return holder.since ? show_duration(std::chrono::system_clock::now() - *holder.since) : std::string();
}

std::string describe(const lockfile::Waiter& waiter) {
  std::string text = fmt::format("pid {} on {}", waiter.pid, waiter.host);
  if (!waiter.program.empty()) text += " (" + waiter.program + ")";
  text += " waits for " + show_duration(std::chrono::steady_clock::now() - waiter.since);
  if (waiter.mode != lockfile::Mode::exclusive) text += ", " + std::string(lockfile::to_string(waiter.mode));
  if (waiter.passed) text += ", passed since it does not move";
  return text;
}

std::chrono::system_clock::time_point began(const lockfile::Waiter& waiter) {
  return std::chrono::system_clock::now() - std::chrono::duration_cast<std::chrono::system_clock::duration>(
                                                std::chrono::steady_clock::now() - waiter.since);
}

std::string iso_time(std::chrono::system_clock::time_point time) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::chrono::system_clock::to_time_t(time)));
}

std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string shorten(std::string_view text, std::size_t width) {
  if (width_of(text) <= width) {
    return std::string(text);
  }
  constexpr std::string_view dots = "...";
  const std::size_t keep = width > dots.size() ? width - dots.size() : 0;
  std::string kept;
  for (std::size_t count = 0; count < keep; ++count) {
    const std::size_t length = std::max<std::size_t>(decode(text).length, 1);
    kept += text.substr(0, length);
    text.remove_prefix(length);
  }
  return kept + std::string(dots.substr(0, std::min(width, dots.size())));
}

void print_table(const std::vector<std::vector<std::string>>& rows, std::string_view indent) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], width_of(row[i]));
    }
  }
  for (const auto& row : rows) {
    std::string line(indent);
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      line.append(widths[i] - width_of(row[i]) + 2, ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    fmt::print("{}\n", line);
  }
}

}  // namespace lockctl
