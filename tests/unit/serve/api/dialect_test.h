#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "serve/api/request_context.h"
#include "serve/http/error_body.h"
#include "serve/job.h"
#include "support/support.h"

namespace octet::serve {

/// A server's settings without a server.
struct TestServer {
  ServiceOptions options{.served_model_names = {"m"}};
  checkpoint::GenerationConfig defaults;
  const tokenizer::Tokenizer& tokenizer() {
    static const auto t = tokenizer::Tokenizer::load(test::tiny_model());
    return t;
  }
  RequestContext context() {
    return {options, defaults, tokenizer(), tokenizer().size(), 4096, 16};
  }
};

/// Notes what is written.
class RecordedExchange : public Exchange {
 public:
  explicit RecordedExchange(std::string path) {
    request_.path = std::move(path);
    request_.request_id = "req_1";
  }
  const HttpRequest& request() const override { return request_; }
  void respond(int s, std::string_view, std::string b, Headers h) override {
    if (status != 0 || begun) return;
    status = s;
    body = std::move(b);
    headers = std::move(h);
  }
  void begin_stream(Headers h) override {
    begun = true;
    headers = std::move(h);
  }
  void write(std::string piece) override {
    if (begun && !ended) text += piece;
  }
  void end_stream(bool close) override {
    if (!begun) return;
    ended = true;
    closes = close;
  }
  std::size_t queued_bytes() const override { return queued; }
  bool closed() const override { return gone; }
  void on_disconnect(std::function<void()>) override {}
  void on_writable(std::function<void()>) override {}

  int status = 0;
  std::string body, text;
  Headers headers;
  std::size_t queued = 0;
  bool begun = false, ended = false, closes = false, gone = false;

 private:
  HttpRequest request_;
};

/// Frames of a stream: the event's name and its data. Fails on anything that is no such frame.
inline std::vector<std::pair<std::string, json::value>> frames(const std::string& text) {
  std::vector<std::pair<std::string, json::value>> out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find("\n\n", at);
    const std::size_t line = text.find('\n', at);
    const std::string_view all = text;
    if (end == std::string::npos || line >= end || all.substr(at, 7) != "event: " ||
        all.substr(line + 1, 6) != "data: " || all.find('\n', line + 1) != end) {
      ADD_FAILURE() << "no frame: " << all.substr(at, 200);
      return out;
    }
    out.emplace_back(all.substr(at + 7, line - at - 7),
                     parse_json(all.substr(line + 7, end - line - 7), "frame"));
    at = end + 2;
  }
  return out;
}

/// The status, path and message of what f throws.
struct Thrown {
  int status = 0;
  std::string param, message;
};
inline Thrown thrown_by(const std::function<void()>& f) {
  try {
    f();
  } catch (const HttpError& e) {
    return {e.status(), e.param(), e.what()};
  }
  return {};
}

inline ChatPrompt prompt_of(std::size_t tokens) {
  ChatPrompt prompt;
  prompt.ids.resize(tokens);
  return prompt;
}

inline AnswerEvent event(AnswerEvent::Kind kind, std::string text, int call = -1) {
  return {kind, std::move(text), call};
}

}  // namespace octet::serve
