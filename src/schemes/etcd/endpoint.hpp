// One member of a cluster, as gRPC sees it: how it is reached, and what a refusal of its means. With session.cpp,
// messages.cpp and examination.cpp all that knows gRPC.
#pragma once

#include "schemes/etcd/session.hpp"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <string>
#include <system_error>

#include "rpc.grpc.pb.h"

namespace lockfile::schemes::etcd {

namespace rpc = ::etcdserverpb;

inline constexpr std::chrono::milliseconds first_backoff{50};
inline constexpr std::chrono::milliseconds last_backoff{1000};

/// The variables and files of etcdctl(1), so that whoever can use the one can use the other.
struct Credentials {
  std::shared_ptr<grpc::ChannelCredentials> channel;
  std::string user;
  std::string password;

  /// Throws `std::system_error` for a file that cannot be read.
  [[nodiscard]] static Credentials from_environment();
};

struct Endpoint {
  std::string address;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<rpc::KV::Stub> keys;
  std::unique_ptr<rpc::Lease::Stub> leases;
  std::unique_ptr<rpc::Watch::Stub> watches;
  std::unique_ptr<rpc::Maintenance::Stub> maintenance;
  std::unique_ptr<rpc::Auth::Stub> auth;
};

/// Makes the connection's object; nothing is sent yet.
[[nodiscard]] Endpoint connect(const std::string& address,
                               const std::shared_ptr<grpc::ChannelCredentials>& credentials);

/// Of a refusal: may another member have another answer?
[[nodiscard]] bool is_worth_another(const grpc::Status& status);
/// It has not answered in time. What was asked may have been done all the same.
[[nodiscard]] bool is_silence(const grpc::Status& status);
/// The member wants a token, or another one.
[[nodiscard]] bool is_about_token(const grpc::Status& status);
/// Fills in `why` and `what`.
void describe(const grpc::Status& status, const std::string& endpoint, Answer& into);

}  // namespace lockfile::schemes::etcd
