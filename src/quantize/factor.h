#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace octet {
class ThreadPool;
}

namespace octet::quantize {

/// U upper triangular with U^T U = H^-1 for a symmetric positive definite H [n, n], row-major, in
/// double precision; nullopt if a pivot is not positive. Through the reverse Cholesky H = R R^T,
/// U = R^-1: one factorization and one triangular inverse, better conditioned than inverting H.
/// docs/quantization.md. Cost: 2 n^3 / 3; memory: twice the matrix. Same bits for any number of
/// threads.
std::optional<std::vector<double>> inverse_factor(std::vector<double> h, std::int64_t n,
                                                  ThreadPool& pool);

}  // namespace octet::quantize
