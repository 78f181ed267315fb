#include "quantize/plan.h"

#include <algorithm>
#include <numeric>

#include "quantize/columns.h"
#include "runtime/base/progress.h"
#include "runtime/base/system.h"

namespace octet::quantize {

namespace {

using model::LinearModule;
using Groups = std::vector<std::vector<LinearModule>>;

std::uint64_t u(std::int64_t n) {
  return static_cast<std::uint64_t>(n);
}

// Two operands of a product, packed: 512 floats or 256 doubles of each row.
constexpr std::uint64_t kPackBytes = 2 * 512 * 4;

std::int64_t weights_of(const std::vector<LinearModule>& modules) {
  std::int64_t n = 0;
  for (const auto& m : modules) n += m.out_features * m.in_features;
  return n;
}

// Memory of one kind of layer.
class LayerMemory {
 public:
  LayerMemory(const checkpoint::TextConfig& config, const Groups& groups, std::int64_t rows,
              bool reference, bool held_out, const GptqOptions& options)
      : config_(config),
        groups_(groups),
        rows_(rows),
        reference_(reference),
        held_out_(held_out),
        options_(options) {}

  // The point of the layer where most is needed, and what.
  std::vector<QuantizePlan::Item> peak(std::string& where) const {
    std::vector<QuantizePlan::Item> largest;
    std::uint64_t most = 0;
    for (std::size_t point = 0; point < groups_.size(); ++point)
      for (const bool solving : {false, true}) {
        auto items = at(point, solving);
        std::uint64_t sum = 0;
        for (const auto& item : items) sum += item.bytes;
        if (sum <= most) continue;
        most = sum;
        largest = std::move(items);
        where = fmt::format("{} {}", solving ? "solving" : "the inputs of", groups_[point][0].name);
      }
    return largest;
  }

 private:
  std::vector<QuantizePlan::Item> at(std::size_t point, bool solving) const {
    const std::int64_t k = groups_[point][0].in_features;
    std::int64_t widest = 0;
    for (const auto& m : groups_[point]) widest = std::max(widest, padded_lanes(m.out_features));
    // The layer: bfloat16 in the unquantized model, and as far as it is not quantized yet.
    std::int64_t dense = 0, done = 0;
    for (std::size_t i = 0; i < groups_.size(); ++i)
      (i < point ? done : dense) += weights_of(groups_[i]);
    const std::int64_t all = dense + done;
    const std::uint64_t codes = u(done) + u(done) / 16;
    std::vector<QuantizePlan::Item> items;
    items.push_back({"layer as it is being made", u(2 * dense) + codes});
    if (reference_) items.push_back({"layer unquantized", u(2 * all)});
    items.push_back({"results of the layer", u(done) + u(done) / 8});
    const bool takes_residual =
        point % 2 == 1 && (options_.token_weights || options_.residual_shift != 0);
    items.push_back({"forward step", step_bytes(k, solving, takes_residual)});
    const std::uint64_t square = u(k * k);
    const std::uint64_t extra = u(reference_ ? 4 : 0) + u(held_out_ ? 4 : 0);
    const bool makes_good = reference_ && point % 2 == 1 && options_.residual_shift != 0;
    if (makes_good) items.push_back({"residual stream", 4 * u(k * config_.hidden_size)});
    if (!solving) {
      items.push_back({"sums of x^T x", square * (8 + extra)});
      items.push_back({"packing", kPackBytes * u(k)});
      return items;
    }
    const std::uint64_t foem = options_.foem_alpha != 0 ? 4 : 0;
    items.push_back({"Hessian and factor", square * (12 + extra + foem)});
    const std::uint64_t columns = u(k * widest);
    const bool moves = options_.target_shift != 0 || makes_good;
    const std::uint64_t target = moves ? 4 : 0;
    // Rows and columns of the weight, its target, what the loop works on, codes and their return.
    std::uint64_t work = 4 + 1 + (options_.foem_beta != 0 ? 4 : 0);
    if (target > 0) work = std::max<std::uint64_t>(work, 8);
    if (held_out_) work = std::max<std::uint64_t>(work, 4 + 2);
    items.push_back({"weight being solved", columns * (8 + target + work)});
    // The module's own pages of the file, then what the products keep for both precisions, and the
    // panels of the factorization.
    items.push_back({"pages of the file", 2 * columns});
    items.push_back({"packing", 2 * kPackBytes * u(std::max(k, widest)) + u(3 * 128 * 8) * u(k)});
    return items;
  }

  // Tensors of a step of the model, and the inputs as the sums take them.
  std::uint64_t step_bytes(std::int64_t k, bool solving, bool residual) const {
    const auto& c = config_;
    const std::int64_t projected =
        std::max(2 * c.num_attention_heads * c.head_dim + 2 * c.num_key_value_heads * c.head_dim,
                 c.conv_dim() + c.value_dim() + 2 * c.linear_num_value_heads);
    const std::int64_t core = std::max(c.value_dim(), c.num_attention_heads * c.head_dim);
    const std::int64_t workspace = projected + c.conv_dim() + core + 3 * c.intermediate_size +
                                   2 * c.hidden_size + c.hidden_size;
    const std::int64_t caches = (rows_ + 8 * 64) * 2 * c.num_key_value_heads * c.head_dim;
    const std::int64_t states =
        8 * (c.linear_num_value_heads * c.linear_key_head_dim * c.linear_value_head_dim +
             3 * c.conv_dim());
    const std::int64_t rows = solving ? 0 : rows_ * (k + (residual ? c.hidden_size : 0));
    const std::int64_t inputs = rows * (reference_ ? 3 : 2);
    return u(4 * (rows_ * workspace + caches + states + inputs));
  }

  const checkpoint::TextConfig& config_;
  const Groups& groups_;
  std::int64_t rows_;
  bool reference_, held_out_;
  const GptqOptions& options_;
};

// Work of one layer, for all tokens.
void add_flops(QuantizePlan& plan, const Groups& groups, const GptqOptions& options, bool reference,
               double hidden_size) {
  const auto tokens = static_cast<double>(plan.tokens);
  const double streams = reference ? 2 : 1;
  for (std::size_t point = 0; point < groups.size(); ++point) {
    const auto weights = static_cast<double>(weights_of(groups[point]));
    const auto k = static_cast<double>(groups[point][0].in_features);
    // Points 0 and 2 lead to kept inputs; without those they are computed twice.
    const double times = point % 2 == 0 && !plan.arena.keep_inputs ? 2 : 1;
    plan.forward_flops += 2 * weights * tokens * streams * times;
    plan.statistics_flops += k * k * tokens * (reference ? 3 : 1);
    if (reference && point % 2 == 1 && options.residual_shift != 0)
      plan.statistics_flops += 2 * k * hidden_size * tokens;
    plan.factor_flops += 2.0 / 3 * k * k * k;
    plan.weights += weights;
    double rows = 0;
    for (const auto& m : groups[point]) rows += static_cast<double>(m.out_features);
    const double reported =
        std::min(1.0, static_cast<double>(kReportRows * std::ssize(groups[point])) / rows);
    double per_weight = 1 + 4 * reported;  // columns; report
    if (options.target_shift != 0)
      per_weight += 6;
    else if (options.residual_shift != 0 && point % 2 == 1)
      per_weight += 4;
    per_weight += 2.0 * static_cast<double>(options.refine_rounds * options.refine_sweeps);
    if (options.row_fallback) per_weight += 4;
    plan.solve_flops += per_weight * weights * k;
  }
}

}  // namespace

QuantizePlan plan_quantize(const checkpoint::TextConfig& config,
                           const std::vector<std::int64_t>& row_tokens, Method method,
                           const GptqOptions& options, std::uint64_t limit) {
  QuantizePlan plan;
  plan.tokens = std::accumulate(row_tokens.begin(), row_tokens.end(), std::int64_t{0});
  const bool calibrated = method == Method::gptq;
  const bool reference = calibrated && needs_reference(options);
  const bool held_out = calibrated && options.row_fallback && row_tokens.size() >= 10;
  std::int64_t longest = 1;
  for (const std::int64_t n : row_tokens) longest = std::max(longest, n);
  const std::int64_t rows = std::max<std::int64_t>(1024, longest);

  std::vector<Groups> kinds;  // one of each kind of layer, with how often it occurs
  std::vector<std::int64_t> counts;
  for (const bool full : {false, true})
    for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
      if (config.is_full_attention(i) != full) continue;
      if (kinds.empty() || kinds.size() < (full ? 2u : 1u) || counts.size() != kinds.size()) {
        kinds.push_back(model::quantized_modules(config, i));
        counts.push_back(0);
      }
      ++counts.back();
    }
  std::uint64_t most = 0;
  for (const Groups& groups : kinds) {
    std::string where;
    std::vector<QuantizePlan::Item> items;
    if (calibrated) {
      items = LayerMemory(config, groups, rows, reference, held_out, options).peak(where);
    } else {
      std::int64_t largest = 0, all = 0;
      for (const auto& group : groups)
        for (const auto& m : group) {
          largest = std::max(largest, m.out_features * m.in_features);
          all += m.out_features * m.in_features;
        }
      items = {{"results of the layer", u(all) + u(all) / 8},
               {"weight being rounded", u(5 * largest)}};
      where = "rounding";
      const std::uint64_t copied = u(2 * config.vocab_size * config.hidden_size);
      if (copied > u(all) + u(all) / 8 + u(5 * largest)) {
        items = {{"embeddings being copied", copied}};
        where = "copying";
      }
    }
    std::uint64_t sum = 0;
    for (const auto& item : items) sum += item.bytes;
    if (sum <= most) continue;
    most = sum;
    plan.items = std::move(items);
    plan.peak_at = where;
  }
  if (calibrated && options.token_weights) {
    // Predictions of the unquantized model: its head and the logits of 64 tokens, twice.
    const std::uint64_t head = u(2 * config.vocab_size * config.hidden_size);
    const std::uint64_t logits = u(2 * 64 * 4 * config.vocab_size);
    if (2 * head + logits > most) {
      most = 2 * head + logits;
      plan.items = {{"head of the model", head}, {"pages of the file", head}, {"logits", logits}};
      plan.peak_at = "weights of the tokens";
    }
  }
  plan.items.push_back({"program", current_rss_bytes()});

  if (calibrated) {
    std::int64_t kept = config.intermediate_size;
    for (const Groups& g : kinds) kept = std::max(kept, g[1][0].in_features);
    const std::uint64_t streams = reference ? 2 : 1;
    const std::uint64_t hidden = u(4 * plan.tokens * config.hidden_size) * streams;
    const std::uint64_t inputs = u(4 * plan.tokens * kept) * streams;
    const std::uint64_t fixed = most + plan.items.back().bytes;
    plan.arena = {.spill = false, .keep_inputs = true};
    if (limit != 0 && fixed + hidden + inputs > limit) plan.arena.keep_inputs = false;
    if (limit != 0 && fixed + hidden > limit) plan.arena.spill = true;
    if (plan.arena.spill) {
      plan.spill_bytes = hidden;
    } else {
      plan.items.push_back({"rows between the layers", hidden});
      if (plan.arena.keep_inputs) plan.items.push_back({"inputs that are kept", inputs});
    }
    for (std::size_t i = 0; i < kinds.size(); ++i)
      for (std::int64_t n = 0; n < counts[i]; ++n)
        add_flops(plan, kinds[i], options, reference, static_cast<double>(config.hidden_size));
    double once = 0;
    for (std::size_t i = 0; i < kinds.size(); ++i)
      for (const auto& group : kinds[i])
        once += 2.0 * static_cast<double>(weights_of(group) * counts[i] * plan.tokens);
    if (options.token_weights)
      plan.forward_flops += once + 2.0 *
                                       static_cast<double>(config.vocab_size * config.hidden_size) *
                                       static_cast<double>(plan.tokens);
    plan.passes = once > 0 ? plan.forward_flops / once : 0;
    for (std::int64_t i = 0; i < config.num_hidden_layers; ++i)
      if (!config.is_full_attention(i))
        plan.state_elements += plan.passes * static_cast<double>(plan.tokens) *
                               static_cast<double>(config.value_dim() * config.linear_key_head_dim);
  }
  for (const auto& item : plan.items) plan.peak_bytes += item.bytes;
  if (limit != 0 && plan.peak_bytes > limit) {
    std::string table;
    for (const auto& item : plan.items)
      table +=
          fmt::format("\n  {:<28}{:>12}", item.what, format_bytes(static_cast<double>(item.bytes)));
    fail(ErrorCode::out_of_memory,
         "quantizing does not fit in memory; at its peak, {}, it needs{}\n  {:<28}{:>12}\n  "
         "{:<28}{:>12}  (--max-memory; 80% of what is free by default)\n"
         "--preset reference needs less, --method rtn least",
         plan.peak_at, table, "needed", format_bytes(static_cast<double>(plan.peak_bytes)),
         "allowed", format_bytes(static_cast<double>(limit)));
  }
  return plan;
}

MachineRates measure_rates(linalg::Linalg& linalg) {
  MachineRates rates;
  constexpr std::int64_t kSize = 768;
  const std::vector<float> a(kSize * kSize, 0.5f);
  const std::vector<double> b(kSize * kSize, 0.5);
  std::vector<float> c(a.size());
  std::vector<double> d(b.size());
  const double flops = 2.0 * kSize * kSize * kSize;
  // The best of many: a machine that wakes up, or does something else for a moment, is slow.
  for (int i = 0; i < 24; ++i) {
    auto start = std::chrono::steady_clock::now();
    linalg.gemm(kSize, kSize, kSize, 1.0, linalg::Operand<float>{a.data(), kSize, 1},
                linalg::Operand<float>{a.data(), kSize, 1}, c.data(), kSize);
    rates.f32 = std::max(rates.f32, flops / seconds_since(start));
    start = std::chrono::steady_clock::now();
    linalg.gemm(kSize, kSize, kSize, 1.0, linalg::Operand<double>{b.data(), kSize, 1},
                linalg::Operand<double>{b.data(), kSize, 1}, d.data(), kSize);
    rates.f64 = std::max(rates.f64, flops / seconds_since(start));
  }
  return rates;
}

double estimate_seconds(const QuantizePlan& plan, const MachineRates& rates) {
  // Shares of the rate of a plain product that the parts reach, and what turning, packing and
  // writing a weight takes; docs/speed-log.md.
  constexpr double kSecondsPerWeight = 35e-9;
  // An element of a recurrent state takes as long as so many operations of a product, with what
  // else a layer does beside its linears.
  constexpr double kFlopsPerStateElement = 40;
  return plan.forward_flops / (0.8 * rates.f32) +
         plan.state_elements * kFlopsPerStateElement / rates.f32 +
         plan.statistics_flops / (0.75 * rates.f32) + plan.factor_flops / (0.56 * rates.f64) +
         plan.solve_flops / (0.66 * rates.f32) + plan.weights * kSecondsPerWeight;
}

std::string describe(const QuantizePlan& plan, std::uint64_t output_bytes, double seconds) {
  std::string text = fmt::format("plan: {} of memory at the peak ({})\n",
                                 format_bytes(static_cast<double>(plan.peak_bytes)), plan.peak_at);
  for (const auto& item : plan.items)
    text +=
        fmt::format("  {:<28}{:>12}\n", item.what, format_bytes(static_cast<double>(item.bytes)));
  if (plan.spill_bytes > 0)
    text += fmt::format("  {:<28}{:>12}  in a temporary file\n", "rows between the layers",
                        format_bytes(static_cast<double>(plan.spill_bytes)));
  text += fmt::format("  {:<28}{:>12}  on the disk\n", "result",
                      format_bytes(static_cast<double>(output_bytes)));
  if (plan.tokens > 0)
    text += fmt::format("  {} calibration tokens, {:.1f} forward passes{}; about {}\n", plan.tokens,
                        plan.passes, plan.arena.keep_inputs ? "" : " (inputs computed twice)",
                        format_duration(seconds));
  return text;
}

}  // namespace octet::quantize
