#pragma once

#include <functional>
#include <optional>
#include <string>

#include "generate/grammar/rules.h"
#include "serve/job.h"

namespace octet::serve {

/// What an answer's tokens must spell after the thinking, not yet made.
struct GrammarPlan {
  std::string key;  ///< equal for equal languages
  std::function<generate::grammar::Rules()> make;
  std::string param;  ///< the field that errors of make() are about
};

/// The language that a job's tools, tool_choice and format ask for (serving.md §13.2, §14); nullopt
/// if everything may come. The plan holds copies of what it needs.
std::optional<GrammarPlan> plan_grammar(const Job& job);

}  // namespace octet::serve
