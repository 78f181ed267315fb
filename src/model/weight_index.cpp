#include "model/weight_index.h"

#include <boost/json.hpp>
#include <cstring>

#include "runtime/base/error.h"
#include "runtime/base/json.h"
#include "runtime/ops/backend.h"

namespace octet::model {

namespace {

constexpr std::int64_t kFormat = 1;
constexpr std::string_view kMagic = "octet packed weights\n";

// The last bytes of a file, little-endian as everything octet runs on.
struct Trailer {
  char magic[8] = {'o', 'c', 't', 'e', 't', 'e', 'n', 'd'};
  std::uint64_t file_bytes = 0, index_bytes = 0;
  Hash128 index_hash{};
  Hash128 hash{};  // of all before
};
static_assert(sizeof(Trailer) == 56);
constexpr std::size_t kHashed = offsetof(Trailer, hash);

std::span<const std::byte> hashed(const Trailer& t) {
  return std::as_bytes(std::span(&t, 1)).first(kHashed);
}

// Fields of the index with their place in messages.
struct Reader {
  const std::string& file;

  [[noreturn]] void bad(std::string_view field, std::string_view expected) const {
    fail(ErrorCode::bad_data, "{}: index: {}: expected {}", file, field, expected);
  }
  const json::value& get(const json::object& o, const char* key) const {
    const json::value* v = o.if_contains(key);
    if (!v) bad(key, "a value");
    return *v;
  }
  std::int64_t whole(const json::value& v, const char* key) const {
    if (!v.is_int64()) bad(key, "a whole number");
    return v.get_int64();
  }
  std::int64_t whole(const json::object& o, const char* key) const {
    return whole(get(o, key), key);
  }
  std::uint64_t size(const json::value& v, const char* key) const {
    const std::int64_t n = whole(v, key);
    if (n < 0) bad(key, "a number of bytes");
    return static_cast<std::uint64_t>(n);
  }
  std::uint64_t size(const json::object& o, const char* key) const {
    return size(get(o, key), key);
  }
  std::string text(const json::value& v, const char* key) const {
    if (!v.is_string()) bad(key, "a string");
    return std::string(v.get_string());
  }
  std::string text(const json::object& o, const char* key) const { return text(get(o, key), key); }
  const json::array& list(const json::object& o, const char* key) const {
    const json::value& v = get(o, key);
    if (!v.is_array()) bad(key, "a list");
    return v.get_array();
  }
  const json::object& object(const json::value& v, const char* key) const {
    if (!v.is_object()) bad(key, "an object");
    return v.get_object();
  }

  WeightIndex::Block block(const json::value& v, std::uint64_t data_bytes) const {
    if (!v.is_array() || v.get_array().size() != 2) bad("blocks", "pairs of offset and bytes");
    const WeightIndex::Block b{size(v.get_array()[0], "blocks"), size(v.get_array()[1], "blocks")};
    if (b.offset % ops::kStoredAlignment != 0 || b.offset > data_bytes ||
        b.bytes > data_bytes - b.offset)
      bad("blocks", "pages inside the data");
    return b;
  }

  WeightIndex::Linear linear(const json::value& v, std::uint64_t data_bytes) const {
    const json::object& o = object(v, "linears");
    WeightIndex::Linear l;
    l.name = text(o, "name");
    l.in_features = whole(o, "in_features");
    l.out_features = whole(o, "out_features");
    for (const json::value& word : list(o, "description"))
      l.description.push_back(whole(word, "description"));
    for (const json::value& b : list(o, "blocks")) l.blocks.push_back(block(b, data_bytes));
    return l;
  }

  checkpoint::Fingerprint fingerprint(const json::object& o) const {
    checkpoint::Fingerprint f;
    for (const json::value& v : list(o, "files")) {
      const json::object& file_object = object(v, "files");
      f.files.push_back({text(file_object, "name"), size(file_object, "bytes"),
                         whole(file_object, "modified_ns"), whole(file_object, "changed_ns")});
    }
    f.content = text(o, "content");
    return f;
  }
};

json::value to_value(const WeightIndex::Linear& l) {
  json::array blocks;
  for (const WeightIndex::Block& b : l.blocks)
    blocks.push_back(
        json::array{static_cast<std::int64_t>(b.offset), static_cast<std::int64_t>(b.bytes)});
  return json::object{{"name", l.name},
                      {"in_features", l.in_features},
                      {"out_features", l.out_features},
                      {"description", json::value_from(l.description)},
                      {"blocks", std::move(blocks)}};
}

Trailer read_trailer(std::span<const std::byte> file, const std::string& name,
                     const std::function<void(std::span<const std::byte>)>& before_reading) {
  Trailer t;
  const bool whole = file.size() >= ops::kStoredAlignment + sizeof t;
  if (whole && before_reading) {
    before_reading(file.first(ops::kStoredAlignment));
    before_reading(file.last(sizeof t));
  }
  if (!whole || std::memcmp(file.data(), kMagic.data(), kMagic.size()) != 0)
    fail(ErrorCode::bad_data, "{}: {} bytes, not a file of packed weights", name, file.size());
  std::memcpy(&t, file.data() + file.size() - sizeof t, sizeof t);
  if (std::memcmp(t.magic, Trailer{}.magic, sizeof t.magic) != 0)
    fail(ErrorCode::bad_data, "{}: it ends without its trailer; it was cut at {} bytes", name,
         file.size());
  if (const Hash128 found = hash128(hashed(t)); found != t.hash)
    fail(ErrorCode::bad_data, "{}: trailer: expected hash {}, found {}", name, to_hex(t.hash),
         to_hex(found));
  if (t.file_bytes != file.size())
    fail(ErrorCode::bad_data, "{}: expected {} bytes, found {}", name, t.file_bytes, file.size());
  if (t.index_bytes > file.size() - sizeof t - ops::kStoredAlignment)
    fail(ErrorCode::bad_data, "{}: trailer: an index of {} bytes does not fit", name,
         t.index_bytes);
  return t;
}

}  // namespace

std::string weight_file_head() {
  std::string head(ops::kStoredAlignment, '\0');
  kMagic.copy(head.data(), kMagic.size());
  return head;
}

std::string write_weight_index(const WeightIndex& index) {
  json::array files, linears;
  for (const checkpoint::Fingerprint::File& f : index.checkpoint.files)
    files.push_back(json::object{{"name", f.name},
                                 {"bytes", static_cast<std::int64_t>(f.bytes)},
                                 {"modified_ns", f.modified_ns},
                                 {"changed_ns", f.changed_ns}});
  for (const WeightIndex::Linear& l : index.linears) linears.push_back(to_value(l));
  std::string text = to_json(json::object{
      {"format", kFormat},
      {"layout", index.layout},
      {"checkpoint", {{"files", std::move(files)}, {"content", index.checkpoint.content}}},
      {"chunk_bytes", static_cast<std::int64_t>(kWeightChunk)},
      {"data_bytes", static_cast<std::int64_t>(index.data_bytes)},
      {"chunks", json::value_from(index.chunks)},
      {"linears", std::move(linears)}});
  Trailer t;
  t.file_bytes = index.data_bytes + text.size() + sizeof t;
  t.index_bytes = text.size();
  t.index_hash = hash128(std::as_bytes(std::span(text)));
  t.hash = hash128(hashed(t));
  text.append(reinterpret_cast<const char*>(&t), sizeof t);
  return text;
}

WeightIndex parse_weight_index(
    std::span<const std::byte> file, const std::string& name,
    const std::function<void(std::span<const std::byte>)>& before_reading) {
  const Trailer t = read_trailer(file, name, before_reading);
  const std::size_t begin = file.size() - sizeof t - t.index_bytes;
  const auto bytes = file.subspan(begin, t.index_bytes);
  if (before_reading) before_reading(bytes);
  if (const Hash128 found = hash128(bytes); found != t.index_hash)
    fail(ErrorCode::bad_data, "{}: index: expected hash {}, found {}", name, to_hex(t.index_hash),
         to_hex(found));
  const Reader r{name};
  const json::value value =
      parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, name + ": index");
  const json::object& o = r.object(value, "index");
  if (const auto format = r.whole(o, "format"); format != kFormat)
    fail(ErrorCode::bad_data, "{}: format: expected {}, found {}", name, kFormat, format);
  WeightIndex index;
  index.layout = r.text(o, "layout");
  index.checkpoint = r.fingerprint(r.object(r.get(o, "checkpoint"), "checkpoint"));
  index.data_bytes = r.size(o, "data_bytes");
  if (index.data_bytes != begin) r.bad("data_bytes", fmt::format("{}", begin));
  if (r.size(o, "chunk_bytes") != kWeightChunk)
    r.bad("chunk_bytes", fmt::format("{}", kWeightChunk));
  for (const json::value& v : r.list(o, "chunks")) index.chunks.push_back(r.text(v, "chunks"));
  const std::size_t chunks = (begin + kWeightChunk - 1) / kWeightChunk;
  if (index.chunks.size() != chunks) r.bad("chunks", fmt::format("{} hashes", chunks));
  for (const json::value& v : r.list(o, "linears"))
    index.linears.push_back(r.linear(v, index.data_bytes));
  return index;
}

}  // namespace octet::model
