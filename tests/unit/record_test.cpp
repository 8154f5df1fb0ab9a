// Records: written, read again, and refused.
#include "claim/record.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <utility>
#include <vector>

namespace lockfile::claim {
namespace {

Record sample() {
  Record record;
  record.number = 7;
  record.thread = 4711;
  record.child = 4712;
  record.child_start = 99;
  record.scheme = "link";
  record.nonce = "f8aab9dd3ead276711fd6896";
  record.boot = "69a47cd1-74e0-4039-86ac-57f107e4491f";
  record.host = "build-7";
  record.pid_namespace = 4026531836;
  record.time_namespace = 4026531834;
  record.guarded = true;
  record.pid = 4711;
  record.start = 282230;
  record.program = "rsync";
  record.reason = "nightly\ncopy \\ \x1b[31m";
  return record;
}

// The worked example of docs/on-disk-format.md, byte for byte.
constexpr std::string_view worked_example =
    "lockfile 1\n"
    "state: live    \n"
    "mode: exclusive \n"
    "hold: 00000000000000000007\n"
    "thread: 0000004711\n"
    "child: 0000004712 00000000000000000099\n"
    "check: 2ed73f48\n"
    "scheme: link\n"
    "nonce: f8aab9dd3ead276711fd6896\n"
    "boot: 69a47cd1-74e0-4039-86ac-57f107e4491f\n"
    "host: build-7\n"
    "pidns: 4026531836\n"
    "timens: 4026531834\n"
    "guard: local\n"
    "pid: 4711\n"
    "start: 282230\n"
    "program: rsync\n"
    "reason: nightly\\x0acopy \\x5c \\x1b[31m\n"
    "end\n";

TEST(Record, is_written_as_documented) { EXPECT_EQ(format(sample()), worked_example); }

// Its head says version 2, and the lease follows.
constexpr std::string_view worked_example_of_a_lease = "lease: 0000030000 00000000000000000012 b37e0011\n";

Record leased() {
  Record record = sample();
  record.lease = std::chrono::seconds(30);
  record.renewals = 12;
  return record;
}

TEST(Record, has_its_lease_after_the_head) {
  const std::string text = format(leased());
  EXPECT_TRUE(text.starts_with("lockfile 2\n"));
  EXPECT_EQ(text.substr(head_size, lease_size), worked_example_of_a_lease);
  EXPECT_EQ(text.substr(head_size + lease_size), worked_example.substr(head_size));
  Record read;
  ASSERT_EQ(parse(text, read), Reading::record);
  EXPECT_EQ(read, leased());
}

TEST(Record, is_foreign_while_its_lease_is_being_written) {
  const std::string text = format(leased());
  for (std::size_t at = head_size; at < head_size + lease_size; ++at) {
    for (const char other : {'0', 'x', '\n'}) {
      std::string torn = text;
      if (torn[at] == other) continue;
      torn[at] = other;
      Record read;
      EXPECT_EQ(parse(torn, read), Reading::foreign) << "at " << at;
    }
  }
  Record read;
  std::string without = text;
  without.erase(head_size, lease_size);
  EXPECT_EQ(parse(without, read), Reading::foreign);
  std::string added = format(sample());
  added.insert(head_size, worked_example_of_a_lease);
  EXPECT_EQ(parse(added, read), Reading::foreign);
}

TEST(Record, reads_what_it_writes) {
  Record read;
  ASSERT_EQ(parse(format(sample()), read), Reading::record);
  EXPECT_EQ(read, sample());
  Record released = sample();
  released.released = true;
  ASSERT_EQ(parse(format(released), read), Reading::record);
  EXPECT_TRUE(read.released);
}

TEST(Record, says_how_far_its_guard_reaches) {
  Record record = sample();
  Record read;
  record.guarded = false;
  record.reaches = true;
  EXPECT_NE(format(record).find("\nguard: reaches\n"), std::string::npos);
  ASSERT_EQ(parse(format(record), read), Reading::record);
  EXPECT_EQ(read, record);
  record.reaches = false;
  EXPECT_NE(format(record).find("\nguard: none\n"), std::string::npos);
  ASSERT_EQ(parse(format(record), read), Reading::record);
  EXPECT_EQ(read, record);
}

TEST(Record, has_a_head_of_fixed_size) {
  Record largest = sample();
  largest.number = UINT64_MAX;
  largest.child_start = UINT64_MAX;
  largest.thread = 4194304;
  largest.child = 4194304;
  EXPECT_EQ(format(largest).size(), format(sample()).size());
  Record read;
  ASSERT_EQ(parse(format(largest), read), Reading::record);
  EXPECT_EQ(read, largest);
}

TEST(Record, longest_fields_fit) {
  Record wordy = sample();
  wordy.reason = std::string(longest_reason, '\n');
  wordy.host = std::string(64, '\x01');
  wordy.program = std::string(63, '\x7f');
  EXPECT_LE(format(wordy).size(), longest_record);
  Record read;
  ASSERT_EQ(parse(format(wordy), read), Reading::record);
  EXPECT_EQ(read, wordy);
}

TEST(Record, every_truncation_is_refused) {
  const std::string whole = format(sample());
  Record read;
  EXPECT_EQ(parse("", read), Reading::empty);
  for (std::size_t size = 1; size < whole.size(); ++size) {
    EXPECT_EQ(parse(whole.substr(0, size), read), Reading::foreign) << size;
  }
}

TEST(Record, every_changed_byte_of_the_head_is_refused) {
  const std::string whole = format(sample());
  Record read;
  for (std::size_t at = 0; at < head_size; ++at) {
    std::string torn = whole;
    torn[at] = torn[at] == '0' ? '1' : '0';
    EXPECT_NE(parse(torn, read), Reading::record) << at;
  }
}

// The head with the check that fits it, so that only its form is wrong.
std::string checked(std::string text) {
  const std::size_t check = text.find("check: ");
  std::uint32_t sum = 2166136261U;
  for (const char byte : text.substr(0, check)) sum = (sum ^ static_cast<unsigned char>(byte)) * 16777619U;
  std::array<char, 9> digits{};
  std::snprintf(digits.data(), digits.size(), "%08x", sum);
  return text.replace(check + 7, 8, digits.data());
}

TEST(Record, only_what_would_be_written_is_one) {
  const std::string whole = format(sample());
  ASSERT_EQ(checked(whole), whole);
  const std::vector<std::pair<std::string_view, std::string_view>> slips = {
      {"hold: 00000000000000000007", "hold: 7"},
      {"thread: 0000004711", "thread: 00000004711"},
      {"thread: 0000004711", "thread: 47110000004711"},
      {"child: 0000004712", "child: -000000000"},
      {"pidns: 4026531836", "pidns: 04026531836"},
      {"pid: 4711", "pid: -0"},
      {"start: 282230", "start: 00"},
      {"program: rsync", "program: rs\\x79nc"},
      {"program: rsync", "program: \x1b[31m"},
      {"program: rsync", "program: \xff"},
      {"\\x0acopy", "\\x0Acopy"},
  };
  Record read;
  for (const auto& [right, wrong] : slips) {
    std::string text = whole;
    ASSERT_NE(text.find(right), std::string::npos) << right;
    text.replace(text.find(right), right.size(), wrong);
    EXPECT_EQ(parse(checked(text), read), Reading::foreign) << wrong;
  }
  std::string loud = whole;
  const std::size_t letter = loud.find("2ed73f48") + 1;
  ASSERT_EQ(loud[letter], 'e');
  loud[letter] = 'E';
  EXPECT_EQ(parse(loud, read), Reading::foreign);
}

TEST(Record, tells_newer_from_foreign) {
  Record read;
  EXPECT_EQ(parse("lockfile 3\nanything", read), Reading::newer);
  EXPECT_EQ(parse("lockfile 2\nanything", read), Reading::foreign);
  EXPECT_EQ(parse("lockfile 1\nanything", read), Reading::foreign);
  EXPECT_EQ(parse("lockfile -1\n", read), Reading::foreign);
  EXPECT_EQ(parse("lockfile 99999999999999999999\n", read), Reading::foreign);
  EXPECT_EQ(parse("12345\n", read), Reading::foreign);
  EXPECT_EQ(parse(std::string(10, '\0'), read), Reading::empty);
  EXPECT_EQ(parse(format(sample()) + std::string(longest_record, '\n'), read), Reading::foreign);
}

TEST(Record, names_are_never_made_of_a_nonce_that_is_none) {
  for (const std::string_view bad :
       {"../../../../etc/passwd..", "F8AAB9DD3EAD276711FD6896", "f8aab9dd3ead276711fd689", ""}) {
    Record forged = sample();
    forged.nonce = bad;
    Record read;
    EXPECT_EQ(parse(format(forged), read), Reading::foreign) << bad;
  }
}

TEST(Record, bad_escapes_are_refused) {
  const std::string whole = format(sample());
  const std::size_t reason = whole.find("\\x0a");
  for (const std::string_view bad : {"\\x0", "\\y0a", "\\xg0", "\\"}) {
    std::string text = whole.substr(0, reason) + std::string(bad) + "\nend\n";
    Record read;
    EXPECT_EQ(parse(text, read), Reading::foreign) << bad;
  }
}

TEST(Printable, shows_utf8_and_escapes_the_rest) {
  EXPECT_EQ(printable("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x94\x92"), "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x94\x92");
  EXPECT_EQ(printable("a\x1b[31m\n\x7f\\"), "a\\x1b[31m\\x0a\\x7f\\x5c");
  EXPECT_EQ(printable("\xc2\x9b"), "\\xc2\\x9b");           // a control character of C1
  EXPECT_EQ(printable("\xc0\xaf"), "\\xc0\\xaf");           // overlong
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // a surrogate
  EXPECT_EQ(printable("\xe2\x82"), "\\xe2\\x82");           // cut short
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
  for (const std::string valid : {"\xc2\xa9", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_EQ(printable(valid), valid);
  }
  for (const std::string malformed : {"\xc3\xc3", "\xe0\x9f\xbf", "\xe2\xe2\x82", "\xe2\x82\xe2", "\xf0\x8f\xbf\xbf",
                                      "\xf1\xc0\x80\x80", "\xf1\x80\xc0\x80", "\xf1\x80\x80\xc0", "\xf5\x80"}) {
    EXPECT_EQ(printable(malformed).size(), 4 * malformed.size()) << printable(malformed);
  }
}

TEST(Groups, are_read_as_they_are_written_and_nothing_else_is) {
  const std::string text = format_group("a.lock.32f3e2209c0e0ca717eb9b9e.1.members");
  EXPECT_EQ(parse_group(text), "a.lock.32f3e2209c0e0ca717eb9b9e.1.members");
  Record record;
  EXPECT_EQ(parse(text, record), Reading::foreign);
  for (std::size_t cut = 0; cut < text.size(); ++cut) EXPECT_FALSE(parse_group(text.substr(0, cut))) << cut;
  EXPECT_FALSE(parse_group(text + "x"));
  EXPECT_FALSE(parse_group("x" + text));
  EXPECT_FALSE(parse_group(text + std::string(longest_record, ' ')));
}

}  // namespace
}  // namespace lockfile::claim
