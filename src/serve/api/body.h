#pragma once

#include <functional>
#include <string>
#include <vector>

#include "serve/http/error_body.h"
#include "serve/http/exchange.h"
#include "serve/http/router.h"

namespace octet::serve {

/// A request's body as JSON. Lone surrogates in escapes become U+FFFD; of equal keys the last
/// counts. Errors: HttpError 415 if it is not said to be JSON, 400 if it isn't.
json::value parse_body(const HttpRequest& request);
/// The same of a text.
json::value parse_request_json(std::string_view text);

/// Names the fields that a request had and nobody reads, each once in the life of the process, in
/// the log. Any thread.
void note_unknown_fields(std::string_view endpoint, const std::vector<std::string>& fields);

/// A handler whose exceptions become responses; those that are our fault go to the log.
Handler guarded(std::function<void(const ExchangePtr&)> handle);

/// 200 with JSON.
void respond_json(Exchange& exchange, const json::value& value, int status = 200,
                  Headers headers = {});

/// "chatcmpl-" and the request's id (or what the body asks for, if it is fit).
std::string response_id(std::string_view prefix, const HttpRequest& request,
                        const std::string& wanted = {});
/// Hexadecimal digits that can't be foreseen.
std::string random_hex(int digits);

}  // namespace octet::serve
