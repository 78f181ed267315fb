#pragma once

#include "runtime/base/thread_pool.h"

namespace octet {

/// Seconds from the call of parallel_for to its return when every thread of the pool takes part
/// and has nothing to do: what a loop costs beside its work. Medians.
struct ForkJoinSeconds {
  double awake = 0;   ///< one loop after another
  double asleep = 0;  ///< after a pause in which the workers went to sleep
};

/// What `octet doctor` reports. Takes about 0.1 s; more if other programs hold the CPUs.
ForkJoinSeconds measure_fork_join(ThreadPool& pool);

}  // namespace octet
