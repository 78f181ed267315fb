#include "serve/service.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <ctime>
#include <deque>
#include <future>
#include <iterator>
#include <list>
#include <map>
#include <mutex>
#include <semaphore>
#include <thread>
#include <unordered_map>

#include "runtime/base/system.h"
#include "serve/http/error_body.h"
#include "serve/log.h"

namespace octet::serve {

namespace {

using generate::grammar::CompiledGrammar;
using GrammarPtr = std::shared_ptr<const CompiledGrammar>;

// Compiled grammars and the masks that they gather.
constexpr std::size_t kMaxGrammarBytes = std::size_t{1} << 30;
constexpr std::size_t kMaxGrammars = 1024;
// Of all that requests hold, those that were dropped above included.
constexpr std::size_t kMaxProgramBytes = std::size_t{4} << 30;
// Each may take CompiledGrammar's time and memory limits. Fewer than the threads that read requests
// (HttpOptions::workers), which those without a grammar need.
constexpr std::ptrdiff_t kMaxCompiling = 4;
constexpr std::chrono::seconds kCompileWait{2};

HttpError too_many_grammars(const char* what) {
  return busy_error(std::string(what) + "; try again later", 5);
}

}  // namespace

struct Service::Impl {
  mutable std::mutex mutex;
  struct Running {
    std::weak_ptr<RunningJob> handle;
    const RunningJob* job;
  };
  std::multimap<std::string, Running> running;  // clients choose ids: two may have the same
  bool broken = false;                          // fail_running() was called
  std::vector<std::thread> tellers;
  std::shared_ptr<const generate::grammar::Vocabulary> vocabulary;
  std::once_flag vocabulary_once;
  std::vector<std::int32_t> newline_ids;
  std::atomic<State> state = State::loading;
  ReplyThread replies;

  struct Cached {
    std::shared_future<GrammarPtr> grammar;
    std::list<std::string>::iterator use;
    bool ready = false;
  };
  std::mutex grammars_mutex;
  std::unordered_map<std::string, Cached> grammars;
  std::list<std::string> uses;  // the latest first
  std::counting_semaphore<kMaxCompiling> compiling{kMaxCompiling};

  ~Impl() {
    for (std::thread& teller : tellers) teller.join();
  }

  // Of finished ones: what they hold grows while they are used.
  void evict() {
    std::size_t bytes = 0, count = 0;
    for (auto use = uses.begin(); use != uses.end();) {
      const auto at = grammars.find(*use);
      ++use;
      if (!at->second.ready) continue;
      bytes += at->second.grammar.get()->bytes();
      ++count;
      // The one that was just made stays, however large it is.
      if (count == 1 || (bytes <= kMaxGrammarBytes && count <= kMaxGrammars)) continue;
      bytes -= at->second.grammar.get()->bytes();
      --count;
      uses.erase(at->second.use);
      grammars.erase(at);
    }
  }
};

Service::Service(ServiceOptions options, const tokenizer::Tokenizer& tokenizer,
                 chat_template::ChatTemplate chat_template, checkpoint::GenerationConfig defaults,
                 generate::Engine& engine, std::int64_t vocab_size)
    : options_(std::move(options)),
      tokenizer_(tokenizer),
      template_(std::move(chat_template)),
      content_form_(content_form(template_)),
      defaults_(std::move(defaults)),
      engine_(engine),
      vocab_size_(vocab_size),
      created_(static_cast<std::int64_t>(std::time(nullptr))),
      metrics_(
          options_.served_model_names.empty() ? std::string() : options_.served_model_names.front(),
          engine.options().max_model_len),
      impl_(std::make_unique<Impl>()) {
  if (options_.served_model_names.empty())
    fail(ErrorCode::invalid_argument, "the server needs a name for its model");
  for (std::int64_t id = 0; id < tokenizer_.size(); ++id) {
    const std::string_view bytes = tokenizer_.bytes(static_cast<std::int32_t>(id));
    if (!bytes.empty() && bytes.find_first_not_of('\n') == std::string_view::npos)
      impl_->newline_ids.push_back(static_cast<std::int32_t>(id));
  }
}

Service::~Service() = default;

ContentForm Service::content_form(const chat_template::ChatTemplate& own) const {
  return options_.content_form ? *options_.content_form : find_content_form(own);
}

std::int64_t Service::max_model_len() const {
  return engine_.options().max_model_len;
}

std::shared_ptr<const generate::grammar::Vocabulary> Service::vocabulary() {
  std::call_once(impl_->vocabulary_once, [&] {
    std::vector<std::int32_t> stops;
    for (const std::int64_t id : defaults_.eos_token_id)
      stops.push_back(static_cast<std::int32_t>(id));
    impl_->vocabulary = std::make_shared<const generate::grammar::Vocabulary>(
        tokenizer_, vocab_size_, std::move(stops));
  });
  return impl_->vocabulary;
}

ReplyThread& Service::replies() {
  return impl_->replies;
}

const std::vector<std::int32_t>& Service::newline_ids() const {
  return impl_->newline_ids;
}

std::string Service::served_name(const std::optional<std::string>& asked) const {
  const auto& names = options_.served_model_names;
  if (!asked || asked->empty()) return names.front();
  if (options_.any_model_name || std::ranges::find(names, *asked) != names.end()) return *asked;
  std::string known;
  for (const std::string& name : names) known += (known.empty() ? "" : ", ") + name;
  throw HttpError(404,
                  fmt::format("The model `{}` does not exist; this server has {}",
                              asked->size() > 256 ? std::string("...") : *asked, known),
                  "model");
}

GrammarPtr Service::compile(const std::function<generate::grammar::Rules()>& make) {
  if (!impl_->compiling.try_acquire_for(kCompileWait))
    throw too_many_grammars("too many slow grammars are being compiled");
  struct Release {
    Impl& impl;
    ~Release() { impl.compiling.release(); }
  } const release{*impl_};
  const auto words = vocabulary();
  if (words->program_bytes() > kMaxProgramBytes)
    throw too_many_grammars("too many large grammars are in use");
  return CompiledGrammar::compile(make(), words);
}

GrammarPtr Service::grammar(const std::string& cache_key,
                            const std::function<generate::grammar::Rules()>& make,
                            const std::string& param) {
  std::promise<GrammarPtr> promise;
  std::shared_future<GrammarPtr> future;
  bool mine = false;
  {
    const std::scoped_lock lock(impl_->grammars_mutex);
    auto at = impl_->grammars.find(cache_key);
    if (at == impl_->grammars.end()) {
      mine = true;
      impl_->uses.push_front(cache_key);
      at = impl_->grammars
               .emplace(cache_key, Impl::Cached{promise.get_future().share(), impl_->uses.begin()})
               .first;
    } else {
      impl_->uses.splice(impl_->uses.begin(), impl_->uses, at->second.use);
      impl_->evict();  // all have grown since
    }
    future = at->second.grammar;
  }
  if (mine) {
    const auto begin = std::chrono::steady_clock::now();
    try {
      promise.set_value(compile(make));
      metrics_.count_grammar_compile(
          std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
      const std::scoped_lock lock(impl_->grammars_mutex);
      impl_->grammars.at(cache_key).ready = true;
      impl_->evict();
    } catch (...) {
      // Those that wait hear of it; the next one tries again: it may have been the memory.
      promise.set_exception(std::current_exception());
      const std::scoped_lock lock(impl_->grammars_mutex);
      const auto at = impl_->grammars.find(cache_key);
      impl_->uses.erase(at->second.use);
      impl_->grammars.erase(at);
    }
  }
  if (!mine && future.wait_for(kCompileWait) != std::future_status::ready)
    throw too_many_grammars("another request's compilation of this grammar is not done");
  try {
    return future.get();
  } catch (const HttpError&) {
    throw;
  } catch (const Error& e) {
    if (e.code() != ErrorCode::invalid_argument && e.code() != ErrorCode::bad_data) throw;
    throw HttpError(400, e.what(), param);
  }
}

void Service::add_running(const std::string& id, std::weak_ptr<RunningJob> job) {
  const std::scoped_lock lock(impl_->mutex);
  if (impl_->broken) throw busy_error("The engine has failed", 30);
  const RunningJob* const raw = job.lock().get();
  impl_->running.emplace(id, Impl::Running{std::move(job), raw});
}

void Service::remove_running(const std::string& id, const RunningJob* job) {
  const std::scoped_lock lock(impl_->mutex);
  const auto [begin, end] = impl_->running.equal_range(id);
  const auto at =
      std::find_if(begin, end, [job](const auto& entry) { return entry.second.job == job; });
  if (at != end) impl_->running.erase(at);
}

std::shared_ptr<RunningJob> Service::find_running(const std::string& id) const {
  const std::scoped_lock lock(impl_->mutex);
  const auto [begin, end] = impl_->running.equal_range(id);
  return begin == end ? nullptr : std::prev(end)->second.handle.lock();
}

std::vector<std::string> Service::describe_running(std::size_t most) const {
  std::vector<std::pair<std::string, std::shared_ptr<RunningJob>>> jobs;
  {
    const std::scoped_lock lock(impl_->mutex);
    for (const auto& [id, running] : impl_->running) {
      if (jobs.size() == most) break;
      if (auto job = running.handle.lock()) jobs.emplace_back(id, std::move(job));
    }
  }
  std::vector<std::string> lines;
  for (const auto& [id, job] : jobs) lines.push_back(id + ": " + job->describe());
  return lines;
}

namespace {

// Jobs that are still to be told. Whoever tells one may be held up by a lock that the hung thread
// has inside a listener; then somebody else goes on with the others.
struct Untold {
  std::mutex mutex;
  std::deque<std::shared_ptr<RunningJob>> jobs;
  std::size_t left = 0;  // those that are being told included

  void tell(const HttpError& error, std::chrono::steady_clock::time_point deadline) {
    while (std::chrono::steady_clock::now() < deadline) {
      std::shared_ptr<RunningJob> job;
      {
        const std::scoped_lock lock(mutex);
        if (jobs.empty()) return;
        job = std::move(jobs.front());
        jobs.pop_front();
      }
      bool told = true;
      try {
        told = job->try_fail(error);
      } catch (const std::exception& e) {
        log(LogLevel::error, "a failure could not be told",
            {{"error", std::string_view(e.what())}});
      }
      if (!told) std::this_thread::sleep_for(std::chrono::milliseconds(5));
      const std::scoped_lock lock(mutex);
      if (told)
        --left;
      else
        jobs.push_back(std::move(job));
    }
  }
};

}  // namespace

std::size_t Service::fail_running(const HttpError& error, std::chrono::milliseconds at_most) {
  constexpr std::size_t kMostTellers = 8;
  const auto deadline = std::chrono::steady_clock::now() + at_most;
  const auto untold = std::make_shared<Untold>();
  {
    const std::scoped_lock lock(impl_->mutex);
    impl_->broken = true;
    for (const auto& [id, running] : impl_->running)
      if (auto job = running.handle.lock()) untold->jobs.push_back(std::move(job));
  }
  untold->left = untold->jobs.size();
  std::size_t left = untold->left;
  while (left > 0 && std::chrono::steady_clock::now() < deadline) {
    if (impl_->tellers.size() < kMostTellers)
      impl_->tellers.emplace_back([untold, error, deadline] {
        name_this_thread("octet-tell");
        untold->tell(error, deadline);
      });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    const std::scoped_lock lock(untold->mutex);
    left = untold->left;
  }
  return left;
}

Service::State Service::state() const {
  return impl_->state.load(std::memory_order_acquire);
}

void Service::set_state(State state) {
  impl_->state.store(state, std::memory_order_release);
}

std::string_view to_string(Service::State state) {
  switch (state) {
    case Service::State::loading:
      return "loading";
    case Service::State::ready:
      return "ready";
    case Service::State::draining:
      return "draining";
    case Service::State::failed:
      return "failed";
  }
  return "unknown";
}

}  // namespace octet::serve
