// A ledger: one text file with a line `account balance` per account, to which several processes add at once. To add is
// to read the whole file, to change one line, to write a new file and to rename it over the old one: what careful
// programs do, and not enough. Each of two that read the same file writes the other's addition away.
//
//   ledger new FILE                  one hundred accounts with nothing on them
//   ledger add FILE TIMES [--lock]   adds 1 to an account, TIMES times, as one process; with --lock under a FileLock
//   ledger sum FILE                  what is on all accounts together
//   ledger hold FILE                 begins to add under the lock, writes the new file, and stays there until it is
//   killed ledger next FILE                 adds once under the lock; prints when it got in, in microseconds since 1970
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <lockfile/lockfile.hpp>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

struct Account {
  std::string name;
  long balance = 0;
};

std::vector<Account> read_ledger(const std::string& file) {
  std::ifstream in(file);
  std::vector<Account> accounts;
  for (Account a; in >> a.name >> a.balance;) accounts.push_back(a);
  if (accounts.empty()) throw std::runtime_error("cannot read '" + file + "'");
  return accounts;
}

std::string write_beside(const std::string& file, const std::vector<Account>& accounts) {
  const std::string beside = file + ".new." + std::to_string(getpid());
  std::ofstream out(beside);
  for (const Account& a : accounts) out << a.name << ' ' << a.balance << '\n';
  out.close();
  if (!out) throw std::runtime_error("cannot write '" + beside + "'");
  return beside;
}

void replace(const std::string& file, const std::string& beside) {
  if (std::rename(beside.c_str(), file.c_str()) != 0) throw std::runtime_error("cannot rename '" + beside + "'");
}

std::vector<Account> with_one_more(const std::string& file) {
  std::vector<Account> accounts = read_ledger(file);
  ++accounts[static_cast<std::size_t>(getpid()) % accounts.size()].balance;
  return accounts;
}

void add(const std::string& file) { replace(file, write_beside(file, with_one_more(file))); }

void add_many(const std::string& file, long times, bool locked) {
  lockfile::FileLock lock(file);
  for (long i = 0; i < times; ++i) {
    std::unique_lock guard(lock, std::defer_lock);
    if (locked) guard.lock();
    add(file);
  }
}

void hold(const std::string& file) {
  lockfile::FileLock lock(file, {.reason = "half way through an addition"});
  const std::scoped_lock guard(lock);
  write_beside(file, with_one_more(file));
  std::puts("holding");
  std::fflush(stdout);
  for (;;) pause();
}

void next(const std::string& file) {
  lockfile::FileLock lock(file);
  std::puts("waiting");
  std::fflush(stdout);
  const std::scoped_lock guard(lock);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  std::printf("%lld\n", static_cast<long long>(std::chrono::duration_cast<std::chrono::microseconds>(now).count()));
  add(file);
}

int run(const std::vector<std::string_view>& words) {
  const std::string_view verb = words.empty() ? "" : words[0];
  const std::string file(words.size() > 1 ? words[1] : "");
  if (verb == "new" && words.size() == 2) {
    std::vector<Account> accounts(100);
    for (std::size_t i = 0; i < accounts.size(); ++i) accounts[i].name = "account-" + std::to_string(i);
    replace(file, write_beside(file, accounts));
  } else if (verb == "add" && (words.size() == 3 || (words.size() == 4 && words[3] == "--lock"))) {
    add_many(file, std::strtol(words[2].data(), nullptr, 10), words.size() == 4);
  } else if (verb == "sum" && words.size() == 2) {
    const std::vector<Account> accounts = read_ledger(file);
    std::printf("%ld\n", std::accumulate(accounts.begin(), accounts.end(), 0L,
                                         [](long sum, const Account& a) { return sum + a.balance; }));
  } else if (verb == "hold" && words.size() == 2) {
    hold(file);
  } else if (verb == "next" && words.size() == 2) {
    next(file);
  } else {
    std::fputs("usage: ledger new|sum|hold|next FILE\n       ledger add FILE TIMES [--lock]\n", stderr);
    return 64;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (const std::exception& e) {
    std::fprintf(stderr, "ledger: %s\n", e.what());
    return 1;
  }
}
