#include "quantize/model_card.h"

#include "checkpoint/inventory.h"
#include "runtime/base/error.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/output_file.h"
#include "runtime/base/progress.h"

namespace octet::quantize {

namespace {

constexpr const char* kBegin = "<!-- octet perplexity: begin -->";
constexpr const char* kEnd = "<!-- octet perplexity: end -->";
constexpr const char* kHead =
    "| text | context / stride | BF16 | this model | difference | mean KL (nats) | same top token "
    "|\n| --- | --- | --- | --- | --- | --- | --- |\n";

std::string size_of(std::uint64_t bytes) {
  return format_bytes(static_cast<double>(bytes));
}

// A number of the report, for people.
std::string text_of(const json::value& v) {
  return v.is_string() ? std::string(v.get_string()) : to_json(v);
}

// The line "key: value" of a card's front matter, without its newline.
std::string front_matter_line(std::string readme, const std::string& key) {
  std::erase(readme, '\r');
  if (!readme.starts_with("---\n")) return "";
  const auto end = readme.find("\n---", 3);
  const auto at = readme.find("\n" + key + ":");
  if (end == readme.npos || at == readme.npos || at >= end) return "";
  return readme.substr(at + 1, readme.find('\n', at + 1) - at - 1);
}

std::string cell(std::string text) {
  // A bar would end the cell, a newline the table.
  for (char& c : text)
    if (c == '|' || c == '\n' || c == '\r') c = ' ';
  return text;
}

std::string line_of(const CardRow& r) {
  return fmt::format("| {} | {} | {} | {} | {} | {} | {} |\n", cell(r.text), cell(r.protocol),
                     cell(r.base), cell(r.perplexity), cell(r.difference), cell(r.divergence),
                     cell(r.same_top));
}

std::string table_with(const std::string& rows) {
  return fmt::format("{}\n{}{}{}\n", kBegin, kHead, rows, kEnd);
}

}  // namespace

std::string model_card(const checkpoint::Checkpoint& result, const std::string& source_name,
                       const json::object& report, const std::string& source_readme) {
  const auto inventory = checkpoint::take_inventory(result);
  const json::object& config = report.at("quantization_config").as_object();
  const std::string bits = text_of(config.at("bits")), group = text_of(config.at("group_size"));
  std::string card = "---\n";
  for (const char* key : {"license", "license_name", "license_link"})
    if (const auto line = front_matter_line(source_readme, key); !line.empty()) card += line + "\n";
  card += fmt::format("base_model: {}\ntags:\n- gptq\n- {}-bit\n---\n\n", source_name, bits);
  card += fmt::format("# {}, GPTQ {} bit\n\n", source_name, bits);
  card += fmt::format(
      "{} quantized to {} bits (symmetric, group size {}) by octet. All tensors that are not "
      "quantized are those of the original, byte for byte.\n\n",
      source_name, bits, group);
  card +=
      "## Components and precision\n\n| component | precision | tensors | size |\n| --- | --- | "
      "--- "
      "| --- |\n";
  card += fmt::format("| linear layers of the text model | {} bit, group {} | {} modules | {} |\n",
                      bits, group, inventory.quantized_modules, size_of(inventory.quantized_bytes));
  card += fmt::format("| embeddings and head | as in the original | | {} |\n",
                      size_of(inventory.embedding_bytes));
  if (inventory.vision_tensors > 0)
    card += fmt::format("| vision tower | as in the original | {} | {} |\n",
                        inventory.vision_tensors, size_of(inventory.vision_bytes));
  if (inventory.mtp_tensors > 0)
    card += fmt::format("| multi-token prediction | as in the original | {} | {} |\n",
                        inventory.mtp_tensors, size_of(inventory.mtp_bytes));
  card +=
      fmt::format("| norms, convolutions, in_proj_a, in_proj_b | as in the original | | {} |\n\n",
                  size_of(inventory.other_bytes));
  card += "## Configuration\n\n| setting | value |\n| --- | --- |\n";
  for (const auto& item : config)
    if (item.value().is_primitive())
      card += fmt::format("| {} | {} |\n", std::string(item.key()), text_of(item.value()));
  if (const json::value* meta = config.if_contains("meta"))
    for (const auto& item : meta->as_object())
      if (!item.value().is_null())
        card += fmt::format("| {} | {} |\n", std::string(item.key()), cell(text_of(item.value())));
  const json::object& calibration = report.at("calibration").as_object();
  if (calibration.at("rows").to_number<std::int64_t>() > 0) {
    card += fmt::format(
        "\n## Calibration\n\n{} rows, {} tokens, seed {}, SHA-256 of the token ids "
        "`{}` (calibration_ids.jsonl).\n\n| source | weight | rows | tokens |\n"
        "| --- | --- | --- | --- |\n",
        text_of(calibration.at("rows")), text_of(calibration.at("tokens")),
        text_of(calibration.at("seed")), text_of(calibration.at("sha256")));
    for (const json::value& s : calibration.at("sources").as_array())
      card += fmt::format("| {} | {} | {} | {} |\n", cell(text_of(s.at("name"))),
                          text_of(s.at("weight")), text_of(s.at("rows")), text_of(s.at("tokens")));
  }
  const json::object& bytes = report.at("bytes").as_object();
  card += fmt::format(
      "\n## Size\n\n| | tensors |\n| --- | --- |\n| original | {} |\n| this model | {} "
      "|\n",
      size_of(bytes.at("source").to_number<std::uint64_t>()),
      size_of(bytes.at("output").to_number<std::uint64_t>()));
  card +=
      "\n## Perplexity\n\nSliding window, every token scored once; differences with their "
      "standard error. Measured by `octet perplexity MODEL --base ORIGINAL --text FILE "
      "--write-card`.\n\n" +
      table_with("");
  card += "\n## Use\n\n```\noctet chat FOLDER \"Hello\"\nvllm serve FOLDER --dtype half\n```\n";
  return card;
}

std::string with_row(const std::string& card, const CardRow& row) {
  const auto begin = card.rfind(kBegin);
  const auto end = begin == card.npos ? card.npos : card.find(kEnd, begin);
  if (end == card.npos) {
    const std::string gap = card.empty() || card.ends_with("\n\n") ? ""
                            : card.ends_with("\n")                 ? "\n"
                                                                   : "\n\n";
    return card + gap + "## Perplexity\n\n" + table_with(line_of(row));
  }
  // Rows are the lines between the head's and the end.
  std::string table = card.substr(begin, end - begin);
  const std::string key = fmt::format("| {} | {} |", cell(row.text), cell(row.protocol));
  const auto found = table.find("\n" + key);
  if (found == table.npos) {
    if (!table.ends_with('\n')) table += '\n';
    table += line_of(row);
  } else {
    const auto stop = table.find('\n', found + 1);
    table = table.substr(0, found + 1) + line_of(row) +
            (stop == table.npos ? "" : table.substr(stop + 1));
  }
  return card.substr(0, begin) + table + card.substr(end);
}

void write_card_row(const std::filesystem::path& folder, const CardRow& row) {
  const auto path = folder / "README.md";
  write_file(path, with_row(std::filesystem::exists(path) ? read_file(path) : "", row));
}

}  // namespace octet::quantize
