#include "runtime/base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

#include "runtime/base/fork_join.h"

namespace octet {
namespace {

// Nodes made up of the CPUs that the test may use, the first and the last: the same one if there is
// only one.
std::vector<NumaNode> two_nodes() {
  const auto cpus = affinity_cpus();
  return {{0, {cpus.front()}}, {3, {cpus.back()}}};
}

// Runs a loop in which every thread holds its first item until all have one; returns those items.
std::vector<std::int64_t> first_items(ThreadPool& pool, std::int64_t count) {
  std::vector<std::int64_t> first(static_cast<std::size_t>(pool.num_threads()), -1);
  std::atomic<int> left{pool.num_threads()};
  pool.parallel_for(count, 1, [&](std::int64_t begin, std::int64_t, int worker) {
    auto& mine = first[static_cast<std::size_t>(worker)];
    if (mine >= 0) return;
    mine = begin;
    --left;
    while (left > 0) std::this_thread::yield();
  });
  return first;
}

TEST(ThreadPool, VisitsEveryItemOnce) {
  for (const int threads : {1, 2, 3, 7, -2, -3, -7}) {
    // Negative: on two nodes.
    ThreadPool pool(
        ThreadPoolOptions{.num_threads = std::abs(threads),
                          .nodes = threads < 0 ? two_nodes() : std::vector<NumaNode>{}});
    EXPECT_EQ(pool.num_threads(), std::abs(threads));
    EXPECT_TRUE(threads > 0 || pool.num_nodes() == 2);
    for (const std::int64_t count : {0, 1, 2, 5, 64, 1000})
      for (const std::int64_t grain : {1, 3, 64, 5000}) {
        std::vector<std::atomic<int>> seen(static_cast<std::size_t>(count));
        pool.parallel_for(count, grain, [&](std::int64_t begin, std::int64_t end, int worker) {
          EXPECT_LT(worker, std::abs(threads));
          EXPECT_LE(end - begin, grain);
          EXPECT_EQ(begin % grain, 0);
          for (auto i = begin; i < end; ++i) ++seen[static_cast<std::size_t>(i)];
        });
        for (const auto& n : seen) ASSERT_EQ(n.load(), 1);
      }
  }
}

TEST(ThreadPool, ManyShortJobs) {
  ThreadPool pool(3);
  std::int64_t total = 0;
  for (int round = 0; round < 20000; ++round) {
    std::atomic<std::int64_t> sum{0};
    pool.parallel_for(5, 1, [&](std::int64_t begin, std::int64_t, int) { sum += begin; });
    total += sum;
  }
  EXPECT_EQ(total, 200000);
}

TEST(ThreadPool, CarriesTheFirstExceptionAndGoesOn) {
  ThreadPool pool(ThreadPoolOptions{.num_threads = 3, .nodes = two_nodes()});
  for (int round = 0; round < 50; ++round) {
    EXPECT_THROW(pool.parallel_for(100, 1,
                                   [&](std::int64_t begin, std::int64_t, int) {
                                     if (begin == 37) throw std::runtime_error("37");
                                   }),
                 std::runtime_error);
    std::atomic<int> n{0};
    pool.parallel_for(10, 1, [&](std::int64_t, std::int64_t, int) { ++n; });
    EXPECT_EQ(n.load(), 10);
  }
}

TEST(ThreadPool, CallersTakeTurns) {
  ThreadPool pool(2);
  std::vector<std::thread> callers;
  std::atomic<int> total{0};
  for (int c = 0; c < 3; ++c)
    callers.emplace_back([&] {
      for (int round = 0; round < 500; ++round)
        pool.parallel_for(8, 1, [&](std::int64_t, std::int64_t, int) { ++total; });
    });
  for (auto& t : callers) t.join();
  EXPECT_EQ(total.load(), 3 * 500 * 8);
}

// A wake-up that got lost would leave the loop waiting for ever.
TEST(ThreadPool, EveryThreadComesAwakeOrAsleep) {
  for (const int threads : {1, 2, 5})
    for (const int spin_us : {0, 20, 500}) {
      ThreadPool pool(
          ThreadPoolOptions{.num_threads = threads, .spin = std::chrono::microseconds(spin_us)});
      for (int round = 0; round < 200; ++round) {
        // Pauses around the time of spinning, so that threads are met on their way to sleep.
        std::this_thread::sleep_for(std::chrono::microseconds(round % 50));
        for (const std::int64_t first : first_items(pool, threads)) ASSERT_GE(first, 0);
      }
    }
}

// The end of a pool that follows a loop at once meets workers that are about to enter it.
TEST(ThreadPool, EndsRightAfterALoop) {
  for (int round = 0; round < 3000; ++round) {
    ThreadPool pool(2 + round % 2);
    pool.parallel_for(2, 1, [](std::int64_t, std::int64_t, int) {});
  }
}

TEST(ThreadPool, ANodeBeginsWithItsOwnStretch) {
  const auto nodes = two_nodes();
  // In a thread of its own, as the caller is pinned here to know its node.
  std::thread([&] {
    ASSERT_TRUE(pin_this_thread(nodes[0].cpus));
    ThreadPool pool(ThreadPoolOptions{.num_threads = 4, .nodes = nodes});
    for (int round = 0; round < 20; ++round) {
      const auto first = first_items(pool, 100);
      for (std::size_t worker = 0; worker < 4; ++worker) {
        EXPECT_GE(first[worker], worker < 2 ? 0 : 50);
        EXPECT_LT(first[worker], worker < 2 ? 50 : 100);
      }
    }
    // The first node's threads keep the item that they have, so the second's take all others.
    std::atomic<int> kept{0}, others{0};
    pool.parallel_for(100, 1, [&](std::int64_t, std::int64_t, int worker) {
      ++(worker < 2 ? kept : others);
      while (worker < 2 && kept + others < 100) std::this_thread::yield();
    });
    EXPECT_LE(kept, 2);
  }).join();
}

TEST(ThreadPool, NodesWithoutAThreadHaveNoPart) {
  ThreadPool pool(ThreadPoolOptions{.num_threads = 1, .nodes = two_nodes()});
  EXPECT_EQ(pool.num_nodes(), 1);
  EXPECT_EQ(first_items(pool, 1), std::vector<std::int64_t>{0});
}

TEST(ThreadPool, ForkJoinTakesTime) {
  ThreadPool pool(2);
  const ForkJoinSeconds seconds = measure_fork_join(pool);
  EXPECT_GT(seconds.awake, 0);
  EXPECT_GT(seconds.asleep, 0);
}

TEST(ThreadPool, UsableCpus) {
  EXPECT_GE(num_usable_cpus(), 1);
  EXPECT_LE(num_usable_cpus(), static_cast<int>(affinity_cpus().size()));
}

}  // namespace
}  // namespace octet
