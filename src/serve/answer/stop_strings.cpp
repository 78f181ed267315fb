#include "serve/answer/stop_strings.h"

#include <algorithm>
#include <utility>

namespace octet::serve {

StopStrings::StopStrings(std::vector<std::string> stops, bool include_in_output)
    : stops_(std::move(stops)), include_(include_in_output) {
  std::erase_if(stops_, [](const std::string& s) { return s.empty(); });
  for (const std::string& s : stops_) longest_ = std::max(longest_, s.size());
}

std::string StopStrings::push(std::string_view text) {
  if (matched_) return {};
  if (stops_.empty()) return std::string(text);
  held_ += text;
  // The first to be complete wins, as if the text had come letter by letter; of two that end
  // together, the longer.
  std::size_t at = std::string::npos;
  const std::string* found = nullptr;
  for (const std::string& s : stops_) {
    const std::size_t begin = held_.find(s);
    if (begin == std::string::npos) continue;
    if (begin + s.size() < at || !found) {
      at = begin + s.size();
      found = &s;
    } else if (begin + s.size() == at && s.size() > found->size()) {
      found = &s;
    }
  }
  if (found) {
    matched_ = *found;
    held_.resize(include_ ? at : at - found->size());
    return std::exchange(held_, {});
  }
  std::size_t keep = std::min(held_.size(), longest_ - 1);
  for (; keep > 0; --keep) {
    const std::string_view tail = std::string_view(held_).substr(held_.size() - keep);
    if (std::ranges::any_of(stops_, [&](const std::string& s) { return s.starts_with(tail); }))
      break;
  }
  // A character is released whole or not at all.
  std::size_t cut = held_.size() - keep;
  while (cut > 0 && cut < held_.size() && (static_cast<unsigned char>(held_[cut]) & 0xC0) == 0x80)
    --cut;
  std::string out = held_.substr(0, cut);
  held_.erase(0, cut);
  return out;
}

std::string StopStrings::flush() {
  return std::exchange(held_, {});
}

}  // namespace octet::serve
