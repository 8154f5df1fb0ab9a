// Addresses: what each text means, what is wrong where, and that `open` means the same.
#include "support/scratch.hpp"

#include <lockfile/lockfile.hpp>

#include <gtest/gtest.h>

#include <filesystem>

namespace lockfile {
namespace {

Address parsed(std::string_view text) {
  auto result = parse_address(text);
  const auto* const bad = std::get_if<BadAddress>(&result);
  EXPECT_EQ(bad, nullptr) << text << ": at " << bad->position << ": " << bad->reason;
  return bad == nullptr ? std::get<Address>(std::move(result)) : Address{};
}

struct Wrong {
  std::string_view text;
  std::size_t position;
  std::string_view reason;
};

TEST(Addresses, that_are_paths) {
  for (const std::string_view path :
       {"a", "/srv/backup", "./link:a", "x/link:a", "C:\\x", "a#b", "a%20b", ":a", "1st:a", "a b:c", "-x:a"}) {
    EXPECT_EQ(parsed(path), (Address{"auto", std::string(path), {}})) << path;
  }
}

TEST(Addresses, of_schemes_that_lock_a_path) {
  EXPECT_EQ(parsed("link:a"), (Address{"link", "a", {}}));
  EXPECT_EQ(parsed("mkdir:/a/b"), (Address{"mkdir", "/a/b", {}}));
  EXPECT_EQ(parsed("kernel:./a#b%"), (Address{"kernel", "./a#b%", {}})) << "in a path nothing is decoded";
  EXPECT_EQ(parsed("flock:link:a"), (Address{"flock", "link:a", {}}));
  EXPECT_EQ(parsed("auto:link:a"), (Address{"auto", "link:a", {}}));
}

TEST(Addresses, of_names_inside_of_something) {
  EXPECT_EQ(parsed("sqlite:/var/lib/app/locks.db#nightly"), (Address{"sqlite", "/var/lib/app/locks.db", "nightly"}));
  EXPECT_EQ(parsed("sqlite:a%23b.db#one#two%25"), (Address{"sqlite", "a#b.db", "one#two%"}));
  EXPECT_EQ(parsed("sqlite:locks.db"), (Address{"sqlite", "locks.db", {}})) << "the whole database";
  EXPECT_EQ(parsed("postgresql://user@host/db?x=1#nightly"), (Address{"postgresql", "user@host/db?x=1", "nightly"}));
  EXPECT_EQ(parsed("etcd://host:2379,host2:2379/prefix/nightly"),
            (Address{"etcd", "host:2379,host2:2379/prefix", "nightly"}));
  EXPECT_EQ(parsed("etcd://[::1]:2379/a%2fb"), (Address{"etcd", "[::1]:2379", "a/b"}));
  EXPECT_EQ(parsed("etcd://host:2379/prefix/"), (Address{"etcd", "host:2379/prefix", {}})) << "all below the prefix";
  EXPECT_EQ(parsed("etcd://host:2379/"), (Address{"etcd", "host:2379", {}}));
}

TEST(Addresses, that_are_wrong_say_what_is_wrong_where) {
  for (const Wrong& wrong : {
           Wrong{"", 0, "it is empty"},
           Wrong{std::string_view("a\0b", 3), 1, "a zero byte"},
           Wrong{"/", 0, "the path '/' names no file"},
           Wrong{"link:", 5, "the path is missing"},
           Wrong{"kernel:x/..", 7, "the path 'x/..' names no file"},
           Wrong{"sqlit:/a#b", 0, "there is no scheme 'sqlit'; a file of that name is './sqlit:/a#b'"},
           Wrong{"Link:a", 0, "there is no scheme 'Link'; a file of that name is './Link:a'"},
           Wrong{"sqlite:", 7, "the path is missing"},
           Wrong{"sqlite:#n", 7, "the path is missing"},
           Wrong{"sqlite:///a.db#n", 7, "a database file is on this machine: 'sqlite:/path', without '//'"},
           Wrong{"sqlite:a.db#", 12, "the lock's name behind '#' is missing"},
           Wrong{"sqlite:a%2.db#n", 8, "'%' is not followed by two hexadecimal digits; the character itself is '%25'"},
           Wrong{"sqlite:a%g0.db#n", 8, "'%' is not followed by two hexadecimal digits; the character itself is '%25'"},
           Wrong{"sqlite:a.db#%4G", 12, "'%' is not followed by two hexadecimal digits; the character itself is '%25'"},
           Wrong{"sqlite:a.db#n%", 13, "'%' is not followed by two hexadecimal digits; the character itself is '%25'"},
           Wrong{"etcd://h:1/p/%zz", 13,
                 "'%' is not followed by two hexadecimal digits; the character itself is '%25'"},
           Wrong{"postgresql://h/d#%", 17,
                 "'%' is not followed by two hexadecimal digits; the character itself is '%25'"},
           Wrong{"git+ssh-2.0:a", 0, "there is no scheme 'git+ssh-2.0'; a file of that name is './git+ssh-2.0:a'"},
           Wrong{"sqlite:a.db#n%0", 13, "'%' is not followed by two hexadecimal digits; the character itself is '%25'"},
           Wrong{"sqlite:a.db#n%00", 13, "a zero byte"},
           Wrong{"postgresql:host#n", 11, "'//' is missing, as in 'postgresql://host'"},
           Wrong{"etcd://host:2379", 16,
                 "the '/' behind the hosts is missing: 'host:2379/app/nightly' is a lock, 'host:2379/app/' all locks "
                 "there"},
           Wrong{"etcd:///a", 7, "the host is missing"},
           Wrong{"etcd:////a", 7, "the host is missing"},
       }) {
    const auto result = parse_address(wrong.text);
    const auto* const bad = std::get_if<BadAddress>(&result);
    ASSERT_NE(bad, nullptr) << wrong.text;
    EXPECT_EQ(bad->position, wrong.position) << wrong.text;
    EXPECT_EQ(bad->reason, wrong.reason) << wrong.text;
  }
}

TEST(Addresses, are_the_same_again_when_they_are_written) {
  for (const Address& address :
       {Address{"auto", "/a", {}}, Address{"auto", "link:a", {}}, Address{"kernel", "sqlite:a#%", {}},
        Address{"sqlite", "/a#b%\n", "x#y%\x7f"}, Address{"sqlite", "a", {}}, Address{"postgresql", "h/d", "n#"},
        Address{"etcd", "h:1/p", "n/m"}, Address{"etcd", "h:1/p", {}}}) {
    EXPECT_EQ(parsed(to_string(address)), address) << to_string(address);
  }
}

TEST(Addresses, open_the_lock_that_they_mean) {
  const testing::Scratch here;
  const auto link = open("link:" + here / "a");
  link->acquire();
  EXPECT_EQ(link->scheme(), "link");
  EXPECT_EQ(here.names().front(), "a.lock");
  const auto same = open(here / "a", {.threaded = false});
  EXPECT_TRUE(same->is_locked());
  const auto kernel = open("kernel:" + here / "b");
  kernel->acquire();
  EXPECT_EQ(kernel->scheme(), "kernel");
  EXPECT_EQ(open(here / "c", {.scheme = "mkdir"})->scheme(), "mkdir") << "where the address names none";
  EXPECT_EQ(open("link:" + here / "c", {.scheme = "mkdir"})->scheme(), "link");
}

std::string message_of(std::string_view address, std::errc code) {
  try {
    (void)open(address);
  } catch (const LockFailed& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << address << " was opened";
  return {};
}

TEST(Addresses, that_are_wrong_are_refused_by_open) {
  EXPECT_EQ(message_of("link:", std::errc::invalid_argument)
                .find("cannot lock 'link:': at position 5: the path is missing: "),
            0U);
  EXPECT_NE(
      message_of("sqlite:/x/a.db", std::errc::invalid_argument).find("at position 14: the lock's name is missing"),
      std::string::npos);
  EXPECT_NE(message_of("etcd://h:1/p/", std::errc::invalid_argument)
                .find("at position 13: the lock's name is missing, as in 'etcd://h:1/p/nightly'"),
            std::string::npos);
  EXPECT_NE(message_of("postgresql://h/d#n", std::errc::operation_not_supported).find("not built in"),
            std::string::npos);
  EXPECT_NE(message_of("etcd://h:2379/n", std::errc::operation_not_supported).find("scheme 'etcd' is not built in"),
            std::string::npos);
  EXPECT_THROW(FileLock("a", {.scheme = "etcd"}), LockFailed);
}

TEST(Addresses, of_files_have_semaphores_and_no_places) {
  const testing::Scratch here;
  Semaphore two = open_semaphore("mkdir:" + here / "a", 2);
  const auto one = two.acquire(1);
  EXPECT_EQ(one.size(), 1U);
  EXPECT_TRUE(std::filesystem::is_directory(here / "a.1.lock"));
  try {
    initialise("link:" + here / "a");
    ADD_FAILURE() << "a file was initialised";
  } catch (const LockFailed& error) {
    EXPECT_EQ(error.code(), std::errc::operation_not_supported);
  }
  std::error_code code;
  EXPECT_THROW((void)examine_place("kernel:" + here / "a", code), LockFailed);
}

}  // namespace
}  // namespace lockfile
