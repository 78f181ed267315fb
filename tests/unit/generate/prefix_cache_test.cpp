// The cache of prefixes against a naive one that keeps lists of tokens: same hits, same evictions,
// same pages in use, whatever happens in whatever order.

#include "generate/prefix_cache.h"

#include <algorithm>
#include <random>
#include <set>

#include "engine_support.h"

namespace octet::generate {
namespace {

using Tokens = std::vector<std::int32_t>;

// Page numbers and slots without a model: forward() would only fill them.
class PrefixCacheTest : public testing::Test {
 protected:
  ThreadPool threads{1};
  std::unique_ptr<ops::Backend> backend = ops::reference::make_reference_backend(threads);
  model::SequencePool make_pool(std::int64_t pages, std::int64_t snapshots,
                                std::int64_t sequences = 8) {
    return {*backend,
            test_support::small_config(),
            {.num_sequences = sequences, .num_tokens = pages * 64, .num_snapshots = snapshots}};
  }
  static void grow(model::SequencePool& pool, model::Sequence& s, std::int64_t length) {
    if (length == s.length()) return;
    const std::int64_t rows = length - s.length();
    pool.segment(s, rows, false);
    pool.advance(s, rows, false);
  }
};

// Remembers beginnings as whole lists of tokens, and looks through all of them.
struct Naive {
  struct Entry {
    std::string salt;
    Tokens prefix;
    std::int64_t worth, stamp;
  };
  std::vector<Entry> entries;
  std::int64_t clock = 0, stamps = 0, slots;

  static bool begins(const Tokens& whole, const Tokens& prefix) {
    return prefix.size() <= whole.size() && std::equal(prefix.begin(), prefix.end(), whole.begin());
  }
  Entry* find(const std::string& salt, const Tokens& tokens, std::size_t limit) {
    Entry* best = nullptr;
    for (Entry& e : entries)
      if (e.salt == salt && e.prefix.size() <= limit && begins(tokens, e.prefix) &&
          (!best || e.prefix.size() > best->prefix.size()))
        best = &e;
    return best;
  }
  void touch(Entry& e) {
    std::size_t before = 0;
    for (const Entry& o : entries)
      if (o.salt == e.salt && o.prefix.size() < e.prefix.size() && begins(e.prefix, o.prefix))
        before = std::max(before, o.prefix.size());
    e.worth = clock + static_cast<std::int64_t>(e.prefix.size() - before);
    e.stamp = ++stamps;
  }
  void evict(const Entry& e) {
    clock = std::max(clock, e.worth);
    std::erase_if(entries, [&](const Entry& o) { return o.stamp == e.stamp; });
  }
  static bool before(const Entry& a, const Entry& b) {
    return std::pair(a.worth, a.stamp) < std::pair(b.worth, b.stamp);
  }
  void insert(const std::string& salt, const Tokens& prefix, std::int64_t replaced) {
    std::erase_if(entries, [&](const Entry& o) { return o.stamp == replaced; });
    Entry* there = find(salt, prefix, prefix.size());
    if (there && there->prefix.size() == prefix.size()) return touch(*there);
    if (static_cast<std::int64_t>(entries.size()) == slots)
      evict(*std::ranges::min_element(entries, before));
    entries.push_back({salt, prefix, 0, 0});
    touch(entries.back());
  }
  // Distinct pages: distinct beginnings.
  std::set<std::pair<std::string, Tokens>> pages() const {
    std::set<std::pair<std::string, Tokens>> all;
    for (const Entry& e : entries)
      for (std::size_t n = 64; n <= e.prefix.size(); n += 64)
        all.emplace(e.salt, Tokens(e.prefix.begin(), e.prefix.begin() + static_cast<long>(n)));
    return all;
  }
};

TEST_F(PrefixCacheTest, DoesWhatANaiveOneDoes) {
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    std::mt19937_64 random(seed);
    const auto below = [&](std::uint64_t n) { return random() % n; };
    const std::int64_t pages = 40, slots = 3 + static_cast<std::int64_t>(seed) * 2;
    auto pool = make_pool(pages, slots);
    {
      PrefixCache cache(pool);
      Naive naive{.entries = {}, .slots = slots};
      struct Open {
        std::string salt;
        Tokens tokens;
        PrefixKeys keys;
        model::Sequence sequence;
        PrefixCache::Handle rolling;
      };
      std::vector<Open> open;
      // Few first pages and few next ones, so that prefixes meet.
      const auto more = [&](Tokens& tokens, std::uint64_t count) {
        for (std::uint64_t i = 0; i < count; ++i) {
          const auto page = static_cast<std::int32_t>(below(2));
          for (std::int32_t t = 0; t < 64; ++t) tokens.push_back(page * 7 + t);
        }
      };
      for (int operation = 0; operation < 3000; ++operation) {
        const auto what = below(10);
        if (what < 4 && open.size() < 8) {  // a prompt comes
          Open o{.salt = below(4) == 0 ? "x" : "",
                 .tokens = {},
                 .keys = PrefixKeys{},
                 .sequence = {},
                 .rolling = {}};
          o.keys = PrefixKeys(o.salt);
          more(o.tokens, 1 + below(5));
          const auto limit = static_cast<std::int64_t>(o.tokens.size() - below(2));
          const auto hit = cache.find(o.tokens, o.keys, limit);
          Naive::Entry* expected = naive.find(o.salt, o.tokens, static_cast<std::size_t>(limit));
          ASSERT_EQ(hit.tokens, expected ? std::ssize(expected->prefix) : 0) << operation;
          if (hit.tokens > 0) {
            o.sequence = pool.resume(hit.pages, hit.snapshot);
            cache.touch(hit);
            naive.touch(*expected);
          } else {
            o.sequence = pool.create();
          }
          open.push_back(std::move(o));
        } else if (what < 8 && !open.empty()) {  // one goes on, as far as there are pages
          Open& o = open[below(open.size())];
          if (o.sequence.length() == std::ssize(o.tokens)) more(o.tokens, 1);
          if (std::ssize(o.tokens) > 12 * 64) continue;
          const std::int64_t length =
              o.sequence.length() +
              64 * static_cast<std::int64_t>(
                       1 + below(static_cast<std::uint64_t>(
                               (std::ssize(o.tokens) - o.sequence.length()) / 64)));
          const std::int64_t need = (length - o.sequence.length()) / 64;
          while (pool.free_pages() < need) {
            // The naive one: the least worthy among those that nobody uses and nothing is behind.
            std::vector<Naive::Entry> loose;
            for (const auto& e : naive.entries) {
              PrefixKeys keys(e.salt);
              const auto hit = cache.find(e.prefix, keys, std::ssize(e.prefix));
              ASSERT_EQ(hit.tokens, std::ssize(e.prefix));
              const bool used = std::ranges::any_of(open, [&](const Open& s) {
                return std::ranges::count(s.sequence.pages(), hit.pages.back()) > 0;
              });
              const bool behind = std::ranges::any_of(naive.entries, [&](const auto& other) {
                return other.salt == e.salt && other.prefix.size() > e.prefix.size() &&
                       Naive::begins(other.prefix, e.prefix);
              });
              if (!used && !behind) loose.push_back(e);
            }
            const bool evicted = cache.evict();
            ASSERT_EQ(evicted, !loose.empty());
            if (!evicted) break;
            naive.evict(*std::ranges::min_element(loose, Naive::before));
          }
          if (pool.free_pages() < need) continue;
          grow(pool, o.sequence, length);
          if (below(3) == 0) continue;
          const bool roll = below(2) == 0;
          const auto handle =
              cache.insert(o.sequence, o.tokens, o.keys, roll ? o.rolling : PrefixCache::Handle{});
          naive.insert(o.salt, Tokens(o.tokens.begin(), o.tokens.begin() + length),
                       roll ? static_cast<std::int64_t>(o.rolling.stamp) : 0);
          ASSERT_EQ(handle.stamp, static_cast<std::uint64_t>(naive.stamps));
          o.rolling = handle;
        } else if (!open.empty()) {
          open.erase(open.begin() + static_cast<long>(below(open.size())));
        } else if (below(20) == 0) {
          cache.clear();
          naive.entries.clear();
        }
        ASSERT_EQ(cache.num_snapshots(), std::ssize(naive.entries)) << operation;
        const auto kept = naive.pages();
        ASSERT_EQ(cache.num_pages(), std::ssize(kept)) << operation;
        ASSERT_EQ(pool.free_snapshots(), slots - std::ssize(naive.entries));
        // What sequences use, shared pages once.
        std::set<std::int32_t> used;
        for (const Open& o : open)
          used.insert(o.sequence.pages().begin(), o.sequence.pages().end());
        ASSERT_EQ(pool.free_pages(), pages - std::ssize(used) - pool.idle_pages());
      }
      // Every idle page can be had.
      open.clear();
      while (cache.evict()) {
      }
      EXPECT_EQ(pool.free_pages(), pages);
      EXPECT_EQ(cache.num_snapshots(), 0);
    }
    EXPECT_EQ(pool.free_pages(), pages);
    EXPECT_EQ(pool.free_snapshots(), slots);
  }
}

TEST_F(PrefixCacheTest, OneDifferentTokenIsNoHit) {
  auto pool = make_pool(16, 4);
  PrefixCache cache(pool);
  PrefixKeys keys;
  Tokens tokens(256, 5);
  {
    model::Sequence s = pool.create();
    grow(pool, s, 256);
    cache.insert(s, tokens, keys, {});
  }
  EXPECT_EQ(cache.find(tokens, keys, 256).tokens, 256);
  EXPECT_EQ(cache.find(tokens, keys, 255).tokens, 0);  // pages without a state are worth nothing
  for (const std::size_t at : {0, 63, 64, 255}) {
    Tokens other = tokens;
    other[at] = 6;
    PrefixKeys own;
    EXPECT_EQ(cache.find(other, own, 256).tokens, 0);
    // Not even if the hashes said so.
    EXPECT_EQ(cache.find(other, keys, 256).tokens, 0);
  }
}

TEST_F(PrefixCacheTest, OfTwoThatComputedTheSameOneKeepsItsPages) {
  auto pool = make_pool(8, 4);
  PrefixCache cache(pool);
  PrefixKeys keys;
  const Tokens tokens(128, 5);
  model::Sequence a = pool.create(), b = pool.create();
  grow(pool, a, 128);
  grow(pool, b, 128);
  EXPECT_EQ(pool.free_pages(), 4);
  cache.insert(a, tokens, keys, {});
  cache.insert(b, tokens, keys, {});
  EXPECT_EQ(a.pages(), b.pages());
  EXPECT_EQ(pool.free_pages(), 6);
  EXPECT_EQ(cache.num_snapshots(), 1);
  EXPECT_FALSE(cache.evict());  // in use
  a.release();
  EXPECT_FALSE(cache.evict());
  b.release();
  EXPECT_EQ(pool.idle_pages(), 2);
  EXPECT_TRUE(cache.evict());
  EXPECT_EQ(pool.free_pages(), 8);
}

TEST_F(PrefixCacheTest, CheapOnesGoFirstAndWorthAges) {
  auto pool = make_pool(64, 3);
  PrefixCache cache(pool);
  const auto put = [&](std::int32_t id, std::int64_t length) {
    PrefixKeys keys;
    const Tokens tokens(static_cast<std::size_t>(length), id);
    model::Sequence s = pool.create();
    grow(pool, s, length);
    cache.insert(s, tokens, keys, {});
  };
  const auto there = [&](std::int32_t id, std::int64_t length) {
    PrefixKeys keys;
    return cache.find(Tokens(static_cast<std::size_t>(length), id), keys, length).tokens > 0;
  };
  put(1, 640);
  put(2, 64);
  put(3, 128);
  put(4, 64);  // the oldest of the cheapest goes
  EXPECT_FALSE(there(2, 64));
  EXPECT_TRUE(there(1, 640));
  for (std::int32_t id = 5; id < 40; ++id) put(id, 128);
  EXPECT_FALSE(there(1, 640));  // dear, but nobody ever asked for it
}

}  // namespace
}  // namespace octet::generate
