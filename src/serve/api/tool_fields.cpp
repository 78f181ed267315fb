#include "serve/api/tool_fields.h"

#include <algorithm>
#include <set>

#include "serve/answer/tools.h"
#include "serve/http/error_body.h"

namespace octet::serve {

namespace {

Tool read_tool(const json::value& value, const std::string& path) {
  FieldReader tool(value, path);
  const std::string type = tool.string("type", 64).value_or("function");
  if (type != "function")
    bad_field(tool.path("type"), "{}: expected function, found \"{}\"", tool.path("type"), type);
  const json::value* f = tool.find("function");
  if (!f) bad_field(tool.path("function"), "{}: missing", tool.path("function"));
  FieldReader function(*f, tool.path("function"));
  Tool out;
  out.name = function.string("name").value_or("");
  if (!is_tool_name(out.name))
    bad_field(function.path("name"),
              "{}: expected 1 to 128 letters, digits and the characters _ . : -",
              function.path("name"));
  function.string("description");
  if (const json::value* p = function.find("parameters")) {
    check_tool_schema(*p, function.path("parameters"));
    out.parameters = *p;
  }
  out.strict = function.boolean("strict").value_or(false) || tool.boolean("strict").value_or(false);
  return out;
}

void require_known(const Job& job, const std::string& name, const std::string& path) {
  if (std::ranges::none_of(job.tools, [&](const Tool& t) { return t.name == name; }))
    bad_field(path, "{}: there is no tool of the name given here", path);
}

// {"type": "function", "function": {"name": ...}}
std::string function_name(const json::value& value, const std::string& path) {
  FieldReader choice(value, path);
  choice.one_of("type", {"function"});
  const json::value* f = choice.find("function");
  if (!f) bad_field(choice.path("function"), "{}: missing", choice.path("function"));
  FieldReader function(*f, choice.path("function"));
  return function.string("name").value_or("");
}

void read_mode(const std::string& word, ToolChoice& choice) {
  choice.mode = word == "none"   ? ToolChoice::Mode::none
                : word == "auto" ? ToolChoice::Mode::automatic
                                 : ToolChoice::Mode::required;
}

void read_allowed(const json::value& value, Job& job) {
  FieldReader outer(value, "tool_choice");
  // OpenAI nests it, some clients don't.
  const json::value* nested = outer.find("allowed_tools");
  FieldReader allowed(nested ? *nested : value,
                      nested ? "tool_choice.allowed_tools" : "tool_choice");
  read_mode(allowed.one_of("mode", {"auto", "required"}).value_or("auto"), job.tool_choice);
  const json::array* tools = allowed.array("tools", kMaxTools);
  if (!tools || tools->empty())
    bad_field(allowed.path("tools"), "{}: expected at least one tool", allowed.path("tools"));
  for (std::size_t i = 0; i < tools->size(); ++i) {
    const std::string path = fmt::format("{}[{}]", allowed.path("tools"), i);
    const std::string name = function_name((*tools)[i], path);
    require_known(job, name, path + ".function.name");
    job.tool_choice.allowed.push_back(name);
  }
}

void read_choice(FieldReader& body, Job& job) {
  ToolChoice& choice = job.tool_choice;
  choice.mode = job.tools.empty() ? ToolChoice::Mode::none : ToolChoice::Mode::automatic;
  const json::value* v = body.find("tool_choice");
  if (!v) return;
  const std::string path = body.path("tool_choice");
  if (v->is_string()) {
    const std::string word = *body.one_of("tool_choice", {"none", "auto", "required"});
    if (word == "required" && job.tools.empty()) bad_field(path, "{}: required needs tools", path);
    if (!job.tools.empty()) read_mode(word, choice);
    return;
  }
  FieldReader object(*v, path);
  const std::string type =
      object.one_of("type", {"function", "allowed_tools"}).value_or("function");
  if (job.tools.empty()) bad_field(path, "{}: needs tools", path);
  if (type == "allowed_tools") return read_allowed(*v, job);
  choice.mode = ToolChoice::Mode::named;
  choice.name = function_name(*v, path);
  require_known(job, choice.name, path + ".function.name");
}

}  // namespace

void read_tools(FieldReader& body, Job& job) {
  for (const char* old : {"functions", "function_call"})
    if (body.find(old)) bad_field(old, "{}: no longer supported; use tools and tool_choice", old);
  if (const json::array* tools = body.array("tools", kMaxTools)) {
    std::set<std::string> names;
    for (std::size_t i = 0; i < tools->size(); ++i) {
      const std::string path = fmt::format("{}[{}]", body.path("tools"), i);
      job.tools.push_back(read_tool((*tools)[i], path));
      if (!names.insert(job.tools.back().name).second)
        bad_field(path + ".function.name", "{}.function.name: {} is there twice", path,
                  job.tools.back().name);
    }
    if (job.chat) job.chat->tools = *tools;
  }
  job.parallel_tool_calls = body.boolean("parallel_tool_calls").value_or(true);
  read_choice(body, job);
}

}  // namespace octet::serve
