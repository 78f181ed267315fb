#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "generate/grammar/rules.h"

namespace octet::tokenizer {
class Tokenizer;
}

namespace octet::generate::grammar {

/// Bytes of every token, in a trie. Made once for a tokenizer; threads may share it.
class Vocabulary {
 public:
  /// vocab_size: of the model's logits, >= tokenizer.size(). Special tokens and ids without a token
  /// never match text. stop_ids: allowed exactly where the grammar may end.
  Vocabulary(const tokenizer::Tokenizer& tokenizer, std::int64_t vocab_size,
             std::vector<std::int32_t> stop_ids);
  /// From bare bytes: for tests and measurements. An empty string: a token that never matches.
  /// max_kept: bytes that the matching of all its grammars keeps, about.
  Vocabulary(std::vector<std::string> tokens, std::vector<std::int32_t> stop_ids,
             std::size_t max_kept = std::size_t{896} << 20);
  ~Vocabulary();

  std::int64_t size() const;
  const std::vector<std::int32_t>& stop_ids() const;
  /// Bytes of all grammars compiled for it that are still in use, without what matching keeps.
  std::size_t program_bytes() const;

  struct Impl;
  const Impl& impl() const { return *impl_; }

 private:
  std::unique_ptr<const Impl> impl_;
};

/// Rules made ready for matching over a vocabulary; keeps masks that it has made (bounded).
/// Immutable but for that; threads may share it.
class CompiledGrammar {
 public:
  /// Errors: invalid_argument for rules that can't be compiled (undefined, empty language, too
  /// large) or that take longer than the time or memory allowed. What matching keeps is bounded
  /// apart from that: 64 MiB, and 1 GiB for all grammars of a vocabulary.
  static std::shared_ptr<const CompiledGrammar> compile(
      Rules rules, std::shared_ptr<const Vocabulary> vocabulary,
      std::chrono::milliseconds time_limit = std::chrono::seconds(5),
      std::size_t memory_limit = std::size_t{256} << 20);
  ~CompiledGrammar();
  /// What it takes now, caches included: changes with use.
  std::size_t bytes() const;

  struct Impl;
  Impl& impl() const { return *impl_; }

 private:
  explicit CompiledGrammar(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Where a text stands in a grammar. Cheap to copy. One thread at a time; calls of matchers of the
/// same grammar wait for each other.
/// Refused though they are in the language: texts with more than 16384 rules inside each other, and
/// texts so ambiguous that one byte leads to tens of thousands of places (palindromes of thousands
/// of letters do; expressions and lists written ambiguously don't). A mask is then smaller, perhaps
/// empty, and at that border accept() may refuse what a mask allowed.
/// Work is limited, so that no grammar can hold up those who don't use it: fill_mask() and accept()
/// throw invalid_argument (and change nothing) where one call would take more than some tens of
/// milliseconds, or the calls of a text more than a few per token on average.
class GrammarMatcher {
 public:
  explicit GrammarMatcher(std::shared_ptr<const CompiledGrammar> grammar);
  GrammarMatcher(const GrammarMatcher&);
  GrammarMatcher& operator=(const GrammarMatcher&);
  GrammarMatcher(GrammarMatcher&&) noexcept;
  GrammarMatcher& operator=(GrammarMatcher&&) noexcept;
  ~GrammarMatcher();

  /// Clears the bits of tokens that can't come next; mask as in TokenConstraint. False: none may
  /// (the limits above). Some us at 248k tokens once a state's mask is known, a few ms before.
  bool fill_mask(std::span<std::uint32_t> mask);
  /// Takes a token in. False (and no change) if it can't come here.
  bool accept(std::int32_t id);
  /// Takes bytes in. False (and no change) if they can't come here.
  bool accept_bytes(std::string_view bytes);
  /// Takes back the last accepted tokens (calls of accept); at most 16.
  void rollback(int tokens);
  /// The text so far is in the language.
  bool may_end() const;
  /// The text so far is in the language and nothing may follow.
  bool ended() const;

 private:
  friend class CompiledGrammar;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace octet::generate::grammar
