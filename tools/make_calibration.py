#!/usr/bin/env python3
"""Writes data/calibration.jsonl: the generated text that `octet quantize` calibrates on if no file is named.

Everything is drawn from the word lists, grammars and passages beside this script (calibration_*); no text of others is
in it. The same seed gives the same bytes. What counts is that tokens of all sorts occur in varied contexts, not sense.
"""
import argparse
import hashlib
import json
import pathlib
import random
import re
import textwrap

from calibration_chats import long_chat, short_chat
from calibration_code import KINDS, Code, address
from calibration_engine import GRAMMAR, HE, HERE, I, SHE, THEY, WE, Doc, sentences

SHARES = {  # rows of each kind
    "novel": 86, "tale": 6, "play": 14, "essay": 10, "letter": 8, "reference": 30, "corpus": 18, "news": 6, "manual": 5,
    "forum": 5, "salad": 20, "foreign": 30, "code": 24, "table": 8, "packed": 42, "chat": 16,
}
# Tokens are shorter or longer there than cost() takes them to be.
DENSE = {"foreign": 0.8, "code": 0.75, "table": 0.85, "packed": 1.2}
ROMAN = "I II III IV V VI VII VIII IX X XI XII XIII XIV XV XVI XVII XVIII XIX XX XXI XXV XXX XL LX".split()
LANGUAGES = sorted(name[:2] for name in GRAMMAR.rules if re.match(r"[a-z]{2}_text$", name))


# ---- prose

class Style:
    """How a text is set: quotation marks, dashes, length of lines."""

    def __init__(self, rng):
        self.quotes = rng.choice(["curly"] * 5 + ["straight"] * 5 + ["single"])
        self.dash = rng.choice(["--", "--", "\u2014", " - "])
        self.width = rng.choice([0, 0, 65, 70, 72, 75])

    def set(self, paragraphs):
        out = []
        for p in paragraphs:
            p = p.replace("--", self.dash)
            if self.quotes == "curly":
                p = re.sub(r'"([^"]*)"', "\u201c\\1\u201d", p).replace("'", "\u2019")
            elif self.quotes == "single":
                p = p.replace('"', "'")
            out.append("\n".join(textwrap.wrap(p, self.width, break_on_hyphens=False)) if self.width else p)
        return out


def speech(doc):
    """A paragraph in which somebody speaks."""
    r = doc.rng
    asked = r.random() < 0.3
    said = doc.get("qq" if asked else "q")
    said = said[0].upper() + said[1:]
    end = "?" if asked else r.choice([",", ",", ",", "!", "."])
    full = "." if end == "," else end
    kind = r.random()
    if kind < 0.35:
        return f'"{said}{full}"'
    if kind < 0.65:
        return f'"{said}{end}" ' + (doc.get("S") if end == "." else doc.get("tag") + ".")
    if kind < 0.85:
        between, last = r.choice([", ", "; ", ". "]), r.choice([".", "!", "--"])
        return f'"{said}{"," if end == "." else end}" {doc.get("tag")}{between}"{doc.get("q")}{last}"'
    return f'{doc.get("s")} "{said}{full}" {doc.get("s")}'


def heading(doc):
    r = doc.rng
    title, number = doc.get("title"), r.choice(ROMAN)
    return r.choice([f"CHAPTER {number}.", f"CHAPTER {number}\n\n{title.upper()}", f"Chapter {r.randint(1, 60)}",
                     f"{number}.", f"BOOK {number}. {title}", "* * * * *", f"# {title}", title])


def novel(doc, size):
    r = doc.rng
    style = Style(r)
    main = r.choice([HE, HE, SHE, SHE, I, I, THEY, WE])
    talk, told = r.random() * 0.6, r.choice([0.2, 0.5, 0.9])
    out = [heading(doc)] if r.random() < 0.4 else []
    while cost(out) < size:
        doc.about(main if r.random() < 0.75 else r.choice([HE, SHE]))
        if r.random() < talk:
            out += style.set(speech(doc) for _ in range(r.randint(1, 5)))
        else:
            out += style.set([doc.get("passage") if r.random() < told else sentences(doc, 1, r.choice([2, 4, 7]))])
        if r.random() < 0.03:
            out.append(heading(doc))
    return "\n\n".join(out)


def tale(doc, size):
    out = []
    while cost(out) < size:
        doc.memory.clear()
        doc.about(doc.rng.choice([HE, SHE]))
        out.append(" ".join([doc.get("talestart"), sentences(doc, 3, 8, "talemiddle"), doc.get("taleend")]))
    return "\n\n".join(out)


def play(doc, size):
    r = doc.rng
    cast = [doc.get(x) for x in ("male", "female", "person", "surname", "male", "person")]
    label = r.choice(["{}.\n", "{}:\n", "{}. ", "_{}._ "])
    setting = r.choice([str.upper, str.upper, str.title])
    verse = r.random() < 0.7
    out = [f"ACT {r.choice(ROMAN[:5])}. SCENE {r.randint(1, 7)}.", doc.get("stage")] if r.random() < 0.6 else []
    while cost(out) < size:
        lines = []
        for _ in range(r.choice([1, 1, 2, 3, 5, 8])):
            line = doc.get("Verse" if verse else r.choice(["Q", "Qq", "S"]))
            lines.append(line if line[-1] in ".?!" else line + r.choice([",", ";", ".", ",", ":", "!", "--", "?"]))
        out.append(label.format(setting(r.choice(cast))) + "\n".join(lines))
        if r.random() < 0.12:
            out.append(doc.fill("[<Stage>|_<Stage>_]"))
    return "\n\n".join(out)


def essay(doc, size):
    doc.about(doc.rng.choice([WE, HE, I]))
    style = Style(doc.rng)
    out = [heading(doc)]
    while cost(out) < size:
        out += style.set([doc.get("essaypassage") if doc.rng.random() < 0.4 else sentences(doc, 2, 6, "essay")])
    return "\n\n".join(out)


def letter(doc, size):
    r = doc.rng
    doc.about(I)
    style = Style(r)
    out = []
    while cost(out) < size:
        out.append(doc.get("letterhead").replace("/ ", "\n\n"))
        out += style.set(sentences(doc, 2, 6, "letterline") for _ in range(r.randint(1, 4)))
        out.append(doc.get("letterend").replace("/ ", "\n"))
    return "\n\n".join(out)


def reference(doc, size):
    """Articles as in works of reference."""
    r = doc.rng
    mark = r.choice(["#", "=", "==", ""])
    out = []
    while cost(out) < size:
        doc.forget()
        doc.about(r.choice([HE, HE, SHE]))
        out.append(f"{mark} {doc.get('headword')} {mark.strip('#')}".strip())
        for _ in range(r.randint(1, 5)):
            if r.random() < 0.6:
                bar = mark[:1] * r.choice([2, 2, 3])
                out.append(f"{bar} {doc.get('section')} {bar.strip('#')}".strip())
            out += [article_text(doc) for _ in range(r.randint(1, 3))]
            if r.random() < 0.15:
                out.append("\n".join(doc.fill("* <title> (<yr>)") for _ in range(r.randint(2, 6))))
    return "\n\n".join(out)


def article_text(doc):
    return sentences(doc, 2, 7, "fact") if doc.rng.random() < 0.55 else doc.get("bypassage")


def corpus(doc, size):
    """Articles in the form of tokenized corpora: punctuation set apart."""
    r = doc.rng
    gap = r.choice(["\n", "\n\n", "\n\n"])
    out = []
    while cost(out) < size:
        doc.forget()
        doc.about(r.choice([HE, HE, SHE]))
        out.append(f" = {doc.get('headword')} = ")
        for _ in range(r.randint(1, 5)):
            if r.random() < 0.6:
                bar = r.choice(["= =", "= =", "= = ="])
                out.append(f" {bar} {doc.get('section')} {bar} ")
            out += [f" {detach(article_text(doc))} " for _ in range(r.randint(1, 3))]
    return gap.join(out)


def detach(text):
    text = re.sub(r"(?<=\d)([,.])(?=\d)", r" @\1@ ", text)
    text = re.sub(r"(?<=\w)-(?=\w)", " @-@ ", text)
    text = re.sub(r"(?<!@)([,.;:!?%()]|'s\b)(?!@)", r" \1 ", text)
    text = re.sub(r'"([^"]*)"', r'" \1 "', text)
    return re.sub(r" +", " ", text).strip()


def news(doc, size):
    out = []
    while cost(out) < size:
        doc.about(doc.rng.choice([HE, SHE, THEY]))
        out.append(sentences(doc, 1, 4, "news"))
    return "\n\n".join(out)


def manual(doc, size):
    r = doc.rng
    doc.person |= {"his": "the", "he": "you", "him": "you"}
    out = [f"# {doc.get('title')}"]
    while cost(out) < size:
        if r.random() < 0.3:
            out.append(doc.fill("## <digit1>.<digit1> <Vt.ing> the <noun>"))
        steps = [doc.get("manual") for _ in range(r.randint(2, 7))]
        kind = r.choice(["{i}. {s}", "- {s}", ""])
        out.append("\n".join(kind.format(i=i, s=s) for i, s in enumerate(steps, 1)) if kind else " ".join(steps))
    return "\n\n".join(out)


def forum(doc, size):
    r = doc.rng
    doc.about(I)
    out = []
    while cost(out) < size:
        text = sentences(doc, 1, 4, "chatty")
        head = doc.get("forumhead") + r.choice(["\n", " ", "\n\n"]) if r.random() < 0.7 else ""
        out.append(head + (text.lower() if r.random() < 0.3 else text) + r.choice(["", "", " :)", "\n\n" + address(doc)]))
    return "\n\n".join(out)


def salad(doc, size):
    """Words of all lists in no order, inflected, with numbers, dates, names and punctuation."""
    r = doc.rng
    nouns = set(GRAMMAR.unions["noun"])
    kinds = [k for k in GRAMMAR.lists if k != "syllable"]
    marks = [",", ",", ".", ".", ";", ":", "!", "?", " -", "\n", ",\n", ".\n\n", " (", ")", ' "', '"', " --", "..."]
    prefixes, suffixes = "un re over mis non- out".split(), "ness less ful ly ish -like er ism able".split()
    out = []
    length = 0
    while length < size:
        x = r.random()
        if x < 0.72:
            kind = r.choice(kinds)
            form = r.choice(["", "", "s", "ed", "ing"] if kind[0] == "v" else ["", "s"] if kind in nouns else [""])
            word = r.choice(GRAMMAR.lists[kind]).form(form)
            y = r.random()
            word = word.capitalize() if y < 0.12 else word.upper() if y < 0.15 else word
            if y > 0.95:
                word = r.choice(prefixes) + word
            elif y > 0.9:
                word += r.choice(suffixes)
        elif x < 0.8:
            word = doc.get("scrap")
        elif x < 0.97:
            out.append(r.choice(marks))
            continue
        else:
            word = address(doc)
        out.append(" " + word)
        length += cost([word])
    return "".join(out).strip()


def foreign(doc, size):
    language = LANGUAGES[doc.row % len(LANGUAGES)]
    joint = "" if language in ("ja", "zh") else " "
    out = []
    while cost(out) < size:
        out.append(joint.join(doc.expand(language + "_text") for _ in range(doc.rng.randint(2, 6))))
    return "\n\n".join(out)


# ---- code, tables, chats

def code(doc, size):
    kind = KINDS[doc.row % len(KINDS)]
    fenced = doc.rng.random() < 0.4
    out = []
    while cost(out) < size:
        label, text = getattr(Code(doc), kind)()
        out.append(f"{doc.get('manual')}\n\n```{label}\n{text}\n```" if fenced else text)
    return "\n\n".join(out)


def table(doc, size):
    r = doc.rng
    columns = "pname town num yr date noun adj colour country capital title".split()
    out = []
    while cost(out) < size:
        kinds = r.sample(columns, r.randint(3, 6))
        head = [doc.get(r.choice(["Noun", "Modern", "Measure"])) for _ in kinds]
        rows = [[doc.get(k) for k in kinds] for _ in range(r.randint(3, 12))]
        style = r.choice(["|", "|", ",", ";", "\t", " "])
        if style == "|":
            lines = ["| " + " | ".join(x) + " |" for x in (head, ["---"] * len(kinds), *rows)]
        elif style == " ":
            lines = ["".join(f"{c[:18]:<20}" for c in x).rstrip() for x in (head, *rows)]
        else:
            lines = [style.join(f'"{c}"' if style in c else c for c in x) for x in (head, *rows)]
        out.append("\n".join(lines))
        if r.random() < 0.4:
            out.append(doc.get("fact"))
    return "\n\n".join(out)


def packed(doc, size):
    """Short chats, articles and tales, one after the other."""
    r = doc.rng
    out = []
    while cost(out) < size:
        doc.about(r.choice([HE, SHE]))
        kind = r.random()
        if kind < 0.25:
            doc.memory.clear()
            out.append(" " + doc.get("townpage").replace("/ ", "\n\n ") + " \n")
        elif kind < 0.4:
            doc.memory.clear()
            out.append((doc.get("tinytale") if r.random() < 0.6 else tale(doc, 1)) + "\n")
        else:
            out.append(short_chat(doc))
    return "<|endoftext|>".join(out)


def chat(doc, size):
    return long_chat(doc, lambda messages: cost([json.dumps(messages, ensure_ascii=False)]) > size * 1.3)


# ---- the file

def cost(texts):
    """About how many tokens these are in a small byte-pair vocabulary."""
    tokens = 0.0
    for t in texts:
        marks = len(re.findall(r"[\d_]|[^\w\s]", t))
        plain = len(re.sub(r"[^\0-\x7f]", "", t))
        tokens += (plain - marks) / 3.6 + marks * 0.9 + len(t.encode()) - plain
    return tokens


def clip(text, size):
    """The head of a text that has grown beyond its size."""
    excess = cost([text]) / size
    if excess < 1.1:
        return text
    end = int(len(text) / excess)
    return text[:max(text.rfind(mark, 0, end) for mark in "\n \u3002")]


def rows(seed, shares, scale, longest):
    kinds = [name for name, share in shares.items() for _ in range(round(share * scale))]
    sizes = [340 + (longest - 340) * (i / len(kinds)) ** 1.5 for i in range(len(kinds))]
    rng = random.Random(seed)
    rng.shuffle(kinds)
    rng.shuffle(sizes)
    seen = dict.fromkeys(shares, 0)
    for kind, size in zip(kinds, sizes):
        doc = Doc(random.Random(rng.getrandbits(64)), rng.choice([0.3, 0.5, 0.8]))
        doc.row = seen[kind]
        seen[kind] += 1
        size *= DENSE.get(kind, 1)
        made = globals()[kind](doc, size)
        yield {"messages": made} if kind == "chat" else {"text": clip(made, size).rstrip("\n") + "\n"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=HERE.parent / "data/calibration.jsonl")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0, help="rows of each kind, times this")
    parser.add_argument("--longest", type=int, default=1250, help="tokens of the longest row, about")
    parser.add_argument("--only", help="kinds of rows, with commas")
    args = parser.parse_args()
    shares = {k: v for k, v in SHARES.items() if not args.only or k in args.only.split(",")}
    lines = [json.dumps(row, ensure_ascii=False) for row in rows(args.seed, shares, args.scale, args.longest)]
    data = ("\n".join(lines) + "\n").encode()
    args.out.write_bytes(data)
    print(f"{args.out}: {len(lines)} rows, {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
