// The tensors of the vision tower in llama.cpp's multimodal projector file.
#pragma once

#include <functional>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf_format.h"

namespace octet::exporter {

struct VisionTensor {
  checkpoint::GgufTensor target;
  std::function<void(const checkpoint::ByteSink&)> produce;
};

/// Matrices keep their type; vectors, position embeddings and the patch embedding become F32, the
/// latter one tensor for each frame of a patch. They refer to the checkpoint.
/// Errors: bad_data; invalid_argument if a patch has other than two frames.
std::vector<VisionTensor> vision_tensors(const checkpoint::Checkpoint& checkpoint);

}  // namespace octet::exporter
