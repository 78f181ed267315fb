#include <histedit.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <functional>
#include <iostream>
#include <optional>
#include <random>

#include "cli/common.h"
#include "generate/engine.h"
#include "input/tokenizer/stream_decoder.h"
#include "runtime/base/system.h"
#include "serve/answer/chat_prompt.h"

namespace octet::cli {

namespace {

struct Options {
  std::string model, prompt, system;
  bool has_prompt = false, no_think = false, as_json = false;
  std::int64_t max_tokens = 2048;
  std::optional<double> temperature, top_p, min_p, presence_penalty, frequency_penalty,
      repetition_penalty;
  std::optional<std::int64_t> top_k;
  std::optional<std::uint64_t> seed;
  ComputeOptions compute;
};

// A reply as it was split: what the model thought and what it said.
struct Reply {
  std::string reasoning, text;
  generate::AnswerSummary answer;
};

// Gives tokens on as they come.
struct TokenSink : generate::AnswerSink {
  std::function<bool(std::int32_t)> take;
  generate::AnswerSummary summary;
  bool on_token(const generate::TokenOutput& token) override { return take(token.id); }
  void on_finish(const generate::AnswerSummary& s) override { summary = s; }
};

// Cuts the stream at </think>. A marker may come in pieces, so its possible beginning waits.
class ThinkSplitter {
 public:
  explicit ThinkSplitter(bool thinking) : thinking_(thinking) {}
  bool thinking() const { return thinking_; }
  // Calls emit(text, is_reasoning).
  template <typename Emit>
  void push(const std::string& more, bool end, const Emit& emit) {
    pending_ += more;
    static const std::string kMarker = "</think>";
    if (thinking_) {
      const std::size_t at = pending_.find(kMarker);
      if (at != std::string::npos) {
        emit(pending_.substr(0, at), true);
        pending_.erase(0, at + kMarker.size());
        thinking_ = false;
        skip_blank_ = true;
      } else {
        std::size_t keep = std::min(pending_.size(), kMarker.size() - 1);
        while (keep > 0 && !kMarker.starts_with(pending_.substr(pending_.size() - keep))) --keep;
        if (end) keep = 0;
        emit(pending_.substr(0, pending_.size() - keep), true);
        pending_.erase(0, pending_.size() - keep);
        return;
      }
    }
    if (skip_blank_) {
      const std::size_t begin = pending_.find_first_not_of("\n");
      if (begin == std::string::npos && !end) return;
      pending_.erase(0, begin);
      skip_blank_ = false;
    }
    if (!pending_.empty()) emit(std::exchange(pending_, {}), false);
  }

 private:
  bool thinking_, skip_blank_ = false;
  std::string pending_;
};

class Chat {
 public:
  explicit Chat(Options& o)
      : o_(o),
        memory_limit_(o.compute.memory_limit()),
        machine_(o.compute),
        loaded_(o.model, machine_, o.compute, {.kv_dtype = o.compute.kv_dtype()}, false),
        template_(chat_template::ChatTemplate::load(loaded_.checkpoint.folder())),
        defaults_(checkpoint::read_generation_config(loaded_.checkpoint.folder(),
                                                     loaded_.checkpoint.config())) {
    reset();
  }

  void reset() {
    messages_.clear();
    if (!o_.system.empty()) messages_.push_back({{"role", "system"}, {"content", o_.system}});
  }

  json::object start() const { return loaded_.start(); }

  // Answers the conversation so far plus one message; show(text, is_reasoning) as it comes.
  Reply ask(const std::string& text, const std::function<void(const std::string&, bool)>& show) {
    messages_.push_back({{"role", "user"}, {"content", text}});
    json::object kwargs{{"add_generation_prompt", true}};
    if (o_.no_think) kwargs["enable_thinking"] = false;
    Reply reply;
    std::string rendered;
    std::vector<chat_template::Span> spans;
    try {
      spans = template_.render_marked(messages_, nullptr, kwargs);
    } catch (...) {
      messages_.pop_back();
      throw;
    }
    for (const auto& span : spans) rendered += span.text;
    generate::Request request;
    request.prompt = serve::encode_prompt(*loaded_.tokenizer, spans);
    const std::int64_t room = loaded_.checkpoint.config().text.context_length() -
                              static_cast<std::int64_t>(request.prompt.size());
    if (room < 1)
      fail(ErrorCode::invalid_argument, "the conversation has {} tokens, the model's context is {}",
           request.prompt.size(), loaded_.checkpoint.config().text.context_length());
    request.max_tokens = std::min(o_.max_tokens, room);
    request.sampling = sampling();
    for (const std::int64_t id : defaults_.eos_token_id)
      request.stop_ids.push_back(static_cast<std::int32_t>(id));

    const model::PoolOptions caches{
        .num_tokens = static_cast<std::int64_t>(request.prompt.size()) + request.max_tokens,
        .kv_dtype = o_.compute.kv_dtype()};
    require_memory(loaded_.checkpoint, caches, memory_limit_);
    generate::Engine engine(*loaded_.model, {.max_sequences = 1,
                                             .kv_tokens = caches.num_tokens,
                                             .kv_dtype = caches.kv_dtype,
                                             .num_tokens = loaded_.tokenizer->size(),
                                             .prefix_cache = false});
    tokenizer::StreamDecoder decoder(*loaded_.tokenizer, true);
    ThinkSplitter splitter(rendered.ends_with("<think>\n"));
    const auto emit = [&](const std::string& part, bool reasoning) {
      (reasoning ? reply.reasoning : reply.text) += part;
      if (!part.empty()) show(part, reasoning);
    };
    const auto sink = std::make_shared<TokenSink>();
    sink->take = [&](std::int32_t id) {
      splitter.push(decoder.push(id), false, emit);
      return !interrupted();
    };
    request.sinks = {sink};
    engine.submit(std::move(request));
    while (engine.step()) {
    }
    check_interrupt();
    splitter.push(decoder.flush(), true, emit);
    reply.answer = sink->summary;
    if (reply.answer.finish == generate::FinishReason::failed)
      fail(ErrorCode::internal, "no answer: {}", reply.answer.error);
    messages_.push_back({{"role", "assistant"}, {"content", reply.text}});
    return reply;
  }

 private:
  generate::SamplingParams sampling() const {
    generate::SamplingParams s;
    s.temperature = o_.temperature.value_or(defaults_.do_sample ? defaults_.temperature : 0.0);
    s.top_p = o_.top_p.value_or(defaults_.top_p);
    s.top_k = o_.top_k.value_or(defaults_.top_k);
    s.min_p = o_.min_p.value_or(0);
    s.presence_penalty = o_.presence_penalty.value_or(0);
    s.frequency_penalty = o_.frequency_penalty.value_or(0);
    s.repetition_penalty = o_.repetition_penalty.value_or(1);
    s.seed = o_.seed.value_or(std::random_device{}());
    return s;
  }

  Options& o_;
  // Of before the weights were loaded: what is free afterwards counts them or, if they are mapped
  // from a file, does not.
  std::size_t memory_limit_;
  Machine machine_;
  LoadedModel loaded_;
  chat_template::ChatTemplate template_;
  checkpoint::GenerationConfig defaults_;
  json::array messages_;
};

// The answer as it comes; thoughts are dimmed on a terminal and left out elsewhere.
struct Printer {
  bool terminal = ::isatty(STDOUT_FILENO) != 0;
  bool dim = false;
  void operator()(const std::string& text, bool reasoning) {
    if (reasoning && !terminal) return;
    if (terminal && reasoning != dim) {
      std::fputs(reasoning ? "\033[2m" : "\033[0m\n", stdout);
      dim = reasoning;
    }
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  }
  void end() {
    if (dim) std::fputs("\033[0m", stdout);
    dim = false;
    std::fputs("\n", stdout);
    std::fflush(stdout);
  }
};

double per_second(std::int64_t tokens, double seconds) {
  return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

void answer_once(Chat& chat, const Options& o) {
  if (!o.as_json) {
    Printer printer;
    const Reply r = chat.ask(o.prompt, std::ref(printer));
    printer.end();
    if (r.answer.finish == generate::FinishReason::length)
      fmt::print(stderr, "octet: stopped after {} tokens (--max-tokens)\n", r.answer.answer_tokens);
    return;
  }
  const Reply r = chat.ask(o.prompt, [](const std::string&, bool) {});
  const auto& a = r.answer;
  fmt::print(
      "{}\n",
      to_json(json::object{
          {"text", r.text},
          {"reasoning", r.reasoning},
          {"tool_calls", json::array()},
          {"finish_reason", generate::to_string(a.finish)},
          {"usage",
           {{"prompt_tokens", a.prompt_tokens},
            {"completion_tokens", a.answer_tokens},
            {"total_tokens", a.prompt_tokens + a.answer_tokens}}},
          {"start", chat.start()},
          {"timings",
           {{"prefill_seconds", a.prefill_seconds},
            {"decode_seconds", a.decode_seconds},
            {"prefill_tokens_per_second", per_second(a.prompt_tokens, a.prefill_seconds)},
            {"decode_tokens_per_second", per_second(a.answer_tokens - 1, a.decode_seconds)}}}}));
}

const char* prompt_text(EditLine*) {
  return "> ";
}

// A line from the terminal with editing and history, or from a pipe; nullopt at the end.
class LineReader {
 public:
  LineReader() {
    if (::isatty(STDIN_FILENO) == 0) return;
    edit_ = el_init("octet", stdin, stdout, stderr);
    history_ = history_init();
    if (!edit_ || !history_) return;
    HistEvent event;
    history(history_, &event, H_SETSIZE, 200);
    el_set(edit_, EL_PROMPT, prompt_text);
    el_set(edit_, EL_EDITOR, "emacs");
    el_set(edit_, EL_HIST, history, history_);
  }
  ~LineReader() {
    if (history_) history_end(history_);
    if (edit_) el_end(edit_);
  }
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  std::optional<std::string> next() {
    std::string line;
    if (!edit_) {
      if (!std::getline(std::cin, line)) return std::nullopt;
      return line;
    }
    int count = 0;
    const char* text = el_gets(edit_, &count);
    if (!text || count <= 0) return std::nullopt;
    HistEvent event;
    if (count > 1) history(history_, &event, H_ENTER, text);
    line.assign(text, static_cast<std::size_t>(count));
    while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
    return line;
  }

 private:
  EditLine* edit_ = nullptr;
  History* history_ = nullptr;
};

void converse(Chat& chat) {
  LineReader reader;
  if (::isatty(STDIN_FILENO)) fmt::print("/reset forgets the conversation, /quit ends.\n");
  Printer printer;
  while (const auto line = reader.next()) {
    if (line->empty()) continue;
    if (*line == "/quit" || *line == "/exit") break;
    if (*line == "/reset") {
      chat.reset();
      continue;
    }
    if (line->starts_with("/")) {
      fmt::print("unknown command {}; there are /reset and /quit\n", *line);
      continue;
    }
    try {
      chat.ask(*line, std::ref(printer));
      printer.end();
    } catch (const Error& e) {
      if (e.code() == ErrorCode::interrupted) throw;
      fmt::print(stderr, "octet: {}\n", e.what());
    }
  }
}

}  // namespace

Command add_chat(CLI::App& app) {
  auto o = std::make_shared<Options>();
  auto* c = app.add_subcommand("chat", "Answers a prompt, or holds a conversation");
  c->add_option("MODEL", o->model, "folder, `tiny`, or hub id")->required();
  auto* prompt =
      c->add_option("PROMPT", o->prompt, "answer this and exit; without it a conversation begins");
  c->add_option("--system", o->system, "system message");
  c->add_flag("--no-think", o->no_think, "answer without thinking first");
  c->add_option("--max-tokens", o->max_tokens, "tokens of an answer at most")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 24));
  c->add_option("--temperature", o->temperature,
                "0: the most likely token always; default: the model's");
  c->add_option("--top-k", o->top_k, "keep the k most likely tokens; 0: all");
  c->add_option("--top-p", o->top_p, "keep the likeliest tokens that reach this probability");
  c->add_option("--min-p", o->min_p, "drop tokens below this share of the likeliest");
  c->add_option("--presence-penalty", o->presence_penalty, "-2 to 2");
  c->add_option("--frequency-penalty", o->frequency_penalty, "-2 to 2");
  c->add_option("--repetition-penalty", o->repetition_penalty, "above 1 discourages repetition");
  c->add_option("--seed", o->seed, "of the random choice; default: a new one each time");
  c->add_flag("--json", o->as_json, "print one JSON object (with PROMPT)");
  o->compute.add_to(*c);
  o->compute.add_loading_to(*c);
  return [o, prompt] {
    o->has_prompt = prompt->count() > 0;
    if (o->as_json && !o->has_prompt) fail(ErrorCode::invalid_argument, "--json needs a PROMPT");
    Chat chat(*o);
    if (o->has_prompt)
      answer_once(chat, *o);
    else
      converse(chat);
  };
}

}  // namespace octet::cli
