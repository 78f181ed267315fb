#include <csignal>
#include <cstdio>
#include <thread>

#include "cli/common.h"
#include "cli/serve_plan.h"
#include "cli/serve_setup.h"
#include "cli/serve_watch.h"
#include "runtime/base/progress.h"
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

// Looks at the engine now and then: a line of throughput while it works, an alarm when it hangs.
class Watch {
 public:
  Watch(serve::Service& service, bool quiet) : service_(service), quiet_(quiet) {
    last_ = service.engine().status();
  }
  void look() {
    const generate::EngineStatus now = service_.engine().status();
    const StallAlarm::Change change = alarm_.look(now);
    if (change == StallAlarm::Change::stalled) {
      service_.metrics().count_watchdog_stall();
      serve::log(LogLevel::error, "no step of the engine for a minute: " + status_text(now));
      service_.set_state(serve::Service::State::failed);
    } else if (change == StallAlarm::Change::recovered) {
      serve::log(LogLevel::info, "the engine steps again");
      service_.set_state(serve::Service::State::ready);
    }
    if (quiet_ || seconds_since(at_) < kStatusSeconds) return;
    if (const serve::Throughput t = serve::throughput(last_, now, seconds_since(at_)); t.active)
      serve::log_throughput(t);
    last_ = now;
    at_ = Clock::now();
  }

 private:
  serve::Service& service_;
  const bool quiet_;
  StallAlarm alarm_;
  generate::EngineStatus last_;
  Clock::time_point at_ = Clock::now();
};

// What a person needs to begin.
void print_ready(const std::string& url, const ServeFlags& flags, const ServePlan& plan,
                 const LoadedModel& loaded) {
  std::string names;
  for (const std::string& name : flags.served_model_name)
    names += (names.empty() ? "" : ", ") + name;
  const std::string key = flags.api_key.empty() && flags.api_key_file.empty() ? "" : "$KEY";
  const std::string header = key.empty() ? "" : " -H \"Authorization: Bearer " + key + "\"";
  fmt::print(stderr,
             "octet: ready at {} after {:.1f} s\n"
             "  models    {}\n"
             "  context   {} tokens\n"
             "  capacity  {} tokens of KV cache, {} sequences at once, {} at full length\n"
             "  drafts    none\n\n"
             "  curl {}/v1/chat/completions{} -H 'Content-Type: application/json' \\\n"
             "    -d '{{\"model\": \"{}\", \"messages\": [{{\"role\": \"user\", \"content\": "
             "\"Hello\"}}]}}'\n"
             "  OPENAI_BASE_URL={}/v1 OPENAI_API_KEY={}\n"
             "  ANTHROPIC_BASE_URL={} ANTHROPIC_AUTH_TOKEN={}\n",
             url, loaded.seconds, names, plan.engine.max_model_len, plan.memory.kv_tokens,
             plan.memory.sequences, plan.memory.full_length_sequences, url, header,
             flags.served_model_name.front(), url, key.empty() ? "none" : key, url,
             key.empty() ? "none" : key);
}

// Whatever is slow to wait for: at most so long.
template <typename Done>
void wait_until(const Done& done, double seconds) {
  const auto begin = Clock::now();
  while (!done() && seconds_since(begin) < seconds)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
}

// No new requests; those that are under way may end, until the deadline. A second signal ends the
// process at once.
void shut_down(serve::ServerState& state, serve::HttpServer& server, generate::Engine& engine,
               double seconds) {
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
  wait_until([&] { return server.status().exchanges == 0; }, 5);
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

void serve_model(const ServeFlags& flags) {
  serve::set_log_options(log_options(flags));
  install_server_signals();
  // Before the port: what can't work should not look alive.
  const auto checkpoint = open_checkpoint(flags.model, flags.compute);
  std::optional<DummyWeights> dummy;
  if (flags.load_format == "dummy") dummy = dummy_weights(flags.dummy_shape, checkpoint);
  ServePlan plan =
      plan_serving(checkpoint, flags, serve_memory_limit(flags), dummy ? &*dummy : nullptr);
  if (!plan.note.empty()) serve::log(LogLevel::warning, plan.note);
  fmt::print(stderr, "{}", describe(plan));
  checkpoint::GenerationConfig defaults = generation_config(flags, checkpoint);
  auto chat_template = serving_template(flags, checkpoint);

  serve::ServerState state;
  serve::Router router;
  serve::add_routes(router, state, flags.metrics_public);
  serve::HttpServer server(http_options(flags), std::move(router));
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

  Machine machine(flags.compute);
  // The plan has counted everything.
  const LoadedModel loaded =
      dummy ? LoadedModel(flags.model, machine, *dummy)
            : LoadedModel(flags.model, machine, flags.compute,
                          {.num_tokens = 64, .kv_dtype = plan.engine.kv_dtype}, false,
                          [&state](double share) { state.set_progress(share); });
  plan.engine.num_tokens = loaded.tokenizer->size();
  generate::Engine engine(*loaded.model, plan.engine);
  serve::Service service(service_options(flags, checkpoint), *loaded.tokenizer,
                         std::move(chat_template), std::move(defaults), engine,
                         loaded.model->config().vocab_size);
  set_cache_config(service.metrics(), plan);
  set_device_memory(service.metrics(), plan);
  service.metrics().set_load_progress(1);
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
  print_ready(server.url(), flags, plan, loaded);

  Watch watch(service, flags.disable_log_stats);
  while (!interrupted()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    watch.look();
    if (!reload_wanted.exchange(false)) continue;
    try {
      server.reload();
      serve::log(LogLevel::info, "keys and certificates were read again");
    } catch (const Error& e) {
      serve::log(LogLevel::error, fmt::format("reload: {}; the old ones stay", e.what()));
    }
  }
  shut_down(state, server, engine, flags.shutdown_timeout);
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
    for (const std::string& note : flags.notes) fmt::print(stderr, "octet: {}\n", note);
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
