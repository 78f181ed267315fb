#include "serve/api/sse.h"

#include <gtest/gtest.h>

#include "fake_exchange.h"

namespace octet::serve {
namespace {

using Clock = std::chrono::steady_clock;

TEST(Sse, Frames) {
  const auto exchange = std::make_shared<test::FakeExchange>();
  SseStream stream(exchange);
  stream.begin({{"x-a", "b"}});
  stream.begin();
  stream.data("{}");
  stream.event("message_stop", "[]");
  stream.done();
  stream.data("late");
  EXPECT_EQ(exchange->body(), "data: {}\n\nevent: message_stop\ndata: []\n\ndata: [DONE]\n\n");
  EXPECT_EQ(exchange->headers(), (Headers{{"x-a", "b"}}));
  EXPECT_TRUE(exchange->ended());
}

TEST(Sse, PingsOnlySilence) {
  const auto exchange = std::make_shared<test::FakeExchange>();
  SseStream stream(exchange);
  const auto now = Clock::now();
  const auto later = now + std::chrono::hours(1);
  EXPECT_TRUE(stream.ping(later, 15));  // nothing has begun
  EXPECT_EQ(exchange->body(), "");
  stream.begin();
  EXPECT_TRUE(stream.ping(now, 15));
  EXPECT_EQ(exchange->body(), "");
  EXPECT_TRUE(stream.ping(later, 15));
  EXPECT_EQ(exchange->body(), ": ping\n\n");
  EXPECT_TRUE(stream.ping(later + std::chrono::seconds(14), 15));
  EXPECT_EQ(exchange->body(), ": ping\n\n");
  stream.set_ping("event: ping\n\n");
  EXPECT_TRUE(stream.ping(later + std::chrono::seconds(15), 15));
  EXPECT_EQ(exchange->body(), ": ping\n\nevent: ping\n\n");
  stream.end();
  EXPECT_FALSE(stream.ping(later + std::chrono::hours(1), 15));
}

TEST(Sse, ErrorsBeforeAndAfterTheBeginning) {
  const auto before = std::make_shared<test::FakeExchange>();
  before->request_.path = "/v1/chat/completions";
  SseStream(before).fail(HttpError(404, "no"));
  EXPECT_EQ(before->status(), 404);
  const auto after = std::make_shared<test::FakeExchange>();
  SseStream stream(after);
  stream.begin();
  stream.fail(HttpError(500, "no"));
  stream.fail(HttpError(500, "again"));
  ASSERT_EQ(after->frames().size(), 2U);
  EXPECT_EQ(after->frames()[1], "[DONE]");
  EXPECT_TRUE(after->close());
}

// Waits for what comes without an upper bound on the time: a slow machine is no failure.
TEST(Sse, PingerPingsUntilTheStreamEnds) {
  SsePinger pinger;
  const auto exchange = std::make_shared<test::FakeExchange>();
  const auto stream = std::make_shared<SseStream>(exchange);
  stream->begin();
  pinger.watch(stream, 0.02);
  pinger.watch(std::make_shared<SseStream>(exchange), 0.02);  // gone at once
  while (exchange->body().size() < 3 * std::string(": ping\n\n").size())
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_TRUE(exchange->body().starts_with(": ping\n\n: ping\n\n"));
  stream->done();
}

}  // namespace
}  // namespace octet::serve
