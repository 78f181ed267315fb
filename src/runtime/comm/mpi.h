#pragma once

#include "runtime/comm/communicator.h"

namespace octet::comm {

/// Errors: unavailable if this build has no MPI, or MPI can't start.
std::unique_ptr<Communicator> make_mpi_communicator();

}  // namespace octet::comm
