// Names in a directory, where anybody can make some: side names are recognised, and nothing else is taken for one.
#include "claim/names.hpp"
#include "fuzz/law.hpp"

namespace {

using namespace lockfile::claim;
using lockfile::fuzz::law;

constexpr std::size_t longest_side_name = 250;

std::vector<std::string> all_suffixes(std::uint64_t number) {
  return {{},
          std::string(suffix::trial),
          std::string(suffix::directory),
          std::string(suffix::entry),
          suffix::taken_away(number)};
}

void is_recognised_or_not(std::string_view name, std::uint64_t number) {
  const auto side = parse_side_name(name);
  if (!side) return;
  law(is_nonce(side->nonce), "a side name has a nonce", name);
  law(name.ends_with(side->nonce + side->suffix), "a side name ends with its nonce and its suffix", name);
  const std::size_t before = name.size() - side->nonce.size() - side->suffix.size();
  law(name.substr(0, before).ends_with(".lock.") ||
          (name.starts_with(".lf-") && name[before - 1] == '-' && before == 21),
      "a side name has one of the two beginnings", name);
  const auto listed = all_suffixes(number);
  const bool known = std::find(listed.begin(), listed.end(), side->suffix) != listed.end();
  const std::string_view rest = side->suffix;
  const bool numbered = rest.ends_with(".gone") && rest.size() <= 1 + 20 + 5 &&
                        rest.find_first_not_of("0123456789", 1) == rest.size() - 5;
  law(known || numbered, "a suffix that is not listed is left alone", name);
}

}  // namespace

// The first line: a locked name, or a name that stands in a directory. The second: a boot id.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto given = lockfile::fuzz::lines(lockfile::fuzz::view(data, size));
  const std::string name = given.empty() ? std::string() : given[0];
  const std::string boot = given.size() < 2 ? std::string() : given[1];
  std::uint64_t number = size;
  for (const char byte : boot) number = number * 0x9E3779B97F4A7C15U + static_cast<unsigned char>(byte);

  is_recognised_or_not(name, number);

  const std::string nonce = make_nonce(boot, number);
  law(is_nonce(nonce), "a nonce that was made is one", nonce);
  law(nonce_is_of_boot(nonce, boot), "a nonce tells the boot of its maker", boot);
  const Names names(name);
  law(names.word() == name + ".lock", "the lock word is the name and .lock", name);
  for (const std::string& end : all_suffixes(number)) {
    const std::string side = names.side(nonce, end);
    law(side.size() <= longest_side_name, "a side name fits into every file system", side);
    law((side.find('/') != std::string::npos) <= (name.find('/') != std::string::npos), "no slash comes from us", side);
    law(side != names.word(), "a side name is not the word", side);
    const auto parsed = parse_side_name(side);
    law(parsed.has_value(), "a side name is recognised", side);
    law(parsed->nonce == nonce && parsed->suffix == end, "a side name is taken apart as it was made", side);
    is_recognised_or_not(side, number);
  }
  return 0;
}
