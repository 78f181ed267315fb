#include "runtime/base/cpu_features.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "runtime/base/error.h"

namespace octet {

std::vector<std::string> available_isas() {
  std::vector<std::string> isas{"generic"};
#if defined(__x86_64__)
  // __builtin_cpu_supports also asks whether the system saves the registers (XGETBV).
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("f16c"))
    isas.emplace_back("avx2");
  if (isas.back() == "avx2" && __builtin_cpu_supports("avxvnni")) isas.emplace_back("avx_vnni");
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    isas.emplace_back("avx512");
#endif
  return isas;
}

bool has_avx512_vnni() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512vnni");
#else
  return false;
#endif
}

std::string choose_isa(const std::string& isa) {
  const auto isas = available_isas();
  const std::string name = isa == "auto" ? isas.back() : isa;
  if (name != "generic" && name != "avx2" && name != "avx_vnni" && name != "avx512")
    fail(ErrorCode::invalid_argument, "unknown instruction set `{}`; expected auto or one of {}",
         isa, fmt::join(isas, ", "));
  if (std::ranges::find(isas, name) == isas.end())
    fail(ErrorCode::unavailable, "this machine can't run `{}` kernels; it has {}", isa,
         fmt::join(isas, ", "));
  return name;
}

}  // namespace octet
