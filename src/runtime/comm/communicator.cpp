#include "runtime/comm/communicator.h"

#include <algorithm>
#include <cstdlib>

#include "runtime/comm/mpi.h"

namespace octet::comm {

namespace {

class Single : public Communicator {
 public:
  void sum(std::span<double>) override {}
  void sum(std::span<float>) override {}
  std::vector<std::vector<std::byte>> gather(std::span<const std::byte> bytes) override {
    return {{bytes.begin(), bytes.end()}};
  }
};

}  // namespace

std::vector<std::byte> Communicator::from_first(std::span<const std::byte> bytes) {
  auto all = gather(rank() == 0 ? bytes : std::span<const std::byte>());
  return std::move(all[0]);
}

int launched_ranks() {
  const char* size = std::getenv("OMPI_COMM_WORLD_SIZE");
  return size ? std::max(1, std::atoi(size)) : 1;
}

std::unique_ptr<Communicator> make_communicator() {
  if (launched_ranks() == 1) return std::make_unique<Single>();
  return make_mpi_communicator();
}

}  // namespace octet::comm
