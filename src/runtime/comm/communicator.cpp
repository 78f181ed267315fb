#include "runtime/comm/communicator.h"

#include <algorithm>
#include <cstdlib>

#include "runtime/base/error.h"
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

namespace {

int number_of(const char* variable) {
  const char* value = std::getenv(variable);
  return value ? std::max(1, std::atoi(value)) : 1;
}

}  // namespace

int launched_ranks() {
  // Open MPI's mpirun; or Slurm's srun with PMIx, which Open MPI joins too.
  if (std::getenv("OMPI_COMM_WORLD_SIZE")) return number_of("OMPI_COMM_WORLD_SIZE");
  return std::getenv("PMIX_RANK") ? number_of("SLURM_STEP_NUM_TASKS") : 1;
}

void require_known_launcher() {
  if (launched_ranks() > 1 || std::getenv("OMPI_COMM_WORLD_SIZE")) return;
  // Other launchers' processes would each believe to be alone and do the same work.
  for (const char* variable : {"PMI_SIZE", "MPI_LOCALNRANKS", "MV2_COMM_WORLD_SIZE"})
    if (const int ranks = number_of(variable); ranks > 1)
      fail(ErrorCode::unavailable,
           "started with {} processes by a launcher that this build can't join ({}); use Open "
           "MPI's mpirun, or srun --mpi=pmix",
           ranks, variable);
}

std::unique_ptr<Communicator> make_communicator() {
  if (launched_ranks() > 1) return make_mpi_communicator();
  require_known_launcher();
  return std::make_unique<Single>();
}

}  // namespace octet::comm
