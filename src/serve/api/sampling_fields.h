#pragma once

#include "serve/api/request_context.h"
#include "serve/field_reader.h"

namespace octet::serve {

/// Sampling, stopping and scheduling: the fields that all of OpenAI's endpoints share (serving.md
/// §3.1, §3.2, §4), on top of the model's defaults. Not: max_tokens, logprobs.
void read_sampling(FieldReader& body, const RequestContext& context, Job& job);

/// Fields that clients send and that have no effect here, and those that only say so: beam search
/// and the like (HttpError 501).
void read_unsupported(FieldReader& body);

/// num likely tokens within --max-logprobs; -1 (all) only without a limit. As SamplingParams has
/// them: -2 for all.
int read_num_logprobs(FieldReader& body, std::string_view name, const RequestContext& context,
                      int absent);
/// prompt_logprobs; -1: none.
int read_prompt_logprobs(FieldReader& body, const RequestContext& context, bool stream);
/// logprob_token_ids, which need log-probabilities.
void read_logprob_token_ids(FieldReader& body, const RequestContext& context, Job& job);

}  // namespace octet::serve
