#!/usr/bin/env python3
"""Compares a GGUF file that `octet export` wrote with its checkpoint, through the gguf package.

usage: check_gguf.py CHECKPOINT OUT.gguf [MMPROJ.gguf]
Needs numpy and gguf (scripts/python-env makes an environment that has them). Values must be equal,
bit for bit as float32. Exit status 1 and a line for each tensor that differs.
"""
import json
import pathlib
import sys

import gguf
import numpy as np

LAYER_NAMES = {
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "post_attention_norm.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "self_attn.q_norm.weight": "attn_q_norm.weight",
    "self_attn.k_norm.weight": "attn_k_norm.weight",
    "linear_attn.in_proj_qkv.weight": "attn_qkv.weight",
    "linear_attn.in_proj_z.weight": "attn_gate.weight",
    "linear_attn.in_proj_b.weight": "ssm_beta.weight",
    "linear_attn.in_proj_a.weight": "ssm_alpha.weight",
    "linear_attn.conv1d.weight": "ssm_conv1d.weight",
    "linear_attn.dt_bias": "ssm_dt.bias",
    "linear_attn.A_log": "ssm_a",
    "linear_attn.norm.weight": "ssm_norm.weight",
    "linear_attn.out_proj.weight": "ssm_out.weight",
}
OTHER_NAMES = {
    "model.language_model.embed_tokens.weight": "token_embd.weight",
    "model.language_model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
    "mtp.fc.weight": "nextn.eh_proj.weight",
    "mtp.pre_fc_norm_embedding.weight": "nextn.enorm.weight",
    "mtp.pre_fc_norm_hidden.weight": "nextn.hnorm.weight",
    "mtp.norm.weight": "nextn.shared_head_norm.weight",
}
VISION_NAMES = {
    "pos_embed.weight": "v.position_embd.weight",
    "patch_embed.proj.bias": "v.patch_embd.bias",
    "merger.norm": "v.post_ln",
    "merger.linear_fc1": "mm.0",
    "merger.linear_fc2": "mm.2",
    "norm1": "ln1",
    "norm2": "ln2",
    "attn.qkv": "attn_qkv",
    "attn.proj": "attn_out",
    "mlp.linear_fc1": "ffn_up",
    "mlp.linear_fc2": "ffn_down",
}


def read_safetensors(folder):
    """Every tensor of a folder by name, as float32 or integers."""
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        raw = np.memmap(path, np.uint8, "r")
        length = int(raw[:8].view(np.uint64)[0])
        header = json.loads(bytes(raw[8:8 + length]))
        for name, info in header.items():
            if name == "__metadata__":
                continue
            begin, end = info["data_offsets"]
            data = np.frombuffer(raw[8 + length + begin:8 + length + end].tobytes(), np.uint8)
            if info["dtype"] == "BF16":
                values = (data.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
            else:
                values = data.view({"F32": np.float32, "F16": np.float16, "I32": np.int32}[info["dtype"]])
                if info["dtype"] == "F16":
                    values = values.astype(np.float32) if not name.endswith(".scales") else values
            tensors[name] = values.reshape(info["shape"])
    return tensors


def dequantized(tensors, module, bits, group_size):
    """A GPTQ module [out, in] as float32."""
    qweight, scales = tensors[module + ".qweight"], tensors[module + ".scales"].astype(np.float32)
    per_word = 32 // bits
    shifts = (bits * np.arange(per_word, dtype=np.uint32))[None, :, None]
    codes = (qweight.view(np.uint32)[:, None, :] >> shifts) & ((1 << bits) - 1)
    codes = codes.reshape(-1, qweight.shape[1]).astype(np.int32)  # [in, out]
    zeros = tensors[module + ".qzeros"].view(np.uint32)[:, :, None] >> shifts[0, :, 0][None, None, :]
    zeros = ((zeros & ((1 << bits) - 1)) + 1).reshape(zeros.shape[0], -1).astype(np.int32)  # [groups, out]
    group = np.arange(codes.shape[0]) // (group_size if group_size > 0 else codes.shape[0])
    return ((codes - zeros[group]).astype(np.float32) * scales[group]).T


def layer_of(name):
    head, rest = name.split("layers.", 1)
    number, rest = rest.split(".", 1)
    return int(number), rest


def tiled(values, axis, keys, shared, dim):
    """Value heads from the checkpoint's order (by key head) to llama.cpp's (key heads repeated)."""
    shape = values.shape
    split = shape[:axis] + (keys, shared, dim) + shape[axis + 1:]
    return values.reshape(split).swapaxes(axis, axis + 1).reshape(shape)


def expected_text(tensors, config):
    """GGUF name -> values of the text model and the MTP layers."""
    text = config.get("text_config", config)
    quantization = config.get("quantization_config")
    keys, dim = text["linear_num_key_heads"], text["linear_value_head_dim"]
    shared = text["linear_num_value_heads"] // keys
    qk = 2 * keys * text["linear_key_head_dim"]
    weights = {n: t for n, t in tensors.items() if not n.endswith((".qweight", ".qzeros", ".scales", ".g_idx"))}
    for name in [n[:-8] for n in tensors if n.endswith(".qweight")]:
        weights[name + ".weight"] = dequantized(tensors, name, quantization["bits"], quantization["group_size"])
    result = {}
    for name, values in weights.items():
        if name.startswith("model.visual."):
            continue
        if "layers." in name:
            number, rest = layer_of(name)
            number += text["num_hidden_layers"] if name.startswith("mtp.") else 0
            target = f"blk.{number}.{LAYER_NAMES[rest]}"
        else:
            rest = name
            target = OTHER_NAMES[name]
            if name.startswith("mtp."):
                target = f"blk.{text['num_hidden_layers']}.{target}"
        if "norm" in rest and rest.endswith(".weight") and rest != "linear_attn.norm.weight":
            values = values + np.float32(1)
        if rest.endswith("conv1d.weight"):
            values = values.reshape(values.shape[0], -1)
        if rest in ("linear_attn.in_proj_qkv.weight", "linear_attn.conv1d.weight"):
            values = np.concatenate([values[:qk], tiled(values[qk:], 0, keys, shared, dim)])
        elif rest == "linear_attn.in_proj_z.weight":
            values = tiled(values, 0, keys, shared, dim)
        elif rest in ("linear_attn.in_proj_a.weight", "linear_attn.in_proj_b.weight",
                      "linear_attn.dt_bias", "linear_attn.A_log"):
            values = tiled(values, 0, keys, shared, 1)
        elif rest == "linear_attn.out_proj.weight":
            values = tiled(values, 1, keys, shared, dim)
        if rest == "linear_attn.A_log":
            values = -np.exp(values)
        result[target] = values
    return result


def expected_vision(tensors):
    result = {}
    for name, values in tensors.items():
        if not name.startswith("model.visual."):
            continue
        rest = name[len("model.visual."):]
        if rest == "patch_embed.proj.weight":
            result["v.patch_embd.weight"], result["v.patch_embd.weight.1"] = values[:, :, 0], values[:, :, 1]
        elif rest.startswith("blocks."):
            _, number, module = rest.split(".", 2)
            module, kind = module.rsplit(".", 1)
            result[f"v.blk.{number}.{VISION_NAMES[module]}.{kind}"] = values
        elif rest in VISION_NAMES:
            result[VISION_NAMES[rest]] = values
        else:
            module, kind = rest.rsplit(".", 1)
            result[f"{VISION_NAMES[module]}.{kind}"] = values
    return result


def compare(path, expected):
    """Number of differences; prints each."""
    found = {}
    for t in gguf.GGUFReader(path).tensors:
        values = gguf.dequantize(t.data, t.tensor_type)
        found[t.name] = values.reshape([int(n) for n in reversed(t.shape)])
    problems = [f"{n}: in one of the two only" for n in sorted(set(found) ^ set(expected))]
    for name in sorted(set(found) & set(expected)):
        a, b = found[name].astype(np.float32), expected[name].astype(np.float32)
        # exp() may differ in its last bit between libraries.
        near = np.allclose(a, b, rtol=1e-6, atol=0) if name.endswith("ssm_a") else np.array_equal(a, b)
        if a.shape != b.shape or not near:
            problems.append(f"{name}: {a.shape} {b.shape}, values differ")
    for line in problems:
        print(f"{path}: {line}")
    print(f"{path}: {len(found)} tensors, {len(problems)} differences")
    return len(problems)


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    config = json.loads((folder / "config.json").read_text())
    tensors = read_safetensors(folder)
    bad = compare(sys.argv[2], expected_text(tensors, config))
    if len(sys.argv) == 4:
        bad += compare(sys.argv[3], expected_vision(tensors))
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
