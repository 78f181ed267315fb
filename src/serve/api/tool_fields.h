#pragma once

#include "serve/field_reader.h"
#include "serve/job.h"

namespace octet::serve {

/// tools, tool_choice and parallel_tool_calls in OpenAI's chat form (serving.md §13.2), into the
/// job and, for the template, its chat. An empty list is none. Errors: HttpError 400.
void read_tools(FieldReader& body, Job& job);

}  // namespace octet::serve
