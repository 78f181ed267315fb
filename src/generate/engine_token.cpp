// What becomes of a step's results: progress, snapshots, log-probabilities, tokens.
#include <algorithm>

#include "generate/engine_impl.h"
#include "generate/sampler.h"

namespace octet::generate {

namespace {
// Forced tokens that are taken at once; they are computed together in the next step.
constexpr int kMostForced = 63;
}  // namespace

void Engine::Impl::took_in(const Planned& piece, TensorView hidden, std::int64_t row) {
  Answer& a = *piece.answer;
  Job& job = *a.job;
  const std::int64_t length = a.sequence.length(), prompt = a.summary.prompt_tokens;
  counts_.prompt_tokens += std::clamp<std::int64_t>(prompt - piece.begin, 0, piece.count);
  if (keeps_state(a, length) && plan.snapshots > 0) {
    // Those in the prompt stay, for other continuations; the one of the answer moves along.
    if (length <= prompt)
      cache_.insert(a.sequence, a.tokens, a.keys, {});
    else
      a.rolling = cache_.insert(a.sequence, a.tokens, a.keys, a.rolling);
  }
  if (piece.begin >= prompt) return;
  if (job.logprobs_due) {
    try {
      prompt_logprobs(piece, hidden, row);
    } catch (...) {  // they are those of all answers
      return end(job, FinishReason::failed, fault_of(std::current_exception(), job.id));
    }
  }
  const PromptProgress progress{.total = prompt,
                                // After a preemption less may be there than once was.
                                .cached = std::min(a.summary.cached_tokens, length),
                                .processed = std::min(length, prompt),
                                .seconds = seconds_between(job.admitted, Clock::now())};
  const bool logprobs = job.logprobs_due && std::ssize(job.prompt_logprobs) == prompt - 1;
  std::vector<TokenOutput> likely;
  if (logprobs) {
    job.logprobs_due = false;
    likely = std::move(job.prompt_logprobs);
  }
  for (auto& to : job.answers) {
    const bool shares = to.get() == &a || to->phase == Phase::following;
    if (to->phase == Phase::done || !(shares || logprobs)) continue;
    guarded(*to, [&] {
      if (shares && progress.processed > to->prompt_reported) {
        to->prompt_reported = progress.processed;
        to->sink().on_prompt(progress);
      }
      if (!logprobs) return;
      // Of a long prompt they are large; there is mostly one to hear of them.
      if (to == job.answers.back())
        to->sink().on_prompt_logprobs(std::move(likely));
      else
        to->sink().on_prompt_logprobs(likely);
    });
  }
}

// Rows of the prompt tell how likely the token after each was.
void Engine::Impl::prompt_logprobs(const Planned& piece, TensorView hidden, std::int64_t row) {
  const Job& job = *piece.answer->job;
  auto& done = piece.answer->job->prompt_logprobs;
  const std::int64_t end = std::min(piece.begin + piece.count, job.prompt_size() - 1);
  const auto vocab = static_cast<std::size_t>(text_model.config().vocab_size);
  std::vector<std::int32_t> rows;
  // After a preemption some are there already.
  for (std::int64_t at = std::max(piece.begin, std::ssize(done)); at < end;) {
    rows.clear();
    for (; at < end && std::ssize(rows) < logit_rows_; ++at)
      rows.push_back(static_cast<std::int32_t>(row + at - piece.begin));
    text_model.logits(hidden, rows, logits_);
    for (std::size_t i = 0; i < rows.size(); ++i)
      done.push_back(Sampler::token_logprobs(
          std::span(logits_).subspan(i * vocab, vocab), job.request.prompt[done.size() + 1],
          job.request.num_prompt_logprobs, num_tokens_, job.request.sampling.logprobs_mode));
  }
}

void Engine::Impl::choose_tokens(TensorView hidden) {
  // What a grammar forces needs no logits, unless somebody wants to know how likely it was.
  std::erase_if(choosing_, [&](const auto& item) {
    Answer& a = *item.first;
    bool settled = false;
    const bool alive = guarded(a, [&] {
      if (!a.constraint || a.job->request.sampling.num_logprobs != -1) return;
      if (!a.constraint->forced()) return;
      settled = true;
      take_forced(a);
    });
    return settled || !alive;
  });
  const auto vocab = static_cast<std::size_t>(text_model.config().vocab_size);
  std::vector<std::int32_t> rows;
  for (std::size_t first = 0; first < choosing_.size();) {
    const std::size_t last =
        std::min(choosing_.size(), first + static_cast<std::size_t>(logit_rows_));
    rows.clear();
    for (std::size_t i = first; i < last; ++i) rows.push_back(choosing_[i].second);
    try {
      text_model.logits(hidden, rows, logits_);
    } catch (...) {
      for (std::size_t i = first; i < last; ++i)
        end(*choosing_[i].first, FinishReason::failed,
            fault_of(std::current_exception(), choosing_[i].first->job->id));
      first = last;
      continue;
    }
    for (std::size_t i = first; i < last; ++i) {
      Answer& a = *choosing_[i].first;
      guarded(a, [&] {
        choose(a, std::span(logits_).subspan((i - first) * vocab, vocab));
        if (a.phase == Phase::running && a.constraint &&
            a.job->request.sampling.num_logprobs == -1 && a.sink().ready())
          take_forced(a);
      });
    }
    first = last;
  }
}

void Engine::Impl::choose(Answer& a, std::span<float> logits) {
  if (const auto id = a.constraint ? a.constraint->forced() : std::nullopt)
    emit(a, a.sampler->take(logits, checked(*id)));
  else
    emit(a, a.sampler->sample(logits, mask_of(a)));
}

// A token that a constraint forces.
std::int32_t Engine::Impl::checked(std::int32_t id) const {
  OCTET_CHECK(id >= 0 && id < text_model.config().vocab_size, "a constraint forces token {}", id);
  return id;
}

// What a constraint allows; empty: everything.
std::span<const std::uint32_t> Engine::Impl::mask_of(Answer& a) {
  if (!a.constraint) return {};
  std::ranges::fill(mask_, ~0u);
  if (!a.constraint->fill_mask(mask_)) return {};
  return mask_;
}

void Engine::Impl::take_forced(Answer& a) {
  for (int i = 0; i < kMostForced && a.phase == Phase::running; ++i) {
    if (i > 0 && !a.sink().ready()) return;
    const auto id = a.constraint->forced();
    if (!id) return;
    a.sampler->accept(checked(*id));
    emit(a, {.id = *id, .has_logprob = false, .chosen = {}, .top = {}});
  }
}

void Engine::Impl::emit(Answer& a, const TokenOutput& token) {
  const Request& request = a.job->request;
  if (a.answered().empty()) {
    a.first_token = Clock::now();
    a.summary.prefill_seconds = seconds_between(a.job->admitted, a.first_token);
  }
  if (a.constraint) a.constraint->accept(token.id);
  a.tokens.push_back(token.id);
  ++counts_.answer_tokens;
  const bool repeats = a.repetition.repeats(a.answered());
  const bool more = a.sink().on_token(token);
  if (std::ranges::find(request.stop_ids, token.id) != request.stop_ids.end()) {
    a.summary.stop_id = token.id;
    end(a, FinishReason::stop);
  } else if (!more) {
    end(a, FinishReason::stop);
  } else if (std::ssize(a.answered()) >= request.max_tokens) {
    end(a, FinishReason::length);
  } else if (repeats) {
    end(a, FinishReason::repetition);
  }
}

}  // namespace octet::generate
