#pragma once

#include <cstdint>

#include "runtime/linalg/gemm.h"

namespace octet::linalg {

/// H = R R^T with R upper triangular ("reverse Cholesky"), in place: reads and writes the upper
/// triangle of h [n, n], row-major; the rest is left alone. False if a pivot is not positive and
/// finite; h is spoiled then. *smallest_pivot, if given: the least squared diagonal of R seen.
/// Cost: n^3 / 3 operations, blocked. Same bits for any number of threads.
bool reverse_cholesky(Linalg& linalg, double* h, std::int64_t n, double* smallest_pivot = nullptr);

/// The inverse of an upper triangle, in place; the lower triangle is set to zero.
/// Cost: n^3 / 3 operations, blocked; memory: 128 rows.
void invert_upper(Linalg& linalg, double* r, std::int64_t n);

}  // namespace octet::linalg
