"""Program-like text for tools/make_calibration.py: it looks like code, data or logs and means nothing."""
import json

from calibration_engine import HE

NAMES = """
count size name value index total result buffer queue node parent child left right key item table row column line text path
file data user account order price token state event handler client server request response message payload config option
flag width height depth offset start end first last next previous source target input output list map cache limit rate score
weight matrix vector image pixel color timer clock date day month city street customer product invoice stock sensor reading
record entry field label title body header footer page session cookie password email worker thread lock mutex channel packet
frame sample signal filter layer model batch epoch loss gradient
""".split()
VERBS = """
get set add remove find load save read write parse format count merge split sort filter update delete create init open close
send receive encode decode check validate compute render draw fetch push pop insert build run reset
""".split()
KINDS = ["python", "cpp", "javascript", "rust", "sql", "shell", "json", "yaml", "html", "latex", "log", "diff"]


def address(doc):
    """An address in the web, of a person or of a file."""
    r = doc.rng
    a, b, n = r.choice(NAMES), r.choice(NAMES), r.randint(1, 9999)
    site = doc.fill("<invented>.[com|org|net|de|io|co.uk|edu]").lower()
    return r.choice([f"https://www.{site}/{a}/{n}.html", f"{a}@{site}", f"http://{site}/?q={a}+{b}&page={n % 100}",
                     f"/usr/share/{a}/{b}.conf", f"C:\\{a}\\{b}.txt"])


class Code:
    """Makes pieces of code with a few names of its own; each method of KINDS gives a label and a text."""

    def __init__(self, doc):
        self.doc, self.rng = doc, doc.rng
        self.names = self.rng.sample(NAMES, 14)

    def v(self):
        return self.rng.choice(self.names)

    def cap(self):
        return self.v().capitalize()

    def f(self, camel=False):
        verb, noun = self.rng.choice(VERBS), self.v()
        return verb + noun.capitalize() if camel else f"{verb}_{noun}"

    def n(self):
        r = self.rng
        return r.choice([str(r.randint(0, 9)), str(r.randint(10, 999)), str(2 ** r.randint(4, 16)), f"{r.random():.3f}",
                         f"0x{r.randrange(1 << 16):x}", "1e-6", "0.5"])

    def e(self, depth=0):
        """An expression."""
        r = self.rng
        if depth > 2 or r.random() < 0.4:
            return r.choice([self.v(), self.v(), self.n()])
        op = r.choice(["+", "-", "*", "/", "%", "<", "==", ">="])
        deeper = self.e(depth + 1)
        return r.choice([f"{deeper} {op} {self.e(depth + 1)}", f"{self.f()}({deeper})", f"{self.v()}[{deeper}]",
                         f"({deeper} {op} {self.v()})", f"{self.v()}.{self.v()}"])

    def note(self):
        doc = self.doc
        doc.about(HE)
        doc.person.update(his="the", he="it", him="it")
        return doc.get("codenote")

    def text(self):
        return self.doc.get("codetext")

    def block(self, depth):
        r, v, pad = self.rng, self.v, "    " * depth
        out = []
        for _ in range(r.randint(1, 3)):
            k = r.randrange(9) if depth < 4 else 0
            if k < 3:
                out.append(f"{pad}{v()} = {self.e()}")
            elif k == 3:
                sequence = r.choice([f"range({self.e(2)})", v(), f"enumerate({v()})"])
                out += [f"{pad}for {v()} in {sequence}:", *self.block(depth + 1)]
            elif k == 4:
                test = r.choice(["is None", f"not in {v()}", f"< {self.e()}", f"== {v()}", f"!= {v()}"])
                out += [f"{pad}if {v()} {test}:", *self.block(depth + 1)]
            elif k == 5:
                out.append(f"{pad}{v()}.append({self.e()})")
            elif k == 6:
                out.append(f'{pad}print(f"{self.text()}: {{{v()}:.{r.randint(1, 6)}f}}")')
            elif k == 7:
                out += [f"{pad}try:", f"{pad}    {v()} = {self.f()}({self.e()})", f"{pad}except ValueError as error:",
                        f'{pad}    raise RuntimeError("{self.text()}") from error']
            else:
                out.append(f"{pad}{v()} = [{self.e()} for {v()} in {v()} if {v()} > {self.n()}]")
        return out

    def python(self):
        r, v = self.rng, self.v
        out = [f"import {r.choice(['os', 'sys', 'json', 'math', 'numpy as np', 'collections'])}", ""]
        name = self.f()
        if r.random() < 0.4:
            out += [f"class {self.cap()}{self.cap()}:", f"    def __init__(self, {v()}, {v()}=None):",
                    f"        self.{v()} = {v()}", f"        self._{v()} = {{}}", ""]
        out += [f"def {name}({v()}, {v()}={self.n()}):", f'    """{self.note()}"""', *self.block(1), f"    return {self.e()}"]
        if r.random() < 0.4:
            out += ["", "", 'if __name__ == "__main__":', f"    {name}({self.n()})"]
        return "python", "\n".join(out)

    def cpp(self):
        r, v = self.rng, self.v
        kind = r.choice(["int", "double", "std::string", "std::size_t", "float"])
        c = self.cap()
        return "cpp", f"""#include <{r.choice(['vector', 'string', 'map', 'algorithm', 'memory'])}>

namespace {v()} {{

// {self.note()}
template <typename T>
class {c} {{
 public:
  explicit {c}({kind} {v()}) : {v()}_({v()}) {{}}

  bool {self.f(True)}(const std::vector<T>& {v()}) const {{
    for (std::size_t i = 0; i < {v()}.size(); ++i) {{
      if ({v()}[i] == {self.e()}) return {r.choice(['true', 'false'])};
      {v()}_ += static_cast<{kind}>({self.e()});
    }}
    throw std::runtime_error("{self.text()}");
  }}

 private:
  {kind} {v()}_ = {self.n()};
}};

}}  // namespace {v()}"""

    def javascript(self):
        v, f = self.v, self.f
        return "javascript", f"""import {{ {f(True)} }} from './{v()}.js';

/** {self.note()} */
export async function {f(True)}({v()}, {v()} = {self.n()}) {{
  const {v()} = await fetch(`/api/{v()}/${{{v()}}}`);
  if (!{v()}.ok) {{
    console.error('{self.text()}');
    return null;
  }}
  let {v()} = {v()}.map(x => x.{v()} * {self.e()}).filter(Boolean);
  {v()}.forEach(({v()}, i) => {{ {v()}[i] = {self.e()}; }});
  return {{ {v()}, {v()}: {self.n()}, ...{v()} }};
}}"""

    def rust(self):
        r, v, c = self.rng, self.v, self.cap()
        return "rust", f"""use std::collections::HashMap;

/// {self.note()}
#[derive(Debug, Clone)]
pub struct {c} {{
    {v()}: Vec<u{r.choice([8, 32, 64])}>,
    pub {v()}: Option<String>,
}}

impl {c} {{
    pub fn {self.f()}(&mut self, {v()}: &str) -> Result<usize, String> {{
        let mut {v()} = self.{v()}.iter().filter(|x| **x > {r.randint(0, 99)}).count();
        match {v()} {{
            0 => Err("{self.text()}".into()),
            1..={r.randint(2, 9)} => Ok({v()} + {r.randint(1, 64)}),
            _ => {{ {v()} += 1; Ok({v()}) }}
        }}
    }}
}}"""

    def sql(self):
        r, v = self.rng, self.v
        a, b = r.sample(self.names, 2)
        return "sql", f"""CREATE TABLE {a}s (id INTEGER PRIMARY KEY, {v()} VARCHAR({2 ** r.randint(4, 9)}) NOT NULL, {b}_id INT);
INSERT INTO {a}s ({v()}, {b}_id)
VALUES ('{self.text()}', {r.randint(1, 999)}), ('{self.doc.get('pname')}', NULL);
-- {self.note()}
SELECT x.{v()}, COUNT(*) AS {v()}, AVG(y.{v()}) FROM {a}s x
LEFT JOIN {b}s y ON x.{b}_id = y.id
WHERE x.{v()} > {self.n()} AND y.{v()} LIKE '%{v()}%'
GROUP BY 1 HAVING COUNT(*) >= {r.randint(1, 9)} ORDER BY {v()} DESC LIMIT {r.randint(1, 50)};"""

    def shell(self):
        r, v = self.rng, self.v
        return "bash", f"""#!/bin/sh
set -eu
# {self.note()}
{v().upper()}=${{1:-{self.n()}}}
for {v()} in *.{r.choice(['txt', 'csv', 'log', 'json'])}; do
  grep -E '^{v()}=[0-9]+' "${v()}" | cut -d= -f2 | sort -n | uniq -c >> {v()}.out
done
if [ ! -d "$HOME/{v()}" ]; then mkdir -p "$HOME/{v()}" && echo "{self.text()}" >&2; fi
tar czf {v()}-$(date +%F).tar.gz {v()}/ --exclude='*.tmp' || exit {r.randint(1, 9)}"""

    def value(self, depth=0):
        r = self.rng
        k = r.randrange(8 if depth < 3 else 5)
        if k < 2:
            return r.choice([r.randint(0, 5000), round(r.random() * 100, r.randint(1, 4)), True, False, None])
        if k < 5:
            return r.choice([self.text(), self.doc.get("pname"), self.doc.get("date"), self.v(), address(self.doc)])
        if k == 5:
            return [self.value(depth + 1) for _ in range(r.randint(1, 4))]
        return {self.v(): self.value(depth + 1) for _ in range(r.randint(2, 5))}

    def json(self):
        value = {self.v(): self.value() for _ in range(6)}
        return "json", json.dumps(value, indent=self.rng.choice([None, 2, 4]), ensure_ascii=False)

    def yaml(self):
        def dump(value, pad):
            if isinstance(value, dict):
                return "\n" + "\n".join(f"{pad}{k}:{dump(v, pad + '  ')}" for k, v in value.items())
            if isinstance(value, list):
                return "\n" + "\n".join(f"{pad}- {json.dumps(v, ensure_ascii=False)}" for v in value)
            return " " + json.dumps(value, ensure_ascii=False)
        return "yaml", f"# {self.note()}" + dump({self.v(): self.value() for _ in range(6)}, "")

    def html(self):
        r, v, text = self.rng, self.v, self.text
        title = self.doc.get("title")
        items = "\n".join(f'    <li class="{v()}"><a href="{address(self.doc)}">{self.doc.get("title")}</a></li>'
                          for _ in range(r.randint(2, 5)))
        return "html", f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title>
<style>.{v()} {{ color: #{r.randrange(1 << 24):06x}; margin: 0 {r.randint(1, 40)}px; }}</style></head>
<body>
  <h1 id="{v()}">{title}</h1>
  <p>{self.doc.get('s')} <em>{text()}</em> &amp; <b>{text()}</b>.</p>
  <ul>
{items}
  </ul>
  <img src="{v()}.png" alt="{text()}" width="{r.randint(16, 999)}">
</body>
</html>"""

    def latex(self):
        r, v = self.rng, self.v
        x, y, n = r.sample("abcfghknpqrstuvwxyz", 3)
        a, b = r.randint(2, 9), r.randint(2, 99)
        greek = "\\" + r.choice(["alpha", "beta", "lambda", "mu", "sigma", "theta", "epsilon", "pi"])
        forms = [
            rf"""\begin{{equation}}
  \int_0^{{\infty}} {x}^{{{a}}} e^{{-{y} {x}}} \, d{x} = \frac{{{greek}}}{{{y}^{b}}}
\end{{equation}}""",
            rf"Let ${x} \in \mathbb{{R}}^{n}$ and $\|{x}\| \le {a}$. Then ${y}({x}) = \sum_{{i=1}}^{{{n}}} {greek}_i {x}_i$.",
            rf"$$\lim_{{{n} \to \infty}} \left(1 + \frac{{{x}}}{{{n}}}\right)^{{{n}}} = e^{{{x}}}$$",
            rf"\begin{{theorem}} If ${x} < {y}$, then ${x}^2 + {b} \geq \sqrt{{{y}}}$. \end{{theorem}}",
            rf"\[ {x}_{{1,2}} = \frac{{-{b} \pm \sqrt{{{b * a}}}}}{{{2 * a}}} \]",
            rf"By \cite{{{v()}{1900 + b}}}, $\nabla {y} = 0$ for all ${x} \neq {n}$; see Table~\ref{{tab:{v()}}}."]
        return "latex", "\n".join([rf"\section{{{self.doc.get('title')}}}", self.note(), *r.sample(forms, r.randint(3, 6))])

    def log(self):
        r, v = self.rng, self.v
        day, second = f"20{r.randint(10, 25)}-{r.randint(1, 12):02}-{r.randint(1, 28):02}", r.randrange(80000)
        out = []
        for _ in range(r.randint(6, 18)):
            second += r.randrange(90)
            stamp = f"{day} {second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
            level = r.choice(["INFO", "WARN", "ERROR", "DEBUG"])
            host = ".".join(str(r.randint(1, 254)) for _ in range(4))
            complaint = r.choice(["undeclared", "was not declared in this scope", "is deprecated"])
            out.append(r.choice([
                f"{stamp} {level} [{v()}-{r.randint(1, 32)}] {self.text()} ({r.randint(1, 9999)} ms)",
                f'{host} - - "GET /{v()}/{v()} HTTP/1.1" {r.choice([200, 301, 404, 500])} {r.randint(1, 99999)}',
                f"{v()}.c:{r.randint(1, 2000)}:{r.randint(1, 80)}: error: '{v()}' {complaint}",
                f"    at {self.f(True)} ({v()}/{v()}.js:{r.randint(1, 900)})"]))
        return "", "\n".join(out)

    def diff(self):
        r, v = self.rng, self.v
        lines = [f"{r.choice(' +-')}    {v()} = {self.e()}" for _ in range(r.randint(4, 9))]
        name, at = v(), r.randint(1, 99)
        return "diff", "\n".join([f"--- a/{name}.py", f"+++ b/{name}.py", f"@@ -{at},5 +{at},6 @@ def {self.f()}():", *lines])
