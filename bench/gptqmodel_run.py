"""Quantizes one checkpoint with GPTQModel on the CPU; compare_gptqmodel starts it with a venv's python.

The last line of stdout is a JSON object: versions, what differs from the defaults, seconds of each phase.
"""
import argparse
import inspect
import json
import time


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--ids", required=True, help="jsonl with input_ids, octet's calibration_ids.jsonl")
    parser.add_argument("--bits", type=int, choices=(4, 8), required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()

    begin = time.perf_counter()
    import gptqmodel
    import torch
    import transformers
    from gptqmodel.quantization.config import FOEMConfig, GPTQConfig
    from transformers.models.qwen3_5 import modeling_qwen3_5

    torch.set_num_threads(args.threads)
    # Older transformers invert the triangular system of each chunk row by row in Python.
    vectorized = "solve_triangular" in inspect.getsource(modeling_qwen3_5.torch_chunk_gated_delta_rule)
    delta_rule = "as it is (chunked, solve_triangular)" if vectorized else "as it is (slow loop over rows)"
    recipe = {"bits": args.bits, "group_size": 32, "sym": True, "desc_act": False, "true_sequential": True,
              "damp_percent": 0.05, "act_group_aware": args.bits == 8, "offload_to_disk": False,
              "device": "cpu"}
    if args.bits == 4:
        recipe.update(mse=2.0, foem=FOEMConfig(alpha=0.25, beta=0.2))
    with open(args.ids, encoding="utf-8") as file:
        rows = [{"input_ids": json.loads(line)["input_ids"]} for line in file]

    imported, cpu = time.perf_counter(), time.process_time()
    model = gptqmodel.GPTQModel.load(args.model, GPTQConfig(**recipe), dtype=getattr(torch, args.dtype))
    loaded = time.perf_counter()
    model.quantize(rows, batch_size=1, calibration_sort=None)
    quantized = time.perf_counter()
    model.save(args.out)
    saved = time.perf_counter()
    print("\n" + json.dumps({
        "versions": {"gptqmodel": gptqmodel.__version__, "torch": torch.__version__,
                     "transformers": transformers.__version__},
        "set": {"dtype": args.dtype, "offload_to_disk": False, "batch_size": 1, "delta_rule": delta_rule},
        "seconds": {"import": imported - begin, "load": loaded - imported, "quantize": quantized - loaded,
                    "save": saved - quantized, "total": saved - imported},
        "cpu_seconds": time.process_time() - cpu}), flush=True)


main()
