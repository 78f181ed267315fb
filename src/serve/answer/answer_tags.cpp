#include "serve/answer/answer_tags.h"

#include <bit>

namespace octet::serve {

namespace {

constexpr std::string_view kSpellings[] = {"<think>",      "</think>",    "<tool_call>",
                                           "</tool_call>", "<function=",  "</function>",
                                           "<parameter=",  "</parameter>"};

}  // namespace

std::string_view spelling(Tag tag) {
  return kSpellings[std::countr_zero(static_cast<unsigned>(tag))];
}

TagResult match_tag(std::string_view text, unsigned set) {
  for (unsigned bit = 1; bit <= kEndParameter; bit <<= 1) {
    const auto tag = static_cast<Tag>(bit);
    if (!(set & bit) || !spelling(tag).starts_with(text)) continue;
    return {text.size() == spelling(tag).size() ? TagMatch::complete : TagMatch::begins, tag};
  }
  return {};
}

}  // namespace octet::serve
