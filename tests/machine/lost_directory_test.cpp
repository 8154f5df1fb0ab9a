// The directory of a lock goes away under those who wait for it and those who hold it: removed, made again, renamed.
// Every acquire finds it anew by its path; a hold is released in the directory in which it was acquired.
#include "apart.hpp"
#include "mounts.hpp"
#include "peer.hpp"

#include <csignal>
#include <filesystem>

namespace machine {
namespace {

// Whoever waits there may just be making something.
void remove_wholly(const std::string& directory) {
  for (;;) {
    std::error_code not_yet;
    std::filesystem::remove_all(directory, not_yet);
    if (!not_yet) return;
  }
}

class LostDirectory : public ForBothSchemes {};
MACHINE_FOR_BOTH_SCHEMES(LostDirectory);

TEST_P(LostDirectory, is_told_to_a_waiter_at_once_and_to_the_holder_at_its_release) {
  apart([](const std::string& ground) {
    const std::string directory = make_directory(ground + "/d");
    Locker holder(GetParam(), directory + "/a");
    Locker waiter(GetParam(), directory + "/a");
    ASSERT_EQ(holder.ask("acquire 0"), "held");
    waiter.tell("acquire ever");
    ASSERT_TRUE(waiter.is_silent());
    remove_wholly(directory);
    const std::string told = waiter.answer();
    EXPECT_TRUE(begins(told, "LockFailed ENOENT"));
    EXPECT_TRUE(has(told, "'" + directory + "'"));
    EXPECT_EQ(holder.ask("i-am-locking"), "no");
    EXPECT_TRUE(begins(holder.ask("release"), "NotLocked"));
    EXPECT_TRUE(begins(holder.ask("acquire ever"), "LockFailed ENOENT"));
    make_directory(directory);
    EXPECT_EQ(holder.ask("acquire 0"), "held");
    EXPECT_EQ(holder.ask("release"), "released");
    EXPECT_EQ(holder.ask("close"), "closed");
    EXPECT_EQ(waiter.ask("close"), "closed");
    EXPECT_EQ(names_in(directory), std::vector<std::string>());
  });
}

TEST_P(LostDirectory, that_was_made_again_is_found_by_a_waiter) {
  apart([](const std::string& ground) {
    const std::string directory = make_directory(ground + "/d");
    Locker holder(GetParam(), directory + "/a");
    Locker waiter(GetParam(), directory + "/a");
    ASSERT_EQ(holder.ask("acquire 0"), "held");
    waiter.tell("acquire ever");
    ASSERT_TRUE(waiter.is_silent());
    waiter.stop();  // or it might see that there is none for a moment
    remove_wholly(directory);
    make_directory(directory);
    waiter.signal(SIGCONT);
    EXPECT_EQ(waiter.answer(), "held");
    // The old hold went with the old directory, and its release is no business of the new one.
    EXPECT_TRUE(begins(holder.ask("release"), "NotLocked"));
    EXPECT_TRUE(begins(holder.ask("acquire 0"), "AlreadyLocked"));
    EXPECT_EQ(waiter.ask("i-am-locking"), "yes");
    EXPECT_EQ(waiter.ask("release"), "released");
    EXPECT_EQ(holder.ask("acquire 0"), "held");
    EXPECT_EQ(holder.ask("close"), "closed");
    EXPECT_EQ(waiter.ask("close"), "closed");
    EXPECT_EQ(names_in(directory), std::vector<std::string>());
  });
}

TEST_P(LostDirectory, that_was_renamed_keeps_its_hold_and_its_waiters_until_the_release) {
  apart([](const std::string& ground) {
    const std::string directory = make_directory(ground + "/d");
    const std::string away = ground + "/e";
    Locker holder(GetParam(), directory + "/a");
    Locker waiter(GetParam(), directory + "/a");
    ASSERT_EQ(holder.ask("acquire 0"), "held");
    waiter.tell("acquire ever");
    ASSERT_TRUE(waiter.is_silent());
    std::filesystem::rename(directory, away);
    EXPECT_TRUE(waiter.is_silent());
    EXPECT_EQ(holder.ask("i-am-locking"), "yes");
    EXPECT_EQ(holder.ask("release"), "released");
    // Now it looks for its directory, and finds none.
    EXPECT_TRUE(begins(waiter.answer(), "LockFailed ENOENT"));
    EXPECT_EQ(holder.ask("close"), "closed");
    EXPECT_EQ(waiter.ask("close"), "closed");
    EXPECT_EQ(names_in(away), std::vector<std::string>());
  });
}

TEST_P(LostDirectory, that_was_renamed_and_made_again_is_two) {
  apart([](const std::string& ground) {
    const std::string directory = make_directory(ground + "/d");
    const std::string away = ground + "/e";
    Locker holder(GetParam(), directory + "/a");
    Locker waiter(GetParam(), directory + "/a");
    Locker late(GetParam(), directory + "/a");
    Locker there(GetParam(), away + "/a");
    ASSERT_EQ(holder.ask("acquire 0"), "held");
    waiter.tell("acquire ever");
    ASSERT_TRUE(waiter.is_silent());
    std::filesystem::rename(directory, away);
    make_directory(directory);
    EXPECT_EQ(late.ask("acquire 0"), "held");
    EXPECT_TRUE(begins(there.ask("acquire 0"), "AlreadyLocked"));
    EXPECT_EQ(holder.ask("release"), "released");
    // The waiter is first in line there until it finds that its directory is another by now.
    EXPECT_EQ(there.ask("acquire ever"), "held");
    EXPECT_TRUE(waiter.is_silent());  // for the new one, by now
    EXPECT_EQ(late.ask("release"), "released");
    EXPECT_EQ(waiter.answer(), "held");
    for (Locker* const each : {&holder, &waiter, &late, &there}) EXPECT_EQ(each->ask("close"), "closed");
    EXPECT_EQ(names_in(away), std::vector<std::string>());
    EXPECT_EQ(names_in(directory), std::vector<std::string>());
  });
}

// What the holder was killed in cannot be looked for by the path, but its end is noticed.
TEST_P(LostDirectory, that_was_renamed_lets_its_waiters_go_when_the_holder_dies) {
  apart([](const std::string& ground) {
    const std::string directory = make_directory(ground + "/d");
    Locker holder(GetParam(), directory + "/a");
    Locker waiter(GetParam(), directory + "/a");
    ASSERT_EQ(holder.ask("acquire 0"), "held");
    waiter.tell("acquire ever");
    ASSERT_TRUE(waiter.is_silent());
    std::filesystem::rename(directory, ground + "/e");
    make_directory(directory);
    holder.die();
    EXPECT_EQ(waiter.answer(), "held");
    EXPECT_EQ(waiter.ask("release"), "released");
  });
}

}  // namespace
}  // namespace machine
