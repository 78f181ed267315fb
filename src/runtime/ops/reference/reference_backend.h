// ops/reference: the executable specification. Scalar loops in the order of the formulas, sums in
// double precision, results rounded once to float32. Nothing here is fast, and nothing needs to be.
#pragma once

#include <memory>

#include "runtime/ops/backend.h"

namespace octet::ops::reference {

std::unique_ptr<Backend> make_reference_backend(ThreadPool& pool);

}  // namespace octet::ops::reference
