// Durations as people write and read them: "1m30s".
#include "duration.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <utility>

namespace lockctl {
namespace {

struct Unit {
  std::string_view name;
  double seconds;
};
// "ms" before "m": the first that fits is taken.
constexpr std::array<Unit, 5> units{{{"ms", 0.001}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}}};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

std::optional<Seconds> parse_duration(std::string_view text) {
  double total = 0;
  double smallest = 1e18;  // units go from large to small: "5s1m" is rather a slip than 65 seconds
  bool first = true;
  while (first || !text.empty()) {
    // from_chars would also take "inf", "nan" and a sign.
    if (text.empty() || !is_digit(text.front())) {
      return std::nullopt;
    }
    double number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
    if (error != std::errc{}) {
      return std::nullopt;
    }
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    if (first && text.empty()) {
      return Seconds{number};
    }
    const auto* const unit =
        std::find_if(units.begin(), units.end(), [&](const Unit& u) { return text.starts_with(u.name); });
    if (unit == units.end() || unit->seconds >= smallest) {
      return std::nullopt;
    }
    text.remove_prefix(unit->name.size());
    smallest = unit->seconds;
    total += number * unit->seconds;
    first = false;
  }
  return std::isfinite(total) ? std::optional{Seconds{total}} : std::nullopt;
}

std::string show_duration(Seconds duration) {
  const double seconds = std::max(0.0, duration.count());
  if (seconds > 0 && seconds < 1) {
    return fmt::format("{}ms", std::lround(seconds * 1000));
  }
  constexpr double a_million_years = 3.2e13;  // so that the conversion cannot overflow
  const auto whole = static_cast<long long>(std::min(seconds, a_million_years));
  if (whole < 60) {
    return fmt::format("{}s", whole);
  }
  if (whole < 3600) {
    return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  }
  if (whole < 86400) {
    return fmt::format("{}h{:02}m", whole / 3600, whole % 3600 / 60);
  }
  return fmt::format("{}d{:02}h", whole / 86400, whole % 86400 / 3600);
}

}  // namespace lockctl
