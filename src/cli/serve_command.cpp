#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <thread>

#include "cli/common.h"
#include "cli/serve_plan.h"
#include "cli/serve_report.h"
#include "cli/serve_restart.h"
#include "cli/serve_setup.h"
#include "cli/serve_watch.h"
#include "runtime/base/system.h"
#include "serve/api/routes.h"
#include "serve/log.h"

namespace octet::cli {

namespace {

using Clock = std::chrono::steady_clock;
using serve::LogLevel;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::atomic<bool> reload_wanted{false};

// SIGINT and SIGTERM are the program's already: the first sets a flag, the second ends it.
void install_server_signals() {
  struct sigaction action{};
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  action.sa_handler = [](int) { reload_wanted.store(true, std::memory_order_relaxed); };
  ::sigaction(SIGHUP, &action, nullptr);
  action.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &action, nullptr);
}

constexpr double kStatusSeconds = 10;
// sysexits.h: EX_SOFTWARE.
constexpr int kEngineFailed = 70;

// Looks at the engine now and then: a line of throughput while it works, an alarm when it hangs.
class Watch {
 public:
  Watch(serve::Service& service, const ServeFlags& flags)
      : service_(service), quiet_(flags.disable_log_stats), alarm_(flags.watchdog_timeout) {
    last_ = service.engine().status();
  }
  /// True when it has failed.
  bool look() {
    const generate::EngineStatus now = service_.engine().status();
    const bool failed = alarm_.look(now, seconds_since(looked_));
    looked_ = Clock::now();
    if (quiet_ || seconds_since(at_) < kStatusSeconds) return failed;
    if (const serve::Throughput t = serve::throughput(last_, now, seconds_since(at_)); t.active)
      serve::log_throughput(t);
    last_ = now;
    at_ = Clock::now();
    return failed;
  }

 private:
  serve::Service& service_;
  const bool quiet_;
  StallAlarm alarm_;
  generate::EngineStatus last_;
  Clock::time_point at_ = Clock::now(), looked_ = at_;
};

// Whatever is slow to wait for: at most so long.
template <typename Done>
void wait_until(const Done& done, double seconds) {
  const auto begin = Clock::now();
  while (!done() && seconds_since(begin) < seconds)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
}

// A thread hangs that can't be ended: the process can, without those things that wait for it.
[[noreturn]] void leave_without_the_engine() {
  std::fflush(stdout);
  ::_exit(kEngineFailed);
}

// No new requests; those that are under way may end, until the deadline. A second signal ends the
// process at once.
void shut_down(serve::ServerState& state, serve::HttpServer& server, serve::Service& service,
               double seconds) {
  generate::Engine& engine = service.engine();
  serve::log(LogLevel::info,
             fmt::format("shutting down; answers under way have {:.0f} s", seconds));
  state.drain();
  engine.drain();
  server.drain();
  wait_until([&] { return engine.idle(); }, seconds);
  if (!engine.idle()) {
    // Their streams get an error frame.
    serve::log(LogLevel::warning, "the time is up: " + status_text(engine.status()));
    engine.cancel_all();
    wait_until([&] { return engine.idle(); }, 10);
  }
  const bool hangs = !engine.idle();
  if (hangs) {
    serve::log(LogLevel::error, "the engine does not end; the process ends without it");
    service.fail_running(serve::HttpError(503, "the server ended the answer"),
                         std::chrono::seconds(1));
  }
  wait_until([&] { return server.status().unanswered == 0; }, 5);
  if (hangs) leave_without_the_engine();
}

// How this life of the process began, and what the next one needs.
struct Life {
  std::optional<HandedSocket> socket;
  RestartHistory history{""};
  ProgramImage image;
};

// Before there are threads.
Life begin_life() {
  Life life;
  const Environment variables = process_environment();
  life.socket = handed_socket(variables, ::getpid());
  forget_handed_socket();
  life.image = this_program();
  if (const auto it = variables.find(RestartHistory::kVariable); it != variables.end())
    life.history = RestartHistory(it->second);
  return life;
}

// The engine's thread hangs, or its device is lost: neither can be ended within a process, and the
// model's memory not be freed. Clients hear of it, and the process begins anew.
[[noreturn]] void recover(serve::ServerState& state, serve::HttpServer& server,
                          serve::Service& service, const ServeFlags& flags, Life life) {
  const double now = std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
  const bool allowed = life.history.may_restart(now), again = flags.auto_restart && allowed;
  serve::log(LogLevel::error, "the engine has failed: " + status_text(service.engine().status()),
             {{"restarts", again ? "yes" : "no"}, {"threads", threads_text()}});
  for (const std::string& line : service.describe_running(32))
    serve::log(LogLevel::error, "under way: " + line);
  state.fail_with(again ? "The engine has failed; the server restarts" : "The engine has failed");
  server.drain();
  const auto begin = Clock::now();
  const std::size_t untold =
      service.fail_running(serve::HttpError(500, "the engine has failed; the answer is lost"),
                           std::chrono::milliseconds(1500));
  if (untold > 0)
    serve::log(LogLevel::warning, fmt::format("{} answers could not be told", untold));
  const auto flush = [&](double seconds) {
    wait_until([&] { return server.status().unanswered == 0; }, seconds);
  };
  flush(4 - seconds_since(begin));
  if (!again) {
    serve::log(LogLevel::error,
               allowed
                   ? "--no-auto-restart: the process ends"
                   : fmt::format("the engine failed {} times within {:.0f} minutes; the process "
                                 "ends. If the steps of this model take long on this machine, "
                                 "raise --watchdog-timeout or lower --max-num-batched-tokens; "
                                 "else report it with the lines above",
                                 RestartHistory::kMost + 1, RestartHistory::kSeconds / 60));
    leave_without_the_engine();
  }
  HandedSocket socket = life.socket.value_or(HandedSocket{-1, kOwnSocket});
  std::string problem;
  try {
    socket.fd = server.hand_over();
    flush(0.5);
    // Connections that end with their response have shut down by then.
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    if (interrupted()) {
      serve::log(LogLevel::info, "asked to end");
    } else {
      serve::log(LogLevel::warning, "restarting");
      life.image.variables[RestartHistory::kVariable] = life.history.with(now);
      problem = replace_process(std::move(life.image), socket);
    }
  } catch (const std::exception& e) {
    problem = e.what();
  }
  if (!problem.empty()) serve::log(LogLevel::error, "the process can't restart: " + problem);
  leave_without_the_engine();
}

void set_cache_config(serve::Metrics& metrics, const ServePlan& plan) {
  metrics.set_cache_config(
      {{"block_size", "64"},
       {"num_gpu_blocks", std::to_string(plan.memory.kv_tokens / 64)},
       {"cache_dtype", std::string(to_string(plan.engine.kv_dtype))},
       {"enable_prefix_caching", plan.engine.prefix_cache ? "True" : "False"}});
}

void set_device_memory(serve::Metrics& metrics, const ServePlan& plan) {
  metrics.set_device_memory("cpu", "weights", plan.weight_bytes);
  metrics.set_device_memory("cpu", "kv", plan.memory.kv_bytes);
  metrics.set_device_memory("cpu", "states", plan.memory.state_bytes);
  metrics.set_device_memory("cpu", "snapshots", plan.memory.snapshot_bytes);
  metrics.set_device_memory("cpu", "workspace", plan.memory.workspace_bytes);
}

// Where the server listens, if somebody else has decided that.
void take_socket(const Life& life, const ServeFlags& flags, serve::HttpOptions& options) {
  if (!life.socket) return;
  options.listen_fd = life.socket->fd;
  options.remove_listen_path = life.socket->name == kOwnSocket;
  if (options.remove_listen_path) return;
  for (const char* name : {"host", "port", "uds"})
    if (flags.given(name))
      serve::log(LogLevel::warning,
                 fmt::format("--{} has no effect: a listening socket was handed over", name));
}

void serve_model(const ServeFlags& flags) {
  name_this_thread("octet");  // once restarted it would be "exe"
  Life life = begin_life();
  serve::set_log_options(log_options(flags));
  install_server_signals();
  report_notes(flags);
  if (life.history.count() > 0)
    serve::log(LogLevel::warning, "restarted after the engine had failed",
               {{"restarts", life.history.count()}});
  // Before the port: what can't work should not look alive.
  const auto checkpoint = open_checkpoint(flags.model, flags.compute, [](const std::string& line) {
    serve::log(LogLevel::warning, line);
  });
  std::optional<DummyWeights> dummy;
  if (flags.load_format == "dummy") dummy = dummy_weights(flags.dummy_shape, checkpoint);
  ServePlan plan =
      plan_serving(checkpoint, flags, serve_memory_limit(flags), dummy ? &*dummy : nullptr);
  if (!plan.note.empty()) serve::log(LogLevel::warning, plan.note);
  report_memory(flags, plan);
  checkpoint::GenerationConfig defaults = generation_config(flags, checkpoint);
  auto chat_template = serving_template(flags, checkpoint);

  serve::ServerState state;
  serve::Router router;
  serve::add_routes(router, state, flags.metrics_public);
  serve::HttpOptions http = http_options(flags);
  take_socket(life, flags, http);
  serve::HttpServer server(std::move(http), std::move(router));
  state.http_status = [&server] { return server.status(); };
  server.on_access = [&state](const serve::AccessRecord& record) {
    serve::log_access(record);
    if (serve::Service* service = state.find_service()) service->metrics().count_access(record);
  };
  server.on_error = [](const std::string& request_id, const std::string& what) {
    if (request_id.empty())
      serve::log(LogLevel::error, what);
    else
      serve::log(LogLevel::error, what, {{"request_id", request_id}});
  };
  server.start();
  serve::log(LogLevel::info, "listening at " + server.url() + ", loading " + flags.model);
  if (life.socket && !server.is_local() && flags.api_key.empty() && flags.api_key_file.empty())
    serve::log(LogLevel::warning, "without an API key, whoever reaches the socket may use it");

  Machine machine(flags.compute);
  // The plan has counted everything.
  const LoadedModel loaded =
      dummy ? LoadedModel(flags.model, machine, *dummy)
            : LoadedModel(
                  flags.model, machine, flags.compute,
                  {.num_tokens = 64, .kv_dtype = plan.engine.kv_dtype}, flags.log_format == "json",
                  [&state](double share) { state.set_progress(share); },
                  [&flags](const std::string& line) { report_line(flags, line); });
  plan.engine.num_tokens = loaded.tokenizer->size();
  generate::Engine engine(*loaded.model, plan.engine);
  serve::Service service(service_options(flags, checkpoint), *loaded.tokenizer,
                         std::move(chat_template), std::move(defaults), engine,
                         loaded.model->config().vocab_size);
  set_cache_config(service.metrics(), plan);
  set_device_memory(service.metrics(), plan);
  service.metrics().set_load_progress(1);
  for (std::int64_t i = 0; i < life.history.count(); ++i) service.metrics().count_watchdog_stall();
  engine.on_error = [](generate::RequestId id, const std::string& what) {
    serve::log(LogLevel::error, what, {{"engine_request", static_cast<std::int64_t>(id)}});
  };
  engine.on_step = [&service](const generate::StepReport& report) {
    service.metrics().count_step(report);
  };
  // Ends before the service: its last calls go to jobs. The server's threads end before both.
  const generate::EngineThread thread(engine);
  struct Stop {
    serve::HttpServer& server;
    ~Stop() { server.stop(); }
  } const stop{server};
  state.serve(service);
  report_ready(flags, plan, server.url(), loaded.seconds);

  Watch watch(service, flags);
  while (!interrupted()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    if (watch.look()) recover(state, server, service, flags, std::move(life));
    if (!reload_wanted.exchange(false)) continue;
    try {
      server.reload();
      serve::log(LogLevel::info, "keys and certificates were read again");
    } catch (const Error& e) {
      serve::log(LogLevel::error, fmt::format("reload: {}; the old ones stay", e.what()));
    }
  }
  shut_down(state, server, service, flags.shutdown_timeout);
}

}  // namespace

Command add_serve(CLI::App& app) {
  const CLI::App* command = add_serve_subcommand(app);
  return [command] {
    const ServeFlags flags = parse_serve_flags(serve_arguments(*command), process_environment());
    if (flags.help) {
      fmt::print("{}", serve_help());
      return;
    }
    if (flags.print_config) {
      fmt::print("{}", describe(flags));
      return;
    }
    try {
      serve_model(flags);
    } catch (const Error& e) {
      // An end that was asked for is no failure: whoever restarts failed services must see that.
      if (e.code() != ErrorCode::interrupted) throw;
      serve::log(LogLevel::info, "asked to end before the model was loaded");
    }
  };
}

}  // namespace octet::cli
