// Names and values of keys.
#include "schemes/etcd/keys.hpp"

#include "claim/judge.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

namespace lockfile::schemes::etcd {
namespace {

constexpr std::string_view first_word = "lockfile etcd 1 ";
constexpr std::string_view default_port = ":2379";

[[noreturn]] void refuse(const std::string& what) {
  throw std::system_error(std::make_error_code(std::errc::invalid_argument), what);
}

std::vector<std::string> endpoints_of(std::string_view hosts) {
  std::vector<std::string> all;
  for (std::size_t begin = 0; begin <= hosts.size();) {
    const std::size_t comma = std::min(hosts.find(',', begin), hosts.size());
    std::string host(hosts.substr(begin, comma - begin));
    begin = comma + 1;
    if (host.empty()) refuse("a host is missing in '" + claim::printable(hosts) + "'");
    if (host.find('@') != std::string::npos) refuse("users are named by ETCDCTL_USER, and not in the address");
    // `[::1]` is an address without a port, and so is `::1`.
    const std::size_t colon = host.rfind(':');
    const std::size_t bracket = host.rfind(']');
    if (bracket == std::string::npos && host.find(':') != colon) host.insert(0, 1, '[').push_back(']');
    const bool has_port = colon != std::string::npos && host.back() != ']';
    if (!has_port) host += default_port;
    if (host.back() == ':') refuse("the port is missing behind '" + claim::printable(host) + "'");
    all.push_back(std::move(host));
  }
  return all;
}

// What would end a name early, or begin another one.
std::string encoded(std::string_view name) {
  std::string made;
  for (const char each : name) {
    if (each == '/') {
      made += "%2F";
    } else if (each == '%') {
      made += "%25";
    } else {
      made += each;
    }
  }
  return made;
}

std::string decoded(std::string_view text) {
  std::string name;
  while (!text.empty()) {
    const bool is_slash = text.starts_with("%2F");
    const bool is_percent = text.starts_with("%25");
    name += is_slash ? '/' : is_percent ? '%' : text.front();
    text.remove_prefix(is_slash || is_percent ? 3 : 1);
  }
  return name;
}

template <class Number>
bool read_number(std::string_view text, Number& into) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), into);
  return error == std::errc() && end == text.data() + text.size();
}

std::string_view last_part(std::string_view& name) {
  const std::size_t slash = name.rfind('/');
  if (slash == std::string_view::npos) return std::exchange(name, {});
  const std::string_view last = name.substr(slash + 1);
  name = name.substr(0, slash);
  return last;
}

}  // namespace

Place place_of(const FilePath& place, const Options& options) {
  Place made;
  const std::size_t slash = place.directory.find('/');
  made.cluster.endpoints = endpoints_of(std::string_view(place.directory).substr(0, slash));
  if (slash != std::string::npos) {
    const std::string prefix = place.directory.substr(slash + 1) + "/";
    if (prefix.front() == '/' || prefix.find("//") != std::string::npos) {
      refuse("a part of the prefix is empty in '" + claim::printable(place.directory) + "'");
    }
    made.root = prefix;
  }
  made.root += encoded(place.name);
  // Whole seconds, as the servers count.
  const auto asked = std::chrono::ceil<std::chrono::seconds>(options.lease);
  made.cluster.ttl = options.lease.count() == 0 ? default_ttl : std::max(asked, shortest_ttl);
  return made;
}

Range below(std::string prefix) {
  std::string end = prefix;
  ++end.back();  // a `/`
  return {.from = std::move(prefix), .to = std::move(end)};
}

std::string lock_keys(const std::string& root) { return root + "//lock/"; }
std::string exclusive_keys(const std::string& root) { return lock_keys(root) + "x/"; }
std::string unit_keys(const std::string& root) { return root + "//units/"; }

std::string key_for(const std::string& root, Mode mode, std::string_view nonce) {
  return lock_keys(root) + (mode == Mode::exclusive ? "x/" : "s/") + std::string(nonce);
}

std::string unit_key_for(const std::string& root, std::size_t weight, std::string_view nonce) {
  return unit_keys(root) + std::to_string(weight) + "/" + std::string(nonce);
}

std::string prefix_of(const std::string& root) { return root.substr(0, root.rfind('/') + 1); }

Range place_keys(const std::string& prefix) {
  Range range = prefix.empty() ? Range{.from = std::string(1, '\0'), .to = std::string(1, '\0')} : below(prefix);
  range.names = true;
  return range;
}

std::optional<std::string> lock_of(const std::string& prefix, std::string_view key) {
  if (!key.starts_with(prefix)) return std::nullopt;
  key.remove_prefix(prefix.size());
  const std::string_view part = key.substr(0, key.find('/'));
  if (part.empty() || !key.substr(part.size()).starts_with(lock_keys(""))) return std::nullopt;
  std::string name = decoded(part);
  if (encoded(name) != part) return std::nullopt;
  return name;
}

std::string value_of(const claim::Record& record, std::chrono::system_clock::time_point since) {
  const auto unix_ms = std::chrono::duration_cast<std::chrono::milliseconds>(since.time_since_epoch()).count();
  return std::string(first_word) + std::to_string(unix_ms) + "\n" + claim::format(record);
}

Author author_of(const Key& key) {
  Author author;
  std::string_view name = key.name;
  author.nonce = last_part(name);
  const std::string_view kind = last_part(name);
  // A weight that cannot be read counts as one: who holds must be the same to everybody.
  if (kind == "s") {
    author.mode = Mode::shared;
  } else if (kind != "x" && (!read_number(kind, author.weight) || author.weight == 0)) {
    author.weight = 1;  // by a version that knows more kinds
  }
  std::string_view value = key.value;
  const std::size_t line = value.find('\n');
  if (!value.starts_with(first_word) || line == std::string_view::npos) return author;
  std::int64_t unix_ms = 0;
  if (!read_number(value.substr(first_word.size(), line - first_word.size()), unix_ms)) return author;
  author.since = std::chrono::system_clock::time_point(std::chrono::milliseconds(unix_ms));
  author.readable = claim::parse(value.substr(line + 1), author.record) == claim::Reading::record;
  return author;
}

Holder holder_of(const Key& key, const os::Process& self) {
  const Author author = author_of(key);
  const claim::Record& record = author.record;
  Holder holder;
  holder.mode = author.mode;
  holder.scheme = "etcd";
  holder.nonce = author.nonce;
  holder.number = static_cast<std::uint64_t>(key.created);
  if (!author.readable) {
    holder.note = "its record cannot be read";
    return holder;
  }
  holder.host = record.host;
  holder.pid = record.pid;
  holder.thread = record.thread;
  holder.program = record.program;
  holder.reason = record.reason;
  holder.since = author.since;
  holder.lease = record.lease;
  const os::Identity& me = self.identity();
  claim::Evidence seen;
  seen.reading = claim::Reading::record;
  seen.boots_known = !me.boot.empty() && !record.boot.empty();
  seen.same_boot = me.boot == record.boot;
  seen.same_host = me.host == record.host;
  seen.same_pid_namespace = me.pid_namespace != 0 && me.pid_namespace == record.pid_namespace;
  holder.note = "its lease is not over";
  if (!seen.processes_visible()) return holder;
  holder.this_process = claim::is_of_process(record, me);
  seen.processes = holder.this_process ? claim::Processes::running : claim::see_processes(self, record, nullptr).state;
  const claim::Judgement judged = claim::judge(seen);
  holder.verdict = judged.verdict;
  holder.note = judged.note;
  return holder;
}

std::size_t holding(const std::vector<Key>& keys) {
  std::size_t first = 0;
  while (first < keys.size() && author_of(keys[first]).mode == Mode::shared) ++first;
  return first == 0 && !keys.empty() ? 1 : first;
}

std::size_t holding_units(const std::vector<Key>& keys, std::size_t units) {
  std::size_t first = 0;
  std::size_t taken = 0;
  while (first < keys.size()) {
    const std::size_t weight = author_of(keys[first]).weight;
    if (weight > units - taken) break;
    taken += weight;
    ++first;
  }
  return first;
}

}  // namespace lockfile::schemes::etcd
