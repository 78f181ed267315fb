#pragma once

#include "serve/field_reader.h"
#include "serve/job.h"

namespace octet::serve {

/// What the content must look like: response_format, structured_outputs, vLLM's older guided_*,
/// llama-server's json_schema and grammar (serving.md §14). At most one of them. Errors: HttpError
/// 400; the schema itself is looked at when its grammar is made.
ContentFormat read_format(FieldReader& body);

}  // namespace octet::serve
