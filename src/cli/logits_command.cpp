#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstring>

#include "checkpoint/safetensors_writer.h"
#include "cli/common.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/progress.h"
#include "runtime/base/system.h"
#include "serve/answer/chat_prompt.h"

namespace octet::cli {

namespace {

struct Options {
  std::string model, text, ids_file, messages, out;
  std::vector<std::int32_t> ids;
  std::int64_t chunk = 512, last = 0;
  bool hidden = false, has_text = false;
  ComputeOptions compute;
};

std::vector<std::int32_t> input_ids(const Options& o, const LoadedModel& m) {
  if (!o.ids.empty()) return o.ids;
  if (o.has_text) return m.tokenizer->encode(o.text);
  if (!o.messages.empty()) {
    ChatInput input = read_chat_input(o.messages);
    if (!input.kwargs.contains("add_generation_prompt"))
      input.kwargs["add_generation_prompt"] = true;
    const auto chat = chat_template::ChatTemplate::load(m.checkpoint.folder());
    return serve::encode_prompt(*m.tokenizer,
                                chat.render_marked(input.messages, input.tools, input.kwargs));
  }
  const json::value v = read_json(o.ids_file);
  std::vector<std::int32_t> ids;
  if (v.is_array())
    for (const json::value& id : v.get_array()) {
      if (!id.is_int64() || id.get_int64() < 0 || id.get_int64() > INT32_MAX)
        fail(ErrorCode::bad_data, "{}: expected a JSON list of token ids", o.ids_file);
      ids.push_back(static_cast<std::int32_t>(id.get_int64()));
    }
  return ids;
}

void run(const Options& o) {
  if (o.has_text + !o.ids.empty() + !o.ids_file.empty() + !o.messages.empty() != 1)
    fail(ErrorCode::invalid_argument, "give one of --ids, --ids-file, --text or --messages");
  if (o.chunk < 1) fail(ErrorCode::invalid_argument, "--chunk {}: expected 1 or more", o.chunk);
  Machine machine(o.compute);
  LoadedModel m(o.model, machine, o.compute, {.kv_dtype = o.compute.kv_dtype()}, false);
  const auto ids = input_ids(o, m);
  if (ids.empty()) fail(ErrorCode::invalid_argument, "there are no tokens");
  const auto n = static_cast<std::int64_t>(ids.size());
  const auto& config = m.model->config();
  model::SequencePool pool(*machine.backend, config,
                           {.num_tokens = n, .kv_dtype = o.compute.kv_dtype()});
  model::Sequence sequence = pool.create();
  const std::int64_t first = o.last > 0 ? std::max<std::int64_t>(0, n - o.last) : 0;

  std::vector<std::vector<float>> hidden(
      o.hidden ? static_cast<std::size_t>(config.num_hidden_layers + 1) : 0);
  if (o.hidden)
    m.model->observer = [&](std::int64_t layer, TensorView x) {
      auto& to = hidden[static_cast<std::size_t>(layer + 1)];
      const std::size_t old = to.size();
      to.resize(old + static_cast<std::size_t>(x.size()));
      machine.backend->download(x, std::as_writable_bytes(std::span(to).subspan(old)));
    };
  std::vector<float> logits;
  Progress bar("logits", n, "tokens");
  for (std::int64_t begin = 0; begin < n; begin += o.chunk) {
    check_interrupt();
    const std::int64_t count = std::min(o.chunk, n - begin);
    const model::StepRows rows[] = {
        {.sequence = &sequence,
         .ids = std::span(ids).subspan(static_cast<std::size_t>(begin),
                                       static_cast<std::size_t>(count))}};
    const TensorView result = m.model->forward(rows, pool);
    std::vector<std::int32_t> wanted;
    for (std::int64_t i = std::max<std::int64_t>(0, first - begin); i < count; ++i)
      wanted.push_back(static_cast<std::int32_t>(i));
    if (!wanted.empty()) {
      std::vector<float> part;
      m.model->logits(result, wanted, part);
      logits.insert(logits.end(), part.begin(), part.end());
    }
    bar.update(begin + count);
  }
  bar.finish();

  std::vector<checkpoint::TensorPlan> plan{{"ids", DType::i64, {n}},
                                           {"positions", DType::i64, {3, n}},
                                           {"logits", DType::f32, {n - first, config.vocab_size}}};
  for (std::size_t i = 0; i < hidden.size(); ++i)
    plan.push_back({fmt::format("hidden.{}", i), DType::f32, {n, config.hidden_size}});
  checkpoint::SafetensorsWriter writer(o.out, plan);
  std::vector<std::int64_t> wide(ids.begin(), ids.end()), positions;
  for (int axis = 0; axis < 3; ++axis)
    for (std::int64_t i = 0; i < n; ++i) positions.push_back(i);
  writer.add("ids", std::as_bytes(std::span(wide)));
  writer.add("positions", std::as_bytes(std::span(positions)));
  writer.add("logits", std::as_bytes(std::span(logits)));
  for (std::size_t i = 0; i < hidden.size(); ++i)
    writer.add(fmt::format("hidden.{}", i), std::as_bytes(std::span(hidden[i])));
  writer.finish();
  fmt::print("{}: logits of {} of {} tokens, computed by {}\n", o.out, n - first, n,
             machine.backend->name());
}

}  // namespace

Command add_logits(CLI::App& app) {
  auto o = std::make_shared<Options>();
  auto* c = app.add_subcommand(
      "logits", "Writes logits of an input to a safetensors file, to compare implementations");
  c->add_option("MODEL", o->model, "folder, `tiny`, or hub id")->required();
  c->add_option("--ids", o->ids, "token ids: 1,2,3")->delimiter(',');
  c->add_option("--ids-file", o->ids_file, "JSON list of token ids");
  auto* text = c->add_option("--text", o->text, "text");
  c->add_option("--messages", o->messages, "chat: a JSON list of messages or a chat request");
  c->add_option("--out", o->out, "file to write")->required();
  c->add_option("--last", o->last, "logits of the last N tokens only; 0: of all")
      ->capture_default_str();
  c->add_option("--chunk", o->chunk, "tokens computed at once")->capture_default_str();
  c->add_flag("--hidden", o->hidden, "also hidden.0 (embedding) to hidden.N (after layer N)");
  o->compute.activations = "float32";  // exact unless asked otherwise: this command judges
  o->compute.add_to(*c);
  o->compute.add_loading_to(*c);
  return [o, text] {
    o->has_text = text->count() > 0;
    run(*o);
  };
}

}  // namespace octet::cli
