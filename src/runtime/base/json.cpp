#include "runtime/base/json.h"

#include <boost/json/parse.hpp>
#include <boost/json/stream_parser.hpp>
#include <charconv>
#include <cmath>

#include "runtime/base/error.h"
#include "runtime/base/mapped_file.h"

namespace octet {

json::value parse_json(std::string_view text, std::string_view where) {
  json::parse_options options;
  options.max_depth = 128;
  json::stream_parser parser({}, options);
  boost::system::error_code code;
  const std::size_t used = parser.write_some(text.data(), text.size(), code);
  if (!code) {
    // What follows the value must be blank.
    for (std::size_t i = used; i < text.size(); ++i)
      if (std::string_view(" \t\r\n").find(text[i]) == std::string_view::npos)
        fail(ErrorCode::bad_data, "{}: unexpected text after the JSON value at byte {}", where, i);
    parser.finish(code);
  }
  if (code)
    fail(ErrorCode::bad_data, "{}: not valid JSON at byte {}: {}", where, used, code.message());
  return parser.release();
}

json::value read_json(const std::filesystem::path& path) {
  return parse_json(read_file(path), path.string());
}

std::string format_double(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[64];
  // Shortest digits first, in scientific form, to know the exponent that Python's rule looks at.
  auto r = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  std::string s(buffer, r.ptr);
  const auto e = s.find('e');
  const int exponent = std::stoi(s.substr(e + 1));
  if (exponent < -4 || exponent >= 16) {
    std::string mantissa = s.substr(0, e);
    return mantissa + (exponent < 0 ? "e-" : "e+") +
           fmt::format("{:02d}", exponent < 0 ? -exponent : exponent);
  }
  r = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed);
  s.assign(buffer, r.ptr);
  if (s.find('.') == std::string::npos) s += ".0";
  return s;
}

void append_json_escaped(std::string& out, char c) {
  switch (c) {
    case '"':
      out += "\\\"";
      break;
    case '\\':
      out += "\\\\";
      break;
    case '\n':
      out += "\\n";
      break;
    case '\r':
      out += "\\r";
      break;
    case '\t':
      out += "\\t";
      break;
    case '\b':
      out += "\\b";
      break;
    case '\f':
      out += "\\f";
      break;
    default:
      if (static_cast<unsigned char>(c) < 0x20)
        out += fmt::format("\\u{:04x}", static_cast<unsigned>(static_cast<unsigned char>(c)));
      else
        out += c;
  }
}

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  // What needs no escape goes as a whole: nearly everything.
  std::size_t begin = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (static_cast<unsigned char>(c) >= 0x20 && c != '"' && c != '\\') continue;
    out.append(text, begin, i - begin);
    append_json_escaped(out, c);
    begin = i + 1;
  }
  out.append(text, begin);
  out += '"';
}

namespace {

struct Writer {
  std::string out;
  int indent;

  void newline(int depth) {
    if (indent < 0) return;
    out += '\n';
    out.append(static_cast<std::size_t>(indent * depth), ' ');
  }
  void separator(bool first, int depth) {
    if (!first) out += indent < 0 ? ", " : ",";
    newline(depth);
  }

  void write(const json::value& v, int depth) {
    switch (v.kind()) {
      case json::kind::null:
        out += "null";
        break;
      case json::kind::bool_:
        out += v.get_bool() ? "true" : "false";
        break;
      case json::kind::int64:
        out += fmt::format("{}", v.get_int64());
        break;
      case json::kind::uint64:
        out += fmt::format("{}", v.get_uint64());
        break;
      case json::kind::double_: {
        const double d = v.get_double();
        // JSON has no NaN; a null is what a reader can still parse.
        out += std::isfinite(d) ? format_double(d) : "null";
        break;
      }
      case json::kind::string:
        append_json_string(out, v.get_string());
        break;
      case json::kind::array: {
        const auto& a = v.get_array();
        out += '[';
        bool first = true;
        for (const auto& item : a) {
          separator(first, depth + 1);
          first = false;
          write(item, depth + 1);
        }
        if (!a.empty()) newline(depth);
        out += ']';
        break;
      }
      case json::kind::object: {
        const auto& o = v.get_object();
        out += '{';
        bool first = true;
        for (const auto& [key, item] : o) {
          separator(first, depth + 1);
          first = false;
          append_json_string(out, key);
          out += ": ";
          write(item, depth + 1);
        }
        if (!o.empty()) newline(depth);
        out += '}';
        break;
      }
    }
  }
};

}  // namespace

std::string to_json(const json::value& value, int indent) {
  Writer w{{}, indent};
  w.write(value, 0);
  return std::move(w.out);
}

}  // namespace octet
