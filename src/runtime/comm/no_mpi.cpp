// What mpi.cpp is in a build without MPI.
#include "runtime/base/error.h"
#include "runtime/comm/mpi.h"

namespace octet::comm {

std::unique_ptr<Communicator> make_mpi_communicator() {
  fail(ErrorCode::unavailable,
       "started by mpirun with {} ranks, but this build has no MPI; install libopenmpi-dev and "
       "build again, or start one process",
       launched_ranks());
}

void abort_all(int) {}

}  // namespace octet::comm
