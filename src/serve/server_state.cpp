#include "serve/server_state.h"

namespace octet::serve {

HttpError ServerState::unavailable(Service::State now) const {
  std::string message = "Loading model";
  json::object extra;
  if (now == Service::State::loading)
    extra["progress"] = progress_.load(std::memory_order_relaxed);
  else if (now == Service::State::draining)
    message = "The server is shutting down";
  else {
    const std::scoped_lock lock(mutex_);
    message = message_.empty() ? "The engine has failed" : message_;
  }
  return busy_error(message, now == Service::State::loading ? 5 : 30, std::move(extra));
}

Service& ServerState::service() const {
  if (const Service::State now = state(); now != Service::State::ready) throw unavailable(now);
  return *find_service();
}

void ServerState::serve(Service& service) {
  progress_.store(1, std::memory_order_relaxed);
  service.set_state(Service::State::ready);
  service_.store(&service, std::memory_order_release);
}

void ServerState::drain() {
  draining_ = true;
  if (Service* s = find_service()) s->set_state(Service::State::draining);
}

void ServerState::fail_with(std::string message) {
  {
    const std::scoped_lock lock(mutex_);
    message_ = std::move(message);
  }
  failed_ = true;
  if (Service* s = find_service()) s->set_state(Service::State::failed);
}

Service::State ServerState::state() const {
  if (failed_) return Service::State::failed;
  if (draining_) return Service::State::draining;
  const Service* s = find_service();
  return s ? s->state() : Service::State::loading;
}

json::object ServerState::health() const {
  const Service::State now = state();
  if (now == Service::State::ready) return {{"status", "ok"}};
  const HttpError error = unavailable(now);
  return {{"status", to_string(now)},
          {"progress", progress_.load(std::memory_order_relaxed)},
          {"error",
           {{"message", error.what()},
            {"type", "unavailable_error"},
            {"param", nullptr},
            {"code", 503}}}};
}

}  // namespace octet::serve
