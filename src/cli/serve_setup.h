#pragma once

#include "checkpoint/checkpoint.h"
#include "cli/serve_flags.h"
#include "serve/http/server.h"
#include "serve/log.h"
#include "serve/service.h"

namespace octet::cli {

// From the flags of `octet serve` to what the parts of the server take.

serve::HttpOptions http_options(const ServeFlags& flags);
serve::LogOptions log_options(const ServeFlags& flags);
serve::ServiceOptions service_options(const ServeFlags& flags,
                                      const checkpoint::Checkpoint& checkpoint);
/// generation_config.json of the model or of --generation-config, overridden. Errors: not_found,
/// bad_data, invalid_argument.
checkpoint::GenerationConfig generation_config(const ServeFlags& flags,
                                               const checkpoint::Checkpoint& checkpoint);
/// --chat-template (a file or the text of one), or the model's. Errors: not_found, bad_data.
chat_template::ChatTemplate serving_template(const ServeFlags& flags,
                                             const checkpoint::Checkpoint& checkpoint);

}  // namespace octet::cli
