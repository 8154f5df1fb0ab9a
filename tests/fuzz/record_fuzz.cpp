// Records: what is read as one is exactly what would be written, and what is written is read again.
#include "claim/names.hpp"
#include "claim/record.hpp"
#include "fuzz/law.hpp"
#include "fuzz/right_check.hpp"

namespace {

using namespace lockfile::claim;
using lockfile::fuzz::Allowed;
using lockfile::fuzz::is_text;
using lockfile::fuzz::law;

// A record that was used before: nothing of it may shine through.
Record used() {
  Record record;
  record.released = record.guarded = true;
  record.number = record.child_start = record.pid_namespace = record.time_namespace = record.start = 99;
  record.thread = record.child = record.pid = 99;
  record.scheme = record.nonce = record.boot = record.host = record.program = record.reason = "used";
  return record;
}

void is_read_by_the_rules(std::string_view bytes) {
  Record fresh;
  Record again = used();
  const Reading reading = parse(bytes, fresh);
  law(parse(bytes, again) == reading, "a reading depends on the bytes alone", bytes);
  const bool only_zeros = bytes.find_first_not_of('\0') == std::string_view::npos;
  law((reading == Reading::empty) == only_zeros, "empty is what has no byte, or zero bytes only", bytes);
  if (reading == Reading::newer) law(bytes.starts_with("lockfile "), "a newer record has the magic", bytes);
  if (reading != Reading::record) return;

  law(fresh == again, "a record depends on the bytes alone", bytes);
  law(bytes.size() <= longest_record, "a record is not longer than a record may be");
  law(format(fresh) == bytes, "only what would be written is a record", bytes);
  law(is_nonce(fresh.nonce), "names are made of the nonce, so it is one", fresh.nonce);
  law(fresh.thread >= 0 && fresh.child >= 0 && fresh.pid >= 0, "no process id is negative", bytes);
  law(is_text(bytes, Allowed::printable, true), "a record is text", bytes);
  for (const std::size_t size : {bytes.size() - 1, bytes.size() / 2, head_size, head_size - 1}) {
    law(parse(bytes.substr(0, size), again) != Reading::record, "a record that was cut off is none", bytes);
  }
}

// The bytes as what a holder says about itself.
void is_read_as_it_was_written(std::string_view bytes) {
  const auto take = [&](std::size_t most) {
    const std::string_view taken = bytes.substr(0, most);
    bytes.remove_prefix(taken.size());
    return std::string(taken);
  };
  const auto number = [&] {
    std::uint64_t value = 0;
    for (const char byte : take(8)) value = value << 8U | static_cast<unsigned char>(byte);
    return value;
  };
  Record record;
  record.released = bytes.size() % 2 == 0;
  record.guarded = bytes.size() % 3 == 0;
  record.reaches = bytes.size() % 3 == 1;
  record.number = number();
  record.child_start = number();
  record.start = number();
  record.pid_namespace = number();
  record.time_namespace = number();
  record.pid = static_cast<std::int64_t>(number() >> 1U);
  record.thread = static_cast<std::int64_t>(number() % 10'000'000'000U);  // as many digits as a head has for it
  record.child = static_cast<std::int64_t>(number() % 10'000'000'000U);
  record.scheme = "link";
  record.boot = take(36);
  record.nonce = make_nonce(record.boot, record.start);
  record.host = take(64);
  record.program = take(63);
  record.reason = take(longest_reason);

  const std::string text = format(record);
  Record read = used();
  law(text.size() <= longest_record, "what may be in a record fits into one", text);
  law(parse(text, read) == Reading::record, "what is written is a record", text);
  law(read == record, "a record is read as it was written", text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes = lockfile::fuzz::view(data, size);
  is_read_by_the_rules(bytes);
  is_read_by_the_rules(lockfile::fuzz::with_right_check(bytes));
  is_read_as_it_was_written(bytes);
  return 0;
}
