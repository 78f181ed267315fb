#include "serve/api/body.h"
#include "serve/api/chat_request.h"
#include "serve/api/routes.h"
#include "serve/field_reader.h"
#include "serve/job_prompt.h"

namespace octet::serve {

namespace {

json::array ids_json(const std::vector<std::int32_t>& ids) {
  return json::array(ids.begin(), ids.end());
}

// llama-server's: {content, add_special, parse_special, with_pieces}.
json::value tokenize_content(Service& service, FieldReader& body) {
  const std::string content = body.string("content").value_or("");
  body.boolean("add_special");
  const bool parse_special = body.boolean("parse_special").value_or(true);
  const bool pieces = body.boolean("with_pieces").value_or(false);
  const auto ids = service.tokenizer().encode(content, parse_special);
  if (!pieces) return json::object{{"tokens", ids_json(ids)}};
  json::array tokens;
  for (const std::int32_t id : ids) {
    const std::string_view bytes = service.tokenizer().bytes(id);
    const std::string text = service.tokenizer().decode(std::span(&id, 1));
    json::object token{{"id", id}};
    if (text == bytes) {
      token["piece"] = text;
    } else {
      // Part of a character.
      json::array numbers;
      for (const char c : bytes) numbers.emplace_back(static_cast<unsigned char>(c));
      token["piece"] = std::move(numbers);
    }
    tokens.emplace_back(std::move(token));
  }
  return json::object{{"tokens", std::move(tokens)}};
}

// vLLM's: {prompt} or {messages}.
json::value tokenize_prompt(Service& service, const json::value& value, FieldReader& body) {
  service.served_name(body.string("model", 1024));
  const bool strings = body.boolean("return_token_strs").value_or(false);
  std::vector<std::int32_t> ids;
  if (body.has("messages")) {
    ChatRequest request = read_chat_request(value, context_of(service));
    ids = make_job_prompt(service, request.job).ids;
  } else {
    const auto prompt = body.string("prompt");
    if (!prompt) bad_field("prompt", "prompt: missing; expected prompt, messages or content");
    body.boolean("add_special_tokens");
    ids = service.tokenizer().encode(*prompt);
  }
  json::object out{
      {"count", ids.size()}, {"max_model_len", service.max_model_len()}, {"tokens", ids_json(ids)}};
  out["token_strs"] = nullptr;
  if (strings) {
    json::array texts;
    for (const std::int32_t id : ids)
      texts.emplace_back(service.tokenizer().decode(std::span(&id, 1)));
    out["token_strs"] = std::move(texts);
  }
  return out;
}

void tokenize(ServerState& state, const ExchangePtr& exchange) {
  Service& service = state.service();
  const json::value value = parse_body(exchange->request());
  FieldReader body(value, "");
  respond_json(*exchange, body.has("content") ? tokenize_content(service, body)
                                              : tokenize_prompt(service, value, body));
}

void detokenize(ServerState& state, const ExchangePtr& exchange) {
  Service& service = state.service();
  const json::value value = parse_body(exchange->request());
  FieldReader body(value, "");
  service.served_name(body.string("model", 1024));
  if (!body.has("tokens")) bad_field("tokens", "tokens: missing");
  const std::string text =
      service.tokenizer().decode(body.token_ids("tokens", SIZE_MAX, service.vocab_size()));
  respond_json(*exchange, {{"prompt", text}, {"content", text}});
}

void tokenizer_info(ServerState& state, const ExchangePtr& exchange) {
  Service& service = state.service();
  if (!service.options().tokenizer_info)
    throw HttpError(404,
                    "/tokenizer_info: the server was not started with "
                    "--enable-tokenizer-info-endpoint");
  json::array eos;
  for (const std::int64_t id : service.defaults().eos_token_id) eos.emplace_back(id);
  respond_json(*exchange, {{"tokenizer_class", "Qwen2Tokenizer"},
                           {"vocab_size", service.tokenizer().size()},
                           {"model_max_length", service.max_model_len()},
                           {"eos_token_ids", std::move(eos)}});
}

}  // namespace

void add_tokenize_routes(Router& router, ServerState& state) {
  const auto add = [&](const char* method, const char* pattern,
                       void (*handle)(ServerState&, const ExchangePtr&)) {
    router.add({.method = method,
                .pattern = pattern,
                .handler = guarded([&state, handle](const ExchangePtr& e) { handle(state, e); }),
                .worker = true});
  };
  add("POST", "/tokenize", tokenize);
  add("POST", "/detokenize", detokenize);
  add("GET", "/tokenizer_info", tokenizer_info);
}

}  // namespace octet::serve
