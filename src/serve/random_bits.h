#pragma once

#include <cstdint>

namespace octet::serve {

/// For seeds and ids: can't be foreseen. Any thread.
std::uint64_t random_bits();

}  // namespace octet::serve
