// Version, leader, alarms, the shortest lease, compaction.
#include "schemes/etcd/examination.hpp"

#include <algorithm>
#include <cstdint>

namespace lockfile::schemes::etcd {

// Each member by a call of its own, in the caller's thread.
void examine(std::span<const Endpoint> members, std::size_t in_use, const std::string& token, std::chrono::seconds ttl,
             Examination& into) {
  using Result = Finding::Result;
  std::int64_t revision = 0;
  const auto prepare = [&](grpc::ClientContext& context) {
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(2));
    if (!token.empty()) context.AddMetadata("token", token);
  };
  for (const Endpoint& each : members) {
    grpc::ClientContext context;
    prepare(context);
    rpc::StatusResponse seen;
    const grpc::Status status = each.maintenance->Status(&context, {}, &seen);
    if (!status.ok()) {
      into.findings.push_back({"member " + each.address, Result::fails, status.error_message()});
      continue;
    }
    revision = std::max(revision, seen.header().revision());
    std::string detail = "etcd " + seen.version() + ", " + std::to_string(seen.dbsize()) + " bytes of which " +
                         std::to_string(seen.dbsizeinuse()) + " are in use";
    if (seen.leader() == 0) detail += "; it knows no leader";
    if (seen.islearner()) detail += "; a learner, which serves no locks";
    for (const std::string& error : seen.errors()) detail += "; " + error;
    const bool well = seen.leader() != 0 && !seen.islearner() && seen.errors_size() == 0;
    into.findings.push_back({"member " + each.address, well ? Result::works : Result::fails, detail});
    if (into.file_system.empty()) into.file_system = "etcd " + seen.version();
  }
  const Endpoint& one = members[in_use];
  {
    grpc::ClientContext context;
    prepare(context);
    rpc::AlarmResponse seen;
    const grpc::Status status = one.maintenance->Alarm(&context, {}, &seen);
    bool full = false;
    for (const auto& each : seen.alarms()) full = full || each.alarm() == 1;
    if (!status.ok()) {
      into.findings.push_back({"quota", Result::note, status.error_message()});
    } else if (seen.alarms_size() == 0) {
      into.findings.push_back({"quota", Result::works, "no alarm"});
    } else {
      into.findings.push_back(
          {"quota", Result::fails, full ? "its space is used up: nothing can be written" : "a member is damaged"});
    }
  }
  {
    grpc::ClientContext context;
    prepare(context);
    rpc::LeaseGrantRequest request;
    request.set_ttl(1);
    rpc::LeaseGrantResponse seen;
    const grpc::Status status = one.leases->LeaseGrant(&context, request, &seen);
    if (status.ok()) {
      grpc::ClientContext back;
      prepare(back);
      rpc::LeaseRevokeRequest revoke;
      revoke.set_id(seen.id());
      rpc::LeaseRevokeResponse revoked;
      (void)one.leases->LeaseRevoke(&back, revoke, &revoked);  // else it ends by itself
      const bool enough = ttl.count() >= 2 * seen.ttl();
      into.findings.push_back({"lease", enough ? Result::works : Result::note,
                               "the shortest is " + std::to_string(seen.ttl()) + " s, ours " +
                                   std::to_string(ttl.count()) + " s" +
                                   (enough ? "" : ": an election may outlast it")});
    } else {
      into.findings.push_back({"lease", Result::fails, status.error_message()});
    }
  }
  constexpr std::int64_t many = 100'000;
  if (revision > many) {
    grpc::ClientContext context;
    prepare(context);
    rpc::RangeRequest request;
    request.set_key("\x01");
    request.set_revision(revision - many);
    rpc::RangeResponse seen;
    const grpc::Status status = one.keys->Range(&context, request, &seen);
    const bool compacted = status.error_code() == grpc::StatusCode::OUT_OF_RANGE;
    into.findings.push_back(
        {"compaction", compacted ? Result::works : Result::note,
         compacted ? "old revisions are compacted"
                   : "over " + std::to_string(many) +
                         " revisions are kept: set --auto-compaction-retention, or the quota is used up"});
  }
}

}  // namespace lockfile::schemes::etcd
