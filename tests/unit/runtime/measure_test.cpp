#include <gtest/gtest.h>
#include <sched.h>

#include "runtime/base/error.h"
#include "runtime/ops/cpu/cpu_backend.h"

namespace octet::ops::cpu {
namespace {

constexpr std::int64_t kBytes = std::int64_t{4} << 20;

TEST(MeasureNodes, EveryPairAndTheCallerStaysFree) {
  const auto before = affinity_cpus();
  const std::vector<NumaNode> nodes{{0, {before.front()}}, {1, {before.back()}}, {2, before}};
  const auto speed = measure_nodes("generic", nodes, kBytes);
  ASSERT_EQ(speed.size(), nodes.size());
  for (const auto& row : speed) {
    ASSERT_EQ(row.size(), nodes.size());
    for (const double bytes_per_second : row) EXPECT_GT(bytes_per_second, 0);
  }
  EXPECT_EQ(affinity_cpus(), before);
}

TEST(MeasureNodes, ACpuThatIsNotThere) {
  const int last = CPU_SETSIZE - 1;
  if (affinity_cpus().back() == last) GTEST_SKIP() << "this machine has CPU " << last;
  try {
    measure_nodes("generic", {{0, {last}}}, kBytes);
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::unavailable);
  }
}

}  // namespace
}  // namespace octet::ops::cpu
