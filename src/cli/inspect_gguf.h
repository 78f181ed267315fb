#pragma once

#include <string>

namespace octet::cli {

/// Prints what a GGUF file holds. Errors: not_found, bad_data.
void inspect_gguf(const std::string& path, bool as_json);

}  // namespace octet::cli
