#pragma once

#include <string>
#include <vector>

namespace octet::cli {

/// "; did you mean `x`?" for the choice that comes near enough to a mistyped word, or "".
std::string suggestion(const std::string& word, const std::vector<std::string>& choices);

}  // namespace octet::cli
