#include "generate/generator.h"

#include <algorithm>
#include <chrono>

namespace octet::generate {

using Clock = std::chrono::steady_clock;

std::string_view to_string(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::cancelled:
      return "cancelled";
    case FinishReason::none:
      break;
  }
  return "none";
}

struct Generator::Active {
  Request request;
  Sampler sampler;
  model::Sequence sequence;
  Answer answer;
  std::int64_t fed = 0;  // tokens of prompt and answer that the model has seen
  Clock::time_point start = Clock::now(), first_token;

  // What the model is to see next: the rest of the prompt, or the last token of the answer.
  std::span<const std::int32_t> next(std::int64_t limit) const {
    const auto prompt = static_cast<std::int64_t>(request.prompt.size());
    if (fed < prompt)
      return std::span(request.prompt)
          .subspan(static_cast<std::size_t>(fed),
                   static_cast<std::size_t>(std::min(limit, prompt - fed)));
    return std::span(answer.tokens).last(1);
  }
  bool decoding() const { return fed >= static_cast<std::int64_t>(request.prompt.size()); }
  bool done() const { return answer.finish != FinishReason::none; }
};

Generator::Generator(model::TextModel& model, model::SequencePool& pool,
                     const GeneratorOptions& options)
    : model_(model), pool_(pool), options_(options) {}

Generator::~Generator() = default;

int Generator::add(Request request) {
  if (request.prompt.empty()) fail(ErrorCode::invalid_argument, "the prompt is empty");
  if (request.max_tokens < 1)
    fail(ErrorCode::invalid_argument, "max_tokens = {}: expected 1 or more", request.max_tokens);
  Sampler sampler(request.sampling, options_.num_tokens, request.prompt);
  auto active = std::make_unique<Active>(
      Active{std::move(request), std::move(sampler), pool_.create(), {}, 0, Clock::now(), {}});
  pool_.reserve(active->sequence, static_cast<std::int64_t>(active->request.prompt.size()) +
                                      active->request.max_tokens);
  active_.push_back(std::move(active));
  return static_cast<int>(active_.size()) - 1;
}

void Generator::finish(Active& a, FinishReason reason) {
  a.answer.finish = reason;
  a.answer.decode_seconds =
      a.answer.tokens.empty() ? 0
                              : std::chrono::duration<double>(Clock::now() - a.first_token).count();
  a.sequence.release();
}

bool Generator::step() {
  std::vector<model::StepRows> rows;
  std::vector<Active*> in_step;
  std::int64_t room = options_.max_step_rows;
  // Answers under way first: a long prompt must not make them wait.
  for (const bool decoding : {true, false})
    for (auto& a : active_) {
      if (a->done() || a->decoding() != decoding || room <= 0) continue;
      const auto ids = a->next(room);
      rows.push_back({.sequence = &a->sequence, .ids = ids});
      in_step.push_back(a.get());
      room -= static_cast<std::int64_t>(ids.size());
    }
  if (rows.empty()) return false;

  const TensorView hidden = model_.forward(rows, pool_);
  std::vector<std::int32_t> last;  // rows whose logits choose a token
  std::vector<Active*> choosing;
  std::int64_t row = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto count = static_cast<std::int64_t>(rows[i].ids.size());
    row += count;
    in_step[i]->fed += count;
    if (!in_step[i]->decoding()) continue;
    last.push_back(static_cast<std::int32_t>(row - 1));
    choosing.push_back(in_step[i]);
  }
  if (last.empty()) return true;
  model_.logits(hidden, last, logits_);
  const auto vocab = static_cast<std::size_t>(model_.config().vocab_size);
  for (std::size_t i = 0; i < choosing.size(); ++i) {
    Active& a = *choosing[i];
    const std::int32_t id = a.sampler.sample(std::span(logits_).subspan(i * vocab, vocab)).id;
    if (a.answer.tokens.empty()) {
      a.first_token = Clock::now();
      a.answer.prefill_seconds = std::chrono::duration<double>(a.first_token - a.start).count();
    }
    a.answer.tokens.push_back(id);
    const bool stop = std::ranges::find(a.request.stop_ids, id) != a.request.stop_ids.end();
    const bool go_on = !a.request.on_token || a.request.on_token(id);
    if (stop)
      finish(a, FinishReason::stop);
    else if (static_cast<std::int64_t>(a.answer.tokens.size()) >= a.request.max_tokens)
      finish(a, FinishReason::length);
    else if (!go_on)
      finish(a, FinishReason::cancelled);
  }
  return true;
}

void Generator::run() {
  while (step()) {
  }
}

const Answer& Generator::answer(int number) const {
  return active_.at(static_cast<std::size_t>(number))->answer;
}

void Generator::cancel(int number) {
  Active& a = *active_.at(static_cast<std::size_t>(number));
  if (!a.done()) finish(a, FinishReason::cancelled);
}

}  // namespace octet::generate
