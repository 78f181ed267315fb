// The metadata of a GGUF file: what llama.cpp asks for, by its key names.
#pragma once

#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf_format.h"

namespace octet::exporter {

/// Sizes and settings of the text model, and how to sample from it.
/// Errors: invalid_argument for a configuration that llama.cpp's qwen35 can't express.
checkpoint::GgufMetadata text_metadata(const checkpoint::Checkpoint& checkpoint, bool mtp,
                                       checkpoint::GgmlType most_tensors);

/// Tokens, merges, special ids and chat template, as tokenizer.json and its companions tell.
/// Errors: not_found, bad_data; invalid_argument for a pre-tokenizer that llama.cpp doesn't name.
checkpoint::GgufMetadata vocabulary_metadata(const checkpoint::Checkpoint& checkpoint);

/// Sizes of the vision tower and how pictures are normalized. Errors: bad_data, not_found.
checkpoint::GgufMetadata vision_metadata(const checkpoint::Checkpoint& checkpoint);

}  // namespace octet::exporter
