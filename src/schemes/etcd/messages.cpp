// One message for each of ours.
#include "schemes/etcd/messages.hpp"

#include <utility>

namespace lockfile::schemes::etcd {
namespace {

rpc::RangeRequest range_of(const Range& range) {
  rpc::RangeRequest made;
  made.set_key(range.from);
  made.set_range_end(range.to);
  if (range.to.empty()) return made;
  made.set_limit(range.limit);
  made.set_count_only(range.count);
  made.set_keys_only(range.names);
  if (range.names) return made;
  made.set_sort_target(rpc::RangeRequest::CREATE);
  made.set_sort_order(range.newest_first ? rpc::RangeRequest::DESCEND : rpc::RangeRequest::ASCEND);
  made.set_max_create_revision(range.created_by);
  return made;
}

void add(const Operation& operation, std::int64_t lease, rpc::RequestOp& into) {
  switch (operation.kind) {
    case Operation::Kind::range:
      *into.mutable_request_range() = range_of(operation.range);
      break;
    case Operation::Kind::put: {
      auto& put = *into.mutable_request_put();
      put.set_key(operation.range.from);
      put.set_value(operation.value);
      put.set_lease(lease);
      break;
    }
    case Operation::Kind::erase:
      into.mutable_request_delete_range()->set_key(operation.range.from);
      break;
  }
}

}  // namespace

rpc::TxnRequest request_of(const Transaction& transaction, std::int64_t lease) {
  rpc::TxnRequest made;
  for (const Condition& each : transaction.when) {
    auto& compare = *made.add_compare();
    compare.set_target(rpc::Compare::CREATE);
    compare.set_key(each.from);
    compare.set_range_end(each.to);
    compare.set_create_revision(each.created);
  }
  for (const Operation& each : transaction.then) add(each, lease, *made.add_success());
  for (const Operation& each : transaction.otherwise) add(each, lease, *made.add_failure());
  return made;
}

void read(rpc::TxnResponse& response, Answer& into) {
  into.succeeded = response.succeeded();
  into.revision = response.header().revision();
  for (auto& each : *response.mutable_responses()) {
    if (!each.has_response_range()) continue;
    into.count = each.response_range().count();
    auto& keys = into.ranges.emplace_back();
    for (auto& key : *each.mutable_response_range()->mutable_kvs()) {
      keys.push_back({std::move(*key.mutable_key()), std::move(*key.mutable_value()), key.create_revision()});
    }
  }
}

}  // namespace lockfile::schemes::etcd
