// comm: several processes ("ranks") that compute one thing. Rank 0 reads, prints and writes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace octet::comm {

/// Collective calls: every rank makes the same ones in the same order. Threads: one at a time, the
/// one that made the communicator.
class Communicator {
 public:
  virtual ~Communicator() = default;
  int rank() const { return rank_; }
  int size() const { return size_; }
  /// Ranks on this machine, which share its CPUs.
  int local_size() const { return local_size_; }
  bool alone() const { return size_ == 1; }

  /// Element by element over all ranks, added in order of the ranks: the same bits on every rank
  /// and in every run. Memory: 16 MiB, however long.
  virtual void sum(std::span<double> values) = 0;
  virtual void sum(std::span<float> values) = 0;
  /// The bytes of all ranks, on all ranks, in order of the ranks; lengths may differ.
  virtual std::vector<std::vector<std::byte>> gather(std::span<const std::byte> bytes) = 0;
  /// Rank 0's bytes on all ranks.
  std::vector<std::byte> from_first(std::span<const std::byte> bytes);

 protected:
  int rank_ = 0, size_ = 1, local_size_ = 1;
};

/// The ranks that `mpirun` started, or this process alone.
/// Errors: unavailable if mpirun started it and this build has no MPI, or if another launcher that
/// it can't join did.
std::unique_ptr<Communicator> make_communicator();

/// Ranks that mpirun (or srun with PMIx) started together with this one; can be asked any time.
int launched_ranks();
/// Errors: unavailable if a launcher that this build can't join has started several processes.
void require_known_launcher();
/// Ends all ranks with an exit code, if there are several; else returns.
void abort_all(int exit_code);

}  // namespace octet::comm
