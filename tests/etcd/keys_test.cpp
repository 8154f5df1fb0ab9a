// Names and values of keys, as any program may have written them.
#include "schemes/etcd/keys.hpp"
#include "etcd/cluster.hpp"

#include <cerrno>
#include <optional>

namespace lockfile::testing {
namespace {

namespace etcd = schemes::etcd;

std::vector<std::string> endpoints_of(const std::string& hosts) {
  return etcd::place_of({hosts, "a"}, {}).cluster.endpoints;
}

etcd::Author author_of(const std::string& name, const std::string& value = {}) {
  return etcd::author_of({.name = name, .value = value});
}

TEST(EtcdKeys, a_host_without_a_port_has_the_usual_one) {
  EXPECT_EQ(endpoints_of("h"), std::vector<std::string>{"h:2379"});
  EXPECT_EQ(endpoints_of("h:1,10.0.0.1"), (std::vector<std::string>{"h:1", "10.0.0.1:2379"}));
  EXPECT_EQ(endpoints_of("[::1]"), std::vector<std::string>{"[::1]:2379"});
  EXPECT_EQ(endpoints_of("[::1]:1"), std::vector<std::string>{"[::1]:1"});
  EXPECT_EQ(endpoints_of("::1"), std::vector<std::string>{"[::1]:2379"});
}

TEST(EtcdKeys, a_place_without_a_prefix_is_all_of_the_cluster) {
  const etcd::Range all = etcd::place_keys(etcd::prefix_of(etcd::place_of({"h", "a"}, {}).root));
  EXPECT_EQ(all.from, std::string(1, '\0'));
  EXPECT_EQ(all.to, std::string(1, '\0'));
}

TEST(EtcdKeys, a_key_of_something_else_is_of_no_lock) {
  for (const std::string other : {"q/a//lock/x/n-1", "p/", "p///lock/x/n-1", "p/a", "p/a/lock/x/n-1",
                                  "p/a//units/1/n-1", "p/%41%2f//lock/x/n-1", "p/%//lock/x/n-1"}) {
    EXPECT_EQ(etcd::lock_of("p/", other), std::nullopt) << other;
  }
  EXPECT_EQ(etcd::lock_of("p/", "p/%2Fa%25//lock/x/n-1"), "/a%");
}

TEST(EtcdKeys, a_weight_that_cannot_be_read_is_one) {
  for (const std::string weight : {"0", "two", "2x", "", "99999999999999999999999"}) {
    EXPECT_EQ(author_of("a//units/" + weight + "/n-1").weight, 1U) << weight;
  }
  EXPECT_EQ(author_of("a//units/3/n-1").weight, 3U);
  EXPECT_EQ(author_of("n-1").weight, 1U);
  EXPECT_EQ(author_of("n-1").nonce, "n-1");
}

TEST(EtcdKeys, a_value_that_cannot_be_read_names_nobody) {
  for (const std::string value : {"", "another program's", "lockfile etcd 1 17", "lockfile etcd 1 \nrecord",
                                  "lockfile etcd 1 17x\nrecord", "lockfile etcd 1 17\nrecord"}) {
    EXPECT_FALSE(author_of("a//lock/x/n-1", value).readable) << value;
  }
}

// What its holder tells of itself, as it is read by somebody whose system tells less.
TEST(EtcdKeys, without_boots_and_pid_namespaces_nothing_is_proved_of_a_process) {
  Client one;
  const claim::Record record = record_of(one.process().identity());
  const auto verdict = [](const claim::Record& written, const os::Process& by) {
    const std::string value = etcd::value_of(written, std::chrono::system_clock::now());
    return etcd::holder_of({.name = "a//lock/x/n-1", .value = value, .created = 5}, by).verdict;
  };
  EXPECT_EQ(verdict(record, one.process()), Verdict::alive);
  for (const os::Call refused : {os::Call::boot_id, os::Call::pid_namespace}) {
    LayeredSystem system(os::real_system());
    system.host = one.system().host;
    system.before = [refused](os::Call call) { return call == refused ? EACCES : 0; };
    const os::Process process(system);
    EXPECT_EQ(verdict(record, process), Verdict::unknown);
  }
  claim::Record without_boot = record;
  without_boot.boot.clear();
  EXPECT_EQ(verdict(without_boot, one.process()), Verdict::unknown);
  claim::Record of_a_container = record;
  of_a_container.pid_namespace = 1;
  EXPECT_EQ(verdict(of_a_container, one.process()), Verdict::unknown);
}

}  // namespace
}  // namespace lockfile::testing
