// The tensors of a GGUF file and where their values come from.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf_format.h"
#include "model/weights.h"

namespace octet::exporter {

/// A name of the checkpoint, or its beginning, and what it reads in the other file.
struct Rename {
  const char* from;
  const char* to;
};

/// What becomes of a value on its way.
enum class Transform {
  none,
  plus_one,   ///< norms are stored around zero, llama.cpp multiplies by them
  minus_exp,  ///< A_log -> the decay's factor
};

/// A tensor as a matrix of the checkpoint in another order.
struct SourceTensor {
  checkpoint::GgufTensor target;
  /// Checkpoint name; a module's (without ".weight") if it may be quantized.
  std::string name;
  bool linear = false;
  Shape shape;  ///< in the checkpoint
  Transform transform = Transform::none;
  /// Source row of each row, and source block of each block of `column_block` inputs; empty: as
  /// they are.
  std::vector<std::int64_t> rows, columns;
  std::int64_t column_block = 1;
};

/// The text model's tensors in the order of the file; mtp: those of the MTP layers after them.
/// Types are chosen here: as the values allow.
/// Errors: bad_data.
std::vector<SourceTensor> text_tensors(const checkpoint::Checkpoint& checkpoint, bool mtp);

/// Type that holds a linear's values exactly: Q4_0, Q8_0, the 16-bit type it has, or F32.
checkpoint::GgmlType exact_type(const checkpoint::LinearTensors& tensors);

/// Gives a tensor's bytes in its target type to the sink, a few megabytes at a time.
void produce(const checkpoint::Checkpoint& checkpoint, const SourceTensor& tensor,
             const checkpoint::ByteSink& sink);

}  // namespace octet::exporter
