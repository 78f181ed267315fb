#pragma once

#include <string>

#include "model/text_model.h"

namespace octet::model {

/// A published size by name: "0.8b", "2b", "4b", "9b", "27b", with ":layers=N" to cut the depth
/// and ":vocab=N" to cut the vocabulary. Errors: invalid_argument with the choices.
checkpoint::TextConfig published_shape(const std::string& name);

/// A model of that shape with random weights in the serving layout: 8-bit codes with group 32 for
/// the modules that are quantized, bfloat16 for the rest. Speed and memory are those of a real
/// checkpoint; its words mean nothing.
TextModel::Parts synthetic_parts(ops::Backend& backend, const checkpoint::TextConfig& config);

}  // namespace octet::model
