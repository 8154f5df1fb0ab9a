// Credentials, channels, and the meaning of refusals.
#include "schemes/etcd/endpoint.hpp"

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace lockfile::schemes::etcd {
namespace {

// Pings of a connection with streams on it. A server refuses those that ask more often than every 5 s.
constexpr int ping_every_ms = 6000;
constexpr int ping_answer_ms = 2000;

std::string environment(const char* name) {
  const char* const value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): read once, when a session begins
  return value == nullptr ? std::string() : std::string(value);
}

std::string content_of(const std::string& path) {
  if (path.empty()) return {};
  const std::ifstream in(path, std::ios::binary);
  if (!in)
    throw std::system_error(std::make_error_code(std::errc::no_such_file_or_directory), "cannot read '" + path + "'");
  std::ostringstream bytes;
  bytes << in.rdbuf();
  return bytes.str();
}

// A member whose own time for a question has run out, before the client's, says so by an error that gRPC does not know.
// As after the client's own deadline, what was asked may have been done all the same.
grpc::StatusCode code_of(const grpc::Status& status) {
  const bool late =
      status.error_code() == grpc::StatusCode::UNKNOWN &&
      (status.error_message() == "context deadline exceeded" || status.error_message() == "context canceled");
  return late ? grpc::StatusCode::DEADLINE_EXCEEDED : status.error_code();
}

std::errc cause_of(const grpc::Status& status) {
  switch (code_of(status)) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return std::errc::host_unreachable;
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::INVALID_ARGUMENT:
      return std::errc::permission_denied;
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return std::errc::no_space_on_device;
    case grpc::StatusCode::UNIMPLEMENTED:
      return std::errc::operation_not_supported;
    case grpc::StatusCode::CANCELLED:
      return std::errc::operation_canceled;
    default:
      return std::errc::protocol_error;
  }
}

}  // namespace

Credentials Credentials::from_environment() {
  Credentials all;
  const std::string authority = environment("ETCDCTL_CACERT");
  const std::string certificate = environment("ETCDCTL_CERT");
  if (authority.empty() && certificate.empty()) {
    all.channel = grpc::InsecureChannelCredentials();
  } else {
    grpc::SslCredentialsOptions files;
    files.pem_root_certs = content_of(authority);
    files.pem_cert_chain = content_of(certificate);
    files.pem_private_key = content_of(environment("ETCDCTL_KEY"));
    all.channel = grpc::SslCredentials(files);
  }
  all.user = environment("ETCDCTL_USER");
  all.password = environment("ETCDCTL_PASSWORD");
  if (const std::size_t colon = all.user.find(':'); all.password.empty() && colon != std::string::npos) {
    all.password = all.user.substr(colon + 1);
    all.user.resize(colon);
  }
  return all;
}

Endpoint connect(const std::string& address, const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
  grpc::ChannelArguments with;
  with.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, static_cast<int>(first_backoff.count()));
  with.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, static_cast<int>(last_backoff.count()));
  with.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, static_cast<int>(last_backoff.count()));
  with.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, ping_every_ms);
  with.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, ping_answer_ms);
  with.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  with.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  with.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  with.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  with.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  with.SetMaxReceiveMessageSize(-1);
  Endpoint endpoint;
  endpoint.address = address;
  endpoint.channel = grpc::CreateCustomChannel(address, credentials, with);
  endpoint.keys = rpc::KV::NewStub(endpoint.channel);
  endpoint.leases = rpc::Lease::NewStub(endpoint.channel);
  endpoint.watches = rpc::Watch::NewStub(endpoint.channel);
  endpoint.maintenance = rpc::Maintenance::NewStub(endpoint.channel);
  endpoint.auth = rpc::Auth::NewStub(endpoint.channel);
  return endpoint;
}

bool is_worth_another(const grpc::Status& status) {
  return code_of(status) == grpc::StatusCode::UNAVAILABLE || is_silence(status);
}

bool is_silence(const grpc::Status& status) { return code_of(status) == grpc::StatusCode::DEADLINE_EXCEEDED; }

bool is_about_token(const grpc::Status& status) { return status.error_code() == grpc::StatusCode::UNAUTHENTICATED; }

void describe(const grpc::Status& status, const std::string& endpoint, Answer& into) {
  into.why = std::make_error_code(cause_of(status));
  into.what = (is_worth_another(status) ? "cannot reach '" : "refused by '") + endpoint + "'";
  if (!status.error_message().empty()) into.what += " (" + status.error_message() + ")";
}

}  // namespace lockfile::schemes::etcd
