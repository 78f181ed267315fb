#include "serve/random_bits.h"

#include <random>

namespace octet::serve {

std::uint64_t random_bits() {
  std::random_device device;
  return (std::uint64_t{device()} << 32) | device();
}

}  // namespace octet::serve
