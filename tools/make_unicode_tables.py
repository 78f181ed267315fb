#!/usr/bin/env python3
"""Writes src/input/tokenizer/unicode_tables.inl from tests/golden/tokenizer_unicode.json.

The tables say what the `tokenizers` library's engines know (Unicode 16 classes, Unicode 9 normal
forms); the libraries that octet links have other versions.
"""
import json
import pathlib

root = pathlib.Path(__file__).resolve().parent.parent
data = json.loads((root / "tests/golden/tokenizer_unicode.json").read_text())


def flat(ranges):
    for r in ranges:
        yield (r, r) if isinstance(r, int) else (r[0], r[-1])


def table(name, ranges, note):
    rows = [f"{{0x{a:04x}, 0x{b:04x}}}," for a, b in ranges]
    lines = [" ".join(rows[i:i + 5]) for i in range(0, len(rows), 5)]
    return f"// {note}\nconstexpr CodeRange {name}[] = {{\n    " + "\n    ".join(lines) + "\n};\n"


# Characters that normalization must leave alone and never move others across: marks that are
# newer than the library's data, and the second half of a pair that it doesn't compose.
fixed = sorted(list(flat(data["nfc_not_reordered"])) + [(0x11930, 0x11930)])
out = "// Made by tools/make_unicode_tables.py from tests/golden/tokenizer_unicode.json.\n"
out += table("kLetters", flat(data["letter"]), r"\p{L}")
out += table("kMarks", flat(data["mark"]), r"\p{M}")
out += table("kNumbers", flat(data["number"]), r"\p{N}")
out += table("kSpaces", flat(data["space"]), r"\s")
out += table("kUnnormalized", fixed, "inert for normalization")
(root / "src/input/tokenizer/unicode_tables.inl").write_text(out)
