#include "export/gguf_vision.h"

#include <algorithm>

#include "export/gguf_tensors.h"
#include "runtime/base/error.h"

namespace octet::exporter {

namespace {

using checkpoint::GgmlType;

constexpr Rename kBlockNames[] = {
    {"norm1.", "ln1."},
    {"norm2.", "ln2."},
    {"attn.qkv.", "attn_qkv."},
    {"attn.proj.", "attn_out."},
    {"mlp.linear_fc1.", "ffn_up."},
    {"mlp.linear_fc2.", "ffn_down."},
};
constexpr Rename kOuterNames[] = {
    {"pos_embed.", "v.position_embd."},     {"merger.norm.", "v.post_ln."},
    {"merger.linear_fc1.", "mm.0."},        {"merger.linear_fc2.", "mm.2."},
    {"patch_embed.proj.", "v.patch_embd."},
};

std::string replaced(std::span<const Rename> names, const std::string& name) {
  for (const Rename& r : names)
    if (name.starts_with(r.from)) return r.to + name.substr(std::string_view(r.from).size());
  fail(ErrorCode::internal, "no GGUF name for {}", name);
}

std::string gguf_name(const std::string& name) {
  constexpr std::string_view kRoot = "model.visual.", kBlocks = "blocks.";
  const std::string rest = name.substr(kRoot.size());
  if (!rest.starts_with(kBlocks)) return replaced(kOuterNames, rest);
  const std::size_t dot = rest.find('.', kBlocks.size());
  return fmt::format("v.blk.{}.{}", rest.substr(kBlocks.size(), dot - kBlocks.size()),
                     replaced(kBlockNames, rest.substr(dot + 1)));
}

// One frame of the patch embedding [out, channels, frames, patch, patch].
VisionTensor frame_of(const checkpoint::Checkpoint& checkpoint, const std::string& name,
                      const Shape& shape, std::int64_t frame) {
  VisionTensor t;
  t.target = {
      .name = frame == 0 ? "v.patch_embd.weight" : fmt::format("v.patch_embd.weight.{}", frame),
      .type = GgmlType::f32,
      .shape = {shape[0], shape[1], shape[3], shape[4]}};
  t.produce = [&checkpoint, name, shape, frame](const checkpoint::ByteSink& sink) {
    checkpoint::TensorInfo info = checkpoint.get(name, shape);
    const std::int64_t pixels = shape[3] * shape[4], frames = shape[2];
    const std::int64_t planes = shape[0] * shape[1];
    info.shape = {planes * frames, pixels};
    const auto part = model::dense_part(info);
    for (std::int64_t p = 0; p < planes; ++p) {
      const auto plane = ops::dequantize(part, {p * frames + frame, 1}, {0, pixels});
      sink(std::as_bytes(std::span(plane)));
    }
  };
  return t;
}

}  // namespace

std::vector<VisionTensor> vision_tensors(const checkpoint::Checkpoint& checkpoint) {
  std::vector<VisionTensor> tensors;
  for (const auto& e : checkpoint::expected_tensors(checkpoint.config())) {
    if (e.part != checkpoint::TensorClass::vision) continue;
    if (e.shape.size() == 5) {
      if (e.shape[2] != 2)
        fail(ErrorCode::invalid_argument,
             "temporal_patch_size {}: llama.cpp knows patches of 2 frames", e.shape[2]);
      for (std::int64_t frame = 0; frame < e.shape[2]; ++frame)
        tensors.push_back(frame_of(checkpoint, e.name, e.shape, frame));
      continue;
    }
    SourceTensor t;
    t.name = e.name;
    t.shape = e.shape;
    t.target.name = gguf_name(e.name);
    t.target.shape = e.shape;
    const bool positions = e.name.ends_with("pos_embed.weight");
    const auto info = checkpoint.get(e.name, e.shape);
    if (e.shape.size() == 2 && !positions) t.target.type = exact_type(info);
    tensors.push_back({t.target, [&checkpoint, t](const checkpoint::ByteSink& sink) {
                         produce(checkpoint, t, sink);
                       }});
  }
  return tensors;
}

}  // namespace octet::exporter
