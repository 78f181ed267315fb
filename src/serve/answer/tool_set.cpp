#include "serve/answer/tool_set.h"

#include <utility>

namespace octet::serve {

namespace {

const json::value kNoSchema;

std::string loosely(std::string_view name) {
  std::string out(name);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (c == '-') c = '_';
  }
  return out;
}

}  // namespace

std::string_view clean_name(std::string_view written) {
  written = trimmed(written);
  while (written.size() >= 2 && written.front() == written.back() &&
         (written.front() == '"' || written.front() == '\''))
    written = trimmed(written.substr(1, written.size() - 2));
  return written;
}

ToolSet::ToolSet(std::vector<Tool> tools) : tools_(std::move(tools)), unknown_(kNoSchema) {
  for (std::size_t i = 0; i < tools_.size(); ++i) {
    coercers_.emplace_back(tools_[i].parameters);
    longest_properties_.push_back(coercers_.back().longest_property());
    exact_[tools_[i].name] = i;
  }
  for (const auto& [name, i] : exact_) {
    const auto [slot, fresh] = loose_.emplace(loosely(name), i);
    if (!fresh) slot->second.reset();
  }
}

std::optional<std::size_t> ToolSet::find(std::string_view name) const {
  if (const auto i = exact_.find(std::string(name)); i != exact_.end()) return i->second;
  if (const auto i = loose_.find(loosely(name)); i != loose_.end()) return i->second;
  return {};
}

Coercer& ToolSet::coercer(std::optional<std::size_t> tool) {
  return tool ? coercers_[*tool] : unknown_;
}

}  // namespace octet::serve
