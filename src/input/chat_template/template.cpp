#include "input/chat_template/template.h"

#include <chrono>

namespace octet::chat_template {

Template Template::parse(const std::string& source, const std::string& name) {
  Template t;
  t.name_ = name;
  t.block_ = std::make_shared<const Block>(parse_template(source, name));
  return t;
}

std::string Template::render(const json::object& context, const Limits& limits) const {
  return Evaluator(name_, limits, std::time(nullptr)).render(*block_, context).str();
}

std::vector<Span> Template::render_marked(const json::object& context, const Limits& limits) const {
  const Text text = Evaluator(name_, limits, std::time(nullptr)).render(*block_, context);
  std::vector<Span> spans;
  for (std::size_t begin = 0, i = 1; begin < text.size(); ++i)
    if (i == text.size() || text.from_user(i) != text.from_user(begin)) {
      spans.push_back({text.str().substr(begin, i - begin), text.from_user(begin)});
      begin = i;
    }
  return spans;
}

}  // namespace octet::chat_template
