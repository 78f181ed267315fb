#include "runtime/base/cpu_features.h"

#include <fmt/ranges.h>
#include <sys/syscall.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <algorithm>

#include "runtime/base/error.h"

namespace octet {

bool has_avx512_vnni() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512vnni");
#else
  return false;
#endif
}

bool has_amx_int8() {
#if defined(__x86_64__)
  // CPUID 7: EDX bit 24 is amx-tile, 25 amx-int8. The tile registers are 8 KiB of state, which the
  // system saves only for processes that ask: XFEATURE_XTILEDATA is 18.
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d >> 24 & 3) != 3) return false;
  constexpr int kArchReqXcompPerm = 0x1023;
  static const bool granted = ::syscall(SYS_arch_prctl, kArchReqXcompPerm, 18) == 0;
  return granted;
#else
  return false;
#endif
}

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
  if (isas.back() == "avx512" && has_avx512_vnni() && has_amx_int8()) isas.emplace_back("amx");
#endif
  return isas;
}

std::string choose_isa(const std::string& isa) {
  const auto isas = available_isas();
  const std::string name = isa == "auto" ? isas.back() : isa;
  if (name != "generic" && name != "avx2" && name != "avx_vnni" && name != "avx512" &&
      name != "amx")
    fail(ErrorCode::invalid_argument, "unknown instruction set `{}`; expected auto or one of {}",
         isa, fmt::join(isas, ", "));
  if (std::ranges::find(isas, name) == isas.end())
    fail(ErrorCode::unavailable, "this machine can't run `{}` kernels; it has {}", isa,
         fmt::join(isas, ", "));
  return name;
}

}  // namespace octet
