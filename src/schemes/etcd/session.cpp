// The session: what is asked of a cluster, and its answers. Everything is begun under the session's mutex, by whichever
// thread, and ends in the session's own thread, which takes it out of the one completion queue and goes on under the
// mutex.
//
//   a lock's thread:  Txn sent ----------- sleeps on its event -- looks at the answer
//   session's thread:           completion: answer noted, event set      renewals, watches, sending again
//
// Endpoints: one is used at a time. What fails there, or is not answered, goes to the next; so do the two streams.
#include "schemes/etcd/session.hpp"

#include "claim/names.hpp"
#include "os/thread.hpp"
#include "schemes/etcd/endpoint.hpp"
#include "schemes/etcd/examination.hpp"
#include "schemes/etcd/messages.hpp"

#include <grpcpp/alarm.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "rpc.grpc.pb.h"

namespace lockfile::schemes::etcd {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using SteadyTime = std::chrono::steady_clock::time_point;

constexpr milliseconds look_for_it{10};

Event::Event(os::System& system) : system_(system) {
  if (const auto opened = system.event_open(); opened.ok()) file_ = os::File(system, opened.value);
}

void Event::wait_until(SteadyTime when) noexcept {
  std::array<os::System::Waitable, 1> on{{{file_.get(), false}}};
  // Without a descriptor nothing wakes it.
  if (!is_open()) when = std::min(when, system_.now() + look_for_it);
  // An interrupted sleep is a short one; whoever waits looks and comes again.
  (void)system_.wait(std::span(on).first(is_open() ? 1 : 0), when);
}

namespace {

constexpr milliseconds patience_of_all{5000};
constexpr milliseconds goodbye{500};
constexpr milliseconds slow_for{100};

// Between our clock and the servers': the time in which a holder is told that its hold is lost, before anybody else can
// be granted it. The servers count from when they renew a lease, which is after we sent for it.
nanoseconds margin_of(std::chrono::seconds ttl) {
  return std::max<nanoseconds>(milliseconds(250), nanoseconds(ttl) / 8);
}

// gRPC's clock for deadlines is the wall clock; the library's is not.
std::chrono::system_clock::time_point wall(os::System& system, SteadyTime when) {
  return std::chrono::system_clock::now() +
         std::chrono::duration_cast<std::chrono::system_clock::duration>(when - system.now());
}

std::shared_ptr<Pending> failed(std::errc code, const std::string& what) {
  auto pending = std::make_shared<Pending>();
  pending->answer.why = std::make_error_code(code);
  pending->answer.what = what;
  pending->done = true;
  return pending;
}

}  // namespace

// Everything in it is under the mutex, but for what `examine` uses.
class Session::Client {
 public:
  Client(os::Process& process, const Cluster& cluster)
      : system_(process.system()), cluster_(cluster), credentials_(Credentials::from_environment()) {
    for (const std::string& each : cluster_.endpoints) endpoints_.push_back(connect(each, credentials_.channel));
    thread_ = os::start_thread(process, [this] { serve(); });
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client() { end(); }

  void end() noexcept {
    if (!thread_.joinable()) return;
    {
      // Whoever waits is told that the lease is lost, and would line up anew by another one.
      const os::MutexGuard guard(system_, mutex_);
      closed_ = true;
    }
    try {
      give_lease_back();
    } catch (const std::bad_alloc&) {  // not reached by tests: see session.hpp
      // It ends by itself.
    }
    {
      const os::MutexGuard guard(system_, mutex_);
      ending_ = true;
      for (Call* const each : calls_) each->cancel();
      for (Stream* const each : streams_) each->cancel();
      // They go by themselves. Threads that go on while the program ends may be about to end their watches.
      renewals_ = nullptr;
      watch_stream_ = nullptr;
      alarm_.Set(&queue_, std::chrono::system_clock::now(), &woken_);
    }
    thread_.join();
  }

  [[nodiscard]] std::shared_ptr<Lease> lease() {
    const os::MutexGuard guard(system_, mutex_);
    if (lease_ && !lease_->stands(system_)) lose(lease_);
    return lease_;
  }

  [[nodiscard]] std::shared_ptr<Pending> ask_for_lease(const std::shared_ptr<Event>& event) {
    const os::MutexGuard guard(system_, mutex_);
    if (closed_) return ended();
    if (lease_ && lease_->stands(system_)) {
      // Somebody else has asked, and been answered. A race; not reached by tests.
      auto there = std::make_shared<Pending>();
      there->done = true;
      return there;
    }
    if (!granting_) {
      granting_ = std::make_shared<Pending>();
      rpc::LeaseGrantRequest request;
      request.set_ttl(cluster_.ttl.count());
      begin_call<rpc::LeaseGrantRequest, rpc::LeaseGrantResponse>(
          std::move(request), patience_of_all,
          [](Endpoint& at, auto& context, const auto& what, auto& queue) {
            return at.leases->AsyncLeaseGrant(&context, what, &queue);
          },
          [this](const Call& call, rpc::LeaseGrantResponse& response) { granted(call, response); });
    }
    granting_->events.push_back(event);
    return granting_;
  }

  [[nodiscard]] std::shared_ptr<Pending> begin(const Transaction& transaction, const std::shared_ptr<Lease>& lease,
                                               const std::shared_ptr<Event>& event, nanoseconds limit, How how) {
    rpc::TxnRequest request = request_of(transaction, lease ? lease->id : 0);
    auto pending = std::make_shared<Pending>();
    const SteadyTime until = system_.now() + limit;
    if (how == How::at_once && send_now(request, lease, limit, pending->answer)) {
      pending->done = true;
      return pending;
    }
    if (event) pending->events.push_back(event);
    const os::MutexGuard guard(system_, mutex_);
    if (closed_) return ended();
    begin_transaction(std::move(request), pending, lease, until - system_.now());
    return pending;
  }

  [[nodiscard]] std::shared_ptr<Pending> forget(std::string key, const std::shared_ptr<Pending>& before,
                                                const std::shared_ptr<Lease>& lease,
                                                const std::shared_ptr<Event>& event) {
    auto pending = std::make_shared<Pending>();
    if (event) pending->events.push_back(event);
    const os::MutexGuard guard(system_, mutex_);
    if (ending_) return ended();
    if (before && !before->done) {
      // Whatever it did is undone as soon as it is known to have been answered or given up.
      followers_[before.get()] = {std::move(key), pending, lease};
    } else {
      erase(std::move(key), pending, lease, before && before->answer.why);
    }
    return pending;
  }

  [[nodiscard]] std::shared_ptr<Watching> watch(std::shared_ptr<Watching> watching) {
    const os::MutexGuard guard(system_, mutex_);
    if (ending_) {  // the program ends while one of its threads comes
      watching->fired = true;
      return watching;
    }
    watching->id = ++last_watch_;
    watchings_.emplace(watching->id, watching);
    if (watch_stream_ != nullptr) {
      send_watch(*watching);
    } else if (system_.now() >= watch_again_ && may_open_stream()) {
      open_watches();
    }
    return watching;
  }

  void end_watch(const Watching& watching) {
    const os::MutexGuard guard(system_, mutex_);
    if (watchings_.erase(watching.id) == 0 || watch_stream_ == nullptr) return;
    rpc::WatchRequest request;
    request.mutable_cancel_request()->set_watch_id(watching.id);
    watch_stream_->send(std::move(request));
  }

  void renew(const std::shared_ptr<Event>& event) {
    const os::MutexGuard guard(system_, mutex_);
    if (!lease_ || ending_) {  // it was lost since the keeper looked
      event->set();
      return;
    }
    renewing_.push_back(event);
    if (asked_at_.count() == 0) ask_to_renew();
  }

  void examine(Examination& into) {
    std::string token;
    std::size_t in_use = 0;
    {
      const os::MutexGuard guard(system_, mutex_);
      token = token_;
      in_use = current_;
    }
    etcd::examine(endpoints_, in_use, token, cluster_.ttl, into);
  }
  [[nodiscard]] std::uint64_t transactions() const noexcept { return transactions_; }

 private:
  // --- what comes out of the completion queue ---

  struct Tag {
    Tag() = default;
    Tag(const Tag&) = delete;
    Tag& operator=(const Tag&) = delete;
    virtual ~Tag() = default;
    /// In the session's thread, under the mutex.
    virtual void done(bool ok) = 0;
  };
  struct Woken final : Tag {
    void done(bool /*ok*/) override {}
  };

  /// One request and its one answer.
  struct Call : Tag {
    virtual void send() = 0;
    virtual void finish() = 0;
    void cancel() {
      if (context) context->TryCancel();
    }
    std::unique_ptr<grpc::ClientContext> context;
    grpc::Status status;
    SteadyTime deadline;
    std::size_t endpoint = 0;
    unsigned times_sent = 0;
    nanoseconds sent_at{0};  // since boot
    bool needs_token = true;
  };

  template <class Request, class Response>
  struct CallOf final : Call {
    using Reader = std::unique_ptr<grpc::ClientAsyncResponseReader<Response>>;
    using Begin = std::function<Reader(Endpoint&, grpc::ClientContext&, const Request&, grpc::CompletionQueue&)>;
    using Finished = std::function<void(const Call&, Response&)>;
    Client& client;
    Request request;
    Response response;
    Begin begin;
    Finished finished;
    Reader reader;

    explicit CallOf(Client& its_client) : client(its_client) {}
    void send() override {
      client.prepare(*this);
      reader = begin(client.endpoints_[this->endpoint], *this->context, request, client.queue_);
      reader->Finish(&response, &this->status, this);
    }
    void done(bool /*ok*/) override { client.answered(*this); }
    void finish() override { finished(*this, response); }
  };

  template <class Request, class Response, class Begin, class Finished>
  void begin_call(Request request, nanoseconds limit, Begin begin, Finished finished, bool needs_token = true) {
    auto call = std::make_unique<CallOf<Request, Response>>(*this);
    call->request = std::move(request);
    call->deadline = system_.now() + limit;
    call->begin = [begin](Endpoint& at, grpc::ClientContext& context, const Request& what,
                          grpc::CompletionQueue& queue) { return begin(at, context, what, queue); };
    call->finished = std::move(finished);
    call->needs_token = needs_token;
    Call* const begun = call.release();
    calls_.insert(begun);
    send(*begun);
  }

  void send(Call& call) {
    if (call.needs_token && !credentials_.user.empty() && token_.empty()) {
      without_token_.push_back(&call);
      ask_for_token();
      return;
    }
    call.send();
  }

  void prepare(Call& call) {
    call.context = std::make_unique<grpc::ClientContext>();
    call.context->set_deadline(wall(system_, std::min(call.deadline, system_.now() + try_limit())));
    if (!token_.empty()) call.context->AddMetadata("token", token_);
    call.endpoint = current_;
    call.status = {};
    call.sent_at = system_.since_boot();
    ++call.times_sent;
  }

  // Until a member that does not answer is left for the next: several times within a lease.
  [[nodiscard]] nanoseconds try_limit() const {
    return std::min<nanoseconds>(std::chrono::seconds(2), nanoseconds(cluster_.ttl) / 4);
  }

  void answered(Call& call) {
    const bool time_left = !ending_ && system_.now() < call.deadline;
    if (!call.status.ok() && time_left && is_worth_another(call.status)) {
      // A member that is silent is so on its streams too, and they say nothing of it for longer.
      if (is_silence(call.status)) leave_streams_at(call.endpoint);
      leave(call.endpoint);
      // At once to those that have not been asked yet.
      const bool all_asked = call.times_sent % endpoints_.size() == 0;
      again_.push_back({system_.now() + (all_asked ? first_backoff : milliseconds(0)), &call});
      return;
    }
    if (is_about_token(call.status) && time_left && call.needs_token && !credentials_.user.empty()) {
      token_.clear();
      send(call);
      return;
    }
    end_call(call);
  }

  void end_call(Call& call) {
    const std::unique_ptr<Call> ended(&call);
    calls_.erase(&call);
    call.finish();
  }

  void leave(std::size_t endpoint) {
    if (endpoint == current_) current_ = (current_ + 1) % endpoints_.size();
  }

  void ask_for_token() {
    if (asking_for_token_) return;
    asking_for_token_ = true;
    rpc::AuthenticateRequest request;
    request.set_name(credentials_.user);
    request.set_password(credentials_.password);
    begin_call<rpc::AuthenticateRequest, rpc::AuthenticateResponse>(
        std::move(request), patience_of_all,
        [](Endpoint& at, auto& context, const auto& what, auto& queue) {
          return at.auth->AsyncAuthenticate(&context, what, &queue);
        },
        [this](const Call& call, rpc::AuthenticateResponse& response) {
          asking_for_token_ = false;
          token_ = response.token();
          for (Call* const each : std::exchange(without_token_, {})) {
            if (call.status.ok() && !token_.empty()) {
              each->send();
            } else {
              each->status =
                  call.status.ok() ? grpc::Status(grpc::StatusCode::INTERNAL, "its token is empty") : call.status;
              end_call(*each);
            }
          }
        },
        false);
  }

  // --- transactions ---

  // In the caller's thread, by a blocking call. False: it was not answered, and may have been done.
  bool send_now(const rpc::TxnRequest& request, const std::shared_ptr<Lease>& lease, nanoseconds limit,
                Answer& answer) {
    grpc::ClientContext context;
    std::size_t endpoint = 0;
    {
      const os::MutexGuard guard(system_, mutex_);
      const bool without_token = !credentials_.user.empty() && token_.empty();
      if (closed_ || without_token || system_.now() < slow_until_) return false;
      if (!token_.empty()) context.AddMetadata("token", token_);
      endpoint = current_;
      ++transactions_;
    }
    context.set_deadline(wall(system_, system_.now() + std::min<nanoseconds>(limit, soon)));
    rpc::TxnResponse response;
    const grpc::Status status = endpoints_[endpoint].keys->Txn(&context, request, &response);
    if (status.ok()) {
      read(response, answer);
      return true;
    }
    const os::MutexGuard guard(system_, mutex_);
    if (is_worth_another(status) || is_about_token(status)) {
      --transactions_;  // it is counted when it is sent again
      answer.sent_before = true;
      slow_until_ = system_.now() + slow_for;
      if (is_about_token(status)) token_.clear();
      return false;
    }
    describe(status, endpoints_[endpoint].address, answer);
    answer.lease_gone = status.error_code() == grpc::StatusCode::NOT_FOUND;
    if (answer.lease_gone && lease) lose(lease);
    return true;
  }

  void begin_transaction(rpc::TxnRequest request, std::shared_ptr<Pending> pending, std::shared_ptr<Lease> lease,
                         nanoseconds limit) {
    ++transactions_;
    begin_call<rpc::TxnRequest, rpc::TxnResponse>(
        std::move(request), limit,
        [](Endpoint& at, auto& context, const auto& what, auto& queue) {
          return at.keys->AsyncTxn(&context, what, &queue);
        },
        [this, pending = std::move(pending), lease = std::move(lease)](const Call& call, rpc::TxnResponse& response) {
          Answer& answer = pending->answer;
          answer.sent_before = answer.sent_before || call.times_sent > 1;
          if (call.status.ok()) {
            read(response, answer);
          } else {
            describe(call.status, endpoints_[call.endpoint].address, answer);
            answer.lease_gone = call.status.error_code() == grpc::StatusCode::NOT_FOUND;
            if (answer.lease_gone && lease) lose(lease);
          }
          tell(*pending);
          follow(*pending);
        });
  }

  void tell(Pending& pending) {
    pending.done = true;
    for (const auto& each : std::exchange(pending.events, {})) each->set();
  }

  struct Follower {
    std::string key;
    std::shared_ptr<Pending> pending;
    std::shared_ptr<Lease> lease;
  };

  void follow(const Pending& before) {
    const auto found = followers_.find(&before);
    if (found == followers_.end()) return;
    Follower next = std::move(found->second);
    followers_.erase(found);
    if (ending_) return;
    erase(std::move(next.key), next.pending, next.lease, static_cast<bool>(before.answer.why));
  }

  // A request that was given up without an answer may be on its way still: a server works on it for some seconds at
  // most. So its key is removed once more when that time is over.
  void erase(std::string key, const std::shared_ptr<Pending>& pending, const std::shared_ptr<Lease>& lease,
             bool unsure) {
    rpc::TxnRequest request;
    request.add_success()->mutable_request_delete_range()->set_key(key);
    if (unsure) late_.push_back({system_.now() + std::chrono::seconds(15), {std::move(key), nullptr, lease}});
    const nanoseconds until =
        std::max<nanoseconds>(patience_of_all, nanoseconds(lease->end.load()) - system_.since_boot());
    begin_transaction(std::move(request), pending, lease, until);
  }

  // --- the lease ---

  void granted(const Call& call, rpc::LeaseGrantResponse& response) {
    const std::shared_ptr<Pending> pending = std::move(granting_);
    granting_ = nullptr;
    if (!call.status.ok()) {
      describe(call.status, endpoints_[call.endpoint].address, pending->answer);
    } else {
      auto lease = std::make_shared<Lease>();
      lease->id = response.id();
      lease->ttl = std::chrono::seconds(response.ttl());
      lease->end = end_of(*lease, call.sent_at).count();
      lease->renewed = call.sent_at.count();
      lease_ = std::move(lease);
      asked_at_ = nanoseconds::zero();
    }
    tell(*pending);
  }

  [[nodiscard]] static nanoseconds end_of(const Lease& lease, nanoseconds sent_at) {
    return sent_at + lease.ttl - margin_of(lease.ttl);
  }

  void lose(std::shared_ptr<Lease> lease) {
    lease->lost = true;
    for (const auto& [id, each] : watchings_) {
      if (each->lease != lease) continue;
      each->fired = true;
      each->event->set();
    }
    if (lease != lease_) return;
    lease_ = nullptr;
    if (renewals_ != nullptr) std::exchange(renewals_, nullptr)->cancel();
    asked_at_ = nanoseconds::zero();
    tell_renewed();
  }

  void tell_renewed() {
    for (const auto& each : std::exchange(renewing_, {})) each->set();
  }

  // Where there are users, a stream is good with a token only.
  [[nodiscard]] bool may_open_stream() {
    if (credentials_.user.empty() || !token_.empty()) return true;
    ask_for_token();  // it was refused since the lease was granted, by a server that began anew
    return false;
  }

  void ask_to_renew() {
    if (renewals_ == nullptr && (system_.now() < renew_again_ || !may_open_stream())) return;
    if (renewals_ == nullptr) open_renewals();
    asked_at_ = system_.since_boot();
    rpc::LeaseKeepAliveRequest request;
    request.set_id(lease_->id);
    renewals_->send(std::move(request));
  }

  void renewed(const rpc::LeaseKeepAliveResponse& response) {
    renew_backoff_ = first_backoff;
    // Not reached by tests: an answer to none of our questions; nor, in most runs, that the lease ends between the last
    // look at the clock and the answer.
    if (asked_at_.count() == 0 || response.id() != lease_->id) return;  // asked: so there is a lease
    if (response.ttl() <= 0 || !lease_->stands(system_)) {
      lose(lease_);
      return;
    }
    Lease& lease = *lease_;
    lease.ttl = std::chrono::seconds(response.ttl());
    lease.end = std::max(nanoseconds(lease.end.load()), end_of(lease, asked_at_)).count();
    lease.renewed = asked_at_.count();
    asked_at_ = nanoseconds::zero();
    tell_renewed();
  }

  // Looks at what is due, and says how long there is time.
  nanoseconds look_after_lease() {
    constexpr nanoseconds longest = std::chrono::seconds(1);  // the machine may sleep meanwhile
    if (lease_ && !lease_->stands(system_)) lose(lease_);
    if (!lease_) return longest;
    const nanoseconds now = system_.since_boot();
    const nanoseconds third = nanoseconds(lease_->ttl) / 3;
    nanoseconds due = nanoseconds(lease_->renewed.load()) + third;
    if (asked_at_.count() != 0) {
      due = asked_at_ + try_limit();
      if (now >= due) {
        // It does not answer. What else is there may be as silent.
        leave_streams_at(renewals_->endpoint());
        due = now;
      }
    }
    if (asked_at_.count() == 0 && now >= due) {
      ask_to_renew();
      due = now + (asked_at_.count() != 0 ? try_limit() : nanoseconds(first_backoff));
    }
    return std::min({longest, due - now, nanoseconds(lease_->end.load()) - now});
  }

  void leave_streams_at(std::size_t endpoint) {
    leave(endpoint);
    if (renewals_ != nullptr && renewals_->endpoint() == endpoint) {
      std::exchange(renewals_, nullptr)->cancel();
      asked_at_ = nanoseconds::zero();
    }
    if (watch_stream_ != nullptr && watch_stream_->endpoint() == endpoint && endpoints_.size() > 1) {
      std::exchange(watch_stream_, nullptr)->cancel();
      watches_ended();
    }
  }

  // --- streams ---

  struct Stream {
    Stream() = default;
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    virtual ~Stream() = default;
    /// Nothing more is told of it; it goes when gRPC has done with it.
    virtual void cancel() = 0;
  };

  template <class Request, class Response>
  class StreamOf final : public Stream {
   public:
    using Raw = grpc::ClientAsyncReaderWriter<Request, Response>;
    std::function<void(Response&)> on_response;
    std::function<void(const grpc::Status&)> on_end;

    explicit StreamOf(Client& client) : client_(client), endpoint_(client.current_) {}
    [[nodiscard]] std::size_t endpoint() const noexcept { return endpoint_; }
    [[nodiscard]] grpc::ClientContext& context() noexcept { return context_; }

    template <class Prepare>
    void open(Prepare prepare) {
      if (!client_.token_.empty()) context_.AddMetadata("token", client_.token_);
      raw_ = prepare(client_.endpoints_[endpoint_], &context_, &client_.queue_);
      client_.streams_.insert(this);
      ++running_;
      raw_->StartCall(&started_);
    }
    void send(Request request) {
      unsent_.push_back(std::move(request));
      write_next();
    }
    void cancel() override {
      on_response = nullptr;
      on_end = nullptr;
      broken_ = true;
      context_.TryCancel();
    }

   private:
    struct Step final : Tag {
      Step(StreamOf& its_stream, void (StreamOf::*its_what)(bool)) : stream(its_stream), what(its_what) {}
      void done(bool ok) override {
        --stream.running_;
        (stream.*what)(ok);
      }
      StreamOf& stream;
      void (StreamOf::*what)(bool);
    };

    // Not reached by tests: a step that is told of when the stream has been cancelled, or has ended.
    void started(bool ok) {
      if (!ok) return go_on(false);
      open_ = true;
      if (!broken_) read_next();
      if (!broken_) write_next();
      go_on(true);
    }
    void was_read(bool ok) {
      const auto tell = on_response;  // it may cancel the stream, and with it this function
      if (ok && tell) tell(response_);
      if (ok && !broken_) read_next();
      go_on(ok);
    }
    void was_written(bool ok) {
      writing_ = false;
      if (ok && !broken_) write_next();
      go_on(ok);
    }
    void was_finished(bool /*ok*/) {
      const std::unique_ptr<StreamOf> ended(this);
      client_.streams_.erase(this);
      if (on_end) on_end(status_);
    }
    void read_next() {
      ++running_;
      raw_->Read(&response_, &read_);
    }
    void write_next() {
      if (!open_ || writing_ || broken_ || unsent_.empty()) return;
      writing_ = true;
      ++running_;
      sending_ = std::move(unsent_.front());
      unsent_.pop_front();
      raw_->Write(sending_, &written_);
    }
    // Once it is broken and nothing of it runs any more, its status is asked for, and it ends. What runs still ends by
    // itself: who cancelled it now would be told that, and not why the member has ended it.
    void go_on(bool ok) {
      if (!ok) broken_ = true;
      if (!broken_ || running_ > 0) return;
      ++running_;
      raw_->Finish(&status_, &finished_);
    }

    Client& client_;
    std::size_t endpoint_;
    grpc::ClientContext context_;
    std::unique_ptr<Raw> raw_;
    Response response_;
    Request sending_;
    std::deque<Request> unsent_;
    grpc::Status status_;
    int running_ = 0;
    bool open_ = false;
    bool writing_ = false;
    bool broken_ = false;
    Step started_{*this, &StreamOf::started};
    Step read_{*this, &StreamOf::was_read};
    Step written_{*this, &StreamOf::was_written};
    Step finished_{*this, &StreamOf::was_finished};
  };
  using Renewals = StreamOf<rpc::LeaseKeepAliveRequest, rpc::LeaseKeepAliveResponse>;
  using Watches = StreamOf<rpc::WatchRequest, rpc::WatchResponse>;

  // How long until it is tried again.
  static milliseconds next(milliseconds& backoff) {
    const milliseconds now = backoff;
    backoff = std::min(2 * backoff, last_backoff);
    return now;
  }

  void open_renewals() {
    auto stream = std::make_unique<Renewals>(*this);
    stream->on_response = [this](rpc::LeaseKeepAliveResponse& response) { renewed(response); };
    stream->on_end = [this, endpoint = stream->endpoint()](const grpc::Status& status) {
      if (is_about_token(status)) token_.clear();
      leave(endpoint);
      renewals_ = nullptr;
      asked_at_ = nanoseconds::zero();
      renew_again_ = system_.now() + next(renew_backoff_);
    };
    renewals_ = stream.release();  // it goes by itself
    renewals_->open([](Endpoint& at, auto*... with) { return at.leases->PrepareAsyncLeaseKeepAlive(with...); });
  }

  void open_watches() {
    auto stream = std::make_unique<Watches>(*this);
    // Without it a member that is cut off from the others keeps the stream open, and silent.
    stream->context().AddMetadata("hasleader", "true");
    stream->on_response = [this](rpc::WatchResponse& response) { watched(response); };
    stream->on_end = [this, endpoint = stream->endpoint()](const grpc::Status& status) {
      if (is_about_token(status)) token_.clear();
      leave(endpoint);
      watch_stream_ = nullptr;
      watches_ended();
      watch_again_ = system_.now() + next(watch_backoff_);
    };
    watch_stream_ = stream.release();
    watch_stream_->open([](Endpoint& at, auto*... with) { return at.watches->PrepareAsyncWatch(with...); });
    for (const auto& [id, each] : watchings_) send_watch(*each);
  }

  // Begun anew they tell nothing of what happened meanwhile.
  void watches_ended() {
    for (const auto& [id, each] : watchings_) each->looked_at = -1;
  }

  // From now on, not from a revision that is past: that would be served by a loop of the server, every 100 ms.
  void send_watch(const Watching& watching) {
    rpc::WatchRequest request;
    auto& create = *request.mutable_create_request();
    create.set_key(watching.from);
    create.set_range_end(watching.to);
    create.set_watch_id(watching.id);
    if (!watching.puts) create.add_filters(rpc::WatchCreateRequest::NOPUT);
    watch_stream_->send(std::move(request));
  }

  void watched(const rpc::WatchResponse& response) {
    watch_backoff_ = first_backoff;
    const auto found = watchings_.find(response.watch_id());
    if (found == watchings_.end()) return;  // ended by us
    const std::shared_ptr<Watching> watching = found->second;
    if (response.canceled()) {
      // Of a revision that was compacted, or not permitted. It begins anew, and looks.
      watchings_.erase(found);
      watching->looked_at = -1;
      watching->id = ++last_watch_;
      refused_.push_back(watching);
      refused_again_ = system_.now() + (response.compact_revision() != 0 ? milliseconds(0) : last_backoff);
      // Its token may be too old; a stream keeps the one that it was opened with.
      if (response.compact_revision() == 0 && !credentials_.user.empty()) {
        std::exchange(watch_stream_, nullptr)->cancel();
        token_.clear();
        watches_ended();
        watch_again_ = refused_again_;
      }
      return;
    }
    if (response.created()) {
      const bool late = watching->looked_at < 0 || response.header().revision() > watching->looked_at;
      if (late) watching->look = true;
      watching->began = response.header().revision();  // after it: whoever sees that it began sees whether to look
      if (late) watching->event->set();
    }
    const bool news = std::any_of(response.events().begin(), response.events().end(),
                                  [&](const rpc::Event& each) { return each.kv().mod_revision() > watching->since; });
    if (!news) return;
    watching->fired = true;
    watching->event->set();
  }

  // --- the thread ---

  // What is due, and until when there is nothing to do.
  SteadyTime look_after_all() {
    const SteadyTime now = system_.now();
    SteadyTime next = now + look_after_lease();
    for (const auto& each : take_due(again_, now, next)) each.what->send();
    for (const auto& each : take_due(late_, now, next)) {
      if (each.what.lease->lost) continue;
      erase(each.what.key, std::make_shared<Pending>(), each.what.lease, false);
    }
    if (!refused_.empty() && now >= refused_again_) {
      for (const auto& each : std::exchange(refused_, {})) {
        watchings_.emplace(each->id, each);
        if (watch_stream_ != nullptr) send_watch(*each);
      }
    } else if (!refused_.empty()) {
      next = std::min(next, refused_again_);
    }
    if (watch_stream_ == nullptr && !watchings_.empty()) {
      if (now >= watch_again_ && may_open_stream()) {
        open_watches();
      } else {
        next = std::min(next, std::max(watch_again_, now + first_backoff));
      }
    }
    return next;
  }

  template <class What>
  struct Due {
    SteadyTime when;
    What what;
  };

  template <class What>
  static std::vector<Due<What>> take_due(std::vector<Due<What>>& all, SteadyTime now, SteadyTime& next) {
    const auto later =
        std::stable_partition(all.begin(), all.end(), [&](const auto& each) { return each.when <= now; });
    std::vector<Due<What>> due(std::make_move_iterator(all.begin()), std::make_move_iterator(later));
    all.erase(all.begin(), later);
    for (const auto& each : all) next = std::min(next, each.when);
    return due;
  }

  void serve() {
    for (;;) {
      SteadyTime next;
      {
        const os::MutexGuard guard(system_, mutex_);
        if (ending_) {
          for (const auto& each : std::exchange(again_, {})) end_call(*each.what);
          // What waits for a token ends with the request for one.
          if (calls_.empty() && streams_.empty()) break;
          next = system_.now() + last_backoff;
        } else {
          next = look_after_all();
        }
      }
      void* tag = nullptr;
      bool ok = false;
      if (queue_.AsyncNext(&tag, &ok, wall(system_, next)) != grpc::CompletionQueue::GOT_EVENT) continue;
      const os::MutexGuard guard(system_, mutex_);
      static_cast<Tag*>(tag)->done(ok);
    }
    queue_.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) {
    }
  }

  void give_lease_back() {
    const auto event = std::make_shared<Event>(system_);
    const auto pending = std::make_shared<Pending>();
    const SteadyTime until = system_.now() + goodbye;
    {
      const os::MutexGuard guard(system_, mutex_);
      if (!lease_ || !lease_->stands(system_)) return;
      pending->events.push_back(event);
      rpc::LeaseRevokeRequest request;
      request.set_id(lease_->id);
      lose(lease_);
      begin_call<rpc::LeaseRevokeRequest, rpc::LeaseRevokeResponse>(
          std::move(request), goodbye,
          [](Endpoint& at, auto& context, const auto& what, auto& queue) {
            return at.leases->AsyncLeaseRevoke(&context, what, &queue);
          },
          [this, pending](const Call& /*call*/, rpc::LeaseRevokeResponse& /*response*/) { tell(*pending); });
    }
    while (!pending->done && system_.now() < until) event->wait_until(until);
  }

  static std::shared_ptr<Pending> ended() { return failed(std::errc::operation_canceled, "the program is ending"); }

  os::System& system_;
  const Cluster cluster_;
  const Credentials credentials_;
  std::vector<Endpoint> endpoints_;
  grpc::CompletionQueue queue_;
  grpc::Alarm alarm_;
  Woken woken_;
  std::thread thread_;

  os::Mutex mutex_;
  bool closed_ = false;      // the program ends: no new lease, no new request of a lock
  bool ending_ = false;      // and nothing that was begun goes on
  std::size_t current_ = 0;  // the endpoint in use
  std::set<Call*> calls_;
  std::set<Stream*> streams_;
  SteadyTime slow_until_;  // a request was not answered soon: a second sending of each would not help
  std::vector<Due<Call*>> again_;
  std::vector<Call*> without_token_;
  std::string token_;
  bool asking_for_token_ = false;
  std::atomic<std::uint64_t> transactions_{0};
  std::map<const Pending*, Follower> followers_;
  std::vector<Due<Follower>> late_;

  std::shared_ptr<Lease> lease_;
  std::shared_ptr<Pending> granting_;
  Renewals* renewals_ = nullptr;
  nanoseconds asked_at_{0};  // when the renewal that is not answered yet was sent, since boot; 0: none
  SteadyTime renew_again_;
  milliseconds renew_backoff_ = first_backoff;
  std::vector<std::shared_ptr<Event>> renewing_;

  Watches* watch_stream_ = nullptr;
  SteadyTime watch_again_;
  milliseconds watch_backoff_ = first_backoff;
  std::int64_t last_watch_ = 0;
  std::map<std::int64_t, std::shared_ptr<Watching>> watchings_;
  std::vector<std::shared_ptr<Watching>> refused_;
  SteadyTime refused_again_;
};

// gRPC starts threads in any call, beginning with the first object of it that is made, and a thread has the signal mask
// of whoever starts it. One that takes the program's signals would take away what the program reads by signalfd(2) or
// sigwait(3), or end it by what it has handlers for in its own threads. So each call from a lock's thread is masked.
using Masked = os::AllSignalsBlocked;

Session::Session(os::Process& process, Cluster cluster) : process_(process), cluster_(std::move(cluster)) {
  const Masked masked;
  client_ = std::make_unique<Client>(process, cluster_);
}

Session::~Session() {
  const Masked masked;
  // In a forked child its threads are not there, and its sockets are the parent's.
  if (process_.is_caller()) {
    client_.reset();
  } else {  // not reached by tests: the sessions of its parent stay with a child until it ends
    (void)client_.release();
  }
}

void Session::end() noexcept {
  const Masked masked;
  client_->end();
}

milliseconds Session::patience() const noexcept { return patience_of_all; }

std::shared_ptr<Lease> Session::lease() {
  const Masked masked;
  return client_->lease();
}

std::shared_ptr<Pending> Session::ask_for_lease(const std::shared_ptr<Event>& event) {
  const Masked masked;
  return client_->ask_for_lease(event);
}

std::shared_ptr<Pending> Session::begin(const Transaction& transaction, const std::shared_ptr<Lease>& lease,
                                        const std::shared_ptr<Event>& event, nanoseconds limit, How how) {
  const Masked masked;
  return client_->begin(transaction, lease, event, limit, how);
}

std::shared_ptr<Pending> Session::forget(std::string key, std::shared_ptr<Pending> before,
                                         const std::shared_ptr<Lease>& lease, const std::shared_ptr<Event>& event) {
  const Masked masked;
  return client_->forget(std::move(key), before, lease, event);
}

std::shared_ptr<Watching> Session::watch(std::string from, std::string to, bool puts, std::int64_t looked_at,
                                         const std::shared_ptr<Lease>& lease, const std::shared_ptr<Event>& event) {
  auto watching = std::make_shared<Watching>();
  watching->from = std::move(from);
  watching->to = std::move(to);
  watching->puts = puts;
  watching->looked_at = looked_at;
  watching->since = looked_at;
  watching->lease = lease;
  watching->event = event;
  const Masked masked;
  return client_->watch(std::move(watching));
}

void Session::end_watch(std::shared_ptr<Watching>& watching) noexcept {
  if (!watching) return;
  const Masked masked;
  try {
    client_->end_watch(*watching);
  } catch (const std::bad_alloc&) {  // not reached by tests: see session.hpp
    // The server goes on telling us what nobody wants to know.
  }
  watching.reset();
}

void Session::renew(const std::shared_ptr<Event>& event) {
  const Masked masked;
  client_->renew(event);
}

// It takes seconds where servers are silent: the caller's thread, which waits here, is open to signals meanwhile.
void Session::examine(Examination& into) {
  std::exception_ptr thrown;
  std::thread asks = os::start_thread(process_, [&] {
    try {
      client_->examine(into);
    } catch (...) {  // not reached by tests: memory that is missing; see session.hpp
      thrown = std::current_exception();
    }
  });
  asks.join();
  if (thrown) std::rethrow_exception(thrown);
}

std::uint64_t Session::transactions() const noexcept { return client_->transactions(); }

namespace {

// gRPC is one per program, whatever `os::Process` a simulation has set: the process that has used it. Its memory is in
// a forked child as the parent left it, and of no use there.
std::atomic<std::int64_t> user_of_grpc{0};

// All sessions of this program.
struct Everybody {
  std::mutex mutex;
  std::vector<std::weak_ptr<Session>> sessions;
};
Everybody& everybody() {
  static auto* const all = new Everybody;  // NOLINT(cppcoreguidelines-owning-memory): used while statics are destroyed
  return *all;
}

// Before the destructors of gRPC's own statics run: no session's thread may be inside of them.
void end_at_exit() {
  if (user_of_grpc != os::real_system().process_id()) return;
  std::vector<std::weak_ptr<Session>> all;
  {
    const std::lock_guard guard(everybody().mutex);
    all.swap(everybody().sessions);
  }
  for (const auto& each : all) {
    if (const auto session = each.lock()) session->end();
  }
}

}  // namespace

Sessions::Sessions(os::Process& process)
    : process_(process), nonce_(claim::make_nonce(process.identity().boot, process.system().random())) {}

Sessions::~Sessions() {
  if (process_.is_caller()) {
    end();
  } else {
    // The lock objects' references are gone or are never used again; nothing of gRPC may be touched.
    (void)std::make_unique<std::map<Cluster, std::shared_ptr<Session>>>(std::move(sessions_)).release();
  }
}

std::shared_ptr<Session> Sessions::get(const Cluster& cluster, std::error_code& why, std::string& what) {
  const std::int64_t self = os::real_system().process_id();
  std::int64_t before = 0;
  if (!user_of_grpc.compare_exchange_strong(before, self) && before != self) {
    why = std::make_error_code(std::errc::operation_not_supported);
    what = "this process was forked from one that used etcd, and can use it after exec only";
    return nullptr;
  }
  const os::MutexGuard guard(process_.system(), mutex_);
  if (const auto found = sessions_.find(cluster); found != sessions_.end()) return found->second;
  if (before == 0) (void)std::atexit(end_at_exit);
  try {
    auto session = std::make_shared<Session>(process_, cluster);
    {
      const std::lock_guard all(everybody().mutex);
      std::erase_if(everybody().sessions, [](const auto& each) { return each.expired(); });
      everybody().sessions.push_back(session);
    }
    return sessions_.emplace(cluster, std::move(session)).first->second;
  } catch (const std::system_error& error) {
    why = error.code();
    what = error.what();
    // Not reached by tests: a thread that cannot be started says nothing but its cause.
    const std::string cause = ": " + why.message();
    if (what.ends_with(cause)) what.resize(what.size() - cause.size());
    return nullptr;
  }
}

void Sessions::end() noexcept {
  const os::MutexGuard guard(process_.system(), mutex_);
  for (const auto& [cluster, session] : sessions_) session->end();
}

}  // namespace lockfile::schemes::etcd
