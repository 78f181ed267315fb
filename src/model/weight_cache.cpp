#include "model/weight_cache.h"

#include <algorithm>
#include <cctype>
#include <mutex>

#include "checkpoint/inventory.h"
#include "runtime/base/error.h"
#include "runtime/base/progress.h"
#include "runtime/base/system.h"

namespace octet::model {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLargePage = std::size_t{2} << 20;

// The folder's name for a person, a hash of all that a file is for.
std::string file_name(const fs::path& checkpoint, const std::string& layout) {
  std::error_code error;
  fs::path folder = fs::canonical(checkpoint, error);
  if (error) folder = checkpoint;
  std::string name = folder.filename().string().substr(0, 80);
  std::ranges::replace_if(
      name, [](unsigned char c) { return c < 128 && !std::isalnum(c) && c != '.' && c != '-'; },
      '_');
  const std::string key = fmt::format("{}\n{}", folder.string(), layout);
  return fmt::format("{}-{}{}", name, to_hex(hash128(std::as_bytes(std::span(key)))).substr(0, 16),
                     kWeightFileEnding);
}

// What the packed text model takes at most.
std::uint64_t packed_bytes(const checkpoint::Checkpoint& checkpoint,
                           const checkpoint::Inventory& inventory) {
  const auto bits = static_cast<std::uint64_t>(std::clamp<std::int64_t>(inventory.bits, 1, 8));
  // Codes lie as bytes, or as float32 where no four of a group lie together.
  const std::uint64_t of_code = inventory.group_size > 0 && inventory.group_size % 4 != 0 ? 4 : 1;
  std::uint64_t total = 0;
  for (const checkpoint::TensorInfo& t : checkpoint.tensors()) {
    const std::string name = checkpoint::Checkpoint::canonical_name(t.name);
    if (name.starts_with("model.visual.") || name.starts_with("mtp.")) continue;
    std::uint64_t bytes = t.bytes.size();
    if (name.ends_with(".qweight") || name.ends_with(".qzeros"))
      bytes = bytes * 8 / bits * of_code;
    else if (t.dtype == DType::f16)
      bytes *= 2;  // float32
    // Panels have 16 columns, blocks begin with a page, large linears begin and end with a large
    // one.
    total += bytes + std::min<std::uint64_t>(kLargePage, bytes / 4) + 2 * ops::kStoredAlignment;
  }
  return total;
}

}  // namespace

WeightCache::WeightCache(const ops::Backend& backend, const checkpoint::Checkpoint& checkpoint,
                         ThreadPool& pool, WeightCacheOptions options)
    : backend_(backend), checkpoint_(checkpoint), options_(std::move(options)) {
  index_.layout = backend.weight_layout();
  if (index_.layout.empty() || options_.folder.empty()) return;
  path_ = options_.folder / file_name(checkpoint.folder(), index_.layout);
  try {
    index_.checkpoint = checkpoint::take_fingerprint(checkpoint);
    if (open(pool) != Found::good) prepare(pool);
  } catch (const std::exception& e) {  // also what std::filesystem throws
    if (const auto* error = dynamic_cast<const Error*>(&e);
        error && error->code() == ErrorCode::interrupted)
      throw;
    out_.reset();
    turn_.reset();
    state_ = State::off;
    say(
        fmt::format("no weight cache: {}; this start packs the weights "
                    "(--weight-cache off: without this line)",
                    e.what()));
  }
  bad_.reset();
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

WeightCache::Found WeightCache::open(ThreadPool& pool) {
  std::error_code ignored;
  if (!fs::exists(path_, ignored)) return Found::nothing;
  // Before the file is looked at: from now on nobody removes it to make room.
  auto use = FileLock::try_shared(path_);
  std::string why;
  try {
    auto file = std::make_shared<const MappedFile>(path_);
    const auto read = [&](std::span<const std::byte> bytes) {
      if (!file->populate(bytes))
        fail(ErrorCode::unavailable, "{}: can't read {} bytes at {}", path_.string(), bytes.size(),
             bytes.data() - file->bytes().data());
    };
    WeightIndex found = parse_weight_index(file->bytes(), path_.string(), read);
    if (found.layout != index_.layout)
      fail(ErrorCode::bad_data, "{}: expected {}, found {}", path_.string(), index_.layout,
           found.layout);
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
      return Found::good;
    }
    why = fmt::format("{} holds an earlier state of {} ({})", path_.string(),
                      checkpoint_.folder().string(), why);
  } catch (const Error& e) {
    if (e.code() == ErrorCode::not_found && !fs::exists(path_, ignored)) return Found::nothing;
    // What fails for want of memory, descriptors or rights says nothing about the file.
    if (e.code() != ErrorCode::bad_data) throw;
    why = e.what();
  }
  say(fmt::format("weight cache: {}; the weights are packed anew", why));
  bad_ = std::move(use);
  return Found::bad;
}

// Only under the writer's lock, and only the file that was looked at: another process may have put
// a good one there meanwhile.
void WeightCache::remove_bad() {
  std::error_code ignored;
  if (turn_ && bad_ && bad_->is_at(path_)) fs::remove(path_, ignored);
  bad_.reset();
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
  const std::uint64_t bytes = packed_bytes(checkpoint_, inventory);
  fs::create_directories(options_.folder);
  turn_ = FileLock::try_create(path_.string() + kWeightLockEnding);
  if (!turn_) {
    say(fmt::format("weight cache: another process writes {} now; this start packs its own",
                    path_.string()));
    return;
  }
  remove_bad();
  // The one before may have finished between our look and the lock.
  if (open(pool) == Found::good) {
    turn_.reset();
    return;
  }
  remove_bad();
  room_ = make_weight_room(options_.folder, path_, bytes, options_.limits);
  out_ = std::make_unique<OutputFile>(path_);
  state_ = State::written;
  const std::string head = weight_file_head();
  write(std::as_bytes(std::span(head)));
  say(
      fmt::format("writing the packed weights, about {}, to {} once, for faster starts "
                  "(--weight-cache off: never)",
                  format_bytes(static_cast<double>(bytes)), path_.string()));
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
  require_weight_room(options_.folder, packed.bytes(), options_.limits);
  // The estimate counts on a checkpoint whose modules are all alike.
  if (position() + packed.bytes() > room_)
    fail(ErrorCode::unavailable, "{}: it would pass the limit of {}", path_.string(),
         format_bytes(static_cast<double>(options_.limits.limit_bytes)));
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
    if (e.code() == ErrorCode::bad_data) {
      try {
        turn_ = FileLock::try_create(path_.string() + kWeightLockEnding);
        bad_ = std::move(use_);
        remove_bad();
      } catch (const Error&) {
        // Who may not write there leaves it.
      }
    }
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
    flush_ = std::thread([this] {
      name_this_thread("octet-cache");
      flush();
    });
  } catch (const std::exception& e) {
    drop(e.what());
  }
}

void WeightCache::flush() {
  try {
    out_->sync(check_interrupt);
  } catch (const Error& e) {
    if (e.code() == ErrorCode::interrupted) return drop("");
    // The kernel may take pages that it could not write for written, and forget them.
    return drop(
        fmt::format("{}; the weights in use are pages of this file and may be lost: "
                    "restart octet, with --weight-cache off until the disk is well",
                    e.what()));
  }
  try {
    out_->commit();
    use_ = FileLock::try_shared(path_);
    out_.reset();
    turn_.reset();
  } catch (const std::exception& e) {
    drop(e.what());
  }
}

// The file will not be finished. The weights in use stay: their pages, and their room on the disk,
// live as long as they are mapped.
void WeightCache::drop(const std::string& why) {
  if (!why.empty()) say(fmt::format("weight cache: {}; nothing is kept for the next start", why));
  out_.reset();
  turn_.reset();
}

}  // namespace octet::model
