#include "evaluate/perplexity.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "runtime/base/system.h"
#include "runtime/base/thread_pool.h"

namespace octet::evaluate {

namespace {

struct Score {
  double nll = 0, base_nll = 0, kl = 0;
  bool same_top = false;
};

// One row of logits: where its mass lies.
struct Softmax {
  std::span<const float> logits;
  std::size_t top = 0;
  double log_sum = 0;  // log of the sum of exp(logit)
  explicit Softmax(std::span<const float> row) : logits(row) {
    top = static_cast<std::size_t>(std::ranges::max_element(row) - row.begin());
    double sum = 0;
    for (const float x : row) sum += std::exp(static_cast<double>(x) - row[top]);
    log_sum = row[top] + std::log(sum);
  }
  double log_probability(std::size_t id) const { return logits[id] - log_sum; }
};

double kl_divergence(const Softmax& base, const Softmax& model) {
  double kl = 0;
  for (std::size_t i = 0; i < base.logits.size(); ++i) {
    const double log_p = base.log_probability(i);
    kl += std::exp(log_p) * (log_p - model.log_probability(i));
  }
  // Rounding may leave -1e-17 where the two agree.
  return std::max(kl, 0.0);
}

// A row whose logits are wanted: predicts `target`, scored as number `index`.
struct ScoredRow {
  std::int32_t row = 0;
  std::int32_t target = 0;
  std::size_t index = 0;
};

class Run {
 public:
  Run(model::TextModel& model, model::TextModel* base, std::span<const std::int32_t> tokens,
      const PerplexityOptions& options, ThreadPool& threads)
      : model_(model), base_(base), tokens_(tokens), options_(options), threads_(threads) {
    const std::int64_t together = std::max<std::int64_t>(1, options.step_rows / options.context);
    const model::PoolOptions pool{
        .num_sequences = together,
        .num_tokens =
            together * ((options.context + ops::kPageTokens) / ops::kPageTokens * ops::kPageTokens +
                        ops::kPageTokens)};
    pool_.emplace(model.backend(), model.config(), pool);
    if (base) base_pool_.emplace(base->backend(), base->config(), pool);
    together_ = together;
  }

  std::int64_t together() const { return together_; }

  // Scores some windows, computed side by side; scores[i] are those of group[i], in order.
  void group(std::span<const Window> group, std::vector<std::vector<Score>>& scores) {
    std::vector<model::Sequence> sequences, base_sequences;
    scores.assign(group.size(), {});
    std::int64_t longest = 0;
    for (std::size_t i = 0; i < group.size(); ++i) {
      sequences.push_back(pool_->create());
      if (base_) base_sequences.push_back(base_pool_->create());
      longest = std::max(longest, group[i].end - group[i].begin);
    }
    const std::int64_t chunk =
        std::max<std::int64_t>(1, options_.step_rows / static_cast<std::int64_t>(group.size()));
    for (std::int64_t first = 0; first < longest; first += chunk) {
      check_interrupt();
      std::vector<model::StepRows> rows, base_rows;
      std::vector<std::pair<std::size_t, ScoredRow>> wanted;
      std::int32_t row = 0;
      for (std::size_t i = 0; i < group.size(); ++i) {
        const Window& w = group[i];
        const std::int64_t begin = w.begin + first, end = std::min(begin + chunk, w.end);
        if (begin >= end) continue;
        const auto ids =
            tokens_.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
        rows.push_back({.sequence = &sequences[i], .ids = ids});
        if (base_) base_rows.push_back({.sequence = &base_sequences[i], .ids = ids});
        for (std::int64_t t = begin; t < end; ++t, ++row)
          // Row t predicts token t + 1, which counts if it is one of the window's targets.
          if (t + 1 < w.end && t + 1 >= w.end - w.target)
            wanted.push_back({i, {row, tokens_[static_cast<std::size_t>(t + 1)], 0}});
      }
      const TensorView hidden = model_.forward(rows, *pool_);
      TensorView base_hidden;
      if (base_) base_hidden = base_->forward(base_rows, *base_pool_);
      score(hidden, base_hidden, wanted, scores);
    }
  }

 private:
  void score(TensorView hidden, TensorView base_hidden,
             const std::vector<std::pair<std::size_t, ScoredRow>>& wanted,
             std::vector<std::vector<Score>>& scores) {
    // 64 rows of a large vocabulary at a time bound the memory.
    for (std::size_t first = 0; first < wanted.size(); first += 64) {
      const std::size_t count = std::min<std::size_t>(64, wanted.size() - first);
      std::vector<std::int32_t> indices;
      for (std::size_t i = 0; i < count; ++i) indices.push_back(wanted[first + i].second.row);
      model_.logits(hidden, indices, logits_);
      if (base_) base_->logits(base_hidden, indices, base_logits_);
      std::vector<Score> results(count);
      const auto vocab = static_cast<std::size_t>(model_.config().vocab_size);
      threads_.parallel_for(
          static_cast<std::int64_t>(count), 1, [&](std::int64_t b, std::int64_t e, int) {
            for (auto i = static_cast<std::size_t>(b); i < static_cast<std::size_t>(e); ++i) {
              const auto target = static_cast<std::size_t>(wanted[first + i].second.target);
              const Softmax p{std::span(logits_).subspan(i * vocab, vocab)};
              results[i].nll = -p.log_probability(target);
              if (!std::isfinite(results[i].nll))
                fail(ErrorCode::bad_data,
                     "the model's logits are not finite; are its weights damaged?");
              if (!base_) continue;
              const Softmax q{std::span(base_logits_).subspan(i * vocab, vocab)};
              results[i].base_nll = -q.log_probability(target);
              results[i].kl = kl_divergence(q, p);
              results[i].same_top = p.top == q.top;
            }
          });
      for (std::size_t i = 0; i < count; ++i) scores[wanted[first + i].first].push_back(results[i]);
    }
  }

  model::TextModel& model_;
  model::TextModel* base_;
  std::span<const std::int32_t> tokens_;
  PerplexityOptions options_;
  ThreadPool& threads_;
  std::optional<model::SequencePool> pool_, base_pool_;
  std::int64_t together_ = 1;
  std::vector<float> logits_, base_logits_;
};

// Mean and its standard error, positions taken as independent.
struct Mean {
  double mean = 0, error = 0;
  template <typename Values>
  explicit Mean(const Values& values) {
    const auto n = static_cast<double>(values.size());
    for (const double v : values) mean += v;
    mean /= n;
    double squares = 0;
    for (const double v : values) squares += (v - mean) * (v - mean);
    error = values.size() > 1 ? std::sqrt(squares / (n - 1) / n) : 0;
  }
};

Comparison compare(const std::vector<Score>& scores, double perplexity) {
  Comparison c;
  std::vector<double> kl, difference;
  double same = 0;
  for (const Score& s : scores) {
    c.nll += s.base_nll;
    kl.push_back(s.kl);
    difference.push_back(s.nll - s.base_nll);
    same += s.same_top;
  }
  const auto n = static_cast<double>(scores.size());
  c.perplexity = std::exp(c.nll / n);
  c.delta_percent = (perplexity / c.perplexity - 1) * 100;
  c.delta_stderr = Mean(difference).error * perplexity / c.perplexity * 100;
  const Mean mean_kl(kl);
  c.kl_mean = mean_kl.mean;
  c.kl_stderr = mean_kl.error;
  std::ranges::sort(kl);
  c.kl_max = kl.back();
  c.kl_p99 = kl[static_cast<std::size_t>(std::ceil(0.99 * n)) - 1];
  c.same_top = same / n;
  return c;
}

// Fills in the windows that other ranks have scored.
void share(std::vector<std::vector<Score>>& windows, std::size_t step, comm::Communicator& ranks) {
  static_assert(std::is_trivially_copyable_v<Score>);
  if (ranks.alone()) return;
  const auto count = static_cast<std::size_t>(ranks.size());
  std::vector<Score> mine;
  for (const auto& w : windows) mine.insert(mine.end(), w.begin(), w.end());
  const auto lengths_of = [&] {
    std::vector<std::uint64_t> lengths;
    for (const auto& w : windows) lengths.push_back(w.size());
    return lengths;
  }();
  const auto lengths = ranks.gather(std::as_bytes(std::span(lengths_of)));
  const auto scores = ranks.gather(std::as_bytes(std::span(mine)));
  std::vector<std::size_t> at(count);
  for (std::size_t i = 0; i < windows.size(); ++i) {
    const std::size_t owner = i / step % count;
    std::uint64_t length = 0;
    std::memcpy(&length, lengths[owner].data() + i * sizeof length, sizeof length);
    windows[i].resize(length);
    std::memcpy(windows[i].data(), scores[owner].data() + at[owner], length * sizeof(Score));
    at[owner] += length * sizeof(Score);
  }
}

}  // namespace

std::vector<Window> windows(std::int64_t num_tokens, const PerplexityOptions& options) {
  if (options.context < 2)
    fail(ErrorCode::invalid_argument, "--context {}: expected 2 or more", options.context);
  if (options.stride < 1 || options.stride > options.context)
    fail(ErrorCode::invalid_argument, "--stride {}: expected 1 to the context, {}", options.stride,
         options.context);
  if (num_tokens < 2)
    fail(ErrorCode::invalid_argument,
         "the text has {} tokens; at least 2 are needed to score one of them", num_tokens);
  std::vector<Window> result;
  std::int64_t previous = 0;
  for (std::int64_t begin = 0;; begin += options.stride) {
    const std::int64_t end = std::min(begin + options.context, num_tokens);
    result.push_back({begin, end, end - previous});
    previous = end;
    if (end == num_tokens || (options.max_windows > 0 &&
                              static_cast<std::int64_t>(result.size()) == options.max_windows))
      return result;
  }
}

PerplexityResult perplexity(model::TextModel& model, model::TextModel* base,
                            std::span<const std::int32_t> tokens, const PerplexityOptions& options,
                            ThreadPool& pool, comm::Communicator& ranks,
                            const std::function<void(std::int64_t, std::int64_t)>& progress) {
  if (base && base->config().vocab_size != model.config().vocab_size)
    fail(ErrorCode::invalid_argument,
         "the base has a vocabulary of {}, the model one of {}: they can't be compared",
         base->config().vocab_size, model.config().vocab_size);
  const auto start = std::chrono::steady_clock::now();
  const auto all = windows(static_cast<std::int64_t>(tokens.size()), options);
  PerplexityResult result;
  result.tokens = static_cast<std::int64_t>(tokens.size());
  result.windows = static_cast<std::int64_t>(all.size());
  std::int64_t total_rows = 0;
  for (const Window& w : all) total_rows += w.end - w.begin;

  Run run(model, base, tokens, options, pool);
  std::vector<Score> scores;
  double a_sum = 0, a_count = 0, b_sum = 0, b_count = 0;
  const auto step = static_cast<std::size_t>(run.together());
  // Groups go round the ranks; then everybody learns all scores, in order of the windows.
  std::vector<std::vector<Score>> by_window(all.size());
  std::int64_t done = 0;
  for (std::size_t first = 0, turn = 0; first < all.size(); first += step, ++turn) {
    const auto group = std::span(all).subspan(first, std::min(step, all.size() - first));
    for (const Window& w : group) done += w.end - w.begin;
    if (static_cast<int>(turn % static_cast<std::size_t>(ranks.size())) == ranks.rank()) {
      std::vector<std::vector<Score>> window_scores;
      run.group(group, window_scores);
      std::ranges::move(window_scores, by_window.begin() + static_cast<std::ptrdiff_t>(first));
    }
    if (progress) progress(done, total_rows);
  }
  share(by_window, step, ranks);
  for (std::size_t i = 0; i < all.size(); ++i) {
    double sum = 0;
    for (const Score& s : by_window[i]) sum += s.nll;
    const auto labels = static_cast<double>(all[i].target);
    const double mean = sum / static_cast<double>(by_window[i].size());
    a_sum += mean * (labels - 1);
    a_count += labels - 1;
    b_sum += mean * labels;
    b_count += labels;
    scores.insert(scores.end(), by_window[i].begin(), by_window[i].end());
    result.forwarded += all[i].end - all[i].begin;
  }

  result.scored = static_cast<std::int64_t>(scores.size());
  std::vector<double> nll;
  for (const Score& s : scores) {
    nll.push_back(s.nll);
    result.nll += s.nll;
  }
  result.perplexity = std::exp(result.nll / static_cast<double>(scores.size()));
  result.stderr_ = result.perplexity * Mean(nll).error;
  result.variant_a_prime = a_count > 0 ? std::exp(a_sum / a_count) : result.perplexity;
  result.variant_b = std::exp(b_sum / b_count);
  if (base) result.base = compare(scores, result.perplexity);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace octet::evaluate
