#pragma once

#include <string>

#include "quantize/gptq.h"

namespace octet::cli {

/// What `--preset` stands for at a width. Errors: invalid_argument for an unknown name.
quantize::GptqOptions preset_options(const std::string& preset, std::int64_t bits);

}  // namespace octet::cli
