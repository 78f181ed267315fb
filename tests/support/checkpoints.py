"""Checkpoints that tests make of the tiny one."""
import json
import pathlib
import shutil
import struct

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TINY = ROOT / "models/tiny"


def copy(folder, config=None, files=None):
    """The tiny model in another folder, with changed keys of its text config and other files.
    Weights are links: they are large and nobody writes them."""
    folder.mkdir()
    for file in TINY.iterdir():
        if file.suffix == ".safetensors":
            (folder / file.name).symlink_to(file)
        else:
            shutil.copyfile(file, folder / file.name)
    if config:
        path = folder / "config.json"
        value = json.loads(path.read_text())
        value["text_config"].update(config)
        path.write_text(json.dumps(value))
    for name, content in (files or {}).items():
        (folder / name).write_text(content)
    return folder


def stacked(folder, times):
    """The tiny model with its layers several times over: takes long enough to load to be watched."""
    shards = [(p.read_bytes(), p) for p in sorted(TINY.glob("*.safetensors"))]
    tensors = []
    for data, _ in shards:
        size = struct.unpack("<Q", data[:8])[0]
        for name, t in json.loads(data[8:8 + size]).items():
            if name != "__metadata__":
                begin, end = t["data_offsets"]
                tensors.append((name, t["dtype"], t["shape"], data[8 + size + begin:8 + size + end]))
    config = json.loads((TINY / "config.json").read_text())
    text = config["text_config"]
    layers = text["num_hidden_layers"]
    text["num_hidden_layers"] = layers * times
    text["layer_types"] = text["layer_types"] * times
    out, header, offset, blobs = [], {}, 0, []
    for name, dtype, shape, blob in tensors:
        before, _, rest = name.partition("language_model.layers.")
        if rest:
            number, _, tail = rest.partition(".")
            out += [(f"{before}language_model.layers.{int(number) + layers * i}.{tail}", dtype, shape, blob) for i in range(times)]
        else:
            out.append((name, dtype, shape, blob))
    for name, dtype, shape, blob in out:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(blob)]}
        offset += len(blob)
        blobs.append(blob)
    folder.mkdir()
    for file in TINY.iterdir():
        if "safetensors" not in file.name and file.name != "config.json":
            shutil.copyfile(file, folder / file.name)
    (folder / "config.json").write_text(json.dumps(config))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        f.writelines(blobs)
    return folder
