#include "serve/log.h"

#include <gtest/gtest.h>

#include <mutex>
#include <thread>

#include "runtime/base/json.h"

namespace octet::serve {
namespace {

constexpr double kTime = 1790000000.1239;

// Puts the process's log back as it was.
struct Captured {
  explicit Captured(LogOptions options = {}) {
    options.write = [this](std::string_view line) { lines.emplace_back(line); };
    set_log_options(std::move(options));
  }
  ~Captured() { set_log_options({}); }
  std::vector<std::string> lines;
};

TEST(Log, Text) {
  EXPECT_EQ(
      log_line(LogFormat::text, kTime, LogLevel::warning, "it is late",
               {{"path", "/v1/x"}, {"n", std::int64_t{3}}, {"ms", 1.5}, {"who", "a b"}, {"e", ""}}),
      "2026-09-21T14:13:20.123Z WARNING it is late path=/v1/x n=3 ms=1.5 who=\"a b\" e=\"\"\n");
}

TEST(Log, Json) {
  const std::string line = log_line(LogFormat::json, kTime, LogLevel::info, "a \"b\"",
                                    {{"path", "/\x1b[2J"}, {"n", std::int64_t{3}}, {"x", 0.5}});
  EXPECT_TRUE(line.ends_with("}\n"));
  const json::value value = parse_json(line, "line");
  EXPECT_EQ(to_json(value),
            R"({"time": "2026-09-21T14:13:20.123Z", "level": "INFO", "message": "a \"b\"", )"
            R"("path": "/\u001b[2J", "n": 3, "x": 0.5})");
}

// Research list §5.2, 29: nobody forges a line or speaks to the terminal.
TEST(Log, WhatClientsSendIsEscaped) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"a\nb", "a\\nb"},
      {"a\r\tb", "a\\u000d\\u0009b"},
      {"\x1b[31mred", "\\u001b[31mred"},
      {std::string("a\0b", 3), "a\\u0000b"},
      {"\x7f", "\\u007f"},
      {"\xc2\x9b"
       "31m",
       "\\u009b31m"},  // CSI in one character
      {"\xe2\x80\xae"
       "abc",
       "\\u202eabc"},                            // right to left
      {"\xe2\x80\xa8", "\\u2028"},               // line separator
      {"\xff\xfe", "\xef\xbf\xbd\xef\xbf\xbd"},  // no UTF-8
      {"\"\\", "\\\"\\\\"},
      {"Gr\xc3\xbc\xc3\x9f"
       "e \xf0\x9f\x99\x82",
       "Gr\xc3\xbc\xc3\x9f"
       "e \xf0\x9f\x99\x82"},
  };
  for (const auto& [text, escaped] : cases) EXPECT_EQ(log_escape(text), escaped);
}

TEST(Log, AnyBytesMakeOneLineOfJson) {
  std::string bytes;
  unsigned state = 1;
  for (int round = 0; round < 300; ++round) {
    bytes.clear();
    for (int i = 0; i < 60; ++i)
      bytes += static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
    for (const LogFormat format : {LogFormat::text, LogFormat::json}) {
      const std::string line =
          log_line(format, kTime, LogLevel::info, bytes, {{"request_id", bytes}});
      ASSERT_EQ(line.find('\n'), line.size() - 1);
      for (const char c : line.substr(0, line.size() - 1))
        ASSERT_GE(static_cast<unsigned char>(c), 0x20);
      if (format == LogFormat::json) ASSERT_NO_THROW(parse_json(line, "line"));
    }
  }
}

TEST(Log, LongValuesAreCut) {
  std::string path;
  for (int i = 0; i < 5000; ++i) path += "\xc3\xa9";
  const std::string line = log_line(LogFormat::json, kTime, LogLevel::info, "x", {{"path", path}});
  EXPECT_LT(line.size(), 1200u);
  EXPECT_TRUE(parse_json(line, "line").at("path").as_string().ends_with("\xc3\xa9..."));
}

TEST(Log, Levels) {
  Captured log({.level = LogLevel::warning});
  serve::log(LogLevel::info, "no");
  serve::log(LogLevel::warning, "yes");
  serve::log(LogLevel::error, "yes");
  EXPECT_EQ(log.lines.size(), 2u);
}

TEST(Log, Access) {
  Captured log({.quiet_paths = {"/health"}});
  AccessRecord record{.remote = "127.0.0.1:1",
                      .method = "POST",
                      .path = "/v1/a\nb",
                      .route = "/v1/a",
                      .request_id = "r\x1b",
                      .status = 499,
                      .seconds = 0.25,
                      .request_bytes = 12,
                      .response_bytes = 34};
  log_access(record);
  record.path = "/health";
  log_access(record);
  ASSERT_EQ(log.lines.size(), 1u);
  EXPECT_TRUE(log.lines[0].ends_with(
      " INFO request remote=127.0.0.1:1 method=POST path=\"/v1/a\\nb\" status=499 ms=250 "
      "bytes_in=12 bytes_out=34 request_id=\"r\\u001b\"\n"))
      << log.lines[0];
}

TEST(Log, AccessCanBeOff) {
  Captured log({.access = false});
  log_access({.path = "/x", .status = 500});
  EXPECT_TRUE(log.lines.empty());
}

TEST(Log, LinesOfManyThreadsStayWhole) {
  Captured log;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([] {
      for (int i = 0; i < 500; ++i) serve::log(LogLevel::info, "line", {{"n", std::int64_t{i}}});
    });
  for (std::thread& t : threads) t.join();
  ASSERT_EQ(log.lines.size(), 2000u);
  for (const std::string& line : log.lines)
    ASSERT_TRUE(line.ends_with("\n") && line.find(" INFO line n=") != std::string::npos);
}

TEST(Log, Throughput) {
  generate::EngineStatus before, after;
  before.prompt_tokens = 100;
  after.prompt_tokens = 223;
  after.answer_tokens = 456;
  after.steps = 5;
  after.running = 2;
  after.waiting = 1;
  after.kv_pages_used = 123;
  after.kv_pages_total = 1000;
  after.prefix_query_tokens = 200;
  after.prefix_hit_tokens = 150;
  const Throughput t = throughput(before, after, 10);
  EXPECT_TRUE(t.active);
  EXPECT_EQ(to_string(t),
            "12.3 prompt tokens/s, 45.6 generated tokens/s, 2 running, 1 waiting, KV cache 12.3 % "
            "used, prefix cache 75.0 % hits");
  {
    Captured log({.format = LogFormat::json});
    log_throughput(t);
    ASSERT_EQ(log.lines.size(), 1u);
    EXPECT_EQ(parse_json(log.lines[0], "line").at("generation_tokens_per_second"), 45.6);
  }
  EXPECT_FALSE(throughput(before, before, 10).active);
  EXPECT_EQ(throughput(before, after, 0).prompt_tokens_per_second, 0);
}

}  // namespace
}  // namespace octet::serve
