#pragma once

#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "generate/engine.h"
#include "serve/http/server.h"

namespace octet::serve {

enum class LogLevel { debug, info, warning, error };
enum class LogFormat { text, json };

/// A named value of a log line.
struct LogField {
  std::string_view name;
  std::variant<std::string_view, std::int64_t, double> value;
};
using LogFields = std::initializer_list<LogField>;

/// What is logged and where to. Prompts and answers never are: no caller has a field for them.
struct LogOptions {
  LogLevel level = LogLevel::info;
  LogFormat format = LogFormat::text;
  bool access = true;                           ///< a line for each request
  std::vector<std::string> quiet_paths;         ///< paths without such lines, "/health"
  std::function<void(std::string_view)> write;  ///< gets whole lines; empty: stderr
};
/// Before the threads start; the process's one log.
void set_log_options(LogOptions options);

/// One line: time, level, message, fields. Values are escaped (log_escape) and cut at 1024 bytes,
/// so that no client can forge a line or speak to a terminal. Any thread; one write per line.
void log(LogLevel level, std::string_view message, LogFields fields = {});
/// The same without writing it: for tests. seconds: Unix time.
std::string log_line(LogFormat format, double seconds, LogLevel level, std::string_view message,
                     LogFields fields);

/// A finished request: who, what, how it ended, how long it took. Without the query.
void log_access(const AccessRecord& record);

/// Control characters (C0, DEL, C1, line separators, those that turn the direction of writing),
/// quotes and backslashes as JSON writes them; bytes that are no UTF-8 as U+FFFD.
std::string log_escape(std::string_view text);

/// What the engine did between two looks at it. serving.md §18.4.
struct Throughput {
  double prompt_tokens_per_second = 0, generation_tokens_per_second = 0;
  std::int64_t running = 0, waiting = 0;
  double kv_usage = 0;         ///< 0..1
  double prefix_hit_rate = 0;  ///< 0..1, of the tokens looked up between the looks
  bool active = false;         ///< anything ran, waits or was done: worth a line
};
Throughput throughput(const generate::EngineStatus& before, const generate::EngineStatus& after,
                      double seconds);
/// "12.3 prompt tokens/s, 45.6 generated tokens/s, ...": one line, without its end.
std::string to_string(const Throughput& t);
void log_throughput(const Throughput& t);

}  // namespace octet::serve
