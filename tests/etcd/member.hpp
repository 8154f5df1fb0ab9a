// A member that answers as a test wants: what no real one can be brought to say at a wanted moment.
#pragma once

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace lockfile::testing {

class Member {
 public:
  struct Answer {
    grpc::Status status;  ///< or, where that is OK:
    std::string bytes;    ///< a message (protobuf); of a stream, its one answer to the first question
  };
  /// Of a method's last name: "Txn", "LeaseGrant".
  using Answering = std::function<Answer(const std::string& method)>;

  explicit Member(Answering answering) : service_(std::move(answering)) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterCallbackGenericService(&service_);
    server_ = builder.BuildAndStart();
  }
  [[nodiscard]] std::string host() const { return "127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] int asked() const noexcept { return service_.asked; }

 private:
  class Reactor final : public grpc::ServerGenericBidiReactor {
   public:
    explicit Reactor(Answer answer) : answer_(std::move(answer)) {
      if (answer_.status.ok()) {
        StartRead(&question_);
      } else {
        Finish(answer_.status);
      }
    }
    void OnReadDone(bool ok) override {
      if (!ok) {
        Finish(grpc::Status::OK);
        return;
      }
      const grpc::Slice slice(answer_.bytes);
      bytes_ = grpc::ByteBuffer(&slice, 1);
      StartWriteAndFinish(&bytes_, {}, grpc::Status::OK);
    }
    void OnDone() override { delete this; }

   private:
    Answer answer_;
    grpc::ByteBuffer question_;
    grpc::ByteBuffer bytes_;
  };

  class Service final : public grpc::CallbackGenericService {
   public:
    explicit Service(Answering answering) : answering_(std::move(answering)) {}
    std::atomic<int> asked = 0;

   private:
    grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
      ++asked;
      const std::string& method = context->method();
      return new Reactor(answering_(method.substr(method.rfind('/') + 1)));
    }
    Answering answering_;
  };

  int port_ = 0;
  Service service_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace lockfile::testing
