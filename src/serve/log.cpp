#include "serve/log.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <ctime>
#include <mutex>
#include <utility>

#include "input/tokenizer/unicode.h"
#include "runtime/base/json.h"

namespace octet::serve {

namespace {

constexpr std::size_t kMostBytes = 1024;

struct Log {
  std::mutex mutex;
  LogOptions options;
};
Log& the_log() {
  static Log log;
  return log;
}

std::string_view level_name(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return "DEBUG";
    case LogLevel::info:
      return "INFO";
    case LogLevel::warning:
      return "WARNING";
    case LogLevel::error:
      break;
  }
  return "ERROR";
}

// What a terminal or a reader of lines would take for more than text.
bool is_control(std::uint32_t c) {
  return c < 0x20 || (c >= 0x7F && c <= 0x9F) || c == 0x2028 || c == 0x2029 ||
         (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069) || c == 0x200E ||
         c == 0x200F || c == 0xFEFF;
}

std::string_view cut(std::string_view text) {
  if (text.size() <= kMostBytes) return text;
  std::size_t end = kMostBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end);
}

std::string quoted(std::string_view text) {
  const bool whole = text.size() <= kMostBytes;
  return fmt::format("\"{}{}\"", log_escape(cut(text)), whole ? "" : "...");
}

// Text that reads well bare: no blanks, nothing escaped.
std::string bare_or_quoted(std::string_view text) {
  const std::string escaped = log_escape(cut(text));
  const bool plain =
      !text.empty() && escaped == text && text.find_first_of(" ='") == std::string_view::npos;
  return plain ? escaped : quoted(text);
}

std::string number(double value) {
  // JSON has no NaN.
  return std::isfinite(value) ? fmt::format("{:.6g}", value) : std::string("null");
}

void write_line(const LogOptions& options, const std::string& line) {
  if (options.write) {
    options.write(line);
    return;
  }
  // One call, so that lines of several processes don't mix; a log that can't be written is no
  // reason to stop.
  std::size_t done = 0;
  while (done < line.size()) {
    const ssize_t n = ::write(STDERR_FILENO, line.data() + done, line.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    done += static_cast<std::size_t>(n);
  }
}

}  // namespace

void set_log_options(LogOptions options) {
  Log& log = the_log();
  const std::lock_guard lock(log.mutex);
  log.options = std::move(options);
}

std::string log_escape(std::string_view text) {
  const std::string valid = tokenizer::to_valid_utf8(text);
  std::string out;
  out.reserve(valid.size());
  for (std::size_t at = 0; at < valid.size();) {
    const std::size_t begin = at;
    const std::uint32_t c = tokenizer::next_code_point(valid, at);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (is_control(c)) {
      out += fmt::format("\\u{:04x}", c);
    } else {
      out.append(valid, begin, at - begin);
    }
  }
  return out;
}

std::string log_line(LogFormat format, double seconds, LogLevel level, std::string_view message,
                     LogFields fields) {
  const auto whole = static_cast<std::time_t>(std::floor(seconds));
  const int milliseconds =
      std::clamp(static_cast<int>((seconds - std::floor(seconds)) * 1000), 0, 999);
  const std::string time =
      fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(whole), milliseconds);
  const bool as_json = format == LogFormat::json;
  std::string line =
      as_json ? fmt::format("{{\"time\": \"{}\", \"level\": \"{}\", \"message\": {}", time,
                            level_name(level), quoted(message))
              : fmt::format("{} {} {}", time, level_name(level), log_escape(cut(message)));
  for (const LogField& field : fields) {
    std::string value;
    if (const auto* text = std::get_if<std::string_view>(&field.value))
      value = as_json ? quoted(*text) : bare_or_quoted(*text);
    else if (const auto* i = std::get_if<std::int64_t>(&field.value))
      value = fmt::format("{}", *i);
    else
      value = number(std::get<double>(field.value));
    line += as_json ? fmt::format(", \"{}\": {}", field.name, value)
                    : fmt::format(" {}={}", field.name, value);
  }
  line += as_json ? "}\n" : "\n";
  return line;
}

void log(LogLevel level, std::string_view message, LogFields fields) {
  Log& log = the_log();
  const std::lock_guard lock(log.mutex);
  if (level < log.options.level) return;
  const double now =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  write_line(log.options, log_line(log.options.format, now, level, message, fields));
}

void log_access(const AccessRecord& record) {
  {
    Log& log = the_log();
    const std::lock_guard lock(log.mutex);
    if (!log.options.access) return;
    if (std::ranges::find(log.options.quiet_paths, record.path) != log.options.quiet_paths.end())
      return;
  }
  log(record.status >= 500 ? LogLevel::warning : LogLevel::info, "request",
      {{"remote", record.remote},
       {"method", record.method},
       {"path", record.path},
       {"status", std::int64_t{record.status}},
       {"ms", record.seconds * 1000},
       {"bytes_in", static_cast<std::int64_t>(record.request_bytes)},
       {"bytes_out", static_cast<std::int64_t>(record.response_bytes)},
       {"request_id", record.request_id}});
}

Throughput throughput(const generate::EngineStatus& before, const generate::EngineStatus& after,
                      double seconds) {
  const auto rate = [&](std::int64_t a, std::int64_t b) {
    return seconds > 0 && b > a ? static_cast<double>(b - a) / seconds : 0.0;
  };
  const auto share = [](std::int64_t part, std::int64_t whole) {
    return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0.0;
  };
  Throughput t;
  t.prompt_tokens_per_second = rate(before.prompt_tokens, after.prompt_tokens);
  t.generation_tokens_per_second = rate(before.answer_tokens, after.answer_tokens);
  t.running = after.running;
  t.waiting = after.waiting;
  t.kv_usage = share(after.kv_pages_used, after.kv_pages_total);
  t.prefix_hit_rate = share(after.prefix_hit_tokens - before.prefix_hit_tokens,
                            after.prefix_query_tokens - before.prefix_query_tokens);
  t.active = t.running > 0 || t.waiting > 0 || after.steps > before.steps;
  return t;
}

std::string to_string(const Throughput& t) {
  return fmt::format(
      "{:.1f} prompt tokens/s, {:.1f} generated tokens/s, {} running, {} waiting, KV cache {:.1f} "
      "% "
      "used, prefix cache {:.1f} % hits",
      t.prompt_tokens_per_second, t.generation_tokens_per_second, t.running, t.waiting,
      t.kv_usage * 100, t.prefix_hit_rate * 100);
}

void log_throughput(const Throughput& t) {
  LogFormat format;
  {
    Log& the = the_log();
    const std::lock_guard lock(the.mutex);
    format = the.options.format;
  }
  // Sentences for people, numbers for machines.
  if (format == LogFormat::text) {
    log(LogLevel::info, to_string(t));
    return;
  }
  log(LogLevel::info, "throughput",
      {{"prompt_tokens_per_second", t.prompt_tokens_per_second},
       {"generation_tokens_per_second", t.generation_tokens_per_second},
       {"running", t.running},
       {"waiting", t.waiting},
       {"kv_usage", t.kv_usage},
       {"prefix_hit_rate", t.prefix_hit_rate}});
}

}  // namespace octet::serve
