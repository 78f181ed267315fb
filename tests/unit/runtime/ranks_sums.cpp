// Started by mpirun: sums must be added in order of the ranks, the same bits on every rank.
#include <cstdio>
#include <cstring>
#include <vector>

#include "runtime/comm/communicator.h"

namespace {

// Rank r's share of sums that come out differently in any other order: (1e16 + 1) - 1e16 is 0,
// (1e16 - 1e16) + 1 is 1.
template <typename T>
std::vector<T> share_of(int rank, T large) {
  std::vector<T> v(5'000'003);
  for (std::size_t i = 0; i < v.size(); ++i) {
    const T values[] = {large, T{1}, -large};
    v[i] = values[(static_cast<std::size_t>(rank) + i) % 3];
  }
  return v;
}

template <typename T>
bool test(octet::comm::Communicator& ranks, T large) {
  auto mine = share_of(ranks.rank(), large);
  std::vector<T> expected(mine.size());
  for (int r = 0; r < ranks.size(); ++r) {
    const auto share = share_of(r, large);
    for (std::size_t i = 0; i < share.size(); ++i) expected[i] += share[i];
  }
  ranks.sum(mine);
  return std::memcmp(mine.data(), expected.data(), mine.size() * sizeof(T)) == 0;
}

}  // namespace

int main() {
  const auto ranks = octet::comm::make_communicator();
  if (ranks->size() != 3 || ranks->local_size() != 3) {
    std::fprintf(stderr, "expected 3 ranks, found %d, %d here\n", ranks->size(),
                 ranks->local_size());
    return 1;
  }
  const bool doubles = test<double>(*ranks, 1e16), floats = test<float>(*ranks, 1e9f);
  if (!doubles || !floats) std::fprintf(stderr, "rank %d: sums differ\n", ranks->rank());
  return doubles && floats ? 0 : 1;
}
