// From our transactions to etcd's messages, and back.
#pragma once

#include "schemes/etcd/session.hpp"

#include <cstdint>

#include "rpc.pb.h"

namespace lockfile::schemes::etcd {

namespace rpc = ::etcdserverpb;

/// `lease`: of the keys that it puts.
[[nodiscard]] rpc::TxnRequest request_of(const Transaction& transaction, std::int64_t lease);
/// Moves the keys out of `response`.
void read(rpc::TxnResponse& response, Answer& into);

}  // namespace lockfile::schemes::etcd
