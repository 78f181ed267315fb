#include "serve/http/exchange_core.h"

#include <array>
#include <charconv>
#include <utility>

#include "serve/http/error_body.h"
#include "serve/http/http_shared.h"
#include "serve/http/response_head.h"

namespace octet::serve {
namespace {

// Small pieces are joined up to this, so that one system call (one TLS record) takes many tokens.
constexpr std::size_t kJoinBytes = 16 << 10;

class Handle final : public Exchange {
 public:
  explicit Handle(std::shared_ptr<ExchangeCore> core) : core_(std::move(core)) {}
  ~Handle() override {
    if (core_->ended() || core_->closed()) return;
    try {
      respond_error(*this, to_http_error(nullptr, core_->request().request_id));
    } catch (...) {
      core_->abandon();  // no memory for a message: the connection's end says it
    }
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  const HttpRequest& request() const override { return core_->request(); }
  void respond(int status, std::string_view content_type, std::string body,
               Headers headers) override {
    core_->respond(status, content_type, std::move(body), headers);
  }
  void begin_stream(Headers headers) override { core_->begin_stream(headers); }
  void write(std::string piece) override { core_->write(piece); }
  void end_stream(bool close) override { core_->end_stream(close); }
  std::size_t queued_bytes() const override { return core_->queued_bytes(); }
  bool closed() const override { return core_->closed(); }
  void on_disconnect(std::function<void()> f) override { core_->on_disconnect(std::move(f)); }
  void on_writable(std::function<void()> f) override { core_->on_writable(std::move(f)); }

 private:
  std::shared_ptr<ExchangeCore> core_;
};

}  // namespace

ExchangeCore::ExchangeCore(std::shared_ptr<HttpShared> shared, std::weak_ptr<Outlet> outlet,
                           HttpRequest request, const Route* route, Protocol protocol,
                           std::chrono::steady_clock::time_point begin, std::size_t charged_bytes)
    : shared_(std::move(shared)),
      outlet_(std::move(outlet)),
      request_(std::move(request)),
      route_(route),
      protocol_(protocol),
      begin_(begin),
      charged_bytes_(charged_bytes) {
  ++shared_->exchanges;
  ++shared_->unanswered;
}

ExchangeCore::~ExchangeCore() {
  shared_->body_bytes -= charged_bytes_;
  --shared_->exchanges;
  if (!finished_) --shared_->unanswered;
}

ExchangePtr ExchangeCore::handle(std::shared_ptr<ExchangeCore> core) {
  return std::make_shared<Handle>(std::move(core));
}

bool ExchangeCore::charge(std::size_t bytes) {
  queued_ += bytes;
  if (queued_ > shared_->options.stream_queue_bytes / 2) above_ = true;
  return !pending_.empty() && pending_.back().size() + bytes <= kJoinBytes;
}

void ExchangeCore::push(std::string piece) {
  if (charge(piece.size()))
    pending_.back() += piece;
  else
    pending_.push_back(std::move(piece));
}

void ExchangeCore::push(std::initializer_list<std::string_view> parts) {
  std::size_t bytes = 0;
  for (const std::string_view part : parts) bytes += part.size();
  if (!charge(bytes)) pending_.emplace_back().reserve(bytes);
  for (const std::string_view part : parts) pending_.back() += part;
}

// Without the lock: the connection's thread would run against it the moment it wakes.
void ExchangeCore::wake(std::unique_lock<std::mutex> lock) {
  const bool needed = !std::exchange(woken_, true);
  lock.unlock();
  if (!needed) return;
  if (const auto outlet = outlet_.lock()) outlet->wake();
}

void ExchangeCore::respond(int status, std::string_view content_type, std::string body,
                           const Headers& headers) {
  std::unique_lock lock(mutex_);
  if (status_ != 0 || finished_) return;
  status_ = status;
  ended_ = true;
  close_ = close_ || !protocol_.keep_alive || shared_->draining;
  ResponseHead head{.status = status,
                    .content_type = content_type,
                    .keep_alive = !close_,
                    .http10 = protocol_.http10};
  const bool bodiless = status == 204 || status == 304;
  if (!bodiless) head.content_length = body.size();
  push(response_head(head, request_.request_id, headers, shared_->gate.cors_headers(request_)));
  if (!protocol_.head && !bodiless && !body.empty()) push(std::move(body));
  wake(std::move(lock));
}

void ExchangeCore::begin_stream(const Headers& headers) {
  std::unique_lock lock(mutex_);
  if (status_ != 0 || finished_) return;
  status_ = 200;
  streaming_ = true;
  // A client of HTTP/1.0 knows no chunks: the connection's end is the stream's.
  close_ = close_ || !protocol_.keep_alive || protocol_.http10 || shared_->draining;
  Headers all{{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}};
  all.insert(all.end(), headers.begin(), headers.end());
  push(response_head({.content_type = "text/event-stream; charset=utf-8",
                      .chunked = !protocol_.http10,
                      .keep_alive = !close_,
                      .http10 = protocol_.http10},
                     request_.request_id, all, shared_->gate.cors_headers(request_)));
  wake(std::move(lock));
}

void ExchangeCore::write(std::string_view piece) {
  // An empty chunk would be the last one.
  if (piece.empty() || protocol_.head) return;
  std::unique_lock lock(mutex_);
  if (!streaming_ || ended_ || finished_) return;
  if (protocol_.http10) {
    push({piece});
  } else {
    std::array<char, 20> size{};
    const auto end = std::to_chars(size.begin(), size.end(), piece.size(), 16).ptr;
    push({std::string_view(size.begin(), end), "\r\n", piece, "\r\n"});
  }
  wake(std::move(lock));
}

void ExchangeCore::end_stream(bool close) {
  std::unique_lock lock(mutex_);
  if (!streaming_ || ended_ || finished_) return;
  ended_ = true;
  close_ = close_ || close;
  if (!protocol_.http10 && !protocol_.head) push("0\r\n\r\n");
  wake(std::move(lock));
}

void ExchangeCore::abandon() {
  std::unique_lock lock(mutex_);
  if (ended_ || finished_) return;
  if (status_ == 0) status_ = 500;
  ended_ = close_ = true;
  wake(std::move(lock));
}

std::size_t ExchangeCore::queued_bytes() const {
  return queued_;
}

bool ExchangeCore::closed() const {
  return finished_;
}

bool ExchangeCore::ended() const {
  const std::scoped_lock lock(mutex_);
  return ended_;
}

void ExchangeCore::on_disconnect(std::function<void()> f) {
  {
    const std::scoped_lock lock(mutex_);
    if (!finished_) {
      on_disconnect_.swap(f);
      return;  // the old one, now f, ends after the lock
    }
    if (delivered_) return;
  }
  f();
}

void ExchangeCore::on_writable(std::function<void()> f) {
  const std::scoped_lock lock(mutex_);
  if (!finished_) on_writable_.swap(f);
}

void ExchangeCore::take(std::deque<std::string>& out) {
  const std::scoped_lock lock(mutex_);
  woken_ = false;
  for (std::string& piece : pending_) out.push_back(std::move(piece));
  pending_.clear();
}

void ExchangeCore::taken(std::size_t bytes) {
  std::function<void()> writable;
  {
    const std::scoped_lock lock(mutex_);
    if (finished_) return;
    queued_ -= bytes;
    sent_ += bytes;
    if (above_ && queued_ < shared_->options.stream_queue_bytes / 2) {
      above_ = false;
      writable = on_writable_;
    }
  }
  shared_->guarded(request_.request_id, writable);
}

bool ExchangeCore::complete() const {
  const std::scoped_lock lock(mutex_);
  return ended_ && pending_.empty();
}

bool ExchangeCore::close_after() const {
  const std::scoped_lock lock(mutex_);
  return close_;
}

void ExchangeCore::finish(bool delivered) {
  AccessRecord record;
  std::vector<std::string> unsent;
  std::function<void()> gone, writable;
  {
    const std::scoped_lock lock(mutex_);
    if (finished_) return;
    finished_ = true;
    --shared_->unanswered;
    delivered_ = delivered;
    // What the callbacks hold may hold this exchange: they go, or it would never end.
    gone = std::move(on_disconnect_);
    writable = std::move(on_writable_);
    on_disconnect_ = on_writable_ = nullptr;
    unsent.swap(pending_);
    queued_ = 0;
    record.status = delivered ? status_ : 499;
    record.response_bytes = sent_;
  }
  if (!delivered) shared_->guarded(request_.request_id, gone);
  if (!shared_->on_access) return;
  record.remote = request_.remote;
  record.method = request_.method;
  record.path = request_.path;
  record.route = route_ ? route_->name : "";
  record.request_id = request_.request_id;
  record.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  record.request_bytes = charged_bytes_;
  shared_->guarded(request_.request_id, [&] { shared_->on_access(record); });
}

}  // namespace octet::serve
