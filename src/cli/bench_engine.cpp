#include "cli/bench_engine.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>

#include "cli/bench_cases.h"
#include "cli/bench_client.h"
#include "cli/serve_plan.h"
#include "cli/serve_setup.h"
#include "runtime/base/progress.h"
#include "runtime/base/system.h"
#include "serve/api/routes.h"

namespace octet::cli {

namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kQuestion = "Write a long story about a fox, an owl and the moon.";

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// CPU seconds of this process's threads by their ids.
std::map<pid_t, double> thread_times() {
  std::map<pid_t, double> times;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
    const auto id = static_cast<pid_t>(std::stol(entry.path().filename().string()));
    // The kernel's name for the CPU clock of a thread (clock_gettime(2), "dynamic clocks").
    const auto clock = static_cast<clockid_t>((~static_cast<unsigned>(id) << 3) | 6u);
    timespec t{};
    if (clock_gettime(clock, &t) == 0)
      times[id] = static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
  }
  return times;
}

// Whom a round waits for. Its sinks are owned by the engine, which may outlive the round.
struct Latch {
  std::mutex mutex;
  std::condition_variable changed;
  std::int64_t left = 0;
  std::string error;
  pid_t engine_thread = 0;

  void wait() {
    std::unique_lock lock(mutex);
    while (!changed.wait_for(lock, std::chrono::milliseconds(100), [&] { return left == 0; }))
      check_interrupt();
    if (!error.empty()) fail(ErrorCode::internal, "the engine: {}", error);
  }
};

class CountingSink final : public generate::AnswerSink {
 public:
  explicit CountingSink(std::shared_ptr<Latch> latch) : latch_(std::move(latch)) {}
  bool on_token(const generate::TokenOutput&) override { return true; }
  void on_finish(const generate::AnswerSummary& summary) override {
    const std::scoped_lock lock(latch_->mutex);
    latch_->engine_thread = gettid();
    if (summary.finish != generate::FinishReason::length)
      latch_->error = "an answer ended early: " + summary.error;
    if (--latch_->left == 0) latch_->changed.notify_all();
  }

 private:
  std::shared_ptr<Latch> latch_;
};

struct Step {
  Clock::time_point end;
  std::int64_t prompt_rows, decode_rows;
};

// One round of one side.
struct Round {
  double decode_rate = 0, whole_rate = 0;  // tokens a second
  double engine_cpu = 0, server_cpu = 0;   // seconds a token
  double client_cpu = 0;
  double frames = 0;  // a token
};

class EngineBench {
 public:
  EngineBench(const BenchEngineOptions& o, const ComputeOptions& compute);
  Round alone(std::int64_t answers);
  Round through_http(std::int64_t answers);
  const LoadedModel& loaded() const { return *loaded_; }
  const Machine& machine() const { return machine_; }
  std::int64_t prompt_tokens() const { return prompt_tokens_; }

 private:
  template <typename F>
  Round measure(std::int64_t answers, const F& f);

  const BenchEngineOptions& o_;
  ServeFlags flags_;
  Machine machine_;
  std::unique_ptr<LoadedModel> loaded_;
  std::unique_ptr<generate::Engine> engine_;
  std::unique_ptr<serve::Service> service_;
  std::unique_ptr<generate::EngineThread> thread_;
  serve::ServerState state_;
  std::unique_ptr<serve::HttpServer> server_;
  std::unique_ptr<BenchClient> client_;
  std::mutex steps_mutex_;
  std::vector<Step> steps_;
  std::map<pid_t, double> compute_threads_;  // and the client's, which is the caller's
  pid_t engine_thread_ = 0;
  std::int64_t prompt_tokens_ = 32;
};

ServeFlags serve_flags(const BenchEngineOptions& o, const ComputeOptions& compute) {
  const std::int64_t most = *std::ranges::max_element(o.concurrency);
  std::vector<std::string> words{o.model, "--host=127.0.0.1", "--port=0",
                                 fmt::format("--max-num-seqs={}", most),
                                 fmt::format("--max-model-len={}", o.tokens + 256)};
  if (!o.synthetic.empty())
    words.insert(words.end(), {"--load-format=dummy", "--dummy-shape=" + o.synthetic});
  ServeFlags flags = parse_serve_flags(words, {});
  flags.compute = compute;
  return flags;
}

// As serve_model() does, but for logs, signals and a server that is there before its model.
EngineBench::EngineBench(const BenchEngineOptions& o, const ComputeOptions& compute)
    : o_(o), flags_(serve_flags(o, compute)), machine_(compute) {
  const auto checkpoint = open_checkpoint(o.model, compute);
  std::optional<DummyWeights> dummy;
  if (!o.synthetic.empty()) dummy = dummy_weights(o.synthetic, checkpoint);
  ServePlan plan =
      plan_serving(checkpoint, flags_, serve_memory_limit(flags_), dummy ? &*dummy : nullptr);
  if (dummy) {
    fmt::print(stderr, "making random weights of {}\n", o.synthetic);
    loaded_ = std::make_unique<LoadedModel>(o.model, machine_, *dummy);
  } else {
    const model::PoolOptions caches{.num_tokens = 64, .kv_dtype = plan.engine.kv_dtype};
    loaded_ = std::make_unique<LoadedModel>(o.model, machine_, compute, caches, false);
  }
  plan.engine.num_tokens = loaded_->tokenizer->size();
  engine_ = std::make_unique<generate::Engine>(*loaded_->model, plan.engine);
  service_ = std::make_unique<serve::Service>(
      service_options(flags_, checkpoint), *loaded_->tokenizer,
      serving_template(flags_, checkpoint), generation_config(flags_, checkpoint), *engine_,
      loaded_->model->config().vocab_size);
  engine_->on_step = [this](const generate::StepReport& report) {
    service_->metrics().count_step(report);
    const std::scoped_lock lock(steps_mutex_);
    steps_.push_back({Clock::now(), report.prompt_rows, report.decode_rows});
  };
  compute_threads_ = thread_times();
  thread_ = std::make_unique<generate::EngineThread>(*engine_);
  if (!o.http) return;
  serve::Router router;
  serve::add_routes(router, state_, false);
  server_ = std::make_unique<serve::HttpServer>(http_options(flags_), std::move(router));
  server_->on_access = [this](const serve::AccessRecord& record) {
    service_->metrics().count_access(record);
  };
  server_->start();
  state_.serve(*service_);
  client_ = std::make_unique<BenchClient>(server_->port());
}

template <typename F>
Round EngineBench::measure(std::int64_t answers, const F& f) {
  {
    const std::scoped_lock lock(steps_mutex_);
    steps_.clear();
  }
  const auto before = thread_times();
  Round round;
  const double seconds = f(round);
  // Counts are published when the step is over, a moment after its last token has gone out.
  while (!engine_->idle()) check_interrupt();
  const auto after = thread_times();
  const auto tokens = static_cast<double>(answers * o_.tokens);
  round.whole_rate = tokens / seconds;
  for (const auto& [id, time] : after) {
    const auto old = before.find(id);
    const double spent = (time - (old == before.end() ? 0 : old->second)) / tokens;
    if (id == engine_thread_)
      round.engine_cpu += spent;
    else if (!compute_threads_.contains(id))
      round.server_cpu += spent;
  }
  // Between the ends of steps that all answers take part in, whatever lies between them.
  double full = 0, rows = 0;
  const std::scoped_lock lock(steps_mutex_);
  for (std::size_t i = 1; i < steps_.size(); ++i) {
    const auto all = [&](const Step& s) { return s.decode_rows == answers && s.prompt_rows == 0; };
    if (!all(steps_[i]) || !all(steps_[i - 1])) continue;
    full += std::chrono::duration<double>(steps_[i].end - steps_[i - 1].end).count();
    rows += static_cast<double>(answers);
  }
  round.decode_rate = full > 0 ? rows / full : 0;
  return round;
}

Round EngineBench::alone(std::int64_t answers) {
  auto latch = std::make_shared<Latch>();
  Round round = measure(answers, [&](Round&) {
    latch->left = answers;
    const auto begin = Clock::now();
    for (std::int64_t i = 0; i < answers; ++i) {
      generate::Request request;
      for (std::int64_t t = 0; t < prompt_tokens_; ++t)
        request.prompt.push_back(static_cast<std::int32_t>((7 * t + i) % 256));
      request.sampling.temperature = o_.sampled ? 1 : 0;
      if (o_.sampled) request.sampling.top_k = 20, request.sampling.top_p = 0.95;
      request.sampling.seed = static_cast<std::uint64_t>(i);
      request.max_tokens = o_.tokens;
      request.sinks = {std::make_shared<CountingSink>(latch)};
      engine_->submit(std::move(request));
    }
    latch->wait();
    return seconds_since(begin);
  });
  engine_thread_ = latch->engine_thread;
  return round;
}

Round EngineBench::through_http(std::int64_t answers) {
  std::vector<std::string> bodies;
  for (std::int64_t i = 0; i < answers; ++i)
    bodies.push_back(to_json(json::object{
        {"model", o_.model},
        {"messages", json::array{json::object{{"role", "user"}, {"content", kQuestion}}}},
        {"stream", true},
        {"max_tokens", o_.tokens},
        {"ignore_eos", true},
        {"temperature", o_.sampled ? 1 : 0},
        {"top_k", o_.sampled ? 20 : 0},
        {"top_p", o_.sampled ? 0.95 : 1},
        {"min_p", 0},
        {"repetition_penalty", 1},
        {"seed", i}}));
  const std::int64_t prompts = engine_->status().prompt_tokens;
  const std::int64_t tokens = engine_->status().answer_tokens;
  Round round = measure(answers, [&](Round& r) {
    const StreamRound s = client_->run("/v1/chat/completions", bodies);
    const auto all = static_cast<double>(answers * o_.tokens);
    r.client_cpu = s.cpu_seconds / all;
    r.frames = static_cast<double>(s.frames) / all;
    return s.seconds;
  });
  const std::int64_t came = engine_->status().answer_tokens - tokens;
  if (came != answers * o_.tokens)
    fail(ErrorCode::internal, "the server's answers had {} tokens, expected {}", came,
         answers * o_.tokens);
  prompt_tokens_ = (engine_->status().prompt_tokens - prompts) / answers;
  return round;
}

// All rounds of one number of answers.
struct Case {
  std::int64_t answers = 0;
  std::vector<Round> alone, http;

  static double middle(const std::vector<Round>& rounds, double Round::* what) {
    std::vector<double> values;
    for (const Round& r : rounds) values.push_back(r.*what);
    return median(std::move(values));
  }
  // Neighbours are compared: the machine drifts.
  std::vector<double> ratios(double Round::* what) const {
    std::vector<double> values;
    for (std::size_t i = 0; i < http.size(); ++i)
      values.push_back(http[i].*what / std::max(1e-12, alone[i].*what));
    std::ranges::sort(values);
    return values;
  }
  // Microseconds a token that the server adds.
  double host_us() const {
    std::vector<double> values;
    for (std::size_t i = 0; i < http.size(); ++i)
      values.push_back(1e6 * (http[i].server_cpu + http[i].engine_cpu - alone[i].engine_cpu));
    return median(std::move(values));
  }
};

void print_case(const Case& c) {
  const auto rate = [](const std::vector<Round>& r, double Round::* what) {
    return r.empty() ? std::string("-") : fmt::format("{:.1f}", Case::middle(r, what));
  };
  std::string line =
      fmt::format("  {:>7}{:>12}{:>12}", c.answers, rate(c.alone, &Round::decode_rate),
                  rate(c.alone, &Round::whole_rate));
  if (!c.http.empty())
    line += fmt::format("{:>12}{:>12}{:>9.3f}{:>9.3f}{:>11.1f}{:>11.1f}{:>11.1f}",
                        rate(c.http, &Round::decode_rate), rate(c.http, &Round::whole_rate),
                        median(c.ratios(&Round::decode_rate)), median(c.ratios(&Round::whole_rate)),
                        1e6 * Case::middle(c.http, &Round::server_cpu), c.host_us(),
                        1e6 * Case::middle(c.http, &Round::client_cpu));
  fmt::print("{}\n", line);
}

json::object side_json(const std::vector<Round>& rounds) {
  json::object o{{"decode_tokens_per_second", Case::middle(rounds, &Round::decode_rate)},
                 {"whole_tokens_per_second", Case::middle(rounds, &Round::whole_rate)},
                 {"engine_thread_us_per_token", 1e6 * Case::middle(rounds, &Round::engine_cpu)}};
  return o;
}

json::object case_json(const Case& c) {
  json::object o{{"answers", c.answers}, {"engine", side_json(c.alone)}};
  if (c.http.empty()) return o;
  const auto spread = [](const std::vector<double>& sorted) {
    return json::object{
        {"median", median(sorted)}, {"min", sorted.front()}, {"max", sorted.back()}};
  };
  json::object http = side_json(c.http);
  http["server_threads_us_per_token"] = 1e6 * Case::middle(c.http, &Round::server_cpu);
  http["client_us_per_token"] = 1e6 * Case::middle(c.http, &Round::client_cpu);
  http["frames_per_token"] = Case::middle(c.http, &Round::frames);
  o["http"] = std::move(http);
  o["decode_ratio"] = spread(c.ratios(&Round::decode_rate));
  o["whole_ratio"] = spread(c.ratios(&Round::whole_rate));
  o["host_us_per_token"] = c.host_us();
  return o;
}

}  // namespace

void bench_engine(const BenchEngineOptions& o, const ComputeOptions& compute) {
  if (o.tokens < 4)
    fail(ErrorCode::invalid_argument, "--decode {}: an answer needs 4 tokens to be timed",
         o.tokens);
  EngineBench bench(o, compute);
  std::vector<Case> cases;
  for (const std::int64_t answers : o.concurrency) cases.push_back({.answers = answers});
  const auto sides = static_cast<std::int64_t>(cases.size()) * (o.http ? 2 : 1);
  Progress progress("measuring", (o.rounds + 1) * sides, "rounds");
  std::int64_t done = 0;
  // The first round makes everybody warm and is not counted.
  for (std::int64_t r = -1; r < o.rounds; ++r)
    for (Case& c : cases) {
      Round alone, http;
      const bool http_first = r % 2 != 0;
      if (o.http && http_first) http = bench.through_http(c.answers);
      alone = bench.alone(c.answers);
      if (o.http && !http_first) http = bench.through_http(c.answers);
      progress.update(done += o.http ? 2 : 1);
      if (r < 0) continue;
      c.alone.push_back(alone);
      if (o.http) c.http.push_back(http);
    }
  if (o.as_json) {
    json::array list;
    for (const Case& c : cases) list.emplace_back(case_json(c));
    fmt::print("{}\n", to_json(json::object{{"model", o.model},
                                            {"shape", o.synthetic},
                                            {"threads", bench.machine().pool.num_threads()},
                                            {"sampled", o.sampled},
                                            {"prompt_tokens", bench.prompt_tokens()},
                                            {"tokens", o.tokens},
                                            {"rounds", o.rounds},
                                            {"cases", std::move(list)}}));
    return;
  }
  fmt::print("{} on {} threads, {}, answers of {} tokens after {}\n",
             o.synthetic.empty() ? o.model : "random weights of " + o.synthetic,
             bench.machine().pool.num_threads(), o.sampled ? "sampled" : "greedy", o.tokens,
             bench.prompt_tokens());
  fmt::print("  {:>7}{:>12}{:>12}", "answers", "decode/s", "whole/s");
  if (o.http)
    fmt::print("{:>12}{:>12}{:>9}{:>9}{:>11}{:>11}{:>11}", "http", "whole/s", "ratio", "whole",
               "server us", "host us", "client us");
  fmt::print("\n");
  for (const Case& c : cases) print_case(c);
  if (o.http)
    fmt::print(
        "  ratio: tokens/s through HTTP of tokens/s of the engine alone. us of CPU a token: of the "
        "server's threads;\n  of everything that the server adds, its share of the engine's thread "
        "too; of the client.\n");
}

}  // namespace octet::cli
