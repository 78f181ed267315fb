#pragma once

#include <string>

#include "model/text_model.h"

namespace octet::model {

/// A published size by name: "0.8b", "2b", "4b", "9b", "27b", with ":layers=N" to cut the depth
/// ":vocab=N" to cut the vocabulary, and what synthetic_bits reads. Errors: invalid_argument with
/// the choices.
checkpoint::TextConfig published_shape(const std::string& name);

/// ":bits=N" of such a name: 2 to 8, 8 where it is missing. Errors: invalid_argument.
std::int64_t synthetic_bits(const std::string& name);

/// A model of that shape with random weights in the serving layout: codes with group 32 for
/// the modules that are quantized, bfloat16 for the rest. Speed and memory are those of a real
/// checkpoint; its words mean nothing.
TextModel::Parts synthetic_parts(ops::Backend& backend, const checkpoint::TextConfig& config,
                                 std::int64_t bits = 8);

}  // namespace octet::model
