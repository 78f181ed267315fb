#include "serve/api/chat_request.h"

#include <gtest/gtest.h>

#include "request_world.h"

namespace octet::serve {
namespace {

using test::Refusal;
using test::RequestWorld;

// A body with one message and some further fields.
ChatRequest read(const std::string& fields, const RequestWorld& world = {}) {
  const std::string body = R"({"messages":[{"role":"user","content":"hi"}])" +
                           (fields.empty() ? "" : "," + fields) + "}";
  return read_chat_request(parse_request_json(body), world.context());
}

Refusal refused(const std::string& fields, const RequestWorld& world = {}) {
  return test::refusal([&] { read(fields, world); });
}

constexpr const char* kTools =
    R"("tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}},
                {"type":"function","function":{"name":"g-2","strict":true}}])";

TEST(ChatRequest, DefaultsAreTheModels) {
  RequestWorld world;
  world.defaults.temperature = 0.6;
  world.defaults.top_k = 20;
  world.defaults.top_p = 0.95;
  world.defaults.min_p = 0.05;
  world.defaults.repetition_penalty = 1.1;
  const ChatRequest r = read("", world);
  const auto& s = r.job.sampling;
  EXPECT_EQ(s.temperature, 0.6);
  EXPECT_EQ(s.top_k, 20);
  EXPECT_EQ(s.top_p, 0.95);
  EXPECT_EQ(s.min_p, 0.05);
  EXPECT_EQ(s.repetition_penalty, 1.1);
  EXPECT_EQ(s.num_logprobs, -1);
  EXPECT_FALSE(r.job.has_seed);
  EXPECT_EQ(r.job.n, 1);
  EXPECT_FALSE(r.job.max_tokens);
  EXPECT_FALSE(r.model);
  EXPECT_FALSE(r.reply.stream);
  EXPECT_FALSE(r.job.incremental);
  EXPECT_EQ(r.job.tool_choice.mode, ToolChoice::Mode::none);
  EXPECT_EQ(r.job.format.kind, ContentFormat::Kind::text);
  EXPECT_TRUE(r.job.chat->add_generation_prompt);
  EXPECT_TRUE(r.include_reasoning);
  EXPECT_TRUE(r.unknown.empty());
  world.defaults.do_sample = false;
  EXPECT_EQ(read("", world).job.sampling.temperature, 0.0);
}

TEST(ChatRequest, FieldsReachTheJob) {
  RequestWorld world;
  world.options.priority_scheduling = true;
  const ChatRequest r = read(
      R"("model":"m","max_tokens":7,"max_completion_tokens":9,"temperature":0.5,"top_p":0.9,
         "frequency_penalty":-1.5,"presence_penalty":1.5,"n":3,"stop":["a","b"],"seed":42,
         "logprobs":true,"top_logprobs":4,"logit_bias":{"5":150,"6":-2.5},"top_k":11,"min_p":0.1,
         "repetition_penalty":1.2,"stop_token_ids":[3,4],"include_stop_str_in_output":true,
         "ignore_eos":true,"min_tokens":2,"skip_special_tokens":false,
         "truncate_prompt_tokens":100,"truncation_side":"right","prompt_logprobs":2,
         "logprob_token_ids":[1],"allowed_token_ids":[1,2],"bad_words":["no"],"priority":-3,
         "cache_salt":"s","thinking_token_budget":50,"include_reasoning":false,
         "stop_in_reasoning":false,"cache_prompt":false,"reasoning_control":true,
         "return_token_ids":true,"return_tokens_as_token_ids":true,"return_prompt_text":true,
         "repetition_detection":{"max_pattern_size":8,"min_pattern_size":2,"min_count":3},
         "stream_interval":5,"timings_per_token":true,"return_progress":true,
         "request_id":"abc","sse_ping_interval":3,"parse_tool_calls":false)",
      world);
  const Job& j = r.job;
  EXPECT_EQ(r.model, "m");
  EXPECT_EQ(r.request_id, "abc");
  EXPECT_EQ(j.max_tokens, 9);
  EXPECT_EQ(j.sampling.temperature, 0.5);
  EXPECT_EQ(j.sampling.top_p, 0.9);
  EXPECT_EQ(j.sampling.frequency_penalty, -1.5);
  EXPECT_EQ(j.sampling.presence_penalty, 1.5);
  EXPECT_EQ(j.n, 3);
  EXPECT_EQ(j.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(j.sampling.seed, 42U);
  EXPECT_TRUE(j.has_seed);
  EXPECT_TRUE(r.reply.logprobs);
  EXPECT_EQ(j.sampling.num_logprobs, 4);
  ASSERT_EQ(j.sampling.logit_bias.size(), 2U);
  EXPECT_EQ(j.sampling.logit_bias[0], (std::pair<std::int32_t, float>{5, 100.0F}));
  EXPECT_EQ(j.sampling.logit_bias[1], (std::pair<std::int32_t, float>{6, -2.5F}));
  EXPECT_EQ(j.sampling.top_k, 11);
  EXPECT_EQ(j.sampling.min_p, 0.1);
  EXPECT_EQ(j.sampling.repetition_penalty, 1.2);
  EXPECT_EQ(j.stop_token_ids, (std::vector<std::int32_t>{3, 4}));
  EXPECT_TRUE(j.include_stop);
  EXPECT_TRUE(j.ignore_eos);
  EXPECT_EQ(j.sampling.min_tokens, 2);
  EXPECT_FALSE(j.skip_special_tokens);
  EXPECT_EQ(j.truncate_prompt_tokens, 100);
  EXPECT_FALSE(j.truncate_left);
  EXPECT_EQ(j.prompt_logprobs, 2);
  EXPECT_EQ(j.sampling.logprob_token_ids, std::vector<std::int32_t>{1});
  EXPECT_EQ(j.sampling.allowed_token_ids, (std::vector<std::int32_t>{1, 2}));
  EXPECT_EQ(j.sampling.bad_words.size(), 2U);  // at the beginning, and after a blank
  EXPECT_EQ(j.priority, -3);
  EXPECT_EQ(j.cache_salt, "s");
  EXPECT_EQ(j.thinking_budget, 50);
  EXPECT_FALSE(r.include_reasoning);
  EXPECT_FALSE(j.stop_in_reasoning);
  EXPECT_FALSE(j.use_prefix_cache);
  EXPECT_TRUE(j.reasoning_control);
  EXPECT_FALSE(j.parse_tools);
  EXPECT_TRUE(r.reply.return_token_ids);
  EXPECT_TRUE(r.reply.tokens_as_token_ids);
  EXPECT_TRUE(r.reply.return_prompt_text);
  EXPECT_TRUE(r.reply.timings);
  EXPECT_TRUE(r.reply.return_progress);
  EXPECT_EQ(r.reply.ping_seconds, 3);
  EXPECT_EQ(j.repetition.max_pattern_size, 8);
  EXPECT_EQ(j.repetition.min_pattern_size, 2);
  EXPECT_EQ(j.repetition.min_count, 3);
  EXPECT_EQ(j.stream_interval, 5);
  EXPECT_TRUE(r.unknown.empty()) << r.unknown.front();
}

TEST(ChatRequest, EveryRangeIsKept) {
  struct Case {
    const char* fields;
    const char* param;
  };
  for (
      const Case& c : std::vector<Case>{
          {R"("model":3)", "model"},
          {R"("max_tokens":0)", "max_tokens"},
          {R"("max_completion_tokens":-1)", "max_completion_tokens"},
          {R"("max_tokens":1.5)", "max_tokens"},
          {R"("temperature":2.1)", "temperature"},
          {R"("temperature":-0.1)", "temperature"},
          {R"("temperature":"hot")", "temperature"},
          {R"("temperature":1e999)", "temperature"},
          {R"("top_p":0)", "top_p"},
          {R"("top_p":1.01)", "top_p"},
          {R"("frequency_penalty":2.5)", "frequency_penalty"},
          {R"("presence_penalty":-2.5)", "presence_penalty"},
          {R"("n":0)", "n"},
          {R"("n":17)", "n"},
          {R"("stop":"")", "stop"},
          {R"("stop":["a",""])", "stop"},
          {R"("stop":7)", "stop"},
          {R"("stop":["1","2","3","4","5","6","7","8","9","10","11","12","13","14","15","16","17"])",
           "stop"},
          {R"("stream":"yes")", "stream"},
          {R"("stream_options":{"include_usage":true})", "stream_options"},
          {R"("stream":true,"stream_options":{"include_usage":1})", "stream_options.include_usage"},
          {R"("seed":1.5)", "seed"},
          {R"("top_logprobs":2)", "top_logprobs"},
          {R"("logprobs":true,"top_logprobs":21)", "top_logprobs"},
          {R"("logprobs":true,"top_logprobs":-1)", "top_logprobs"},
          {R"("logit_bias":{"x":1})", "logit_bias"},
          {R"("logit_bias":{"-1":1})", "logit_bias"},
          {R"("logit_bias":{"99999999":1})", "logit_bias"},
          {R"("logit_bias":{"1":"a"})", "logit_bias"},
          {R"("response_format":{"type":"xml"})", "response_format.type"},
          {R"("response_format":{})", "response_format.type"},
          {R"("reasoning_effort":"huge")", "reasoning_effort"},
          {R"("functions":[])", "functions"},
          {R"("function_call":"auto")", "function_call"},
          {R"("top_k":-2)", "top_k"},
          {R"("min_p":1.5)", "min_p"},
          {R"("repetition_penalty":0)", "repetition_penalty"},
          {R"("stop_token_ids":[-1])", "stop_token_ids[0]"},
          {R"("stop_token_ids":[99999999])", "stop_token_ids[0]"},
          {R"("min_tokens":-1)", "min_tokens"},
          {R"("max_tokens":3,"min_tokens":4)", "min_tokens"},
          {R"("truncate_prompt_tokens":0)", "truncate_prompt_tokens"},
          {R"("truncate_prompt_tokens":-2)", "truncate_prompt_tokens"},
          {R"("truncation_side":"middle")", "truncation_side"},
          {R"("stream":true,"prompt_logprobs":1)", "prompt_logprobs"},
          {R"("prompt_logprobs":21)", "prompt_logprobs"},
          {R"("logprob_token_ids":[1])", "logprob_token_ids"},
          {R"("logprobs":true,"logprob_token_ids":[])", "logprob_token_ids"},
          {R"("allowed_token_ids":[])", "allowed_token_ids"},
          {R"("allowed_token_ids":[99999999])", "allowed_token_ids[0]"},
          {R"("bad_words":[""])", "bad_words"},
          {R"("add_generation_prompt":true,"continue_final_message":true)",
           "continue_final_message"},
          {R"("chat_template":"{{ 1 }}")", "chat_template"},
          {R"("chat_template_kwargs":[])", "chat_template_kwargs"},
          {R"("documents":{})", "documents"},
          {R"("mm_processor_kwargs":{"device":"cuda"})", "mm_processor_kwargs.device"},
          {R"("mm_processor_kwargs":{"min_pixels":0})", "mm_processor_kwargs.min_pixels"},
          {R"("priority":1)", "priority"},
          {R"("cache_salt":"")", "cache_salt"},
          {R"("thinking_token_budget":-2)", "thinking_token_budget"},
          {R"("repetition_detection":{"max_pattern_size":4,"min_count":1})",
           "repetition_detection.min_count"},
          {R"("repetition_detection":{"max_pattern_size":4,"min_pattern_size":5})",
           "repetition_detection.min_pattern_size"},
          {R"("stream_interval":0)", "stream_interval"},
          {R"("best_of":2)", "best_of"},
          {R"("thinking":{"type":"maybe"})", "thinking.type"},
          {R"("reasoning_format":"odd")", "reasoning_format"},
          {R"("tools":{})", "tools"},
          {R"("tools":[{"type":"magic"}])", "tools[0].type"},
          {R"("tools":[{"type":"function"}])", "tools[0].function"},
          {R"("tools":[{"type":"function","function":{"name":"a b"}}])", "tools[0].function.name"},
          {R"("tools":[{"type":"function","function":{"name":"a","parameters":"x"}}])",
           "tools[0].function.parameters"},
          {R"("tool_choice":"required")", "tool_choice"},
          {R"("tool_choice":{"type":"function","function":{"name":"f"}})", "tool_choice"},
      }) {
    const Refusal r = refused(c.fields);
    EXPECT_EQ(r.status, 400) << c.fields;
    EXPECT_EQ(r.param, c.param) << c.fields << ": " << r.message;
  }
  EXPECT_EQ(refused(R"("use_beam_search":true)").status, 501);
  EXPECT_EQ(refused(R"("prompt_embeds":"xx")").status, 501);
}

TEST(ChatRequest, EdgesOfRangesAreTaken) {
  for (const char* fields : {R"("temperature":0)",
                             R"("temperature":2)",
                             R"("top_p":1)",
                             R"("n":16)",
                             R"("top_k":-1)",
                             R"("top_k":0)",
                             R"("min_p":1)",
                             R"("seed":-1)",
                             R"("seed":-9223372036854775808)",
                             R"("logprobs":true,"top_logprobs":20)",
                             R"("truncate_prompt_tokens":-1)",
                             R"("frequency_penalty":-2,"presence_penalty":2)",
                             R"("tools":[])",
                             R"("tools":[],"tool_choice":"auto")",
                             R"("tool_choice":"none")",
                             R"("stop":null)",
                             R"("max_tokens":null,"temperature":null,"stream_options":null)",
                             R"("best_of":1)",
                             R"("thinking_token_budget":-1)",
                             R"("priority":0)",
                             R"("grammar":"")",
                             R"("n_predict":-1)"})
    EXPECT_EQ(refused(fields).status, 0) << fields << ": " << refused(fields).message;
  EXPECT_FALSE(read(R"("seed":-1)").job.has_seed);
  EXPECT_EQ(read(R"("n_predict":5)").job.max_tokens, 5);
  EXPECT_EQ(read(R"("top_k":-1)").job.sampling.top_k, 0);
}

TEST(ChatRequest, TemperatureNearZero) {
  EXPECT_EQ(read(R"("temperature":0.000001)").job.sampling.temperature, 0.0);
  EXPECT_EQ(read(R"("temperature":0.005)").job.sampling.temperature, 0.01);
  EXPECT_EQ(read(R"("temperature":0.01)").job.sampling.temperature, 0.01);
}

TEST(ChatRequest, WholeVocabularyOnlyWithoutALimit) {
  RequestWorld world;
  world.options.max_logprobs = -1;
  EXPECT_EQ(read(R"("logprobs":true,"top_logprobs":-1)", world).job.sampling.num_logprobs, -2);
  EXPECT_EQ(read(R"("prompt_logprobs":-1)", world).job.prompt_logprobs, world.tokenizer.size());
  EXPECT_EQ(read(R"("logprobs":true)").job.sampling.num_logprobs, 0);
}

TEST(ChatRequest, SilentFieldsAndUnknownOnes) {
  const ChatRequest r = read(
      R"("user":"u","metadata":{},"store":true,"service_tier":"auto","prediction":null,
         "modalities":["text"],"verbosity":"low","web_search_options":{},"prompt_cache_key":"k",
         "safety_identifier":"s","session_id":"x","kv_transfer_params":{},"vllm_xargs":{},
         "id_slot":1,"spaces_between_special_tokens":true,"add_special_tokens":false,
         "length_penalty":1.0,"use_beam_search":false,"mystery":1,"other":2)");
  EXPECT_EQ(r.unknown, (std::vector<std::string>{"mystery", "other"}));
}

TEST(ChatRequest, MessagesMustBeThere) {
  const RequestWorld world;
  for (const char* body :
       {R"({})", R"({"messages":null})", R"({"messages":[]})", R"({"messages":"hi"})"}) {
    const Refusal r =
        test::refusal([&] { read_chat_request(parse_request_json(body), world.context()); });
    EXPECT_EQ(r.status, 400) << body;
    EXPECT_EQ(r.param, "messages") << body;
  }
}

TEST(ChatRequest, Tools) {
  const ChatRequest r = read(kTools);
  ASSERT_EQ(r.job.tools.size(), 2U);
  EXPECT_EQ(r.job.tools[0].name, "f");
  EXPECT_TRUE(r.job.tools[0].parameters.is_object());
  EXPECT_FALSE(r.job.tools[0].strict);
  EXPECT_TRUE(r.job.tools[1].parameters.is_null());
  EXPECT_TRUE(r.job.tools[1].strict);
  EXPECT_EQ(r.job.chat->tools.size(), 2U);
  EXPECT_EQ(r.job.tool_choice.mode, ToolChoice::Mode::automatic);
  EXPECT_TRUE(r.job.parallel_tool_calls);
  EXPECT_FALSE(
      read(std::string(kTools) + R"(,"parallel_tool_calls":false)").job.parallel_tool_calls);
}

TEST(ChatRequest, ToolChoices) {
  const auto choice = [](const std::string& json) {
    return read(std::string(kTools) + ",\"tool_choice\":" + json).job.tool_choice;
  };
  EXPECT_EQ(choice(R"("none")").mode, ToolChoice::Mode::none);
  EXPECT_EQ(choice(R"("auto")").mode, ToolChoice::Mode::automatic);
  EXPECT_EQ(choice(R"("required")").mode, ToolChoice::Mode::required);
  const ToolChoice named = choice(R"({"type":"function","function":{"name":"g-2"}})");
  EXPECT_EQ(named.mode, ToolChoice::Mode::named);
  EXPECT_EQ(named.name, "g-2");
  const ToolChoice allowed = choice(
      R"({"type":"allowed_tools","allowed_tools":{"mode":"required",
          "tools":[{"type":"function","function":{"name":"f"}}]}})");
  EXPECT_EQ(allowed.mode, ToolChoice::Mode::required);
  EXPECT_EQ(allowed.allowed, std::vector<std::string>{"f"});
  const auto param = [](const std::string& json) {
    return refused(std::string(kTools) + ",\"tool_choice\":" + json).param;
  };
  EXPECT_EQ(param(R"("sometimes")"), "tool_choice");
  EXPECT_EQ(param(R"({"type":"function","function":{"name":"h"}})"), "tool_choice.function.name");
  EXPECT_EQ(param(R"({"type":"allowed_tools","allowed_tools":{"tools":[]}})"),
            "tool_choice.allowed_tools.tools");
  const std::string twice =
      R"("tools":[{"type":"function","function":{"name":"f"}},
                  {"type":"function","function":{"name":"f"}}])";
  EXPECT_EQ(refused(twice).param, "tools[1].function.name");
}

TEST(ChatRequest, ThinkingBySeveralFields) {
  RequestWorld world;
  world.options.default_chat_template_kwargs = {{"enable_thinking", false}, {"other", 1}};
  const auto thinking = [&](const std::string& fields) {
    return read(fields, world).job.chat->kwargs.at("enable_thinking").as_bool();
  };
  EXPECT_FALSE(thinking(""));
  EXPECT_TRUE(thinking(R"("thinking":{"type":"enabled"})"));
  EXPECT_TRUE(thinking(R"("reasoning_effort":"low")"));
  EXPECT_FALSE(thinking(R"("thinking":{"type":"enabled"},"reasoning_effort":"none")"));
  EXPECT_TRUE(
      thinking(R"("reasoning_effort":"none","chat_template_kwargs":{"enable_thinking":true})"));
  const auto kwargs = read(R"("reasoning_effort":"high")", world).job.chat->kwargs;
  EXPECT_EQ(kwargs.at("reasoning_effort").as_string(), "high");
  EXPECT_EQ(kwargs.at("other").as_int64(), 1);
  EXPECT_EQ(read(R"("thinking":{"type":"enabled","budget_tokens":9})").job.thinking_budget, 9);
}

TEST(ChatRequest, KwargsCannotReplaceWhatTheServerSets) {
  const auto kwargs =
      read(R"("chat_template_kwargs":{"messages":[],"tools":[],"add_generation_prompt":false,
              "preserve_thinking":true})")
          .job.chat->kwargs;
  EXPECT_EQ(kwargs.size(), 1U);
  EXPECT_TRUE(kwargs.contains("preserve_thinking"));
}

TEST(ChatRequest, ContinuingTheLastMessage) {
  const RequestWorld world;
  const auto body = parse_request_json(
      R"({"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"Well"}],
          "continue_final_message":true,"echo":true})");
  const ChatRequest r = read_chat_request(body, world.context());
  EXPECT_TRUE(r.job.chat->continue_final_message);
  EXPECT_FALSE(r.job.chat->add_generation_prompt);
  EXPECT_EQ(r.echo, "Well");
}

TEST(ChatRequest, TemplatesOfRequestsOnlyWhereTrusted) {
  RequestWorld world;
  world.options.trust_request_chat_template = true;
  EXPECT_EQ(read(R"("chat_template":"{{ 1 }}")", world).job.chat_template, "{{ 1 }}");
}

TEST(ChatRequest, StreamOptions) {
  const auto r = read(
      R"("stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true})");
  EXPECT_TRUE(r.reply.stream && r.reply.include_usage && r.reply.continuous_usage);
  EXPECT_TRUE(r.job.incremental);
  RequestWorld world;
  world.options.force_include_usage = true;
  EXPECT_TRUE(read(R"("stream":true)", world).reply.include_usage);
  EXPECT_EQ(read(R"("stream":true,"sse_ping_interval":-1)").reply.ping_seconds, 0);
  EXPECT_EQ(read(R"("stream":true,"sse_ping_interval":0.001)").reply.ping_seconds, 0.1);
}

}  // namespace
}  // namespace octet::serve
