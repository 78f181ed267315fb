#pragma once

#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "cli/serve_flags.h"

namespace octet::cli {

/// Where a flag's value goes.
using FlagTarget = std::variant<
    std::monostate, bool ServeFlags::*, std::int64_t ServeFlags::*, double ServeFlags::*,
    std::string ServeFlags::*, std::vector<std::string> ServeFlags::*, json::object ServeFlags::*,
    std::string ComputeOptions::*, int ComputeOptions::*, json::object ComputeOptions::*>;

/// boolean: no value, --no-NAME. integer: digits. count: 262144, 256k (1000), 256K (1024), 64MiB.
/// context: a count, or auto and -1. number: with a fraction. text. words: several words, or a JSON
/// array. commas: one word that lists several. object: a JSON object, --NAME.key value.
/// choice: one of the words in `value`.
enum class FlagKind {
  boolean,
  integer,
  count,
  context,
  number,
  text,
  words,
  commas,
  object,
  choice
};

/// used: as its help says. noted: accepted for the sake of vLLM's command lines, without effect.
/// refused: an error, because to ignore it would surprise.
enum class FlagEffect { used, noted, refused };

struct ServeFlag {
  const char* name;
  FlagKind kind;
  FlagTarget target = {};
  const char* value = "";  ///< in help: N, FILE; a choice's words: "a|b"
  const char* help = "";   ///< used: what it does. Else: why it has no effect, or is refused
  double least = 0, most = 9e15;
  FlagEffect effect = FlagEffect::used;
  const char* shown_default = nullptr;  ///< where the value itself would say little
  const char* short_name = nullptr;     ///< "-tp"
};

struct FlagGroup {
  const char* title;
  std::span<const ServeFlag> flags;
};
/// All flags, in the order of help: first those that are used, then noted ones, then refused ones.
std::span<const FlagGroup> serve_flag_groups();
/// By name without dashes, or null.
const ServeFlag* find_serve_flag(std::string_view name);
/// By "-tp" and the like, or null.
const ServeFlag* find_short_flag(std::string_view name);

/// Sets a flag from the words of one source (text of JSON for objects). `shown` names the flag and
/// where it stood. Errors: invalid_argument.
void set_flag(ServeFlags& flags, const ServeFlag& flag, const std::vector<std::string>& words,
              const std::string& shown);
/// The words that set_flag would take, as one line of YAML; "" if the flag has no target.
std::string flag_value(const ServeFlags& flags, const ServeFlag& flag);
/// "a", "b" of "a|b".
std::vector<std::string> flag_choices(const ServeFlag& flag);
bool parse_bool(const std::string& word, bool& value);

}  // namespace octet::cli
