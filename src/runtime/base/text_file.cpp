#include "runtime/base/text_file.h"

#include <zlib.h>
#include <zstd.h>

#include <memory>

#include "runtime/base/error.h"
#include "runtime/base/mapped_file.h"

namespace octet {

namespace {

constexpr std::size_t kPiece = 1 << 18;

[[noreturn]] void too_large(const std::string& where, std::size_t max_bytes) {
  fail(ErrorCode::bad_data, "{}: more than {} bytes when unpacked; split the file", where,
       max_bytes);
}

std::string unpack_gzip(const std::string& bytes, std::size_t max_bytes, const std::string& where) {
  z_stream stream{};
  // 15 bits of window, 16: a gzip header.
  if (inflateInit2(&stream, 15 + 16) != Z_OK) fail(ErrorCode::out_of_memory, "{}: zlib", where);
  const std::unique_ptr<z_stream, decltype(&inflateEnd)> guard(&stream, inflateEnd);
  std::string text;
  std::size_t at = 0;
  bool complete = false;
  while (at < bytes.size() || !complete) {
    const std::size_t begin = text.size();
    if (begin > max_bytes) too_large(where, max_bytes);
    text.resize(begin + kPiece);
    const std::size_t feed = std::min<std::size_t>(bytes.size() - at, 1 << 30);
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data() + at));
    stream.avail_in = static_cast<uInt>(feed);
    stream.next_out = reinterpret_cast<Bytef*>(text.data() + begin);
    stream.avail_out = static_cast<uInt>(kPiece);
    const int result = inflate(&stream, Z_NO_FLUSH);
    at += feed - stream.avail_in;
    text.resize(begin + kPiece - stream.avail_out);
    complete = result == Z_STREAM_END;
    if (complete && at < bytes.size()) inflateReset(&stream);  // members may follow each other
    const bool stuck = result == Z_BUF_ERROR && at == bytes.size();
    if ((result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) || stuck)
      fail(ErrorCode::bad_data, "{}: the gzip data are {} at byte {}; fetch the file again", where,
           stuck ? "cut" : "damaged", at);
  }
  return text;
}

std::string unpack_zstd(const std::string& bytes, std::size_t max_bytes, const std::string& where) {
  const std::unique_ptr<ZSTD_DStream, decltype(&ZSTD_freeDStream)> stream(ZSTD_createDStream(),
                                                                          ZSTD_freeDStream);
  if (!stream) fail(ErrorCode::out_of_memory, "{}: zstd", where);
  std::string text;
  ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
  std::size_t left = 1;
  while (in.pos < in.size || left != 0) {
    const std::size_t begin = text.size(), before = in.pos;
    if (begin > max_bytes) too_large(where, max_bytes);
    text.resize(begin + kPiece);
    ZSTD_outBuffer out{text.data() + begin, kPiece, 0};
    left = ZSTD_decompressStream(stream.get(), &out, &in);
    text.resize(begin + out.pos);
    if (ZSTD_isError(left))
      fail(ErrorCode::bad_data,
           "{}: the zstd data are damaged at byte {} ({}); fetch the file again", where, in.pos,
           ZSTD_getErrorName(left));
    if (left != 0 && in.pos == in.size && in.pos == before && out.pos == 0)
      fail(ErrorCode::bad_data, "{}: the zstd data are cut at byte {}; fetch the file again", where,
           in.pos);
  }
  return text;
}

}  // namespace

std::string unpack_text(std::string bytes, std::size_t max_bytes, const std::string& where) {
  std::string text;
  if (bytes.starts_with("\x1f\x8b"))
    text = unpack_gzip(bytes, max_bytes, where);
  else if (bytes.starts_with("\x28\xb5\x2f\xfd"))
    text = unpack_zstd(bytes, max_bytes, where);
  else
    text = std::move(bytes);
  if (text.size() > max_bytes) too_large(where, max_bytes);
  return text;
}

std::string read_text_file(const std::filesystem::path& path, std::size_t max_bytes) {
  return unpack_text(read_file(path, max_bytes), max_bytes, path.string());
}

std::vector<TextLine> text_lines(std::string_view text) {
  std::vector<TextLine> lines;
  for (std::size_t begin = 0, number = 1; begin < text.size(); ++number) {
    auto end = text.find('\n', begin);
    if (end == text.npos) end = text.size();
    if (text.substr(begin, end - begin).find_first_not_of(" \t\r") != text.npos)
      lines.push_back({begin, end, number});
    begin = end + 1;
  }
  return lines;
}

json::object parse_line(std::string_view text, const TextLine& line,
                        const std::filesystem::path& path) {
  const std::string where = fmt::format("{}, line {}", path.string(), line.number);
  json::value value = parse_json(text.substr(line.begin, line.end - line.begin), where);
  if (!value.is_object()) fail(ErrorCode::bad_data, "{}: expected a JSON object", where);
  return std::move(value.get_object());
}

}  // namespace octet
