#include "cli/app.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "cli/common.h"
#include "cli/suggestion.h"
#include "runtime/base/error.h"
#include "runtime/base/system.h"
#include "runtime/comm/communicator.h"
#include "serve/http/server.h"

namespace octet::cli {

namespace {

int exit_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument:
      return 2;
    case ErrorCode::not_found:
    case ErrorCode::bad_data:
      return 3;
    case ErrorCode::out_of_memory:
      return 4;
    case ErrorCode::interrupted:
      return 130;
    default:
      return 1;
  }
}

std::vector<std::string> flags_of(const CLI::App& app) {
  std::vector<std::string> flags;
  for (const CLI::Option* o : app.get_options())
    for (const std::string& name : o->get_lnames()) flags.push_back("--" + name);
  return flags;
}

// What CLI11 says, and the nearest command or flag.
std::string usage_error(const CLI::App& app, const CLI::ParseError& error, int argc, char** argv) {
  std::string text = error.what();
  const auto commands = app.get_subcommands({});
  const CLI::App* chosen = nullptr;
  std::vector<std::string> names;
  for (const CLI::App* c : commands) {
    names.push_back(c->get_name());
    if (c->parsed()) chosen = c;
  }
  if (!chosen && argc > 1 && argv[1][0] != '-')
    return fmt::format("unknown command `{}`{}", argv[1], suggestion(argv[1], names));
  if (chosen)
    for (int i = 2; i < argc; ++i) {
      const std::string word = std::string(argv[i]).substr(0, std::string(argv[i]).find('='));
      const auto flags = flags_of(*chosen);
      if (word.starts_with("--") && std::ranges::find(flags, word) == flags.end())
        return fmt::format("unknown flag `{}`{}", word, suggestion(word, flags));
    }
  return text;
}

// "rank 2: " where there are several.
std::string rank_prefix() {
  const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
  if (!rank) rank = std::getenv("PMIX_RANK");
  return comm::launched_ranks() > 1 && rank ? fmt::format("rank {}: ", rank) : "";
}

// Commands that don't know how to share their work would do it several times.
void require_one_process(const std::string& command) {
  if (comm::launched_ranks() > 1 && command != "quantize" && command != "perplexity")
    fail(ErrorCode::invalid_argument,
         "{} runs as one process, mpirun has started {}; quantize and perplexity share their work",
         command, comm::launched_ranks());
}

}  // namespace

int run(int argc, char** argv) {
  install_interrupt_handler();
  CLI::App app{"Quantizes, evaluates and serves Qwen3.5 / 3.6 / 3.8 dense models."};
  app.name("octet");
  app.set_version_flag("--version", "octet " OCTET_VERSION);
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  std::vector<std::pair<CLI::App*, Command>> commands;
  const auto add = [&](Command (*make)(CLI::App&)) {
    const std::size_t before = app.get_subcommands({}).size();
    Command command = make(app);
    commands.emplace_back(app.get_subcommands({})[before], std::move(command));
  };
  for (const auto make : {add_quantize, add_perplexity, add_chat, add_inspect, add_tokenize,
                          add_logits, add_export, add_bench, add_doctor, add_serve})
    add(make);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help, --version
    fmt::print(stderr, "octet: {}\nTry `octet --help`.\n", usage_error(app, e, argc, argv));
    return 2;
  }
  try {
    for (const auto& [sub, command] : commands) {
      if (!sub->parsed()) continue;
      comm::require_known_launcher();
      require_one_process(sub->get_name());
      command();
    }
    std::fflush(stdout);
    return 0;
  } catch (const serve::AddressInUse& e) {
    fmt::print(stderr, "octet: {}\n", e.what());
    return 5;
  } catch (const Error& e) {
    std::fflush(stdout);
    fmt::print(stderr, "octet: {}{}\n", rank_prefix(), e.what());
    comm::abort_all(exit_code(e.code()));
    return exit_code(e.code());
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "octet: {}out of memory; try --max-memory or a smaller model\n",
               rank_prefix());
    comm::abort_all(4);
    return 4;
  } catch (const std::exception& e) {
    fmt::print(stderr, "octet: {}unexpected error: {}\n", rank_prefix(), e.what());
    comm::abort_all(1);
    return 1;
  }
}

}  // namespace octet::cli
