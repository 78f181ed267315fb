#include "serve/api/completion_request.h"

#include <gtest/gtest.h>

#include "request_world.h"

namespace octet::serve {
namespace {

using test::RequestWorld;

CompletionRequest read(const std::string& fields, const RequestWorld& world = {}) {
  return read_completion_request(parse_request_json("{" + fields + "}"), world.context());
}

TEST(CompletionRequest, EveryFormOfPrompt) {
  const RequestWorld world;
  const auto hi = world.tokenizer.encode("hi there");
  ASSERT_FALSE(hi.empty());
  auto r = read(R"("prompt":"hi there")");
  ASSERT_EQ(r.prompts.size(), 1U);
  EXPECT_EQ(r.prompts[0], hi);
  EXPECT_EQ(r.job.max_tokens, 16);
  EXPECT_FALSE(r.job.parse);
  r = read(R"("prompt":["hi there","hi there"])");
  ASSERT_EQ(r.prompts.size(), 2U);
  EXPECT_EQ(r.prompts[1], hi);
  r = read(R"("prompt":[1,2,3])");
  ASSERT_EQ(r.prompts.size(), 1U);
  EXPECT_EQ(r.prompts[0], (std::vector<std::int32_t>{1, 2, 3}));
  r = read(R"("prompt":[[1],[2,3]])");
  ASSERT_EQ(r.prompts.size(), 2U);
  EXPECT_EQ(r.prompts[1], (std::vector<std::int32_t>{2, 3}));
}

TEST(CompletionRequest, Refusals) {
  struct Case {
    const char* fields;
    int status;
    const char* param;
  };
  for (const Case& c : std::vector<Case>{
           {R"("max_tokens":5)", 400, "prompt"},
           {R"("prompt":"")", 400, "prompt"},
           {R"("prompt":[])", 400, "prompt"},
           {R"("prompt":["a",""])", 400, "prompt[1]"},
           {R"("prompt":["a",3])", 400, "prompt[1]"},
           {R"("prompt":[[1],[]])", 400, "prompt[1]"},
           {R"("prompt":[1,-1])", 400, "prompt[1]"},
           {R"("prompt":[[1,99999999]])", 400, "prompt[0][1]"},
           {R"("prompt":5)", 400, "prompt"},
           {R"("prompt":"a","max_tokens":0)", 400, "max_tokens"},
           {R"("prompt":"a","logprobs":21)", 400, "logprobs"},
           {R"("prompt":"a","suffix":"b")", 501, "suffix"},
           {R"("prompt":"a","best_of":3)", 400, "best_of"},
           {R"("prompt":"a","stream":true,"prompt_logprobs":1)", 400, "prompt_logprobs"},
       }) {
    const test::Refusal r = test::refusal([&] { read(c.fields); });
    EXPECT_EQ(r.status, c.status) << c.fields;
    EXPECT_EQ(r.param, c.param) << c.fields << ": " << r.message;
  }
  std::string many = R"("prompt":["a")";
  for (int i = 0; i < 1024; ++i) many += R"(,"a")";
  EXPECT_EQ(test::refusal([&] { read(many + "]"); }).param, "prompt");
}

TEST(CompletionRequest, LengthsInBothDialects) {
  EXPECT_EQ(read(R"("prompt":"a","n_predict":5)").job.max_tokens, 5);
  EXPECT_FALSE(read(R"("prompt":"a","n_predict":-1)").job.max_tokens);
  EXPECT_EQ(read(R"("prompt":"a","n_predict":-1,"max_tokens":3)").job.max_tokens, 3);
  // "As many as there may be", in agents' words.
  EXPECT_GT(read(R"("prompt":"a","max_tokens":9007199254740991)").job.max_tokens, 1 << 30);
}

TEST(CompletionRequest, EchoScoresThePrompt) {
  auto r = read(R"("prompt":"a","echo":true,"max_tokens":0,"logprobs":2)");
  EXPECT_TRUE(r.echo);
  EXPECT_EQ(r.job.max_tokens, 0);
  EXPECT_EQ(r.job.prompt_logprobs, 2);
  EXPECT_EQ(r.job.sampling.num_logprobs, 2);
  EXPECT_FALSE(r.prompt_logprobs);
  EXPECT_EQ(read(R"("prompt":"a","suffix":"","logprobs":0)").job.sampling.num_logprobs, 0);
}

}  // namespace
}  // namespace octet::serve
