#pragma once

#include <string>
#include <vector>

namespace octet {

/// Instruction sets that this machine and build can run, slowest first: "generic", "avx2",
/// "avx_vnni" (AVX2 with integer dot products), "avx512", "amx" (AVX-512 with tiles of int8; asks
/// the system for their registers). Kernels are compiled for each of them and chosen when the
/// program starts.
std::vector<std::string> available_isas();

/// True if "avx512" comes with integer dot products.
bool has_avx512_vnni();

/// True if there are int8 tiles and the system lets this process use them.
bool has_amx_int8();

/// "auto" (the fastest that this machine runs) or a name, as a name of available_isas().
/// Errors: invalid_argument for an unknown name, unavailable if the machine lacks it.
std::string choose_isa(const std::string& isa);

}  // namespace octet
