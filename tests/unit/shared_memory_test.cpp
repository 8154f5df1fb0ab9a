// Mapped words and FIFOs, as the real system has them: the bytes of a file are the words, in every mapping of it.
#include "os/system.hpp"
#include "support/scratch.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <string>

namespace lockfile::os {
namespace {

using testing::Scratch;

class SharedMemory : public ::testing::Test {
 protected:
  File open(Open how) {
    const auto opened = system_.open(no_directory, name_.c_str(), how, 0600);
    EXPECT_TRUE(opened.ok()) << opened.error;
    return opened.ok() ? File(system_, opened.value) : File();
  }

  System& system_ = real_system();
  Scratch scratch_;
  std::string name_ = scratch_ / "shared";
};

TEST_F(SharedMemory, two_mappings_of_a_file_are_one_memory) {
  constexpr std::size_t words = 8;
  const File file = open(Open::create);
  ASSERT_TRUE(system_.write(file.get(), std::string(words * sizeof(SharedWord), '\0'), 0).ok());
  const File again = open(Open::update);
  const auto one = system_.map(file.get(), words);
  const auto other = system_.map(again.get(), words);
  ASSERT_TRUE(one.ok() && other.ok());
  system_.store(one.value[3], 7);
  EXPECT_EQ(system_.load(other.value[3]), 7U);
  EXPECT_FALSE(system_.compare_exchange(other.value[3], 6, 8));
  EXPECT_TRUE(system_.compare_exchange(other.value[3], 7, 8));
  EXPECT_EQ(system_.load(one.value[3]), 8U);
  system_.unmap(one.value, words);
  system_.unmap(other.value, words);
}

TEST_F(SharedMemory, what_is_open_for_reading_only_is_not_mapped) {
  open(Open::create).close();
  const File file = open(Open::look);
  EXPECT_EQ(system_.map(file.get(), 8).error, EACCES);
}

TEST_F(SharedMemory, a_token_wakes_until_it_is_drained) {
  ASSERT_EQ(system_.make_fifo(no_directory, name_.c_str(), 0600), 0);
  EXPECT_EQ(system_.make_fifo(no_directory, name_.c_str(), 0600), EEXIST);
  const File own = open(Open::update);
  EXPECT_FALSE(system_.readable(own.get()).value);
  {
    const File theirs = open(Open::wake);
    const auto info = system_.stat(theirs.get());
    EXPECT_EQ(info.value.type, FileType::fifo);
    // More than it holds: the surplus is dropped, and nobody is held up.
    for (int i = 0; i < 100'000; ++i) ASSERT_EQ(system_.fifo_put(theirs.get()), 0);
  }
  EXPECT_TRUE(system_.readable(own.get()).value);
  EXPECT_TRUE(system_.fifo_drain(own.get()).value);
  EXPECT_FALSE(system_.readable(own.get()).value);
  EXPECT_FALSE(system_.fifo_drain(own.get()).value);
}

}  // namespace
}  // namespace lockfile::os
