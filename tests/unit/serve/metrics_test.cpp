#include "serve/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <sstream>
#include <thread>

#include "support/support.h"

namespace octet::serve {
namespace {

struct Scrape {
  std::map<std::string, double> values;  // by name and labels
  std::set<std::string> families;        // "NAME TYPE label label", without le and quantile
  std::string text;
};

// Reads the text format strictly: each metric belongs to the family before it.
Scrape scrape(const std::string& text) {
  Scrape out;
  out.text = text;
  std::istringstream lines(text);
  std::string family, type, labels;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string hash, word;
    if (line.starts_with("# ")) {
      words >> hash >> word;
      if (word == "EOF") continue;
      std::string name, kind;
      words >> name >> kind;
      if (word == "TYPE") {
        EXPECT_EQ(name, family);
        type = kind;
      } else {
        EXPECT_EQ(word, "HELP");
        family = name;
      }
      continue;
    }
    const std::size_t end = line.rfind(' ');
    const std::string metric = line.substr(0, end);
    EXPECT_TRUE(metric.starts_with(family)) << metric;
    EXPECT_TRUE(out.values.emplace(metric, std::stod(line.substr(end + 1))).second) << metric;
    std::string keys;
    bool in_value = false;
    std::string key;
    for (const char c : metric.substr(std::min(metric.size(), metric.find('{')))) {
      if (c == '"') in_value = !in_value;
      if (in_value || c == '"' || c == '{' || c == '}') continue;
      if (c == '=') {
        if (key != "le" && key != "quantile") keys += " " + key;
        key.clear();
      } else if (c != ',') {
        key += c;
      }
    }
    out.families.insert(family + " " + type + keys);
  }
  return out;
}

void use(Metrics& m) {
  m.set_cache_config({{"block_size", "64"}, {"cache_dtype", "int16"}});
  m.set_device_memory("cpu", "snapshots", 1000);
  m.set_device_memory("cpu", "weights", 5000);
  m.count_access({.remote = "x",
                  .method = "POST",
                  .path = "/v1/messages",
                  .route = "/v1/messages",
                  .status = 200,
                  .seconds = 0.2,
                  .request_bytes = 10,
                  .response_bytes = 30});
}

TEST(Metrics, NamesTypesAndLabels) {
  Metrics m("qwen");
  use(m);
  std::string all;
  for (const std::string& family : scrape(m.text({}, {}, false)).families) all += family + "\n";
  std::string expected;
  for (const json::value& line : test::read_json_lines(test::golden("metrics.jsonl")))
    expected += std::string(line.as_string()) + "\n";
  EXPECT_EQ(all, expected);
}

TEST(Metrics, Values) {
  Metrics m("q\"\n\\");
  use(m);
  m.count_answer({.finish_reason = "stop",
                  .prompt_tokens = 100,
                  .answer_tokens = 11,
                  .max_tokens = 50,
                  .queue_seconds = 0.25,
                  .prefill_seconds = 1,
                  .decode_seconds = 2,
                  .first_token_seconds = 1.25,
                  .total_seconds = 3.25});
  m.count_answer({.finish_reason = "abort"});
  m.count_token_gap(0.004);
  m.count_token_gap(0.005);  // bounds belong to their bucket
  m.count_token_gap(1000);
  m.count_step({.prompt_rows = 60, .decode_rows = 4, .seconds = 0.1});
  generate::EngineStatus engine;
  engine.running = 3;
  engine.waiting = 2;
  engine.kv_pages_used = 25;
  engine.kv_pages_total = 100;
  engine.prompt_tokens = 70;
  engine.prefix_hit_tokens = 30;
  engine.answer_tokens = 11;
  engine.steps = 2;
  engine.snapshots_used = 1;
  engine.snapshots_total = 4;
  const Scrape s = scrape(m.text(engine, {.connections = 7, .exchanges = 1}, false));
  const std::string model = R"({model_name="q\"\n\\",engine="0")";
  const auto v = [&](const std::string& name) {
    const auto at = s.values.find(name);
    return at == s.values.end() ? -1 : at->second;
  };
  EXPECT_EQ(v("vllm:num_requests_running" + model + "}"), 3);
  EXPECT_EQ(v("vllm:kv_cache_usage_perc" + model + "}"), 0.25);
  EXPECT_EQ(v("vllm:prompt_tokens_total" + model + "}"), 100);
  EXPECT_EQ(v("vllm:prompt_tokens_by_source_total" + model + ",source=\"local_compute\"}"), 70);
  EXPECT_EQ(v("vllm:request_success_total" + model + ",finished_reason=\"stop\"}"), 1);
  EXPECT_EQ(v("vllm:request_success_total" + model + ",finished_reason=\"abort\"}"), 1);
  EXPECT_EQ(v("vllm:inter_token_latency_seconds_bucket" + model + ",le=\"0.0025\"}"), 0);
  EXPECT_EQ(v("vllm:inter_token_latency_seconds_bucket" + model + ",le=\"0.005\"}"), 2);
  EXPECT_EQ(v("vllm:inter_token_latency_seconds_bucket" + model + ",le=\"80\"}"), 2);
  EXPECT_EQ(v("vllm:inter_token_latency_seconds_bucket" + model + ",le=\"+Inf\"}"), 3);
  EXPECT_EQ(v("vllm:inter_token_latency_seconds_count" + model + "}"), 3);
  EXPECT_NEAR(v("vllm:inter_token_latency_seconds_sum" + model + "}"), 1000.009, 1e-6);
  EXPECT_EQ(v("vllm:request_time_per_output_token_seconds_sum" + model + "}"), 0.2);
  EXPECT_EQ(v("vllm:time_to_first_token_seconds_count" + model + "}"), 1);
  EXPECT_EQ(v("vllm:request_prompt_tokens_bucket" + model + ",le=\"100\"}"), 2);
  EXPECT_EQ(v("vllm:request_prompt_tokens_bucket" + model + ",le=\"50\"}"), 1);
  EXPECT_EQ(v("vllm:iteration_tokens_total_bucket" + model + ",le=\"64\"}"), 1);
  EXPECT_EQ(v("vllm:cache_config_info" + model + R"(,block_size="64",cache_dtype="int16"})"), 1);
  EXPECT_EQ(v("llamacpp:n_busy_slots_per_decode"), 2);
  EXPECT_EQ(v("llamacpp:prompt_tokens_total"), 70);
  EXPECT_EQ(v("llamacpp:n_tokens_max"), 111);
  EXPECT_EQ(v("octet:gdn_checkpoint_bytes"), 250);
  EXPECT_EQ(v(R"(octet:device_memory_bytes{device="cpu",kind="weights"})"), 5000);
  EXPECT_EQ(v(R"(http_requests_total{handler="/v1/messages",method="POST",status="2xx"})"), 1);
  EXPECT_EQ(v(R"(http_request_size_bytes_sum{handler="/v1/messages"})"), 10);
  EXPECT_EQ(v(R"(http_response_size_bytes_count{handler="/v1/messages"})"), 1);
  EXPECT_GT(v("process_resident_memory_bytes"), 1e6);
  EXPECT_GT(v("process_open_fds"), 2);
  EXPECT_GT(v("process_start_time_seconds"), 1.6e9);
}

TEST(Metrics, TimesThatAreNoneCountAsZero) {
  Metrics m("m");
  for (const double bad : {-1.0, std::nan(""), -1e300}) m.count_token_gap(bad);
  m.count_token_gap(1e300);
  const Scrape s = scrape(m.text({}, {}, false));
  const std::string name = "vllm:inter_token_latency_seconds_";
  EXPECT_EQ(s.values.at(name + R"(bucket{model_name="m",engine="0",le="0.001"})"), 3);
  EXPECT_EQ(s.values.at(name + R"(sum{model_name="m",engine="0"})"), 1e9);
}

TEST(Metrics, BucketsOfLengthsEndAtTheContext) {
  for (const auto& [max, last] :
       {std::pair<std::int64_t, double>{4096, 2000}, {5000, 5000}, {0, 1}}) {
    Metrics m("m", max);
    double largest = 0;
    for (const auto& [name, value] : scrape(m.text({}, {}, false)).values)
      if (name.starts_with("vllm:request_prompt_tokens_bucket") && !name.ends_with("+Inf\"}"))
        largest = std::max(largest, std::stod(name.substr(name.find("le=\"") + 4)));
    EXPECT_EQ(largest, last);
  }
}

TEST(Metrics, OpenMetrics) {
  Metrics m("m");
  use(m);
  const std::string text = m.text({}, {}, true);
  EXPECT_TRUE(text.ends_with("\n# EOF\n"));
  // A counter's family has no _total, its sample has; a histogram that is called so keeps it.
  EXPECT_NE(text.find("# TYPE vllm:generation_tokens counter\n"), std::string::npos);
  EXPECT_NE(text.find("\nvllm:generation_tokens_total{"), std::string::npos);
  EXPECT_NE(text.find("# TYPE vllm:iteration_tokens_total histogram\n"), std::string::npos);
  EXPECT_EQ(scrape(text).values.size(), scrape(m.text({}, {}, false)).values.size());
}

// What clients send must not make the metrics grow.
TEST(Metrics, LabelValuesAreBounded) {
  Metrics m("m");
  for (int i = 0; i < 1000; ++i)
    m.count_access({.method = "M" + std::to_string(i), .path = "/x", .route = "", .status = i});
  for (int i = 0; i < 1000; ++i)
    m.count_access({.method = "GET", .route = "/r" + std::to_string(i), .status = 200});
  std::set<std::string> methods, handlers, statuses;
  for (const auto& [name, value] : scrape(m.text({}, {}, false)).values) {
    if (!name.starts_with("http_requests_total{")) continue;
    const auto label = [&, n = name](const std::string& key) {
      const std::size_t at = n.find(key + "=\"") + key.size() + 2;
      return n.substr(at, n.find('"', at) - at);
    };
    methods.insert(label("method"));
    handlers.insert(label("handler"));
    statuses.insert(label("status"));
  }
  EXPECT_EQ(methods, (std::set<std::string>{"GET", "other"}));
  EXPECT_EQ(statuses, (std::set<std::string>{"1xx", "2xx", "3xx", "4xx", "5xx", "other"}));
  EXPECT_LE(handlers.size(), 130u);
  EXPECT_TRUE(handlers.contains("none"));
  EXPECT_TRUE(handlers.contains("other"));
}

TEST(Metrics, CountsOfManyThreadsAddUp) {
  Metrics m("m");
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 5000; ++i) {
        m.count_token_gap(0.02);
        if (i % 100 == 0) m.count_answer({.finish_reason = "length", .prompt_tokens = 3});
        if (i % 500 == 0) m.text({}, {}, false);
      }
    });
  for (std::thread& t : threads) t.join();
  const Scrape s = scrape(m.text({}, {}, false));
  EXPECT_EQ(s.values.at(R"(vllm:inter_token_latency_seconds_count{model_name="m",engine="0"})"),
            20000);
  EXPECT_EQ(
      s.values.at(
          R"(vllm:request_success_total{model_name="m",engine="0",finished_reason="length"})"),
      200);
}

}  // namespace
}  // namespace octet::serve
