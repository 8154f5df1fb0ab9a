// What `lockctl doctor` asks a cluster.
#pragma once

#include "schemes/etcd/endpoint.hpp"

#include <chrono>
#include <cstddef>
#include <span>
#include <string>

namespace lockfile::schemes::etcd {

/// Asks each member, and the one in use for quota, leases and compaction. Blocks for seconds where they are silent.
/// `token`: of the user, or nothing.
void examine(std::span<const Endpoint> members, std::size_t in_use, const std::string& token, std::chrono::seconds ttl,
             Examination& into);

}  // namespace lockfile::schemes::etcd
