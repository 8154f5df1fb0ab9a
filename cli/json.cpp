// The JSON that lockctl prints. Its keys are part of the interface: they are added to, never renamed.
#include "json.hpp"

#include "text.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace lockctl {

Json to_json(const lockfile::Holder& holder) {
  Json json = Json::object();
  json["verdict"] = lockfile::to_string(holder.verdict);
  json["note"] = holder.note;
  json["since"] = holder.since ? Json(iso_time(*holder.since)) : Json(nullptr);
  json["uid"] = holder.uid;
  json["foreign"] = holder.foreign;
  if (holder.foreign) {
    return json;  // nothing more is known
  }
  json["mode"] = lockfile::to_string(holder.mode);
  json["scheme"] = holder.scheme;
  json["host"] = holder.host;
  json["pid"] = holder.pid;
  json["handed_to"] = holder.handed_to != 0 ? Json(holder.handed_to) : Json(nullptr);
  json["thread"] = holder.thread;
  json["program"] = holder.program;
  json["reason"] = holder.reason;
  json["nonce"] = holder.nonce;
  json["number"] = holder.number;
  using Milliseconds = std::chrono::milliseconds;
  json["lease_ms"] = holder.lease.count() != 0 ? Json(holder.lease.count()) : Json(nullptr);
  json["lease_left_ms"] =
      holder.lease_left ? Json(std::chrono::ceil<Milliseconds>(*holder.lease_left).count()) : Json(nullptr);
  json["expired"] = holder.expired;
  return json;
}

Json to_json(const lockfile::Waiter& waiter) {
  Json json = Json::object();
  json["mode"] = lockfile::to_string(waiter.mode);
  json["since"] = iso_time(began(waiter));
  json["host"] = waiter.host;
  json["pid"] = waiter.pid;
  json["thread"] = waiter.thread;
  json["program"] = waiter.program;
  json["passed"] = waiter.passed;
  return json;
}

Json lock_to_json(std::string_view path, std::string_view lock_file, std::span<const lockfile::Holder> holders,
                  std::span<const lockfile::Waiter> waiters) {
  // Of several that share it, one that keeps it.
  const auto keeps = std::find_if(holders.begin(), holders.end(),
                                  [](const auto& each) { return each.verdict != lockfile::Verdict::dead; });
  const auto first = keeps == holders.end() ? holders.begin() : keeps;
  Json json = Json::object();
  json["path"] = path;
  json["lock_file"] = lock_file;
  json["state"] = holders.empty() ? "free" : state_of(*first);
  json["holder"] = holders.empty() ? Json(nullptr) : to_json(*first);
  json["holders"] = Json::array();
  for (const lockfile::Holder& each : holders) json["holders"].push_back(to_json(each));
  json["waiters"] = Json::array();
  for (const lockfile::Waiter& each : waiters) json["waiters"].push_back(to_json(each));
  return json;
}

void print_json(const Json& value) { fmt::print("{}\n", value.dump(2, ' ', true, Json::error_handler_t::replace)); }

}  // namespace lockctl
