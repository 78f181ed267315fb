#include "generate/grammar/matcher.h"

#include <algorithm>
#include <array>
#include <mutex>

#include "generate/grammar/configurations.h"
#include "generate/grammar/masks.h"
#include "generate/grammar/program.h"
#include "generate/grammar/token_trie.h"
#include "runtime/base/error.h"

namespace octet::generate::grammar {
namespace {

// Of interned configurations. Then they start afresh, as RE2's automata do; matchers take along
// where they stand. Smaller, if all grammars together keep much: many are used at once then.
constexpr std::size_t kMaxBytes = 32 << 20, kFairBytes = 8 << 20;
constexpr std::size_t kMaxRollback = 16;

// Work (Configurations::work) of one call, and of a text: so much at first, and more with each
// token. A unit takes some 5 to 20 ns. New masks of ordinary grammars take some ten thousands.
constexpr std::uint64_t kCallWork = 1'200'000, kTextWork = 10'000'000, kTokenWork = 150'000;

}  // namespace

struct GrammarMatcher::State {
  explicit State(std::shared_ptr<const CompiledGrammar> g);
  State(const State& other);
  State& operator=(const State&) = delete;
  ~State();

  std::shared_ptr<const CompiledGrammar> grammar;
  std::size_t place = 0;                              // in Impl::live
  Configuration* now = nullptr;                       // null: it could not be taken along
  std::array<Configuration*, kMaxRollback> before{};  // a ring: before the last accepts
  std::size_t accepted = 0, first_kept = 0;           // of all accepts, numbers
  std::uint64_t credit = kTextWork;

  CompiledGrammar::Impl& impl() const { return grammar->impl(); }
  // Under the lock, as all below: calls f with the work that this text may still take.
  template <typename F>
  auto limited(std::uint64_t limit, const F& f);
  // dead() if they can't come.
  Configuration* after(std::string_view bytes) const;
};

struct CompiledGrammar::Impl {
  Impl(Program p, std::shared_ptr<const Vocabulary> v)
      : program(std::move(p)),
        vocabulary(std::move(v)),
        masks(vocabulary->impl()),
        configurations(std::make_unique<Configurations>(program, vocabulary->impl().max_depth)) {
    vocabulary->impl().programs += program.bytes;
  }
  ~Impl() {
    vocabulary->impl().kept -= counted;
    vocabulary->impl().programs -= program.bytes;
  }

  // Before anything is asked of the configurations.
  void renew();
  void count_bytes() {
    const std::size_t now = configurations->bytes() + masks.bytes();
    vocabulary->impl().kept += now - counted;
    counted = now;
  }

  const Program program;
  const std::shared_ptr<const Vocabulary> vocabulary;
  std::mutex mutex;  // of what follows, and of what matchers hold
  Masks masks;
  std::unique_ptr<Configurations> configurations;
  std::vector<GrammarMatcher::State*> live;
  std::size_t counted = 0;  // in Vocabulary::Impl::kept
};

void CompiledGrammar::Impl::renew() {
  const std::size_t most =
      vocabulary->impl().kept > vocabulary->impl().max_kept ? kFairBytes : kMaxBytes;
  if (configurations->bytes() <= most) return;
  auto fresh = std::make_unique<Configurations>(program, vocabulary->impl().max_depth);
  // A unit of work makes 32 bytes at most: half of them may be full again.
  const std::uint64_t end = fresh->work() + most / 64;
  for (auto* state : live) {
    if (!state->now) continue;
    std::vector<Configuration*> all{state->now};
    for (auto i = state->first_kept; i < state->accepted; ++i)
      all.push_back(state->before[i % kMaxRollback]);
    all = fresh->import(*configurations, all, end);
    // Too much for one grammar: that text can't go on.
    state->now = all.empty() ? nullptr : all[0];
    for (std::size_t i = 1; i < all.size(); ++i)
      state->before[(state->first_kept + i - 1) % kMaxRollback] = all[i];
  }
  masks.clear();
  configurations = std::move(fresh);
}

std::shared_ptr<const CompiledGrammar> CompiledGrammar::compile(
    Rules rules, std::shared_ptr<const Vocabulary> vocabulary, std::chrono::milliseconds time_limit,
    std::size_t memory_limit) {
  CompileBudget budget(time_limit, memory_limit);
  auto impl = std::make_unique<Impl>(make_program(rules, budget), std::move(vocabulary));
  auto& configurations = *impl->configurations;
  if (configurations.start() == configurations.dead())
    fail(ErrorCode::invalid_argument,
         "rule \"{}\" can begin in more ways than can be followed; make the grammar smaller",
         rules.rules[static_cast<std::size_t>(rules.root)].name);
  budget.take(configurations.bytes());
  return std::shared_ptr<const CompiledGrammar>(new CompiledGrammar(std::move(impl)));
}

CompiledGrammar::CompiledGrammar(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
CompiledGrammar::~CompiledGrammar() = default;

std::size_t CompiledGrammar::bytes() const {
  const std::lock_guard lock(impl_->mutex);
  return sizeof *impl_ + impl_->program.bytes + impl_->configurations->bytes() +
         impl_->masks.bytes();
}

GrammarMatcher::State::State(std::shared_ptr<const CompiledGrammar> g) : grammar(std::move(g)) {
  const std::lock_guard lock(impl().mutex);
  now = impl().configurations->start();
  place = impl().live.size();
  impl().live.push_back(this);
}

GrammarMatcher::State::State(const State& other) : grammar(other.grammar) {
  const std::lock_guard lock(impl().mutex);
  now = other.now;
  before = other.before;
  accepted = other.accepted;
  first_kept = other.first_kept;
  credit = other.credit;
  place = impl().live.size();
  impl().live.push_back(this);
}

GrammarMatcher::State::~State() {
  const std::lock_guard lock(impl().mutex);
  auto& live = impl().live;
  live[place] = live.back();
  live[place]->place = place;
  live.pop_back();
}

template <typename F>
auto GrammarMatcher::State::limited(std::uint64_t limit, const F& f) {
  auto& i = impl();
  i.renew();
  if (!now)
    fail(ErrorCode::invalid_argument,
         "the grammar leads to more places than this server keeps; make it smaller or less "
         "ambiguous");
  auto& configurations = *i.configurations;
  const std::uint64_t begin = configurations.work();
  struct Settle {
    State& state;
    Configurations& configurations;
    std::uint64_t begin;
    ~Settle() {
      const std::uint64_t spent = configurations.work() - begin;
      state.credit -= std::min(state.credit, spent);
      state.impl().count_bytes();
    }
  } const settle{*this, configurations, begin};
  configurations.limit_work(limit);
  return f();
}

Configuration* GrammarMatcher::State::after(std::string_view bytes) const {
  auto& configurations = *impl().configurations;
  Configuration* at = now;
  for (const char c : bytes) {
    at = configurations.step(at, static_cast<std::uint8_t>(c));
    if (at == configurations.dead()) break;
  }
  return at;
}

GrammarMatcher::GrammarMatcher(std::shared_ptr<const CompiledGrammar> grammar)
    : state_(std::make_unique<State>(std::move(grammar))) {}
GrammarMatcher::GrammarMatcher(const GrammarMatcher& other)
    : state_(std::make_unique<State>(*other.state_)) {}
GrammarMatcher& GrammarMatcher::operator=(const GrammarMatcher& other) {
  if (this != &other) state_ = std::make_unique<State>(*other.state_);
  return *this;
}
GrammarMatcher::GrammarMatcher(GrammarMatcher&&) noexcept = default;
GrammarMatcher& GrammarMatcher::operator=(GrammarMatcher&&) noexcept = default;
GrammarMatcher::~GrammarMatcher() = default;

bool GrammarMatcher::fill_mask(std::span<std::uint32_t> mask) {
  auto& impl = state_->impl();
  const std::lock_guard lock(impl.mutex);
  const auto limit = std::min(kCallWork, state_->credit);
  return state_->limited(limit,
                         [&] { return impl.masks.fill(*impl.configurations, state_->now, mask); });
}

bool GrammarMatcher::accept(std::int32_t id) {
  auto& impl = state_->impl();
  const auto& vocabulary = impl.vocabulary->impl();
  const std::lock_guard lock(impl.mutex);
  Configuration* const to = state_->limited(std::min(kCallWork, state_->credit), [&] {
    if (vocabulary.is_stop(id))
      return state_->now->may_end ? impl.configurations->stopped() : impl.configurations->dead();
    const auto bytes = vocabulary.bytes(id);
    return bytes.empty() ? impl.configurations->dead() : state_->after(bytes);
  });
  if (to == impl.configurations->dead()) return false;
  state_->before[state_->accepted++ % kMaxRollback] = std::exchange(state_->now, to);
  if (state_->accepted - state_->first_kept > kMaxRollback) ++state_->first_kept;
  state_->credit = std::min(kTextWork, state_->credit + kTokenWork);
  return true;
}

bool GrammarMatcher::accept_bytes(std::string_view bytes) {
  const std::lock_guard lock(state_->impl().mutex);
  const auto limit = kCallWork + kTokenWork * bytes.size();
  Configuration* const to = state_->limited(limit, [&] { return state_->after(bytes); });
  if (to == state_->impl().configurations->dead()) return false;
  state_->now = to;
  return true;
}

void GrammarMatcher::rollback(int tokens) {
  const std::lock_guard lock(state_->impl().mutex);
  const auto kept = state_->accepted - state_->first_kept;
  OCTET_CHECK(tokens >= 0 && static_cast<std::size_t>(tokens) <= kept,
              "{} tokens to take back of {} kept", tokens, kept);
  if (tokens == 0) return;
  state_->accepted -= static_cast<std::size_t>(tokens);
  if (state_->now) state_->now = state_->before[state_->accepted % kMaxRollback];
}

bool GrammarMatcher::may_end() const {
  const std::lock_guard lock(state_->impl().mutex);
  return state_->now && state_->now->may_end;
}

bool GrammarMatcher::ended() const {
  const std::lock_guard lock(state_->impl().mutex);
  return state_->now && state_->now->may_end && state_->now->items.empty();
}

}  // namespace octet::generate::grammar
