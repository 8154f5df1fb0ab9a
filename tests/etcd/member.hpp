// A member that answers as a test wants: what no real one can be brought to say at a wanted moment.
#pragma once

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace lockfile::testing {

class Member {
 public:
  struct Answer {
    grpc::Status status;  ///< or, where that is OK:
    std::string bytes;    ///< a message (protobuf); of a stream, its one answer to the first question
    bool silent = false;  ///< there is none, until the client has given it up
  };
  /// Of a method's last name: "Txn", "LeaseGrant".
  using Answering = std::function<Answer(const std::string& method)>;
  /// And of the question, a message.
  using Replying = std::function<Answer(const std::string& method, const std::string& question)>;

  explicit Member(Answering answering)
      : Member([answering = std::move(answering)](const std::string& method, const std::string& /*question*/) {
          return answering(method);
        }) {}
  explicit Member(Replying replying) : service_(std::move(replying)) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterCallbackGenericService(&service_);
    server_ = builder.BuildAndStart();
  }
  [[nodiscard]] std::string host() const { return "127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] int asked() const noexcept { return service_.asked; }
  /// How often with a token.
  [[nodiscard]] int shown() const noexcept { return service_.shown; }

 private:
  class Reactor final : public grpc::ServerGenericBidiReactor {
   public:
    Reactor(const grpc::GenericCallbackServerContext& context, std::function<Answer(const std::string& question)> reply)
        : context_(context), reply_(std::move(reply)) {
      StartRead(&question_);
    }
    void OnReadDone(bool ok) override {
      if (!ok) {
        Finish(grpc::Status::OK);
        return;
      }
      const Answer answer = reply_(text_of(question_));
      if (answer.silent) {
        silent_ = true;
        if (context_.IsCancelled()) give_up();
        return;
      }
      if (!answer.status.ok()) {
        Finish(answer.status);
        return;
      }
      const grpc::Slice slice(answer.bytes);
      bytes_ = grpc::ByteBuffer(&slice, 1);
      StartWriteAndFinish(&bytes_, {}, grpc::Status::OK);
    }
    void OnCancel() override {
      if (silent_) give_up();
    }
    void OnDone() override { delete this; }

   private:
    static std::string text_of(const grpc::ByteBuffer& bytes) {
      std::vector<grpc::Slice> slices;
      std::string text;
      if (bytes.Dump(&slices).ok()) {
        for (const grpc::Slice& each : slices) text.append(reinterpret_cast<const char*>(each.begin()), each.size());
      }
      return text;
    }

    void give_up() {
      if (!given_up_.exchange(true)) Finish(grpc::Status::CANCELLED);
    }

    const grpc::GenericCallbackServerContext& context_;
    std::function<Answer(const std::string& question)> reply_;
    std::atomic<bool> silent_ = false;
    std::atomic<bool> given_up_ = false;
    grpc::ByteBuffer question_;
    grpc::ByteBuffer bytes_;
  };

  class Service final : public grpc::CallbackGenericService {
   public:
    explicit Service(Replying replying) : replying_(std::move(replying)) {}
    std::atomic<int> asked = 0;
    std::atomic<int> shown = 0;

   private:
    grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
      ++asked;
      if (context->client_metadata().contains("token")) ++shown;
      return new Reactor(*context, [this, method = context->method().substr(context->method().rfind('/') + 1)](
                                       const std::string& question) { return replying_(method, question); });
    }
    Replying replying_;
  };

  int port_ = 0;
  Service service_;
  std::unique_ptr<grpc::Server> server_;
};

// --- messages, as protobuf writes them: a number and a text, or message, by the number of their field ---

inline std::string varint(std::uint64_t value) {
  std::string made;
  for (; value >= 0x80; value >>= 7U) made += static_cast<char>(value | 0x80);
  return made + static_cast<char>(value);
}
inline std::string field(int number, std::uint64_t value) {
  return std::string(1, static_cast<char>(number << 3)) + varint(value);
}
inline std::string field(int number, const std::string& text) {
  return std::string(1, static_cast<char>(number << 3 | 2)) + varint(text.size()) + text;
}
inline std::string in_revision(std::uint64_t number) { return field(1, field(3, number)); }
inline Member::Answer says(std::string bytes) { return {grpc::Status::OK, std::move(bytes)}; }
inline Member::Answer is_silent() { return {grpc::Status::OK, {}, true}; }
inline Member::Answer refuses(grpc::StatusCode code) { return {{code, "no"}, {}}; }

inline constexpr int lease_id = 7;
inline std::string lease_of(std::uint64_t seconds) { return field(2, lease_id) + field(3, seconds); }

// Grants what it is asked for, but for what `other` answers to that method.
using Other = std::function<std::optional<Member::Answer>(const std::string& method)>;
inline Member::Answering granting(Other other) {
  return [other = std::move(other)](const std::string& method) {
    if (auto answer = other(method)) return *std::move(answer);
    if (method == "LeaseGrant") return says(lease_of(60));
    if (method == "Txn") return says(in_revision(5) + field(2, 1));
    if (method == "Authenticate") return says(field(2, "token"));
    if (method == "LeaseRevoke") return says("");
    return refuses(grpc::StatusCode::UNAVAILABLE);
  };
}

}  // namespace lockfile::testing
