#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "model/weight_folder.h"
#include "model/weight_index.h"
#include "runtime/base/file_lock.h"
#include "runtime/base/output_file.h"
#include "runtime/base/thread_pool.h"
#include "runtime/ops/backend.h"

namespace octet::model {

struct WeightCacheOptions {
  std::filesystem::path folder;  ///< made if need be
  /// Checkpoints whose text model is smaller are packed at each start: that takes no time.
  std::uint64_t smallest_bytes = 256'000'000;
  WeightLimits limits;
  /// Called by the thread that reads, while it reads; may throw (an interruption).
  std::function<void(std::uint64_t done, std::uint64_t bytes)> progress;
  /// Takes lines for the user: what is written, what was wrong. Also called by another thread.
  std::function<void(const std::string&)> say;
};

/// Packed weights of one checkpoint in a file that the kernels read in place, so that a later start
/// neither packs nor copies, and processes share the memory. docs/formats/weight-cache.md
///
/// The first start writes each linear as it is packed and goes on with the file's pages instead of
/// its own: the weights lie in memory once. The file is flushed by a thread of its own and gets its
/// name when it is complete. A later start verifies every byte. Whatever fails is said once and
/// the weights are packed as if there were no cache; only a file whose content is wrong is removed.
/// Threads: one at a time.
class WeightCache {
 public:
  enum class State {
    off,      ///< neither read nor written
    read,     ///< weights come from the file
    written,  ///< weights are packed and written
  };

  /// Finds and verifies the file of a checkpoint, or prepares to write it. Errors: interrupted, if
  /// options.progress throws that; with any other failure the state is off. Costs the reading of
  /// the whole file, at the speed of memory if its pages are there. `pool` is used only here; the
  /// others must outlive this.
  WeightCache(const ops::Backend& backend, const checkpoint::Checkpoint& checkpoint,
              ThreadPool& pool, WeightCacheOptions options);
  /// Waits until the file is flushed; after an interruption (system.h) it is dropped instead.
  ~WeightCache();
  WeightCache(const WeightCache&) = delete;
  WeightCache& operator=(const WeightCache&) = delete;

  State state() const { return state_; }
  const std::filesystem::path& path() const { return path_; }

  using Pack = std::function<std::unique_ptr<ops::PackedLinear>()>;
  /// The weight of that name and size from the file, or packed now and written. The result may
  /// outlive the cache. Errors: Pack's; Unusable.
  std::unique_ptr<ops::PackedLinear> linear(const std::string& name, std::int64_t in_features,
                                            std::int64_t out_features, const Pack& pack);
  /// Thrown by linear() when the file can't be gone on with (said already, the state is off):
  /// drop every weight that came from the cache and load again.
  struct Unusable {};

  /// All weights have been asked for: completes the file, flushes it in another thread.
  void finish();
  /// Waits for that thread.
  void wait();

 private:
  enum class Found { nothing, good, bad };
  Found open(ThreadPool& pool);
  void remove_bad();
  void verify(const MappedFile& file, const WeightIndex& index, ThreadPool& pool) const;
  void prepare(ThreadPool& pool);
  std::size_t position() const { return out_->size() + staged_.size(); }
  void write(std::span<const std::byte> bytes);
  void pad(std::size_t alignment);
  void flush_staged();
  std::unique_ptr<ops::PackedLinear> restore(const WeightIndex::Linear& linear,
                                             std::shared_ptr<const MappedFile> mapped,
                                             std::uint64_t mapped_from) const;
  std::unique_ptr<ops::PackedLinear> store(const std::string& name,
                                           const ops::PackedLinear& packed);
  [[noreturn]] void give_up(const std::string& why);
  void flush();
  void drop(const std::string& why);
  void say(const std::string& line) const;

  const ops::Backend& backend_;
  const checkpoint::Checkpoint& checkpoint_;
  WeightCacheOptions options_;
  State state_ = State::off;
  std::filesystem::path path_;
  std::uint64_t room_ = 0;  // that the written file may take
  WeightIndex index_;       // of the file that is read, or so far of the one that is written
  std::shared_ptr<const MappedFile> file_;
  std::optional<FileLock> use_;   // shared: nobody removes the file to make room
  std::optional<FileLock> bad_;   // the same of a file that is to be written anew
  std::optional<FileLock> turn_;  // alone: nobody else writes this file
  std::unique_ptr<OutputFile> out_;
  std::vector<std::byte> staged_;  // what follows out_'s bytes, inside one chunk
  Hasher128 chunk_;
  std::thread flush_;
};

}  // namespace octet::model
