#include "model/weight_cache.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <mutex>

#include "checkpoint/inventory.h"
#include "model/weight_folder.h"
#include "runtime/base/error.h"
#include "runtime/base/progress.h"

namespace octet::model {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLargePage = std::size_t{2} << 20;

// The folder's name for a person, a hash of all that a file is for.
std::string file_name(const fs::path& checkpoint, const std::string& layout, std::int64_t rank,
                      std::int64_t num_ranks) {
  std::error_code error;
  fs::path folder = fs::canonical(checkpoint, error);
  if (error) folder = checkpoint;
  std::string name = folder.filename().string().substr(0, 80);
  std::ranges::replace_if(
      name, [](unsigned char c) { return c < 128 && !std::isalnum(c) && c != '.' && c != '-'; },
      '_');
  const std::string key = fmt::format("{}\n{}\n{}/{}", folder.string(), layout, rank, num_ranks);
  return fmt::format("{}-{}{}", name, to_hex(hash128(std::as_bytes(std::span(key)))).substr(0, 16),
                     kWeightFileEnding);
}

// At most what the packed text model takes: codes of fewer bits may be held as bytes.
std::uint64_t packed_bytes(const checkpoint::Inventory& i) {
  const auto bits = static_cast<std::uint64_t>(std::clamp<std::int64_t>(i.bits, 1, 8));
  return i.text_weight_bytes + i.quantized_bytes * (8 - bits) / bits;
}

}  // namespace

WeightCache::WeightCache(const ops::Backend& backend, const checkpoint::Checkpoint& checkpoint,
                         ThreadPool& pool, WeightCacheOptions options)
    : backend_(backend), checkpoint_(checkpoint), options_(std::move(options)) {
  index_.layout = backend.weight_layout();
  if (index_.layout.empty() || options_.folder.empty()) return;
  index_.rank = options_.rank;
  index_.num_ranks = options_.num_ranks;
  path_ = options_.folder /
          file_name(checkpoint.folder(), index_.layout, options_.rank, options_.num_ranks);
  try {
    index_.checkpoint = checkpoint::take_fingerprint(checkpoint);
    if (!open(pool)) prepare(pool);
  } catch (const std::exception& e) {  // also what std::filesystem throws
    if (const auto* error = dynamic_cast<const Error*>(&e);
        error && error->code() == ErrorCode::interrupted)
      throw;
    out_.reset();
    turn_.reset();
    state_ = State::off;
    say(
        fmt::format("no weight cache: {}; the weights are packed at each start "
                    "(--weight-cache off: without this line)",
                    e.what()));
  }
}

WeightCache::~WeightCache() {
  wait();
}

void WeightCache::wait() {
  if (flush_.joinable()) flush_.join();
}

void WeightCache::say(const std::string& line) const {
  if (options_.say) options_.say(line);
}

bool WeightCache::open(ThreadPool& pool) {
  std::error_code ignored;
  if (!fs::exists(path_, ignored)) return false;
  std::string why;
  try {
    // Before the file is looked at: from now on nobody removes it to make room.
    auto use = FileLock::try_shared(path_);
    auto file = std::make_shared<const MappedFile>(path_);
    WeightIndex found = parse_weight_index(file->bytes(), path_.string());
    if (found.layout != index_.layout || found.rank != index_.rank ||
        found.num_ranks != index_.num_ranks)
      fail(ErrorCode::bad_data, "{}: expected {} of rank {} of {}, found {} of rank {} of {}",
           path_.string(), index_.layout, index_.rank, index_.num_ranks, found.layout, found.rank,
           found.num_ranks);
    why = checkpoint::describe_change(found.checkpoint, index_.checkpoint);
    if (why.empty()) {
      verify(*file, found, pool);
      // The time of modification is the time of the last use; a reader of a folder that is not his
      // can't set it.
      fs::last_write_time(path_, fs::file_time_type::clock::now(), ignored);
      index_ = std::move(found);
      file_ = std::move(file);
      use_ = std::move(use);
      state_ = State::read;
      return true;
    }
    why = fmt::format("{} holds an earlier state of {} ({})", path_.string(),
                      checkpoint_.folder().string(), why);
  } catch (const Error& e) {
    if (e.code() == ErrorCode::interrupted) throw;
    why = e.what();
  }
  say(fmt::format("weight cache: {}; the weights are packed anew", why));
  fs::remove(path_, ignored);
  return false;
}

void WeightCache::verify(const MappedFile& file, const WeightIndex& index, ThreadPool& pool) const {
  const auto data = file.bytes().first(static_cast<std::size_t>(index.data_bytes));
  std::mutex mutex;
  std::size_t done = 0;
  const auto count = static_cast<std::int64_t>(index.chunks.size());
  pool.parallel_for(count, 1, [&](std::int64_t begin, std::int64_t end, int worker) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::size_t from = static_cast<std::size_t>(i) * kWeightChunk;
      const auto chunk = data.subspan(from, std::min(kWeightChunk, data.size() - from));
      if (!file.populate(chunk))
        fail(ErrorCode::unavailable, "{}: can't read {} bytes at {}", path_.string(), chunk.size(),
             from);
      const std::string& expected = index.chunks[static_cast<std::size_t>(i)];
      if (const std::string found = to_hex(hash128(chunk)); found != expected)
        fail(ErrorCode::bad_data, "{}: {} bytes at {}: expected hash {}, found {}", path_.string(),
             chunk.size(), from, expected, found);
    }
    std::size_t so_far;
    {
      const std::scoped_lock lock(mutex);
      so_far = done += static_cast<std::size_t>(end - begin) * kWeightChunk;
    }
    if (worker == 0 && options_.progress)
      options_.progress(std::min(so_far, data.size()), data.size());
  });
}

void WeightCache::prepare(ThreadPool& pool) {
  const auto inventory = checkpoint::take_inventory(checkpoint_);
  if (inventory.text_weight_bytes < options_.smallest_bytes) return;
  const std::uint64_t bytes = packed_bytes(inventory);
  fs::create_directories(options_.folder);
  turn_ = FileLock::try_create(path_.string() + kWeightLockEnding);
  if (!turn_) {
    say(fmt::format("weight cache: another process writes {} now; this start packs its own",
                    path_.string()));
    return;
  }
  // The one before may have finished between our look and the lock.
  if (open(pool)) {
    turn_.reset();
    return;
  }
  make_weight_room(options_.folder, path_, bytes, options_.limit_bytes);
  require_room(bytes);
  out_ = std::make_unique<OutputFile>(path_);
  state_ = State::written;
  const std::string head = weight_file_head();
  write(std::as_bytes(std::span(head)));
  say(
      fmt::format("writing the packed weights, about {}, to {} once, for faster starts "
                  "(--weight-cache off: never)",
                  format_bytes(static_cast<double>(bytes)), path_.string()));
}

void WeightCache::require_room(std::uint64_t bytes) const {
  const fs::space_info space = fs::space(options_.folder);
  const std::uint64_t keep = std::min<std::uint64_t>(options_.free_bytes, space.capacity / 10);
  if (space.available < keep || space.available - keep < bytes)
    fail(ErrorCode::unavailable, "{}: {} are needed and {} are to stay free, found {}",
         options_.folder.string(), format_bytes(static_cast<double>(bytes)),
         format_bytes(static_cast<double>(keep)),
         format_bytes(static_cast<double>(space.available)));
}

// Written in whole chunks where possible: a file system that keeps a file in large pages makes them
// as large as the writes are.
void WeightCache::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto piece =
        bytes.first(std::min(bytes.size(), kWeightChunk - position() % kWeightChunk));
    staged_.insert(staged_.end(), piece.begin(), piece.end());
    if (position() % kWeightChunk == 0) {
      flush_staged();
      index_.chunks.push_back(to_hex(chunk_.digest()));
      chunk_.reset();
    }
    bytes = bytes.subspan(piece.size());
  }
}

void WeightCache::flush_staged() {
  chunk_.update(staged_);
  out_->write(staged_);
  staged_.clear();
}

void WeightCache::pad(std::size_t alignment) {
  static constexpr std::byte kZeros[ops::kStoredAlignment]{};
  while (const std::size_t over = position() % alignment)
    write(std::span(kZeros).first(std::min(sizeof kZeros, alignment - over)));
}

void WeightCache::give_up(const std::string& why) {
  out_.reset();
  turn_.reset();
  file_.reset();
  use_.reset();
  state_ = State::off;
  say(fmt::format("weight cache: {}; this start goes on without", why));
  throw Unusable{};
}

std::unique_ptr<ops::PackedLinear> WeightCache::restore(const WeightIndex::Linear& linear,
                                                        std::shared_ptr<const MappedFile> mapped,
                                                        std::uint64_t mapped_from) const {
  ops::StoredLinear stored{.description = linear.description};
  for (const WeightIndex::Block& b : linear.blocks)
    stored.blocks.push_back(mapped->bytes().subspan(
        static_cast<std::size_t>(b.offset - mapped_from), static_cast<std::size_t>(b.bytes)));
  return backend_.restore_linear(stored, std::move(mapped));
}

std::unique_ptr<ops::PackedLinear> WeightCache::store(const std::string& name,
                                                      const ops::PackedLinear& packed) {
  const ops::StoredLinear stored = backend_.store_linear(packed);
  WeightIndex::Linear& l = index_.linears.emplace_back();
  l.name = name;
  l.in_features = packed.in_features();
  l.out_features = packed.out_features();
  l.description = stored.description;
  require_room(packed.bytes());
  // Large weights have their large pages for themselves.
  const std::size_t alignment =
      packed.bytes() >= 4 * kLargePage ? kLargePage : ops::kStoredAlignment;
  pad(alignment);
  const std::size_t begin = position();
  for (const auto block : stored.blocks) {
    pad(ops::kStoredAlignment);
    l.blocks.push_back({position(), block.size()});
    write(block);
  }
  pad(alignment);
  flush_staged();
  return restore(
      l, std::make_shared<const MappedFile>(out_->partial(), begin, out_->size() - begin), begin);
}

std::unique_ptr<ops::PackedLinear> WeightCache::linear(const std::string& name,
                                                       std::int64_t in_features,
                                                       std::int64_t out_features,
                                                       const Pack& pack) {
  if (state_ == State::off) return pack();
  if (state_ == State::written) {
    auto packed = pack();
    try {
      return store(name, *packed);
    } catch (const std::exception& e) {
      packed.reset();
      give_up(e.what());
    }
  }
  const auto found = std::ranges::find(index_.linears, name, &WeightIndex::Linear::name);
  try {
    if (found == index_.linears.end())
      fail(ErrorCode::bad_data, "{}: {} is missing", path_.string(), name);
    if (found->in_features != in_features || found->out_features != out_features)
      fail(ErrorCode::bad_data, "{}: {}: expected {} x {}, found {} x {}", path_.string(), name,
           out_features, in_features, found->out_features, found->in_features);
    auto restored = restore(*found, file_, 0);
    if (restored->in_features() != in_features || restored->out_features() != out_features)
      fail(ErrorCode::bad_data, "{}: {}: described as {} x {}, stored as {} x {}", path_.string(),
           name, out_features, in_features, restored->out_features(), restored->in_features());
    return restored;
  } catch (const Error& e) {
    // Every byte was as it had been written: only another version of octet writes such a file.
    std::error_code ignored;
    fs::remove(path_, ignored);
    give_up(e.what());
  }
}

void WeightCache::finish() {
  if (state_ != State::written || !out_) return;
  try {
    const auto now = checkpoint::take_fingerprint(checkpoint_);
    if (const auto change = checkpoint::describe_change(index_.checkpoint, now); !change.empty())
      fail(ErrorCode::bad_data, "{} changed while it was read ({})", checkpoint_.folder().string(),
           change);
    flush_staged();
    index_.data_bytes = out_->size();
    if (out_->size() % kWeightChunk != 0) index_.chunks.push_back(to_hex(chunk_.digest()));
    out_->write(write_weight_index(index_));
    flush_ = std::thread([this] { flush(); });
  } catch (const std::exception& e) {
    // The weights in use stay good: their pages live as long as they are mapped.
    say(fmt::format("weight cache: {}; nothing is kept for the next start", e.what()));
    out_.reset();
    turn_.reset();
  }
}

void WeightCache::flush() {
  try {
    out_->commit();
    use_ = FileLock::try_shared(path_);
  } catch (const std::exception& e) {
    say(fmt::format("weight cache: {}; nothing is kept for the next start", e.what()));
  }
  out_.reset();
  turn_.reset();
}

std::filesystem::path default_weight_cache() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return fs::path(value ? value : "");
  };
  // The standard says that a relative path is to be ignored.
  if (const fs::path cache = variable("XDG_CACHE_HOME"); cache.is_absolute())
    return cache / "octet" / "weights";
  if (const fs::path home = variable("HOME"); home.is_absolute())
    return home / ".cache" / "octet" / "weights";
  return {};
}

}  // namespace octet::model
