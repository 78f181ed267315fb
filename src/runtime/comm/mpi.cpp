// The only file that knows MPI.
#include "runtime/comm/mpi.h"

#include <mpi.h>

#include <algorithm>
#include <cstdlib>
#include <exception>

#include "runtime/base/error.h"

namespace octet::comm {

namespace {

void check(int result, const char* what) {
  if (result != MPI_SUCCESS) fail(ErrorCode::unavailable, "MPI: {} failed ({})", what, result);
}

class Mpi : public Communicator {
 public:
  Mpi() {
    int provided = 0;
    // The pool's threads never call MPI.
    check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
    check(MPI_Comm_rank(MPI_COMM_WORLD, &rank_), "MPI_Comm_rank");
    check(MPI_Comm_size(MPI_COMM_WORLD, &size_), "MPI_Comm_size");
    MPI_Comm local = MPI_COMM_NULL;
    check(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &local),
          "MPI_Comm_split_type");
    check(MPI_Comm_size(local, &local_size_), "MPI_Comm_size");
    check(MPI_Comm_free(&local), "MPI_Comm_free");
    if (size_ != launched_ranks())
      fail(ErrorCode::unavailable,
           "MPI: {} ranks were started, {} have met; is it Open MPI's mpirun?", launched_ranks(),
           size_);
  }
  ~Mpi() override {
    // After an error the others are elsewhere: only abort_all() ends them.
    if (std::uncaught_exceptions() == 0) MPI_Finalize();
  }

  void sum(std::span<double> values) override { sum_of(values, MPI_DOUBLE); }
  void sum(std::span<float> values) override { sum_of(values, MPI_FLOAT); }

  std::vector<std::vector<std::byte>> gather(std::span<const std::byte> bytes) override {
    const auto ranks = static_cast<std::size_t>(size_);
    std::vector<std::int64_t> lengths(ranks);
    const auto length = static_cast<std::int64_t>(bytes.size());
    check(MPI_Allgather(&length, 1, MPI_INT64_T, lengths.data(), 1, MPI_INT64_T, MPI_COMM_WORLD),
          "MPI_Allgather");
    std::vector<std::vector<std::byte>> all(ranks);
    for (std::size_t r = 0; r < ranks; ++r) {
      all[r].resize(static_cast<std::size_t>(lengths[r]));
      if (static_cast<int>(r) == rank_) std::ranges::copy(bytes, all[r].begin());
      // Counts are ints: long messages go in pieces.
      for (std::int64_t at = 0; at < lengths[r]; at += kPiece)
        check(MPI_Bcast(all[r].data() + at, static_cast<int>(std::min(kPiece, lengths[r] - at)),
                        MPI_BYTE, static_cast<int>(r), MPI_COMM_WORLD),
              "MPI_Bcast");
    }
    return all;
  }

 private:
  static constexpr std::int64_t kPiece = 1 << 22;

  // Piece by piece: each rank adds one share of it in order of the ranks and gives it to all.
  template <typename T>
  void sum_of(std::span<T> values, MPI_Datatype type) {
    const auto ranks = static_cast<std::size_t>(size_);
    const std::size_t share = (kPiece / static_cast<std::int64_t>(sizeof(T))) / ranks + 1;
    std::vector<T> out(share * ranks), in(share * ranks), added(share);
    for (std::size_t at = 0; at < values.size(); at += out.size()) {
      const std::size_t count = std::min(out.size(), values.size() - at);
      std::fill(out.begin(), out.end(), T{0});
      std::copy_n(values.data() + at, count, out.data());
      check(MPI_Alltoall(out.data(), static_cast<int>(share), type, in.data(),
                         static_cast<int>(share), type, MPI_COMM_WORLD),
            "MPI_Alltoall");
      std::copy_n(in.data(), share, added.data());
      for (std::size_t r = 1; r < ranks; ++r)
        for (std::size_t i = 0; i < share; ++i) added[i] += in[r * share + i];
      check(MPI_Allgather(added.data(), static_cast<int>(share), type, out.data(),
                          static_cast<int>(share), type, MPI_COMM_WORLD),
            "MPI_Allgather");
      std::copy_n(out.data(), count, values.data() + at);
    }
  }
};

}  // namespace

std::unique_ptr<Communicator> make_mpi_communicator() {
  return std::make_unique<Mpi>();
}

void abort_all(int exit_code) {
  int started = 0, ended = 0;
  MPI_Initialized(&started);
  MPI_Finalized(&ended);
  if (started && !ended && launched_ranks() > 1) MPI_Abort(MPI_COMM_WORLD, exit_code);
}

}  // namespace octet::comm
