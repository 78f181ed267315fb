#include <CLI/CLI.hpp>
#include <cstdio>

#include "checkpoint/locate.h"
#include "cli/common.h"
#include "runtime/base/mapped_file.h"
#include "serve/answer/chat_prompt.h"

namespace octet::cli {

namespace {

struct Options {
  std::string model, text, file, lines, messages, chat_template;
  std::vector<std::int32_t> decode;
  bool has_text = false, as_json = false, no_think = false, generation_prompt = true;
};

json::object result(const tokenizer::Tokenizer& t, const std::vector<std::int32_t>& ids) {
  json::array tokens;
  for (const std::int32_t id : ids) tokens.emplace_back(t.decode(std::span(&id, 1)));
  return {{"ids", json::array(ids.begin(), ids.end())}, {"tokens", std::move(tokens)}};
}

void print(const Options& o, const tokenizer::Tokenizer& t, const std::vector<std::int32_t>& ids,
           const std::string* rendered) {
  json::object out = result(t, ids);
  if (rendered) out["rendered"] = *rendered;
  if (o.as_json) {
    fmt::print("{}\n", to_json(out));
    return;
  }
  if (rendered) fmt::print("{}\n", *rendered);
  for (std::size_t i = 0; i < ids.size(); ++i)
    fmt::print("{:>8}  {}\n", ids[i], to_json(out.at("tokens").as_array()[i]));
  fmt::print("{} tokens\n", ids.size());
}

void run(const Options& o) {
  const auto folder = checkpoint::locate_model(o.model);
  const auto t = tokenizer::Tokenizer::load(folder);
  const int sources =
      o.has_text + !o.file.empty() + !o.lines.empty() + !o.decode.empty() + !o.messages.empty();
  if (sources != 1)
    fail(ErrorCode::invalid_argument,
         "give one of --text, --file, --lines, --decode or --messages");
  if (!o.decode.empty()) {
    const std::string text = t.decode(o.decode);
    fmt::print("{}\n", o.as_json ? to_json(json::object{{"text", text}}) : text);
  } else if (!o.lines.empty()) {
    // One result a line: for sweeps.
    for (const std::string& text : read_text_rows(o.lines))
      fmt::print("{}\n", to_json(result(t, t.encode(text))));
  } else if (!o.messages.empty()) {
    ChatInput input = read_chat_input(o.messages);
    if (!input.kwargs.contains("add_generation_prompt"))
      input.kwargs["add_generation_prompt"] = o.generation_prompt;
    if (o.no_think) input.kwargs["enable_thinking"] = false;
    const auto chat = o.chat_template.empty() ? chat_template::ChatTemplate::load(folder)
                                              : chat_template::ChatTemplate::parse(
                                                    read_file(o.chat_template), o.chat_template);
    const auto spans = chat.render_marked(input.messages, input.tools, input.kwargs);
    std::string rendered;
    for (const auto& span : spans) rendered += span.text;
    print(o, t, serve::encode_prompt(t, spans), &rendered);
  } else {
    print(o, t, t.encode(o.has_text ? o.text : read_file(o.file)), nullptr);
  }
}

}  // namespace

Command add_tokenize(CLI::App& app) {
  auto o = std::make_shared<Options>();
  auto* c = app.add_subcommand("tokenize", "Text or messages to token ids and back");
  c->add_option("MODEL", o->model, "folder, `tiny`, or hub id")->required();
  auto* text = c->add_option("--text", o->text, "text to tokenize");
  c->add_option("--file", o->file, "text file to tokenize");
  c->add_option("--lines", o->lines, "jsonl with `text`; one JSON result a line");
  c->add_option("--decode", o->decode, "ids to text: 1,2,3")->delimiter(',');
  c->add_option("--messages", o->messages, "chat: a JSON list of messages or a chat request");
  c->add_option("--chat-template", o->chat_template, "template file instead of the model's own");
  c->add_flag("--no-think", o->no_think, "enable_thinking false");
  c->add_flag("!--no-generation-prompt", o->generation_prompt, "leave out the assistant's opening");
  c->add_flag("--json", o->as_json, "print one JSON object");
  return [o, text] {
    o->has_text = text->count() > 0;
    run(*o);
  };
}

}  // namespace octet::cli
