#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "generate/grammar/program.h"
#include "generate/grammar/rules.h"

namespace octet::generate::grammar {

/// Every part of some rules once, however often it is used, with what follows from the whole.
struct NodeGraph {
  struct Info {
    const Node* node = nullptr;
    std::uint32_t uses = 0;      ///< as a child or body
    std::uint32_t height = 0;    ///< of the parts below, rules not followed
    bool productive = false;     ///< some text belongs to it
    bool nullable = false;       ///< the empty text belongs to it
  };
  std::vector<Info> parts;  ///< children before parents
  std::unordered_map<const Node*, std::uint32_t> index;

  const Info& of(const NodePtr& node) const { return parts[index.at(node.get())]; }
};

/// Linear in the size of the rules, shared parts counted once. Errors: invalid_argument for rules
/// that have no body, do not exist or nest too deeply; budget.
NodeGraph analyse(const Rules& rules, CompileBudget& budget);

}  // namespace octet::generate::grammar
