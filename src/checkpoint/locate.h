#pragma once

#include <filesystem>
#include <string>

namespace octet::checkpoint {

/// The folder of a model named on the command line: a folder; `tiny`, which ships with the program
/// ($OCTET_DATA, the sources, the install prefix); or a hub id `owner/name` that is in the Hugging
/// Face cache ($HF_HUB_CACHE, $HF_HOME/hub or ~/.cache/huggingface/hub).
/// Errors: not_found with the places that were searched and what to do.
std::filesystem::path locate_model(const std::string& name);

}  // namespace octet::checkpoint
