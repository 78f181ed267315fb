#include "runtime/ops/cpu/isa.h"

#include "runtime/base/cpu_features.h"

namespace octet::ops::cpu {

const CpuKernels& choose_kernels(const std::string& isa) {
  [[maybe_unused]] const std::string name = choose_isa(isa);
#if defined(__x86_64__)
  if (name == "avx512" || name == "amx") return avx512_kernels();
  if (name == "avx2" || name == "avx_vnni") return avx2_kernels();
#endif
  return generic_kernels();
}

const Int8Kernels& choose_int8_kernels(const std::string& isa) {
  [[maybe_unused]] const std::string name = choose_isa(isa);
#if defined(__x86_64__)
  if (name == "amx") return amx_int8_kernels();
  if (name == "avx512") return has_avx512_vnni() ? avx512_vnni_int8_kernels() : avx2_int8_kernels();
  if (name == "avx_vnni") return avx_vnni_int8_kernels();
  if (name == "avx2") return avx2_int8_kernels();
#endif
  return generic_int8_kernels();
}

}  // namespace octet::ops::cpu
