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
// where they stand.
constexpr std::size_t kMaxBytes = 48 << 20;
constexpr std::size_t kMaxRollback = 64;

}  // namespace

struct CompiledGrammar::Impl {
  Impl(Program p, std::shared_ptr<const Vocabulary> v)
      : program(std::move(p)),
        vocabulary(std::move(v)),
        masks(program, vocabulary->impl()),
        configurations(
            std::make_shared<Configurations>(program, vocabulary->impl().max_depth)) {}

  const Program program;
  const std::shared_ptr<const Vocabulary> vocabulary;
  std::mutex mutex;  // of what follows
  Masks masks;
  std::shared_ptr<Configurations> configurations;
};

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

struct GrammarMatcher::State {
  std::shared_ptr<const CompiledGrammar> grammar;
  std::shared_ptr<Configurations> configurations;  // that `now` and `before` belong to
  Configuration* now = nullptr;
  std::array<Configuration*, kMaxRollback> before{};  // a ring: before the last accepts
  std::size_t accepted = 0, first_kept = 0;           // of all accepts, numbers

  CompiledGrammar::Impl& impl() const { return grammar->impl(); }

  // Under the lock, before anything is asked of the configurations.
  void renew() {
    auto& shared = impl().configurations;
    if (shared->bytes() > kMaxBytes && shared == configurations) {
      shared = std::make_shared<Configurations>(impl().program,
                                                impl().vocabulary->impl().max_depth);
      impl().masks.clear();
    }
    if (shared == configurations) return;
    const auto old = std::exchange(configurations, shared);
    const auto carry = [&](Configuration* c) {
      return c == old->stopped() ? shared->stopped() : shared->import(*old, c);
    };
    now = carry(now);
    for (auto i = first_kept; i < accepted; ++i)
      before[i % kMaxRollback] = carry(before[i % kMaxRollback]);
  }

  // dead() if they can't come.
  Configuration* after(std::string_view bytes) const {
    Configuration* at = now;
    for (const char c : bytes) {
      at = configurations->step(at, static_cast<std::uint8_t>(c));
      if (at == configurations->dead()) break;
    }
    return at;
  }
};

GrammarMatcher::GrammarMatcher(std::shared_ptr<const CompiledGrammar> grammar)
    : state_(std::make_unique<State>()) {
  state_->grammar = std::move(grammar);
  auto& impl = state_->impl();
  const std::lock_guard lock(impl.mutex);
  state_->configurations = impl.configurations;
  state_->now = impl.configurations->start();
}

GrammarMatcher::GrammarMatcher(const GrammarMatcher& other)
    : state_(std::make_unique<State>(*other.state_)) {}
GrammarMatcher& GrammarMatcher::operator=(const GrammarMatcher& other) {
  if (this != &other) state_ = std::make_unique<State>(*other.state_);
  return *this;
}
GrammarMatcher::GrammarMatcher(GrammarMatcher&&) noexcept = default;
GrammarMatcher& GrammarMatcher::operator=(GrammarMatcher&&) noexcept = default;
GrammarMatcher::~GrammarMatcher() = default;

void GrammarMatcher::fill_mask(std::span<std::uint32_t> mask) {
  auto& impl = state_->impl();
  const std::lock_guard lock(impl.mutex);
  state_->renew();
  impl.masks.fill(*state_->configurations, state_->now, mask);
}

bool GrammarMatcher::accept(std::int32_t id) {
  auto& impl = state_->impl();
  const auto& vocabulary = impl.vocabulary->impl();
  const std::lock_guard lock(impl.mutex);
  state_->renew();
  Configuration* to = state_->configurations->dead();
  if (vocabulary.is_stop(id)) {
    if (state_->now->may_end) to = state_->configurations->stopped();
  } else if (const auto bytes = vocabulary.bytes(id); !bytes.empty()) {
    to = state_->after(bytes);
  }
  if (to == state_->configurations->dead()) return false;
  state_->before[state_->accepted++ % kMaxRollback] = std::exchange(state_->now, to);
  if (state_->accepted - state_->first_kept > kMaxRollback) ++state_->first_kept;
  return true;
}

bool GrammarMatcher::accept_bytes(std::string_view bytes) {
  const std::lock_guard lock(state_->impl().mutex);
  state_->renew();
  Configuration* const to = state_->after(bytes);
  if (to == state_->configurations->dead()) return false;
  state_->now = to;
  return true;
}

void GrammarMatcher::rollback(int tokens) {
  const auto kept = state_->accepted - state_->first_kept;
  OCTET_CHECK(tokens >= 0 && static_cast<std::size_t>(tokens) <= kept,
              "{} tokens to take back of {} kept", tokens, kept);
  if (tokens == 0) return;
  state_->accepted -= static_cast<std::size_t>(tokens);
  state_->now = state_->before[state_->accepted % kMaxRollback];
}

bool GrammarMatcher::may_end() const {
  return state_->now->may_end;
}

bool GrammarMatcher::ended() const {
  return state_->now->may_end && state_->now->items.empty();
}

}  // namespace octet::generate::grammar
