// Time spans, as people write them, on their way into a wait: whatever is accepted is a time that can be waited for.
#include "duration.hpp"
#include "fuzz/law.hpp"

#include <lockfile/wait.hpp>

#include <cmath>

namespace {

using lockctl::parse_duration;
using lockctl::Seconds;
using lockfile::fuzz::law;

// The grammar, told in another way than the parser's. A number may end with its point.
bool is_a_duration(std::string_view text) {
  std::string shape;  // of "1m30.5s": NmNs
  while (!text.empty()) {
    const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
    if (digits == 0) {
      if (text.front() == 'N') return false;
      shape += text.front();
      text.remove_prefix(1);
      continue;
    }
    shape += 'N';
    text.remove_prefix(digits);
    if (!text.starts_with('.')) continue;
    text.remove_prefix(std::min(text.find_first_not_of("0123456789", 1), text.size()));
  }
  if (shape == "N") return true;
  std::string_view left = shape;
  for (const std::string_view part : {"Nd", "Nh", "Nm", "Ns", "Nms"}) {
    if (left.starts_with(part) && !(part == "Nm" && left.starts_with("Nms"))) left.remove_prefix(part.size());
  }
  return !shape.empty() && left.empty();
}

void can_be_waited_for(Seconds duration, std::string_view text) {
  const lockfile::Wait wait(duration);
  law(wait.valid(), "a duration is a number", text);
  law(!wait.limit() || wait.limit()->count() >= 0, "no wait is negative", text);
  if (duration > Seconds::zero() && wait.limit())
    law(wait.limit()->count() > 0, "what is positive stays positive", text);
  if (duration < Seconds(1e9)) law(wait.limit().has_value(), "what is short has a limit", text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = lockfile::fuzz::view(data, size);
  const auto duration = parse_duration(text);
  const bool fits = is_a_duration(text);
  law(duration.has_value() <= fits, "what is no duration is refused", text);
  // Some that fit are too large, or too small, for a number.
  law(fits <= (duration.has_value() || size > 250), "what is a duration is taken", text);
  if (duration) {
    law(std::isfinite(duration->count()) && duration->count() >= 0, "a duration is finite and not negative", text);
    can_be_waited_for(*duration, text);
    const std::string shown = lockctl::show_duration(*duration);
    law(shown.size() <= 16, "a duration is shown in few characters", shown);
    const auto again = parse_duration(shown);
    law(again.has_value(), "what is shown can be read", shown);
    // To a million years, and to two units.
    const double exact = std::min(duration->count(), 3.2e13);
    const double unit = exact < 1 ? 0.001 : exact < 3600 ? 1 : exact < 86400 ? 60 : 3600;
    law(std::abs(again->count() - exact) <= unit, "what is shown is what was meant", text);
  }

  // Any number at all, as a caller of the library may give it.
  double any = 0;
  if (size >= sizeof any) {
    std::copy_n(data, sizeof any, reinterpret_cast<std::uint8_t*>(&any));
    const lockfile::Wait wait{Seconds(any)};
    law(wait.valid() == !std::isnan(any), "only what is no number is refused", text);
    law(!wait.limit() || wait.limit()->count() >= 0, "no wait is negative", text);
    law(lockctl::show_duration(Seconds(std::isnan(any) ? 0 : any)).size() <= 16,
        "a duration is shown in few characters");
  }
  return 0;
}
