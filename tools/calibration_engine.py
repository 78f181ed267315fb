"""Word lists and grammars of tools/make_calibration.py: how they are read, and documents drawn from them."""
import pathlib
import re

HERE = pathlib.Path(__file__).resolve().parent
FILES = ["calibration_grammar.txt", "calibration_passages.txt", "calibration_languages.txt"]


class Word:
    """A word of a list and its inflected forms. Of `look_after`, a verb, the head is inflected."""

    def __init__(self, entry, verb):
        head, _, tail = entry.partition("_") if verb else (entry, "", "")
        self.tail = tail and " " + tail.replace("_", " ")
        head, _, rest = head.replace("_", " ").partition(":")
        self.base = head.rstrip("*")
        self.irregular = rest.split(":") if rest else []
        doubled = head != self.base or re.fullmatch(r"[^aeiou]*[aeiou][bdgklmnprt]", head)
        self.stem = self.base + self.base[-1] if doubled else self.base

    def form(self, name):
        return self.inflected(name) + self.tail

    def inflected(self, name):
        if not name:
            return self.base
        if name == "s":
            return self.with_s()
        if name in ("ed", "en") and len(self.irregular) == 2:
            return self.irregular[name == "en"]
        if name in ("er", "est") and self.base[-1] != "y" and self.syllables() > 1:
            return {"er": "more ", "est": "most "}[name] + self.base
        return self.suffixed("ed" if name == "en" else name)

    def syllables(self):
        return len(re.findall(r"[aeiouy]+", re.sub("e$", "", self.base)))

    def with_s(self):
        if len(self.irregular) == 1:
            return self.irregular[0]
        if re.search(r"(s|x|z|ch|sh|[^aeiou]o)$", self.base):
            return self.base + "es"
        return re.sub(r"([^aeiou])y$", r"\1ie", self.base) + "s"

    def suffixed(self, ending):
        if ending[0] == "e":
            if self.base.endswith("e"):
                return self.base + ending[1:]
            if re.search(r"[^aeiou]y$", self.base):
                return self.base[:-1] + "i" + ending
        elif self.base.endswith("ie"):
            return self.base[:-2] + "y" + ending
        elif re.search(r"[^eyo]e$", self.base):
            return self.base[:-1] + ending
        return self.stem + ending


def lines_of(name):
    """The lines of a file but for comments; those that begin with two spaces go on with the line before."""
    text = re.sub(r"\n {2,}", " ", (HERE / name).read_text(encoding="utf-8"))
    for line in text.splitlines():
        if line and not line.startswith("# "):
            yield line


class Grammar:
    """Word lists, unions of them, and rules; the head of calibration_grammar.txt tells their form."""

    def __init__(self):
        self.lists, self.unions, self.rules = {}, {}, {}
        for line in lines_of("calibration_words.txt"):
            if line[0] == "@":
                name = line[1:]
                self.lists[name] = []
            else:
                self.lists[name] += [Word(entry, name[0] == "v") for entry in line.split()]
        common = {w.form("") for w in self.lists.pop("common")}
        for words in self.lists.values():
            words += 5 * [w for w in words if w.form("") in common]
        for line in (line for file in FILES for line in lines_of(file)):
            if line.startswith("@@"):
                name, *parts = line[2:].split()
                self.unions[name] = parts
            elif line[0] == "@":
                rule = self.rules.setdefault(line[1:], [])
            else:
                times = re.match(r"(\d)\* ", line)
                rule += [self.parse(line[times.end():] if times else line)] * (int(times[1]) if times else 1)

    @staticmethod
    def parse(text):
        """A list of strings, references (symbol, form, key) and choices (lists of such lists)."""
        stack = [[[]]]
        tokens = re.findall(r"([^<>\[\]|]+)|<(\w+)(?:\.(\w+))?(?:#(\d+))?>|([\[\]|])", text)
        for literal, symbol, form, key, mark in tokens:
            here = stack[-1][-1]
            if literal:
                here.append(literal)
            elif symbol:
                here.append((symbol, form, key))
            elif mark == "[":
                stack.append([[]])
            elif mark == "|":
                stack[-1].append([])
            else:
                choice = stack.pop()
                stack[-1][-1].append(choice)
        return stack[0][0]


GRAMMAR = Grammar()
HE, SHE, I, THEY, WE = PEOPLE = [
    ("he", "him", "his", "himself", "was"), ("she", "her", "her", "herself", "was"), ("I", "me", "my", "myself", "was"),
    ("they", "them", "their", "themselves", "were"), ("we", "us", "our", "ourselves", "were")]


class Doc:
    """One document: its own favourite words, the people it is about, what it has named."""

    def __init__(self, rng, novelty=0.4):
        self.rng, self.novelty = rng, novelty
        self.pools, self.memory, self.person = {}, {}, {}
        self.about(HE)

    def about(self, person):
        """Who <he>, <him> ... are from here on; another is <she>, <her>, <hers> and <other>."""
        second = SHE if person == HE else HE
        hero = {HE: ("male", 1), SHE: ("female", 1), THEY: ("surname", 1)}.get(person)
        self.person = dict(zip(("he", "him", "his", "himself", "was"), person))
        self.person |= dict(zip(("she", "her", "hers"), second))
        self.person["hero"] = self.name(*hero) if hero else person[0]
        self.person["other"] = self.name("female" if second == SHE else "male", 2)

    def name(self, kind, key):
        return self.memory.setdefault((kind, key), self.rng.choice(GRAMMAR.lists[kind]).base)

    def forget(self):
        self.memory.clear()
        self.pools.clear()

    def word(self, kind):
        words = GRAMMAR.lists[kind]
        if self.rng.random() < self.novelty:
            return self.rng.choice(words)
        if kind not in self.pools:
            self.pools[kind] = self.rng.sample(words, min(len(words), max(5, len(words) // 5)))
        pool = self.pools[kind]
        return pool[int(len(pool) * self.rng.random() ** 2)]

    def expand(self, symbol, form="", key="", depth=0):
        lower = symbol.lower()
        if key:
            memo = (lower, form, key)
            if memo not in self.memory:
                self.memory[memo] = self.expand(lower, form, "", depth)
            text = self.memory[memo]
        elif lower in self.person:
            text = self.person[lower]
        elif lower in GRAMMAR.unions:
            text = self.word(self.rng.choice(GRAMMAR.unions[lower])).form(form)
        elif lower in GRAMMAR.rules:
            # The first alternative is the simplest: an end for sentences that have grown deep.
            rule = GRAMMAR.rules[lower]
            text = self.nodes(rule[0] if depth > 9 else self.rng.choice(rule), depth + 1)
        elif lower in GRAMMAR.lists:
            text = self.word(lower).form(form)
        else:
            text = str(self.rng.randrange({"digit": 0, "digit1": 1}[lower], 10))
        if symbol == lower:
            return text
        return text.upper() if len(symbol) > 1 and symbol.isupper() else text[:1].upper() + text[1:]

    def nodes(self, nodes, depth=0):
        out = []
        for node in nodes:
            if isinstance(node, str):
                out.append(node)
            elif isinstance(node, tuple):
                out.append(self.expand(*node, depth))
            else:
                out.append(self.nodes(self.rng.choice(node), depth))
        return "".join(out)

    def get(self, symbol):
        """Text for a rule or a list."""
        return articles(self.expand(symbol))

    def fill(self, template):
        """Text for a template in the form of a rule's alternative."""
        return articles(self.nodes(GRAMMAR.parse(template)))


def articles(text):
    """Makes `a` `an` before the sound of a vowel."""
    return re.sub(r"\b([Aa]) (?=[aeiouAEIOU]|hour|honest|honour)(?!one\b|once|uni|use|eu|uku|Eu|ubi)", r"\1n ", text)


def sentences(doc, low, high, symbol="s"):
    return " ".join(doc.get(symbol) for _ in range(doc.rng.randint(low, high)))
